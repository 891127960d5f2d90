"""Files that are replaced whole, or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

__all__ = ["leftovers", "replacing", "write_atomically"]


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """A file beside this one to write to, which takes its place when all is written and safe on the disk.

    Its name ends as the other's does. If anything goes wrong, the file that was there stays as it was.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with replacing(path) as beside:
    ...     _ = beside.write_text("all of it")
    >>> path.read_text()
    'all of it'
    """
    path = Path(path)
    beside = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: str | PathLike[str], data: bytes) -> None:
    """Replace the content of a file, or leave it as it was."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def leftovers(path: str | PathLike[str]) -> Iterator[Path]:
    """What processes that were killed while they replaced this file have left beside it."""
    return Path(path).parent.glob(f".*.{Path(path).name}")
