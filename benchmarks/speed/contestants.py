"""Libraries that take turns, each in a process of its own, an epoch at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import HERE, PEERS, ROOT, variables
from benchmarks.peers.run import THREADS

__all__ = ["LIBRARIES", "Contestant", "contestants", "race"]

LIBRARIES = ("manyview", *PEERS, "bare", "floor")
TIMEOUT = 3600.0  # seconds for an answer
# Of the C library: do not give freed memory back. Getting it anew can cost a quarter of a step of convolutions; the
# others pay that as they do, but it is no part of the floor.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_MMAP_THRESHOLD_": str(2**25)}

REPOSITORY = Path(__file__).resolve().parents[2]


def command(library: str) -> list[str]:
    """What starts the process that serves a library's tasks."""
    if library in ("bare", "floor"):
        return [sys.executable, "-m", "benchmarks.speed.loops", "--serve"]
    python = sys.executable if library == "manyview" else str(ROOT / library / "bin" / "python")
    return [python, str(HERE / f"{library}_adapter.py"), "--serve"]


def environment(library: str) -> dict[str, str]:
    """One thread while a process has not been told otherwise, none that spins, no GPU touched before a fork."""
    own = dict(os.environ) if library in ("bare", "floor") else variables(library)
    fixed = {"OMP_WAIT_POLICY": "PASSIVE", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", **dict.fromkeys(THREADS, "1")}
    return {**own, **fixed, **(KEEP_MEMORY if library == "floor" else {})}


class Contestant:
    """A library that was imported once, and runs tasks epoch by epoch.

    Parameters
    ----------
    library : str
        One of LIBRARIES.
    folder : Path
        Where its tasks and its log go.
    """

    def __init__(self, library: str, folder: Path) -> None:
        self.library, self.folder = library, folder / library
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command(library),
                cwd=REPOSITORY if library in ("manyview", "bare", "floor") else self.folder,
                env=environment(library),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.answer: dict[str, Any] | None = None

    def begin(self, task: Mapping[str, Any]) -> None:
        """Prepare a task, up to where its first epoch would start."""
        path = self.folder / "task.json"
        own = {"loop": self.library} if self.library in ("bare", "floor") else {}
        path.write_text(json.dumps({"out": str(self.folder / "out.npz"), **task, **own}, indent=1), encoding="utf-8")
        self.answer = None
        self._send(str(path))

    def go_on(self) -> None:
        """Run the next epoch, or, after the last one, what else the task asks for."""
        self._send("go")

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        watchdog = threading.Timer(TIMEOUT, self.close)
        watchdog.start()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            said = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            said = {"error": f"it ended early: {self.log.read_text(errors='replace').strip()[-300:]}"}
        finally:
            watchdog.cancel()
        if "ready" not in said:
            self.answer = said

    def close(self) -> None:
        """End the process, and what it may have started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


@contextmanager
def contestants(libraries: Sequence[str], folder: Path) -> Iterator[dict[str, Contestant]]:
    """Their processes, for as long as the block runs."""
    with ExitStack() as stack:
        found = {}
        for library in libraries:
            found[library] = Contestant(library, folder)
            stack.callback(found[library].close)
        yield found


def race(runners: Mapping[str, Contestant], tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each answers to its task; between the epochs of one, all the others have one of theirs."""
    for library, task in tasks.items():
        runners[library].begin(task)
    while running := [library for library in tasks if runners[library].answer is None]:
        for library in running:
            runners[library].go_on()
    return {library: runners[library].answer or {} for library in tasks}
