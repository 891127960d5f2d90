"""Run a peer library on a task, in its own environment.

python -m benchmarks.peers.run        a smoke run of both
"""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.peers.environments import HERE, PEERS, environment, variables

TIMEOUT = 3600.0  # seconds
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_peer(library: str, task: dict[str, Any], folder: Path, timeout: float = TIMEOUT) -> dict[str, Any]:
    """What the library answers to the task (README.md says what both are), and "out", the path of its arrays.

    Whatever goes wrong is in "error"; nothing is raised. The folder keeps the task, the arrays, and all that the
    library printed, in log.txt.
    """
    folder = Path(folder).resolve()
    task = {"out": str(folder / "out.npz"), **task}
    answer = {"library": library, "model": task.get("model"), "out": task["out"]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "task.json").write_text(json.dumps(task, indent=1), encoding="utf-8")
        run = subprocess.run(
            [environment(library), HERE / f"{library}_adapter.py", folder / "task.json"],
            cwd=folder,
            env={**variables(library), **dict.fromkeys(THREADS, str(task["threads"]))},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        (folder / "log.txt").write_text(run.stdout + run.stderr, encoding="utf-8")
        if run.returncode:
            raise RuntimeError(f"ended with code {run.returncode}: {run.stderr.strip()[-300:]}")
        return {**answer, **json.loads(run.stdout.splitlines()[-1])}
    except Exception as error:
        return {**answer, "error": f"{type(error).__name__}: {error}"}


def main() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 2))
    views = [(z @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(500, d))).astype(np.float32) for d in (10, 8)]
    parts = {"train": slice(400), "test": slice(400, None)}
    task = {"view_names": ["a", "b"], "likelihoods": ["normal", "normal"], "model": "MVAE", "z_dim": 2, "beta": 1.0}
    task |= {"encoder_hidden": [32], "decoder_hidden": [32], "activation": "silu", "batch_size": 64, "epochs": 2}
    task |= {"learning_rate": 1e-3, "seed": 0, "threads": 1, "n_importance": 50}
    with TemporaryDirectory() as name:
        task["data"] = str(Path(name) / "data.npz")
        np.savez(task["data"], **{f"{part}_{m}": view[i] for part, i in parts.items() for m, view in enumerate(views)})
        for library in PEERS:
            answer = run_peer(library, task, Path(name) / library)
            print(json.dumps(answer, indent=1))
            if answer["error"] is None:
                with np.load(answer["out"]) as out:
                    print({key: out[key].shape for key in out})


if __name__ == "__main__":
    main()
