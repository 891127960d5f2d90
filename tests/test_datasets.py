"""Simulated data are what they say they are, and real ones arrive as they should."""

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import block_diag
from sklearn.linear_model import LinearRegression

from manyview.data import Views
from manyview.datasets import load_digits, make_linear_gaussian, make_multiview


def test_digits():
    views = load_digits()
    image, label = views.array("image"), views.array("label")
    assert views.names == ("image", "label")
    assert image.shape == (1797, 64)
    assert label.shape == (1797, 10)
    assert image.dtype == label.dtype == np.float32
    assert (image.min(), image.max()) == (0, 1)
    np.testing.assert_array_equal(label.sum(1), 1)
    assert set(np.unique(label)) == {0, 1}
    np.testing.assert_array_equal(label.sum(0), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert label[:10].argmax(1).tolist() == list(range(10))
    assert views.present.all()
    load_digits().array("image")[:] = 0
    assert load_digits().array("image").max() == 1


def test_shapes_names_and_factors():
    views, factors = make_multiview(30, (5, 1, 7), n_shared=3, n_private=2, return_factors=True, random_state=0)
    assert isinstance(views, Views)
    assert views.shapes == {"view_0": (5,), "view_1": (1,), "view_2": (7,)}
    assert len(views) == 30
    assert {name: x.shape for name, x in factors.items()} == {
        "shared": (30, 3),
        **{f"private_{m}": (30, 2) for m in range(3)},
    }
    assert isinstance(make_multiview(10, random_state=0), Views)


def test_the_seed_decides_everything():
    def draw(seed, **options):
        return make_multiview(40, (3, 2), missing=0.3, random_state=seed, **options)

    one, same, other = draw(0), draw(0), draw(1)
    for name in one:
        np.testing.assert_array_equal(one.array(name), same.array(name))
        assert not np.array_equal(one.array(name), other.array(name), equal_nan=True)
    stream = np.random.RandomState(0)
    assert not np.array_equal(draw(stream).array("view_0"), draw(stream).array("view_0"), equal_nan=True)
    np.testing.assert_array_equal(draw(np.random.RandomState(0)).array("view_0"), one.array("view_0"))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draw(3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    with_factors, _ = draw(0, return_factors=True)
    np.testing.assert_array_equal(with_factors.array("view_1"), one.array("view_1"))


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("n_shared", "n_private"), [(2, 0), (1, 3), (0, 2)])
def test_variances(noise, n_shared, n_private):
    views = make_multiview(20_000, (4, 6), n_shared=n_shared, n_private=n_private, noise=noise, random_state=0)
    for name in views:
        x = views.array(name).astype(float)
        # the standard error of a normal variance is sqrt(2 / n): 1 % of it
        np.testing.assert_allclose(x.var(axis=0), 1 + noise**2, rtol=0.05)
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.05)


def test_what_is_left_after_the_factors_is_noise():
    views, factors = make_multiview(
        5000, (4, 6), n_shared=2, n_private=1, noise=0.5, return_factors=True, random_state=0
    )
    for m, name in enumerate(views):
        x = views.array(name).astype(float)
        own = np.hstack([factors["shared"], factors[f"private_{m}"]])
        residual = x - LinearRegression().fit(own, x).predict(own)
        np.testing.assert_allclose(residual.std(axis=0), 0.5, rtol=0.05)
        assert all(stats.kstest(column / 0.5, "norm").pvalue > 1e-4 for column in residual.T)
        covariance = np.corrcoef(residual.T)
        assert np.abs(covariance - np.eye(len(covariance))).max() < 0.06
        # the other view's private factor explains nothing
        other = factors[f"private_{1 - m}"]
        assert LinearRegression().fit(other, x).score(other, x) < 0.01
        # the shared ones and its own explain more than the shared ones alone
        shared = LinearRegression().fit(factors["shared"], x).score(factors["shared"], x)
        assert 0.02 < shared < LinearRegression().fit(own, x).score(own, x) - 0.02


def test_factors_are_standard_normal_and_independent():
    _, factors = make_multiview(5000, (2, 2), n_shared=2, n_private=2, return_factors=True, random_state=0)
    z = np.hstack(list(factors.values()))
    np.testing.assert_allclose(np.cov(z.T), np.eye(6), atol=0.07)
    assert all(stats.kstest(column, "norm").pvalue > 1e-4 for column in z.T)


def test_without_private_factors_views_share_all_their_signal():
    views = make_multiview(2000, (5, 5), n_shared=2, noise=0.0, random_state=0)
    a, b = views.array("view_0"), views.array("view_1")
    assert LinearRegression().fit(a, b).score(a, b) == pytest.approx(1, abs=1e-5)


def test_without_shared_factors_views_are_independent():
    views = make_multiview(5000, (3, 3), n_shared=0, n_private=2, random_state=0)
    a, b = views.array("view_0"), views.array("view_1")
    assert LinearRegression().fit(a, b).score(a, b) < 0.01


