"""Covariates beside the input of a network: what makes a model conditional."""

from collections.abc import Sequence
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["conditional_shape", "with_covariates"]


def with_covariates(x: Float[Tensor, "B ..."], c: Float[Tensor, "B C"]) -> Float[Tensor, "B ..."]:
    r"""Put the covariates of each sample beside its features, for a network f(x, c).

    Parameters
    ----------
    x : Tensor, (B, \*shape)
        Features. Images (channels, H, W) get C more channels, each constant; features (D,) get C more, and so do
        those of any other shape, flattened.
    c : Tensor, (B, C)
        Covariates; they take the type of x.

    Returns
    -------
    Tensor
        (B, \*conditional_shape(shape, C)).

    Examples
    --------
    >>> import torch
    >>> with_covariates(torch.zeros(1, 3), torch.tensor([[7.0, 8.0]]))
    tensor([[0., 0., 0., 7., 8.]])
    >>> with_covariates(torch.zeros(1, 1, 2, 2), torch.tensor([[7.0]]))[0, 1]
    tensor([[7., 7.],
            [7., 7.]])
    """
    c = c.to(x.dtype)
    if x.ndim == 4:
        return torch.cat([x, c[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)
    return torch.cat([x.reshape(len(x), prod(x.shape[1:])), c], dim=1)


def conditional_shape(shape: Sequence[int], n_covariates: int) -> tuple[int, ...]:
    """Shape of one sample after `with_covariates`.

    Parameters
    ----------
    shape : sequence of int
        Shape of one sample before.
    n_covariates : int
        Number of covariates C.

    Examples
    --------
    >>> conditional_shape((784,), 3), conditional_shape((1, 28, 28), 3), conditional_shape((28, 28), 3)
    ((787,), (4, 28, 28), (787,))
    """
    match tuple(shape):
        case (channels, height, width):
            return channels + n_covariates, height, width
        case other:
            return (prod(other) + n_covariates,)
