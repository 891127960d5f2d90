r"""DCCA: Σ_{m<n} ‖T_mn‖_*, of Andrew et al. (2013); DCCAE: the same - λ/N Σ ‖x_m - d_m(f_m(x_m))‖², Wang et al. (2015).

The objectives in loops, linear networks against the closed form and scikit-learn, what the codes are after training,
what views predict of each other, the limits of λ, missing views, batches, and what training does in the long run.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from torch import nn

import manyview as mv
from manyview.cca import total_correlation
from manyview.data import Views
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview

QUIET = {"random_state": 0, "verbose": False}
LINEAR = {"encoder": {"hidden": ()}, "decoder": {"hidden": ()}, **QUIET}
SMALL = {"encoder": {"hidden": [16]}, "decoder": {"hidden": [16]}, "learning_rate": 1e-2, **QUIET}
LONG = {"learning_rate": 0.1, "max_epochs": 60, "validation_fraction": 0}

BOTH = pytest.mark.parametrize("cls", [mv.DCCA, mv.DCCAE])


def canonical_correlations(a, b):
    """Cosines of the angles between the column spaces of centred data, largest first."""
    q, r = (np.linalg.qr(x - x.mean(0))[0] for x in (a, b))
    return np.linalg.svd(q.T @ r, compute_uv=False)


def correlations(a, b):
    """The correlation of each column of a with the same column of b."""
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def explained(x, prediction):
    """R²: the share of the variance of x that a prediction explains."""
    return 1 - np.square(x - prediction).sum() / np.square(x - x.mean(0)).sum()


def view_codes(model, views):
    """The canonical codes of each view by itself, (M, n, Z)."""
    return np.stack([model.transform(views, given=[name]) for name in views.names])


@pytest.fixture(scope="module")
def views():
    """Two views with noise, whose leading correlations are about 0.8, 0.7, and 0.1 for the rest."""
    return make_multiview(400, (8, 6), n_shared=2, noise=1.0, random_state=0)


@pytest.fixture(scope="module")
def linear(views):
    return mv.DCCA(z_dim=2, **LINEAR, **LONG).fit(views)


# ---- the objective --------------------------------------------------------------------------------------------------


def regularised_correlations(x, y, r):
    """The singular values of (S_xx + r I)^{-1/2} S_xy (S_yy + r I)^{-1/2}."""
    S, z_dim = np.cov(x.T, y.T), x.shape[1]
    S_xx, S_yy = S[:z_dim, :z_dim] + r * np.eye(z_dim), S[z_dim:, z_dim:] + r * np.eye(z_dim)
    T = np.linalg.inv(sqrtm(S_xx).real) @ S[:z_dim, z_dim:] @ np.linalg.inv(sqrtm(S_yy).real)
    return np.linalg.svd(T, compute_uv=False)


def untrained(cls, missing, **parameters):
    """A model of three views whose weights are all but random, its network and its data in double precision."""
    views = make_multiview(60, (5, 3, 4), missing=missing, random_state=1)
    model = cls(z_dim=2, max_epochs=1, validation_fraction=0, **SMALL, **parameters).fit(views)
    batch = make_batch(views, model.views_)
    return model, model.network_.double(), replace(batch, x=tuple(x.double() for x in batch.x))


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("weight", [None, 0.3], ids=["DCCA", "DCCAE"])
def test_objective_equals_its_equation(weight, missing):
    """Σ_{m<n} Σ_i ρ_i on the rows that have m and n, - λ/N Σ_j Σ_m ‖x_m - d_m(f_m(x_m))‖² on those that have m."""
    r, extra = 0.05, {} if weight is None else {"reconstruction_weight": weight}
    model, network, batch = untrained(mv.DCCA if weight is None else mv.DCCAE, missing, regularisation=r, **extra)
    present = np.ones((len(batch), 3), bool) if batch.present is None else batch.present.numpy()
    assert present.all() == (missing == 0)
    codes = [network.encoders[m](batch.x[m]).detach() for m in range(3)]
    expected = 0.0
    for m, n in itertools.combinations(range(3), 2):
        rows = present[:, m] & present[:, n]
        expected += regularised_correlations(codes[m][rows].numpy(), codes[n][rows].numpy(), r).sum()
    if weight is not None:
        for m, code in enumerate(codes):
            errors = (batch.x[m] - network.decoders[m](code)).square().sum(1).detach().numpy()
            expected -= weight * errors[present[:, m]].sum() / len(batch)
    value = model.objective(network, batch, 1.0).value
    np.testing.assert_allclose(value.mean().item(), expected, rtol=1e-7)


def gradients(value, modules):
    return torch.autograd.grad(value.mean(), [*modules.parameters()], retain_graph=True, allow_unused=True)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_decoders_of_dcca_are_trained_beside_its_objective(missing):
    """Value and encoders' gradient are those of the correlation alone; the decoders' that of log p(x_m | z_m)."""
    model, network, batch = untrained(mv.DCCA, missing)
    value = model.objective(network, batch, 1.0).value
    z = torch.stack([encoder(x) for encoder, x in zip(network.encoders, batch.x, strict=True)])
    alone = total_correlation(z, batch.present, model.regularisation)
    torch.testing.assert_close(value, alone.expand(len(batch)), rtol=0, atol=1e-12)
    for found, expected in zip(gradients(value, network.encoders), gradients(alone, network.encoders), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    errors = torch.stack(
        [(x - d(c.detach())).square().sum(1) for x, d, c in zip(batch.x, network.decoders, z, strict=True)]
    )
    log_lik = -errors if batch.present is None else -errors * batch.present.T
    pairs = zip(gradients(value, network.decoders), gradients(log_lik.sum(0), network.decoders), strict=True)
    for found, expected in pairs:
        assert expected.any()
        torch.testing.assert_close(found, expected)


# ---- linear networks ------------------------------------------------------------------------------------------------


def test_linear_networks_reach_the_correlations_of_linear_cca(views, linear):
    """Training ends within 1 % of the closed form and of scikit-learn's CCA; so do ``correlations_`` and the loss."""
    a, b = (views.array(name).astype(float) for name in views.names)
    expected = canonical_correlations(a, b)[:2]
    np.testing.assert_allclose(
        correlations(*CCA(n_components=2, max_iter=5000).fit(a, b).transform(a, b)), expected, 1e-3
    )
    np.testing.assert_allclose(linear.correlations_, expected, rtol=0.01)
    np.testing.assert_allclose(-linear.history_["loss"].iloc[-1], expected.sum(), rtol=0.01)
    assert linear.correlations_.sum() <= expected.sum() + 1e-4  # the closed form is the maximum


