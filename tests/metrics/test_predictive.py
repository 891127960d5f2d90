"""Coverage of predictive intervals against the normal distribution."""

import numpy as np
import pytest
from scipy.stats import norm

import manyview as mv
from manyview.metrics import calibration

from .helpers import exact_model, one_dimension, without

LEVELS = [0.3, 0.8, 0.95]


@pytest.fixture(scope="module")
def truth():
    return one_dimension()


@pytest.fixture(scope="module")
def views(truth):
    return without(truth.sample(3000, random_state=1)[0], {"view_0": range(50), "view_1": range(30, 100)})


@pytest.mark.parametrize(("n_samples", "noise"), [(7, 1.0), (100, 1.0), (100, 0.5)])
def test_coverage_is_the_level_if_the_model_is_true_and_less_if_it_claims_less_noise(truth, views, n_samples, noise):
    """Of x ~ N(m, s²) and predictive intervals of N(m, s'²): 2 Φ(a s'/s) - 1; for any K if these are the same."""
    model = exact_model(truth, noise=noise)
    table = calibration(model, views, given="view_0", levels=LEVELS, n_samples=n_samples)
    assert table.index.tolist() == [(name, level) for name in ("view_1", "view_2") for level in LEVELS]
    variance = 1 / (1 + (truth.loadings[0][:, 0] ** 2 / truth.noise[0] ** 2).sum())
    for name, m in (("view_1", 1), ("view_2", 2)):
        signal, sigma = truth.loadings[m][:, 0] ** 2 * variance, truth.noise[m]
        s, claimed = np.sqrt(signal + sigma**2), np.sqrt(signal + (noise * sigma) ** 2)
        for level in LEVELS:
            row, a = table.loc[(name, level)], norm.ppf((1 + level) / 2)
            expected = (2 * norm.cdf(a * claimed / s) - 1).mean()
            # With K draws and a model that is not true, the quantiles' own noise matters some.
            assert abs(row["coverage"] - expected) < 4 * row["standard_error"] + (noise < 1) * 0.01
            assert row["standard_error"] < 0.01
            if n_samples == 100:
                assert row["width"] == pytest.approx(2 * a * claimed.mean(), rel=0.05)
        assert row["n"] == (2950 if m == 2 else 2900) * len(sigma)


def test_the_standard_error_is_the_spread_over_samples(truth):
    model, found = exact_model(truth), []
    for seed in range(40):
        views = truth.sample(50, random_state=seed)[0]
        found.append(calibration(model, views, given="view_0", target="view_2", levels=[0.8], n_samples=20).iloc[0])
    spread = np.std([row["coverage"] for row in found], ddof=1)
    assert np.mean([row["standard_error"] for row in found]) == pytest.approx(spread, rel=0.4)


def test_ties_are_broken_at_random():
    """Draws that all equal the data are as good as draws can be."""
    from manyview.metrics.predictive import _rank

    u = _rank(np.zeros((200, 50)), np.zeros((9, 200, 50)), np.random.RandomState(0))
    np.testing.assert_allclose(np.quantile(u, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


def test_views_without_intervals_are_refused_or_left_out():
    rng = np.random.RandomState(0)
    data = {"number": rng.standard_normal((40, 2)), "binary": rng.randint(2, size=(40, 3)).astype(float)}
    model = mv.MVAE(z_dim=1, max_epochs=1, random_state=0, verbose=False).fit(data)
    assert calibration(model, data, levels=[0.5], n_samples=5).index.tolist() == [("number", 0.5)]
    with pytest.raises(ValueError, match="Bernoulli, which has no predictive intervals"):
        calibration(model, data, target="binary")
    with pytest.raises(ValueError, match="no view is left"):
        calibration(model, data, given="number")
    with pytest.raises(ValueError, match="above 0 and below 1"):
        calibration(model, data, levels=[95.0])
    with pytest.raises(ValueError, match="no sample has these views"):
        calibration(model, {"number": data["number"]}, given="binary")
    model = mv.AE(z_dim=1, max_epochs=1, random_state=0, verbose=False).fit(data)
    with pytest.raises(ValueError, match="no view is left"):
        calibration(model, data)
