"""What every head of the large side must keep to; a new entry of HEADS is tested on arrival."""

from typing import Any

import pytest

from fedbridge.core.errors import UserError
from fedbridge.methods.files import parse_config
from fedbridge.methods.registry import HEADS
from fedbridge.runs.contracts import check_head

LONG: dict[str, dict[str, Any]] = {
    "prototypes": {"probe_epochs": 10, "probe_lr": 0.05},
    "tail-anchors": {"probe_epochs": 30},
}
"""Options without which a head would not have learnt a task in so few rounds."""


@pytest.mark.parametrize("name", sorted(HEADS))
def test_it_keeps_to_what_all_heads_do(name: str):
    check_head(name, **LONG.get(name, {}))


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_key_of_another_head_is_refused_with_its_owner(name: str):
    known = HEADS[name].options.model_fields
    for other, head in HEADS.items():
        for key in head.options.model_fields.keys() - known.keys():
            with pytest.raises(UserError, match=rf"^test: large\.{key}: belongs to .*'{other}'"):
                parse_config({"large": {"head": name, key: 1}}, "test")
