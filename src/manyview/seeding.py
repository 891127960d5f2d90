"""Random numbers: from an argument, never from or into the state that others share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.utils import check_random_state

__all__ = ["as_seed", "as_seeds", "seeded"]

# Layers such as dropout know no other random numbers than torch's global ones, so one thread has them at a time.
_lock = threading.RLock()


def as_seed(random_state: Any) -> int:
    """A seed: derived from an integer, or drawn from a generator; from NumPy's for None, as scikit-learn does.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    return as_seeds(random_state, 1)[0]


def as_seeds(random_state: Any, n_seeds: int) -> list[int]:
    """Several seeds, the first of which is :func:`as_seed`'s."""
    try:
        generator = check_random_state(random_state)
        return [int(generator.randint(2**31 - 1)) for _ in range(n_seeds)]
    except ValueError:
        raise ValueError(
            f"random_state={random_state!r}: give an integer from 0 to 2**32 - 1, a numpy.random.RandomState, or None"
        ) from None


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Torch's random numbers start from the seed within, and are where they were afterwards."""
    device = torch.device(device)
    devices = [] if device.type == "cpu" else [device.index or 0]
    with _lock, torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        # torch.manual_seed seeds every accelerator, asked for or not; where there is none, it notes the call for later,
        # with its stack: deep within a training loop that takes as long as a step of a small model.
        manual_seed = torch.manual_seed if devices else torch.default_generator.manual_seed
        manual_seed(seed)
        yield
