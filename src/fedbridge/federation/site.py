"""Both ends of a federation of real sites: a client from its own data, the server's context."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.client.client import FederatedClient
from fedbridge.client.private import Indices, Private, Stream
from fedbridge.config import SITE, SiteConfig, is_module, kind_of, load_site
from fedbridge.config.site import HeldOut
from fedbridge.core.entries import look_in
from fedbridge.core.errors import CommonConfigError, UserError
from fedbridge.core.legible import legible
from fedbridge.data.dataset import Dataset
from fedbridge.data.hub.hub import PREFIX
from fedbridge.data.public import public_set, refuse_overlap
from fedbridge.data.readers.preparing import InputSpec
from fedbridge.data.site.arriving import LiveStream, WholeStream
from fedbridge.data.site.holding import Admit, Holding
from fedbridge.federation.embeddings import EmbeddingStore, embed_dataset, no_embeddings, try_on
from fedbridge.federation.loop import Tell
from fedbridge.federation.setup import models_of, plan, prepare, private_of
from fedbridge.methods.config import Config
from fedbridge.methods.context import SharedContext
from fedbridge.methods.files import foreign_methods
from fedbridge.methods.registry import KEYS
from fedbridge.models.fm.foundation import FoundationModel, foundation_of
from fedbridge.models.small.space import stored


def site_client(
    config: Config, name: str, site: Path | None = None, tell: Tell | None = None
) -> FederatedClient:
    """Build a client from the data that its site config names, or from its share of built-in data.

    Raises UserError if the site config, the data or the name do not fit the common config.
    """
    settings = site_of(config, name, site)
    config = at_site(config, site)
    model = small_at_site(config, name, site)
    common = prepare(config, tell=tell, models=(model,))
    if settings is None:
        return FederatedClient(private_of(common, name), common.shared, model)
    holding = Holding(settings, InputSpec.of(config), admission(config))
    features = Features(holding, common.shared, tell)
    private = Private(
        _stream(name, holding),
        lambda rows: stored(holding.inputs_of(rows)),
        features,
        SiteLabels(holding),
        holding.items_of,
    )
    return FederatedClient(private, common.shared, model)


def at_site(config: Config, site: Path | None) -> Config:
    """Return the common config as it holds at a site, which alone says where its FM lies.

    Raises UserError if the common config names a module, a file or a foreign model, and the site
    config does not say what is meant here.
    """
    refuse_modules(config)
    own = _own(site).large.model
    if own is None:
        if config.large.embeds:
            _refuse_foreign("large.model", config.large.model, "[large] model")
        return config
    large = config.large.model_copy(update={"model": own})
    return config.model_copy(update={"large": large})


def require_allowed(tree: dict[str, Any], site: Path | None) -> None:
    """Raise UserError if a common config names a method of somebody's own that no site allows.

    Before that nothing is imported: a module is code that runs.
    """
    allowed = _own(site).methods
    for part, name in foreign_methods(tree):
        if name not in allowed:
            raise CommonConfigError(
                f"{part}.{KEYS[part]}: {legible(name)} is of a module that a site imports only if "
                f"its own config allows it by name: methods = [{legible(name)!r}]"
            )


def small_at_site(config: Config, name: str, site: Path | None) -> str:
    """Return the small model of a client as its own site finds it.

    Raises UserError if there is no such client, or it is as above.
    """
    refuse_modules(config)
    models = models_of(config, plan(config)[1])
    if name not in models:
        raise CommonConfigError(
            f"client: must be one of {', '.join(models)} with data.name = "
            f"{config.data.name!r}, found {name!r}"
        )
    if own := _own(site).small.model:
        return own
    _refuse_foreign("small.models", models[name], "[small] model")
    return models[name]


def _own(site: Path | None) -> SiteConfig:
    """Return a site's config, of whose folder modules may then be imported."""
    if site is None:
        return SiteConfig(client="site")
    look_in(site.parent.absolute())
    return load_site(site)


