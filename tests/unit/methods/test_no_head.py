"""No large side at all: whoever asks it learns nothing."""

from pathlib import Path

import torch

from fedbridge.methods.no_head import HEAD
from fedbridge.wire import Step, Upload
from worlds import bare_context, tiny_config


def test_it_knows_nothing_and_keeps_nothing(tmp_path: Path):
    config = tiny_config(large={"head": "none"})
    assert not config.large.embeds and config.large.tuned is None
    shared = bare_context(config, 3, torch.zeros(2, 1, 16, 16), torch.zeros(2, 1))
    client, server = HEAD.client(shared, config.large), HEAD.server(shared, ("a",), config.large)
    client.take({"head": torch.ones(1, 3)})
    assert not client.known.numel() and client.settled and not client.behind
    assert client.scores(torch.ones(2, 1)).tolist() == [[0.0] * 3] * 2
    assert client.state() == {} and not client.trainable(*torch.zeros(2, 1), Step(1, 1))
    server.absorb(Upload("a", 1, 1, {}, (0,), adapter={"head": torch.ones(1, 3)}))
    assert server.finish_round([]) == [] and server.adapter("a") == {} == server.trained
    server.save(tmp_path)
    assert not list(tmp_path.iterdir())
