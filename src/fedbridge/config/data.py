"""Which data there are, and who holds what, and when."""

from typing import Literal

from fedbridge.config.section import Count, Fraction, Positive, Scale, Section


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
    private_classes: Count = 0
    """Classes that one client alone holds; its remaining classes are drawn from the shared ones."""
    order: Literal["own", "same"] = "own"
    """Whether every client meets its classes in its own order or all in the same one."""
    alpha: Scale = 1.0
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
