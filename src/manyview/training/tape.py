r"""Functions of tensors that are called again and again: noted once, operation by operation, then only these are done.

What PyTorch does for a call beside its operations (modules, ``torch.func.vmap``, the graph of autograd) takes longer
than the operations themselves where tensors are small.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Repeated"]

# Calls alike after which one is noted: noting takes about as long as they could have been quicker.
_OFTEN = 30

R = TypeVar("R")
Key = tuple[Any, ...]


@final
class Repeated(Generic[R]):
    """A function that is done from a tape once it was called often with tensors of the same shapes and strides.

    Parameters
    ----------
    function : callable
        Of tensors, in lists and dicts, to tensors; it may change tensors in place. Whatever else it computes with has
        to stay as it is. The call after the noted one is done both ways: a function that is not the same again, to the
        last digit, is called as it is from then on.
    """

    def __init__(self, function: Callable[..., R]) -> None:
        self.function = function
        self.calls: Counter[Key] = Counter()
        self.tapes: dict[Key, Tape] = {}

    def __call__(self, *args: Any) -> R:
        """What the function answers."""
        tensors = list(_tensors(args))
        key = tuple((x.shape, x.stride()) for x in tensors)
        self.calls[key] += 1
        if self.calls[key] == _OFTEN:
            return self._note(key, tensors, args)
        if key not in self.tapes:
            return self.function(*args)
        if self.calls[key] == _OFTEN + 1:
            return self._try(key, tensors, args)
        return self.tapes[key](tensors)  # type: ignore[no-any-return]

    def _note(self, key: Key, tensors: list[Tensor], args: tuple[Any, ...]) -> R:
        tape = Tape(tensors)
        with tape, torch.autograd.set_multithreading_enabled(False):
            result = self.function(*args)
        tape.end(result)
        self.tapes[key] = tape
        return result

    def _try(self, key: Key, tensors: list[Tensor], args: tuple[Any, ...]) -> R:
        copies = [x.detach().clone() for x in tensors]
        repeated = self.tapes[key](copies)
        result = self.function(*args)
        pairs = zip(tree_leaves((result, tensors)), tree_leaves((repeated, copies)), strict=True)
        if not all(one is other is None or torch.equal(one, other) for one, other in pairs):
            del self.tapes[key]
        return result


def _tensors(nested: Any) -> Iterator[Tensor]:
    """Those in lists and dicts; tree_leaves is slower."""
    for x in nested.values() if isinstance(nested, dict) else nested:
        if isinstance(x, Tensor):
            yield x
        else:
            yield from _tensors(x)


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
        if func is torch.ops.aten.detach.default:  # nothing is differentiated when it is done again
            self._is(out, self._node(args[0]))
            return out
        node = self.graph.call_function(func, *tree_map(self._node, (args, kwargs or {})))
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
        self.graph.output(tree_map(self._node, result))
        self.graph.eliminate_dead_code()
        self.replay = fx.GraphModule(self.constants, self.graph)
        del self.nodes, self.alive

    @torch.no_grad()
    def __call__(self, inputs: Sequence[Tensor]) -> Any:
        """Do the operations with other tensors of the same shapes and strides."""
        return self.replay(*inputs)
