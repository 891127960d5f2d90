"""Functions that are called often are done from a tape: the same numbers, or no tape."""

import pytest
import torch

from manyview.training.tape import Repeated

OFTEN = 4


@pytest.fixture(autouse=True)
def taped_soon(monkeypatch):
    monkeypatch.setattr("manyview.training.tape._OFTEN", OFTEN)


def counted(function):
    """A function, repeated, and how often Python called it."""
    calls = []

    def call(*args):
        calls.append(args)
        return function(*args)

    return Repeated(call), calls


def gradient(weights, data):
    """Of a loss that is mapped over networks, with what is not needed, and a constant."""
    scale = torch.tensor(3.0)

    def loss(w, x):
        return (torch.tanh(x @ w) * scale).square().sum()

    losses = torch.func.vmap(loss)(weights["w"], data)
    return {"loss": losses.detach()}, torch.autograd.grad(losses.sum(), list(weights.values()), allow_unused=True)


def test_the_same_numbers_without_calling_the_function():
    repeated, calls = counted(gradient)
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        weights = {"w": torch.randn(2, 3, 4, generator=generator), "unused": torch.ones(1)}
        weights = {name: w.requires_grad_() for name, w in weights.items()}
        data = torch.randn(2, 5, 3, generator=generator)
        (sums, (found, none)), (expected, (of_w, _)) = repeated(weights, data), gradient(weights, data)
        assert torch.equal(sums["loss"], expected["loss"])
        assert torch.equal(found, of_w)
        assert none is None
        assert not found.requires_grad
    assert len(calls) == OFTEN + 1  # the last of them to see that the tape does the same


def test_tensors_are_changed_in_place():
    repeated, calls = counted(lambda x, mean: x - mean.mul_(0.9).add_(x.mean(), alpha=0.1))
    mean, expected = torch.zeros(()), torch.zeros(())
    for step in range(10):
        x = torch.arange(3.0) + step
        expected.mul_(0.9).add_(x.mean(), alpha=0.1)
        assert torch.equal(repeated(x, mean), x - expected)
    assert torch.equal(mean, expected)
    assert len(calls) == OFTEN + 1


def test_shapes_and_strides_have_tapes_of_their_own():
    repeated, calls = counted(lambda x: x.reshape(-1) * 2)
    wide = torch.arange(6.0).view(2, 3)
    for _ in range(10):
        for x in (wide, wide.T, wide[:, :2], wide[0]):
            assert torch.equal(repeated(x), x.reshape(-1) * 2)
    assert len(calls) == 4 * (OFTEN + 1)


@pytest.mark.parametrize("change", [lambda n: n, lambda n: torch.full((), float(n)), lambda n: torch.randn(())])
def test_what_does_something_else_in_each_call_is_called(change):
    repeated, calls = counted(lambda x: x + change(len(calls)))
    found = [repeated(torch.zeros(())).item() for _ in range(10)]
    assert len(calls) == 10
    assert len(set(found)) == 10
