from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from fedbridge.errors import UserError
from fedbridge.report.comparison import mean_and_deviation
from fedbridge.report.tables import compare_markdown, compare_table, result_table
from fedbridge.runs import Run

MakeRun = Callable[..., Path]


def printed(table: Table, width: int = 120) -> str:
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


def test_an_unfinished_run_has_dashes(make_run: MakeRun) -> None:
    text = printed(result_table(make_run(finished=False)))
    assert "(unfinished)" in text
    assert lines_with(text, "together")[0] == ["together", *"–––––"]


def test_tables_lose_nothing_at_80_columns(make_run: MakeRun) -> None:
    folders = [
        make_run(f"{s}", settings={"seed": s, "name": "a-long-name"}, finals=finals(0.5 + s))
        for s in (0, 1)
    ]
    for table in (result_table(folders[0]), compare_table(folders)):
        text = printed(table, 80)
        assert "…" not in text
        assert text.split().count("transfer") == 2
    # mean and deviation of 0.5 and 1.5: sqrt(2 * 0.5 * 0.5) = 0.7071
    numbers = ["mean", "100.0", "±70.7", "70.0", "±0.0", "80.0", "±0.0", "25.0", "±0.0"]
    assert lines_with(text, "±70.7")[0][1:] == [*numbers, "−12.5", "±0.0", "–"]


def test_names_are_not_console_markup(make_run: MakeRun) -> None:
    folder = make_run(settings={"name": "[red]x[/red]"})
    assert "[red]x[/red]" in printed(result_table(folder))
    assert "[red]x[/red]" in printed(compare_table([folder]))


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
    assert "60.0 ±10.0" in printed(compare_table(folders))


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
    assert "| fedbridge (unfinished) | 0 | – |" in text
    assert "**mean**" not in text


def test_markdown_cells_cannot_break_out(make_run: MakeRun) -> None:
    folder = make_run(settings={"name": "a|b <i>"})
    assert "| a\\|b &lt;i> | 0 |" in compare_markdown([folder])


def test_the_other_protocol(make_run: MakeRun) -> None:
    text = compare_markdown([make_run()], "task-aware")
    assert text.startswith("Results in %, task-aware;")
    assert "| fedbridge | 0 | 65.0 |" in text


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for table in (result_table, lambda folder: compare_table([folder])):
        with pytest.raises(UserError, match=r"config\.toml"):
            table(tmp_path)


def test_an_unknown_value_makes_the_mean_unknown() -> None:
    assert mean_and_deviation([0.5, None]) == "–"
    assert mean_and_deviation([0.5]) == "–"
    assert mean_and_deviation([-0.1, -0.3], signed=True) == "−20.0 ± 14.1"
