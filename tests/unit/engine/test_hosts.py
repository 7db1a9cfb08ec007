import platform
import resource

import pytest
import torch

from fedbridge.engine.hosts import hold_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_memory_that_is_freed_is_kept_for_the_next_step():
    hold_memory()

    def step() -> int:
        """Return how many pages the system had to give and clear, 1,024 of them for each array."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        activations = [torch.ones(1 << 20) for _ in range(12)]
        del activations
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    step(), step()
    assert step() < 4096  # of 12,288
