"""The client by itself, as it is used: learn, predict, save."""

import logging
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedbridge.client.client import FederatedClient as Learner
from fedbridge.client.private import Private
from fedbridge.core.errors import UserError
from fedbridge.core.losses import DivergedError
from fedbridge.core.rng import rng_for
from fedbridge.data.own.lists import words_of
from fedbridge.data.public import PublicSet, items_at, public_set
from fedbridge.data.readers.preparing import InputSpec
from fedbridge.data.readers.reading import Inputs, Reading
from fedbridge.data.streams.scenario import Task
from fedbridge.data.streams.splits import Indices
from fedbridge.federation.setup import context_of, plan
from fedbridge.inference import Predictor, Using, foundation
from fedbridge.inference.restore import predictor_of
from fedbridge.inference.solo.settings import NAME, NameOrSettings, solo_config
from fedbridge.inference.solo.shelf import ItemStore, ManualStream
from fedbridge.inference.solo.storage import Saved, read_client, save_client, unreadable
from fedbridge.methods.config import Config
from fedbridge.models.device import device_of, precision_of
from fedbridge.models.fm.foundation import Items
from fedbridge.models.small.trial import check_models
from fedbridge.server.warm import warm_start
from fedbridge.wire import Broadcast

log = logging.getLogger(__name__)


class Client:
    """Learns classes task by task and predicts among all that it has met.

    ``model`` is an entry of SMALL_MODELS, ``classes`` names all classes there will ever be,
    ``large`` is a foundation model as ``large.model`` of a config names it, or None for none,
    ``learner`` an entry of LEARNERS; both may be sections of a config instead of names:
    ``{"name": "smcf", "memory": 50}``. ``public`` is unlabelled items that both models may be
    compared on, as ``learn`` takes them; by default they are drawn from no data. ``settings`` are
    the other sections: ``seed=3``, ``training={"epochs": 5}``. Raises UserError for wrong ones.
    """

    def __init__(
        self,
        model: str = "cnn",
        classes: Sequence[object] = (),
        large: NameOrSettings | None = None,
        learner: NameOrSettings = "smcf",
        public: Any = None,
        **settings: Any,
    ) -> None:
        config = solo_config(model, classes, large, learner, settings)
        check_models((model,), InputSpec.of(config).empty().inputs.shape[1:])
        inputs, items = _public(config, public)
        self._build(config, inputs, _encoded(config, items))
        if config.starts_warm:
            self._warm(model)

    def _warm(self, model: str) -> None:
        rate = self.config.small.warm_lr
        try:
            self._learner.model.load_state_dict(warm_start(self._learner.shared, model))
        except DivergedError as error:
            raise UserError(
                f"small.warm_lr: the warm start of {model} diverged at step {error.step} with "
                f"the rate {rate:g}; choose a lower one, or small.warm_epochs = 0"
            ) from error

    @classmethod
    def load(cls, folder: Path, trust: Collection[str] = ()) -> Self:
        """Return the client in a folder as it was saved; ``trust`` is as for ``load_predictor``.

        Raises UserError naming the file if it is damaged or something else, or names a function
        of somebody's module that is not trusted.
        """
        saved = read_client(folder, trust)
        client = cls.__new__(cls)
        with unreadable(folder):
            client._build(saved.config, *saved.public)
            client._shelf.load(saved.shelf)
            client._stream.known.extend(saved.tasks)
            client._learner.load(folder)
        return client

    def _build(self, config: Config, inputs: Inputs, embeddings: NDArray[np.float32]) -> None:
        empty = InputSpec.of(config).empty()
        public = PublicSet(empty, np.zeros(0, np.int64), inputs)
        shared = context_of(config, empty, public, embeddings)
        self.config = config
        self._reading = _reading(config)
        self._public = inputs, embeddings
        self._stream = ManualStream(NAME)
        self._shelf = ItemStore(self._reading.inputs, embeddings.shape[1])
        private = Private(
            self._stream,
            self._shelf.inputs_of,
            lambda rows: shared.lift(self._shelf.embeddings_of(rows)),
            _Labels(self._shelf),
        )
        self._learner = Learner(private, shared, config.small.models[0])

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes met so far."""
        every = self._learner.shared.classes
        return tuple(every[label] for label in self._stream.seen(len(self._stream.known)))

    def learn(self, x: Any, y: Sequence[object]) -> Self:
        """Learn one task: items ``x`` and their classes ``y``, by name.

        ``x`` is a list of texts; of paths, PIL pictures or uint8 arrays; or an array of pictures.
        A share of ``scenario.validation`` of every class is held back to calibrate. Raises
        UserError, before anything is learnt, if an item or a class is not as it must be.
        """
        inputs, items = self._reading(x)
        labels = self._labels(y, len(inputs))
        rows = self._shelf.put(inputs, _encoded(self.config, items), labels)
        self._stream.known.append(self._task(rows, labels))
        number, rounds = len(self._stream.known), self.config.training.rounds
        for round_ in range(1, rounds + 1):
            if step := self._learner.learn(Broadcast(number, round_)).diverged:
                log.warning(
                    "task %d, round %d: the small model diverged at step %d with training.lr = "
                    "%g; it is as it was before",
                    *(number, round_, step, self.config.training.lr),
                )
        self._learner.take(Broadcast(number, rounds))  # settles the head with the new sums
        exemplars = [*self._learner.memory.values(), np.zeros(0, np.int64)]
        validation = self._learner.private.validation(number)
        self._shelf.keep(np.concatenate([validation, *exemplars]))
        self.__dict__.pop("predictor", None)
        return self

    @cached_property
    def predictor(self) -> Predictor:
        """Return what predicts with all that was learnt, to be saved or exported by itself."""
        if not self._stream.known:
            raise UserError("this client has learnt nothing yet; call learn(x, y) first")
        about = {
            "client": NAME,
            "method": self.config.learner.name,
            "config": self.config.model_dump(mode="json", exclude_none=True),
        }
        return predictor_of(self._learner, self.config.small.models[0], self._reading, about)

    def predict(self, x: Any, using: Using | None = None) -> list[str]:
        """Return the name of the likeliest class for every item; see Predictor."""
        return self.predictor.predict(x, using)

    def predict_proba(self, x: Any, using: Using | None = None) -> NDArray[np.float64]:
        """Return the probabilities ``(n, C)`` of ``classes``."""
        return self.predictor.predict_proba(x, using)

    def score(self, x: Any, y: Sequence[object], using: Using | None = None) -> float:
        """Return the fraction of items that are predicted to be what ``y`` says."""
        return self.predictor.score(x, y, using)

    def save(self, folder: str | Path) -> None:
        """Write everything into a folder, from which ``fedbridge.load`` gives it back.

        It holds items: those held back and those remembered. ``predictor.save`` writes none.
        """
        save_client(Path(folder), self.saved(), self._learner.save)

    def saved(self) -> Saved:
        """Return all that is saved of it besides what it has learnt."""
        return Saved(self.config, self._public, self._shelf.state(), list(self._stream.known))

    def _labels(self, y: Sequence[object], count: int) -> Indices:
        known = {name: place for place, name in enumerate(self._learner.shared.classes)}
        if len(y) != count:
            raise UserError(f"y: must name {count} classes as x has items, found {len(y)}")
        names = words_of("y", y, count, ())
        for place, name in enumerate(names):
            if name not in known:
                raise UserError(
                    f"y[{place}]: must be one of {', '.join(list(known)[:10])}, found {name!r}"
                )
        return np.array([known[name] for name in names], np.int64)

    def _task(self, rows: Indices, labels: Indices) -> Task:
        """Divide a task's items; every class keeps an item at least to be learnt from."""
        share, number = self.config.scenario.validation, len(self._stream.known) + 1
        held = []
        for label in np.unique(labels).tolist():
            of_class = rows[labels == label]
            order = rng_for(self.config.seed, "held back", number, label).permutation(of_class)
            held.append(order[: min(round(share * len(of_class)), len(of_class) - 1)])
        validation = np.sort(np.concatenate(held))
        train = np.setdiff1d(rows, validation)
        met = tuple(np.unique(labels).tolist())
        return Task(met, train, train, validation, np.zeros(0, np.int64), met)


