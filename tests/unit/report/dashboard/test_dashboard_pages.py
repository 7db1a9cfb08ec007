import os
import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fedbridge.core.errors import UserError
from fedbridge.core.web import host_of, listening
from fedbridge.report.dashboard import app as module
from fedbridge.report.dashboard.catalogue import Catalogue
from fedbridge.report.dashboard.dashboard import LOOPBACK
from fedbridge.report.dashboard.discovery import name_of
from growing_runs import advance, finish, write_run

NASTY = "<script>alert(1)</script>&\"'"


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr("fedbridge.report.dashboard.catalogue.FRESH", 0.0)


@pytest.fixture
def ask(tmp_path):
    client = TestClient(module.build_app([tmp_path], LOOPBACK), base_url="http://127.0.0.1:8137")
    return client.get


def address(folder: Path) -> str:
    return f"/run/{name_of(folder.resolve())}"


def chosen(*folders: Path) -> str:
    return "&".join(f"chosen={name_of(folder.resolve())}" for folder in folders)


class Tags(HTMLParser):
    """Notes the tags of a page, which must nest, and what it would load."""

    VOID = ("meta", "link", "input", "path", "use", "br", "col")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.loads = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        said = dict(attributes)
        self.loads += [said[key] for key in ("src", "href") if key in said and tag != "use"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# -- what is shown


def test_all_runs_are_in_the_table(ask, tmp_path):
    write_run(tmp_path / "one")
    write_run(tmp_path / "two", done=1)
    text = ask("/?sort=run").text
    assert "2 of 2 runs" in text and text.index(">one</a>") < text.index(">two</a>")
    assert "60.0" in text and "stopped" in text and "6.0 KiB" in text and "1 min 40 s" in text
    assert "1 of 2 runs" in ask("/?words=two").text
    assert "No run fits" in ask("/?words=three").text


def test_an_empty_folder_says_where_it_looks(ask, tmp_path):
    assert f"0 of 0 runs in\n    {tmp_path.resolve()}: none yet" in ask("/").text


def test_one_run_as_it_goes_on(ask, tmp_path):
    run = write_run(tmp_path / "run", done=0, tasks=3)
    here = address(run.folder)
    first = ask(here)
    assert first.status_code == 200 and "Nobody is at work here" in first.text
    assert "Accuracy over tasks" not in first.text
    advance(run, 1, 3)
    run.event("absent", client="b", exchange=1, reason="no answer within 3 s")
    part = ask(here, params={"part": "1"}).text
    assert "Accuracy over tasks" in part and "1/3" in part
    assert part.count("b, absent: no answer within 3 s") == 2  # as a fault and as an event
    assert "task 1, round 1: 2.0 s, 2.0 KiB up, 1.0 KiB down" in part
    advance(run, 2, 3)
    advance(run, 3, 3)
    finish(run)
    assert "finished" in ask(here).text and "Nobody is at work" not in ask(here).text


def test_runs_side_by_side_with_what_differs(ask, tmp_path):
    one = write_run(tmp_path / "one", learner={"name": "smcf", "memory": 8}).folder
    two = write_run(tmp_path / "two", learner={"name": "smcf", "memory": 2}, lift=1).folder
    text = ask(f"/compare?{chosen(one, two)}&predictor=small").text
    assert "<b>A</b>" in text and "<b>B</b>" in text and "<b>C</b>" not in text
    assert "Accuracy of small after each task. A: 70.0 % after task 1, 60.0 %" in text
    assert '<th scope="row">learner.memory</th><td>8</td><td>2</td>' in text
    assert "learner.name" not in text and "1 of the chosen" not in text


def test_what_is_chosen_and_gone_is_said(ask, tmp_path):
    one = write_run(tmp_path / "one").folder
    assert "1 of the chosen runs\n  is not shown" in ask(f"/compare?{chosen(one)}&chosen=x").text
    assert "No runs are chosen" in ask("/compare").text


def test_the_whole_report_is_drawn_anew(ask, tmp_path):
    folder = write_run(tmp_path / "run").folder
    (folder / "report.html").write_text("<script>from the folder</script>")
    answer = ask(f"{address(folder)}/report")
    assert answer.status_code == 200 and "from the folder" not in answer.text
    assert "What is forgotten" in answer.text


def test_a_broken_run_is_shown_as_such_everywhere(ask, tmp_path):
    folder = write_run(tmp_path / "run").folder
    (folder / "summary.json").write_text("{")
    for place in ("/", address(folder), f"/compare?{chosen(folder)}"):
        answer = ask(place)
        assert (
            answer.status_code == 200 and "broken" in answer.text and "summary.json" in answer.text
        )
    assert ask(f"{address(folder)}/report").status_code == 404


def test_names_from_runs_are_text(ask, tmp_path):
    folder = write_run(tmp_path / "<img src=x>", name=NASTY, clients=(NASTY, "b")).folder
    (tmp_path / "bad").mkdir()
    for file in ("config.toml", "summary.json"):
        (tmp_path / "bad" / file).write_text(NASTY)
    for place in ("/", address(folder), f"/compare?{chosen(folder)}", f"/?words={NASTY}"):
        text = ask(place).text
        assert "<script>alert" not in text and "<img" not in text
        tags = Tags(text)
        assert tags.seen.count("script") == 1 and "img" not in tags.seen
        assert all(load.startswith(("/", "#", "data:,")) for load in tags.loads), tags.loads


def test_names_from_runs_turn_nothing_and_ring_no_bell(ask, tmp_path):
    hostile = "\x1b[2J\x1b]0;title\x07\u202egnp.exe"
    run = write_run(tmp_path / "run", name=hostile, clients=(hostile, "b"))
    run.event("warning", message=hostile, client=hostile)
    for place in ("/", address(run.folder), f"/compare?{chosen(run.folder)}"):
        text = ask(place).text
        assert "?[2J?]0;title??gnp.exe" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    report = ask(f"{address(run.folder)}/report").text
    assert not {"\x1b", "\x07", "\u202e"} & set(report)


def test_hundreds_of_runs_of_which_some_are_broken(ask, tmp_path):
    run = write_run(tmp_path / "r0", tasks=1, done=1).folder
    texts = {path.name: path.read_bytes() for path in run.iterdir()}
    for k in range(1, 300):
        folder = tmp_path / f"r{k}"
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_bytes(
                text[: k if k % 10 == 0 and name == "events.jsonl" else None]
            )
        if k % 50 == 0:
            (folder / "accuracy.csv").write_bytes(b"torn,")
    text = ask("/").text
    assert "300 of 300 runs" in text and text.count('class="state broken"') == 5


# -- what is sent again


def test_only_what_has_changed_is_sent_again(ask, tmp_path):
    run = write_run(tmp_path / "run", done=1)
    first = ask("/?part=1")
    tag = {"If-None-Match": first.headers["etag"]}
    again = ask("/?part=1", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    advance(run, 2, 2)
    assert ask("/?part=1", headers=tag).status_code == 200
    assert first.text.lstrip().startswith("<div") and "<html" not in first.text


def test_the_pages_own_files(ask):
    assert "--together" in ask("/static/palette.css").text
    assert ask("/static/live.js").headers["content-type"].startswith("text/javascript")


# -- what is refused


@pytest.mark.parametrize(
    "place",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/runs.py",
        "/run/../../etc/passwd",
        "/run/..%2f..%2fetc%2fpasswd",
        "/run/%00",
        "/run/.",
        "/run/nothing",
        "/run/nothing/report",
        "/run/run",
        "/etc/passwd",
        "/accuracy.csv",
        "//etc/passwd",
    ],
)
def test_no_path_leads_anywhere_else(place, ask, tmp_path):
    write_run(tmp_path / "run")
    answer = ask(place, follow_redirects=False)
    assert answer.status_code == 404
    assert len(answer.content) < 100


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:8137", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8137", 200),
        ("evil.example", 421),
        ("evil.example:8137", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.", 421),
        ("", 421),
    ],
)
def test_only_known_names_are_answered(host, code, ask):
    answer = ask("/", headers={"host": host})
    assert answer.status_code == code
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_read_only(method, tmp_path):
    client = TestClient(module.build_app([tmp_path], LOOPBACK), base_url="http://127.0.0.1")
    assert client.request(method, "/").status_code == 405


