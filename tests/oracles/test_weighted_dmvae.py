"""WeightedDMVAE: q(z | X) ∝ Π q(z | x_m)^α_m with Σ_m α_m = 1. Its objective is DMVAE's, proven in test_dmvae."""

import numpy as np
import pytest
import torch

from manyview import WeightedDMVAE
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview

from .test_dmvae import LINEAR


@pytest.fixture(scope="module")
def views():
    """Two views that share two factors and have one each to themselves, the second under five times the noise."""
    return make_multiview(1000, (20, 20), n_shared=2, n_private=1, noise=(0.3, 1.5), random_state=0)


@pytest.fixture(scope="module")
def fitted(views):
    return WeightedDMVAE(z_dim=2, h_dim=1, max_epochs=30, random_state=0, verbose=False, **LINEAR).fit(views)


@pytest.fixture(scope="module")
def experts(fitted, views):
    """Means and precisions of q(z | x_m), (M, n, Z)."""
    with torch.no_grad():
        q = fitted.network_.experts(make_batch(views, fitted.views_))
    return q.mean.numpy(), 1 / q.variance.numpy()


def test_weights_are_learned_on_the_simplex(fitted):
    """α_m > 0, Σ_m α_m = 1 in each dimension; they start equal, and the view that says less loses weight."""
    assert fitted.weights_.shape == (2, 2)
    assert (fitted.weights_ > 0).all()
    np.testing.assert_allclose(fitted.weights_.sum(0), 1, atol=1e-6)
    assert (fitted.weights_[0] > 0.75).all()


def test_latents_are_those_of_the_weighted_product(fitted, views, experts):
    """T = Σ_m α_m T_m, μ = Σ_m α_m T_m μ_m / T, with the α that ``weights_`` shows: no prior among the experts."""
    mean, precision = experts
    weighted = fitted.weights_[:, None] * precision
    np.testing.assert_allclose(fitted.transform(views), (weighted * mean).sum(0) / weighted.sum(0), atol=1e-5)
    with torch.no_grad():
        q = fitted.network_.posterior(make_batch(views, fitted.views_))
    np.testing.assert_allclose(1 / q.variance.numpy(), weighted.sum(0), rtol=1e-4)
    assert (1 / q.variance.numpy() < precision.max(0)).all()


def test_a_view_alone_is_its_own_joint_posterior(fitted, views, experts):
    """Where views are missing, those present share the whole weight: for one view that is q(z | x_m)."""
    for m, name in enumerate(views.names):
        np.testing.assert_allclose(fitted.transform(views, given=[name]), experts[0][m], atol=1e-5)
