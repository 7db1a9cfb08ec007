"""A run's folder as the report sees it: read, checked and typed, finished or not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    RootModel,
    ValidationError,
    model_validator,
)

from fedbridge.core.errors import UserError
from fedbridge.core.events import read_events, unread
from fedbridge.core.files import read_json
from fedbridge.core.metrics import PREDICTORS, AccuracyRow, so_far, summarise
from fedbridge.methods.config import Config
from fedbridge.runs import run as runs
from fedbridge.runs.tasks import Tasks

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
    temporal_retention: float | None = None
    spatial_retention: float | None = None

    # one's own metrics, by MODULE:NAME
    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    def value(self, name: str) -> float | None:
        """Return a metric by its name; None where it is unknown."""
        found: float | None = getattr(self, name, None)
        return found


class OwnMetric(Record):
    """What a run's own metric is, as the run says it: its module is not needed to read it."""

    title: str
    summary: str = ""
    better: Literal["higher", "lower"] = "higher"
    signed: bool = False
    predictor: str = PREDICTORS[0]


class Results(RootModel[dict[str, dict[str, Measures]]]):
    """Metrics by predictor and protocol."""


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
    metrics: dict[str, OwnMetric] = {}
    """Its own metrics by name."""
    bytes_up: int | None = None
    bytes_down: int | None = None
    seconds: dict[str, float] = {}
    peak_memory_mib: float | None = None


class Round(Record):
    """One exchange with the server and what it cost."""

    task: int
    round: int
    seconds: float | None = None
    bytes_up: int
    bytes_down: int


class TeachingEvent(Record):
    """One teacher's distillation into one student, with the mean weight of the lesson."""

    task: int
    round: int
    student: str
    teacher: str
    weight: float
    agreement: float | None = None
    reach: float | None = None

    @property
    def own(self) -> bool:
        """Whether the teacher is an earlier model of the student itself."""
        return self.teacher.startswith(f"{self.student}@task-")


class AcceptanceEvent(Record):
    """How much a client took of its fused model in a task, by what its validation items said."""

    client: str
    task: int
    percent: int
    own: int
    taken: int
    n: int = Field(gt=0)

    @property
    def before(self) -> float:
        """Accuracy of the model that the client had trained itself."""
        return self.own / self.n

    @property
    def after(self) -> float:
        """Accuracy of the model that it went on from."""
        return self.taken / self.n


class StreamFacts(Record):
    """What a run's data are: which tasks each client has, by slot, and of how many classes."""

    tasks: dict[str, dict[int, int]] = {}


class Alarm(Record):
    """A warning the run gave."""

    message: str


class ClientFailure(Record):
    """What went wrong with one client: an upload refused, an answer late or missing, and why."""

    kind: str
    client: str
    reason: str = ""
    task: int | None = None
    round: int | None = None
    exchange: int | None = None


class Space(Record):
    """A picture of the shared space: the plane in which the small models' answers vary most."""

    explained: tuple[float, float]
    classes: tuple[str, ...]
    anchors: tuple[tuple[FiniteFloat, FiniteFloat], ...]
    clients: dict[str, tuple[tuple[NonNegativeInt, FiniteFloat, FiniteFloat, FiniteFloat], ...]]
    """By client, of each item: class, place, cosine to the class's anchor."""

    @model_validator(mode="after")
    def _require_known_classes(self) -> Self:
        most = max((item[0] for items in self.clients.values() for item in items), default=-1)
        if not most < len(self.classes) == len(self.anchors):
            raise ValueError(
                f"there must be an anchor of every class and a class of every item, found "
                f"{len(self.classes)} classes, {len(self.anchors)} anchors, class {most}"
            )
        return self


class RunEvents(NamedTuple):
    """A run's events by kind, in the order in which they happened."""

    rounds: tuple[Round, ...]
    lessons: tuple[TeachingEvent, ...]
    choices: tuple[AcceptanceEvent, ...]
    alarms: tuple[Alarm, ...]
    troubles: tuple[ClientFailure, ...]
    """Whatever was noted of single clients that is none of the above."""
    about: StreamFacts = StreamFacts()
    ended: str | None = None
    """Why the run ended, where the last that it said is that it failed."""

    @property
    def refusals(self) -> tuple[ClientFailure, ...]:
        """The uploads that the server did not take in."""
        return tuple(trouble for trouble in self.troubles if trouble.kind == "refused")


