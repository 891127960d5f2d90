"""The random numbers of a computation: noted once, then drawn for many models, each from a stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Draw", "Recorder", "Replay", "draw_all"]


class Draw(NamedTuple):
    """One request for random numbers."""

    fill: str
    """The method of Tensor that draws them in place."""
    shape: torch.Size
    dtype: torch.dtype
    arguments: tuple[Any, ...] = ()
    scale: float = 1.0
    """What they are multiplied by."""


Finish = Callable[[Tensor], Tensor]
Request = tuple[Draw, Finish]


def _fill(name: str) -> Callable[..., Request]:
    def request(x: Tensor, *args: Any, generator: Any = None, **kwargs: Any) -> Request:
        return Draw(name, x.shape, x.dtype, (*args, *kwargs.values())), lambda numbers: numbers

    return request


def _new(name: str) -> Callable[..., Request]:
    def request(*size: Any, dtype: torch.dtype | None = None, **_: Any) -> Request:
        shape = torch.Size(size if isinstance(size[0], int) else size[0])
        return Draw(name, shape, dtype or torch.get_default_dtype()), lambda numbers: numbers

    return request


def _normal(mean: Tensor, std: Tensor, **_: Any) -> Request:
    shape = torch.broadcast_shapes(mean.shape, std.shape)
    return Draw("normal_", shape, mean.dtype), lambda noise: noise * std + mean


def _multinomial(weights: Tensor, num_samples: int, *_: Any, **__: Any) -> Request | None:
    # One category is the first of exponential waiting times with these rates: that is how torch draws it, too.
    finish = lambda times: (weights / times).argmax(-1, keepdim=True)  # noqa: E731
    return (Draw("exponential_", weights.shape, weights.dtype), finish) if num_samples == 1 else None


def _dropout(n_axes: int | None) -> Callable[..., Request | None]:
    """Dropout of single numbers, or of all that the first axes have in common."""

    def request(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Request | None:
        if p == 0 or not training:
            return None
        shape = x.shape if n_axes is None else torch.Size((*x.shape[:n_axes], *[1] * (x.ndim - n_axes)))
        return Draw("bernoulli_", shape, x.dtype, (1 - p,), 1 / (1 - p)), lambda kept: x * kept

    return request


_REQUESTS: dict[Any, Callable[..., Request | None]] = {
    torch.Tensor.normal_: _fill("normal_"),
    torch.Tensor.uniform_: _fill("uniform_"),
    torch.Tensor.exponential_: _fill("exponential_"),
    torch.rand: _new("uniform_"),
    torch.randn: _new("normal_"),
    torch.rand_like: _fill("uniform_"),
    torch.randn_like: _fill("normal_"),
    torch.normal: _normal,
    torch.multinomial: _multinomial,
    F.dropout: _dropout(None),
    F.dropout2d: _dropout(2),
}


@final
class Recorder(TorchFunctionMode):
    """Notes in ``draws`` which random numbers are drawn within."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Draw] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _REQUESTS and (found := _REQUESTS[func](*args, **kwargs)) is not None:
            self.draws.append(found[0])
        return func(*args, **kwargs)


@final
class Replay(TorchFunctionMode):
    """Those who ask for random numbers within get these, in this order."""

    def __init__(self, numbers: Sequence[Tensor]) -> None:
        super().__init__()
        self.numbers = iter(numbers)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _REQUESTS and (found := _REQUESTS[func](*args, **kwargs)) is not None:
            return found[1](next(self.numbers))
        return func(*args, **kwargs)


def draw_all(draws: Sequence[Sequence[Draw]], generators: Sequence[torch.Generator]) -> list[Tensor]:
    """The random numbers that each model asks for, drawn from its generator: one tensor a request, models first."""
    numbers = []
    for requests in zip(*draws, strict=True):
        first = requests[0]
        out = torch.empty(len(draws), *first.shape, dtype=first.dtype, device=generators[0].device)
        for row, draw, generator in zip(out, requests, generators, strict=True):
            getattr(row, draw.fill)(*draw.arguments, generator=generator)
        scales = [draw.scale for draw in requests]
        if set(scales) != {1.0}:
            out *= torch.tensor(scales, dtype=out.dtype, device=out.device).view(-1, *[1] * len(first.shape))
        numbers.append(out)
    return numbers
