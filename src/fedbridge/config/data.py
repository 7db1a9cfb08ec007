"""Which data there are, and who holds what, and when."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fedbridge.config.options import FreeOptions
from fedbridge.config.own import Own, PublicOwn, is_module, kind_of, placed, title_of
from fedbridge.config.section import Count, Fraction, Levels, Positive, Scale, Section
from fedbridge.core.errors import UserError
from fedbridge.core.words import MISSING, word_of

Part = Annotated[float, Field(ge=0.0, lt=1.0)]
KeptFraction = Annotated[float, Field(gt=0.0, le=1.0)]
Slots = Annotated[tuple[Positive, ...], Field(min_length=1)]


def _spelled(name: object) -> object:
    """Return a name as data spell it; whole numbers are names too."""
    if not isinstance(name, str | int | float):
        return name
    try:
        return word_of(name)
    except UserError as error:
        raise ValueError(str(error)) from error


Word = Annotated[str, BeforeValidator(_spelled)]
DRAWN = (
    "classes_per_task", "repeats", "joins", "leaves", "data_fraction", "private_classes", "order",
    "train_per_class", "test_per_class", "blur",
)  # fmt: skip
"""What the scenario builder draws, and data that state their tasks have already decided."""
SITE = "site"
"""The name of the data that every site reads itself."""


class Hub(Section):
    """How a data set ``hf:OWNER/NAME`` or ``hf:DIR`` is read."""

    where: ClassVar[str] = "data.hub"
    """The section in which these settings stand, for errors."""
    subset: str | None = None
    """One of the configurations that some data sets of the hub have."""
    revision: str | None = None
    """Commit, tag or branch; by default the newest one when the data set is first prepared."""
    splits: tuple[str, ...] | None = None
    """The splits to use, all by default. Of several, ``train`` is the official training part and
    the others are the official test."""
    content: str | None = None
    """Column of pictures or texts; by default the only one of pictures, else of strings."""
    label: str | None = None
    """Column of classes; by default the only one declared as such, else one called ``label``."""
    domain: str | None = None
    """Column of domains; by default all items are of one domain."""
    group: str | None = None
    """Column that is equal for items that belong together; by default equal contents do."""
    missing: tuple[str, ...] = MISSING
    """Words that mean that there is no label, domain or group."""
    side: Annotated[int, Field(ge=32)] = 96
    """Side in pixels at which pictures are kept for the FM; small models read 32."""
    levels: Levels = None
    """Which values of pictures of more than 8 bits are black and white, where that is not known."""
    broken: Literal["refuse", "skip"] = "refuse"
    """What to do where rows cannot be used: refuse all, or leave those out and say so."""


class PublicHub(Hub):
    """The same where it is the public set, of which ``data.public_own`` says the little it may."""

    where: ClassVar[str] = "data.public_own"


class Data(Section):
    """Which data set the clients and the public set are drawn from."""

    name: str = "digits"
    """An entry of ``fedbridge list datasets``, or ``hf:OWNER/NAME`` on the Hugging Face hub, or
    ``hf:DIR``, a folder that ``save_to_disk`` of Hugging Face ``datasets`` has written; own files
    as ``folder:DIR``, ``csv:FILE`` or ``parquet:FILE``, whose paths count from the folder of the
    config; or ``MODULE:NAME``, a ``fedbridge.data.DataSource`` of one's own; or ``site``: every
    client reads its own data, as its own site config says."""
    options: FreeOptions | None = None
    """Options of a data set ``MODULE:NAME``, as that says them."""
    domains: tuple[Word, ...] | None = None
    """The domains to use (styles, languages, ...), in this order; all of them by default."""
    public: str = "same"
    """What the public set ``U`` is made of: items of the same data set that no client holds
    (``same``); random shapes or words, hence no data at all (``none``); or unlabelled items of
    another data set, by its name, or ``MODULE:NAME``, or own files as ``folder:DIR``,
    ``csv:FILE`` or ``parquet:FILE``, or as ``set:NAME``: whoever takes part has put it under that
    name into the folder ``public`` of their own cache."""
    public_items: Positive | None = None
    """Number of public items where they are not of the ``same`` data set; by default as many as
    would be of it."""
    public_options: FreeOptions | None = None
    """Options of a public set ``MODULE:NAME``."""
    clients: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the sites, in order; ``site`` only, as the next three."""
    classes: Annotated[tuple[Word, ...], Field(min_length=2)] | None = None
    """All classes that any site may have; a label must be one of these words."""
    modality: Literal["image", "text"] | None = None
    """What the items are."""
    size: Literal[16, 32] | None = None
    """Side in pixels of the pictures that small models read; 32 by default."""
    hub: Hub = Hub()
    own: Own = Own()
    public_own: PublicOwn = PublicOwn()

    @field_validator("name", "public")
    @classmethod
    def _path_is_whole(cls, name: str) -> str:
        return placed(name, Path())  # a run may be resumed from elsewhere

    @property
    def title(self) -> str:
        """The name as it is shown: own files without the folders that lead there."""
        return title_of(self.name)

    @property
    def levels(self) -> tuple[float, float] | None:
        """What is black and white in the clients' deep pictures, as the settings say it."""
        return self.hub.levels if self.name.startswith("hf:") else self.own.levels

    @model_validator(mode="after")
    def _own_is_for_own(self) -> Self:
        self.own.check(self.name)
        self.public_own.check(self.public)
        return self

    @model_validator(mode="after")
    def _options_are_for_modules(self) -> Self:
        for field, name in (("options", self.name), ("public_options", self.public)):
            if getattr(self, field) is not None and not is_module(name):
                of = "name" if field == "options" else "public"
                raise ValueError(
                    f"data.{field} is only for data.{of} = 'MODULE:NAME', found it with {name!r}"
                )
        return self

    @model_validator(mode="after")
    def _sites_agree(self) -> Self:
        needed = ("clients", "classes", "modality")
        given = [f for f in (*needed, "size") if getattr(self, f) is not None]
        if self.name != SITE:
            if given:
                raise ValueError(
                    f"data.{given[0]} is only for data.name = 'site', found it with {self.name!r}"
                )
            return self
        for field in needed:
            if field not in given:
                raise ValueError(f"data.{field} must be given with data.name = 'site'")
        for field in ("clients", "classes"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise ValueError(f"data.{field} must name each once, found {list(names)}")
        lies = self.public.startswith("hf:") or kind_of(self.public) or is_module(self.public)
        if self.public == "same" or lies:
            raise ValueError(
                f"data.public must be 'none', a built-in data set or 'set:NAME' with data.name = "
                f"'site', since a common config must not name what lies at a site, found "
                f"{self.public!r}"
            )
        if self.public_items is None:
            raise ValueError("data.public_items must be given with data.name = 'site'")
        return self

    @model_validator(mode="after")
    def _hub_is_for_hub(self) -> Self:
        if self.hub != Hub() and not self.name.startswith("hf:"):
            raise ValueError(
                f"data.hub is only for data sets whose name begins with 'hf:', with {self.name!r}"
            )
        return self

    @model_validator(mode="after")
    def _public_is_another(self) -> Self:
        if self.public == self.name:
            raise ValueError(
                f'data.public: must be "same" for items of the clients\' own data set that no '
                f"client holds, found its name {self.name!r}"
            )
        if self.public_items is not None and self.public == "same":
            raise ValueError(
                'data.public_items: must be left out with data.public = "same", where '
                f"scenario.public_per_class says how many, found {self.public_items}"
            )
        return self


class Scenario(Section):
    """Who holds what, and when: the task streams of all clients.

    A list with a value for each client (``joins``, ``leaves``, ``participation_rounds``,
    ``data_fraction``) that is shorter than the number of clients starts over at its end.
    """

    kind: str = "class-incremental"
    """What a client's next task brings: other classes (``class-incremental``); the same classes in
    another domain (``domain-incremental``); what the data themselves say, by a column of tasks or
    dates, or by folders (``given``, ``data.own``); or what a ``fedbridge.data.ScenarioKind`` of
    one's own says, ``MODULE:NAME``."""
    options: FreeOptions | None = None
    """Options of a scenario ``MODULE:NAME``, as that says them."""
    clients: Positive = 3
    """Number of clients ``K``; with ``clients_are = "domains"`` at most the number of domains."""
    clients_are: Literal["shards", "domains"] = "shards"
    """``shards``: clients divide every class's items; ``domains``: client k holds domain k."""
    tasks: Positive = 3
    """Number of tasks ``T`` with new data in the stream of a client that is present throughout."""
    classes_per_task: Positive = 2
    """Number of classes of each task, which are new or, if domain-incremental, always the same."""
    repeats: Count = 0
    """Tasks at the end of every stream that repeat its first ones: same classes, other items."""
    joins: Slots = (1,)
    """For each client the slot of time in which it begins its first task."""
    leaves: Slots | None = None
    """For each client the slot of its last task; by default all stay to the end,
    ``tasks + repeats``."""
    participation_rounds: Slots | None = None
    """For each client in how many rounds of a task, the last ones, it takes part; by default in
    all."""
    data_fraction: Annotated[tuple[KeptFraction, ...], Field(min_length=1)] = (1.0,)
    """For each client the fraction of its training items that it keeps."""
    private_classes: Count = 0
    """Classes that one client alone holds; its remaining classes are drawn from the shared ones."""
    order: Literal["own", "same"] = "own"
    """Whether every client meets its classes, or domains, in its own order or all in the same."""
    alpha: Scale = 1.0
    """Concentration of the Dirichlet shares of shared classes; small means skewed."""
    test: Fraction = 0.2
    """Fraction of the groups (fonts, emoji, ...) that only the test uses; ignored where the data
    set has an official division, whose test items are used."""
    public: Fraction = 0.1
    """Fraction of the groups that only the public set ``U`` is drawn from; of the official
    training part where there is one."""
    public_per_class: Positive = 20
    """Largest number of public items drawn from one class (their labels are never used)."""
    validation: Fraction = 0.1
    """Fraction of a client's training groups held back for calibration, never trained on."""
    train_per_class: Positive | None = None
    """Largest number of training items per client and class, of each domain if
    domain-incremental; no limit by default."""
    test_per_class: Positive | None = None
    """Largest number of test items of a class, of each domain where clients or tasks are domains;
    no limit by default. All clients of a class keep the same ones."""
    blur: Part = 0.0
    """Fraction of each task's training items that move to other tasks of the same client."""
    history: Literal["task", "own", "pooled"] = "task"
    """Training data of a task: its own (``task``); all the client's data so far (``own``, upper
    bound); all clients' data of the classes it has met (``pooled``, which privacy forbids)."""

    measure: Literal["test", "validation"] = "test"
    """Items that the predictors are measured on: those of the test, or those held back for
    calibration, so that settings can be chosen without a look at the test."""

    @model_validator(mode="after")
    def _given_is_as_it_is(self) -> Self:
        if self.kind != "given":
            return self
        for field in DRAWN:
            value, default = getattr(self, field), type(self).model_fields[field].default
            if value != default:
                raise ValueError(
                    f"scenario.{field} must be left out with scenario.kind = 'given', where the "
                    f"data say what a task holds, found {value!r}"
                )
        return self

    @property
    def slots(self) -> int:
        """The number of slots of time: in each of them a client that is present has one task."""
        return self.tasks + self.repeats
