"""What training finds where the truth is known, and the schedule of β."""

import numpy as np
import pytest

import manyview as mv
from manyview.datasets import make_multiview
from manyview.models import MODELS

SMALL = {
    "encoder": {"hidden": [32]},
    "decoder": {"hidden": [32]},
    "learning_rate": 1e-2,
    "max_epochs": 8,
    "random_state": 0,
    "verbose": False,
}


def canonical_correlations(a, b):
    """Cosines of the angles between the column spaces of centred data, largest first."""
    q, r = (np.linalg.qr(x - x.mean(0))[0] for x in (a, b))
    return np.linalg.svd(q.T @ r, compute_uv=False)


@pytest.fixture(scope="module")
def simulated():
    return make_multiview(2000, (20, 20), n_shared=2, noise=0.3, return_factors=True, random_state=0)


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_shared_factors_are_recovered(cls, simulated):
    """Both canonical correlations of transform(X) with the factors z of x_m = W_m z + ε_m are at least 0.95."""
    views, factors = simulated
    z = cls(z_dim=2, **SMALL, **OWN.get(cls, {})).fit_transform(views)
    assert canonical_correlations(z, factors["shared"]).min() >= 0.95


def test_weights_prefer_the_informative_view(simulated):
    """Where one view is noise, gPoE gives the other most of the weight in every dimension that is used."""
    signal = simulated[0].array("view_0")
    noise = np.random.RandomState(0).standard_normal(signal.shape)
    model = mv.WeightedMVAE(z_dim=2, **(SMALL | {"max_epochs": 12})).fit({"signal": signal, "noise": noise})
    assert (model.weights_[0] > 0.6).all()
    np.testing.assert_allclose(model.weights_.sum(0), 1, rtol=1e-6)


def test_sparse_mcvae_finds_the_dimension(simulated):
    """Of eight dimensions, dropout switches off those beyond the two that the data have (linear networks, as here)."""
    views, factors = simulated
    linear = {"encoder": {"hidden": []}, "decoder": {"hidden": []}, "max_epochs": 60}
    model = mv.MCVAE(z_dim=8, sparse=True, **(SMALL | linear)).fit(views)
    kept = model.kept_dimensions_
    assert len(kept) == 2
    assert (model.dropout_rate_[kept] < 0.05).all()
    assert (np.delete(model.dropout_rate_, kept) > 0.4).all()
    z = model.transform(views)
    assert (np.delete(z, kept, axis=1) == 0).all()
    assert canonical_correlations(z[:, kept], factors["shared"])[1] >= 0.95


# ---- the warm-up of β ------------------------------------------------------------------------------------------------

VARIATIONAL = [cls for cls in MODELS if cls.has_likelihood]

# The simulation has no private factors; full batches would leave eight steps.
OWN = {
    mv.DMVAE: {"h_dim": 0},
    mv.WeightedDMVAE: {"h_dim": 0},
    mv.DCCA: {"batch_size": 256},
    mv.DCCAE: {"batch_size": 256},
}


@pytest.mark.parametrize("cls", VARIATIONAL, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(("beta", "warmup"), [(1.0, 10), (4.0, 5), (0.5, 1)])
def test_beta_grows_linearly(cls, beta, warmup):
    """β(t) = β min(t / warm-up, 1)."""
    model = cls(beta=beta, beta_warmup=warmup)
    for epoch in np.linspace(0, 3 * warmup, 31):
        assert model.beta_at(float(epoch)) == pytest.approx(beta * min(epoch / warmup, 1))


@pytest.mark.parametrize("cls", VARIATIONAL, ids=lambda cls: cls.__name__)
def test_beta_is_constant_without_warm_up(cls):
    """With beta_warmup=0, β from the first step."""
    assert [cls(beta=2.0).beta_at(epoch) for epoch in (0.0, 0.5, 100.0)] == [2.0] * 3


def test_ae_has_no_divergence_to_weigh():
    """Beta is 1 throughout, and the autoencoder has no such parameter."""
    assert [mv.AE().beta_at(epoch) for epoch in (0.0, 3.0)] == [1.0, 1.0]
    assert "beta" not in mv.AE().get_params()


@pytest.mark.parametrize("cls", VARIATIONAL, ids=lambda cls: cls.__name__)
def test_history_holds_beta_and_losses_use_it(cls):
    """At the end of epoch t, β(t); of the validation loss, -log_lik + β kl where the objective is a sum of these."""
    views = make_multiview(120, (4, 3), random_state=0)
    settings = SMALL | {"max_epochs": 6, "batch_size": 32}
    history = cls(z_dim=2, beta=2.0, beta_warmup=4, **settings).fit(views).history_
    np.testing.assert_allclose(history["beta"], [0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    if "kl" not in history or cls in (mv.JMVAE, mv.MVTCAE):  # which weigh other divergences
        return
    log_lik = history[[f"val_log_lik[view_{m}]" for m in range(2)]].sum(axis=1)
    np.testing.assert_allclose(history["val_loss"], history["beta"] * history["val_kl"] - log_lik, rtol=1e-4)


def test_history_of_ae_has_beta_one():
    """The autoencoder's β is recorded as what it is."""
    views = make_multiview(60, (4, 3), random_state=0)
    assert (mv.AE(z_dim=2, **(SMALL | {"max_epochs": 2})).fit(views).history_["beta"] == 1).all()
