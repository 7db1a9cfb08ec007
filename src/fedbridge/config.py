"""All settings of an experiment, frozen and validated: the only home of defaults."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedbridge.errors import UserError

Positive = Annotated[int, Field(ge=1)]
Batch = Annotated[int, Field(ge=2)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Data(Section):
    """Which data set the clients and the public set are drawn from."""

    name: str = "digits"
    """An entry of ``fedbridge list datasets``."""
    domains: tuple[str, ...] | None = None
    """The domains to use (styles, languages, ...), in this order; all of them by default."""


class Scenario(Section):
    """Who holds what, and when: the task streams of all clients."""

    clients: Positive = 3
    """Number of clients ``K``; with ``clients_are = "domains"`` at most the number of domains."""
    clients_are: Literal["shards", "domains"] = "shards"
    """``shards``: clients divide every class's items; ``domains``: client k holds domain k."""
    tasks: Positive = 3
    """Number of tasks ``T`` in every client's stream."""
    classes_per_task: Positive = 2
    """Number of classes that are new in each task of a client."""
    private_classes: Annotated[int, Field(ge=0)] = 0
    """Classes that one client alone holds; its remaining classes are drawn from the shared ones."""
    order: Literal["own", "same"] = "own"
    """Whether every client meets its classes in its own order or all in the same one."""
    alpha: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Concentration of the Dirichlet shares of shared classes; small means skewed."""
    test: Fraction = 0.2
    """Fraction of the groups (fonts, emoji, ...) that only the test uses."""
    public: Fraction = 0.1
    """Fraction of the groups that only the public set ``U`` is drawn from."""
    public_per_class: Positive = 20
    """Largest number of public items drawn from one class (their labels are never used)."""
    validation: Fraction = 0.1
    """Fraction of a client's training groups held back for calibration, never trained on."""
    train_per_class: Positive | None = None
    """Largest number of training items per client and class; no limit by default."""
    history: Literal["task", "own", "pooled"] = "task"
    """Training data of a task: its own (``task``); all the client's data so far (``own``, upper
    bound); all clients' data of the classes it has met (``pooled``, which privacy forbids)."""


class Large(Section):
    """The large side: a frozen foundation model (FM) and the head on top of it."""

    model: str = "patches"
    """An entry of ``fedbridge list models``, or ``transformers:DIR-OR-NAME``, ``onnx:FILE``,
    ``callable:MODULE:FUNCTION``."""
    size: Positive = 96
    """Side in pixels to which images are resized for the FM; texts ignore it."""
    batch: Positive = 64
    """Items that the FM encodes at once."""
    head: Literal["analytic", "nearest-mean"] = "analytic"
    """Ridge regression from the sums G and H, or the nearest class mean from H and counts."""
    scope: Literal["federation", "client"] = "federation"
    """Whose sums the head is solved from: all clients', or (isolated baseline) its own."""
    projection: Annotated[int, Field(ge=0)] = 0
    """Units of the random projection with a ReLU before the head; 0 leaves it out."""
    regularisation: Annotated[
        tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...], Field(min_length=1)
    ] = (0.003, 0.01, 0.03, 0.1, 0.3)
    """Candidates for lambda, in units of the mean eigenvalue of G; validation data decide."""
    absorb: Annotated[tuple[Weight, ...], Field(min_length=1)] = (0.0, 0.3)
    """Candidates for the weight of the small models' soft labels on ``U`` in the head (OBOD with
    the large side as student); ``[0.0]`` switches it off; validation data decide."""


class Small(Section):
    """The small models and the shared space they all map into."""

    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("cnn", "mobile", "mixer")
    """Entries of ``fedbridge list models``; client k takes the k-th, starting over at the end."""
    dimension: Positive = 256
    """Dimension ``P`` of the shared space."""
    temperature: Annotated[float, Field(gt=0.0)] = 16.0
    """Factor ``tau`` in the logits ``tau * <e, a_c>``."""
    start: Literal["scratch", "warm"] = "scratch"
    """``warm``: each architecture first learns the FM's embeddings of ``U`` (no labels)."""
    warm_epochs: Positive = 20
    """Passes over ``U`` of the warm start."""


