"""A grid of methods, scenarios and seeds: run side by side, resumed, tabled and judged."""

from fedbridge.bench.bench import Bench
from fedbridge.bench.console import run_suite, show_failures, show_plan
from fedbridge.bench.grid import Job, jobs_of
from fedbridge.bench.pages import write_results
from fedbridge.bench.suite import Suite, load_suite

__all__ = [
    "Bench",
    "Job",
    "Suite",
    "jobs_of",
    "load_suite",
    "run_suite",
    "show_failures",
    "show_plan",
    "write_results",
]
