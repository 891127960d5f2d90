"""Latent and feature deviations against loops, and p-values against their distribution."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import chi2, chisquare, kstest

import manyview as mv
from manyview.metrics import feature_deviation, latent_deviation
from manyview.metrics.deviation import _conformal

from .helpers import exact_model, one_dimension, without


@pytest.fixture(scope="module")
def views():
    views = mv.datasets.make_multiview(90, (5, 3), n_shared=3, random_state=0)
    return without(views, {"view_0": [1, 40], "view_1": [2, 41, 42]})


@pytest.fixture(scope="module")
def model(views):
    return mv.MVAE(z_dim=3, max_epochs=10, random_state=0, verbose=False).fit(views[60:])


@pytest.mark.parametrize("given", [None, ["view_1"]])
def test_distances_and_p_values_by_loops(model, views, given):
    """Distances from the reference; ranks within the reference and the sample."""
    new, reference = views[:30], views[30:60]
    found = latent_deviation(model, new, reference, given=given)
    rows = reference.present[:, 1] if given else np.ones(30, bool)
    here = new.present[:, 1] if given else np.ones(30, bool)
    z, z_r = model.transform(new[here], given=given), model.transform(reference[rows], given=given)
    z, z_r = z.astype(float), z_r.astype(float)
    mean, inverse = z_r.mean(axis=0), np.linalg.inv(np.cov(z_r.T))
    expected = np.array([mahalanobis(row, mean, inverse) for row in z])
    p = []
    for row in z:
        pool = np.vstack([row, z_r])
        centre, precision = pool.mean(axis=0), np.linalg.inv(np.cov(pool.T))
        first, *others = (mahalanobis(x, centre, precision) for x in pool)
        p.append((1 + sum(d >= first for d in others)) / len(pool))
    np.testing.assert_allclose(found.distance[here], expected, rtol=1e-5)
    np.testing.assert_allclose(found.p_value[here], p)
    np.testing.assert_allclose(found.z_scores[here], (z - mean) / z_r.std(axis=0, ddof=1), rtol=1e-4)
    for x in (found.distance, found.p_value, found.z_scores[:, 0]):
        assert (np.isnan(x) == ~here).all()


def test_normal_p_values_of_the_reference_population_are_uniform():
    """Also where the reference is small. The codes of a linear model of normal data are normal."""
    truth = one_dimension()
    model, p = exact_model(truth), []
    views = truth.sample(200 * 10, random_state=1)[0]
    for i in range(200):
        part = views[10 * i : 10 * i + 10]
        p.append(latent_deviation(model, part[:1], part[1:], null="normal").p_value[0])
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("width", [1, 3])
def test_empirical_p_values_are_uniform_whatever_the_distribution(width):
    """The ranks of one of ten samples among these, of an exponential distribution."""
    rng, counts = np.random.RandomState(0), np.zeros(10)
    for _ in range(4000):
        x = rng.standard_exponential((10, width))
        values, vectors = np.linalg.eigh(np.cov(x[1:].T).reshape(width, width))
        u = (x - x[1:].mean(axis=0)) @ vectors / np.sqrt(values)
        counts[round(10 * _conformal(u[:1], u[1:])[0]) - 1] += 1
    assert chisquare(counts).pvalue > 0.01


def test_normal_p_values_tend_to_chi_squared():
    truth = one_dimension()
    reference, new = truth.sample(20_000, random_state=0)[0], truth.sample(50, random_state=1)[0]
    found = latent_deviation(exact_model(truth), new, reference, null="normal")
    np.testing.assert_allclose(found.p_value, chi2.sf(found.distance**2, 1), atol=2e-3)


def test_directions_without_variance_are_left_out(views):
    """A dimension that was switched off is no deviation."""
    model = mv.AE(z_dim=3, encoder={"hidden": []}, max_epochs=5, random_state=0, verbose=False).fit(views[60:])
    before = latent_deviation(model, views[:30], views[30:60])
    for encoder in model.network_.encoders:
        (layer,) = (part for part in encoder.modules() if hasattr(part, "weight"))
        layer.weight.data[1] = 0
        layer.bias.data[1] = 1.0
    after = latent_deviation(model, views[:30], views[30:60])
    z, z_r = (model.transform(v)[:, [0, 2]].astype(float) for v in (views[:30], views[30:60]))
    inverse = np.linalg.inv(np.cov(z_r.T))
    expected = [mahalanobis(row, z_r.mean(axis=0), inverse) for row in z]
    np.testing.assert_allclose(after.distance, expected, rtol=1e-4)
    assert np.isnan(after.z_scores[:, 1]).all()
    assert not np.isnan(before.z_scores).any()


def test_what_deviates_is_found(views):
    """Samples far out have the least p-value that so many reference samples allow."""
    model = mv.AE(z_dim=3, encoder={"hidden": []}, max_epochs=5, random_state=0, verbose=False).fit(views[60:])
    odd = {name: x[:10] + 40 for name, x in views.items()}
    for deviation in (
        latent_deviation(model, odd, views[10:60]).p_value,
        feature_deviation(model, odd, views[10:60]).p_value["view_0"].min(axis=1),
    ):
        assert np.nanmax(deviation) < 0.05


@pytest.mark.parametrize("given", [None, "view_0"])
def test_feature_deviations_by_loops(model, views, given):
    new, reference = views[:30], views[30:60]
    holes = new.array("view_0").copy()
    holes[7, 3] = np.nan
    new = mv.Views({"view_0": holes, "view_1": new.array("view_1")})
    found = feature_deviation(model, new, reference, given=given)
    errors = []
    for part in (new, reference):
        rows = part.present[:, 0] if given else np.ones(30, bool)
        out = {name: np.full(part.array(name).shape, np.nan) for name in part.names}
        for name, x in model.predict(part[rows], given=given).items():
            out[name][rows] = (part.array(name)[rows].astype(float) - x) ** 2
        errors.append(out)
    for name in views.names:
        d, d_r = errors[0][name], errors[1][name]
        for i in range(30):
            for j in range(d.shape[1]):
                known = d_r[~np.isnan(d_r[:, j]), j]
                z, p = found.z_scores[name][i, j], found.p_value[name][i, j]
                if np.isnan(d[i, j]):
                    assert np.isnan(z)
                    assert np.isnan(p)
                else:
                    assert z == pytest.approx((d[i, j] - known.mean()) / known.std(ddof=1), rel=1e-4, abs=1e-5)
                    assert p == pytest.approx((1 + (known >= d[i, j]).sum()) / (len(known) + 1))


def test_bad_arguments_are_explained(model, views):
    with pytest.raises(ValueError, match="did you mean 'normal'"):
        latent_deviation(model, views, views, null="norm")
    with pytest.raises(ValueError, match="4 samples with the given views, too few"):
        latent_deviation(model, views, views[10:14])
    with pytest.raises(ValueError, match="the reference has 0 samples"):
        latent_deviation(model, views, views.select("view_0"), given="view_1")
    with pytest.raises(ValueError, match="no view in common"):
        feature_deviation(model, views.select("view_1"), views.select("view_0"))
    with pytest.raises(ValueError, match="'view_1' is not in both"):
        feature_deviation(model, views, views.select("view_0"), target="view_1")
    with pytest.raises(ValueError, match="the reference has no entry of view 'view_1' beside"):
        feature_deviation(model, views, without(views, {"view_1": range(90)}), given="view_0", target="view_1")
