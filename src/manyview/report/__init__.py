"""A page about a fitted model, for readers who need no other explanation: ``pip install "manyview[report]"``."""

from manyview.report.page import write_report

__all__ = ["write_report"]
