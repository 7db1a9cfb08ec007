from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.errors import UserError
from fedbridge.deploy.settings import (
    NAME,
    ClientSettings,
    ServerSettings,
    client_names,
    host_names,
    read_env,
    write_env,
)


@pytest.mark.parametrize("name", ["a", "hospital-a", "Site_2.north", "7", "x" * 63])
def test_names_of_clients(name: str):
    assert client_names([name, "other"]) == (name, "other")


@pytest.mark.parametrize("name", ["", " a", "a b", "../a", "-a", ".a", 'a"', "a/b", "ä", "x" * 64])
def test_unfit_names_of_clients_are_refused(name: str):
    with pytest.raises(UserError, match="clients: a name must be a letter or digit"):
        client_names(["a", name])


@pytest.mark.parametrize("doubled", [["a", "b", "a"], ["a", "A"]])
def test_doubled_names_are_refused(doubled: list[str]):
    with pytest.raises(
        UserError, match=f"must differ, and not by case alone, found '{doubled[-1]}'"
    ):
        client_names(doubled)


@pytest.mark.parametrize("name", ["CON", "nul.north", "com1", "a."])
def test_names_that_windows_keeps_are_refused(name: str):
    with pytest.raises(UserError, match=f"must not be a name that Windows keeps, found '{name}'"):
        client_names(["a", name])


def test_there_must_be_a_client():
    with pytest.raises(UserError, match="at least one client"):
        client_names([])


def test_hosts_include_this_machine_once():
    assert host_names([]) == ("localhost", "127.0.0.1")
    assert host_names(["fed.example.org", "localhost"]) == (
        "fed.example.org",
        "localhost",
        "127.0.0.1",
    )
    assert host_names(["::1"])[0] == "::1"


@pytest.mark.parametrize("host", ["", "a b", "10.0.0.256", "-a.org", "a..org", "h:80", "*.org"])
def test_unfit_hosts_are_refused(host: str):
    with pytest.raises(UserError, match="hosts: must be a DNS name or an IP address"):
        host_names([host])


@given(
    st.lists(st.from_regex(NAME, fullmatch=True), min_size=1, max_size=4, unique=True),
    st.integers(1, 65535),
)
def test_settings_come_back_as_they_were(clients: list[str], port: int):
    settings = ServerSettings(
        hosts=("::1", "fed.org"), port=port, superlink_port=1, clients=tuple(clients)
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "server.env"
        path.write_text(write_env(settings), encoding="utf-8")
        assert read_env(path, ServerSettings) == settings


@pytest.mark.parametrize(
    ("superlink", "endpoint"),
    [("fed.org:8000", ("fed.org", 8000)), ("[::1]:80", ("::1", 80)), ("1.2.3.4:5", ("1.2.3.4", 5))],
)
def test_where_a_client_finds_its_server(superlink: str, endpoint: tuple[str, int]):
    settings = ClientSettings(client="a", superlink=superlink, runtime_port=1)
    assert settings.endpoint == endpoint


def test_an_address_with_colons_is_put_into_brackets():
    settings = ServerSettings(hosts="::1", port=8000, superlink_port=1, clients="a")
    assert settings.address == "[::1]:8000"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CLIENT\n", "every line must be NAME=VALUE, found 'CLIENT'"),
        ("CLIENT=a\nSUPERLINK=h:1\n", "RUNTIME_PORT: Field required"),
        ("CLIENT=a\nSUPERLINK=h:1\nRUNTIME_PORT=70000\n", "RUNTIME_PORT: .* found '70000'"),
        ("CLIENT=a\nSUPERLINK=h:1\nRUNTIME_PORT=1\nX=1\n", "X: Extra inputs"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, text: str, words: str):
    path = tmp_path / "client.env"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words) as caught:
        read_env(path, ClientSettings)
    assert str(caught.value).startswith(str(path))


def test_missing_settings_are_told(tmp_path: Path):
    with pytest.raises(UserError, match="cannot read these settings"):
        read_env(tmp_path / "client.env", ClientSettings)


@pytest.mark.parametrize("superlink", ["fed.org", ":8000", "fed.org:http"])
def test_a_server_without_port_is_told(superlink: str):
    settings = ClientSettings(client="a", superlink=superlink, runtime_port=1)
    with pytest.raises(UserError, match="SUPERLINK: must be HOST:PORT"):
        _ = settings.endpoint
