"""Requests and answers as Flower's records: bytes as they are, nothing pickled."""

from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedbridge.core.errors import UserError
from fedbridge.wire import Answer, Request

HEAD = "head"
BODY = "body"


def to_record(message: Request | Answer) -> RecordDict:
    """Return a message as records: bytes as arrays of bytes, all else in one head."""
    parts = message._asdict()
    arrays = {
        name: Array(dtype="uint8", shape=(len(data),), stype="bytes", data=data)
        for name, data in parts.items()
        if isinstance(data, bytes) and data
    }
    head = {name: value for name, value in parts.items() if not isinstance(value, bytes)}
    return RecordDict({HEAD: ConfigRecord(head), BODY: ArrayRecord(arrays)})


def to_request(record: RecordDict) -> Request:
    """Return the request in records; raise UserError if there is none."""
    return Request(**_parts(record, Request))


def to_answer(record: RecordDict) -> Answer:
    """Return the answer in records; raise UserError if there is none."""
    return Answer(**_parts(record, Answer))


def _parts(record: RecordDict, kind: type[Request] | type[Answer]) -> dict[str, Any]:
    try:
        arrays = {name: array.data for name, array in record.array_records[BODY].items()}
        parts = {**record.config_records[HEAD], **arrays}
    except (KeyError, AttributeError, TypeError) as error:
        raise UserError(f"message: not a readable {kind.__name__}: {error}") from error
    kinds = kind.__annotations__
    wrong = sorted(set(parts) - set(kinds)) + [
        name for name, value in parts.items() if name in kinds and type(value) is not kinds[name]
    ]
    missing = sorted(set(kinds) - set(parts) - set(kind._field_defaults))
    if wrong or missing:
        raise UserError(
            f"message: not a readable {kind.__name__}: "
            + (f"wrong {wrong[0]!r}" if wrong else f"no {missing[0]!r}")
        )
    return parts
