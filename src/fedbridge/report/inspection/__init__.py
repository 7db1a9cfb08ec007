"""Inspection of data before a run: sizes, duplicates, broken items, doubtful labels."""

from fedbridge.report.inspection.finding import inspect_config, inspect_file, inspect_site
from fedbridge.report.inspection.page import Inspection, write_inspection
from fedbridge.report.inspection.tables import show

__all__ = [
    "Inspection",
    "inspect_config",
    "inspect_file",
    "inspect_site",
    "show",
    "write_inspection",
]
