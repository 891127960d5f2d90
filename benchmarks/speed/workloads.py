"""The shapes that are timed, and data of these shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["TRAINING", "Cell", "Sizes", "Workload", "task_of", "write_data"]

TEST_ROWS = 50  # of each data set: only a likelihood is taken of them


@dataclass(frozen=True)
class Cell:
    """Models that are timed at some batch sizes."""

    models: tuple[str, ...]
    batch_sizes: tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """How much of a workload is done: rows, cells, and epochs that count, after a first that does not."""

    n_samples: int
    cells: tuple[Cell, ...]
    rounds: int


@dataclass(frozen=True)
class Workload:
    """Views, networks, and how much is done at each scale.

    Parameters
    ----------
    views : mapping
        From name to the shape of a sample and its likelihood.
    networks : mapping
        What a task of the peers' adapters has: "encoder_hidden", "decoder_hidden", "channels".
    """

    name: str
    views: Mapping[str, tuple[tuple[int, ...], str]]
    z_dim: int
    networks: Mapping[str, Any]
    scales: Mapping[str, Sizes] = field(default_factory=dict)


def mlp(*hidden: int) -> dict[str, Any]:
    """Settings of encoders and decoders alike."""
    return {"encoder_hidden": list(hidden), "decoder_hidden": list(hidden)}


ALL = ("MVAE", "MEMVAE", "MMVAE", "MoPoEVAE", "MVTCAE")
IMAGES = ("MMVAE", "MoPoEVAE", "MVTCAE")

TRAINING = {
    "W1": Workload(
        name="W1",
        views={"image": ((784,), "bernoulli"), "label": ((10,), "categorical")},
        z_dim=64,
        networks=mlp(512, 512),
        scales={
            "full": Sizes(60_000, (Cell(ALL, (128, 512, 2048)),), rounds=3),
            "quick": Sizes(6_000, (Cell(("MVAE", "MEMVAE"), (128, 512)),), rounds=3),
            "smoke": Sizes(512, (Cell(("MVAE",), (128,)),), rounds=1),
            "gpu": Sizes(60_000, (Cell(ALL, (128, 512, 2048)),), rounds=3),
            "gpu-quick": Sizes(60_000, (Cell(("MVAE", "MEMVAE"), (512,)),), rounds=2),
        },
    ),
    "W2": Workload(
        name="W2",
        views={f"view_{m}": ((3, 28, 28), "laplace") for m in range(5)},
        z_dim=512,
        networks={**mlp(), "channels": [32, 64, 128]},
        scales={
            "full": Sizes(1_280, (Cell(IMAGES, (64, 256)),), rounds=3),
            "quick": Sizes(320, (Cell(IMAGES, (64,)),), rounds=1),
            "smoke": Sizes(32, (Cell(("MVTCAE",), (16,)),), rounds=1),
            "gpu": Sizes(12_800, (Cell(IMAGES, (64, 256)),), rounds=3),
            "gpu-quick": Sizes(12_800, (Cell(IMAGES, (256,)),), rounds=1),
        },
    ),
    "W3": Workload(
        name="W3",
        views={f"view_{m}": ((d,), "normal") for m, d in enumerate((500, 2000, 300, 50))},
        z_dim=16,
        networks=mlp(256),
        scales={
            "full": Sizes(2_000, (Cell(ALL, (64,)),), rounds=9),
            "quick": Sizes(2_000, (Cell(ALL, (64,)),), rounds=3),
            "smoke": Sizes(256, (Cell(("MVAE",), (64,)),), rounds=1),
            "gpu": Sizes(2_000, (Cell(ALL, (64,)),), rounds=9),
            "gpu-quick": Sizes(2_000, (Cell(ALL, (64,)),), rounds=3),
        },
    ),
}


def write_data(workload: Workload, n_samples: int, folder: Path, *, n_test: int = TEST_ROWS) -> Path:
    """Samples of ten classes, in the file that a task names.

    What data tell takes no part in how long a step takes, but not every contestant survives pure noise.
    """
    path = folder / f"{workload.name}-{n_samples}-{n_test}.npz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, n_samples + n_test)
    arrays = {}
    for m, (shape, likelihood) in enumerate(workload.views.values()):
        view = draw(rng, likelihood, classes, shape)
        arrays[f"train_{m}"], arrays[f"test_{m}"] = view[:n_samples], view[n_samples:]
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.rename(path)
    return path


def draw(rng: np.random.Generator, likelihood: str, classes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A view of samples of these classes, of a kind that suits its likelihood."""
    if likelihood == "categorical":
        return np.eye(*shape, dtype=np.float32)[classes % shape[0]]
    prototypes = rng.standard_normal((classes.max() + 1, *shape), dtype=np.float32)
    noisy = rng.standard_normal((len(classes), *shape), dtype=np.float32)
    noisy += prototypes[classes]
    if likelihood == "bernoulli":
        return (noisy > 1).astype(np.float32)
    return (0.5 + 0.15 * noisy).clip(0, 1) if likelihood == "laplace" else noisy / np.float32(2**0.5)


def task_of(workload: Workload, model: str, batch_size: int, data: Path, **others: Any) -> dict[str, Any]:
    """The task of an adapter (benchmarks/peers/README.md)."""
    return {
        "data": str(data.resolve()),
        "view_names": list(workload.views),
        "likelihoods": [likelihood for _, likelihood in workload.views.values()],
        "model": model,
        "z_dim": workload.z_dim,
        **workload.networks,
        "activation": "relu",
        "beta": 1.0,
        "init_logvar": 0,
        "batch_size": batch_size,
        "learning_rate": 1e-3,
        "seed": 0,
        "threads": 1,
        "n_importance": 1000,
        "measure": "epochs",
        **others,
    }
