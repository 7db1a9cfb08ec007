"""One experiment, complete."""

from typing import Any, Self

from pydantic import model_validator

from fedbridge.config.data import SITE, Data, Scenario
from fedbridge.config.fusions import OBOD, Fusion
from fedbridge.config.learners import SMCF, Learner
from fedbridge.config.models import Engine, Large, Small, Training
from fedbridge.config.section import Count, Section
from fedbridge.config.track import Track
from fedbridge.entries import is_own

DEFAULT_NAMES = {"learner": "smcf", "fusion": "obod"}


class Config(Section):
    """One experiment, complete."""

    name: str = "fedbridge"
    """Name of the method, for tables and figures."""
    seed: Count = 0
    """Seed of everything random."""
    data: Data = Data()
    scenario: Scenario = Scenario()
    large: Large = Large()
    small: Small = Small()
    training: Training = Training()
    learner: Learner = SMCF()
    fusion: Fusion = OBOD()
    engine: Engine = Engine()
    track: Track = Track()

    @property
    def starts_warm(self) -> bool:
        """Whether small models learn the FM's embeddings of ``U`` before the first task."""
        return self.large.head != "none" and self.small.warm_epochs > 0

    @property
    def decomposes(self) -> bool:
        """Whether clients upload a base and what their task adds to it, instead of a model."""
        return self.learner.name == self.fusion.name == "fedweit"

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

    @model_validator(mode="after")
    def _every_site_is_a_client(self) -> Self:
        names = self.data.clients
        if names is not None and len(names) != self.scenario.clients:
            raise ValueError(
                f"scenario.clients: must be the number of data.clients, {len(names)}, found "
                f"{self.scenario.clients}"
            )
        return self

    @model_validator(mode="after")
    def _sites_measure_on_their_test(self) -> Self:
        if self.data.name == SITE and self.scenario.measure != "test":
            raise ValueError(
                f"scenario.measure: must be 'test' with data.name = 'site', where each site holds "
                f"back what it likes, found {self.scenario.measure!r}"
            )
        return self

    @model_validator(mode="after")
    def _tasks_are_stated_or_drawn(self) -> Self:
        own = self.data.own
        if own.states_tasks and self.scenario.kind != "given" and not is_own(self.scenario.kind):
            stated = "layout" if "task" in own.layout else "task" if own.task else "date"
            raise ValueError(
                f"scenario.kind: must be 'given' where data.own.{stated} says which task an item "
                f"is of, found {self.scenario.kind!r}"
            )
        return self

    @model_validator(mode="after")
    def _averaged_models_are_alike(self) -> Self:
        used = list(dict.fromkeys(self.small.models[: self.scenario.clients]))
        if len(used) > 1 and not getattr(self.fusion, "groups", True):
            raise ValueError(
                f"small.models: must be of one architecture where fusion.name is "
                f"{self.fusion.name!r}, which averages weights (fusion.groups=true averages within "
                f"each architecture), found {', '.join(used)}"
            )
        return self

    @model_validator(mode="after")
    def _large_head_has_features(self) -> Self:
        if self.fusion.name == "fedet" and self.large.head == "none":
            raise ValueError(
                "large.head: must not be 'none' where fusion.name is 'fedet', which reads the "
                "embeddings of the FM, found 'none'"
            )
        return self

    @model_validator(mode="after")
    def _every_task_has_a_rank(self) -> Self:
        large, tasks = self.large, self.scenario.slots
        if large.head == "prototypes" and large.tuning == "lora" and large.tuning_size < tasks:
            raise ValueError(
                f"large.tuning_size: must be at least 1 for each of {tasks} tasks where large.head "
                f"is 'prototypes', found {large.tuning_size}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_absorbed_is_a_model(self) -> Self:
        if self.decomposes and self.large.absorbs:
            raise ValueError(
                "large.absorb: must be 0 where learner.name and fusion.name are 'fedweit', which "
                f"uploads no whole model, found {self.large.absorb:g}"
            )
        return self

    @model_validator(mode="after")
    def _effort_fits_into_a_task(self) -> Self:
        most = max(self.scenario.effort or (1,))
        if most > self.training.rounds:
            raise ValueError(
                f"scenario.effort: must be at most training.rounds = {self.training.rounds}, "
                f"found {most}"
            )
        return self