class Training(Section):
    """How long and how fast every client trains."""

    rounds: Positive = 2
    """Rounds (exchanges with the server) per task."""
    epochs: Positive = 2
    """Passes over the task's data per round."""
    batch: Batch = 64
    """Private items per step; normalisation layers need two at least."""
    rate: Rate = 0.002
    """Learning rate of AdamW."""
    weight_decay: Weight = 0.001
    """Weight decay of AdamW."""


class FineTune(Section):
    """Cross entropy on the task's data and nothing else."""

    name: Literal["finetune"] = "finetune"
    classes: Literal["seen", "task"] = "seen"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


class SMCF(Section):
    """Small Model Continual Fine-tuning: every term has a weight, 0 switches it off."""

    name: Literal["smcf"] = "smcf"
    previous: Weight = 1.0
    """Weight of distillation from the own model as it ended the previous task."""
    large: Weight = 1.0
    """Weight of distillation from the large side."""
    guide: Literal["large", "together"] = "large"
    """What the large side teaches: its own distribution, or its calibrated mixture with the
    small model as the round began."""
    on: Literal["public", "private", "both"] = "public"
    """Inputs on which both distillations are computed."""
    sharpness: Annotated[float, Field(gt=0.0)] = 8.0
    """Factor on the large side's scores before the softmax, where it teaches alone."""
    public_batch: Positive = 64
    """Public items per step."""
    memory: Annotated[int, Field(ge=0)] = 20
    """Exemplars kept per class in the client's own storage; 0 is the rehearsal-free variant."""
    memory_batch: Positive = 32
    """Exemplars per step."""


class Alone(Section):
    """No fusion: every client gets back what it uploaded."""

    name: Literal["none"] = "none"


class OBOD(Section):
    """One-by-One Distillation on the public set, for each client personally."""

    name: Literal["obod"] = "obod"
    teachers: Positive = 8
    """Most teachers ``m`` of one student in one round."""
    others: bool = True
    """Whether other clients' models may teach."""
    rounds: Literal["every", "last"] = "last"
    """Whether models are fused in every round or only in the last one of each task."""
    snapshots: Annotated[int, Field(ge=0)] = 8
    """How many of the client's own models, as they ended the latest tasks, may teach."""
    order: Literal["best-last", "best-first", "declared"] = "best-last"
    """Order in which the teachers are taken, by relevance or as declared."""
    form: Literal["one-by-one", "averaged", "separate"] = "one-by-one"
    """Sequential; all teachers' distributions averaged at once; or each apart, then the
    mean difference added (TAKFL, NeurIPS 2024)."""
    compare: Literal["classes", "embedding"] = "classes"
    """Whether the distribution over shared classes or the embedding is matched."""
    sureness: bool = True
    """Weight a teacher's lesson by its sureness on the item."""
    mass: bool = True
    """Weight by the teacher's mass on classes the student knows, and drop it below one half."""
    surer: bool = True
    """Let a teacher teach an item only where it is surer than the student."""
    belief: bool = False
    """Weight by the large side's belief that the item is of a class both know, drop below half."""
    statistics: bool = True
    """Whether normalisation layers adapt their running statistics to ``U`` meanwhile."""
    anchor: Weight = 1.0
    """Weight that holds the student to its own embedding where it is sure."""
    epochs: Positive = 1
    """Passes over ``U`` per teacher."""
    batch: Batch = 64
    """Public items per step; normalisation layers need two at least."""
    rate: Rate = 0.00025
    """Learning rate of AdamW."""


class Engine(Section):
    """Where and with how many processes the experiment runs; no number depends on it."""

    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Processes that train clients; 0 trains in the main process; ``auto``: cores, at most K."""
    threads: Positive = 1
    """Threads per process; more than one seldom pays for small models."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the FM's encoding; small models always compute in float32."""
    checkpoints: Positive = 2
    """Number of checkpoints kept in the run folder."""


