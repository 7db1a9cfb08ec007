"""A site's own data: read from where its config says, prepared once, task by task."""

from collections.abc import Callable
from typing import Any

from fedbridge.config.site import SiteConfig
from fedbridge.data.readers.database import read_database
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.pictures import read_pictures
from fedbridge.data.readers.rows import Partition
from fedbridge.data.readers.tables import read_csv, read_huggingface, read_parquet

READERS: dict[str, Callable[[Any, Notice], list[Partition]]] = {
    "images": lambda settings, _: read_pictures(settings),
    "csv": read_csv,
    "parquet": read_parquet,
    "huggingface": read_huggingface,
    "sql": read_database,
}
"""What lists a site's tasks in their order, by ``data.kind``; the contents are read later."""


def partitions_of(site: SiteConfig, notice: Notice | None = None) -> list[Partition]:
    """Return the tasks that lie at a site now, in order; ``notice`` takes in what is noticed.

    Raises UserError if nothing is found, a column is missing or a file may not be read.
    """
    return READERS[site.data.kind](site.data, notice or Notice())
