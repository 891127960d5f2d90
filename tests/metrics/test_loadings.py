"""Loadings: exact for linear decoders, decoded by hand for others; intervals in the model's own axes."""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group

import manyview as mv
from manyview.metrics import Loadings, loadings, slopes
from manyview.metrics.queries import read_samples
from manyview.models import MODELS

from .helpers import set_linear

LINEAR = {"encoder": {"hidden": []}, "decoder": {"hidden": []}, "learning_rate": 0.02, "verbose": False}
QUICK = {"z_dim": 2, "max_epochs": 5, "random_state": 0, "verbose": False}


@pytest.fixture(scope="module")
def views():
    return mv.datasets.make_linear_gaussian((5, 3), z_dim=2, noise=0.3, random_state=0).sample(300, random_state=1)[0]


@pytest.fixture(scope="module")
def model(views):
    return mv.MVAE(z_dim=2, max_epochs=30, random_state=0, **LINEAR).fit(views)


def weights(model, m):
    return next(p for p in model.network_.decoders[m].parameters() if p.ndim == 2).detach().numpy()


def by_hand(model, views, name, d, **options):
    """The mean of the central differences of what `decode` answers, one standard deviation long."""
    z = model.transform(views)
    step = np.zeros(z.shape[1], dtype=z.dtype)
    step[d] = z[:, d].std()
    ahead, behind = (model.decode(z + sign * step / 2, name, **options)[name] for sign in (1, -1))
    return (ahead - behind).mean(axis=0)


# ---- the loadings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("Model", ["MVAE", "MMVAE", "AE"])
def test_linear_decoder_gives_its_weights(views, Model):
    """W sd(z), since decoders work in units of each feature's standard deviation; of mixtures too."""
    data = {"view_0": views["view_0"] * [1, 10, 100, 0.1, 1] + 50, "view_1": views["view_1"]}
    model = getattr(mv, Model)(z_dim=2, max_epochs=5, random_state=0, **LINEAR).fit(data)
    found, z = loadings(model, data), model.transform(data)
    for m, name in enumerate(data):
        np.testing.assert_allclose(found.mean[name], weights(model, m) * z.std(axis=0), rtol=1e-4, atol=1e-5)
        assert found.mean[name].columns.tolist() == ["z0", "z1"]
        assert found.mean[name].index.tolist() == [f"{name}_{i}" for i in range(len(found.mean[name]))]
    assert found.low is found.high is None


def test_a_curved_decoder_gives_mean_slopes(views):
    model = mv.MVAE(**QUICK).fit(views)
    found = loadings(model, views).mean["view_1"]["z1"]
    np.testing.assert_allclose(found, by_hand(model, views, "view_1", 1) / model.views_[1].scale, atol=1e-5)


def test_probabilities_are_divided_by_their_standard_deviation():
    digits = mv.datasets.load_digits()[:200]
    data = {"binary": (digits["image"] > 0.5).astype(float), "label": digits["label"]}
    model = mv.MVAE(**QUICK).fit(data)
    found = loadings(model, data)
    assert [type(view.likelihood).__name__ for view in model.views_] == ["Bernoulli", "Categorical"]
    for name in data:
        sd = data[name].std(axis=0)
        expected = by_hand(model, data, name, 0) / np.where(sd > 0, sd, 1)
        np.testing.assert_allclose(found.mean[name]["z0"], expected, atol=1e-5)
    assert (digits["image"][:, 0] == 0).all()
    assert np.isfinite(found.mean["binary"]).all(axis=None)


def test_views_that_are_not_standardised(views):
    model = mv.MVAE(scale=None, **QUICK).fit(views)
    found = loadings(model, views).mean["view_0"]["z0"]
    np.testing.assert_allclose(found, by_hand(model, views, "view_0", 0) / views["view_0"].std(axis=0), atol=1e-5)
    missing = loadings(model, views.select("view_0")).mean["view_1"]
    assert missing.isna().all(axis=None)


def test_private_latents_stay_where_they_are(views):
    model = mv.DMVAE(h_dim=2, **QUICK).fit(views)
    expected = by_hand(model, views, "view_0", 0, h=model.transform_private(views)) / model.views_[0].scale
    np.testing.assert_allclose(loadings(model, views).mean["view_0"]["z0"], expected, atol=1e-5)


