"""What the adapters do alike: read a task, keep the time, answer with arrays in a file and one line of JSON.

`python adapter.py task.json` runs one task. `python adapter.py --serve` runs those whose paths arrive on standard
input, and trains epoch by epoch as it is told to: so contestants can take turns without importing anything twice.

Beside what README.md lists, a task may have, for the speed benchmark: "measure" ("quality" by default, "epochs",
"likelihood" or "inference") and "likelihood_rows"; "channels" of convolutional networks, for images of shape (3, h, w),
and the likelihood "laplace", whose scale is 0.75; "inference_batch" for multiviewae; "stored", paths of .npy files in
place of the "train" or "test" arrays, for manyview; "device" ("cuda"), "tf32", "precision", "channels_last", "compile".
"""

import ctypes
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

ROWS = 200  # of the test views: the log-likelihood is taken of these, for multivae loops over rows


def now() -> tuple[float, float]:
    """Wall and CPU time, once the GPU, if there is one at work, has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


class Clock:
    """Wall and CPU time from each `start` to the `stop` after it; a start waits first, off the clock, if it is to."""

    def __init__(self, wait: Callable[[], None] | None = None) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.wait = wait
        self.first_start: tuple[float, float] | None = None

    def start(self) -> None:
        self.first_start = self.first_start or now()
        if self.wait is not None:
            self.wait()
        self._began = now()

    def stop(self) -> None:
        wall, cpu = (after - before for before, after in zip(self._began, now(), strict=True))
        self.seconds.append(wall)
        self.cpu_seconds.append(cpu)


class Peer:
    """A library and a task; each adapter fills in the methods."""

    library: str
    network: torch.nn.Module  # what learns, once it is fitted

    def __init__(
        self,
        task: dict[str, Any],
        train: list[np.ndarray],
        test: list[np.ndarray],
        wait: Callable[[], None] | None = None,
    ) -> None:
        self.task, self.train, self.test = task, train, test
        self.epochs, self.shims = Clock(wait), []

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

    def version(self) -> str:
        return version(self.library)

    def options(self) -> dict[str, Any]:
        """Settings of the library's model that the task states for it, over those of the adapter."""
        return self.task.get("options", {}).get(self.library, {})


def likelihood(peer: Peer) -> dict[str, Any] | None:
    test, clock = [view[: peer.task.get("likelihood_rows", ROWS)] for view in peer.test], Clock()
    clock.start()
    found = peer.log_likelihood(test)
    clock.stop()
    times = {"seconds": clock.seconds[0], "cpu_seconds": clock.cpu_seconds[0]}
    return found and {"value": found[0], "rows": len(test[0]), **times, "note": found[1]}


def memory(name: str) -> int:
    """Bytes of this process that are in memory now ("VmRSS"), or were at most ("VmHWM"), as Linux counts them."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(name))


def inference(function: Callable[[], Any]) -> dict[str, Any]:
    """How long it takes, and the most memory beyond what there was before and what it returns."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that was freed is not memory that there was
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is that from now on
    before, clock = memory("VmRSS"), Clock()
    clock.start()
    found = function()
    clock.stop()
    n_bytes = sum(array.nbytes for array in (found if isinstance(found, list) else [found]))
    beyond = memory("VmHWM") - before - n_bytes
    return {"seconds": clock.seconds[0], "cpu_seconds": clock.cpu_seconds[0], "bytes_beyond_output": beyond}


def evaluate(peer: Peer, answer: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """What the task wants to know beside the times of epochs: all of it, unless it has a "measure"."""
    measure = peer.task.get("measure", "quality")
    if measure == "quality":
        arrays |= {"z_train": peer.latents(peer.train), "z_test": peer.latents(peer.test)}
        arrays |= {f"recon_{m}": view for m, view in enumerate(peer.reconstructions())}
    if measure in ("quality", "likelihood"):
        answer["log_likelihood"] = likelihood(peer)
    if measure == "inference":
        answer["transform"] = inference(lambda: peer.latents(peer.test))
        answer["predict"] = inference(peer.reconstructions)


def run(peer: Peer, answer: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Fill answer and arrays as far as the peer gets."""
    peer.build()
    began, clock = now(), Clock()
    clock.start()
    peer.fit()
    clock.stop()
    answer |= {"fit_seconds": clock.seconds[0], "fit_cpu_seconds": clock.cpu_seconds[0]}
    if peer.epochs.first_start is not None:
        names = ("start_seconds", "start_cpu_seconds")  # from the call of fit to the first epoch
        answer |= {name: t - t0 for name, t, t0 in zip(names, peer.epochs.first_start, began, strict=True)}
    answer["n_parameters"] = sum(p.numel() for p in peer.network.parameters() if p.requires_grad)
    answer |= {"epoch_seconds": peer.epochs.seconds, "epoch_cpu_seconds": peer.epochs.cpu_seconds}
    with torch.no_grad():
        evaluate(peer, answer, arrays)


def perform(path: Path, peer_class: Callable[..., Peer], wait: Callable[[], None] | None = None) -> dict[str, Any]:
    """Run the task in a file, and answer it."""
    task = json.loads(path.read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    torch.manual_seed(task["seed"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = bool(task.get("tf32"))
    with np.load(task["data"]) as data:
        views = [[data[f"{part}_{m}"] for m in range(len(task["view_names"]))] for part in ("train", "test")]
    peer = peer_class(task, *views, wait)
    answer = {"library": peer.library, "version": peer.version(), "model": task["model"]}
    answer |= {"epochs": task["epochs"], "shims": peer.shims, "log_likelihood": None, "error": None}
    arrays: dict[str, np.ndarray] = {}
    try:
        run(peer, answer, arrays)
    except Exception as error:
        traceback.print_exc()
        answer["error"] = f"{type(error).__name__}: {error}"[:500]
    if arrays:
        np.savez(task["out"], **arrays)
    return answer


def serve(peer_class: Callable[..., Peer]) -> None:
    """Run task after task, each in a fork of this process; on a GPU, which forks cannot share, in the process itself.

    Before each epoch "ready" is said, and a line waited for.
    """
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the library prints is not an answer

    def wait() -> None:
        say(channel, {"ready": True})
        sys.stdin.readline()

    while line := sys.stdin.readline():
        path = Path(line.strip())
        if json.loads(path.read_text(encoding="utf-8")).get("device", "cpu") != "cpu":
            say(channel, perform(path, peer_class, wait))
            torch.cuda.empty_cache()
            continue
        child = os.fork()
        if child == 0:
            status = 1
            try:
                say(channel, perform(path, peer_class, wait))
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if status:
            say(channel, {"error": f"the process ended with status {status}"})


def say(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def main(peer_class: Callable[..., Peer]) -> None:
    """Run the task whose file is named on the command line, or serve."""
    if sys.argv[1] == "--serve":
        serve(peer_class)
    else:
        print(json.dumps(perform(Path(sys.argv[1]), peer_class)), flush=True)
