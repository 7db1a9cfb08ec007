"""The dashboard from Python: it listens, answers beside other work, and ends."""

import urllib.error
import urllib.request

import pytest

import fedbridge
from fedbridge.core.errors import UserError
from growing_runs import write_run


def text_at(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def test_it_answers_while_it_is_open_and_not_later(tmp_path):
    write_run(tmp_path / "one")
    with fedbridge.Dashboard(tmp_path, port=0) as page:
        assert page.address.startswith("http://127.0.0.1:") and page.address in repr(page)
        assert "1 of 1 runs" in text_at(page.address)
    with pytest.raises(urllib.error.URLError):
        text_at(page.address)


def test_one_that_was_never_started_gives_its_port_back(tmp_path):
    first = fedbridge.Dashboard(tmp_path, port=0)
    port = int(first.address.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be listened at"):
        fedbridge.Dashboard(tmp_path, port=port)
    first.close()
    fedbridge.Dashboard(tmp_path, port=port).close()


def test_others_may_ask_only_by_a_name(tmp_path):
    with pytest.raises(UserError, match=r"names: must be given with the host 0\.0\.0\.0"):
        fedbridge.Dashboard(tmp_path, host="0.0.0.0")
