"""What is said of models that diverged, and when that is the end of a run."""

from collections.abc import Collection, Iterable

from fedbridge.config import Settings
from fedbridge.core.errors import UserError
from fedbridge.methods.registry import head_of
from fedbridge.methods.rounds import Noted
from fedbridge.wire import Step, Upload

SMALL = "training.lr"


def astray(config: Settings, upload: Upload) -> Noted:
    """Return what is noted of an upload whose client says that its training diverged."""
    about: dict[str, float] = {"step": upload.diverged}
    what, setting = "its small model", SMALL
    about["rate"] = config.training.lr
    if upload.state:  # the small model is there, what was trained of the large side is not
        what, about["rate"] = "what it trains of the large side", 0.0
        for option, rate in head_of(config).lr(config.large).items():
            setting, about["rate"] = f"large.{option}", rate
    told = f" with {setting} = {about['rate']:g}" if about["rate"] else ""
    reason = f"{what} diverged at step {upload.diverged}{told}; the last good one stays"
    return Noted("diverged", upload.client, reason, about)


def cold(config: Settings, client: str, model: str, step: int) -> Noted:
    """Return what is noted of a client whose architecture's warm start diverged at a step."""
    rate = config.small.warm_lr
    reason = f"the warm start of {model} diverged at step {step} with small.warm_lr = {rate:g}; "
    about = {"step": step, "rate": rate}
    return Noted("diverged", client, reason + "it begins without one", about)


def require_one(asked: Collection[str], noted: Iterable[Noted], step: Step) -> None:
    """Raise UserError if the small models of all clients that were asked diverged in a round."""
    gone = {one.client: one for one in noted if one.kind == "diverged" and SMALL in one.reason}
    if asked and len(gone) == len(asked):
        steps = ", ".join(f"{name} at step {one.about['step']:g}" for name, one in gone.items())
        rate = next(iter(gone.values())).about["rate"]
        raise UserError(
            f"{SMALL}: the small models of all clients diverged in task {step.task}, round "
            f"{step.round} with the rate {rate:g}: {steps}; choose a lower one, or other small "
            "models"
        )
