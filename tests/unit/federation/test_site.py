"""Clients from their own files in one federation, and what the server knows without them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from fedbridge.client.client import FederatedClient
from fedbridge.core.errors import UserError
from fedbridge.data.public import public_set
from fedbridge.federation.embeddings import no_embeddings
from fedbridge.federation.loop import federate, steps
from fedbridge.federation.setup import build_worker_state, plan, prepare
from fedbridge.federation.site import site_client
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.runs.estimate import estimate
from fedbridge.server.server import Server
from fedbridge.wire import UPLOAD_FIELDS, Broadcast, Step, Upload
from sites import common, rows, site_file, task, write_csv
from worlds import accuracy, same_state, sent


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))


def folders(root: Path, live: bool = False) -> dict[str, Path]:
    """Write two sites with two tasks of pictures each; return their files."""
    files = {}
    for seed, name in enumerate(("north", "south")):
        task(root / name / "p" / "a", ["cat", "dog"], seed=seed)
        task(root / name / "p" / "b", ["eel", "fox"], seed=seed)
        layout = {"layout": "task/class/file", "live": live and name == "south"}
        files[name] = site_file(root / name, name, kind="images", path="p", **layout)
    return files


def clients_of(config: Config, files: dict[str, Path]) -> dict[str, FederatedClient]:
    return {name: site_client(config, name, path) for name, path in files.items()}


@dataclass
class Asked:
    """A transport that asks every client, through the wire, and keeps what came."""

    clients: dict[str, FederatedClient]
    uploads: list[Upload] = field(default_factory=list)

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        for name, broadcast in broadcasts.items():
            self.uploads.append(sent(self.clients[name].learn(sent(broadcast))))
            if self.uploads[-1].state:
                yield self.uploads[-1]


def server_of(config: Config) -> Server:
    common = prepare(config)
    return Server(common.shared, common.models, lambda f, jobs: [f(common.shared, j) for j in jobs])


def federated(config: Config, clients: dict[str, FederatedClient]) -> tuple[Server, Asked]:
    server, asked = server_of(config), Asked(clients)
    for _ in federate(server, asked, steps(config)):
        pass
    return server, asked


def test_sites_learn_together_from_their_own_files(tmp_path):
    config = common(scenario={"tasks": 2})
    server, asked = federated(config, clients_of(config, folders(tmp_path)))
    for name, client in asked.clients.items():
        evaluation = client.evaluate(sent(server.broadcast(Step(2, 2))[name]))
        assert accuracy(evaluation, "large", "class-incremental", (1, 2)) > 0.9
        assert accuracy(evaluation, "small", "task-aware", (2,)) > 0.7


def test_tables_are_learnt_as_pictures_are(tmp_path):
    config = common("text", scenario={"tasks": 2}, training={"epochs": 6})
    files = {}
    for start, name in ((0, "north"), (200, "south")):
        write_csv(tmp_path / name / "t.csv", rows(160, start))
        columns = {"features": ["weight", "colour"], "task": "task"}
        files[name] = site_file(tmp_path / name, name, kind="csv", path="t.csv", **columns)
    server, asked = federated(config, clients_of(config, files))
    evaluation = asked.clients["north"].evaluate(sent(server.broadcast(Step(2, 2))["north"]))
    assert accuracy(evaluation, "small", "class-incremental", (1, 2)) > 0.5  # of four classes


def test_the_server_knows_no_private_item(tmp_path):
    config = common()
    known = prepare(config).shared
    assert known.classes == ("cat", "dog", "eel", "fox")
    assert known.input_shape == (3, 16, 16)
    assert len(known.public_inputs) == len(known.public_features) == 24
    client = site_client(config, "north", folders(tmp_path)["north"])
    assert torch.equal(client.shared.public_inputs, known.public_inputs)
    assert np.array_equal(client.shared.public_features, known.public_features)


def test_a_site_with_nothing_new_says_so_and_keeps_measuring(tmp_path):
    config = common()  # three slots for two tasks
    server, asked = federated(config, clients_of(config, folders(tmp_path)))
    last = [upload for upload in asked.uploads if upload.task == 3]
    assert [upload.state for upload in last] == [{}, {}, {}, {}]
    assert all(set(vars(upload)) <= UPLOAD_FIELDS for upload in asked.uploads)
    evaluation = asked.clients["north"].evaluate(sent(server.broadcast(Step(3, 2))["north"]))
    assert evaluation.after_task == 2
    assert {row[0] for row in evaluation.rows} == {1, 2}


def test_all_that_arrives_in_time_is_learnt_as_if_it_had_been_there(tmp_path):
    # a memory without bounds: a live client cannot know how many classes will have to share it
    config = common(scenario={"tasks": 2}, learner={"memory": 50})
    files = folders(tmp_path, live=True)
    for name in "ab":
        (tmp_path / "south" / "p" / name / "_DONE").touch()
    _, live = federated(config, clients_of(config, files))
    _, known = federated(config, clients_of(config, folders(tmp_path / "again")))
    for one, other in zip(live.uploads, known.uploads, strict=True):
        assert same_state(one.state, other.state)
        assert torch.equal(one.cross, other.cross)


def test_a_restarted_client_goes_on_where_it_was(tmp_path):
    config = common(training={"rounds": 1})
    files = folders(tmp_path, live=True)
    (tmp_path / "south" / "p" / "b" / "_DONE").touch()
    client, server = site_client(config, "south", files["south"]), server_of(config)
    client.learn(sent(server.broadcast(Step(1, 1))["south"]))
    (tmp_path / "kept").mkdir()
    client.save(tmp_path / "kept")
    (tmp_path / "south" / "p" / "a" / "_DONE").touch()
    again = site_client(config, "south", files["south"])
    again.load(tmp_path / "kept")
    broadcast = sent(server.broadcast(Step(2, 1))["south"])
    one, other = client.learn(broadcast), again.learn(broadcast)
    assert one.seen == other.seen == (0, 1, 2, 3)
    assert same_state(one.state, other.state)
    assert torch.equal(one.gram, other.gram)


def test_a_share_of_built_in_data_is_what_the_local_engine_gives():
    scenario = {"clients": 2, "tasks": 2, "classes_per_task": 2}
    tree = {"scenario": scenario, "large": {"size": 16}, "training": {"rounds": 1, "epochs": 1}}
    config = parse_config(tree, "test")
    client = site_client(config, "client-2")
    crew = build_worker_state(config, prepare(config).store, ("client-2",))
    broadcast = Broadcast(1, 1)
    one, other = client.learn(broadcast), crew.clients["client-2"].learn(broadcast)
    assert same_state(one.state, other.state)
    assert torch.equal(one.gram, other.gram)


# -- refusals


def refused(config: Config, name: str, path: Path | None) -> str:
    with pytest.raises(UserError) as caught:
        site_client(config, name, path)
    return str(caught.value)


def test_the_site_config_must_be_the_clients_own(tmp_path):
    files = folders(tmp_path)
    message = refused(common(), "north", files["south"])
    assert message == f"{files['south']}: client: must be 'north', found 'south'"


def test_a_client_must_be_in_the_common_config(tmp_path):
    path = site_file(tmp_path, "west", kind="images", path="p")
    message = refused(common(), "west", path)
    assert message.startswith("client: must be one of north, south with data.name = 'site'")


def test_own_data_and_built_in_data_exclude_each_other(tmp_path):
    files = folders(tmp_path)
    built_in = parse_config({"scenario": {"clients": 2}}, "test")
    assert "data.kind: must be 'experiment'" in refused(built_in, "north", files["north"])
    assert "data.kind: must be 'experiment'" in refused(common(), "north", None)


def test_no_common_config_names_a_folder_at_a_site(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text('client = "client-1"\n')
    config = parse_config({"data": {"name": f"hf:{tmp_path}"}}, "test")
    assert "a common config must not name what lies at a site" in refused(config, "client-1", path)


def test_an_item_of_the_public_set_is_refused(tmp_path):
    config = common("text")
    public = public_set(config.data, *plan(config), config.seed)
    table = [*rows(80), rows(1)[0] | {"text": public.items[3]}]
    write_csv(tmp_path / "t.csv", table)
    path = site_file(tmp_path, "north", kind="csv", path="t.csv", text="text")
    assert "data.public: must hold no item of a client's, found 1 of 24" in refused(
        config, "north", path
    )


def test_the_local_engine_has_no_sites():
    with pytest.raises(UserError, match=r"data.name: must be a data set that is here"):
        build_worker_state(common(), no_embeddings(0), ("north",))


def test_what_a_run_costs_cannot_be_told_without_the_data():
    with pytest.raises(UserError, match=r"look at each site's data there with fedbridge data"):
        estimate(common())
