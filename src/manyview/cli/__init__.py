"""The command line: models from files to files, without writing Python."""

from manyview.cli.program import main

__all__ = ["main"]
