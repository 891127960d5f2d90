"""Where data sets are kept, and how they get there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["download", "home"]


def home(data_home: str | os.PathLike[str] | None) -> Path:
    """The folder of all data sets: what was given, else MANYVIEW_DATA, else pooch's folder for caches."""
    chosen = data_home or os.environ.get("MANYVIEW_DATA")
    return Path(chosen).expanduser() if chosen else Path(_pooch().os_cache("manyview"))


def download(url: str, path: Path, known_hash: str | None) -> Path:
    """The file from an address, if it is not there yet."""
    pooch = _pooch()
    try:
        return Path(pooch.retrieve(url, known_hash=known_hash, fname=path.name, path=path.parent))
    except OSError as error:  # which all errors of connections are
        raise OSError(
            f"{path.name} could not be downloaded from {url} ({error}); try again, or get the file by other means and "
            f"put it into {path.parent}, or into another folder that data_home or the environment variable "
            "MANYVIEW_DATA names"
        ) from error


def _pooch() -> Any:
    """The package that downloads."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            'downloading data needs pooch: pip install "manyview[datasets]"; if you have the data, name their folder '
            "by data_home or the environment variable MANYVIEW_DATA"
        ) from error
    return pooch
