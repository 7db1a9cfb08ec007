from typing import Any

import pytest
import torch
from rounds import axes, gathered, says, variance

from fedbridge.core.errors import UserError
from fedbridge.core.losses import divergence
from fedbridge.methods.context import SharedContext
from fedbridge.methods.fedet import FedET, opinions, through_large, train_large_head
from fedbridge.methods.rounds import PublicPredictions, RoundUploads, Student
from fedbridge.models.small.space import embed
from worlds import make_world, tiny_config

SURE = says("a", 2, c0=[6.0, 0.0], c1=[0.0, 1.0])
UNSURE = says("b", 2, c0=[1.0, 0.0], c1=[2.0, 3.0], c2=[0.0, 0.0])


def test_the_sure_have_more_weight_and_dissent_is_kept_apart():
    verdict, dissent, heard = opinions([SURE, UNSURE], axes(2))
    v, w = variance(6, 0), variance(1, 2, 0)
    # class 0: (6 v + 1 w) / (v + w) wins on item 0; both say class 1 of item 1
    assert (6 * v + w) / (v + w) > (0 * v + 2 * w) / (v + w)
    assert verdict.tolist() == [0, 1]
    assert heard.tolist() == [True, False]
    assert dissent[0, :3].tolist() == pytest.approx([1.0, 2.0, 0.0])  # b alone


def test_who_knows_a_single_class_is_no_error_and_hardly_heard():
    verdict, _, heard = opinions([SURE, says("c", 2, c1=[9.0, 9.0])], axes(2))
    assert verdict.tolist() == [0, 1] and heard.tolist() == [True, False]


def heads(
    features: torch.Tensor, diversity: float, models: list[PublicPredictions]
) -> torch.Tensor:
    chosen = {"name": "fedet", "diversity": diversity, "large_epochs": 200, "large_lr": 0.05}
    shared = axes(len(features), features=features, fusion=chosen)
    options = shared.config.fusion
    assert isinstance(options, FedET)
    generator = torch.Generator().manual_seed(0)
    return train_large_head(torch.zeros(2, 4), models, shared, options, generator)


def test_the_large_head_learns_the_verdict_and_leaves_other_classes_alone():
    features = torch.eye(2)
    head = heads(features, 0.0, [SURE, UNSURE])
    scores = (features @ head)[:, :3]
    assert scores.argmax(1).tolist() == [0, 1]
    assert not head[:, 3].any()


def test_dissent_makes_it_less_sure_where_there_is_any():
    features = torch.eye(2)
    p, q = ((features @ heads(features, d, [SURE, UNSURE]))[:, :3].softmax(1) for d in (0.0, 5.0))
    assert q[0, 0] < p[0, 0] - 0.1
    assert q[1, 1] == pytest.approx(float(p[1, 1]), abs=0.02)


def round_in(shared: SharedContext, **changes: Any) -> RoundUploads:
    found = []
    for name in ("client-1", "client-2"):
        model = shared.small_model("mlp", name)
        known = PublicPredictions(name, (0, 1, 2), embed(model, shared.public_inputs))
        found.append(Student(name, "mlp", model.state_dict(), known, ()))
    return gathered(found, **changes)


def test_small_models_learn_from_the_head_which_goes_on_from_round_to_round():
    chosen = {"name": "fedet", "epochs": 6, "lr": 0.003, "batch": 16}
    world = make_world(tiny_config(fusion=chosen))
    shared, options = world.shared, world.shared.config.fusion
    assert isinstance(options, FedET)
    round_ = round_in(shared)
    fused = through_large(round_, shared, options, world.map_jobs)
    head = round_.notes["head"]
    assert head.shape == (16, 8) and head.isfinite().all() and head[:, :3].any()
    answers = (torch.from_numpy(shared.public_features) @ head)[:, :3]
    for student in round_.students:
        gaps = []
        for state in (student.state, fused.states[student.name]):
            model = shared.small_model("mlp", "any")
            model.load_state_dict(state)
            now = shared.logits(embed(model, shared.public_inputs), torch.arange(3))
            gaps.append(float(divergence(answers, now).mean()))
        assert gaps[1] < 0.8 * gaps[0]
    again = round_in(shared, notes={"head": head})
    through_large(again, shared, options, world.map_jobs)
    assert not torch.equal(again.notes["head"], head)
    empty = through_large(gathered([]), shared, options, world.map_jobs)
    assert empty.states == {}


def test_without_embeddings_of_the_fm_it_is_refused():
    with pytest.raises(UserError, match=r"large\.head: .*'fedet'.* found 'none'"):
        tiny_config(fusion={"name": "fedet"}, large={"head": "none"})
