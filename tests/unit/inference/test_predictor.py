import numpy as np
import pytest
import torch

from fedbridge.core.errors import UserError
from fedbridge.inference import foundation
from predictors import CLASSES, SIDE, large_side, pictures, predictor, text_predictor


def test_each_side_answers_by_its_own_scores():
    one = predictor()
    x = pictures()
    small, large, both = (
        one.logits(*one.reading(x), using) for using in ("small", "large", "together")
    )
    stored = torch.from_numpy(x[:, None]).float() / 255
    torch.testing.assert_close(small, one.small(stored).double())
    torch.testing.assert_close(both, small + 0.25 * large)  # powers 1 and 0.5, sharpness 2


def test_probabilities_sum_to_one_and_agree_with_the_prediction():
    one = predictor()
    for using in one.usable:
        shares = one.predict_proba(pictures(), using)
        np.testing.assert_allclose(shares.sum(1), 1.0)
        assert one.predict(pictures(), using) == [CLASSES[c] for c in shares.argmax(1)]


def test_the_default_is_both_sides_where_there_are_two():
    one = predictor()
    assert one.predict(pictures()) == one.predict(pictures(), "together")
    alone = one.only_small()
    assert alone.usable == ("small",)
    assert alone.predict(pictures()) == one.predict(pictures(), "small")


def test_score_is_the_share_of_right_answers():
    one = predictor()
    right = one.predict(pictures(4))
    wrong = next(name for name in CLASSES if name != right[0])
    assert one.score(pictures(4), right) == 1.0
    assert one.score(pictures(4), [wrong, *right[1:]]) == 0.75


def test_items_are_encoded_in_any_number_of_batches(monkeypatch):
    side, sizes = large_side(), []
    fm = foundation("patches", SIDE, torch.device("cpu"), "float32")
    encode = type(fm).encode

    def noted(fm, items):
        sizes.append(len(items))
        return encode(fm, items)

    monkeypatch.setattr(type(fm), "encode", noted)
    x = pictures(9)[:, None]
    whole = side.scores(x, torch.device("cpu"))
    assert sizes == [4, 4, 1]  # large.batch is 4
    parts = torch.cat([side.scores(x[:3], torch.device("cpu")), side.scores(x[3:], whole.device)])
    torch.testing.assert_close(whole, parts)


def test_texts_are_predicted():
    assert set(text_predictor().predict(["a text", "another"])) <= set(CLASSES)


@pytest.mark.parametrize("using", ["large", "together", "both", ""])
def test_what_is_not_there_cannot_be_used(using):
    with pytest.raises(UserError, match="using: must be small here, found"):
        predictor(large=False).predict(pictures(), using)


def test_another_foundation_model_is_refused():
    one = predictor()
    one.large.__dict__["fingerprint"] = "0" * 64
    with pytest.raises(UserError, match="not the one that the head was made for"):
        one.predict(pictures())
    one.predict(pictures(), "small")


def test_labels_of_another_number_are_refused():
    with pytest.raises(UserError, match="y: must name 5 classes as x has items, found 2"):
        predictor().score(pictures(), ["ant", "bee"])
