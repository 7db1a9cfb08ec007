"""A run's folder as the report sees it: read, checked and typed, finished or not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from fedbridge import runs
from fedbridge.config import Config
from fedbridge.errors import UserError
from fedbridge.metrics import AccuracyRow

Found = TypeVar("Found", bound=BaseModel)


class Record(BaseModel):
    """Something read from a run folder: immutable, and fields we do not show are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Measures(Record):
    """The metrics of one predictor under one protocol, each a fraction or unknown."""

    final_accuracy: float | None = None
    average_incremental_accuracy: float | None = None
    forgetting: float | None = None
    backward_transfer: float | None = None
    forward_transfer: float | None = None


class Environment(RootModel[dict[str, Any]]):
    """What a run's numbers may depend on besides its settings."""


class Summary(Record):
    """What a finished run says about itself."""

    method: str
    seed: int
    clients: tuple[str, ...]
    tasks: int
    models: dict[str, str] = {}
    results: dict[str, dict[str, Measures]] = {}
    temporal_retention: float | None = None
    spatial_retention: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    seconds: dict[str, float] = {}
    peak_memory_mib: float | None = None

    def measures(self, predictor: str, protocol: str) -> Measures:
        """Return the metrics of one predictor and protocol, all unknown where not measured."""
        return self.results.get(predictor, {}).get(protocol, Measures())


class Round(Record):
    """One exchange with the server and what it cost."""

    task: int
    round: int
    seconds: float | None = None
    bytes_up: int
    bytes_down: int


class Lesson(Record):
    """One teacher's distillation into one student, with the mean weight of the lesson."""

    task: int
    round: int
    student: str
    teacher: str
    weight: float
    agreement: float | None = None


class Alarm(Record):
    """A warning the run gave."""

    message: str


class Refusal(Record):
    """An upload that the server did not take in, and why."""

    task: int
    round: int
    client: str
    reason: str


class Events(NamedTuple):
    """A run's events by kind, in the order in which they happened."""

    rounds: tuple[Round, ...]
    lessons: tuple[Lesson, ...]
    alarms: tuple[Alarm, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class Run:
    """Everything the report knows about a run; ``summary`` is None while it is unfinished."""

    folder: Path
    config: Config
    config_text: str
    environment: dict[str, Any]
    scores: tuple[AccuracyRow, ...]
    events: Events
    summary: Summary | None

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names in their own order, as far as the run has mentioned them."""
        if self.summary:
            return self.summary.clients
        return tuple(dict.fromkeys(score.client for score in self.scores))


def read_run(folder: Path) -> Run:
    """Read a run's folder; raise UserError when it is none or a file in it is damaged."""
    run = runs.Run.open(folder)
    summary = folder / runs.SUMMARY
    return Run(
        folder=folder,
        config=run.config,
        config_text=(folder / runs.CONFIG).read_text(encoding="utf-8"),
        environment=_parse(Environment, folder / runs.ENVIRONMENT).root,
        scores=tuple(runs.read_accuracy(folder)),
        events=_sort(run.events(), folder / runs.EVENTS),
        summary=_parse(Summary, summary) if summary.is_file() else None,
    )


def _parse(kind: type[Found], path: Path) -> Found:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error)}") from error


def _sort(events: list[dict[str, Any]], path: Path) -> Events:
    """Sort the events by kind; a round that a resumed run repeated counts once, as it last was."""
    rounds: dict[tuple[int, int], Round] = {}
    lessons: dict[tuple[int, int, str, str], Lesson] = {}
    refusals: dict[Refusal, None] = {}
    alarms = []
    for number, event in enumerate(events, start=1):
        try:
            if event.get("kind") == "round":
                step = Round.model_validate(event)
                rounds[step.task, step.round] = step
            elif event.get("kind") == "taught":
                lesson = Lesson.model_validate(event)
                lessons[lesson.task, lesson.round, lesson.student, lesson.teacher] = lesson
            elif event.get("kind") == "refused":
                refusals[Refusal.model_validate(event)] = None
            elif event.get("kind") == "warning":
                alarms.append(Alarm.model_validate(event))
        except ValidationError as error:
            raise UserError(f"{path}, line {number}: {_first_problem(error)}") from error
    kept = tuple(rounds.values()), tuple(lessons.values())
    return Events(*kept, tuple(alarms), tuple(refusals))


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}, found {first['input']!r}".removeprefix(": ")
