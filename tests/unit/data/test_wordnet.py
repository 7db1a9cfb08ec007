import numpy as np
import pytest

from fedbridge.core.errors import UserError
from fedbridge.core.tokens import tokenize
from fedbridge.data.catalog import wordnet
from fedbridge.data.catalog.wordnet import Synset, branches_of, class_names, prepare, read_nouns

HEAD = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
# entity > (animal > (dog > poodle, cat), tool > saw, tool); a poodle is a show-off as well
LINES = """\
00000001 03 n 01 entity 0 001 ~ 00000002 n 0000 | that which is  
00000002 03 n 02 animal 0 beast 1 002 @ 00000001 n 0000 ~ 00000003 n 0000 | it moves; "an animal"  
00000003 03 n 01 domestic_dog 0 001 @ 00000002 n 0000 | it barks; it bites  
00000004 03 n 01 poodle 0 003 + 00000003 n 0101 @ 00000003 n 0000 @ 00000006 n 0000 | it is shorn  
00000005 03 n 01 cat 0 001 @ 00000002 n 0000 | same  
00000006 03 n 01 tool 0 001 @ 00000001 n 0000 | it is used  
00000007 03 n 01 saw 0 001 @i 00000006 n 0000 | same  
00000008 03 n 0a tool 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 001 @ 00000006 n 0000 | it is used  
"""  # noqa: W291
TEXT = HEAD + LINES


@pytest.fixture
def nouns(tmp_path):
    path = tmp_path / "data.noun"
    path.write_text(TEXT, encoding="latin-1")
    return read_nouns(path)


def test_synsets_are_read_without_examples(nouns):
    assert len(nouns) == 8
    assert nouns["00000001"] == Synset("entity", "that which is", None)
    assert nouns["00000002"] == Synset("animal", "it moves", "00000001")
    assert nouns["00000003"] == Synset("domestic dog", "it barks; it bites", "00000002")
    assert nouns["00000004"].parent == "00000003"  # of two parents the first
    assert nouns["00000007"].parent == "00000006"  # an instance
    assert nouns["00000008"].word == "tool"  # ten words: counts are hexadecimal


@pytest.mark.parametrize(
    "line", ["00000001 03 n", "00000001 03 n 01 x 0 002 @ 1 n 0000 | y", "1 3 n 01 x 0 000 |"]
)
def test_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "data.noun"
    path.write_text(HEAD + line + "\n")
    with pytest.raises(UserError, match=r"data\.noun: line 2 is no synset"):
        read_nouns(path)


def test_classes_are_the_highest_branches_of_fitting_size(nouns, monkeypatch):
    monkeypatch.setattr(wordnet, "MOST", 4)
    monkeypatch.setattr(wordnet, "LEAST", 2)
    branches = branches_of(nouns)
    assert {root[-1]: {m[-1] for m in members} for root, members in branches.items()} == {
        "2": {"2", "3", "4", "5"},
        "6": {"6", "7", "8"},
    }
    monkeypatch.setattr(wordnet, "MOST", 3)
    assert [root[-1] for root in branches_of(nouns)] == ["3", "6"]
    monkeypatch.setattr(wordnet, "LEAST", 3)
    assert [root[-1] for root in branches_of(nouns)] == ["6"]


def test_names_that_several_classes_share_are_told_apart(nouns):
    roots = ("00000002", "00000006", "00000008")
    assert class_names(nouns, roots) == ("animal", "tool 00000006", "tool 00000008")


def test_equal_definitions_are_a_group_and_ambiguous_ones_are_left_out(
    registry, workspace, monkeypatch
):
    monkeypatch.setattr(wordnet, "MOST", 4)
    monkeypatch.setattr(wordnet, "LEAST", 2)
    registry.add_apt("wordnet-base", {"./usr/share/wordnet/data.noun": TEXT.encode()})
    (part,) = prepare(("wordnet",), workspace)
    assert part.classes == ("animal", "tool")
    assert part.items == (
        "it moves",
        "it barks; it bites",
        "it is shorn",
        "it is used",
        "it is used",
    )
    assert part.labels.tolist() == [0, 0, 0, 1, 1]
    assert len(set(part.groups[:4].tolist())) == 4 and part.groups[3] == part.groups[4]
    np.testing.assert_array_equal(part.inputs[2], tokenize("it is shorn"))
    assert part.licences == (wordnet.LICENCE,)
    assert registry.log() == ["apt wordnet-base"]
