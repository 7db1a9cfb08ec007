"""What a site has on its own disk after a run predicts as the run was measured there."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import fedbridge
from fedbridge.client.disk import Resident
from fedbridge.core.errors import UserError
from fedbridge.federation.loop import federate, steps
from fedbridge.federation.setup import prepare
from fedbridge.federation.site import site_client
from fedbridge.inference.restore import predictor_at
from fedbridge.methods.config import Config
from fedbridge.methods.files import dump_config
from fedbridge.runs.run import Run
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast, Evaluation, Request, Upload, decode, encode
from sites import common, site_file, task

RUN = "0123456789abcdef"
SITES = ("north", "south")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))


class Homes:
    """The sites as a deployment has them: each answers from what lies on its disk."""

    def __init__(self, root: Path, config: Config, live: bool) -> None:
        self.number, self.homes = 0, {}
        for seed, name in enumerate(SITES):
            task(root / name / "p" / "a", ["cat", "dog"], seed=seed)
            task(root / name / "p" / "b", ["eel", "fox"], seed=seed)
            data = {"layout": "task/class/file", "live": live, "complete": "always"}
            own = site_file(root / name, name, kind="images", path="p", **data)
            build = partial(site_client, config, name, own)
            self.homes[name] = Resident(name, build, root / name / "state", 2, dump_config(config))

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        self.number += 1
        for name, broadcast in broadcasts.items():
            asked = Request(RUN, self.number, learn=encode(broadcast))
            yield decode(self.homes[name].answer(asked).upload, "Upload")

    def measured(self, broadcasts: dict[str, Broadcast]) -> dict[str, Evaluation]:
        self.number += 1
        asked = {n: Request(RUN, self.number, measure=encode(b)) for n, b in broadcasts.items()}
        return {
            name: decode(home.answer(asked[name]).evaluation, "Evaluation")
            for name, home in self.homes.items()
        }


def federated(root: Path, live: bool = False, **changes) -> dict[str, Evaluation]:
    """Carry a whole run out at two sites; return what each measured at its end."""
    config = common(scenario={"tasks": 2}, **changes)
    homes, common_site = Homes(root, config, live), prepare(config)
    server = Server(
        common_site.shared,
        common_site.models,
        lambda function, jobs: [function(common_site.shared, job) for job in jobs],
    )
    *_, last = federate(server, homes, steps(config))
    return homes.measured(server.broadcast(last))


def wanted(evaluation: Evaluation) -> dict[tuple[int, str], float]:
    rows = [row for row in evaluation.rows if row[2] == "class-incremental"]
    return {(on, using): right / n for on, using, _, right, n in rows}


@pytest.mark.parametrize(("head", "live"), [("analytic", True), ("probe", False)])
def test_a_sites_own_state_predicts_as_it_was_measured(tmp_path, head, live):
    large = {"model": "patches", "size": 16, "head": head}
    found = federated(tmp_path, live, large=large)
    one = predictor_at(tmp_path / "north")
    assert one.classes == ("cat", "dog", "eel", "fox")
    client = site_client(common(scenario={"tasks": 2}, large=large), "north",
                         tmp_path / "north" / "site.toml")  # fmt: skip
    if live:
        client.load(sorted((tmp_path / "north" / "state" / RUN).glob("step-*"))[-1])
    right = {}
    for on, own in enumerate(client.private.stream.tasks, start=1):
        names = [client.shared.classes[label] for label in client.private.labels[own.test]]
        for using in one.usable:
            right[on, using] = one.score(client.private.items_of(own.test), names, using)
    assert right == wanted(found["north"])
    assert min(right[on, "large"] for on in (1, 2)) > 0.9
    assert one.about["accuracy"]["large"]["tasks"] == [right[1, "large"], right[2, "large"]]


def test_it_is_loaded_and_saved_like_any_other(tmp_path):
    federated(tmp_path, large={"head": "none"}, training={"rounds": 1, "epochs": 1})
    one = fedbridge.load(tmp_path / "south")
    assert (one.about["client"], one.usable) == ("south", ("small",))
    picture = next((tmp_path / "south" / "p").rglob("*.png"))
    one.save(tmp_path / "saved")
    assert fedbridge.load(tmp_path / "saved").predict([picture]) == one.predict([picture])
    with pytest.raises(UserError, match="holds the models of 'south' alone, found 'north'"):
        predictor_at(tmp_path / "south", "north")


def test_who_has_nothing_yet_is_told(tmp_path):
    site_file(tmp_path / "north", "north", kind="images", path="p")
    with pytest.raises(UserError, match="state of client 'north' to predict from, found none"):
        predictor_at(tmp_path / "north")


def test_the_server_says_where_it_can_be_told(tmp_path):
    run = Run.create(tmp_path / "run", common())
    with run.checkpoint(1):
        pass
    with pytest.raises(UserError, match=r"only there can it be told .* holds a site's site\.toml"):
        predictor_at(tmp_path / "run", "north")
