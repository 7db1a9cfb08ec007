"""Fine-tuning: cross entropy on the task's data and nothing else, the lower bound."""

from fedbridge.client.lesson import Lesson
from fedbridge.config import FineTune
from fedbridge.models.space import as_input


def finetune(lesson: Lesson, options: FineTune) -> None:
    """Train the lesson's model in place on the task's items alone."""
    optimiser = lesson.optimiser()
    classes = lesson.classes(options.classes)
    for batch in lesson.batches():
        embedding = lesson.model(as_input(batch.inputs))
        lesson.descend(optimiser, lesson.supervised(embedding, batch.labels, classes))
