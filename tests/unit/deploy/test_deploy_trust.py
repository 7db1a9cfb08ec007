import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedbridge.core.errors import UserError
from fedbridge.deploy import trust
from fedbridge.deploy.folder import renew
from fedbridge.deploy.keys import new_authority, new_client_key
from fedbridge.deploy.settings import ServerSettings, read_env


def settings(deployment: Path) -> ServerSettings:
    return read_env(deployment / "server" / "server.env", ServerSettings)


def checked_server(deployment: Path) -> str:
    return trust.server_certificate(deployment / "server", settings(deployment))


def test_what_is_right_is_told(original: Path):
    server, client = original / "server", original / "clients" / "a"
    assert trust.authority(server) == "3649 days left"
    assert trust.authority_key(original / "ca") == "private, belongs to ca.crt"
    assert checked_server(original).startswith("364 days left, for fed.example.org, 10.0.0.7")
    assert trust.server_key(server) == "private, belongs to server.pem"
    assert trust.client_key(client) == "private, belongs to key.pub"
    assert trust.registered_keys(server, settings(original)) == "one for each of 2 clients"
    assert trust.same_key(server, client) == "the server has it"
    assert trust.same_authority(server, client) == "the same as the server's"


def test_a_certificate_that_ends_soon_is_told(deployment: Path):
    renew(deployment, (), 20)
    assert "19 days left; renew it: fedbridge deploy renew" in checked_server(deployment)


def after(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many days pass."""
    shifted = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return shifted

    monkeypatch.setattr(trust.dt, "datetime", Clock)


@pytest.mark.parametrize(
    ("days", "left"), [(334, "30 days left, for"), (335, "29 days left; renew")]
)
def test_a_month_before_its_end_a_certificate_is_still_in_order(
    original: Path, monkeypatch: pytest.MonkeyPatch, days: int, left: str
):
    after(days, monkeypatch)
    assert checked_server(original).startswith(left)


@pytest.mark.parametrize(
    ("days", "words"),
    [(366, "must not have expired, found 20"), (-1, "valid from 20.*is the clock right")],
)
def test_dates_are_checked(original: Path, monkeypatch: pytest.MonkeyPatch, days: int, words: str):
    after(days, monkeypatch)
    with pytest.raises(UserError, match=words):
        checked_server(original)


def no_authority(deployment: Path) -> None:
    shutil.copy(deployment / "server" / "server.pem", deployment / "server" / "ca.crt")


def other_authority(deployment: Path) -> None:
    other = deployment / "other"
    other.mkdir()
    new_authority(other)
    shutil.copy(other / "ca.crt", deployment / "server" / "ca.crt")


def other_server_key(deployment: Path) -> None:
    shutil.copy(deployment / "ca" / "ca.key", deployment / "server" / "server.key")


def other_client_key(deployment: Path) -> None:
    shutil.copy(deployment / "clients" / "b" / "key", deployment / "clients" / "a" / "key")


def open_key(deployment: Path) -> None:
    (deployment / "clients" / "a" / "key").chmod(0o640)


def no_key(deployment: Path) -> None:
    (deployment / "clients" / "a" / "key").unlink()


def more_hosts(deployment: Path) -> None:
    path = deployment / "server" / "server.env"
    text = path.read_text(encoding="utf-8").replace("HOSTS=", "HOSTS=other.example.org,")
    path.write_text(text, encoding="utf-8")


def one_key_for_two(deployment: Path) -> None:
    keys = deployment / "server" / "keys"
    shutil.copy(keys / "a.pub", keys / "b.pub")


def no_public_key(deployment: Path) -> None:
    (deployment / "server" / "keys" / "b.pub").unlink()


def changed_key(deployment: Path) -> None:
    (deployment / "server" / "keys" / "a.pub").unlink()
    new_client_key(deployment / "server" / "keys" / "a", "a")


WRONG: dict[str, tuple[Callable[[Path], None], Callable[[Path], str], str]] = {
    "no authority": (
        no_authority,
        lambda d: trust.authority(d / "server"),
        "must be the certificate of an authority",
    ),
    "another authority": (other_authority, checked_server, "must be signed by the CA"),
    "authorities differ": (
        other_authority,
        lambda d: trust.same_authority(d / "server", d / "clients" / "a"),
        "must be the same as in",
    ),
    "another server's key": (
        other_server_key,
        lambda d: trust.server_key(d / "server"),
        "must belong to server.pem, found the key of another",
    ),
    "another client's key": (
        other_client_key,
        lambda d: trust.client_key(d / "clients" / "a"),
        "must belong to key.pub, found the key of another",
    ),
    "a key that others can read": (
        open_key,
        lambda d: trust.client_key(d / "clients" / "a"),
        "must be private, found mode 0640; chmod 600 ",
    ),
    "no key": (no_key, lambda d: trust.client_key(d / "clients" / "a"), "cannot be read"),
    "a name too few": (more_hosts, checked_server, "must be for other.example.org, found 10.0.0.7"),
    "one key for two": (
        one_key_for_two,
        lambda d: trust.registered_keys(d / "server", settings(d)),
        "b.pub: must differ from every other key, found that of a",
    ),
    "no public key": (
        no_public_key,
        lambda d: trust.registered_keys(d / "server", settings(d)),
        "b.pub: must be a public key of OpenSSH: No such file",
    ),
    "a changed key": (
        changed_key,
        lambda d: trust.same_key(d / "server", d / "clients" / "a"),
        "must be the same key as",
    ),
}


@pytest.mark.parametrize(("damage", "check", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(
    deployment: Path, damage: Callable[[Path], None], check: Callable[[Path], str], words: str
):
    assert check(deployment)
    damage(deployment)
    with pytest.raises(UserError, match=words):
        check(deployment)
