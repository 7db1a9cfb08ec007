"""Checks of what is installed at a place: versions, config, FM, public set, a site's own data."""

import platform
from importlib import metadata
from pathlib import Path

from fedbridge.config.site import HeldOut
from fedbridge.core.errors import UserError
from fedbridge.data.readers.faults import listed
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.preparing import InputSpec, prepared
from fedbridge.data.site import partitions_of
from fedbridge.deploy.agreement import read_agreed
from fedbridge.deploy.folder import AGREED, CONFIG
from fedbridge.federation.agreement import agreement
from fedbridge.federation.handshake import differences
from fedbridge.federation.setup import plan
from fedbridge.federation.site import at_site, site_of, small_at_site
from fedbridge.methods.config import Config
from fedbridge.methods.files import load_config
from fedbridge.models.fm.foundation import foundation_of
from fedbridge.models.fm.proof import prove
from fedbridge.models.small.trial import check_models

SITE = "site.toml"
FLOWER = "1.41"
"""The release of Flower whose commands and calls the scripts and the gate are written for."""


def versions() -> str:
    """Check that what a run needs is installed, and return the versions."""
    found = {}
    for package in ("fedbridge", "torch", "flwr"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise UserError(
                f'{package}: must be installed; pip install "fedbridge[flower]"'
            ) from error
    if not found["flwr"].startswith(f"{FLOWER}."):
        raise UserError(f"flwr: must be of release {FLOWER}, found {found['flwr']}")
    listed = [f"{package} {version}" for package, version in found.items()]
    return ", ".join([*listed, f"Python {platform.python_version()}"])


def common_ground(folder: Path, site: Path | None = None) -> str:
    """Check that config, FM, classes, anchors and public set here are those agreed on.

    ``site`` is the site's own config, at a client.
    """
    config = _config(folder)
    here, _ = agreement(at_site(config, site) if site is not None else config)
    if found := differences(here, read_agreed(folder / AGREED)):
        raise UserError("; ".join(found))
    model = f"{here.foundation} {here.fingerprint[:12]}" if here.foundation else "none"
    return f"as agreed: FM {model}; {here.classes[:-52]}; U: {here.public[:-52]}"


def site(folder: Path, client: str) -> str:
    """Check that a site's config is for this client, and read its data as a run would."""
    config, own = _config(folder), folder / SITE
    settings = site_of(config, client, own)
    check_models([small_at_site(config, client, own)], plan(config)[0].inputs.shape[1:])
    if settings is None:
        return "the share that the config gives to it"
    assert isinstance(settings.data, HeldOut)
    notice = Notice()
    frame, tasks = InputSpec.of(config), partitions_of(settings, notice)
    parts = [prepared(task, frame, settings.data) for task in tasks]
    if parts and config.large.embeds:
        fm, first = foundation_of(at_site(config, own)), parts[0]
        prove(fm, first.items, config.large.batch, lambda row: f"{row} of task {first.domain!r}")
    items = sum(len(part.labels) for part in parts)
    left_out = dict.fromkeys(line for part in parts if part.origin for line in part.origin.broken)
    told = [f"left out: {listed(left_out)}"] if left_out else []
    said = "".join(f"; {line}" for line in (*told, *notice.notes().spoken))
    return f"{settings.data.kind}: {items} items in {len(tasks)} tasks{said}"


def _config(folder: Path) -> Config:
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder / CONFIG}: is missing; fedbridge deploy configure DIR CONFIG")
    return load_config(folder / CONFIG)
