"""Every bar, just cleared and just not; two clients and three seeds make six pairs."""

import shutil

import pytest
from suites import SUITE, climbing, method

from fedbridge.bench.verdicts import verdicts

HEAD = SUITE[: SUITE.index("[[method]]")] + method("bridge", "ours")
# means over clients and seeds: small 60, large 70, together 80
OURS = {"small": [58, 60], "large": [68, 70], "together": [78, 80], "lost": [10, 10]}


@pytest.fixture
def judge(bench):
    """Return a function from methods (name, role, finals, rest) to verdicts by their bar."""

    def judged(*methods, ours=OURS):
        text = "".join(method(name, role, *rest) for name, role, _, *rest in methods)
        made = bench(HEAD + text)
        shutil.rmtree(made.results, ignore_errors=True)
        made.finish("bridge", *climbing(**ours))
        for name, _, finals, *_ in methods:
            made.finish(name, *climbing(**finals))
        return {v.bar: (v.needed, v.found, v.met) for v in verdicts(made.grid()["first"])}

    return judged


def test_together_against_the_best_predictor_of_the_best_baseline(judge):
    bar = "together beats the best baseline"
    weak = ("weak", "baseline", {"small": [20, 22]})
    strong = {"small": [30, 32], "large": [76, 78], "together": [75, 77]}
    found = judge(weak, ("strong", "baseline", strong))[bar]
    # 80 - 78; six of six pairs are better: 2/64, times 2 baselines
    assert found == ("≥ 2.0 points, p < 0.05", "+2.0 over strong (large 78.0), p = 0.062", False)
    assert judge(("strong", "baseline", strong))[bar][1:] == (
        "+2.0 over strong (large 78.0), p = 0.031",
        True,
    )


def test_together_too_close_to_a_baseline(judge):
    close = {"small": [30, 32], "together": [77, 79]}
    verdict = judge(("close", "baseline", close))["together beats the best baseline"]
    assert verdict[1:] == ("+1.0 over close (together 79.0), p = 0.031", False)


def test_what_does_not_speak_for_a_baseline_does_not_count(judge):
    rival = ("rival", "baseline", {"small": [30, 32], "large": [82, 83]}, 'reads = ["small"]')
    found = judge(rival)["together beats the best baseline"]
    assert found[1:] == ("+48.0 over rival (small 32.0), p = 0.031", True)


def test_small_against_every_other_way_to_train_it(judge):
    one = ("one", "baseline", {"small": [55, 57], "lost": [30, 30]})
    two = ("two", "baseline", {"small": [20, 22], "lost": [11, 11]})
    head = ("head", "baseline", {"small": [80, 82]}, 'reads = ["large"]')
    found = judge(one, two, head)
    ahead = "small beats every other way to train the same small models"
    assert found[ahead] == ("≥ 3.0 points", "+3.0 over one (small 57.0)", True)
    keeps = "small forgets less than with every other way"
    assert found[keeps] == ("< 11.0", "10.0; the least elsewhere 11.0, two", True)
    closer = ("one", "baseline", {"small": [56, 57], "lost": [10, 10]})
    found = judge(closer)
    assert found[ahead][1:] == ("+2.5 over one (small 57.5)", False)
    assert found[keeps][2] is False


def test_every_part_is_worth_a_point_of_each_predictor(judge):
    less = {"small": [57, 59], "together": [78, 79]}
    found = judge(("without it", "part", less))
    assert found["without it costs small"] == ("≥ 1.0 points", "+1.0", True)
    assert found["without it costs together"] == ("≥ 1.0 points", "+0.5", False)


def test_different_architectures_beside_equal_ones(judge):
    good = ("all cnn", "equal", {"small": [60, 62], "together": [70, 72]})
    bad = ("all mlp", "equal", {"small": [20, 22], "together": [81, 82]})
    found = judge(good, bad)
    name = "different architectures beside equal ones"
    mean = "to the mean of all equal ones"  # 42 and 77.25
    told = f"−2.0 to all cnn (small 62.0); +18.0 {mean}"
    assert found[f"{name}, small"] == ("≥ −2.0 points", told, True)
    told = f"−2.5 to all mlp (together 82.5); +2.8 {mean}"
    assert found[f"{name}, together"][1:] == (told, False)


def test_forward_transfer(judge):
    # 15 % one task ahead, 10 % untrained
    assert judge()["forward transfer of small"] == ("> 0", "+5.0", True)
    assert judge()["forward transfer of together"][2] is True


def test_upper_bounds_are_told_apart_by_their_data(judge):
    own = (
        "own",
        "bound",
        {"small": [78, 80], "together": [79, 80]},
        'set = ["scenario.history=own"]',
    )
    rest = 'set = ["scenario.history=pooled"]\nreads = ["small", "together"]'
    pooled = ("all", "bound", {"small": [80, 82], "together": [81, 83]}, rest)
    found = judge(own, pooled)
    assert found["together reaches own, small"] == ("≥ 0.0 points", "0.0 to own (small 80.0)", True)
    assert found["together reaches own, together"][1:] == ("−0.5 to own (together 80.5)", False)
    # 80 of 82 and of 83
    assert found["together against all, small"] == ("≥ 97.0 %", "97.6 % of all (small 82.0)", True)
    assert found["together against all, together"][1:] == ("96.4 % of all (together 83.0)", False)


def test_with_too_few_pairs_nothing_is_decided(bench):
    made = bench(HEAD.replace("[1, 2, 3]", "[1, 2]") + method("plain", "baseline"))
    made.finish("bridge", *climbing(**OURS))
    made.finish("plain", *climbing(small=[20, 22]))
    first = verdicts(made.grid()["first"])[0]
    # two seeds: 79.5 and 21.5; large and together of plain are as its small
    assert first.found == "+58.0 over plain (small 21.5), too few pairs for a p (4)"
    assert first.met is None


def test_methods_with_missing_runs_are_not_judged(bench):
    made = bench(HEAD + method("plain", "baseline") + method("cut off", "baseline"))
    made.finish("plain", *climbing(small=[20, 22]))
    made.finish("cut off", *climbing(small=[80, 82])[:2])
    assert verdicts(made.grid()["first"]) == []
    made.finish("bridge", *climbing(**OURS))
    assert "over plain" in verdicts(made.grid()["first"])[0].found


def test_without_a_method_that_is_ours_there_are_no_bars(bench):
    made = bench(HEAD.replace('role = "ours"', ""))
    made.finish("bridge", *climbing(**OURS))
    assert verdicts(made.grid()["first"]) == []
