"""Settings that belong to no method, frozen and validated: the only home of their defaults."""

from fedbridge.config.data import SITE, Data, Hub, PublicHub, Scenario
from fedbridge.config.files import similar
from fedbridge.config.models import Engine, Large, Small, Training
from fedbridge.config.own import ARRAYS, Own, PublicOwn, kind_of, path_of, title_of
from fedbridge.config.settings import Settings
from fedbridge.config.site import SiteConfig, load_site
from fedbridge.config.track import Track, Tracker

__all__ = [
    "ARRAYS",
    "SITE",
    "Data",
    "Engine",
    "Hub",
    "Large",
    "Own",
    "PublicHub",
    "PublicOwn",
    "Scenario",
    "Settings",
    "SiteConfig",
    "Small",
    "Track",
    "Tracker",
    "Training",
    "kind_of",
    "load_site",
    "path_of",
    "similar",
    "title_of",
]
