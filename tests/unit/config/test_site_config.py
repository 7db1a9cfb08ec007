"""The site config: paths are the site's own, and every mistake is named."""

from pathlib import Path

import pytest

from fedbridge.config import Data, load_site
from fedbridge.core.errors import UserError
from fedbridge.methods.files import parse_config
from sites import CLASSES, common


def written(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load_site(written(folder, text))
    return str(caught.value)


def test_paths_count_from_the_file(tmp_path):
    site = load_site(written(tmp_path, 'client = "north"\n[data]\nkind = "images"\npath = "p"\n'))
    assert site.data.path == tmp_path / "p"
    assert site.state == tmp_path / "state"


def test_an_absolute_path_is_as_it_is(tmp_path):
    text = 'client = "north"\n[data]\nkind = "csv"\npath = "/srv/a.csv"\ntext = "t"\n'
    assert load_site(written(tmp_path, text)).data.path == Path("/srv/a.csv")


def test_without_data_it_is_a_share_of_the_experiment(tmp_path):
    assert load_site(written(tmp_path, 'client = "north"\n')).data.kind == "experiment"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[data]\nkind = "experiment"', "client: Field required"),
        ('client = "a/b"', "client: String should match"),
        (
            'client = "a"\n[data]\nkind = "images"\npath = "../others"',
            "data.path: must lie in the folder of this file, or be an absolute path, found",
        ),
        (
            'client = "a"\n[data]\nkind = "imges"\npath = "p"',
            "data.kind: must be one of experiment, images, csv, parquet, huggingface, sql, found "
            "'imges'",
        ),
        (
            'client = "a"\n[data]\nkind = "csv"\npath = "p"\nlable = "x"\ntext = "t"',
            "data.lable: unknown key (did you mean 'label'?)",
        ),
        (
            'client = "a"\n[data]\nkind = "csv"\npath = "p.pkl"\ntext = "t"',
            "data.path: must not end with .pkl: nothing is unpickled",
        ),
        (
            'client = "a"\n[data]\nkind = "csv"\npath = "p"',
            "data: must name exactly one of text or features",
        ),
        (
            'client = "a"\n[data]\nkind = "csv"\npath = "p"\ntext = "t"\nfeatures = ["x"]',
            "data: must name exactly one of text or features",
        ),
        (
            'client = "a"\n[data]\nkind = "huggingface"\npath = "p"',
            "data: must name exactly one of text, features or image",
        ),
        (
            'client = "a"\n[data]\nkind = "csv"\npath = "p"\ntext = "t"\ntask = "a"\ndate = "b"',
            "data: must name task or date, not both: 'a' and 'b'",
        ),
        (
            'client = "a"\n[data]\nkind = "images"\npath = "p"\ntest = 0.7\nvalidation = 0.3',
            "data: test + validation must be below 1 to leave training items, found 1",
        ),
        (
            'client = "a"\n[data]\nkind = "sql"\ntext = "t"',
            "data: must name either table or query",
        ),
        (
            'client = "a"\n[data]\nkind = "sql"\ntext = "t"\nquery = "delete from t"',
            "data: query must be a single SELECT or WITH, found 'delete from t'",
        ),
        (
            'client = "a"\n[data]\nkind = "sql"\ntext = "t"\nquery = "select 1; drop table t"',
            "data: query must be a single SELECT or WITH",
        ),
        (
            'client = "a"\nstate = "p/s"\n[data]\nkind = "images"\npath = "p"',
            "state must not lie in data.path",
        ),
        ("client = 3 3", "not valid TOML"),
    ],
)
def test_every_mistake_is_named(tmp_path, text, expected):
    message = refused(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'site.toml'}: ")
    assert expected in message


# -- the common config of sites


def test_the_common_config_says_what_all_sites_agree_on():
    data = common().data
    assert (data.clients, data.classes) == (("north", "south"), CLASSES)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"classes": None}, "data.classes must be given"),
        ({"clients": None}, "data.clients must be given"),
        ({"modality": None}, "data.modality must be given"),
        ({"public_items": None}, "data.public_items must be given"),
        ({"classes": ["cat", "cat"]}, "data.classes must name each once"),
        ({"clients": ["north", "north"]}, "data.clients must name each once"),
        ({"public": "same"}, "data.public must be 'none', a built-in data set or"),
        (
            {"public": "hf:/home/somebody"},
            "data.public must be 'none', a built-in data set or",
        ),
        ({"name": "digits"}, "data.clients is only for data.name = 'site'"),
        ({"name": "digits", "clients": None, "classes": None, "modality": None}, "data.size"),
    ],
)
def test_a_common_config_for_sites_is_complete(change, expected):
    tree = common().data.model_dump(mode="json") | change
    tree = {key: value for key, value in tree.items() if value is not None and key != "hub"}
    if "public_items" not in change and tree["public"] == "same":
        del tree["public_items"]
    with pytest.raises(UserError) as caught:
        parse_config({"data": tree, "scenario": {"clients": 2}}, "test")
    assert expected in str(caught.value)


def test_there_are_as_many_clients_as_sites():
    with pytest.raises(UserError, match=r"scenario.clients: must be the number of data.clients, 2"):
        common(scenario={"clients": 3})


def test_sites_are_measured_on_their_test():
    with pytest.raises(UserError, match=r"scenario.measure: must be 'test' with data.name = 'site"):
        common(scenario={"measure": "validation"})


def test_other_configs_are_written_as_before():
    written = Data().model_dump(mode="json", exclude_none=True)
    assert {"clients", "classes", "modality", "size"}.isdisjoint(written)