def test_linear_networks_find_the_directions_of_linear_cca(views, linear):
    """Each canonical code is, up to its sign, the canonical variate of linear CCA."""
    a, b = (views.array(name).astype(float) for name in views.names)
    for found, expected in zip(view_codes(linear, views), CCA(2, max_iter=5000).fit(a, b).transform(a, b), strict=True):
        assert np.abs(correlations(found, expected)).min() > 0.99


@BOTH
def test_more_dimensions_than_correlations(cls, views):
    """All six correlations of views of 8 and 6 features, in descending order, small ones within 0.01."""
    a, b = (views.array(name).astype(float) for name in views.names)
    model = cls(z_dim=6, **LINEAR, **LONG).fit(views)
    np.testing.assert_allclose(model.correlations_, canonical_correlations(a, b), atol=0.01)


def test_three_views_reach_the_sum_over_their_pairs():
    """Two factors that three views share: every pair's canonical correlations, at once."""
    views = make_multiview(400, (6, 5, 7), n_shared=2, noise=0.3, random_state=0)
    model = mv.DCCA(z_dim=2, **LINEAR, **LONG).fit(views)
    arrays = [views.array(name).astype(float) for name in views.names]
    expected = [canonical_correlations(a, b)[:2] for a, b in itertools.combinations(arrays, 2)]
    np.testing.assert_allclose(model.correlations_, np.mean(expected, axis=0), rtol=0.01)
    np.testing.assert_allclose(-model.history_["loss"].iloc[-1], np.sum(expected), rtol=0.01)


def test_missing_views_leave_the_correlations_where_they_are():
    """With 30 % of the entries missing at random, the correlations of the complete data within sampling error."""
    settings = {"n_shared": 2, "noise": 1.0, "random_state": 0}
    complete, incomplete = (
        make_multiview(1500, (8, 6), **settings),
        make_multiview(1500, (8, 6), missing=0.3, **settings),
    )
    model = mv.DCCA(z_dim=2, **LINEAR, **LONG).fit(incomplete)
    expected = canonical_correlations(*(complete.array(name).astype(float) for name in complete.names))[:2]
    np.testing.assert_allclose(model.correlations_, expected, atol=0.05)
    whole = incomplete.present.all(1)
    np.testing.assert_allclose(correlations(*view_codes(model, complete[~whole])), expected, atol=0.08)


