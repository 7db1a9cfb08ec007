"""All settings of an experiment, frozen and validated: the only home of defaults."""

from fedbridge.config.data import Data, Scenario
from fedbridge.config.experiment import Config
from fedbridge.config.files import dump_config, load_config, parse_config
from fedbridge.config.fusions import OBOD, Alone, Fusion
from fedbridge.config.learners import SMCF, FineTune, Learner
from fedbridge.config.models import Engine, Large, Small, Training

__all__ = [
    "OBOD",
    "SMCF",
    "Alone",
    "Config",
    "Data",
    "Engine",
    "FineTune",
    "Fusion",
    "Large",
    "Learner",
    "Scenario",
    "Small",
    "Training",
    "dump_config",
    "load_config",
    "parse_config",
]