Learner = Annotated[FineTune | SMCF, Field(discriminator="name")]
Fusion = Annotated[Alone | OBOD, Field(discriminator="name")]


DEFAULT_NAMES = {"learner": "smcf", "fusion": "obod"}


class Config(Section):
    """One experiment, complete."""

    name: str = "fedbridge"
    """Name of the method, for tables and figures."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random."""
    data: Data = Data()
    scenario: Scenario = Scenario()
    large: Large = Large()
    small: Small = Small()
    training: Training = Training()
    learner: Learner = SMCF()
    fusion: Fusion = OBOD()
    engine: Engine = Engine()

    @model_validator(mode="before")
    @classmethod
    def _name_what_is_configured(cls, tree: Any) -> Any:
        """Let ``[learner] memory = 8`` mean the default learner."""
        for key, name in DEFAULT_NAMES.items():
            if isinstance(tree, dict) and isinstance(tree.get(key), dict):
                tree = tree | {key: {"name": name} | tree[key]}
        return tree

    @model_validator(mode="after")
    def _fractions_leave_training_data(self) -> Self:
        held = self.scenario.test + self.scenario.public
        if held >= 1.0:
            raise ValueError(
                f"scenario.test + scenario.public must be below 1 to leave training data, "
                f"found {held:g}"
            )
        return self


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a TOML file and ``a.b=value`` overrides; raise UserError naming file, field and rule.

    A file may begin with ``extends = "other.toml"``, relative to itself, and state only what
    differs.
    """
    tree = _read(path, ())
    for text in overrides or []:
        tree = _merged(tree, _override(text))
    return parse_config(tree, str(path))


def _read(path: Path, via: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in via:
        raise UserError(f"{path}: extends itself through {via[-1]}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read this config file: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise UserError(f"{path}: extends must be the name of a file, found {base!r}")
    return _merged(_read(path.parent / base, (*via, path.resolve())), tree)


def _merged(base: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """Lay a tree over a base; another learner or fusion replaces the base's with its options."""
    result = dict(base)
    for key, value in tree.items():
        old, name = result.get(key), DEFAULT_NAMES.get(key)
        result[key] = value
        if isinstance(old, dict) and isinstance(value, dict):
            before = old.get("name", name)
            if value.get("name", before) == before:
                result[key] = _merged(old, value)
    return result


def parse_config(tree: dict[str, Any], source: str) -> Config:
    """Validate a tree of settings; ``source`` names where it came from in errors."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(dict(item)) for item in error.errors()]
        raise UserError(f"{source}: " + "; ".join(lines)) from error


def dump_config(config: Config) -> str:
    """Return the resolved config as TOML, every default written out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _explain(item: dict[str, Any]) -> str:
    parts = [str(part) for part in item["loc"]]
    # the tag of a union ("learner.smcf.memory") is not part of the user's key
    key = ".".join(p for i, p in enumerate(parts) if not (i == 1 and parts[0] in DEFAULT_NAMES))
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(parts)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{key or 'config'}: {message}, found {item['input']!r}" if key else message


def _suggestion(parts: list[str]) -> str:
    import difflib

    section: Any = Config
    for part in parts[:-1]:
        if part in ("smcf", "finetune", "obod", "none"):
            section = {"smcf": SMCF, "finetune": FineTune, "obod": OBOD, "none": Alone}[part]
        elif part in section.model_fields and part not in DEFAULT_NAMES:
            section = section.model_fields[part].annotation
    known = sorted(section.model_fields)
    close = difflib.get_close_matches(parts[-1], known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"


def _override(text: str) -> dict[str, Any]:
    """Return the tree of one ``a.b=value``; a bare word is a string: ``learner.name=smcf``."""
    key, sep, value_text = text.partition("=")
    if not sep or not key:
        raise UserError(f"--set {text}: must have the form a.b=value")
    try:
        tree: Any = tomllib.loads(f"v = {value_text}")["v"]
    except tomllib.TOMLDecodeError:
        tree = value_text
    for section in reversed(key.split(".")):
        tree = {section: tree}
    return dict(tree)