class _Labels:
    """The class ids on a shelf, which grow with it."""

    def __init__(self, shelf: ItemStore) -> None:
        self._shelf = shelf

    def __getitem__(self, rows: Indices) -> Indices:
        return self._shelf.labels[rows]


def _reading(config: Config) -> Reading:
    empty = InputSpec.of(config).empty()
    items = empty.items.shape[1:] if isinstance(empty.items, np.ndarray) else ()
    return Reading(empty.modality, tuple(empty.inputs.shape[1:]), items)


def _public(config: Config, given: Any) -> tuple[Inputs, Items]:
    """Return the public set as small models and the FM read it."""
    if given is not None:
        return _reading(config)(given)
    public = public_set(config.data, *plan(config), config.seed)
    return public.inputs, items_at(public.dataset, public.rows)


def _encoded(config: Config, items: Items) -> NDArray[np.float32]:
    """Return the FM's embeddings ``(n, D)``, of one zero each where there is none."""
    large, precision = config.large, precision_of(config)
    if not large.embeds:
        return np.zeros((len(items), 1), np.float32)
    fm = foundation(large.model, large.size, device_of(config.engine.device), precision)
    starts = range(0, len(items), large.batch)
    return np.concatenate([fm.encode(items[s : s + large.batch]).numpy() for s in starts])