def test_a_bent_signal():
    views, factors = make_multiview(
        3000, (6,), n_shared=1, noise=0.0, nonlinear=True, return_factors=True, random_state=0
    )
    x, z = views.array("view_0"), factors["shared"]
    assert np.abs(x).max() <= 1
    # one factor, unit loadings: each feature is tanh(± 1.5 z)
    np.testing.assert_allclose(np.abs(x), np.tanh(1.5 * np.abs(z)) * np.ones((1, 6)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("n_views", [2, 4])
def test_missing_rates(missing, n_views):
    n = 20_000
    views = make_multiview(n, (2,) * n_views, missing=missing, random_state=0)
    present = views.present
    assert present.any(axis=1).all()  # no sample loses all its views
    # those that would lose all keep one at random: the rate is a little lower
    expected = missing - missing**n_views / n_views
    np.testing.assert_allclose(1 - present.mean(axis=0), expected, atol=4 * np.sqrt(0.25 / n) + 1e-9)
    for m, name in enumerate(views):  # whole rows, and nothing else
        np.testing.assert_array_equal(np.isnan(views.array(name)).all(axis=1), ~present[:, m])
        np.testing.assert_array_equal(np.isnan(views.array(name)).any(axis=1), ~present[:, m])


def test_missing_completely_at_random():
    n = 20_000
    views, factors = make_multiview(n, (3, 3, 3), missing=0.3, return_factors=True, random_state=0)
    gone = ~views.present[:, 0]
    assert abs(factors["shared"][gone].mean()) < 4 / np.sqrt(gone.sum())
    both = (gone & ~views.present[:, 1]).mean()
    # P(view 0 and view 1 gone) = p² less those where view 2 was gone as well and one of the two was given back
    assert both == pytest.approx(0.3**2 - 0.3**3 * 2 / 3, abs=0.01)


def test_one_view_is_never_missing():
    assert make_multiview(200, (3,), missing=0.9, random_state=0).present.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_shared": 0}, "n_shared=0, n_private=0: there must be at least one factor"),
        ({"missing": 1.0}, r"missing=1.0: the share of missing entries must be in \[0, 1\)"),
        ({"missing": -0.1}, r"missing=-0.1: the share of missing entries must be in \[0, 1\)"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_multiview(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"noise": -1.0}, {"n_samples": 0}, {"n_samples": -5}, {"n_features": ()}, {"n_shared": -1, "n_private": 3},
     {"n_features": (3, 0)}],
    ids=str,
)  # fmt: skip
def test_other_numbers_out_of_range(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"^{name}="):
        make_multiview(**arguments)


# ---- the linear-Gaussian oracle -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear():
    return make_linear_gaussian((3, 2), z_dim=2, random_state=0)


def test_its_evidence_and_posterior_are_those_of_the_joint_normal(linear):
    """By conditioning the joint covariance of (z, x), rather than by summing precisions."""
    views, _ = linear.sample(20, random_state=1)
    w, b, s = (np.concatenate(parts) for parts in (linear.loadings, linear.offsets, linear.noise))
    x = np.hstack([views.array(name) for name in views])
    covariance = w @ w.T + np.diag(s**2)
    np.testing.assert_allclose(
        linear.log_evidence(views), stats.multivariate_normal(b, covariance).logpdf(x), rtol=1e-6
    )
    mean, spread = linear.posterior(views)
    gain = w.T @ np.linalg.inv(covariance)
    np.testing.assert_allclose(mean, (x - b) @ gain.T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(spread[3], np.eye(2) - gain @ w, rtol=1e-6, atol=1e-9)


def test_missing_entries_are_marginalised(linear):
    views, _ = linear.sample(4, random_state=1)
    a, b = views.array("view_0").copy(), views.array("view_1").copy()
    a[0], b[1, 1] = np.nan, np.nan
    holes = Views(view_0=a, view_1=b)
    scores, (means, spreads) = linear.log_evidence(holes), linear.posterior(holes)
    w, offset, s = (np.concatenate(parts) for parts in (linear.loadings, linear.offsets, linear.noise))
    for row, kept in ((0, [3, 4]), (1, [0, 1, 2, 3]), (2, [0, 1, 2, 3, 4])):
        x = np.hstack([a[row], b[row]])[kept]
        marginal = w[kept] @ w[kept].T + np.diag(s[kept] ** 2)
        assert scores[row] == pytest.approx(stats.multivariate_normal(offset[kept], marginal).logpdf(x))
        gain = w[kept].T @ np.linalg.inv(marginal)
        np.testing.assert_allclose(means[row], gain @ (x - offset[kept]), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(spreads[row], np.eye(2) - gain @ w[kept], rtol=1e-6, atol=1e-9)


def test_its_samples_have_its_moments(linear):
    views, z = linear.sample(40_000, random_state=2)
    x = np.hstack([views.array(name) for name in views])
    w, b, s = (np.concatenate(parts) for parts in (linear.loadings, linear.offsets, linear.noise))
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.03)
    np.testing.assert_allclose(x.mean(0), b, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), w @ w.T + np.diag(s**2), atol=0.15)
    residual = x - b - z @ w.T
    np.testing.assert_allclose(np.cov(residual.T), block_diag(np.diag(s**2)), atol=0.03)
    again, _ = linear.sample(40_000, random_state=2)
    np.testing.assert_array_equal(again.array("view_0"), views.array("view_0"))
    assert all((noise >= 0.5 / 1.5).all() and (noise <= 0.5 * 1.5).all() for noise in linear.noise)
