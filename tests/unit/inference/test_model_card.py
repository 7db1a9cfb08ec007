from dataclasses import replace

from fedbridge.data.readers.reading import Reading
from fedbridge.inference.export.card import model_card, preprocessing
from fedbridge.methods.config import Config
from predictors import predictor, text_predictor


def test_the_card_says_what_it_is():
    about = {
        **predictor().about,
        "config": Config().model_dump(mode="json"),
    }
    card = model_card(replace(predictor(), about=about), "model.onnx")
    assert card.startswith("---\nlibrary_name: fedbridge\npipeline_tag: image-classification\n")
    for told in (
        "# smcf a: mlp",
        "ant, bee, cat",
        "| small | 50.0 | 100.0 | 75.0 |",
        "pictures of ours, CC0",
        "`patches`: Apache-2.0",
        "learner on the client: `smcf`; fusion on the server: `obod`",
    ):
        assert told in card


def test_a_card_names_own_data_without_the_folders_that_lead_there():
    config = Config().model_dump(mode="json")
    config["data"]["name"] = "folder:/home/somebody/ward 7"
    about = {**predictor().about, "config": config}
    card = model_card(replace(predictor(), about=about), "model.onnx")
    assert "- data: `folder:ward 7`;" in card and "somebody" not in card


def test_a_card_of_which_nothing_is_known_claims_nothing():
    card = model_card(replace(text_predictor(), about={}), "model.pt")
    assert "pipeline_tag: text-classification" in card
    assert "Not measured." in card and "Unknown." in card


def test_preprocessing_is_told_step_by_step():
    told = preprocessing(Reading("image", (1, 32, 32), (3, 64, 64), box=True, inverted=True))
    assert "float32 `(B, 1, 32, 32)`" in told
    assert told.index("averaging") < told.index("grey") < told.index("black for white")
    assert "Lanczos" in preprocessing(Reading("image", (3, 32, 32), (3, 64, 64)))
    assert "int64 `(B, 96)`" in preprocessing(Reading("text", (96,)))


def test_the_card_says_how_deeper_pictures_are_scaled():
    one = predictor()
    told = preprocessing(replace(one.reading, levels=(-1000.0, 3000.0)))
    assert "values of more than 8 bits clipped to -1000, black, and 3000, white; the pic" in told
    assert "8 bits" not in preprocessing(one.reading)
