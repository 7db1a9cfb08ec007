import pytest

from fedbridge.cli.guidance import TOPICS, page_for
from fedbridge.core.errors import UserError
from fedbridge.methods.files import load_config

TO_PREDICT = "there-is-nothing-to-predict-with"


@pytest.mark.parametrize(
    ("setting", "topic"),
    [
        ("learner.memry=3", "a-setting-is-refused"),
        ("learner.memory=-3", "a-setting-is-refused"),
        ("learner.name=toys", "a-setting-is-refused"),
        ("small.models=cnn", "a-setting-is-refused"),
        ("scenario.test=0.95", "a-setting-is-refused"),
        ("data.name=site", "a-setting-is-refused"),
        ("seed", "a-setting-is-refused"),
        ("data.public=digits", "the-public-set"),
        ("scenario.participation_rounds=[7]", "who-is-there-when"),
        ("fusion.name=fedavg", "models-of-several-architectures"),
    ],
)
def test_a_refused_setting_leads_to_its_topic(tmp_path, setting, topic):
    path = tmp_path / "config.toml"
    path.write_text("")
    with pytest.raises(UserError) as found:
        load_config(path, [setting])
    assert page_for(str(found.value)) == f"docs/troubleshooting.md#{topic}"


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        (
            "p: 9 cannot be used: a.tif: cannot be read (ValueError: mode F, values from "
            "0 to 9: which values are black and white cannot be known; data.own.levels = [0, 255], "
            "or what they are, says it). data.own.broken = 'skip' leaves them out",
            "pictures-of-unknown-depth",
        ),
        (
            "p: of 9 items 1 cannot be used: a.txt: must be a picture (png), found .txt. "
            "data.own.broken = 'skip' leaves them out",
            "your-own-data-do-not-fit",
        ),
        (
            "scenario.tasks: must be 3, since csv:t.csv has the tasks 1, 2, 3; found 4",
            "your-own-data-do-not-fit",
        ),
        ("data.name: p: there is no such file or folder", "your-own-data-do-not-fit"),
        ("cache/data-v1: the disk is full; free some space and run again", "the-disk-is-full"),
        ("a.html: cannot be written: No space left on device", "the-disk-is-full"),
        ("a.png: cannot be read as a picture: x", "what-is-to-be-predicted-cannot-be-read"),
        ("client: name one that this run has, a, b: it has several", TO_PREDICT),
    ],
)
def test_what_a_newcomer_gets_wrong_leads_to_its_topic(message, topic):
    assert page_for(message) == f"docs/troubleshooting.md#{topic}"


def test_a_message_that_nobody_foresaw_leads_to_the_page():
    assert page_for("the moon is full") == "docs/troubleshooting.md"


def test_the_first_topic_that_fits_counts():
    both = "large.model needs the package 'onnx', install it with: pip install onnx"
    assert page_for(both).endswith("#a-package-is-missing")
    places = [list(TOPICS).index(topic) for topic in ("a-package-is-missing", "no-gpu")]
    assert places == sorted(places)