@dataclass(frozen=True)
class RunRecord:
    """Everything the report knows about a run; ``summary`` is None while it is unfinished."""

    folder: Path
    config: Config
    config_text: str
    environment: dict[str, Any]
    scores: tuple[AccuracyRow, ...]
    events: RunEvents
    summary: Summary | None
    results: dict[str, dict[str, Measures]]
    """All metrics by predictor and protocol; of an unfinished run, on the tasks so far."""
    go_on: str
    """The command that resumes it."""
    space: Space | None = None

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients' names in their own order, as far as the run has mentioned them."""
        if self.summary:
            return self.summary.clients
        return tuple(self.tasks) or tuple(dict.fromkeys(score.client for score in self.scores))

    @property
    def models(self) -> dict[str, str]:
        """The small model of each client, as ``small.models`` names it."""
        if self.summary:
            return self.summary.models
        named, clients = self.config.small.models, tuple(self.tasks) or self.config.data.clients
        return {client: named[k % len(named)] for k, client in enumerate(clients or ())}

    @property
    def tasks(self) -> Tasks:
        """The clients' tasks; empty where their data lie at sites."""
        return self.events.about.tasks

    @property
    def predictors(self) -> tuple[str, ...]:
        """The predictors that were measured; all of them before the first measurement."""
        return tuple(p for p in PREDICTORS if p in self.results) or PREDICTORS

    @property
    def own_metrics(self) -> dict[str, OwnMetric]:
        """The metrics of its own, by name; none before it is finished."""
        return self.summary.metrics if self.summary else {}

    def measures(self, predictor: str, protocol: str) -> Measures:
        """Return the metrics of one predictor and protocol, all unknown where not measured."""
        return self.results.get(predictor, {}).get(protocol, Measures())


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder; raise UserError when it is none or a file in it is damaged."""
    run = runs.Run.open(folder)
    path, space = folder / runs.SUMMARY, folder / runs.EMBEDDINGS
    scores = tuple(runs.read_accuracy(folder))
    summary = _parse(Summary, path) if path.is_file() else None
    known = summary.results if summary else summarise(so_far(scores))
    return RunRecord(
        folder=folder,
        config=run.config,
        config_text=(folder / runs.CONFIG).read_text(encoding="utf-8"),
        environment=_environment(folder / runs.ENVIRONMENT),
        scores=scores,
        events=_sort(*read_events(folder / runs.EVENTS)),
        summary=summary,
        results=Results.model_validate(known).root,
        go_on=run.go_on,
        space=_parse(Space, space) if space.is_file() else None,
    )


def _environment(path: Path) -> dict[str, Any]:
    """Return what a run's numbers may depend on besides its settings, which stand elsewhere."""
    told = read_json(path, "environment")
    return {key: value for key, value in told.items() if key != runs.SETTINGS}


def _parse(kind: type[Found], path: Path) -> Found:
    try:
        return kind.model_validate(read_json(path, path.stem))
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error)}") from error


def _sort(known: list[dict[str, Any]], unreadable: int) -> RunEvents:
    """Sort the events by kind; a round that a resumed run repeated counts once, as it last was.

    Those that are not of their kind count as unreadable, which an alarm reports.
    """
    rounds: dict[tuple[int, int], Round] = {}
    lessons: dict[tuple[int, int, str, str], TeachingEvent] = {}
    choices: dict[tuple[int, str], AcceptanceEvent] = {}
    troubles: dict[ClientFailure, None] = {}
    alarms: list[Alarm] = []
    about = StreamFacts()
    for event in known:
        try:
            match event["kind"]:
                case "round":
                    step = Round.model_validate(event)
                    rounds[step.task, step.round] = step
                case "taught":
                    lesson = TeachingEvent.model_validate(event)
                    lessons[lesson.task, lesson.round, lesson.student, lesson.teacher] = lesson
                case "accepted":
                    choice = AcceptanceEvent.model_validate(event)
                    choices[choice.task, choice.client] = choice
                case "data":
                    about = StreamFacts.model_validate(event)
                case "warning":
                    alarms.append(Alarm.model_validate(event))
                case _ if "client" in event:
                    troubles[ClientFailure.model_validate(event)] = None
        except ValidationError:
            unreadable += 1
    if unreadable and not any(alarm.message == unread(unreadable) for alarm in alarms):
        alarms.append(Alarm(message=unread(unreadable)))
    kept = tuple(rounds.values()), tuple(lessons.values()), tuple(choices.values())
    newest = known[-1] if known else {}
    ended = str(newest.get("message", "")) if newest.get("kind") == "aborted" else None
    return RunEvents(*kept, tuple(alarms), tuple(troubles), about, ended)


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}, found {first['input']!r}".removeprefix(": ")
