import pytest

from fedbridge.config import load_config
from fedbridge.errors import UserError
from fedbridge.guidance import TOPICS, page_for


@pytest.mark.parametrize(
    ("setting", "topic"),
    [
        ("learner.memry=3", "a-setting-is-refused"),
        ("learner.memory=-3", "a-setting-is-refused"),
        ("learner.name=toys", "a-setting-is-refused"),
        ("scenario.test=0.95", "a-setting-is-refused"),
        ("data.name=site", "a-setting-is-refused"),
        ("seed", "a-setting-is-refused"),
        ("data.public=digits", "the-public-set"),
        ("scenario.effort=[7]", "who-is-there-when"),
        ("fusion.name=fedavg", "models-of-several-architectures"),
    ],
)
def test_a_refused_setting_leads_to_its_topic(tmp_path, setting, topic):
    path = tmp_path / "config.toml"
    path.write_text("")
    with pytest.raises(UserError) as found:
        load_config(path, [setting])
    assert page_for(str(found.value)) == f"docs/troubleshooting.md#{topic}"


def test_a_message_that_nobody_foresaw_leads_to_the_page():
    assert page_for("the moon is full") == "docs/troubleshooting.md"


def test_the_first_topic_that_fits_counts():
    both = "large.model needs the package 'onnx', install it with: pip install onnx"
    assert page_for(both).endswith("#a-package-is-missing")
    places = [list(TOPICS).index(topic) for topic in ("a-package-is-missing", "no-gpu")]
    assert places == sorted(places)
