"""Divergences from the prior, against integrals."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import laplace, norm

from manyview.latent import Gaussian, Laplacian, SparseGaussian

from .helpers import laplace_experts, normal_experts


def integral_kl(law, loc, scale):
    """KL(law(loc, scale) ‖ law(0, 1)) = ∫ q log q / p, by adaptive quadrature."""
    q = law(loc, scale)
    reach = 40 * scale if law is laplace else 12 * scale

    def integrand(z):
        return np.exp(q.logpdf(z)) * (q.logpdf(z) - law.logpdf(z))

    kinks = [x for x in (0.0, loc) if abs(x - loc) < reach]
    value, _ = quad(integrand, loc - reach, loc + reach, points=kinks, limit=400, epsabs=1e-10)
    return value


@pytest.mark.parametrize("loc", [-3.0, -0.4, 0.0, 1.5])
@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 2.5])
@pytest.mark.parametrize(
    ("latent", "make", "law"),
    [(Gaussian(1), normal_experts, norm), (Laplacian(1), laplace_experts, laplace)],
    ids=["Gaussian", "Laplacian"],
)
def test_kl_equals_the_integral(latent, make, law, loc, scale):
    """KL(q ‖ p) = ∫ q(z) log q(z) / p(z) dz."""
    kl = latent.double().kl(make([[loc]], [[scale]]))
    assert kl.item() == pytest.approx(integral_kl(law, loc, scale), abs=1e-7)


@pytest.mark.parametrize("latent", [Gaussian(3), Laplacian(3)], ids=["Gaussian", "Laplacian"])
def test_kl_sums_over_dimensions(latent):
    """KL of a vector is the sum over its independent dimensions, and KL(p ‖ p) = 0."""
    h = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    single = type(latent)(1)
    parts = sum(single.kl(single(h[:, [i, i + 3]])) for i in range(3))
    torch.testing.assert_close(latent.kl(latent(h)), parts)
    assert latent.kl(latent(torch.zeros(1, 6))).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("latent", "law", "factor"), [(Gaussian(2), norm, 0.5), (Laplacian(2), laplace, 1.0)])
def test_encoders_state_location_and_log_scale(latent, law, factor):
    """h = (μ, log σ²) for the normal, (μ, log b) for the Laplace distribution."""
    h = torch.tensor([[0.3, -1.2, 0.4, -0.8]], dtype=torch.float64)
    z = torch.tensor([[0.1, 0.5]], dtype=torch.float64)
    expected = law.logpdf(z[0], [0.3, -1.2], np.exp(factor * np.array([0.4, -0.8]))).sum()
    assert latent(h).log_prob(z).item() == pytest.approx(expected, abs=1e-12)
    prior = latent.double().prior.log_prob(z)
    assert prior.item() == pytest.approx(law.logpdf(z[0]).sum(), abs=1e-12)


def exact_sparse_kl(alpha):
    """KL(N(1, α) ‖ 1/|z|) up to its constant: -½ log α + E log|1 + √α ε|, the entropy's constant left out."""
    root = np.sqrt(alpha)
    kink = -1 / root

    def integrand(e):
        return norm.pdf(e) * np.log(np.abs(1 + root * e))

    edges = sorted({-12.0, 12.0, *([kink] if -12 < kink < 12 else []), *(kink + d for d in (-1e-3, 1e-3))})
    edges = [e for e in edges if -12 <= e <= 12]
    return -0.5 * np.log(alpha) + sum(quad(integrand, a, b, limit=200)[0] for a, b in pairwise(edges))


def test_sparse_kl_approximates_the_exact_one():
    """KL(N(μ, αμ²) ‖ log-uniform), zero for α → ∞, within 0.01 nat for log α in [-8, 8], whatever μ is."""
    limit = np.euler_gamma / -2 - 0.5 * np.log(2)  # E log|ε|, to which -½ log α + E log|1 + √α ε| tends
    assert exact_sparse_kl(1e9) == pytest.approx(limit, abs=1e-4)
    latent = SparseGaussian(1)
    for log_alpha in np.linspace(-8, 8, 33):
        with torch.no_grad():
            latent.log_alpha.fill_(log_alpha)
        kl = latent.kl(latent(torch.tensor([[2.0], [-0.3]])))
        expected = exact_sparse_kl(np.exp(log_alpha)) - limit
        assert kl.tolist() == pytest.approx([expected] * 2, abs=0.01)


def test_sparse_posterior_and_dropout_rate():
    """q = N(μ, α μ²), with the dropout rate p = α / (1 + α), that is α = p / (1 - p)."""
    latent = SparseGaussian(3, threshold=0.2)
    log_alpha = torch.tensor([-6.0, -1.0, 2.0])
    with torch.no_grad():
        latent.log_alpha.copy_(log_alpha)
    alpha = log_alpha.exp()
    torch.testing.assert_close(latent.dropout_rate.detach(), alpha / (1 + alpha))
    mean = torch.tensor([[1.0, -2.0, 0.5]])
    q = latent(mean)
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.variance.detach(), alpha * mean**2, rtol=1e-3, atol=1e-5)


def test_pruning_zeroes_what_is_above_the_threshold():
    """After training z_i = 0 where p_i > threshold, exactly, and nothing else changes."""
    latent = SparseGaussian(4, threshold=0.2)
    rates = torch.tensor([0.19, 0.21, 0.01, 0.9])
    with torch.no_grad():
        latent.log_alpha.copy_(rates.logit())
    kept = torch.tensor([True, False, True, False])
    assert torch.equal(latent.kept, kept)
    q = latent(torch.tensor([[1.0, 2.0, -3.0, 4.0]]))
    pruned = latent.prune(q)
    assert torch.equal(pruned.mean, torch.tensor([[1.0, 0.0, -3.0, 0.0]]))
    torch.testing.assert_close(pruned.variance[:, kept], q.variance[:, kept])
    assert (pruned.sample((100,))[..., ~kept].abs() < 1e-4).all()
