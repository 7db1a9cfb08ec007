"""No fusion: every client goes on alone."""

from typing import Literal

from fedbridge.config.section import Options
from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads
from fedbridge.methods.spec import Fusion


class Alone(Options):
    """No fusion: every client gets back what it uploaded."""

    name: Literal["none"] = "none"


def keep_own(
    round_: RoundUploads, shared: SharedContext, options: Alone, map_jobs: MapJobs
) -> FusionResult:
    """Give every client back what it uploaded."""
    return FusionResult({student.name: student.state for student in round_.students}, [])


FUSION = Fusion(options=Alone, fuse=keep_own)
