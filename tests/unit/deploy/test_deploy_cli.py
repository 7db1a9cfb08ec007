import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedbridge.cli import main as cli
from fedbridge.cli.guidance import page_for
from fedbridge.deploy.keys import names_of, read_certificate

Call = Callable[..., tuple[int, str, str]]
CONFIG = "[scenario]\nclients = 2\ntasks = 2\n"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Call fedbridge deploy in a folder with a config; return code, output and complaint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "tiny.toml").write_text(CONFIG, encoding="utf-8")

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedbridge", "deploy", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return called


def test_from_nothing_to_a_deployment_that_is_right(call: Call, tmp_path: Path):
    names = "client-1,client-2"
    code, out, err = call("init", "fed", "--clients", names, "--host", "fed.org", "--config",
                          "tiny.toml", "--days", "40")  # fmt: skip
    assert (code, err) == (0, "")
    assert out == "fed: server and 2 clients; go on with fed/README.md\n"
    certificate = read_certificate(tmp_path / "fed" / "server" / "server.pem")
    assert names_of(certificate) == {"fed.org", "localhost", "127.0.0.1"}

    code, out, err = call("check", "fed", "--offline")
    assert (code, err) == (0, "")
    assert "39 days left, for fed.org, localhost, 127.0.0.1" in out and "WRONG" not in out


def test_what_is_wrong_ends_with_2_and_a_line(call: Call, tmp_path: Path):
    call("init", "fed", "--clients", "client-1,client-2", "--config", "tiny.toml")
    (tmp_path / "fed" / "clients" / "client-1" / "key").chmod(0o644)
    code, out, err = call("check", "fed", "--offline")
    assert code == 2
    assert "WRONG" in out and "must be private, found mode 0644" in out
    assert err.startswith("error: fed: 1 of ") and "found something wrong\nsee docs/" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--clients", "a,,b"], "clients: a name must be"),
        (["--clients", "a,a"], "clients: names must differ"),
        (["--clients", "a", "--host", "a b"], "hosts: must be a DNS name"),
        (["--clients", "a", "--port", "0"], "'--port': 0 is not in the range"),
        (["--clients", "a", "--days", "0"], "'--days': 0 is not in the range"),
        (["--clients", "a,b", "--config", "tiny.toml"], "tiny.toml: its clients must be those"),
        (["--clients", "a", "--config", "gone.toml"], "gone.toml: cannot read this config file"),
        ([], "Missing option '--clients'"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    call: Call, tmp_path: Path, arguments: list[str], words: str
):
    code, _, err = call("init", "fed", *arguments)
    assert code == 2
    line, *more = err.splitlines()
    assert line.startswith("error: ") and words in line
    assert more == ([] if line.endswith("--help") else [f"see {page_for(line[7:])}"])
    assert not (tmp_path / "fed").exists()


def test_a_folder_in_use_is_told_before_the_config_is_read(call: Call, tmp_path: Path):
    (tmp_path / "fed").mkdir()
    (tmp_path / "fed" / "mine").touch()
    code, _, err = call("init", "fed", "--clients", "a", "--config", "gone.toml")
    assert code == 2 and "fed: must be a new or an empty folder" in err


def test_a_client_is_added_and_the_config_follows(call: Call, tmp_path: Path):
    call("init", "fed", "--clients", "client-1,client-2", "--config", "tiny.toml")
    code, out, _ = call("add", "fed", "client-3")
    assert code == 0 and "fed/clients/client-3" in out
    (tmp_path / "three.toml").write_text(CONFIG.replace("2\n", "3\n", 1), encoding="utf-8")
    code, _, err = call("configure", "fed", "tiny.toml")
    assert code == 2 and "client-1, client-2, client-3; found client-1, client-2" in err
    assert call("configure", "fed", "three.toml")[0] == 0
    assert call("check", "fed", "--offline")[0] == 0


def test_configure_says_what_is_left_to_do(call: Call, tmp_path: Path):
    call("init", "fed", "--clients", "client-1,client-2")
    code, out, _ = call("configure", "fed", "tiny.toml")
    assert code == 0 and out.splitlines() == [
        "fed: config.toml and agreed.json are in server, clients/client-1, clients/client-2",
        "where such a folder is at its machine already, bring both files there as well",
    ]
    (tmp_path / "fed" / "clients" / "client-2").rename(tmp_path / "at-its-site")
    code, out, _ = call("configure", "fed", "tiny.toml")
    assert code == 0 and out.splitlines() == [
        "fed: config.toml and agreed.json are in server, clients/client-1",
        "bring both files to client-2: no such folder is here",
        "where such a folder is at its machine already, bring both files there as well",
    ]
    assert not (tmp_path / "fed" / "clients" / "client-2").exists()


def test_a_certificate_is_renewed(call: Call, tmp_path: Path):
    call("init", "fed", "--clients", "a")
    assert call("renew", "fed", "--host", "new.org")[0] == 0
    certificate = read_certificate(tmp_path / "fed" / "server" / "server.pem")
    assert "new.org" in names_of(certificate)


def test_what_is_not_installed_is_told(call: Call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call("init", "fed", "--clients", "a")
    assert code == 2
    assert 'pip install "fedbridge[flower]"' in err


def test_no_help_needs_torch_or_flower():
    code = (
        "import sys\n"
        "from fedbridge.cli.main import app\n"
        "for words in (['--help'], ['deploy', '--help'], ['deploy', 'check', '--help']):\n"
        "    app(words, standalone_mode=False)\n"
        "heavy = {'torch', 'flwr', 'cryptography', 'pydantic', 'jinja2', 'numpy', 'uvicorn'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.endswith("loaded []\n")


def test_writing_a_deployment_needs_no_torch(tmp_path: Path):
    code = (
        "import sys\n"
        "from fedbridge.cli.main import app\n"
        f"app(['deploy', 'init', {str(tmp_path / 'fed')!r}, '--clients', 'a'],"
        " standalone_mode=False)\n"
        "print('loaded', sorted({'torch', 'flwr'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.endswith("loaded []\n")
