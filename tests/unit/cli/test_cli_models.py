import io
import json
import sys

import pytest
from PIL import Image

from fedbridge.cli import main as cli
from fedbridge.core.web import listening
from fedbridge.inference import load_predictor
from predictors import pictures, predictor, text_predictor


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Call the command line in a folder with saved predictors; return code, output, complaint."""
    monkeypatch.chdir(tmp_path)
    predictor().save(tmp_path / "pictures")
    text_predictor().save(tmp_path / "texts")
    for k, one in enumerate(pictures(3)):
        Image.fromarray(one).save(tmp_path / f"{k}.png")

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedbridge", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return called


def refused(answer, told):
    code, out, err = answer
    assert (code, out) == (2, "")
    line, hint = err.splitlines()
    assert line.startswith("error: ") and hint.startswith("see ")
    assert told in err


def test_pictures_are_predicted_as_json_lines(call):
    code, out, _ = call("predict", "pictures", "0.png", "1.png", "2.png", "--top", "2")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["item"] for line in lines] == ["0.png", "1.png", "2.png"]
    assert [line["predictions"][0]["label"] for line in lines] == predictor().predict(pictures(3))
    assert {line["using"] for line in lines} == {"together"}
    assert {len(line["predictions"]) for line in lines} == {2}


def test_a_table_names_every_item(call):
    code, out, _ = call("predict", "pictures", "0.png", "--using", "small", "--format", "table")
    assert code == 0 and "0.png" in out and "using small" in out
    assert predictor().predict(pictures(1), "small")[0] in out


def test_names_are_shown_as_they_are_whatever_they_would_mean_to_who_draws_tables(call, tmp_path):
    text_predictor(classes=("[/u]", "[red]", "[bold]")).save(tmp_path / "odd")
    (tmp_path / "[b].txt").write_text("one\n")
    code, out, _ = call("predict", "odd", "[b].txt", "--top", "3", "--format", "table")
    assert code == 0
    assert all(name in out for name in ("[b].txt:1", "[/u]", "[red]", "[bold]"))


def test_texts_are_lines_of_files_and_of_stdin(call, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one\n\ntwo words\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("three\n"))
    _, out, _ = call("predict", "texts", "a.txt", "-")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["item"] for line in lines] == ["a.txt:1", "a.txt:3", "-:1"]
    wanted = text_predictor().predict(["one", "two words", "three"])
    assert [line["predictions"][0]["label"] for line in lines] == wanted


def test_what_cannot_be_predicted_is_told_in_a_line(call, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    refused(call("predict", "pictures", "none.png"), "none.png: cannot be read")
    refused(call("predict", "texts", "bad.txt"), "bad.txt: must be a file of UTF-8 text")
    refused(call("predict", "texts", "bad.txt", "--using", "large"), "using: must be small here")
    refused(call("predict", "pictures", "0.png", "--client", "b"), "the models of 'a' alone")
    refused(call("predict", "nowhere", "0.png"), "nowhere: a run's folder must hold")


def test_everything_or_the_small_model_is_exported(call, tmp_path):
    code, out, _ = call("export", "pictures", "--format", "safetensors")
    assert code == 0 and "exports/pictures-a-safetensors/model.safetensors" in out
    assert (tmp_path / "exports/pictures-a-safetensors/README.md").is_file()
    assert call("export", "pictures", "--format", "predictor", "--out", "copy")[0] == 0
    assert load_predictor(tmp_path / "copy").predict(pictures()) == predictor().predict(pictures())
    refused(call("export", "pictures", "--out", "texts"), "this one is in use")


def test_the_service_is_started_as_asked(call, monkeypatch):
    started = {}

    def run(server, sockets):
        started.update(app=server.config.app, address=sockets[0].getsockname())

    monkeypatch.setattr("uvicorn.Server.run", run)
    code, out, _ = call("serve", "pictures", "--small", "--port", "0", "--limit", "items=3")
    host, port = started["address"]
    assert code == 0 and host == "127.0.0.1"
    assert out == f"serve: http://127.0.0.1:{port}/  (Ctrl-C ends it)\n"
    items = started["app"].openapi()["components"]["schemas"]["Request"]["properties"]["items"]
    assert items["maxItems"] == 3
    _, out, _ = call("serve", "pictures", "--host", "0.0.0.0", "--port", "0")
    assert "docs/shipping.md" in out
    refused(call("serve", "pictures", "--limit", "items=many"), "--limit: must be one of body")


def test_a_port_that_is_taken_is_said(call):
    with listening("dashboard", "127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        told = call("serve", "pictures", "--port", str(port))
    refused(told, f"serve: 127.0.0.1:{port} cannot be listened at: Address already in use")


def test_a_missing_extra_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    refused(call("serve", "pictures"), 'pip install "fedbridge[serve]"')
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(call("export", "pictures", "--format", "onnx"), 'pip install "fedbridge[onnx]"')