# ---- the codes ------------------------------------------------------------------------------------------------------


def test_canonical_codes_are_white_and_correlate_dimension_by_dimension(views, linear):
    """On the training data: mean 0, covariance I, and cross-covariance diag(ρ), with ρ ``correlations_``."""
    a, b = view_codes(linear, views)
    covariance = np.cov(a.T, b.T)
    expected = np.block([[np.eye(2), np.diag(linear.correlations_)], [np.diag(linear.correlations_), np.eye(2)]])
    np.testing.assert_allclose(covariance, expected, atol=2e-3)
    np.testing.assert_allclose(np.concatenate([a, b]).mean(0), 0, atol=1e-4)


def test_latents_are_the_mean_of_the_codes_that_there_are(views, linear):
    """``transform`` averages over the views of each sample: variance (1 + ρ) / 2 with two, 1 with one."""
    codes = view_codes(linear, views)
    z = linear.transform(views)
    np.testing.assert_allclose(z, codes.mean(0), atol=1e-5)
    np.testing.assert_allclose(z.var(0, ddof=1), (1 + linear.correlations_) / 2, atol=2e-3)
    present = np.ones((len(views), 2), bool)
    present[:5, 0] = False
    with_gaps = linear.transform(Views(views, present=present))
    np.testing.assert_allclose(with_gaps[:5], codes[1, :5], atol=1e-5)
    np.testing.assert_allclose(with_gaps[5:], z[5:], atol=1e-5)


@pytest.mark.parametrize("n_features", [(8, 6), (6, 5, 7)], ids=["two views", "three views"])
def test_scores_average_to_the_sum_of_the_correlations(n_features):
    """(1/n) Σ_j Σ_{m<n} z_m · z_n is the covariance of the canonical codes: Σ ρ over pairs, times (n - 1) / n."""
    views = make_multiview(100, n_features, noise=1.0, random_state=0)
    model = mv.DCCA(z_dim=2, validation_fraction=0, max_epochs=20, **SMALL).fit(views)
    n_pairs = len(n_features) * (len(n_features) - 1) // 2
    expected = n_pairs * model.correlations_.sum() * 99 / 100
    assert model.score_samples(views).mean() == pytest.approx(expected, rel=1e-3)
    assert (model.score_samples(views, n_samples=7) == model.score_samples(views)).all()
    with pytest.raises(ValueError, match="no log-likelihood"):
        model.score_samples(views, given="view_0")


def test_the_alignment_is_saved(views, linear, tmp_path):
    """A loaded model has the same correlations, canonical codes and predictions."""
    linear.save(tmp_path / "model.safetensors")
    loaded = mv.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.correlations_, linear.correlations_)
    np.testing.assert_array_equal(loaded.transform(views), linear.transform(views))
    found, expected = (model.predict(views, given="view_1", target="view_0") for model in (loaded, linear))
    np.testing.assert_array_equal(found["view_0"], expected["view_0"])


# ---- what views predict of each other -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("target", ["view_0", "view_1"])
def test_a_view_is_predicted_from_the_other(cls, target):
    """R² on new samples, at least nine tenths of what the shared factors explain of a view; 0 would be its mean."""
    views, factors = make_multiview(700, (8, 6), n_shared=2, noise=0.3, return_factors=True, random_state=0)
    model = cls(z_dim=2, **LINEAR, **LONG).fit(views[:400])
    new = views[400:]
    given = next(name for name in views.names if name != target)
    x, shared = new.array(target), factors["shared"][400:]
    ceiling = explained(x, shared @ np.linalg.lstsq(shared, x, rcond=None)[0])
    assert explained(x, model.predict(new, given=given, target=target)[target]) > 0.9 * ceiling


def test_dimensions_that_do_not_correlate_predict_nothing():
    """E[z_m | z_n] = ρ z_n: codes that views do not share, here most of them, cannot make predictions worse."""
    views = make_multiview(700, (10, 8), n_shared=2, n_private=3, noise=0.3, random_state=0)
    model = mv.DCCAE(z_dim=6, reconstruction_weight=10.0, **LINEAR, **LONG).fit(views[:400])
    x = views[400:].array("view_0")
    assert explained(x, model.predict(views[400:], given="view_1", target="view_0")["view_0"]) > 0.2


# ---- DCCAE ----------------------------------------------------------------------------------------------------------


