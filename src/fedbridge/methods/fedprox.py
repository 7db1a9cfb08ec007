"""FedProx (Li et al., MLSys 2020): FedAvg whose clients stay near to where their round began.

Algorithm 2: the server averages as FedAvg does; the proximal term is in the clients' steps.
"""

from typing import Literal

from fedbridge.config.section import Weight
from fedbridge.methods.averaging import Averaging, average, of_one_kind
from fedbridge.methods.spec import Fusion


class FedProx(Averaging):
    """FedAvg whose clients are held to where their round began."""

    name: Literal["fedprox"] = "fedprox"
    proximal: Weight = 0.01
    """Weight ``mu`` of half the squared distance to the model as the round began."""


FUSION = Fusion(
    options=FedProx,
    fuse=average,
    shared_init=True,
    proximal=lambda options: options.proximal,
    check=of_one_kind,
)
