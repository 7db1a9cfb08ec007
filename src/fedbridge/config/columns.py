"""Which column of a table is what, wherever the table lies."""

from typing import Annotated, ClassVar

from pydantic import Field

from fedbridge.config.section import Section

Column = Annotated[str, Field(min_length=1)]


class Columns(Section):
    """What is read of a row; each row is an item."""

    where: ClassVar[str] = "data"
    """The section in which these settings stand, for errors."""
    more: ClassVar[tuple[str, ...]] = ()
    """Further settings that name a column each."""
    labelled: ClassVar[bool] = True
    """Whether items have classes."""
    label: Column = "label"
    """Column of classes."""
    text: Column | None = None
    """Column of texts, each of which is an item as it stands."""
    features: Annotated[tuple[Column, ...], Field(min_length=1, max_length=48)] | None = None
    """Columns of numbers or words. The FM reads a row as the text ``column: value, column:
    value``; small models for texts read each word, and each number at two precisions."""
    group: Column | None = None
    """Column that is equal for rows that belong together (a patient): all are on one side."""
    task: Column | None = None
    """Column that names the task of a row; tasks are taken in the order of their names."""
    date: Column | None = None
    """Column of dates; each period is a task."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        return tuple(dict.fromkeys(column for _, column in self.roles))

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """Every setting that names a column, with the column."""
        label = ("label",) if self.labelled else ()
        named = (*label, "text", "group", "task", "date", *self.more)
        found = [(role, column) for role in named if (column := getattr(self, role)) is not None]
        return (*found, *(("features", column) for column in self.features or ()))

    def check_columns(self) -> None:
        """Raise ValueError unless one content is named, and at most one of task and date."""
        contents = [self.text, self.features, getattr(self, "image", None)]
        if sum(content is not None for content in contents) != 1:
            known = "text, features or image" if hasattr(self, "image") else "text or features"
            raise ValueError(f"must name exactly one of {known}")
        if self.task and self.date:
            raise ValueError(f"must name task or date, not both: {self.task!r} and {self.date!r}")
