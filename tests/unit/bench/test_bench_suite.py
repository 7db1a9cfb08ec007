"""Suite files: what they mean, and what is said of those that mean nothing."""

import pytest
from suites import SUITE, write

from fedbridge.bench.suite import load_suite, slug
from fedbridge.core.errors import UserError

SECOND = '[[scenario]]\nname = "second"\nconfig = "base.toml"\n'


def test_a_suite_is_read_with_its_defaults(bench):
    suite = load_suite(bench().path)
    assert suite.seeds == (1, 2, 3)
    ours, plain = suite.method
    assert (ours.role, plain.role) == ("ours", "baseline")
    assert plain.set == ("learner.name=finetune",)
    assert plain.reads == ("small", "large", "together")
    assert plain.only == ("*",) and plain.config is None


def test_a_method_runs_where_one_of_its_patterns_fits(bench):
    more = SECOND + '[[method]]\nname = "third"\nonly = ["sec*", "[x]"]\n'
    with pytest.raises(UserError, match=r"'third': only: must fit a scenario \(first, second\)"):
        load_suite(bench(SUITE + more).path)
    third = load_suite(bench(SUITE + more.replace(', "[x]"', "")).path).method[-1]
    assert third.runs_on("second") and not third.runs_on("first")


def test_a_suite_may_extend_another(bench, tmp_path):
    write(tmp_path / "other.toml", SUITE)
    suite = load_suite(bench('extends = "other.toml"\nseeds = [7]\n' + SECOND).path)
    assert suite.seeds == (7,)
    assert [scenario.name for scenario in suite.scenario] == ["second"]
    assert [method.name for method in suite.method] == ["bridge", "plain"]


def test_a_suite_that_extends_itself(bench):
    with pytest.raises(UserError, match=r"grid\.toml: extends itself"):
        load_suite(bench('extends = "grid.toml"').path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seeds = [1, 2, 3]", "", "seeds: Field required"),
        ("[1, 2, 3]", "[]", "seeds: .*at least 1 item"),
        ("[1, 2, 3]", "[1, 1]", r"seeds: must differ from each other, found \[1, 1\]"),
        ("[1, 2, 3]", "[-1]", "seeds: 0: .*greater than or equal to 0, found -1"),
        ("seeds", "sedes = [1]\nseeds", r"sedes: unknown key \(did you mean 'seeds'\?\)"),
        ('"plain"', '"bridge"', "method: every name must be there once, found bridge, bridge"),
        ('"plain"', '"bridge!"', "method: every name must be there once, found bridge, bridge!"),
        ('"plain"', '"Bridge"', "method: every name must be there once, found bridge, Bridge"),
        ('"plain"', f'"{"x" * 101}"', "name: must be at most 100 bytes long"),
        ('"plain"', '"--"', "method '--': name: must have letters or digits"),
        ('name = "plain"\n', "", "method number 2: name: Field required"),
        ('"baseline"', '"ours"', r"at most may have the role 'ours', found \['bridge', 'plain'\]"),
        ('"baseline"', '"rival"', "method 'plain': role: .*'ours', 'part'.*found 'rival'"),
        ("set =", "sets =", r"method 'plain': sets: unknown key \(did you mean 'set'\?\)"),
        ('["learner.name=finetune"]', '"x=1"', "method 'plain': set: .*found 'x=1'"),
        ("config =", "model =", "scenario 'first': model: unknown key"),
        ("[[scenario]]", "[scenario]", "scenario: .*tuple"),
        ("seeds = ", "seeds = = ", "not valid TOML"),
        ('role = "ours"', 'role = "ours"\nreads = ["big"]', "method 'bridge': reads: .*'small'"),
    ],
)
def test_what_is_wrong_is_named(bench, before, after, message):
    assert before in SUITE
    path = bench(SUITE.replace(before, after, 1)).path
    with pytest.raises(UserError, match=f"^{path}: .*{message}"):
        load_suite(path)


def test_a_suite_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"absent\.toml: cannot read this suite file: No such file"):
        load_suite(tmp_path / "absent.toml")


def test_names_become_folders():
    assert slug("joint, own data") == "joint-own-data"
    assert slug("KR_t 1.5 (ours)") == "KR_t-1.5-ours"
    assert slug("../..") == ""
