"""FedAvg (McMahan et al., AISTATS 2017): the average of all models, weighted by their items."""

from typing import Literal

from fedbridge.methods.averaging import Averaging, average, of_one_kind
from fedbridge.methods.spec import Fusion


class FedAvg(Averaging):
    """The average of all models, weighted by their training items."""

    name: Literal["fedavg"] = "fedavg"


FUSION = Fusion(options=FedAvg, fuse=average, shared_init=True, check=of_one_kind)
