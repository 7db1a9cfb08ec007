"""The client's side: its private stream, its small model and its ways to learn."""

from collections.abc import Callable
from typing import Any

from fedbridge.client.finetune import finetune
from fedbridge.client.lesson import Lesson
from fedbridge.client.smcf import smcf

LEARNERS: dict[str, Callable[[Lesson, Any], None]] = {
    "finetune": finetune,
    "smcf": smcf,
}
