"""TARGET (Zhang et al., ICCV 2023): the averaged model dreams up pictures of what it has learnt.

The server synthesises them, and clients hold on to what their former selves say of them. Adapted:
class scores come from the fixed anchors, and the clients' divergence is taken at the temperature
of the shared space over all classes that the pictures were made for; with several architectures
the teacher is the mean of their averages; a batch is synthesised in few steps, so that a task
costs seconds. Every client is sent the pictures with each broadcast.
"""

import copy
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fedbridge.config.section import Batch, Options, Positive, Rate, Weight
from fedbridge.core.losses import divergence
from fedbridge.core.rng import seed_for
from fedbridge.methods.averaging import Averaging, average, group_means, of_one_kind
from fedbridge.methods.context import SharedContext, TrainContext
from fedbridge.methods.digest import known_to
from fedbridge.methods.generator import NOISE, Generator, Statistics
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads
from fedbridge.methods.spec import Fusion, Learner
from fedbridge.models.small.space import SmallModel, as_input, embed
from fedbridge.wire import State, Step


class TargetLearner(Options):
    """The clients' part of TARGET: synthetic pictures stand for what was learnt before."""

    name: Literal["target"] = "target"
    weight: Weight = 1.0
    """Weight of distillation from the own model as it ended the previous task, on the pictures."""
    batch: Batch = 64
    """Synthetic pictures per step; normalisation layers need two at least."""
    classes: Literal["seen", "task"] = "task"
    """Classes of the cross entropy's softmax: all that the client has seen, or the task's only."""


class TARGET(Averaging):
    """FedAvg, and pictures synthesised after every task from the average alone."""

    name: Literal["target"] = "target"
    items: Positive = 300
    """Pictures synthesised after each task and sent to every client."""
    synthesis: Batch = 100
    """Pictures that are synthesised at a time."""
    steps: Positive = 20
    """Steps of the generator, and then of its opponent, for each such batch."""
    lr: Rate = 0.002
    """Learning rate of Adam for the generator."""
    match: Weight = 1.0
    """Weight of the distance to the statistics that normalisation layers have recorded."""
    differ: Weight = 1.0
    """Weight of the divergence between the average and an opponent that learns from the pictures,
    which the generator seeks where both are of one opinion."""


def target(context: TrainContext, options: TargetLearner) -> None:
    """Train the context's model in place; without synthetic pictures this is fine-tuning.

    Eq. 5: cross entropy on the task's items, plus ``weight`` times the divergence from the model
    that ended the previous task, on pictures that the server synthesised.
    """
    optimiser = context.optimiser()
    classes = context.classes(options.classes)
    dreams = _dreams(context)
    for batch in context.batches():
        embedding = context.model(as_input(batch.inputs))
        loss = context.classification_loss(embedding, batch.labels, classes)
        if dreams is not None and options.weight:
            loss = loss + options.weight * _forgotten(context, dreams, options.batch)
        context.optimizer_step(optimiser, loss)


class _Dreams(NamedTuple):
    inputs: Tensor  # (n, C, S, S), uint8
    answers: Tensor  # (n, C'), logits of the former model
    classes: Tensor  # (C',), class ids


def _dreams(context: TrainContext) -> _Dreams | None:
    inputs = context.received.get("synthetic")
    if inputs is None or not context.former:
        return None
    teacher = copy.deepcopy(context.model)
    teacher.load_state_dict(context.former)
    classes = context.received["synthetic_labels"].unique()
    return _Dreams(inputs, context.shared.logits(embed(teacher, inputs), classes), classes)


def _forgotten(context: TrainContext, dreams: _Dreams, size: int) -> Tensor:
    rows = torch.randint(len(dreams.inputs), (size,), generator=context.generator)
    rows = rows.to(dreams.inputs.device)
    embedding = context.model(as_input(dreams.inputs[rows]))
    return divergence(dreams.answers[rows], context.shared.logits(embedding, dreams.classes)).mean()


def average_and_synthesise(
    round_: RoundUploads, shared: SharedContext, options: TARGET, map_jobs: MapJobs
) -> FusionResult:
    """Average models; after each task synthesise pictures from the average (TARGET, ICCV 2023).

    ``shared["synthetic"]`` are pictures ``(n, C, S, S)`` in uint8 and
    ``shared["synthetic_labels"] (n,)`` the classes they were made for, of all that anybody has
    seen. They replace those of the task before; after the last task nobody would need any.
    """
    step, config = round_.step, shared.config
    ends_a_task = step.round == config.training.rounds
    if round_.students and ends_a_task and step.task < config.scenario.slots:
        classes = known_to([student.predictions for student in round_.students], shared)
        synthesis = Synthesis(shared, group_means(round_.students), classes, step)
        round_.notes["synthetic"], round_.notes["synthetic_labels"] = synthesis.pictures(options)
    fused = average(round_, shared, options, map_jobs)
    return FusionResult(fused.states, [], dict(round_.notes))


