import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.models.small.space import embed
from fedbridge.server import warm
from fedbridge.server.warm import warm_start
from fedbridge.wire import State
from worlds import World, make_world, same_state, tiny_config


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(folder))
    return folder


def warm_world(epochs: int = 20, projection: int = 0, **small: object) -> World:
    small = {"warm_epochs": epochs} | small
    return make_world(tiny_config(small=small, large={"projection": projection}))


def cosines(table: Tensor) -> Tensor:
    table = torch.nn.functional.normalize(table.double(), dim=1)
    return table @ table.T


def likeness(world: World, state: State) -> float:
    """Return how alike the model and the FM find the pairs of public items."""
    model = world.shared.small_model("mlp", "client-1")
    model.load_state_dict(state)
    features = torch.from_numpy(world.shared.public_features)
    pairs = (
        cosines(embed(model, world.shared.public_inputs)),
        cosines(features - features.mean(0)),
    )
    off = ~torch.eye(len(features), dtype=torch.bool)
    return float(torch.corrcoef(torch.stack([p[off] for p in pairs]))[0, 1])


@pytest.mark.parametrize("projection", [0, 64])
def test_a_warm_model_finds_alike_what_the_foundation_model_finds_alike(projection: int):
    world = warm_world(projection=projection)

    warm = likeness(world, warm_start(world.shared, "mlp"))

    cold = likeness(world, world.shared.small_model("mlp", "client-1").state_dict())
    assert warm > 0.95
    assert warm > cold + 0.05


def test_what_all_public_items_have_in_common_is_left_out():
    world = warm_world(projection=64)  # rectified features are far from zero on average
    model = world.shared.small_model("mlp", "client-1")
    model.load_state_dict(warm_start(world.shared, "mlp"))
    assert embed(model, world.shared.public_inputs).mean(0).norm() < 0.2


def test_the_warm_start_is_a_function_of_settings_and_architecture(cache: Path):
    world = warm_world(2)
    torch.manual_seed(1)
    one = warm_start(world.shared, "mlp")
    drawn = torch.rand(2)
    shutil.rmtree(cache)
    torch.manual_seed(2)
    again = warm_start(world.shared, "mlp")
    torch.manual_seed(1)

    assert same_state(one, again)
    assert torch.equal(torch.rand(2), drawn)  # the global generator was left alone
    changed = make_world(tiny_config(seed=1, small={"warm_epochs": 2}))
    other = warm_start(changed.shared, "mlp")
    assert not same_state(one, other)


def test_features_of_fewer_dimensions_than_the_space_are_enough():
    state = warm_start(warm_world(1, dimension=64).shared, "mlp")
    assert state["projector.weight"].shape[0] == 64
    assert all(value.isfinite().all() for value in state.values())


def test_a_last_batch_of_one_public_item_is_no_trouble():
    world = warm_world(1)
    size = world.shared.config.training.batch + 1
    shared = dataclasses.replace(
        world.shared,
        public_inputs=world.shared.public_inputs[:size],
        public_features=world.shared.public_features[:size],
    )
    assert all(value.isfinite().all() for value in warm_start(shared, "mlp").values())


def test_what_was_distilled_once_is_read_from_the_cache(monkeypatch: pytest.MonkeyPatch):
    world = warm_world(2)
    first = warm_start(world.shared, "mlp")
    monkeypatch.setattr(warm, "distilled", None)  # whoever calls it fails

    assert same_state(warm_start(world.shared, "mlp"), first)
    with pytest.raises(TypeError):
        warm_start(warm_world(3).shared, "mlp")
    with pytest.raises(TypeError):
        warm_start(warm_world(2, projection=64).shared, "mlp")
    with pytest.raises(TypeError):
        warm_start(world.shared, "cnn")


def test_an_architecture_that_was_changed_learns_anew(monkeypatch: pytest.MonkeyPatch):
    world = warm_world(2)
    warm_start(world.shared, "mlp")
    monkeypatch.setattr(warm, "distilled", None)
    monkeypatch.setattr(torch.nn.ReLU, "forward", lambda self, x: x.tanh())
    with pytest.raises(TypeError):
        warm_start(world.shared, "mlp")


def test_a_damaged_file_of_the_cache_is_written_anew(cache: Path):
    world = warm_world(2)
    first = warm_start(world.shared, "mlp")
    (path,) = (cache / "warm").iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], b"\xff" * len(whole)):
        path.write_bytes(damaged)
        assert same_state(warm_start(world.shared, "mlp"), first)
        assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_named(cache: Path):
    cache.mkdir()
    (cache / "warm").write_text("not a folder")
    with pytest.raises(UserError, match=r"warm: cannot store here.*FEDBRIDGE_CACHE"):
        warm_start(warm_world(1).shared, "mlp")
