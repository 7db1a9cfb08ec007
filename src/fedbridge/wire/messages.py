"""What clients and server say to each other, and nothing else: THE privacy boundary.

A message is named arrays and scalars in one safetensors buffer; nothing is ever unpickled.
The fields of ``Upload`` are all that may leave a client as it learns.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from reprlib import repr as shortened
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError
from pydantic import create_model as model_of
from pydantic_core import from_json
from safetensors.torch import load, save
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.core.legible import legible
from fedbridge.core.states import owned

State = dict[str, Tensor]
Kind = Literal["Broadcast", "Upload", "Evaluation", "Hello"]
PROTOCOL = 4
"""The version of the messages' form; raise it with every change."""
MOST_BYTES = 2**30
"""Largest message that is read: the sums G of 20,000 features are 0.8 GB."""
MOST_WORDS = 2**20
"""Most bytes of a message's names and shapes, and of its scalars: these grow when they are read."""
MOST_WHOLE = 2**53
"""Largest whole number of a message: every reader of JSON holds it exactly, and int64 does."""
TYPES = frozenset(
    {
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    }
)
"""What arrays may be made of: every operation that is done to them knows these types."""
Whole = Annotated[int, Field(ge=0, le=MOST_WHOLE)]


class Step(NamedTuple):
    """The place of one exchange in a run; both numbers count from 1."""

    task: int
    round: int


@dataclass(frozen=True)
class Broadcast:
    """Server to one client: its own fused model and the large side's head."""

    task: int
    round: int
    state: State = field(default_factory=dict)
    """The small model to go on with; empty: the client keeps the one it has."""
    adapter: State = field(default_factory=dict)
    """What makes the large side: all clients' sums G, H and counts, or what is trained by gradient;
    empty: the client keeps what it has."""
    shared: State = field(default_factory=dict)
    """What the fusion sends to everyone, by name: prototypes, say, or synthetic inputs."""
    acknowledged: int = 0
    """Number of the client's own tasks whose sums the server holds."""


@dataclass(frozen=True)
class Upload:
    """One client to the server: its model, what it knows, and the sums of new tasks."""

    client: str
    task: int
    round: int
    state: State
    """The small model's named parameters and buffers; empty: nothing was learnt."""
    seen: tuple[int, ...]
    """Classes that the client has seen so far."""
    gram: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Upper triangle of G of own tasks ``acknowledged + 1`` to ``client_task``; empty if there are
    none."""
    cross: Tensor = field(default_factory=lambda: torch.zeros(0))
    """H ``(M, C)`` of the same tasks."""
    counts: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Training items per class ``(C,)`` of the same tasks."""
    extra: State = field(default_factory=dict)
    """What the fusion asks for besides, by name; empty where it asks for nothing."""
    adapter: State = field(default_factory=dict)
    """The part of the large side that this client trained by gradient, where there is one."""
    num_examples: int = 0
    """Training items of the task, the weight of the model in an average."""
    client_task: int = 0
    """Number of the client's own task, counted from 1."""
    diverged: int = 0
    """Step of this round at which what was learnt ceased to be finite, and was thrown away; 0: it
    did not."""


class Acceptance(NamedTuple):
    """How much a client took of a fused model, and what that brought on its validation items."""

    task: int
    percent: int
    own: int
    """Validation items that the model it had trained itself has right."""
    taken: int
    """Those that the model it went on from has right."""
    n: int
    """Validation items in all."""


@dataclass(frozen=True)
class Evaluation:
    """What a client measures: counts of right answers, never the data behind them."""

    client: str
    after_task: int
    rows: tuple[tuple[int, str, str, int, int], ...]
    """``(on_task, predictor, protocol, correct, n)``."""
    accepted: tuple[int, ...] = ()
    """How much it took of the model it was sent: a ``Choice``; empty where it had none."""
    unsolved: int = 0
    """1 if the newest sums of all clients give no head, so that it measured with the one before."""


class Request(NamedTuple):
    """What one exchange asks of a client: first to measure, then to learn; no bytes ask nothing.

    Both are bytes of Broadcasts. Where both are given, the second leaves out what the first holds.
    """

    run: str
    """What identifies this run."""
    number: int
    """Place of the exchange in the run, from 1."""
    measure: bytes = b""
    learn: bytes = b""


class Answer(NamedTuple):
    """What a client answers: bytes of an Evaluation and of an Upload, or why it does neither."""

    client: str
    number: int
    evaluation: bytes = b""
    upload: bytes = b""
    refusal: str = ""


@dataclass(frozen=True)
class Hello:
    """One side to the other, before a run: all that both must agree on.

    Digests are words: how much of it there is, and its sha256.
    """

    client: str
    protocol: int
    fedbridge: str
    torch: str
    python: str
    foundation: str
    """The FM as the config names it; empty where there is no large side."""
    fingerprint: str
    """The sha256 of the FM's weights and of all that is done to an item before them."""
    classes: str
    anchors: str
    public: str
    config: str
    """Of the settings that bind all sides."""


