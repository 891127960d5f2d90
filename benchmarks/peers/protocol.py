"""What both adapters do alike: read a task, keep the time, answer with arrays in a file and one line of JSON."""

import json
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROWS = 200  # of the test views: the log-likelihood is taken of these, for multivae loops over rows


class Clock:
    """Wall and CPU time from each `start` to the `stop` after it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []

    def start(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds.append(time.perf_counter() - self._began[0])
        self.cpu_seconds.append(time.process_time() - self._began[1])


class Peer:
    """A library and a task; each adapter fills in the methods."""

    library: str
    network: torch.nn.Module  # what learns, once it is fitted

    def __init__(self, task: dict[str, Any], train: list[np.ndarray], test: list[np.ndarray]) -> None:
        self.task, self.train, self.test = task, train, test
        self.epochs, self.shims = Clock(), []

    def build(self) -> None:
        """The model; the time to make it is not counted."""

    def fit(self) -> None:
        """Train with the library's own loop."""

    def latents(self, views: list[np.ndarray]) -> np.ndarray:
        """Joint posterior means, given all views."""

    def reconstructions(self) -> list[np.ndarray]:
        """Expected values of the test views, given all of them."""

    def log_likelihood(self, test: list[np.ndarray]) -> tuple[float, str] | None:
        """The mean log p(x) in nats, and how it was computed."""

    def options(self) -> dict[str, Any]:
        """Settings of the library's model that the task states for it, over those of the adapter."""
        return self.task.get("options", {}).get(self.library, {})


def likelihood(peer: Peer) -> dict[str, Any] | None:
    test, clock = [view[:ROWS] for view in peer.test], Clock()
    clock.start()
    found = peer.log_likelihood(test)
    clock.stop()
    return found and {"value": found[0], "rows": len(test[0]), "seconds": clock.seconds[0], "note": found[1]}


def run(peer: Peer, answer: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Fill answer and arrays as far as the peer gets."""
    peer.build()
    clock = Clock()
    clock.start()
    peer.fit()
    clock.stop()
    answer |= {"fit_seconds": clock.seconds[0], "fit_cpu_seconds": clock.cpu_seconds[0]}
    answer["n_parameters"] = sum(p.numel() for p in peer.network.parameters() if p.requires_grad)
    answer |= {"epoch_seconds": peer.epochs.seconds, "epoch_cpu_seconds": peer.epochs.cpu_seconds}
    with torch.no_grad():
        arrays |= {"z_train": peer.latents(peer.train), "z_test": peer.latents(peer.test)}
        arrays |= {f"recon_{m}": view for m, view in enumerate(peer.reconstructions())}
        answer["log_likelihood"] = likelihood(peer)


def main(peer_class: type[Peer]) -> None:
    """Run the task whose file is named on the command line."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    torch.manual_seed(task["seed"])
    with np.load(task["data"]) as data:
        views = [[data[f"{part}_{m}"] for m in range(len(task["view_names"]))] for part in ("train", "test")]
    peer = peer_class(task, *views)
    answer = {"library": peer.library, "version": version(peer.library), "model": task["model"]}
    answer |= {"epochs": task["epochs"], "shims": peer.shims, "log_likelihood": None, "error": None}
    arrays: dict[str, np.ndarray] = {}
    try:
        run(peer, answer, arrays)
    except Exception as error:
        traceback.print_exc()
        answer["error"] = f"{type(error).__name__}: {error}"[:500]
    np.savez(task["out"], **arrays)
    print(json.dumps(answer), flush=True)