def test_a_small_weight_of_the_reconstruction_gives_the_correlations_of_dcca(views, linear):
    """λ → 0."""
    model = mv.DCCAE(z_dim=2, reconstruction_weight=1e-6, **LINEAR, **LONG).fit(views)
    np.testing.assert_allclose(model.correlations_, linear.correlations_, rtol=0.01)


def test_a_large_weight_of_the_reconstruction_gives_autoencoders(views):
    """λ → ∞: of linear networks, the reconstruction of principal components, and lower correlations than DCCA's."""
    model = mv.DCCAE(z_dim=2, reconstruction_weight=1e3, **LINEAR, **(LONG | {"max_epochs": 150})).fit(views)
    for name in views.names:
        x = views.array(name)
        x = (x - x.mean(0)) / x.std(0)
        expected = np.square(x - PCA(2).fit(x).inverse_transform(PCA(2).fit_transform(x))).sum(1).mean()
        found = -model.history_[f"log_lik[{name}]"].iloc[-1]
        assert expected - 1e-3 < found < 1.02 * expected


def test_the_history_has_both_terms(views):
    """Loss = -(correlation + λ Σ_m log_lik[m])."""
    model = mv.DCCAE(z_dim=2, reconstruction_weight=0.3, max_epochs=3, **SMALL).fit(views)
    for phase in ("", "val_"):
        h = model.history_
        log_lik = h[f"{phase}log_lik[view_0]"] + h[f"{phase}log_lik[view_1]"]
        np.testing.assert_allclose(h[f"{phase}loss"], -(h[f"{phase}correlation"] + 0.3 * log_lik), rtol=1e-5)


# ---- batches --------------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """A linear network that notes how many rows it is given in training."""

    rows: list[int] = []  # noqa: RUF012 (shared by the copies that are made of it)

    def __init__(self, in_shape, out_dim):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_dim)

    def forward(self, x):
        if self.training:
            self.rows.append(len(x))
        return self.layer(x)


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [(300, "auto", [300]), (300, 100, [100] * 3), (4999, "auto", [4999]), (5600, "auto", [5000, 600])],
)
def test_batches_are_full_below_five_thousand_samples(monkeypatch, n, batch_size, expected):
    """All samples in one step, or 5,000; the whole data in every case."""
    monkeypatch.setattr(Recorder, "rows", [])
    x = np.random.RandomState(0).standard_normal((n, 2))
    encoder = {"a": Recorder, "b": {"hidden": ()}}
    settings = {"decoder": {"hidden": ()}, "max_epochs": 1, "validation_fraction": 0, **QUIET}
    mv.DCCA(z_dim=1, encoder=encoder, batch_size=batch_size, **settings).fit({"a": x, "b": x})
    assert Recorder.rows == expected


def test_no_batch_is_smaller_than_the_smallest_allowed(monkeypatch):
    """Of 305 samples in batches of 100, the last 5 would be all noise with z_dim=4: they join the batch before."""
    monkeypatch.setattr(Recorder, "rows", [])
    x = np.random.RandomState(0).standard_normal((305, 4))
    settings = {"decoder": {"hidden": ()}, "max_epochs": 1, "validation_fraction": 0, "batch_size": 100, **QUIET}
    mv.DCCA(z_dim=4, encoder={"a": Recorder, "b": {"hidden": ()}}, **settings).fit({"a": x, "b": x})
    assert Recorder.rows == [100, 100, 105]


@BOTH
@pytest.mark.parametrize(
    ("n", "settings"), [(300, {"batch_size": 9}), (9, {}), (9, {"batch_size": "full"})], ids=["batch", "data", "full"]
)
def test_small_batches_are_refused(cls, n, settings):
    """Fewer than 2 Z samples have correlations near one whatever they are."""
    x = np.random.RandomState(0).standard_normal((n, 8))
    with pytest.raises(ValueError, match="at least 10 samples"):
        cls(z_dim=5, **SMALL, **settings).fit(x, x[::-1])
    cls(z_dim=4, max_epochs=1, **SMALL, **settings).fit(x, x[::-1])


@BOTH
def test_a_view_that_meets_no_other_is_refused_by_name(cls):
    """Correlations of fewer than 2 Z samples would be near one whatever they are."""
    x = np.random.RandomState(0).standard_normal((60, 8))
    views = {"a": x.copy(), "b": x[::-1].copy(), "late": x.copy()}
    views["late"][:45] = np.nan
    views["a"][38:] = views["b"][51:] = np.nan  # 6 samples have both "late" and "b"
    settings = {**SMALL, "max_epochs": 1, "validation_fraction": 0}
    with pytest.raises(ValueError, match="8 samples at least, but view 'late' has no more than 6 training samples"):
        cls(z_dim=4, **settings).fit(views)
    cls(z_dim=3, **settings).fit(views)


