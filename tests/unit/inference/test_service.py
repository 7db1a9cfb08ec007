import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fedbridge.core.errors import UserError
from fedbridge.inference.serving import Limits, create_app, limits_of
from fedbridge.inference.serving.run import warm_up
from predictors import CLASSES, pictures, predictor, text_predictor


def service(one=None, **limits):
    return TestClient(create_app(one or predictor(), Limits(**limits)))


def coded(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def asked(arrays, **more):
    return {"items": [base64.b64encode(coded(one)).decode() for one in arrays], **more}


def test_pictures_are_predicted_as_the_predictor_does():
    one, x = predictor(), pictures(3)
    for using in one.usable:
        found = service().post("/predict", json=asked(x, using=using, top=3)).json()
        shares = one.predict_proba(x, using)
        assert found["using"] == using
        for guesses, row in zip(found["predictions"], shares, strict=True):
            assert [g["label"] for g in guesses] == [CLASSES[c] for c in (-row).argsort()]
            np.testing.assert_allclose([g["probability"] for g in guesses], -np.sort(-row))


def test_files_are_predicted_as_base64_is():
    x = pictures(3)
    files = [("files", (f"{k}.png", coded(one))) for k, one in enumerate(x)]
    found = service().post("/predict/files?top=2&using=small", files=files)
    assert found.json() == service().post("/predict", json=asked(x, top=2, using="small")).json()


def test_texts_are_predicted():
    one = text_predictor()
    found = service(one).post("/predict", json={"items": ["one", "two words"]}).json()
    labels = [guesses[0]["label"] for guesses in found["predictions"]]
    assert labels == one.predict(["one", "two words"])
    assert service(one).post("/predict/files").status_code == 404


def test_health_says_what_there_is():
    assert service(predictor(large=False)).get("/health").json() == {
        "status": "ok",
        "modality": "image",
        "classes": list(CLASSES),
        "usable": ["small"],
    }


def test_metrics_count_what_was_done():
    client = service()
    client.post("/predict", json=asked(pictures(3)))
    client.post("/predict", json={"items": []})
    client.get("/nothing/private-name")
    told = client.get("/metrics").text
    assert 'fedbridge_items_total{using="together"} 3.0' in told
    assert 'fedbridge_requests_total{path="/predict",status="200"} 1.0' in told
    assert 'fedbridge_requests_total{path="/predict",status="422"} 1.0' in told
    assert 'fedbridge_requests_total{path="other",status="404"} 1.0' in told
    assert "fedbridge_prediction_seconds_count 1.0" in told
    assert "private-name" not in told


def test_services_do_not_share_their_counts():
    service().post("/predict", json=asked(pictures(3)))
    assert "fedbridge_items_total{" not in service().get("/metrics").text


BOMB = coded(np.zeros((3000, 3000), np.uint8))


@pytest.mark.parametrize(
    "body, status, told",
    [
        ({"items": ["!!"]}, 400, r"items[0]: must be base64"),
        ({"items": ["aGVsbG8="]}, 400, "must be a picture of PNG"),
        ({"items": [base64.b64encode(BOMB).decode()]}, 400, "at most 1,000,000 pixels"),
        ({"items": ["YQ=="] * 5}, 422, "at most 4 items"),
        ({"items": []}, 422, "at least 1 item"),
        ({"items": "YQ=="}, 422, "valid list"),
        ({"items": [7]}, 422, "valid string"),
        ({"items": ["YQ=="], "using": "both"}, 422, "'small', 'large' or 'together'"),
        ({"items": ["YQ=="], "top": 0}, 422, "greater than or equal to 1"),
        ({"items": ["YQ=="], "more": 1}, 422, "Extra inputs"),
        (["YQ=="], 422, "valid dictionary"),
        ({"items": ["A" * 60_000]}, 413, "at most 50,000 bytes"),
    ],
)
def test_what_is_wrong_is_refused_and_told(body, status, told):
    answer = service(body=50_000, items=4, pixels=1_000_000).post("/predict", json=body)
    assert answer.status_code == status
    assert told in answer.text
    assert len(answer.text) < 1000  # what was sent is not sent back


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 20_000, b"null"])
def test_rubbish_is_refused(body):
    answer = service().post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_too_many_files_and_files_that_are_none_are_refused():
    client = service(items=2)
    files = [("files", ("a.png", coded(one))) for one in pictures(3)]
    answer = client.post("/predict/files", files=files)
    assert answer.status_code == 422 and "at most 2 items" in answer.text
    answer = client.post("/predict/files", files=[("files", ("a.png", b"hello"))])
    assert answer.status_code == 400 and "must be a picture" in answer.text
    assert client.post("/predict/files", data={"files": "hello"}).status_code == 422


def test_a_body_without_a_length_is_counted_as_it_comes():
    sent = []

    def body():
        for _ in range(100):
            sent.append(1)
            yield b"x" * 1000

    assert service(body=5000).post("/predict", content=body()).status_code == 413


def test_a_large_side_that_is_not_there_is_refused():
    answer = service(predictor(large=False)).post(
        "/predict", json=asked(pictures(1), using="large")
    )
    assert answer.status_code == 422 and "should be 'small'" in answer.text


def test_requests_at_once_all_get_their_own_answer():
    client, x = service(), pictures(6)
    wanted = predictor().predict(x)
    found = {}

    def ask(k):
        answer = client.post("/predict", json=asked(x[k : k + 1])).json()
        found[k] = answer["predictions"][0][0]["label"]

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[k] for k in range(6)] == wanted


def test_limits_are_read_from_words():
    assert limits_of(["items=3", "body=100"]) == Limits(items=3, body=100)
    for wrong in ("items", "items=0", "items=-1", "more=3", "items=1.5", ""):
        with pytest.raises(UserError, match="--limit: must be one of body, items"):
            limits_of([wrong])


def test_a_missing_model_is_told_before_the_first_request():
    one = predictor()
    one.large.__dict__["fingerprint"] = "0" * 64
    with pytest.raises(UserError, match="not the one that the head was made for"):
        warm_up(one)
    warm_up(predictor())
    warm_up(text_predictor())