def test_a_mixture_has_the_mean_of_its_components(views):
    model = mv.MMVAE(**QUICK).fit(views)
    step = np.array([model.transform(views)[:, 0].std(), 0], dtype=np.float32)
    moved = []
    for name in views.names:
        z = model.transform(views, given=name)
        moved.append((model.decode(z + step / 2)["view_1"] - model.decode(z - step / 2)["view_1"]).mean(axis=0))
    expected = np.mean(moved, axis=0) / model.views_[1].scale
    np.testing.assert_allclose(loadings(model, views).mean["view_1"]["z0"], expected, atol=1e-5)


def test_given_views_and_canonical_codes(views):
    """Steps of aligned codes are turned back into those of each view's own decoder."""
    model = mv.DCCA(z_dim=2, max_epochs=2, random_state=0, **LINEAR).fit(views)
    z = model.transform(views, given="view_1")
    step = np.array([z[:, 0].std(), 0], dtype=np.float32)
    moved = (model.decode(z + step)["view_0"] - model.decode(z)["view_0"]).mean(axis=0)
    found = loadings(model, views, given="view_1").mean["view_0"]["z0"]
    np.testing.assert_allclose(found, moved / model.views_[0].scale, atol=1e-4)


def test_a_dimension_that_is_not_used_has_none(views):
    model = mv.MVAE(z_dim=2, max_epochs=1, random_state=0, **LINEAR).fit(views)
    w = weights(model, 0).copy()
    w[:, 1] = 0
    set_linear(model.network_.decoders[0], w, np.zeros(5))
    found = loadings(model, views).mean["view_0"]
    np.testing.assert_allclose(found["z1"], 0, atol=1e-6)
    assert found["z0"].abs().max() > 1e-3


# ---- intervals ------------------------------------------------------------------------------------------------------


def test_refits_are_rotated_onto_the_model(views, monkeypatch):
    """Autoencoders that are the model's rotated copies, or reflected ones, have its loadings."""
    model = mv.AE(z_dim=3, max_epochs=5, random_state=0, **LINEAR).fit(views)

    def rotated(seed):
        other, turn = deepcopy(model), ortho_group.rvs(3, random_state=seed)
        for m in range(2):
            w, b = (p.detach().numpy() for p in other.network_.encoders[m].parameters())
            set_linear(other.network_.encoders[m], turn @ w, turn @ b)
            w, b = (p.detach().numpy() for p in other.network_.decoders[m].parameters())
            set_linear(other.network_.decoders[m], w @ turn.T, b)
        return other

    monkeypatch.setattr(slopes, "_refit", lambda model, samples, seeds: map(rotated, range(4)))
    found = loadings(model, views, n_refits=4)
    for name in views.names:
        for ends in (found.low, found.high):
            pd.testing.assert_frame_equal(ends[name], found.mean[name], atol=1e-4)


def test_intervals_are_quantiles_of_the_refits(model, views, monkeypatch):
    scales = np.linspace(0.5, 1.5, 11)

    def scaled(factor):
        other = deepcopy(model)
        for m in range(2):
            w, b = (p.detach().numpy() for p in other.network_.decoders[m].parameters())
            set_linear(other.network_.decoders[m], factor * w, b)
        return other

    monkeypatch.setattr(slopes, "_refit", lambda model, samples, seeds: map(scaled, scales))
    found = loadings(model, views, n_refits=11, level=0.8)
    mean = found.mean["view_0"].to_numpy()
    low, high = np.sort([0.6 * mean, 1.4 * mean], axis=0)
    np.testing.assert_allclose(found.low["view_0"], low, atol=1e-4)
    np.testing.assert_allclose(found.high["view_0"], high, atol=1e-4)


def test_intervals_agree_on_signs_whatever_the_refits_axes(model, views):
    found = loadings(model, views, n_refits=3, random_state=0)
    for name in views.names:
        mean, low, high = (table[name].to_numpy() for table in (found.mean, found.low, found.high))
        assert (low < high).all()
        large = np.abs(mean) > 0.5
        assert large.any()
        assert (np.sign(low[large]) == np.sign(mean[large])).all()
        assert (np.sign(high[large]) == np.sign(mean[large])).all()
    again = loadings(model, views, n_refits=3, random_state=0)
    pd.testing.assert_frame_equal(found.low["view_0"], again.low["view_0"])
    assert not found.low["view_0"].equals(loadings(model, views, n_refits=3, random_state=1).low["view_0"])


