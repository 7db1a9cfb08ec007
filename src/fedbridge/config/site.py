"""What a site says of itself: which client it is, where its own data lie and how they are read."""

import difflib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, model_validator

from fedbridge.config.columns import Column, CSVColumns, TableColumns
from fedbridge.config.data import Part
from fedbridge.config.files import explained, found_value, read_toml
from fedbridge.config.section import Count, Fraction, Levels, Section
from fedbridge.core.errors import UserError

UNSAFE = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy", ".npz")
"""Endings of files that could hold pickled objects; none is ever opened."""

LYING = (
    *("onnx", "sentence-transformers", "timm", "timm-pretrained"),
    *("transformers", "transformers-pretrained"),
)
"""Sources of models that may be files or folders."""


def _placed(path: Path, info: ValidationInfo) -> Path:
    """Return a path as it counts from the folder of the site's file."""
    if ".." in path.parts:
        raise ValueError("must lie in the folder of this file, or be an absolute path")
    if path.suffix.lower() in UNSAFE:
        raise ValueError(f"must not end with {path.suffix}: nothing is unpickled")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


def _lying(spec: str, info: ValidationInfo) -> str:
    """Return how a config names a model, with paths as they count from the site's file."""
    source, colon, where = spec.partition(":")
    if not where or source not in LYING:
        return spec
    folder: Path = (info.context or {}).get("folder", Path())
    if source == "onnx" or where.startswith((".", "/", "~")) or (folder / where).is_dir():
        return f"{source}{colon}{_placed(Path(where), info)}"
    return spec