def refuse_modules(config: Config) -> None:
    """Raise UserError if a common config names a module of somebody's own: it would run here."""
    named = {
        "data.name": config.data.name,
        "data.public": config.data.public,
        "scenario.kind": config.scenario.kind,
    }
    for field, name in named.items():
        if is_module(name):
            raise CommonConfigError(
                f"{field}: a common config must not name a module, which would be imported at "
                f"every site, found {name!r}"
            )


def _refuse_foreign(field: str, model: str, own: str) -> None:
    if ":" in model:
        raise CommonConfigError(
            f"{field}: a common config must not name what lies at a site, found {model!r}; a site "
            f"that has it says where in its own config: {own} = ..."
        )


def site_of(config: Config, name: str, site: Path | None) -> SiteConfig | None:
    """Return the site config of a client with data of its own, None if it has a built-in share.

    Raises UserError if it is another client's, or contradicts the common config.
    """
    refuse_modules(config)
    settings = load_site(site) if site is not None else None
    if settings is not None and settings.client != name:
        raise UserError(f"{site}: client: must be {name!r}, found {settings.client!r}")
    own = settings is not None and isinstance(settings.data, HeldOut)
    if own != (config.data.name == SITE):
        kind = settings.data.kind if settings is not None else "experiment"
        raise UserError(
            f"{site or 'site config'}: data.kind: must be 'experiment' unless the common config "
            f"has data.name = 'site', found {kind!r} with {config.data.name!r}"
        )
    for field, value in (("name", config.data.name), ("public", config.data.public)):
        if value.startswith(PREFIX) or kind_of(value):
            raise CommonConfigError(
                f"data.{field}: a common config must not name what lies at a site, found {value!r}"
            )
    return settings if own else None


def admission(config: Config) -> Admit:
    """Return what refuses a task of which an item is in the public set."""
    public = public_set(config.data, *plan(config), config.seed)

    def admit(dataset: Dataset) -> None:
        refuse_overlap(public, dataset.items, dataset.domain_names[0])

    return admit


def _stream(name: str, holding: Holding) -> Stream:
    if holding.held.live:
        return LiveStream(name, holding)
    while holding.take():
        pass
    return WholeStream(name, holding.tasks, holding=holding)


@dataclass(frozen=True)
class SiteLabels:
    """The class ids of what a site holds by now."""

    holding: Holding

    def __getitem__(self, rows: Indices) -> Indices:
        return self.holding.labels[rows]


class Features:
    """Features of a site's items; a task is encoded once, and kept on the site's own disk."""

    def __init__(self, holding: Holding, shared: SharedContext, tell: Tell | None = None) -> None:
        self._holding = holding
        self._shared = shared
        self._tell = tell
        self._stores: dict[str, EmbeddingStore] = {}

    def __call__(self, rows: Indices) -> NDArray[np.float32]:
        """Return what the head reads ``(n, M)``."""
        return self._shared.lift(self.embeddings(rows))

    def embeddings(self, rows: Indices) -> NDArray[np.float32]:
        """Return the FM's embeddings ``(n, D)``."""
        found = self._holding.gather(rows, lambda part, own: self._store(part)[own])
        return found.astype(np.float32, copy=False)

    def _store(self, part: int) -> EmbeddingStore:
        dataset = self._holding.datasets[part]
        if dataset.fingerprint not in self._stores:
            self._stores[dataset.fingerprint] = self._encoded(dataset)
        return self._stores[dataset.fingerprint]

    def _encoded(self, dataset: Dataset) -> EmbeddingStore:
        large = self._shared.config.large
        if not large.embeds:
            return no_embeddings(len(dataset))
        every = np.arange(len(dataset))
        folder = self._holding.site.state
        if not self._stores:
            try_on(self._fm, dataset, folder, large.batch)
        return embed_dataset(self._fm, dataset, every, folder, large.batch, self._tell)

    @cached_property
    def _fm(self) -> FoundationModel:
        return foundation_of(self._shared.config)
