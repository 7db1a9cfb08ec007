"""Names are shown as they are, whatever they would mean to who draws tables."""

import numpy as np
from rich.console import Console

from fedbridge.report.inspection import show
from fedbridge.report.inspection.page import Inspection
from fedbridge.report.inspection.result import Doubt, TaskFacts


def test_brackets_in_names_are_no_markup():
    counts = np.array([[3, 1, 1], [2, 1, 1]])
    doubts = (Doubt("[/i]", "[/u]", "[red]", 0.5),)
    tasks = (TaskFacts("[/b]", "[bold]", counts),)
    found = Inspection("[/x]", ("[/u]", "[red]"), tasks, 4, ("[/y]",), (), (), doubts)
    console = Console(width=120, record=True, quiet=False)
    show(found, console)
    text = console.export_text()
    assert all(name in text for name in ("[/x]", "[/b]", "[bold]", "[/u]", "[red]", "[/i]", "[/y]"))
