from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from fedbridge.core.errors import UserError
from fedbridge.report.run.comparison import mean_and_deviation
from fedbridge.report.run.page import write_page
from fedbridge.report.run.tables import Comparison, compare_markdown, result_table
from fedbridge.runs.run import Run, read_accuracy
from strangers import with_metric

MakeRun = Callable[..., Path]


def printed(table: RenderableType, width: int = 120) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def lines_with(text: str, word: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if word in line]


def finals(small: float) -> dict[str, float]:
    return {"small": small, "large": 0.7, "together": 0.8}


def test_results_of_one_run(make_run: MakeRun) -> None:
    text = printed(result_table(make_run()))
    # small: a ends at 4, 6, 8 and b at 3, 5, 7 of ten; each task loses 2 with every later one
    first, second = lines_with(text, "small")
    assert first == ["small", "55.0", "65.0", "30.0", "−30.0", "0.0"]
    # the fixture gives every task-aware answer one more right item
    assert second == ["small", "65.0", "75.0", "30.0", "−30.0", "0.0"]
    assert lines_with(text, "large")[0] == ["large", "55.0", "55.0", "0.0", "0.0", "0.0"]
    assert "class-incremental" in text
    assert "task-aware" in text


def test_refused_uploads_are_counted_where_there_are_any(make_run: MakeRun) -> None:
    folder = make_run()
    assert "refused" not in printed(result_table(folder))
    for number, said in ((1, "seed 0, 1 message refused"), (2, "seed 0, 2 messages refused")):
        Run.open(folder).event("refused", task=number, round=1, client="a", reason="a: state")
        assert said in printed(result_table(folder))


def test_an_unfinished_run_shows_what_is_known_and_why_it_ended(make_run: MakeRun) -> None:
    folder = make_run(finished=False)
    rows = read_accuracy(folder)
    Run.open(folder).write_accuracy([row for row in rows if row.after_task <= 2])
    text = printed(result_table(folder))
    assert "fedbridge, seed 0: after task 2 of 3, stopped at step 3 of 6" in text
    # a 6, 8 and b 5, 7 of ten after two tasks; the task that was only looked at does not count
    assert lines_with(text, "small")[0] == ["small", "65.0", "70.0", "20.0", "−20.0", "0.0"]
    Run.open(folder).event("aborted", message="[x] is wrong")
    text = printed(result_table(folder))
    assert "ended by an error at step 3 of 6" in text and "error: [x] is wrong" in text


def test_before_the_first_measurement_there_are_dashes(make_run: MakeRun) -> None:
    folder = make_run(finished=False)
    (folder / "accuracy.csv").unlink()
    text = " ".join(printed(result_table(folder)).split())
    assert "before the first task was measured, stopped at step 3 of 6" in text
    assert "together – – – – – " in text


def test_retention_is_explained_below_the_table(make_run: MakeRun) -> None:
    text = printed(result_table(make_run()))
    assert "knowledge retention 75.0 % over time" in text
    assert "over time: first task at the end / when learnt; above 100 % it rose" in text


def test_tables_lose_nothing_at_80_columns(make_run: MakeRun) -> None:
    folders = [
        make_run(f"{s}", settings={"seed": s, "name": "a-long-name"}, finals=finals(0.5 + s))
        for s in (0, 1)
    ]
    for table in (result_table(folders[0]), Comparison(folders)):
        text = printed(table, 80)
        assert "a-long-name" in text
        assert text.split().count("transfer") == 2
    # mean and deviation of 0.5 and 1.5: sqrt(2 * 0.5 * 0.5) = 0.7071
    numbers = ["mean", "100.0", "±70.7", "70.0", "±0.0", "80.0", "±0.0", "25.0", "±0.0"]
    assert lines_with(text, "±70.7")[0][2:] == [*numbers, "−12.5", "±0.0", "–"]


def test_names_are_not_console_markup(make_run: MakeRun) -> None:
    folder = make_run(settings={"name": "[red]x[/red]"})
    assert "[red]x[/red]" in printed(result_table(folder))
    assert "[red]x[/red]" in printed(Comparison([folder]))


def test_mean_and_sample_deviation_over_seeds(make_run: MakeRun) -> None:
    folders = [
        make_run(f"seed-{seed}", settings={"seed": seed}, finals=finals(value))
        for seed, value in [(0, 0.5), (1, 0.6), (2, 0.7)]
    ]
    text = compare_markdown(folders[::-1])
    rows = [line.split(" | ") for line in text.splitlines() if "fedbridge" in line]
    assert [row[1] for row in rows] == ["0", "1", "2", "**mean**"]
    # mean 0.6; deviations -0.1, 0, 0.1: sqrt(0.02 / 2) = 0.1
    assert rows[-1][2] == "**60.0 ± 10.0**"
    assert rows[-1][3] == "**70.0 ± 0.0**"
    assert rows[-1][6] == "**−12.5 ± 0.0**"
    assert rows[-1][7] == "**–** |"
    assert "60.0 ±10.0" in printed(Comparison(folders))


def test_methods_stand_apart_and_one_seed_has_no_mean(make_run: MakeRun) -> None:
    ours = make_run("ours", finals=finals(0.6))
    other = make_run("other", settings={"name": "finetune", "seed": 1}, finals=finals(0.2))
    text = compare_markdown([ours, other])
    assert "| fedbridge | 0 | 60.0 | 70.0 | 80.0 | 25.0 | −12.5 | – |" in text
    assert "| finetune | 1 | 20.0 |" in text
    assert "±" not in text.split("\n", 1)[1]


