"""log_likelihood against the closed-form evidence of linear-Gaussian models, and its errors against what they say."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import manyview as mv
from manyview.metrics import log_likelihood
from manyview.metrics.likelihood import _log_mean

from .helpers import exact_model, one_dimension, without


@pytest.fixture(scope="module")
def truth():
    return one_dimension()


@pytest.fixture(scope="module")
def views(truth):
    return without(truth.sample(30, random_state=1)[0], {"view_0": [0, 1], "view_1": [1, 2, 3], "view_2": [4]})


@pytest.fixture(scope="module")
def exact(truth):
    return exact_model(truth)


@pytest.fixture(scope="module")
def rough(truth):
    return exact_model(truth, sharpness=0.4)


def test_exact_posteriors_give_the_evidence_of_each_sample(truth, views, exact):
    """All weights are p(X): no noise over draws, no gap, every draw effective."""
    found, expected = log_likelihood(exact, views, n_samples=50), truth.log_evidence(views)
    np.testing.assert_allclose(found.samples, expected, atol=1e-4)
    assert found.value == pytest.approx(expected.mean(), abs=1e-4)
    assert found.standard_error == pytest.approx(expected.std(ddof=1) / np.sqrt(30), rel=1e-4)
    assert found.monte_carlo_error < 1e-5
    assert found.effective_samples == pytest.approx(50, abs=1e-3)
    assert found.gap == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("given", ["view_0", ["view_2", "view_0"], [0, 1]])
def test_given_views_are_conditioned_on(truth, views, exact, given):
    """Log p(x_rest | x_given), of the samples that have all the given views and some others."""
    names = [name if isinstance(name, str) else views.names[name] for name in np.atleast_1d(given).tolist()]
    names = [views.names[int(name)] if name.isdigit() else name for name in names]
    columns = [views.names.index(name) for name in names]
    rest = [m for m in range(3) if m not in columns]
    rows = views.present[:, columns].all(axis=1) & views.present[:, rest].any(axis=1)
    known = {name: (views.present[:, m] if m in columns else np.zeros(30, bool)) for m, name in enumerate(views.names)}
    expected = truth.log_evidence(views) - truth.log_evidence(mv.Views(views, present=known))
    found = log_likelihood(exact, views, given=given, n_samples=20)
    assert rows.sum() < 30
    assert found.n == rows.sum()
    assert np.isnan(found.samples).tolist() == (~rows).tolist()
    np.testing.assert_allclose(found.samples[rows], expected[rows], atol=1e-4)
    assert found.value == pytest.approx(expected[rows].mean(), abs=1e-4)


def test_samples_without_views_are_not_counted(truth, exact):
    views = without(truth.sample(4, random_state=2)[0], {"view_0": [2], "view_1": [2], "view_2": [2]})
    found = log_likelihood(exact, views, n_samples=5)
    assert found.n == 3
    assert np.isnan(found.samples).tolist() == [False, False, True, False]


@pytest.mark.parametrize("n_samples", [3, 10, 13])
def test_the_estimate_of_the_evidence_is_unbiased(truth, rough, n_samples):
    """E[p̂(X)] = p(X), also where the series are not of the same length."""
    row = truth.sample(1, random_state=3)[0]
    found = log_likelihood(rough, row[np.zeros(4000, int)], n_samples=n_samples, random_state=1)
    ratio = np.exp(found.samples - truth.log_evidence(row))
    assert ratio.std() > 0.05
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(4000)


def test_series_of_draws_are_put_together():
    """The log of the mean of all weights, from the log-means of series of different lengths."""
    log_w = np.random.RandomState(0).standard_normal((7, 3)) - 1e4
    series = [log_w[:2], log_w[2:3], log_w[3:]]
    log_means = np.stack([logsumexp(part, axis=0) - np.log(len(part)) for part in series])
    np.testing.assert_allclose(_log_mean(log_means, np.array([2, 1, 4])), logsumexp(log_w, axis=0) - np.log(7))


def second_moments(truth, views, sharpness):
    """E[w²] / E[w]² = ∫ p(z | X)² / q(z) dz of each sample, on a grid."""
    z = np.linspace(-12, 12, 20_001)
    out = []
    for row in range(len(views)):
        data = [views.array(name)[row] for name in views.names]
        precision = np.array([(w[:, 0] ** 2 / s**2).sum() for w, s in zip(truth.loadings, truth.noise, strict=True)])
        pull = np.array(
            [
                (w[:, 0] / s**2) @ (x - b)
                for w, b, s, x in zip(truth.loadings, truth.offsets, truth.noise, data, strict=True)
            ]
        )
        p, q = (1 + a * precision.sum() for a in (1, sharpness))
        posterior = norm.pdf(z, pull.sum() / p, p**-0.5)
        proposal = norm.pdf(z, sharpness * pull.sum() / q, q**-0.5)
        out.append((posterior**2 / proposal).sum() * (z[1] - z[0]))
    return np.array(out)


def test_effective_samples_are_what_integration_gives(truth, rough):
    """K / (1 + v), with 1 + v the second moment of the weights."""
    views = truth.sample(200, random_state=4)[0]
    expected = (1000 / second_moments(truth, views, 0.4)).mean()
    assert expected < 900
    assert log_likelihood(rough, views, n_samples=1000).effective_samples == pytest.approx(expected, rel=0.05)


def test_monte_carlo_error_is_the_spread_over_seeds(truth, rough):
    views = truth.sample(50, random_state=5)[0]
    found = [log_likelihood(rough, views, n_samples=100, random_state=seed) for seed in range(40)]
    spread = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.monte_carlo_error for one in found]) == pytest.approx(spread, rel=0.4)


def test_the_gap_is_the_gain_from_twice_the_draws_and_closes(truth, rough):
    """Bounds rise with K: the gap at K is the difference of expectations at K and K/2."""
    views = truth.sample(1, random_state=6)[0][np.zeros(4000, int)]
    four, two = (log_likelihood(rough, views, n_samples=k, random_state=k) for k in (4, 2))
    noise = np.hypot(four.standard_error, two.standard_error)
    assert abs(four.gap - (four.value - two.value)) < 4 * noise
    assert four.gap > 5 * noise
    assert 0 <= log_likelihood(rough, views[:100], n_samples=1000).gap < four.gap / 20


def test_a_single_draw_says_nothing_of_its_noise(views, exact):
    found = log_likelihood(exact, views, n_samples=1)
    assert np.isnan(found.monte_carlo_error)
    assert np.isnan(found.effective_samples)


def test_seeds_are_honoured(views, rough):
    one, same, other = (log_likelihood(rough, views, n_samples=10, random_state=s).samples for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert "nats" in repr(log_likelihood(rough, views, n_samples=10))


def test_what_has_no_likelihood_is_refused(views, exact):
    model = mv.AE(z_dim=1, max_epochs=1, random_state=0, verbose=False).fit(views)
    with pytest.raises(ValueError, match="AE states no log-likelihood"):
        log_likelihood(model, views)
    model = mv.MVAE(z_dim=1, max_epochs=1, likelihood="mse", random_state=0, verbose=False).fit(views)
    with pytest.raises(ValueError, match="MSE, which is not a density"):
        log_likelihood(model, views)
    with pytest.raises(ValueError, match="nothing left"):
        log_likelihood(exact, views, given=[0, 1, 2])
    with pytest.raises(ValueError, match="did you mean 'view_0'"):
        log_likelihood(exact, views, given="view0")
    with pytest.raises(ValueError, match="no sample has these views and others"):
        log_likelihood(exact, views.select("view_1"), given="view_0")
