r"""Functions of tensors that are called again and again: noted once, operation by operation, then only these are done.

What PyTorch does for a call beside its operations (modules, ``torch.func.vmap``, the graph of autograd) takes longer
than the operations themselves where tensors are small.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, final

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Repeated"]

# Calls alike after which one is noted: noting takes about as long as they could have been quicker.
_OFTEN = 30

P = ParamSpec("P")
R = TypeVar("R")
Key = tuple[Any, ...]


@final
class Repeated(Generic[P, R]):
    """A function that is done from a tape once it was called often with tensors of the same shapes and strides.

    Parameters
    ----------
    function : callable
        Of tensors, in lists and dicts, to tensors; it may change tensors in place. Whatever else it computes with has
        to stay as it is. The call after the noted one is done both ways: a function that is not the same again, to the
        last digit, is called as it is from then on.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.calls: Counter[Key] = Counter()
        self.tapes: dict[Key, Tape] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function answers."""
        tensors: list[Tensor] = pytree.tree_leaves((args, kwargs))
        key = tuple((x.shape, x.stride()) for x in tensors)
        self.calls[key] += 1
        if self.calls[key] == _OFTEN:
            return self._note(key, tensors, *args, **kwargs)
        if key not in self.tapes:
            return self.function(*args, **kwargs)
        if self.calls[key] == _OFTEN + 1:
            return self._try(key, tensors, *args, **kwargs)
        return self.tapes[key](tensors)  # type: ignore[no-any-return]

    def _note(self, key: Key, tensors: list[Tensor], *args: P.args, **kwargs: P.kwargs) -> R:
        tape = Tape(tensors)
        with tape, torch.autograd.set_multithreading_enabled(False):
            result = self.function(*args, **kwargs)
        tape.end(result)
        self.tapes[key] = tape
        return result

    def _try(self, key: Key, tensors: list[Tensor], *args: P.args, **kwargs: P.kwargs) -> R:
        copies = [x.detach().clone() for x in tensors]
        repeated = self.tapes[key](copies)
        result = self.function(*args, **kwargs)
        same = zip(pytree.tree_leaves((result, tensors)), pytree.tree_leaves((repeated, copies)), strict=True)
        if not all(one is other is None or torch.equal(one, other) for one, other in same):
            del self.tapes[key]
        return result


@final
class Tape(TorchDispatchMode):
    """Notes the operations within, beneath autograd and vmap, as a function of some tensors."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.nodes: dict[int, fx.Node] = {}
        self.alive: list[Tensor] = []  # an id is that of a tensor for as long as it lives
        self.constants = nn.Module()
        for i, x in enumerate(inputs):
            self._is(x, self.graph.placeholder(f"x{i}"))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        node = self.graph.call_function(func, *pytree.tree_map(self._node, (args, kwargs or {})))
        if isinstance(out, Tensor):
            self._is(out, node)
        elif isinstance(out, tuple | list):
            for i, x in enumerate(out):
                self._is(x, self.graph.call_function(operator.getitem, (node, i)))
        return out

    def _is(self, x: Tensor, node: fx.Node) -> None:
        self.alive.append(x)
        self.nodes[id(x)] = node

    def _node(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) not in self.nodes:
            name = f"constant{len(self.alive)}"
            self.constants.register_buffer(name, x)
            self._is(x, self.graph.get_attr(name))
        return self.nodes[id(x)]

    def end(self, result: Any) -> None:
        """No more operations come; this is what they lead to."""
        leaves, self.spec = pytree.tree_flatten(result)
        self.graph.output([self._node(x) for x in leaves])
        self.graph.eliminate_dead_code()
        self.replay = fx.GraphModule(self.constants, self.graph)
        del self.nodes, self.alive

    @torch.no_grad()
    def __call__(self, inputs: Sequence[Tensor]) -> Any:
        """Do the operations with other tensors of the same shapes and strides."""
        return pytree.tree_unflatten(self.replay(*inputs), self.spec)
