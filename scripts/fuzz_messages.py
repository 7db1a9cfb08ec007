"""Feed readers of messages with bytes that nobody should send; only a UserError may come of them.

python scripts/fuzz_messages.py --inputs 1000000 --seed 0

Inputs are messages that were changed (bits, lengths, pieces of others, single values) and ones
that were built from what is odd: depth, counts, names, shapes, types, whole numbers out of range.
Each is read as every kind of message; what can be read is looked at as the server would: an upload
by admission, an evaluation by the table, a hello by the handshake. Input number N is a function of
the seed and N, so that --first N --inputs 1 tries it again; it is also written to a file if
anything goes wrong.
"""

import argparse
import json
import random
import resource
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from fedbridge.config.models import Large
from fedbridge.core.errors import UserError
from fedbridge.federation.handshake import differences
from fedbridge.methods.files import parse_config
from fedbridge.methods.shares import Load, share_of
from fedbridge.methods.sums import SUMS, sum_faults
from fedbridge.models.statistics import SufficientStatistics, UnsolvableError, packed, unpacked
from fedbridge.server.admission import Expected, Refused, refusal
from fedbridge.server.measurements import Measurements
from fedbridge.wire import (
    KINDS,
    PROTOCOL,
    Broadcast,
    Evaluation,
    Hello,
    Message,
    Step,
    Upload,
    decode,
    encode,
)

SLOW = 2.0
"""Seconds of work after which one input is a fault, too."""
MOST_MEMORY = 512.0
"""MiB by which the process may grow over all inputs."""
CLASSES, WIDTH = 3, 4
CONFIG = parse_config({"scenario": {"clients": 2}}, "fuzz")


def valid() -> dict[str, Message]:
    """Return a message of every kind that is as it must be."""
    labels = np.array([0, 2, 2, 0, 2])
    z = np.arange(20.0, dtype=np.float32).reshape(5, WIDTH) / 7
    sums = packed(SufficientStatistics.of(z, np.eye(CLASSES)[labels]))
    state = {
        "weight": torch.arange(6.0).reshape(2, 3),
        "norm.running_var": torch.ones(2),
        "norm.num_batches_tracked": torch.tensor(3),
    }
    protocols = ("class-incremental", "task-aware")
    rows = [(1, p, k, 3, 4) for p in ("small", "large", "together") for k in protocols]
    words: dict[str, Any] = dict.fromkeys(Hello.__dataclass_fields__, "x")
    return {
        "Broadcast": Broadcast(1, 1, state, dict(sums), {"prototypes": torch.ones(3, 2)}),
        "Upload": Upload("a", 1, 1, state, (0, 2), *sums.values(), num_examples=5, client_task=1),
        "Evaluation": Evaluation("a", 1, tuple(rows), (1, 50, 3, 4, 4)),
        "Hello": Hello(**{**words, "protocol": PROTOCOL}),
    }


VALID = valid()
BYTES = {kind: encode(message) for kind, message in VALID.items()}
UPLOAD = VALID["Upload"]
assert isinstance(UPLOAD, Upload)
EXPECTED = Expected(
    {"a": UPLOAD.state},
    CLASSES,
    {name: getattr(UPLOAD, name) for name in SUMS},
    {},
    complete=True,
    of_head=lambda upload, whole: sum_faults(upload, whole, Large()),
).of_step(Step(1, 1), ["a"], {})


