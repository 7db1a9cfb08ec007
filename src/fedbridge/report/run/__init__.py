"""A run's folder turned into tables, figures and one self-contained page."""

from fedbridge.report.run.figures import write_picture
from fedbridge.report.run.page import write_page
from fedbridge.report.run.tables import Comparison, compare_markdown, result_table

__all__ = ["Comparison", "compare_markdown", "result_table", "write_page", "write_picture"]
