"""What clients and server say to each other, and nothing else: THE privacy boundary.

A message is named arrays and scalars in one safetensors buffer; nothing is ever unpickled.
``UPLOAD_FIELDS`` lists all that may leave a client.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from reprlib import repr as shortened
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fedbridge.errors import UserError
from fedbridge.models.states import owned

State = dict[str, Tensor]
Kind = Literal["Broadcast", "Upload", "Evaluation", "Hello"]
PROTOCOL = 2
"""The number of this form of the messages; whoever changes it raises it."""
MOST_BYTES = 2**30
"""Largest message that is read: the sums G of 20,000 features are 0.8 GB."""
MOST_WORDS = 2**20
"""Most bytes of a message's names and shapes, and of its scalars: these grow when they are read."""
MOST_TOLD = 1000
"""Most letters of what another side says in words that are repeated anywhere."""
UNREADABLE: tuple[type[Exception], ...] = (
    SafetensorError,
    KeyError,
    ValueError,
    AttributeError,
    TypeError,
    RecursionError,
    RuntimeError,  # torch, for shapes whose strides no integer holds
)
"""What readers raise for bytes that are no message."""


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
    """What makes the large side: everybody's sums G, H and counts, or what is trained by gradient;
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
    """Upper triangle of G of own tasks ``acknowledged + 1`` to ``own``; empty if there are none."""
    cross: Tensor = field(default_factory=lambda: torch.zeros(0))
    """H ``(M, C)`` of the same tasks."""
    counts: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Training items per class ``(C,)`` of the same tasks."""
    prototypes: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Sums of the task's embeddings by class and their numbers ``(C, P + 1)``, if asked for."""
    adapter: State = field(default_factory=dict)
    """The part of the large side that this client trained by gradient, where there is one."""
    items: int = 0
    """Training items of the task, the weight of the model in an average."""
    own: int = 0
    """Number of the client's own task, counted from 1."""


class Choice(NamedTuple):
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
    """One client to whoever measures: counts of right answers, never the data behind them."""

    client: str
    after_task: int
    rows: tuple[tuple[int, str, str, int, int], ...]
    """``(on_task, predictor, protocol, correct, n)``."""
    accepted: tuple[int, ...] = ()
    """How much it took of the model it was sent: a ``Choice``; empty where it had none."""


class Request(NamedTuple):
    """What one exchange asks of a client: first to measure, then to learn; no bytes ask nothing.

    Both are bytes of Broadcasts. Where both are there, the second leaves out what the first holds.
    """

    run: str
    """What tells this run from all others."""
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
UPLOAD_FIELDS = frozenset(
    {
        "client",
        "task",
        "round",
        "state",
        "seen",
        "items",
        "own",
        "gram",
        "cross",
        "counts",
        "prototypes",
        "adapter",
    }
)


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
    text = json.dumps(scalars, sort_keys=True).encode()
    arrays["scalars"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return save(arrays)


def decode(data: bytes, kind: Kind, most: int = MOST_BYTES) -> Message:
    """Return the message of these bytes; raise UserError if they are not one of this kind.

    More than ``most`` bytes are refused unread, and reading takes no more memory than a few times
    the bytes that there are, whatever shapes they promise.
    """
    _bound("message", len(data), most)
    header = int.from_bytes(data[:8], "little")
    _bound("message: its header", min(header, len(data)), MOST_WORDS)
    try:
        arrays = {name: owned(tensor) for name, tensor in load(data).items()}
        text = arrays.pop("scalars")
        _bound("message: its scalars", text.nbytes, MOST_WORDS)
        scalars = json.loads(bytes(text.numpy()))
        found = scalars.pop("kind")
    except UNREADABLE as error:
        raise UserError(f"message: not a readable {kind}: {shortened(str(error))}") from error
    if found != kind:
        raise UserError(f"message: expected {kind}, found {str(found)[:40]}")
    fields = set(KINDS[kind].__dataclass_fields__)
    values: dict[str, Any] = {name: _tuples(value) for name, value in scalars.items()}
    states = {name for name in fields if RULES.get(name) is _is_state}
    values = {name: {} for name in states} | values
    for name, tensor in arrays.items():
        prefix, slash, key = name.partition("/")
        if slash and prefix in states and isinstance(values[prefix], dict):
            values[prefix][key] = tensor
        else:
            values[name] = tensor
    if unknown := sorted(set(values) - fields):
        raise UserError(f"message: {kind} has no field {shortened(unknown[0])}")
    if wrong := sorted(name for name in values if not RULES.get(name, _is_array)(values[name])):
        value = shortened(values[wrong[0]])
        raise UserError(f"message: {kind} cannot hold {value} as {wrong[0]!r}")
    try:
        return KINDS[kind](**values)
    except TypeError as error:
        raise UserError(f"message: incomplete {kind}: {error}") from error


def legible(words: str) -> str:
    """Return another side's words as they may stand in a log: printable, and not too many."""
    cut = words[:MOST_TOLD] + "..." * (len(words) > MOST_TOLD)
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


def _bound(what: str, found: int, most: int) -> None:
    if found > most:
        raise UserError(f"{what} must have at most {most} bytes, found {found}")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_counts(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_count, value))


def _is_rows(value: Any) -> bool:
    kinds = [int, str, str, int, int]
    return isinstance(value, tuple) and all(
        isinstance(row, tuple) and [type(part) for part in row] == kinds for row in value
    )


def _is_choice(value: Any) -> bool:
    if not _is_counts(value) or len(value) not in (0, 5):
        return False
    return not value or (value[1] <= 100 and max(value[2:4]) <= value[4])


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_array, value.values()))


TEXTS = (
    "client",
    "fedbridge",
    "torch",
    "python",
    "foundation",
    "fingerprint",
    "classes",
    "anchors",
    "public",
    "config",
)
RULES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(TEXTS, _is_text),
    "protocol": _is_count,
    "task": _is_count,
    "round": _is_count,
    "items": _is_count,
    "own": _is_count,
    "acknowledged": _is_count,
    "after_task": _is_count,
    "seen": _is_counts,
    "rows": _is_rows,
    "accepted": _is_choice,
    "state": _is_state,
    "adapter": _is_state,
    "shared": _is_state,
}
"""What each field must be; all others are arrays."""
