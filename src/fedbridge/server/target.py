"""TARGET (Zhang et al., ICCV 2023): the averaged model dreams up pictures of what it has learnt.

Adapted: class scores come from the fixed anchors; with several architectures the teacher is the
mean of their averages; a batch is synthesised in few steps, so that a task costs seconds. Every
client is sent the pictures with each broadcast.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedbridge.config import TARGET
from fedbridge.losses import divergence
from fedbridge.models.commons import Commons
from fedbridge.models.space import SmallModel, as_input
from fedbridge.rng import seed_for
from fedbridge.server.averaging import average, group_means
from fedbridge.server.digest import known_to
from fedbridge.server.generator import NOISE, Generator, Statistics
from fedbridge.server.round import Fused, Gathered, Spread
from fedbridge.wire import State, Step


def average_and_synthesise(
    round_: Gathered, commons: Commons, options: TARGET, spread: Spread
) -> Fused:
    """Average models; after each task synthesise pictures from the average (TARGET, ICCV 2023).

    ``shared["synthetic"]`` are pictures ``(n, C, S, S)`` in uint8 and
    ``shared["synthetic_labels"] (n,)`` the classes they were made for, of all that anybody has
    seen. They replace those of the task before; after the last task nobody would need any.
    """
    step, config = round_.step, commons.config
    ends_a_task = step.round == config.training.rounds
    if round_.students and ends_a_task and step.task < config.scenario.slots:
        classes = known_to([student.knowledge for student in round_.students], commons)
        synthesis = Synthesis(commons, group_means(round_.students), classes, step)
        round_.notes["synthetic"], round_.notes["synthetic_labels"] = synthesis.pictures(options)
    fused = average(round_, commons, options, spread)
    return Fused(fused.states, [], dict(round_.notes))


class Synthesis:
    """A generator, the averaged models that teach it, and an opponent that learns from it."""

    def __init__(
        self, commons: Commons, means: dict[str, State], classes: Tensor, step: Step
    ) -> None:
        self.commons = commons
        self.classes = classes
        self.teachers = [_frozen(commons, model, state) for model, state in means.items()]
        self.statistics = Statistics(self.teachers)
        self.opponent = commons.small_model(next(iter(means)), f"opponent-{step.task}")
        seed = seed_for(commons.config.seed, "synthesise", *step)
        self.draws = torch.Generator().manual_seed(seed)
        self.generator = Generator.seeded(commons.input_shape, seed).to(commons.device)

    def pictures(self, options: TARGET) -> tuple[Tensor, Tensor]:
        """Return pictures ``(n, C, S, S)`` in uint8 and the classes ``(n,)`` they were made for."""
        optimiser = torch.optim.Adam(self.opponent.parameters(), lr=options.rate)
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
        noise = torch.randn(len(wanted), NOISE, generator=self.draws).to(self.commons.device)
        noise.requires_grad_()
        optimiser = torch.optim.Adam(self.generator.parameters(), options.rate, (0.5, 0.999))
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
        opponent = self.commons.logits(self.opponent(pictures), self.classes)
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
            now = self.commons.logits(self.opponent(as_input(pool[rows])), self.classes)
            loss = divergence(answers[rows], now).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def _teach(self, pictures: Tensor) -> Tensor:
        logits = [self.commons.logits(t(pictures), self.classes) for t in self.teachers]
        return torch.stack(logits).mean(0)

    def _labels(self, size: int) -> Tensor:
        places = torch.randint(len(self.classes), (size,), generator=self.draws)
        return places.to(self.commons.device)


def _frozen(commons: Commons, model: str, state: State) -> SmallModel:
    teacher = commons.small_model(model, model)
    teacher.load_state_dict(state)
    teacher.eval()
    for weight in teacher.parameters():
        weight.requires_grad_(False)
    return teacher


def _sizes(items: int, batch: int) -> list[int]:
    """Return how many pictures to make at a time; never one alone, which cannot be normalised."""
    sizes = [batch] * (items // batch) + [items % batch] * (items % batch > 0)
    return [max(size, 2) for size in sizes]