@BOTH
def test_one_view_is_refused(cls):
    """There is nothing to correlate it with."""
    with pytest.raises(ValueError, match=f"{cls.__name__} relates views to each other and needs 2"):
        cls(**SMALL).fit(np.zeros((50, 3)))


# ---- networks that bend ---------------------------------------------------------------------------------------------


def test_networks_find_what_linear_cca_cannot():
    """(cos θ, sin θ) and (cos 2θ, sin 2θ) have no linear correlation, and share all there is to know: about 0.9."""
    rng = np.random.RandomState(0)
    theta = rng.uniform(0, 2 * np.pi, 1200)
    circles = [np.stack([np.cos(k * theta), np.sin(k * theta)], axis=1) for k in (1, 2)]
    views = Views({name: x + 0.1 * rng.standard_normal(x.shape) for name, x in zip("ab", circles, strict=True)})
    new = views[600:]
    linear = mv.DCCA(z_dim=2, **LINEAR, **LONG).fit(views[:600])
    deep = mv.DCCA(z_dim=2, max_epochs=120, **(SMALL | {"encoder": {"hidden": [32, 32]}})).fit(views[:600])
    assert np.abs(correlations(*view_codes(linear, new))).max() < 0.2
    assert correlations(*view_codes(deep, new)).min() > 0.8


def test_long_training_is_stable():
    """500 steps with six dimensions for two shared factors: finite throughout, no correlation ever above one."""
    views = make_multiview(100, (8, 7), n_shared=2, noise=0.5, random_state=0)
    model = mv.DCCA(z_dim=6, max_epochs=500, validation_fraction=0, **SMALL).fit(views)
    correlation = model.history_["correlation"].to_numpy()
    assert len(correlation) == 500
    assert (correlation <= 6).all()
    # It climbs to the end: steps back are small, and few.
    assert (np.diff(correlation[50:]) > -0.05).all()
    assert correlation[-1] > correlation[:400].max() - 0.01
    np.testing.assert_allclose(model.correlations_.sum(), correlation[-1], rtol=0.01)
    assert np.isfinite(model.transform(views)).all()


def test_early_stopping_watches_the_correlation_of_samples_held_out():
    """The weights kept are those with the largest held-out correlation; on new samples they beat those of the end."""
    views = make_multiview(1200, (20, 20), n_shared=2, n_private=1, noise=0.7, random_state=1)
    few, new = views[:200], views[200:]
    settings = SMALL | {"encoder": {"hidden": [64]}}
    stopped = mv.DCCA(z_dim=2, max_epochs=300, patience=20, **settings).fit(few)
    history = stopped.history_
    assert len(history) == stopped.best_epoch_ + 20 < 300
    assert history["val_correlation"].idxmax() == stopped.best_epoch_
    to_the_end = mv.DCCA(z_dim=2, max_epochs=300, validation_fraction=0, **settings).fit(few)
    total, overfitted = (correlations(*view_codes(model, new)).sum() for model in (stopped, to_the_end))
    assert to_the_end.correlations_.sum() > stopped.correlations_.sum()
    assert total > overfitted + 0.05


# ---- covariates -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sites():
    """Independent views, but that both are shifted by a site; and the site of each sample."""
    rng = np.random.RandomState(0)
    site = rng.randint(2, size=600)
    data = {name: rng.standard_normal((600, 4)) + 2 * np.outer(site, [1, 0, 0, 0]) for name in "ab"}
    return Views(data), {"site": np.where(site, "north", "south")}


def test_decoders_alone_get_covariates_by_default(sites):
    """Encoders that see a covariate make codes of it, which correlate perfectly: both views then say nothing else."""
    views, covariates = sites
    model = mv.DCCA(z_dim=1, **LINEAR, **LONG).fit(views, covariates=covariates)
    assert model.condition == "decoder"
    expected = canonical_correlations(views.array("a"), views.array("b"))[0]
    np.testing.assert_allclose(model.correlations_, expected, rtol=0.01)
    trivial = mv.DCCA(z_dim=1, condition="both", **LINEAR, **LONG).fit(views, covariates=covariates)
    assert trivial.correlations_ > 0.99
