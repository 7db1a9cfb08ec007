"""Experience replay: every step sees remembered items beside the task's own.

Chaudhry et al., *On Tiny Episodic Memories in Continual Learning*, 2019, algorithm 1: one step on
the union of a batch of the task and a batch drawn from memory. What is remembered is the option
``keep``: see ``fedbridge.client.memory``.
"""

from fedbridge.client.lesson import Lesson
from fedbridge.config import Replay
from fedbridge.models.space import as_input


def replay(lesson: Lesson, options: Replay) -> None:
    """Train the lesson's model in place: cross entropy on new and on remembered items."""
    optimiser = lesson.optimiser()
    for batch in lesson.batches():
        items = batch
        if len(lesson.memory):
            items = batch + lesson.draw(lesson.memory, options.memory_batch)
        embedding = lesson.model(as_input(items.inputs))
        lesson.descend(optimiser, lesson.supervised(embedding, items.labels, lesson.seen))
