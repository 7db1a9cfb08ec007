"""The settings of a client by itself: those of an experiment with one site."""

from collections.abc import Sequence
from typing import Any

from fedbridge.config import SITE
from fedbridge.core.errors import UserError
from fedbridge.data.own.lists import words_of
from fedbridge.methods.config import Config
from fedbridge.methods.files import merged, parse_config
from fedbridge.methods.registry import HEADS, head_of
from fedbridge.models import OWN, SMALL_MODELS, SMALL_SOURCES

NAME = "client"
PUBLIC_ITEMS = 128
ASKED = "fedbridge.Client"


NameOrSettings = str | dict[str, Any]
"""A name, or a section of settings with more than that."""


def solo_config(
    model: str,
    classes: Sequence[object],
    large: NameOrSettings | None,
    learner: NameOrSettings,
    tree: dict[str, Any],
) -> Config:
    """Return the settings, with ``tree`` laid over them; raise UserError if they do not fit."""
    own: dict[str, Any] = {
        "name": NAME,
        "data": {
            "name": SITE,
            "clients": [NAME],
            "classes": words_of("classes", classes, len(classes), ()),
            "modality": _modality(model, tree),
            "public": "none",
            "public_items": PUBLIC_ITEMS,
        },
        "scenario": {"clients": 1},
        "large": {"head": "none"} if large is None else _section(large, "model"),
        "small": {"models": [model]},
        "learner": _section(learner, "name"),
    }
    fixed = {"large": {"scope": "client"}}
    return checked(parse_config(merged(merged(own, tree), fixed), ASKED))


def _modality(model: str, tree: dict[str, Any]) -> str:
    """Return what a small model reads; where only its function knows, ``data.modality`` says it."""
    if entry := SMALL_MODELS.get(model):
        return entry.modality
    source, colon, _ = model.partition(":")
    if not colon:
        raise UserError(
            f"model: must be one of {', '.join(SMALL_MODELS)}, or one's own such as "
            f"MODULE:FUNCTION, found {model!r}"
        )
    said = tree.get("data", {}).get("modality") or SMALL_SOURCES.get(source, OWN).reads
    if said not in ("image", "text"):
        raise UserError(
            f"data.modality: must say what {model!r} reads, image or text, since its name does "
            f"not; found {tree.get('data', {}).get('modality')!r}"
        )
    return str(said)


def checked(config: Config) -> Config:
    """Return settings; raise UserError if they are not those of a client by itself."""
    if not head_of(config).solo:
        fitting = " or ".join(name for name, head in HEADS.items() if head.solo)
        raise UserError(
            f"{ASKED}: large.head: must be {fitting}, since the others need a server, found "
            f"{config.large.head!r}"
        )
    if config.data.name != SITE or config.data.clients != (NAME,):
        raise UserError(
            f"{ASKED}: data: name and clients must be left out, found {config.data.name!r} and "
            f"{config.data.clients!r}"
        )
    return config


def _section(choice: NameOrSettings, key: str) -> dict[str, Any]:
    return {key: choice} if isinstance(choice, str) else dict(choice)
