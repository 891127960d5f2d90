"""The oracle itself: the closed forms of LinearGaussian against scipy and against integrals over z."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from manyview.datasets import make_linear_gaussian

from .helpers import with_gaps

GAPS = [(0, "view_0", None), (1, "view_1", [1, 3]), (2, "view_0", [0]), (2, "view_1", None), (3, "view_1", [2])]


@pytest.fixture(scope="module")
def truth():
    return make_linear_gaussian((5, 4), 2, noise=0.5, random_state=0)


@pytest.fixture(scope="module", params=["complete", "gaps"])
def views(request, truth):
    views, _ = truth.sample(6, random_state=1)
    return views if request.param == "complete" else with_gaps(views, GAPS)


def observed(truth, views):
    """Of each row: the data, loadings, offsets and noise of what was observed."""
    x = np.hstack([views.array(name) for name in views.names])
    w, b, sigma = np.vstack(truth.loadings), np.hstack(truth.offsets), np.hstack(truth.noise)
    for row in x:
        o = ~np.isnan(row)
        yield row[o], w[o], b[o], sigma[o]


def test_evidence_is_the_marginal_normal_density(truth, views):
    """p(X) = N(X; b, W W' + Ψ), of the observed entries."""
    expected = [
        multivariate_normal(b, w @ w.T + np.diag(sigma**2)).logpdf(x) for x, w, b, sigma in observed(truth, views)
    ]
    np.testing.assert_allclose(truth.log_evidence(views), expected, rtol=1e-10)


def test_posterior_is_the_conditional_of_the_joint_normal(truth, views):
    """p(z | X) by conditioning (z, X) ~ N((0, b), [[I, W'], [W, W W' + Ψ]]): another route than precisions."""
    means, covariances = truth.posterior(views)
    for i, (x, w, b, sigma) in enumerate(observed(truth, views)):
        gain = w.T @ np.linalg.inv(w @ w.T + np.diag(sigma**2))
        np.testing.assert_allclose(means[i], gain @ (x - b), atol=1e-10)
        np.testing.assert_allclose(covariances[i], np.eye(2) - gain @ w, atol=1e-10)


def test_evidence_and_posterior_by_integration(truth, views):
    """∫ p(z) p(X | z) dz on a grid in two dimensions, and the moments of p(z) p(X | z) / p(X)."""
    axis = np.linspace(-6, 6, 601)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    cell = (axis[1] - axis[0]) ** 2
    means, covariances = truth.posterior(views)
    evidence = truth.log_evidence(views)
    for i, (x, w, b, sigma) in enumerate(observed(truth, views)):
        log_joint = norm.logpdf(z).sum(1) + norm.logpdf(x, z @ w.T + b, sigma).sum(1)
        top = log_joint.max()
        weight = np.exp(log_joint - top)
        assert evidence[i] == pytest.approx(top + np.log(weight.sum() * cell), abs=1e-6)
        weight /= weight.sum()
        mean = weight @ z
        np.testing.assert_allclose(means[i], mean, atol=1e-6)
        np.testing.assert_allclose(covariances[i], (z - mean).T @ ((z - mean) * weight[:, None]), atol=1e-6)


def test_samples_have_the_moments_of_the_model(truth):
    """Draws have mean b and covariance W W' + Ψ, and come with the z that made them."""
    n = 20_000
    views, z = truth.sample(n, random_state=2)
    x = np.hstack([views.array(name) for name in views.names])
    w, b, sigma = np.vstack(truth.loadings), np.hstack(truth.offsets), np.hstack(truth.noise)
    covariance = w @ w.T + np.diag(sigma**2)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(x.mean(0) - b) < 5 * spread / np.sqrt(n)).all()
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.05 * spread.max() ** 2)
    residual = x - b - z @ w.T
    np.testing.assert_allclose(residual.std(0), sigma, rtol=0.03)