def test_looking_at_everything_changes_no_file(ask, tmp_path):
    folder = write_run(tmp_path / "run", done=1).folder
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}
    for place in ("/", address(folder), f"{address(folder)}/report", f"/compare?{chosen(folder)}"):
        assert ask(place).status_code == 200
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.rglob("*")}


def test_browsers_are_told_to_load_nothing_from_elsewhere(ask, tmp_path):
    folder = write_run(tmp_path / "run").folder
    policy = ask("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy and "unsafe-inline" not in policy.split("script")[1]
    assert "frame-ancestors" in ask(f"{address(folder)}/report").headers["content-security-policy"]
    assert ask("/nothing").headers["x-content-type-options"] == "nosniff"


def test_the_host_of_a_header():
    assert host_of("[::1]:80") == "::1" and host_of(" A.b:1 ") == "a.b" and host_of("[::1") == "::1"


def test_an_address_in_use_is_said():
    with listening("dashboard", "127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        assert port > 0
        with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be listened at.*--port"):
            listening("dashboard", "127.0.0.1", port)
    with pytest.raises(UserError, match="cannot be listened at"):
        listening("dashboard", "no.such.host.invalid", 0)


def test_loopback_of_the_other_kind():
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        with pytest.raises(UserError):
            listening("dashboard", "::1", 0)
        return
    with listening("dashboard", "::1", 0) as bound:
        assert bound.family == socket.AF_INET6


def test_a_catalogue_may_be_asked_by_many(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    write_run(tmp_path / "run")
    catalogue = Catalogue([tmp_path])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: len(catalogue.entries()), range(32)))
    assert found == [1] * 32
