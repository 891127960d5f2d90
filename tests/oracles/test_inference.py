"""Draws from posteriors, against their laws."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from manyview.fusion import MoE, PoE, mixture
from manyview.inference import components, draw

from .helpers import double, laplace_experts, normal_experts

M, B, Z = 3, 4, 2
PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, True, False], [True, True, False]])
# Components so far apart that each draw tells which one it came from.
APART = 100.0 * np.arange(M)[:, None, None] * np.ones((M, B, Z))


def origins(z):
    """The component of each draw."""
    return np.round(z.numpy()[..., 0] / 100).astype(int)


@pytest.mark.parametrize("k", [1, 2, 5, 6, 100])
@pytest.mark.parametrize("present", [None, PRESENT], ids=["complete", "missing"])
def test_draws_are_systematic(k, present):
    """Of K draws, component s has ⌊K π_s⌋ or ⌈K π_s⌉; absent views have none."""
    q = MoE()(normal_experts(APART, np.ones((M, B, Z))), present)
    torch.manual_seed(0)
    for _ in range(20):
        chosen = origins(draw(q, k))
        for b in range(B):
            mask = np.ones(M, dtype=bool) if present is None else present[b].numpy()
            expected = k * mask / mask.sum()
            counts = np.bincount(chosen[:, b], minlength=M)
            assert (counts >= np.floor(expected - 1e-9)).all()
            assert (counts <= np.ceil(expected + 1e-9)).all()


@pytest.mark.parametrize("weights", [[0.2, 0.5, 0.3], [0.01, 0.98, 0.01]])
def test_each_draw_picks_a_component_with_its_weight(weights):
    """P(draw k comes from s) = π_s for every k, also with unequal weights: no position favours a component."""
    n, k = 20_000, 3
    loc = 100.0 * np.arange(M)[:, None, None] * np.ones((M, n, 1))
    q = mixture(normal_experts(loc, np.ones_like(loc)), weights=double(weights))
    torch.manual_seed(0)
    chosen = origins(draw(q, k))
    for position in range(k):
        share = np.bincount(chosen[position], minlength=M) / n
        error = np.sqrt(np.multiply(weights, np.subtract(1, weights)) / n)
        assert (np.abs(share - weights) < 4.5 * error).all()


@pytest.mark.parametrize("make", [normal_experts, laplace_experts], ids=["normal", "laplace"])
def test_draws_have_the_mixtures_law(make):
    """Each draw, over rows, follows the mixture's distribution function (Kolmogorov-Smirnov)."""
    n = 5000
    loc, scale = np.array([-2.0, 0.0, 1.5]), np.array([0.3, 1.0, 0.5])
    shape = (M, n, 1)
    q = MoE()(make(np.broadcast_to(loc[:, None, None], shape), np.broadcast_to(scale[:, None, None], shape)))
    law = q.component_distribution.base_dist

    def cdf(x):
        values = torch.stack([type(law)(double(a), double(s)).cdf(double(x)) for a, s in zip(loc, scale, strict=True)])
        return values.mean(0).numpy()

    torch.manual_seed(0)
    z = draw(q, 4).numpy()[..., 0]
    for row in z:
        assert kstest(row, cdf).pvalue > 1e-3
    assert kstest(draw(q, 1).numpy()[0, :, 0], cdf).pvalue > 1e-3


def test_draws_from_a_product_are_independent():
    """From a single normal posterior: K independent draws."""
    q = PoE()(normal_experts(np.zeros((1, 1, 1)), np.ones((1, 1, 1))))
    torch.manual_seed(0)
    z = draw(q, 5000).numpy().ravel()
    assert kstest(z, norm(scale=np.sqrt(0.5)).cdf).pvalue > 1e-3


def test_components():
    """The means and weights of a mixture's components; absent views weigh nothing; one component of a product."""
    experts = normal_experts(APART, np.ones((M, B, Z)))
    means, weights = components(MoE()(experts, PRESENT))
    np.testing.assert_allclose(means.numpy(), APART)
    mask = PRESENT.numpy().T
    np.testing.assert_allclose(weights.numpy(), mask / mask.sum(0))
    q = PoE()(experts)
    means, weights = components(q)
    np.testing.assert_allclose(means[0].numpy(), q.mean.numpy())
    assert weights.tolist() == [[1.0] * B]
