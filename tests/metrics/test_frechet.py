"""fid against the distance of two normal distributions in closed form, and against a general matrix square root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from manyview.metrics import fid

rng = np.random.default_rng(0)


def samples(mean, covariance, n=50):
    """Samples whose mean and unbiased covariance are exactly these."""
    x = rng.standard_normal((n, len(mean)))
    x = (x - x.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return mean + x @ np.linalg.cholesky(covariance).T


def test_independent_features_in_closed_form():
    """Σ (μ - ν)² + (σ - τ)²."""
    mu, nu, sigma, tau = rng.standard_normal(4), rng.standard_normal(4), rng.uniform(1, 2, 4), rng.uniform(0.1, 2, 4)
    x, y = samples(mu, np.diag(sigma**2)), samples(nu, np.diag(tau**2))
    assert fid(x, y) == pytest.approx(((mu - nu) ** 2 + (sigma - tau) ** 2).sum())


def test_any_covariances_by_the_square_root_of_their_product():
    """‖μ - ν‖² + tr(Σ + T - 2 (Σ T)^½)."""
    a, b = (m @ m.T + 0.1 * np.eye(5) for m in rng.standard_normal((2, 5, 5)))
    mu, nu = rng.standard_normal((2, 5))
    x, y = samples(mu, a), samples(nu, b)
    expected = ((mu - nu) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert fid(x, y) == pytest.approx(expected)
    assert fid(y, x) == pytest.approx(expected)


def test_more_features_than_samples():
    """Singular covariances: the distance of samples from themselves is 0, from shifted ones the shift."""
    x = rng.standard_normal((6, 40))
    assert fid(x, x) == pytest.approx(0, abs=1e-6)
    assert fid(x, x + 1) == pytest.approx(40, abs=1e-5)


def test_features_and_missing_rows():
    x, y = rng.standard_normal((30, 2, 2)), rng.standard_normal((20, 2, 2))

    def features(images):
        return images.mean(axis=(1, 2))[:, None] * 3

    flat, other = (3 * v.mean(axis=(1, 2)) for v in (x, y))
    expected = (flat.mean() - other.mean()) ** 2 + (flat.std(ddof=1) - other.std(ddof=1)) ** 2
    gaps = np.concatenate([x, np.full((4, 2, 2), np.nan)])
    assert fid(gaps, y, features=features) == pytest.approx(expected)
    assert fid(gaps, y) == pytest.approx(fid(x.reshape(30, 4), y.reshape(20, 4)))


def test_bad_arguments_are_explained():
    x = rng.standard_normal((5, 2))
    with pytest.raises(ValueError, match="real has NaN"):
        fid(np.where(x > 0, x, np.nan) * [1, 0] + [0, 1], x)
    with pytest.raises(ValueError, match="generated has 1 samples"):
        fid(x, x[:1])
    with pytest.raises(ValueError, match=r"it must give \(n, F\)"):
        fid(x, x, features=lambda x: x[:, 0])
    with pytest.raises(ValueError, match="2 features, and generated ones 3"):
        fid(x, rng.standard_normal((5, 3)))
