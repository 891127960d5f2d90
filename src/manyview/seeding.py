"""Random numbers: from an argument, never from or into the state that others share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.utils import check_random_state

__all__ = ["as_seed", "seeded"]


def as_seed(random_state: Any) -> int:
    """A seed: drawn from a generator, derived from an integer, or fresh for None."""
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Torch's random numbers start from the seed within, and are where they were afterwards."""
    device = torch.device(device)
    devices = [] if device.type == "cpu" else [device.index or 0]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed)
        yield
