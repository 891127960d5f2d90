"""How long a run takes, over all the calls that it is divided into."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

__all__ = ["Stopwatch"]


class Stopwatch(pl.Callback):
    """Adds the time from now on to what a file says, and writes it there after each epoch: wall and CPU time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = json.loads(path.read_text()) if path.exists() else [0.0, 0.0]
        self.began = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """The seconds so far."""
        now = time.perf_counter(), time.process_time()
        wall, cpu = (b + t - s for b, t, s in zip(self.before, now, self.began, strict=True))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps([wall, cpu]))
        return wall, cpu

    def on_train_epoch_end(self, *_: Any) -> None:
        self.read()