def input_of(seed: int, number: int) -> bytes:
    """Return one of the inputs."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choice([*sorted(KINDS), "Upload", "Upload"])
    make = rng.choice([flipped, pieced, relabelled, reworded, reworded, revalued, revalued, built])
    return make(rng, kind)


def flipped(rng: random.Random, kind: str) -> bytes:
    """Return a message with bits, bytes or its end changed."""
    data = bytearray(BYTES[kind])
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        place = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, *b'"[]{},:\\0-'])
            case 2:
                data[place:place] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                del data[place : place + rng.randrange(1, 9)]
                data = data or bytearray(1)
            case _:
                data[place:] = data[place : place + rng.randrange(1, 99)]
    return bytes(data)


def pieced(rng: random.Random, kind: str) -> bytes:
    """Return pieces of two messages, or one whose header says that it has another length."""
    one, other = BYTES[kind], BYTES[rng.choice(sorted(KINDS))]
    if rng.random() < 0.5:
        return one[: rng.randrange(len(one))] + other[rng.randrange(len(other)) :]
    length = rng.choice([0, 1, 7, len(one), len(one) - 8, 2**20, 2**31, 2**63, 2**64 - 1])
    return struct.pack("<Q", length) + one[8:]


def relabelled(rng: random.Random, kind: str) -> bytes:
    """Return a message whose header tells something else about its arrays."""
    data = BYTES[kind]
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    for _ in range(rng.choice([1, 1, 3])):
        if not header:
            break
        name = rng.choice(sorted(header))
        about = header[name]
        if not isinstance(about, dict):
            continue
        match rng.randrange(5):
            case 0:
                about["dtype"] = rng.choice(DTYPES)
            case 1:
                about["shape"] = [odd_number(rng) for _ in range(rng.randrange(5))]
            case 2:
                about["data_offsets"] = [odd_number(rng), odd_number(rng)]
            case 3:
                header[odd_name(rng)] = header.pop(name)
            case _:
                header[rng.choice([name, "__metadata__"])] = odd_json(rng)
    return framed(odd_text(rng, header), data[end:])


def reworded(rng: random.Random, kind: str) -> bytes:
    """Return a message with other scalars."""
    message = VALID[kind]
    arrays: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {"kind": kind}
    for name, value in vars(message).items():
        if isinstance(value, dict):
            arrays |= {f"{name}/{key}": one for key, one in value.items()}
        elif isinstance(value, torch.Tensor):
            arrays[name] = value
        else:
            scalars[name] = value
    for _ in range(rng.choice([1, 1, 2])):
        name = rng.choice([*sorted(scalars), odd_name(rng)])
        scalars[name] = odd_json(rng)
    text = odd_text(rng, scalars)
    return save({**arrays, "scalars": torch.frombuffer(bytearray(text), dtype=torch.uint8)})


def revalued(rng: random.Random, kind: str) -> bytes:
    """Return an upload or another message in whose arrays and counts stand other values."""
    message = VALID[kind]
    parts: dict[str, Any] = dict(vars(message))
    name = rng.choice(sorted(parts))
    value = parts[name]
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        parts[name] = {**value, key: odd_array(rng, value[key])}
    elif isinstance(value, torch.Tensor):
        parts[name] = odd_array(rng, value)
    elif isinstance(value, int):
        parts[name] = rng.choice([0, 1, 2, 5, 2**24, 2**31, 2**53, 2**53 + 1, 2**63, -1])
    elif name == "seen":
        parts[name] = tuple(rng.choice([0, 1, 2, 2**40, 7]) for _ in range(rng.randrange(5)))
    return encode(type(message)(**parts))


def built(rng: random.Random, kind: str) -> bytes:
    """Return a buffer of odd arrays."""
    header: dict[str, Any] = {}
    size = 0
    for _ in range(rng.choice([0, 1, 2, 5, 200])):
        count = rng.choice([0, 1, 4, 8, 24])
        header[odd_name(rng)] = {
            "dtype": rng.choice(DTYPES),
            "shape": [
                rng.choice([0, 1, 2, count, odd_number(rng)])
                for _ in range(rng.choice([0, 1, 1, 2, 9]))
            ],
            "data_offsets": [size, size + count],
        }
        size += count
    text = (
        json.dumps({"kind": kind}).encode() if rng.random() < 0.5 else odd_text(rng, odd_json(rng))
    )
    header["scalars"] = {
        "dtype": "U8",
        "shape": [len(text)],
        "data_offsets": [size, size + len(text)],
    }
    return framed(json.dumps(header).encode(), rng.randbytes(size) + text)


DTYPES = (
    *("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64", "BOOL"),
    *("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "C64", "", "f32", "é"),
)
NAMES = (
    *("", "/", "state", "state/", "/state", "state//", "state/weight", "adapter/head", "shared/x"),
    *("gram", "cross", "counts", "extra", "scalars", "__metadata__", "kind", "client", "seen"),
    *("\x1b[31m", "\u202e", "\u200b", "a" * 10_000, "\x00", "é", "../x", "state/../../etc"),
)
WORDS = (
    *("", "a", "Upload", "\x1b]0;x\x07", "\u009b31m", "\u202eevil", "\u200b", "x" * 70_000),
    *("\ud800", "\udfff\ud800", "a\u0301" * 50, "\u2028", "'; DROP", "<script>", "\ufeff", "\x00"),
)
NUMBERS = (
    *(-1, -(2**63), 0, 1, 2**24, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**40),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf")),
)


DEPTHS = (1, 100, 150, 300, 900, 990, 991, 5000)


def odd_name(rng: random.Random) -> str:
    """Return a name of an array or a field."""
    return rng.choice(NAMES)


def odd_number(rng: random.Random) -> int:
    """Return a whole number for a shape or an offset."""
    return rng.choice([-1, 0, 1, 2, 3, 7, 8, 24, 255, 2**20, 2**31, 2**40, 2**62, 2**63, 2**64])


def odd_json(rng: random.Random, depth: int = 0) -> Any:
    """Return a value that JSON can hold."""
    plain = [rng.choice(NUMBERS), rng.choice(WORDS), rng.choice([None, True, False])]
    made: list[Any] = [*plain, nested(rng.choice(DEPTHS)), [0] * rng.choice([0, 5, 3000])]
    if depth < 3:
        made.append([odd_json(rng, depth + 1) for _ in range(rng.randrange(6))])
        made.append({odd_name(rng): odd_json(rng, depth + 1) for _ in range(rng.randrange(4))})
        made.append([[1, "small", "task-aware", rng.choice(plain), 4]])
    return rng.choice(made)


class Raw:
    """JSON that Python cannot write, by the text that stands for it."""

    def __init__(self, text: str) -> None:
        self.text = text


def nested(depth: int) -> Raw:
    """Return lists in lists, or objects in objects."""
    return Raw("[" * depth + "]" * depth if depth % 2 else '{"a":' * depth + "1" + "}" * depth)


def odd_text(rng: random.Random, value: Any) -> bytes:
    """Write JSON, at times with keys twice, numbers without end, or letters that are none."""
    raws: list[str] = []

    def stand_in(one: Any) -> str:
        raws.append(one.text)
        return f"@{len(raws) - 1}@"

    text = json.dumps(value, default=stand_in, ensure_ascii=rng.random() < 0.7)
    for place, raw in enumerate(raws):
        text = text.replace(f'"@{place}@"', raw)
    match rng.randrange(12):
        case 0:
            text = text.replace("1", "9" * rng.choice([20, 400, 4301, 10_000]), 1)
        case 1 if text.startswith("{"):
            text = text[:-1] + "," + text[1:]
        case 2:
            text = text.replace('"a"', '"\\ud800"')
        case 3:
            text += rng.choice([" " * 2**20, "}", "\x00", ",", "//"])
        case _:
            pass
    return text.encode("utf-8", "surrogatepass")


def odd_array(rng: random.Random, like: torch.Tensor) -> torch.Tensor:
    """Return an array with other values, of another shape or of another type."""
    array = like.clone()
    match rng.randrange(6):
        case 0 if array.numel():
            values = [float("nan"), float("inf"), 1e38, -1e38, 3e-45, 1e6, 1e7, -1.0, 0.0, 2.0**24]
            place = rng.randrange(array.numel())
            value = rng.choice(values)
            if not array.is_floating_point():
                value = rng.choice([-(2**63), 2**63 - 1, -1, 2**31])
            array.view(-1)[place] = value
        case 1 if array.is_floating_point():
            array = array * rng.choice([0.0, -1.0, 1e-30, 100.0, 1e4, 1e38, 3e38])
        case 2:
            kinds = (torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64)
            array = array.to(rng.choice(kinds))
        case 3:
            array = array.reshape(rng.choice([(-1,), (1, -1), (-1, 1, 1)]))
        case 4:
            generator = torch.Generator().manual_seed(rng.randrange(2**32))
            array = torch.randn(array.shape, generator=generator).to(array.dtype)
        case _:
            array = torch.zeros(rng.choice([(0,), (0, 2**40), (2, 0, 3), ()]), dtype=array.dtype)
    return array


def framed(header: bytes, data: bytes) -> bytes:
    """Return a buffer as safetensors has it."""
    return struct.pack("<Q", len(header)) + header + data


def survived(data: bytes) -> Iterator[str]:
    """Read an input as every kind of message; yield what became of it."""
    for kind in KINDS:
        try:
            message = decode(data, kind)  # type: ignore[arg-type]
        except UserError:
            yield "refused by the reader"
            continue
        yield f"{kind} {looked_at(message)}"


def looked_at(message: Message) -> str:
    """Do with a message what a server does; return what it came to."""
    if isinstance(message, Upload):
        reason = refusal(message, EXPECTED)
        if reason is not None:
            assert all(one.isprintable() for one in Refused.of(message.client, reason))
            return "refused"
        parts = {name: getattr(message, name) for name in ("gram", "cross", "counts")}
        if len(message.gram):
            load = Load().plus(parts, 1)
            assert share_of(load, [Load(1, 5.0, 40.0)], 5.0).factor <= 1.0
            try:
                unpacked(parts).ridge(0.003)
            except UnsolvableError as error:
                raise AssertionError("sums that were admitted give no head") from error
    if isinstance(message, Evaluation):
        found = Measurements(CONFIG, ["a"]).take([message], 1)
        assert all(one.isprintable() for who in found for one in who)
        return "refused" if found else "taken in"
    if isinstance(message, Hello):
        hello = VALID["Hello"]
        assert isinstance(hello, Hello)
        differences(hello, message)
    return "taken in"


def fuzz(seed: int, first: int, count: int) -> tuple[Counter[str], list[str]]:
    """Try inputs; return what became of them, and the faults that were found."""
    outcomes: Counter[str] = Counter()
    faults = []
    for number in range(first, first + count):
        data = input_of(seed, number)
        start = time.process_time()
        try:
            outcomes.update(survived(data))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            faults.append(told(seed, number, data, traceback.format_exc()))
        if (spent := time.process_time() - start) > SLOW:
            faults.append(told(seed, number, data, f"took {spent:.1f} s"))
    return outcomes, faults


def told(seed: int, number: int, data: bytes, words: str) -> str:
    """Write an input that went wrong to a file, and return what is said of it."""
    path = Path(f"fuzz-{seed}-{number}.bin")
    path.write_bytes(data)
    return f"--seed {seed} --first {number} --inputs 1, {len(data)} bytes in {path}:\n{words}"


def memory() -> float:
    """Return the most MiB that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Try as many inputs as asked for; return 1 if anything was found."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--inputs", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--first", type=int, default=0)
    asked = options.parse_args()
    fuzz(asked.seed, 0, 200)  # what is imported late counts before
    before, start = memory(), time.monotonic()
    outcomes, faults = fuzz(asked.seed, asked.first, asked.inputs)
    grown = memory() - before
    if grown > MOST_MEMORY:
        faults.append(f"the process grew by {grown:.0f} MiB, more than {MOST_MEMORY:.0f}")
    for words, count in outcomes.most_common():
        print(f"{count:9,} {words}")
    print(
        f"{asked.inputs:,} inputs, each read as {len(KINDS)} kinds, in "
        f"{time.monotonic() - start:.0f} s; memory grew by {grown:.0f} MiB; {len(faults)} faults"
    )
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