Place = Annotated[Path, AfterValidator(_placed)]
Model = Annotated[str, AfterValidator(_lying)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class AssignedShare(Section):
    """The share of a built-in data set that the common config gives to this client."""

    kind: Literal["experiment"] = "experiment"


class HeldOut(Section):
    """What is held back of every task, and how tasks arrive."""

    test: Fraction = 0.2
    """Share of the items that only the test uses. An item's content alone decides."""
    validation: Part = 0.1
    """AssignedShare held back for calibration."""
    seed: Count = 0
    """Seed of both; another one is another division."""
    live: bool = False
    """Whether tasks arrive one by one while the federation runs; otherwise all exist at once."""
    broken: Literal["refuse", "skip"] = "refuse"
    """What to do where files or rows cannot be used: refuse the task, or leave those out and say
    so."""

    @model_validator(mode="after")
    def _leave_training_items(self) -> Self:
        if self.test + self.validation >= 1.0:
            raise ValueError(
                f"test + validation must be below 1 to leave training items, found "
                f"{self.test + self.validation:g}"
            )
        return self


class Images(HeldOut):
    """A folder of pictures."""

    kind: Literal["images"] = "images"
    path: Place
    """The folder."""
    layout: Literal["class/file", "task/class/file"] = "class/file"
    """What its folders mean; a class may have folders of its own."""
    levels: Levels = None
    """Which values of pictures of more than 8 bits are black and white, where that is not known:
    ``[-1000, 3000]``. Values beyond them are cut off there; those of 8 bits stay as they are."""
    complete: Literal["marker", "next", "always"] = "marker"
    """When a live task is complete: a file ``_DONE`` lies in its folder; a later folder is there;
    or as soon as it is there."""


class Table(HeldOut, TableColumns):
    """Rows of a table; each is an item."""

    period: Literal["day", "week", "month"] = "month"
    """Length of a period."""
    complete: Literal["next", "always"] = "next"
    """When a live task is complete: a later one is there; or as soon as it is there."""

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        self.check_columns()
        return self


class CSV(Table, CSVColumns):
    """A CSV file with a header, or a folder of such files, each a task."""

    kind: Literal["csv"] = "csv"
    path: Place
    """The file, or the folder."""


class Parquet(Table):
    """A Parquet file, or a folder of such files, each a task."""

    kind: Literal["parquet"] = "parquet"
    path: Place
    """The file, or the folder."""


class HuggingFace(Table):
    """A data set that ``save_to_disk`` of the package ``datasets`` has written."""

    more: ClassVar[tuple[str, ...]] = ("image",)
    kind: Literal["huggingface"] = "huggingface"
    path: Place
    """Its folder."""
    image: Column | None = None
    """Column of pictures."""
    split: str | None = None
    """The split to read where it has several; all of them by default."""
    levels: Levels = None
    """Which values of pictures of more than 8 bits are black and white, where that is not known:
    ``[-1000, 3000]``. Values beyond them are cut off there; those of 8 bits stay as they are."""

    @model_validator(mode="after")
    def _levels_are_for_pictures(self) -> Self:
        if self.levels is not None and self.image is None:
            raise ValueError("levels is only for pictures, found it without image")
        return self


class SQL(Table):
    """A table or a query of a database, over SQLAlchemy; nothing is ever written."""

    kind: Literal["sql"] = "sql"
    url_variable: Annotated[str, Field(min_length=1)] = "FEDBRIDGE_DATABASE"
    """Environment variable that holds the database's URL, and so the password."""
    table: Column | None = None
    """The table or view to read."""
    query: str | None = None
    """Or one SELECT."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("must name either table or query")
        if self.query is not None and not _reads_only(self.query):
            raise ValueError(f"query must be a single SELECT or WITH, found {self.query!r}")
        return self


def _reads_only(query: str) -> bool:
    words = query.split()
    return (
        bool(words) and words[0].lower() in ("select", "with") and ";" not in query.rstrip("; \n")
    )


SiteData = Annotated[
    AssignedShare | Images | CSV | Parquet | HuggingFace | SQL, Field(discriminator="kind")
]
KINDS: dict[str, type[Section]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(get_args(SiteData)[0])
}
"""The section of every kind of data, by ``data.kind``."""


class OwnLarge(Section):
    """The foundation model as it lies at a site."""

    model: Model | None = None
    """As ``large.model`` of a common config, which it takes the place of here; a module is found
    in the folder of this file too. Its fingerprint must be that of everybody's FM."""


class OwnSmall(Section):
    """The small model as a site finds it."""

    model: Model | None = None
    """As one of ``small.models`` of a common config; it takes the place of the one that is meant
    for this client, and must be of the same architecture."""


class SiteConfig(Section):
    """One site, complete; paths count from the folder of its file."""

    client: Name
    """The name by which the federation knows this site."""
    state: Place = Field(default=Path("state"), validate_default=True)
    """Folder of what the client must not forget: its model, its memory, its tasks as it read
    them. It holds private data."""
    data: SiteData = AssignedShare()
    large: OwnLarge = OwnLarge()
    small: OwnSmall = OwnSmall()
    methods: tuple[str, ...] = ()
    """Methods of somebody's own, ``MODULE:NAME``, that run here if the common config names them;
    their modules lie in the folder of this file or are installed here."""

    @model_validator(mode="after")
    def _state_is_apart(self) -> Self:
        path = getattr(self.data, "path", None)
        if path is not None and self.state.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"state must not lie in data.path, found {self.state}")
        return self


def load_site(path: Path) -> SiteConfig:
    """Read a site's TOML file; raise UserError naming file, field and rule."""
    tree = read_toml(path, "site")
    try:
        return SiteConfig.model_validate(tree, context={"folder": path.parent.absolute()})
    except ValidationError as error:
        raise UserError(f"{path}: {explained(_explain, error)}") from error


def _explain(item: dict[str, Any]) -> str:
    kind = next((part for part in item["loc"] if part in KINDS), "")
    key = ".".join(str(part) for part in item["loc"] if part != kind)
    if item["type"] == "extra_forbidden":
        section = KINDS.get(kind, SiteConfig)
        close = difflib.get_close_matches(str(item["loc"][-1]), section.model_fields, n=1)
        known = f"did you mean {close[0]!r}?" if close else f"known: {_listed(section)}"
        return f"{key}: unknown key ({known})"
    if item["type"].startswith("union_tag"):
        found = dict(item["input"]).get("kind")
        return f"{key}.kind: must be one of {', '.join(KINDS)}, found {found!r}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if isinstance(item["input"], dict):  # a rule about several fields, which names them itself
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, found {found_value(str(item['input']))}"


def _listed(section: type[Section]) -> str:
    return ", ".join(sorted(section.model_fields))
