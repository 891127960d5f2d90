"""variance_explained against linear decoders by hand, against decoders called one by one, and against predict."""

import numpy as np
import pandas as pd
import pytest
import torch

import manyview as mv
from manyview.metrics import variance_explained

from .helpers import set_linear, without


@pytest.fixture(scope="module")
def views():
    views = mv.datasets.make_multiview(80, (5, 3), n_shared=3, random_state=0)
    data = {"a": 50 + 10 * views["view_0"], "b": views["view_1"].copy()}
    data["b"][::5, 1] = np.nan
    return without(mv.Views(data), {"a": [1, 2], "b": [3, 4, 5]})


def observed(views, model, name):
    """The standardised view, from means and standard deviations of the training data."""
    x = views.array(name).astype(float)
    (fitted,) = (view for view in model.views_ if view.name == name)
    return (x - fitted.loc) / fitted.scale


def test_linear_decoders_by_hand(views):
    """f(z) = W z + b: ‖x - W z̄ - b‖² - ‖x - W z̄ - b - w_d (z_d - z̄_d)‖², over ‖x‖² of standardised data."""
    model = mv.MVAE(z_dim=3, decoder={"hidden": []}, scale="standard", max_epochs=5, random_state=0, verbose=False)
    model.fit(views)
    rng = np.random.RandomState(0)
    z = model.transform(views).astype(float)
    found = variance_explained(model, views)
    assert found.columns.tolist() == ["z0", "z1", "z2", "all"]
    for repeat in range(2):
        for m, name in enumerate(views.names):
            w, b = rng.standard_normal((views.shapes[name][0], 3)), rng.standard_normal(views.shapes[name])
            w[:, 1] = 0  # not used
            set_linear(model.network_.decoders[m], w, b)
        found = variance_explained(model, views)
        for m, name in enumerate(views.names):
            (w, b) = (p.detach().numpy().astype(float) for p in model.network_.decoders[m].parameters())
            x, centre = observed(views, model, name), z.mean(axis=0)
            residual = x - centre @ w.T - b
            none, total = np.nansum(residual**2), np.nansum(x**2)
            for d in range(3):
                alone = np.nansum((residual - np.outer(z[:, d] - centre[d], w[:, d])) ** 2)
                assert found.loc[name, f"z{d}"] == pytest.approx((none - alone) / total, abs=1e-4)
            assert found.loc[name, "z1"] == pytest.approx(0, abs=1e-6)
            everything = np.nansum((x - z @ w.T - b) ** 2)
            assert found.loc[name, "all"] == pytest.approx((none - everything) / total, rel=1e-4)
        assert repeat == 0 or not found.isna().any(axis=None)


def test_uncorrelated_dimensions_of_linear_decoders_sum_to_all():
    """With decoders that are the regression on orthogonal codes, each share is the squared correlation."""
    rng = np.random.RandomState(0)
    z, _ = np.linalg.qr(np.column_stack([np.ones(50), rng.standard_normal((50, 2))]))
    z = z[:, 1:]
    x = z @ rng.standard_normal((2, 4)) + 0.1 * rng.standard_normal((50, 4))
    views = mv.Views(z=z, x=x)
    model = mv.AE(z_dim=2, encoder={"hidden": []}, decoder={"hidden": []}, max_epochs=1, verbose=False, random_state=0)
    model.fit(views)
    z_scaled = (z - model.views_[0].loc) / model.views_[0].scale
    x_scaled = (x - model.views_[1].loc) / model.views_[1].scale
    set_linear(model.network_.encoders[0], np.eye(2), np.zeros(2))
    set_linear(model.network_.decoders[1], np.linalg.lstsq(z_scaled, x_scaled, rcond=None)[0].T, np.zeros(4))
    found = variance_explained(model, views, given="z").loc["x"]
    expected = [np.mean([np.corrcoef(z[:, d], x[:, j])[0, 1] ** 2 for j in range(4)]) for d in range(2)]
    np.testing.assert_allclose(found[["z0", "z1"]], expected, atol=2e-2)
    assert found["all"] == pytest.approx(found["z0"] + found["z1"], abs=1e-4)


@pytest.mark.parametrize("name", ["MMVAE", "DMVAE", "DCCA"])
def test_all_is_the_rise_of_what_predict_explains(views, name):
    """(‖x - f(z̄)‖² - ‖x - predict‖²) / ‖x - μ‖²; f(z̄) is that of the posterior means' average."""
    model = getattr(mv, name)(z_dim=2, max_epochs=20, random_state=0, verbose=False).fit(views)
    found, predicted = variance_explained(model, views), model.predict(views)
    z = torch.from_numpy(model.transform(views).mean(axis=0)).view(1, 1, -1).expand(1 if name == "DMVAE" else 2, 1, -1)
    for m, view in enumerate(views.names):
        x, fitted = observed(views, model, view), model.views_[m]
        h = None
        if name == "DMVAE":
            mean = model.transform_private(views)[view][views.present[:, m]].mean(axis=0)
            h = torch.from_numpy(mean).view(1, 1, -1)
        with torch.no_grad():
            means = model.network_.decode(model.network_.regress(z, m), m, h).double().numpy()
        # Without a private latent each component weighs the same where both views are there.
        weights = np.full((len(means), len(x)), 1 / len(means))
        if len(means) == 2:
            weights = views.present.T / views.present.sum(axis=1)
        none = np.einsum("sn,sd->nd", weights, means[:, 0])
        everything = np.nansum((x - (predicted[view] - fitted.loc) / fitted.scale) ** 2)
        expected = (np.nansum((x - none) ** 2) - everything) / np.nansum(x**2)
        assert found.loc[view, "all"] == pytest.approx(expected, abs=1e-4)


def test_private_latents_belong_to_their_view(views):
    """What h_m explains of view m, by calling its decoder with one dimension moved at a time."""
    model = mv.DMVAE(z_dim=2, h_dim=2, max_epochs=20, random_state=0, verbose=False).fit(views)
    found = variance_explained(model, views)
    assert found.columns.tolist() == ["z0", "z1", "h0", "h1", "private", "all"]
    z0 = torch.from_numpy(model.transform(views).mean(axis=0)).expand(80, -1)
    for m, view in enumerate(views.names):
        x, h = observed(views, model, view), model.transform_private(views)[view]
        h0 = h[views.present[:, m]].mean(axis=0)

        def error(code, m=m, x=x):
            with torch.no_grad():
                eta = model.network_.decode(z0, m, torch.from_numpy(code.astype(np.float32)))
            return np.nansum((x - eta.double().numpy()) ** 2)

        none = error(np.tile(h0, (80, 1)))
        for d in range(2):
            moved = np.tile(h0, (80, 1))
            moved[:, d] = h[:, d]
            assert found.loc[view, f"h{d}"] == pytest.approx((none - error(moved)) / np.nansum(x**2), abs=1e-4)
        assert found.loc[view, "private"] == pytest.approx((none - error(h)) / np.nansum(x**2), abs=1e-4)


def test_views_that_are_not_there(views):
    model = mv.MVAE(z_dim=2, max_epochs=2, random_state=0, verbose=False).fit(views)
    found = variance_explained(model, views.select("a"))
    assert found.loc["b"].isna().all()
    assert not found.loc["a"].isna().any()
    rows = views.present[:, 1]
    pd.testing.assert_frame_equal(
        variance_explained(model, views, given="b"), variance_explained(model, views[rows], given=1)
    )
    with pytest.raises(ValueError, match="no sample has these views"):
        variance_explained(model, views.select("a"), given="b")
