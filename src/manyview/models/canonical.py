"""What deep canonical correlation analyses share: codes that correlate, aligned by linear CCA after training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal, cast

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from manyview.data.batch import Batch
from manyview.estimator import LikelihoodSpec
from manyview.fusion import CanonicalCodes, Fusion
from manyview.latent import Latent, Point
from manyview.models.deterministic import Deterministic
from manyview.network import Network

__all__ = ["Canonical"]


class Canonical(Deterministic):
    r"""A model whose codes of different views are to correlate as highly as possible.

    Parameters
    ----------
    likelihood : str, Likelihood or dict, default "mse"
        What the decoders' outputs mean.
    condition : {"both", "encoder", "decoder"}, default "decoder"
        Which networks get the covariates. Encoders that do make codes of them, which correlate perfectly.
    regularisation : float, default 1e-4
        What is added to the variances of the codes.

    Attributes
    ----------
    correlations_ : ndarray
        The canonical correlations of the training codes in each dimension of z, the mean over pairs of views, (Z,).
    """

    full_batch_below = 5000
    samples_per_dimension = 2
    fewest_views = 2

    likelihood: LikelihoodSpec = "mse"
    condition: Literal["both", "encoder", "decoder"] = "decoder"
    regularisation: Annotated[float, Ge(0)] = 1e-4

    def latent(self) -> Latent:
        """Codes without noise."""
        return Point(self.z_dim)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        """Each view keeps its code, aligned by linear CCA after training."""
        return CanonicalCodes(len(view_names), self.z_dim, self.regularisation)

    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """How well the canonical codes of each sample agree, Σ z_m · z_n over pairs: their correlations on average."""
        z = cast(CanonicalCodes, network.fusion).cca.project(network.experts(batch).mean)
        if batch.present is not None:
            z = z * batch.present.T.unsqueeze(-1)
        return torch.stack([(z[m] * z[n]).sum(-1) for m, n in combinations(range(len(z)), 2)]).sum(0)

    @property
    def correlations_(self) -> np.ndarray:
        """The canonical correlations of the training codes in each dimension of z."""
        return cast(CanonicalCodes, self.fitted_network().fusion).cca.correlations.numpy()