def test_settings_that_differ_are_never_averaged(make_run: MakeRun) -> None:
    one = make_run("one", finals=finals(0.6), settings={"seed": 0})
    two = make_run(
        "two", finals=finals(0.8), settings={"seed": 1, "learner": {"name": "smcf", "memory": 0}}
    )
    text = compare_markdown([one, two])
    assert "| fedbridge (learner.memory=20) | 0 | 60.0" in text
    assert "| fedbridge (learner.memory=0) | 1 | 80.0" in text
    assert "**mean**" not in text


def test_the_engine_is_no_difference_and_a_repeated_seed_counts_once(make_run: MakeRun) -> None:
    folders = [
        make_run("a", finals=finals(0.6), settings={"seed": 0}),
        make_run("b", finals=finals(0.6), settings={"seed": 0, "engine": {"workers": 0}}),
        make_run("c", finals=finals(0.8), settings={"seed": 1}),
    ]
    text = compare_markdown(folders)
    # of 0.6 and 0.8: mean 0.7, deviation sqrt(0.02 / 1) = 0.1414
    assert "| **fedbridge** | **mean** | **70.0 ± 14.1**" in text


def test_data_sets_are_named_where_they_differ(make_run: MakeRun) -> None:
    one = make_run("one", finals=finals(0.6))
    two = make_run("two", finals=finals(0.8), settings={"name": "x", "data": {"name": "emoji"}})
    text = compare_markdown([one, two])
    assert "fedbridge (data.name=digits)" in text
    assert "x (data.name=emoji)" in text


def test_an_unfinished_run_is_shown_but_not_averaged(make_run: MakeRun) -> None:
    folders = [make_run("a", finals=finals(0.6)), make_run("b", finished=False)]
    text = compare_markdown(folders)
    stand = "after task 3 of 3, stopped at step 3 of 6"
    assert f"| fedbridge (in …/b, {stand}) | 0 | 55.0 |" in text
    assert "| fedbridge (in …/a) | 0 | 60.0 |" in text
    assert "**mean**" not in text


def several(make_run: MakeRun, count: int) -> list[Path]:
    name, place = "a-long-name-of-an-experiment-with-averages", "/home/somebody/projects/hospital"
    return [
        make_run(
            f"run-{k}",
            settings={
                "name": f"{name}-{k // 2}",
                "data": {
                    "name": f"csv:{place}/site-{k}/measurements.csv",
                    "own": {"label": "x", "text": "t"},
                },
            },
        )
        for k in range(count)
    ]


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("count", [2, 4, 6])
def test_long_names_are_shortened_and_never_broken(
    make_run: MakeRun, count: int, width: int
) -> None:
    folders = several(make_run, count)
    lines = [line.rstrip() for line in printed(Comparison(folders), width).splitlines()]
    assert max(map(len, lines)) <= width
    assert sum(" 55.0 " in line for line in lines) == count  # a line for each run
    for k in range(count):
        # the folders that all have in common are left out, and what differs is in one piece
        assert sum(f"data.name=csv:…/site-{k}/measurements.csv" in line for line in lines) == 1
        assert any(f"a-long-name-of-an-experiment-with-averages-{k // 2}" in line for line in lines)


def test_what_is_short_stands_in_the_table(make_run: MakeRun) -> None:
    one = make_run("one", finals=finals(0.6), settings={"name": "x"})
    two = make_run("two", finals=finals(0.8), settings={"name": "x", "learner": {"memory": 0}})
    text = printed(Comparison([one, two]), 120)
    assert lines_with(text, "(learner.memory=0)")[0][:3] == ["x", "(learner.memory=0)", "0"]
    assert lines_with(printed(Comparison([one, two]), 80), "learner.memory=0") == [
        ["2", "x:", "learner.memory=0"]
    ]


def test_markdown_cells_cannot_break_out(make_run: MakeRun) -> None:
    folder = make_run(settings={"name": "a|b <i>"})
    assert "| a\\|b &lt;i> | 0 |" in compare_markdown([folder])


def test_the_other_protocol(make_run: MakeRun) -> None:
    text = compare_markdown([make_run()], "task-aware")
    assert text.startswith("Results in %, task-aware;")
    assert "| fedbridge | 0 | 65.0 |" in text


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for table in (result_table, lambda folder: Comparison([folder])):
        with pytest.raises(UserError, match=r"config\.toml"):
            table(tmp_path)


def test_an_unknown_value_makes_the_mean_unknown() -> None:
    assert mean_and_deviation([0.5, None]) == "–"
    assert mean_and_deviation([0.5]) == "–"
    assert mean_and_deviation([-0.1, -0.3], signed=True) == "−20.0 ± 14.1"


def test_a_hostile_name_does_nothing_to_the_terminal(make_run: MakeRun) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\u202egnp.exe"
    folder = make_run(clients=(hostile, "b"), settings={"name": hostile})
    shown = [printed(result_table(folder)), printed(Comparison([folder, folder]))]
    shown += [printed(Comparison([folder, folder]), width=60), compare_markdown([folder])]
    for text in shown:
        assert "?[2J?]0;title??gnp.exe" in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_a_metric_of_ones_own_is_shown_without_its_module(make_run: MakeRun) -> None:
    one, other = (make_run(f"run-{n}", settings={"seed": n}) for n in (1, 2))
    with_metric(one, "nowhere:OWN", -0.25, signed=True)
    with_metric(other, "nowhere:OWN", 0.75, signed=True)
    assert "own: small −25.0 %" in printed(result_table(one))
    header, _, *lines = compare_markdown([one, other]).splitlines()[2:]
    assert header.endswith("| small own |")
    assert [line.split(" | ")[-1] for line in lines] == ["−25.0 |", "+75.0 |", "**+25.0 ± 70.7** |"]
    page = write_page(other).read_text(encoding="utf-8")
    assert "what it means" in page and "+75.0" in page
