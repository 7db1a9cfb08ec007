"""Names in the cells of a terminal's table, however narrow they are."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedbridge.core.wording import elided

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.measure import Measurement
    from rich.text import Text

LEAST = 9  # signs that are shown of a name at least


class NameCell:
    """A name as it is, no markup; its middle is left out where the column has no room for it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __rich_measure__(self, console: "Console", options: "ConsoleOptions") -> "Measurement":
        """Return the least and the most room that it takes."""
        from rich.measure import Measurement

        length = len(self.name)
        return Measurement(min(length, LEAST), length).with_maximum(options.max_width)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        """Yield it on one line."""
        from rich.text import Text

        yield Text(elided(self.name, options.max_width))
