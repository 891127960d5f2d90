"""Where data sets are kept, and how they get there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["home", "pooch"]


def home(data_home: str | os.PathLike[str] | None) -> Path:
    """The folder of all data sets: what was given, else MANYVIEW_DATA, else pooch's folder for caches."""
    chosen = data_home or os.environ.get("MANYVIEW_DATA")
    return Path(chosen).expanduser() if chosen else Path(pooch().os_cache("manyview"))


def pooch() -> Any:
    """The package that downloads."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            'downloading data needs pooch: pip install "manyview[datasets]"; if you have the data, name their folder '
            "by data_home or the environment variable MANYVIEW_DATA"
        ) from error
    return pooch