Message = Broadcast | Upload | Evaluation | Hello
KINDS: dict[str, type[Message]] = {c.__name__: c for c in (Broadcast, Upload, Evaluation, Hello)}
UPLOAD_FIELDS = frozenset(one.name for one in fields(Upload))
"""All that may leave a client: what an Upload has a field for."""


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    arrays: State = {}
    scalars: dict[str, Any] = {"kind": type(message).__name__}
    for name, value in vars(message).items():
        if isinstance(value, dict):
            arrays |= {f"{name}/{key}": tensor.contiguous() for key, tensor in value.items()}
        elif isinstance(value, Tensor):
            arrays[name] = value.contiguous()
        else:
            scalars[name] = value
    # sorted, so that equal messages are equal bytes: digests of requests rely on it
    text = json.dumps(scalars, sort_keys=True).encode()
    arrays["scalars"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return save(arrays)


def decode(data: bytes, kind: Kind, most: int = MOST_BYTES) -> Message:
    """Return the message of these bytes; raise UserError if they are not one of this kind.

    More than ``most`` bytes are refused unread, and reading takes no more memory than a few times
    the bytes that there are, whatever shapes they promise. Nothing but a UserError is raised.
    """
    _bound("message", len(data), most)
    # looked at before safetensors reads it: a header is JSON, which takes many times its length
    header = int.from_bytes(data[:8], "little")
    _bound("message: its header", min(header, len(data)), MOST_WORDS)
    with _unreadable(kind):
        # copied: at the addresses inside a message kernels would round differently
        arrays = {name: owned(tensor) for name, tensor in load(data).items()}
        text = arrays.pop("scalars")
        size = text.nbytes
    _bound("message: its scalars", size, MOST_WORDS)
    with _unreadable(kind):
        words = bytes(text.numpy())
        told = from_json(words)
        found = told.pop("kind")
    if found != kind:  # the reader decides what it reads, never the message
        other = found if isinstance(found, str) else shortened(found)
        raise UserError(f"message: expected {kind}, found {legible(other[:40])}")
    form = FORMS[KINDS[kind]]
    values, unknown = _sorted_out(arrays, form)
    unknown += sorted(told.keys() - form.scalars.model_fields.keys())
    if unknown:
        raise UserError(f"message: {kind} has no field {shortened(unknown[0])}")
    return KINDS[kind](**values, **_scalars(words, kind))


def _sorted_out(arrays: State, form: "Form") -> tuple[dict[str, Any], list[str]]:
    """Return arrays by the fields that they belong to, and the names of those of none."""
    values: dict[str, Any] = {name: {} for name in form.states}
    unknown = []
    for name, tensor in arrays.items():
        if tensor.dtype not in TYPES:
            raise UserError(f"message: {shortened(name)} must not be of {tensor.dtype}")
        prefix, slash, key = name.partition("/")
        if slash and prefix in form.states:
            values[prefix][key] = tensor
        elif name in form.arrays:
            values[name] = tensor
        else:
            unknown.append(name)
    return values, unknown


@contextmanager
def _unreadable(kind: Kind) -> Iterator[None]:
    """Turn any exception of a reader of the bytes into a UserError."""
    try:
        yield
    except Exception as error:
        raise UserError(f"message: not a readable {kind}: {shortened(str(error))}") from error


def _bound(what: str, found: int, most: int) -> None:
    if found > most:
        raise UserError(f"{what} must have at most {most} bytes, found {found}")


def _scalars(words: bytes, kind: Kind) -> dict[str, Any]:
    try:
        return dict(FORMS[KINDS[kind]].scalars.model_validate_json(words))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    name, value = first["loc"][0], shortened(first["input"])
    if first["type"] == "missing":
        raise UserError(f"message: incomplete {kind}: no {name!r}")
    raise UserError(f"message: {kind} cannot hold {value} as {name!r}")


def _fits(choice: tuple[int, ...]) -> tuple[int, ...]:
    """Return what may be a Choice: five counts that fit each other, or nothing."""
    if choice and not (len(choice) == 5 and choice[1] <= 100 and max(choice[2:4]) <= choice[4]):
        raise ValueError("no choice")
    return choice


SPOKEN: dict[Any, Any] = {
    int: Whole,
    str: str,
    tuple[int, ...]: Annotated[tuple[Whole, ...], FailFast()],
    tuple[tuple[int, str, str, int, int], ...]: Annotated[
        tuple[tuple[Whole, str, str, Whole, Whole], ...], FailFast()
    ],
}
"""How scalars are read: by the types of the fields."""


class Form(NamedTuple):
    """What of a kind of message are arrays, named arrays, and scalars."""

    arrays: frozenset[str]
    states: frozenset[str]
    scalars: type[BaseModel]


def _form_of(kind: type[Message]) -> Form:
    """Read from the types of a kind's fields what its bytes must hold."""
    types = get_type_hints(kind)
    arrays = frozenset(name for name, found in types.items() if found is Tensor)
    states = frozenset(name for name, found in types.items() if found == State)
    told: dict[str, Any] = {
        one.name: (SPOKEN[types[one.name]], ... if one.default is MISSING else one.default)
        for one in fields(kind)
        if one.name not in arrays | states
    }
    if "accepted" in told:
        told["accepted"] = (Annotated[SPOKEN[tuple[int, ...]], AfterValidator(_fits)], ())
    # ignored here are the kind, which is no field, and what ``decode`` refuses by its name
    strict = ConfigDict(strict=True, extra="ignore")
    return Form(arrays, states, model_of(kind.__name__, __config__=strict, **told))


FORMS: dict[type[Message], Form] = {kind: _form_of(kind) for kind in KINDS.values()}