class Synthesis:
    """A generator, the averaged models that teach it, and an opponent that learns from it."""

    def __init__(
        self, shared: SharedContext, means: dict[str, State], classes: Tensor, step: Step
    ) -> None:
        self.shared = shared
        self.classes = classes
        self.teachers = [_frozen(shared, model, state) for model, state in means.items()]
        self.statistics = Statistics(self.teachers)
        self.opponent = shared.small_model(next(iter(means)), f"opponent-{step.task}")
        seed = seed_for(shared.config.seed, "synthesise", *step)
        self.draws = torch.Generator().manual_seed(seed)
        self.generator = Generator.seeded(shared.input_shape, seed).to(shared.device)

    def pictures(self, options: TARGET) -> tuple[Tensor, Tensor]:
        """Return pictures ``(n, C, S, S)`` in uint8 and the classes ``(n,)`` they were made for."""
        optimiser = torch.optim.Adam(self.opponent.parameters(), lr=options.lr)
        made: list[Tensor] = []
        wanted: list[Tensor] = []
        for size in _sizes(options.items, options.synthesis):
            wanted.append(self._labels(size))
            made.append(self.batch(wanted[-1], options))
            self._oppose(torch.cat(made), optimiser, options)
        return torch.cat(made).cpu(), self.classes[torch.cat(wanted)].cpu()

    def batch(self, wanted: Tensor, options: TARGET) -> Tensor:
        """Train the generator and its noise for classes at places ``wanted (n,)``.

        Returns pictures ``(n, C, S, S)`` in uint8.
        """
        noise = torch.randn(len(wanted), NOISE, generator=self.draws).to(self.shared.device)
        noise.requires_grad_()
        optimiser = torch.optim.Adam(self.generator.parameters(), options.lr, (0.5, 0.999))
        optimiser.add_param_group({"params": [noise], "lr": 0.01})
        for _ in range(options.steps):
            loss = self.loss(self.generator(noise), wanted, options)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        pictures: Tensor = self.generator(noise).detach()
        return (255 * pictures).round().to(torch.uint8)

    def loss(self, pictures: Tensor, wanted: Tensor, options: TARGET) -> Tensor:
        """Return the generator's loss for pictures ``(n, C, S, S)`` in [0, 1] (eq. 1 to 4).

        Cross entropy of the teacher with the wanted classes, plus the distance to the recorded
        statistics, less what the opponent does not know yet where it agrees.
        """
        self.opponent.eval()
        teacher = self._teach(pictures)
        loss = F.cross_entropy(teacher, wanted) + options.match * self.statistics.taken()
        opponent = self.shared.logits(self.opponent(pictures), self.classes)
        agree = opponent.argmax(1) == teacher.argmax(1)
        return loss - options.differ * (agree * divergence(teacher, opponent)).mean()

    def _oppose(self, pool: Tensor, optimiser: torch.optim.Optimizer, options: TARGET) -> None:
        """Let the opponent learn the teacher's answers on all pictures so far."""
        self.opponent.train()
        with torch.no_grad():
            answers = self._teach(as_input(pool))
        self.statistics.taken()
        for _ in range(options.steps):
            rows = torch.randint(len(pool), (options.synthesis,), generator=self.draws)
            rows = rows.to(pool.device)
            now = self.shared.logits(self.opponent(as_input(pool[rows])), self.classes)
            loss = divergence(answers[rows], now).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def _teach(self, pictures: Tensor) -> Tensor:
        logits = [self.shared.logits(t(pictures), self.classes) for t in self.teachers]
        return torch.stack(logits).mean(0)

    def _labels(self, size: int) -> Tensor:
        places = torch.randint(len(self.classes), (size,), generator=self.draws)
        return places.to(self.shared.device)


def _frozen(shared: SharedContext, model: str, state: State) -> SmallModel:
    teacher = shared.small_model(model, model)
    teacher.load_state_dict(state)
    teacher.eval()
    for weight in teacher.parameters():
        weight.requires_grad_(False)
    return teacher


def _sizes(items: int, batch: int) -> list[int]:
    """Return how many pictures to make at a time; never one alone, which cannot be normalised."""
    sizes = [batch] * (items // batch) + [items % batch] * (items % batch > 0)
    return [max(size, 2) for size in sizes]


LEARNER = Learner(options=TargetLearner, learn=target)
FUSION = Fusion(
    options=TARGET,
    fuse=average_and_synthesise,
    shared_init=True,
    pictures_only=True,
    check=of_one_kind,
)
