"""The floor: what a training step cannot do without, at the rate that this machine reaches for its shapes.

That is the matrix products and convolutions of the bare loop's step (forward, the gradients of inputs where they are
needed, those of weights) and the pass of the fused optimiser over the parameters. They are noted down while one step
runs, and then done again and again, on the very same tensors, without anything between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.bare import ROWS_AT_ONCE, Bare, log_evidence

__all__ = ["Floor", "Products", "products_of"]

aten = torch.ops.aten

# Those with a version that writes to a tensor which is there already: allocation is no part of the floor.
INTO = {aten.mm.default: aten.mm.out, aten.addmm.default: aten.addmm.out, aten.bmm.default: aten.bmm.out}
CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)


class Products(TorchDispatchMode):
    """Notes each matrix product and convolution that is done while it is on, with its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        self.flops = 0  # additions and multiplications

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in INTO:
            self.calls.append((INTO[func], args, {**(kwargs or {}), "out": out}))
        elif func in CONVOLUTIONS:
            self.calls.append((func, args, kwargs or {}))
        return out

    @torch.no_grad()
    def repeat(self) -> None:
        """Do all of them again."""
        for func, args, kwargs in self.calls:
            func(*args, **kwargs)

    @property
    def shapes(self) -> list[tuple[tuple[int, ...], ...]]:
        """The shapes of the tensors of each."""
        return [tuple(tuple(x.shape) for x in args if isinstance(x, Tensor)) for _, args, _ in self.calls]


def products_of(step: Callable[[], Any]) -> Products:
    """Those of a function."""
    with FlopCounterMode(display=False) as counter, Products() as products:
        step()
    products.flops = counter.get_total_flops()
    return products


class Floor(Bare):
    """Timed as the bare loop is, with as many steps an epoch as there are full batches."""

    library = "floor"

    def fit(self) -> None:
        n, size = len(self.x[0]), min(self.task["batch_size"], len(self.x[0]))
        products = products_of(lambda: self.step(torch.arange(size, device=self.x[0].device)))
        n_steps = n // size
        for _ in range(self.task["epochs"]):
            self.epochs.start()
            for _ in range(n_steps):
                products.repeat()
                self.adam.step()
            self.epochs.stop()
        rows = n / (n_steps * size)  # the last batch may be a part of one
        clock = self.epochs
        clock.seconds = [rows * t for t in clock.seconds]
        clock.cpu_seconds = [rows * t for t in clock.cpu_seconds]
        self.shims.append(f"{len(products.calls)} products, {products.flops / 1e9:.3g} GFLOP a step")

    def log_likelihood(self, test: list[np.ndarray]) -> tuple[float, str]:
        """No likelihood, but the products that it takes: what is timed is all that counts here."""
        x = [torch.from_numpy(view[:ROWS_AT_ONCE]).to(self.x[0].device) for view in test]
        products = products_of(lambda: log_evidence(self.network, x, self.task["n_importance"]))
        n_calls = round(len(test[0]) / len(x[0]))
        for _ in range(n_calls - 1):  # the one that was noted down is timed too
            products.repeat()
        return 0.0, f"{n_calls * products.flops / 1e9:.3g} GFLOP"
