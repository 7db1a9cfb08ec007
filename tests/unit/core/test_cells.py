from rich.console import Console
from rich.table import Table

from fedbridge.core.cells import NameCell


def test_names_that_differ_at_their_ends_stay_apart_however_narrow_the_table() -> None:
    table = Table("client", "n")
    for end in "ab":
        table.add_row(NameCell(f"a-hospital-in-a-town-far-away-{end}"), "12")
    table.add_row(NameCell("[red]x"), "3")
    for width, name in ((24, "a-hos…ar-away-b"), (80, "a-hospital-in-a-town-far-away-b")):
        console = Console(width=width, color_system=None)
        with console.capture() as capture:
            console.print(table)
        lines = capture.get().splitlines()
        assert any(f"│ {name} " in line for line in lines), capture.get()
        assert any("[red]x" in line for line in lines)
        assert max(map(len, lines)) <= width and sum("12" in line for line in lines) == 2