def test_refits_train_on_rows_drawn_with_replacement_and_watch_others(model, views):
    data = slopes._resampled(model, read_samples(model, views), 0)
    trained, watched = data.training.x[0].numpy(), data.validation.x[0].numpy()
    assert (len(trained), len(watched)) == (300, 30)
    everything = model.views_[0].encode(views.array("view_0"))[0].numpy()
    drawn = {row.tobytes() for row in trained}
    assert drawn < {row.tobytes() for row in everything}
    assert 150 < len(drawn) < 230  # 1 - 1/e of 300 is 190
    assert not drawn & {row.tobytes() for row in watched}


def test_missing_views_names_and_covariates():
    rng = np.random.default_rng(0)
    a = pd.DataFrame(rng.normal(size=(60, 3)), index=[f"s{i}" for i in range(60)]).add_prefix("gene_")
    b = a.iloc[:40, :2].add_prefix("also_") + 1.0
    b["constant"] = 2.0
    about = pd.DataFrame({"age": rng.normal(size=60), "site": ["x"] * 59 + ["rare"]}, index=a.index)[::-1]
    data = {"a": a, "b": b}
    model = mv.MMVAE(**{**QUICK, "z_dim": 1}, n_init=2).fit(data, covariates=about)
    found = loadings(model, data, covariates=about, n_refits=3)
    assert isinstance(found, Loadings)
    assert found.low["a"].index.tolist() == ["gene_0", "gene_1", "gene_2"]
    assert all(np.isfinite(table[name]).all(axis=None) for table in (found.mean, found.low) for name in data)
    given = loadings(model, data, covariates=about, given="b").mean["b"]
    alone = loadings(model, {"b": b}, covariates=about.loc[b.index]).mean["b"]
    pd.testing.assert_frame_equal(given, alone, atol=1e-5)


@pytest.mark.parametrize("Model", MODELS, ids=lambda Model: Model.__name__)
def test_every_model_has_loadings_and_intervals(Model):
    views = mv.datasets.make_multiview(60, (4, 3, 3), n_shared=2, missing=0.2, random_state=0)
    small = {"z_dim": 2, "encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "max_epochs": 2}
    model = Model(**small, random_state=0, verbose=False).fit(views)
    found = loadings(model, views, n_refits=2)
    for tables in (found.mean, found.low, found.high):
        assert all(np.isfinite(table).all(axis=None) for table in tables.values())
    alone = loadings(model, views, given="view_0")
    assert all(np.isfinite(table).all(axis=None) for table in alone.mean.values())


def test_refits_that_fail_are_left_out(model, views, monkeypatch):
    from manyview.training.run import NonFiniteObjectiveError

    adopt, calls = type(model).adopt, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) <= failures:
            raise NonFiniteObjectiveError("NaN")
        adopt(self, *arguments)

    monkeypatch.setattr(type(model), "adopt", failing)
    failures = 1
    with pytest.warns(UserWarning, match="1 of 3 refits became NaN or infinite"):
        assert np.isfinite(loadings(model, views, n_refits=3).low["view_0"]).all(axis=None)
    failures = 99
    with pytest.raises(NonFiniteObjectiveError):
        loadings(model, views, n_refits=2)


# ---- what is made of them -------------------------------------------------------------------------------------------


def test_top_features_come_first():
    table = pd.DataFrame({"z0": [0.1, -3.0, np.nan, 2.0], "z1": 0.0}, index=list("abcd"))
    found = Loadings({"v": table}, {"v": table - 1}, {"v": table + 1})
    top = found.top("v", 0, n=2)
    assert top.index.tolist() == ["b", "d"]
    assert top.columns.tolist() == ["mean", "low", "high"]
    assert top.loc["b"].tolist() == [-3.0, -4.0, -2.0]
    assert found.top("v").index.tolist() == ["b", "d", "a"]
    assert Loadings({"v": table}).top("v", 1).columns.tolist() == ["mean"]
    with pytest.raises(ValueError, match="view='w': there are no loadings of it"):
        found.top("w")
    with pytest.raises(ValueError, match="dimension=2: give the position of one, from 0 to 1"):
        found.top("v", 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "level=1.0"),
        ({"level": "95%"}, "level='95%'"),
        ({"n_refits": -1}, "n_refits=-1"),
        ({"n_refits": True}, "n_refits=True"),
        ({"given": "view_7"}, "view_7"),
    ],
)
def test_bad_arguments(model, views, options, message):
    with pytest.raises(ValueError, match=message):
        loadings(model, views, **options)


def test_no_sample_has_the_given_views(model, views):
    with pytest.raises(ValueError, match="no sample has these views"):
        loadings(model, views.select("view_0"), given="view_1")
