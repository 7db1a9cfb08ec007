import torch
from rounds import gathered, student

from fedbridge.methods.fedweit import FedWeIT, average_base
from fedbridge.methods.rounds import FusionResult, RoundUploads
from fedbridge.wire import State, Step
from worlds import make_world, tiny_config

COMMONS = make_world(tiny_config(fusion={"name": "fedweit"})).shared


def fused(round_: RoundUploads) -> FusionResult:
    return average_base(round_, COMMONS, FedWeIT(), lambda function, jobs: [])


def sent(base: float, added: float) -> State:
    return {"w": torch.tensor([[base]]), "adaptive/w": torch.tensor([[added]])}


def test_all_bases_count_the_same_within_their_architecture():
    students = [
        student("a", sent(1.0, 7.0), num_examples=100),
        student("b", sent(3.0, 8.0), num_examples=1),
        student("c", sent(9.0, 9.0), model="cnn"),
    ]
    models = {"a": "mlp", "b": "mlp", "c": "cnn", "away": "mlp"}
    found = fused(gathered(students, models=models))
    assert {name: state["w"].item() for name, state in found.states.items()} == {
        "a": 2.0,
        "b": 2.0,
        "c": 9.0,
        "away": 2.0,
    }
    assert all(set(state) == {"w"} for state in found.states.values())


def test_additions_are_shared_when_a_task_is_finished_and_replaced_by_later_ones():
    notes: State = {}
    everybody = [student("a", sent(1.0, 7.0)), student("b", sent(3.0, 8.0))]
    assert fused(gathered(everybody, Step(1, 1), notes=notes)).shared == {}
    found = fused(gathered(everybody, Step(1, 2), notes=notes)).shared
    assert {key: value.item() for key, value in found.items()} == {"w/a": 7.0, "w/b": 8.0}
    later = fused(gathered([student("a", sent(1.0, 5.0))], Step(2, 2), notes=notes)).shared
    assert {key: value.item() for key, value in later.items()} == {"w/a": 5.0, "w/b": 8.0}


def test_models_of_other_learners_are_averaged_whole():
    students = [student("a", {"w": torch.ones(1)}), student("b", {"w": 3 * torch.ones(1)})]
    found = fused(gathered(students, Step(1, 2)))
    assert found.states["a"]["w"].item() == 2.0 and found.shared == {}
