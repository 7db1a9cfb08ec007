import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fedbridge.federation import workers as hosts

STEPS = """
import resource
import torch
from fedbridge.federation.workers import hold_memory

def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    activations = [torch.ones(1 << 20) for _ in range(12)]
    del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{first}
step()
print(step())
"""


def faults(first: str) -> int:
    """Return how many pages the system gave and cleared in the second step of a new process."""
    code = STEPS.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_memory_that_is_freed_is_kept_for_the_next_step():
    # a later step proves nothing: glibc itself comes to keep arrays of a size it has seen freed
    assert faults("hold_memory()") < 4096 < faults("pass")  # of 12,288


def test_a_c_library_that_cannot_be_told_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(hosts.ctypes, "CDLL", lambda name: SimpleNamespace())
    hosts.hold_memory()
