"""Settings that belong to no method, frozen and validated: the only home of their defaults."""

from fedbridge.config.data import SITE, Data, Hub, PublicHub, Scenario
from fedbridge.config.files import similar
from fedbridge.config.models import Engine, Large, Small, Training
from fedbridge.config.options import FreeOptions, checked_options
from fedbridge.config.own import ARRAYS, Own, PublicOwn, is_module, kind_of, path_of, title_of
from fedbridge.config.section import Section
from fedbridge.config.settings import Settings
from fedbridge.config.site import SiteConfig, load_site
from fedbridge.config.track import Track, Tracker

__all__ = [
    "ARRAYS",
    "SITE",
    "Data",
    "Engine",
    "FreeOptions",
    "Hub",
    "Large",
    "Own",
    "PublicHub",
    "PublicOwn",
    "Scenario",
    "Section",
    "Settings",
    "SiteConfig",
    "Small",
    "Track",
    "Tracker",
    "Training",
    "checked_options",
    "is_module",
    "kind_of",
    "load_site",
    "path_of",
    "similar",
    "title_of",
]
