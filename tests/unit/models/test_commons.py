import torch

from worlds import World, bare_context, same_state, tiny_config


def test_logits_are_the_temperature_times_cosines_with_the_anchors():
    config = tiny_config(small={"temperature": 5.0})
    shared = bare_context(config, 3, torch.zeros(1, 1, 16, 16), torch.zeros(1, 2))

    embedding = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])

    expected = torch.tensor([[0.0, 3.0], [5.0, 0.0]])
    torch.testing.assert_close(shared.logits(embedding, torch.tensor([2, 0])), expected)


def test_logits_of_a_class_do_not_depend_on_the_others(world: World):
    shared = world.shared
    embedding = torch.nn.functional.normalize(torch.randn(4, 32), dim=1)
    every = shared.logits(embedding, torch.arange(8))
    torch.testing.assert_close(shared.logits(embedding, torch.tensor([6, 1])), every[:, [6, 1]])


def test_a_clients_model_is_a_function_of_seed_and_client(world: World):
    one, again, other = (world.shared.small_model("mlp", name) for name in ("a", "a", "b"))
    assert same_state(one.state_dict(), again.state_dict())
    assert not same_state(one.state_dict(), other.state_dict())
    seeded = world.with_config(seed=1).shared.small_model("mlp", "a")
    assert not same_state(one.state_dict(), seeded.state_dict())


def test_a_clients_model_maps_the_public_set_into_the_shared_space(world: World):
    model = world.shared.small_model("mlp", "a")
    assert model(world.shared.public_inputs[:5] / 255).shape == (5, 32)
