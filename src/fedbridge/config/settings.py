"""The settings of an experiment that name no method."""

from typing import Self

from pydantic import SerializeAsAny, model_validator

from fedbridge.config.data import SITE, Data, Scenario
from fedbridge.config.models import Engine, Large, Small, Training
from fedbridge.config.section import Count, Options, Section
from fedbridge.config.track import Track
from fedbridge.core.entries import is_own


class Settings(Section):
    """One experiment as far as data, models and methods need to know it.

    ``fedbridge.methods.config.Config``, which knows the methods, is one of these.
    """

    name: str = "fedbridge"
    """Name of the method, for tables and figures."""
    seed: Count = 0
    """Seed of everything random."""
    data: Data = Data()
    scenario: Scenario = Scenario()
    large: SerializeAsAny[Large] = Large()
    small: Small = Small()
    training: Training = Training()
    learner: SerializeAsAny[Options] = Options()
    fusion: SerializeAsAny[Options] = Options()
    engine: Engine = Engine()
    track: Track = Track()

    @property
    def starts_warm(self) -> bool:
        """Whether small models learn the FM's embeddings of ``U`` before the first task."""
        return self.large.embeds and self.small.warm_epochs > 0

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
    def _effort_fits_into_a_task(self) -> Self:
        most = max(self.scenario.participation_rounds or (1,))
        if most > self.training.rounds:
            raise ValueError(
                f"scenario.participation_rounds: must be at most training.rounds = "
                f"{self.training.rounds}, found {most}"
            )
        return self
