"""Requests and answers as Flower's records, and records that are none of them."""

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedbridge.core.errors import UserError
from fedbridge.federation.flower.records import BODY, HEAD, to_answer, to_record, to_request
from fedbridge.wire import Answer, Request

ANSWER = Answer("a", 3, b"evaluation", b"", "")


@pytest.mark.parametrize(
    "answer", [ANSWER, Answer("b", 1, refusal="no"), Answer("c", 2, b"", b"u")]
)
def test_an_answer_comes_back_as_it_was(answer):
    assert to_answer(to_record(answer)) == answer


@pytest.mark.parametrize("request_", [Request("run", 1), Request("run", 2, b"measure", b"learn")])
def test_a_request_comes_back_as_it_was(request_):
    assert to_request(to_record(request_)) == request_


def bytes_of(data):
    return Array(dtype="uint8", shape=(len(data),), stype="bytes", data=data)


@pytest.mark.parametrize(
    ("head", "body", "fault"),
    [
        ({"client": "a"}, {}, "no 'number'"),
        ({"number": 3}, {}, "no 'client'"),
        ({"client": "a", "number": "3"}, {}, "wrong 'number'"),
        ({"client": "a", "number": 3, "upload": "words"}, {}, "wrong 'upload'"),
        ({"client": "a", "number": 3}, {"refusal": b"no"}, "wrong 'refusal'"),
        ({"client": "a", "number": 3, "more": 1}, {}, "wrong 'more'"),
    ],
)
def test_what_is_no_answer_is_told(head, body, fault):
    arrays = ArrayRecord({name: bytes_of(data) for name, data in body.items()})
    record = RecordDict({HEAD: ConfigRecord(head), BODY: arrays})
    with pytest.raises(UserError, match=f"^message: not a readable Answer: {fault}$"):
        to_answer(record)


@pytest.mark.parametrize("record", [RecordDict(), RecordDict({HEAD: ConfigRecord({"number": 3})})])
def test_records_without_their_parts_are_told(record):
    with pytest.raises(UserError, match="message: not a readable Request: "):
        to_request(record)
