"""All settings of an experiment, frozen and validated: the only home of defaults."""

from fedbridge.config.data import SITE, Data, Hub, PublicHub, Scenario
from fedbridge.config.experiment import Config
from fedbridge.config.files import (
    dump_config,
    load_config,
    merged,
    parse_config,
    read_tree,
    similar,
)
from fedbridge.config.fusions import (
    OBOD,
    TARGET,
    Alone,
    Digest,
    FedAvg,
    FedDF,
    FedET,
    FedMD,
    FedProto,
    FedProx,
    FedWeIT,
    Fusion,
)
from fedbridge.config.learners import (
    DERPP,
    EWC,
    GLFC,
    SMCF,
    FedWeITLearner,
    FineTune,
    Learner,
    LwF,
    Replay,
    TargetLearner,
)
from fedbridge.config.models import Engine, Large, Small, Training
from fedbridge.config.options import Options, options_of
from fedbridge.config.own import ARRAYS, Own, PublicOwn, is_module, kind_of, path_of, title_of
from fedbridge.config.section import Section
from fedbridge.config.site import SiteConfig, load_site
from fedbridge.config.track import Track, Tracker

__all__ = [
    "ARRAYS",
    "DERPP",
    "EWC",
    "GLFC",
    "OBOD",
    "SITE",
    "SMCF",
    "TARGET",
    "Alone",
    "Config",
    "Data",
    "Digest",
    "Engine",
    "FedAvg",
    "FedDF",
    "FedET",
    "FedMD",
    "FedProto",
    "FedProx",
    "FedWeIT",
    "FedWeITLearner",
    "FineTune",
    "Fusion",
    "Hub",
    "Large",
    "Learner",
    "LwF",
    "Options",
    "Own",
    "PublicHub",
    "PublicOwn",
    "Replay",
    "Scenario",
    "Section",
    "SiteConfig",
    "Small",
    "TargetLearner",
    "Track",
    "Tracker",
    "Training",
    "dump_config",
    "is_module",
    "kind_of",
    "load_config",
    "load_site",
    "merged",
    "options_of",
    "parse_config",
    "path_of",
    "read_tree",
    "similar",
    "title_of",
]
