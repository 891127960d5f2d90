r"""The options of MMVAE: how posterior scales are made, and the learned prior, in every place where the prior enters.

Scales from numbers r: exp(r/2) for a standard deviation and exp(r) for a Laplace scale, log(1 + exp r) + 10⁻⁶, or
Z softmax(r) + 10⁻⁶; the learned prior is of the posteriors' family, around 0, its scale made in the same way.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import kstest, laplace, norm

from manyview.data import Views
from manyview.data.preprocessing import make_batch
from manyview.datasets import LinearGaussian, make_linear_gaussian, make_multiview
from manyview.fusion import MoE
from manyview.inference import log_evidence
from manyview.latent import independent
from manyview.models.mmvae import MMVAE

from .helpers import as_batch, double, laplace_experts, linear_network, normal_experts, repeat, replicates, with_gaps

LAWS = {"normal": norm, "laplace": laplace}
EXPERTS = {"normal": normal_experts, "laplace": laplace_experts}
TRANSFORMS = ("exp", "softplus", "softmax")
POSTERIORS = tuple(LAWS)

families = pytest.mark.parametrize("posterior", POSTERIORS)
transforms = pytest.mark.parametrize("transform", TRANSFORMS)


def scales(r, transform, posterior):
    """The scales that numbers (..., Z) state."""
    if transform == "exp":
        return np.exp(r / 2 if posterior == "normal" else r)
    if transform == "softplus":
        return np.log1p(np.exp(r)) + 1e-6
    return r.shape[-1] * np.exp(r) / np.exp(r).sum(-1, keepdims=True) + 1e-6


def make_latent(posterior, transform, r_prior=None, z_dim=3):
    model = MMVAE(z_dim=z_dim, posterior=posterior, scale_transform=transform, learn_prior=r_prior is not None)
    latent = model.latent().double()
    if r_prior is not None:
        with torch.no_grad():
            latent.r_prior.copy_(double(r_prior))
    return latent


R_PRIOR = np.array([0.7, -0.9, 0.2])

# ---- scales of the posteriors ---------------------------------------------------------------------------------------


@families
@transforms
def test_scales_are_made_by_their_formula(posterior, transform):
    """q(z | x) has the location as it is and the stated function of r as its scale, in each family."""
    rng = np.random.RandomState(0)
    loc, r = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    q = make_latent(posterior, transform)(double(np.hstack([loc, r]))).base_dist
    assert isinstance(q, {"normal": torch.distributions.Normal, "laplace": torch.distributions.Laplace}[posterior])
    np.testing.assert_array_equal(q.loc.numpy(), loc)
    np.testing.assert_allclose(q.scale.numpy(), scales(r, transform, posterior), rtol=1e-12)


VIEWS = make_multiview(60, (4, 3), missing=0.2, random_state=0)
TINY = {
    "z_dim": 3,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "n_importance_samples": 2,
    "max_epochs": 5,
    "learning_rate": 0.02,
    "random_state": 0,
    "verbose": False,
}


@pytest.fixture(scope="module")
def fitted():
    """Models with every option, after training."""
    return {
        (posterior, transform): MMVAE(posterior=posterior, scale_transform=transform, learn_prior=True, **TINY).fit(
            VIEWS
        )
        for posterior, transform in itertools.product(POSTERIORS, TRANSFORMS)
    }


@families
@transforms
def test_softmax_scales_average_one(fitted, posterior, transform):
    """After training, the scales of each sample and view, and of the prior, average 1 under "softmax", only there."""
    model = fitted[posterior, transform]
    network = model.network_
    with torch.no_grad():
        q = network.experts(make_batch(VIEWS, model.views_)).base_dist
        posteriors, prior = q.scale.mean(-1).numpy(), network.latent.prior_scale.numpy()
    assert q.scale.std(-1).mean() > 0.01  # they differ between the dimensions
    assert np.abs(prior - 1).max() > 0.01
    if transform == "softmax":
        np.testing.assert_allclose(posteriors, 1, atol=1e-5)
        np.testing.assert_allclose(prior.mean(), 1, atol=1e-5)
    else:
        assert np.abs(posteriors - 1).max() > 0.02
        assert np.abs(prior.mean() - 1) > 1e-4


# ---- the learned prior ----------------------------------------------------------------------------------------------


@families
@transforms
def test_prior_starts_at_scale_one(posterior, transform):
    """Before training a learned prior is the standard one, which is the prior of models that do not learn it."""
    z = double(np.random.RandomState(0).normal(size=(5, 3)))
    expected = LAWS[posterior].logpdf(z.numpy()).sum(-1)
    for learn in (False, True):
        model = MMVAE(z_dim=3, posterior=posterior, scale_transform=transform, learn_prior=learn)
        latent = model.latent().double()
        assert (latent.r_prior is not None) == learn
        np.testing.assert_allclose(latent.prior.log_prob(z).detach().numpy(), expected, atol=1e-5)


def test_prior_does_not_learn_unless_asked():
    """learn_prior=False: the prior has no parameters, and is standard after training."""
    model = MMVAE(scale_transform="softplus", **TINY).fit(VIEWS)
    assert not list(model.network_.latent.parameters())
    assert (model.network_.latent.prior_scale == 1).all()


@families
@transforms
def test_density_of_the_learned_prior(posterior, transform):
    """log p(z) = Σ_i log p(z_i; 0, scale_i)."""
    latent = make_latent(posterior, transform, R_PRIOR)
    z = np.random.RandomState(1).normal(size=(6, 3))
    expected = LAWS[posterior].logpdf(z, 0, scales(R_PRIOR, transform, posterior)).sum(-1)
    np.testing.assert_allclose(latent.prior.log_prob(double(z)).detach().numpy(), expected, rtol=1e-10)


@families
@transforms
def test_kl_to_the_learned_prior_equals_the_integral(posterior, transform):
    """KL(q ‖ p) = Σ_i ∫ q(z_i) log q(z_i) / p(z_i; 0, scale_i) dz_i, by adaptive quadrature."""
    law, latent = LAWS[posterior], make_latent(posterior, transform, R_PRIOR)
    loc, spread, prior = np.array([1.5, -0.4, 0.0]), np.array([0.3, 1.0, 2.0]), scales(R_PRIOR, transform, posterior)
    expected = 0.0
    for m, s, b in zip(loc, spread, prior, strict=True):
        q, p, reach = law(m, s), law(0, b), 40 * s if law is laplace else 12 * s

        def integrand(z, q=q, p=p):
            return np.exp(q.logpdf(z)) * (q.logpdf(z) - p.logpdf(z))

        kinks = [x for x in (0.0, m) if abs(x - m) < reach]
        expected += quad(integrand, m - reach, m + reach, points=kinks, limit=400, epsabs=1e-10)[0]
    kl = latent.kl(EXPERTS[posterior](loc[None], spread[None]))
    assert kl.item() == pytest.approx(expected, abs=1e-7)
    assert latent.kl(independent(latent.prior.base_dist.expand((2, 3)))).detach().numpy() == pytest.approx(0, abs=1e-10)


@families
@transforms
def test_samples_come_from_the_learned_prior(fitted, posterior, transform):
    """``sample`` draws z from the learned prior: in each dimension, the distribution with its scale."""
    model = fitted[posterior, transform]
    decoder, codes = model.network_.decoders[0], []
    hook = decoder.register_forward_hook(lambda _, inputs, __: codes.append(inputs[0].numpy()))
    try:
        model.sample(4000, random_state=1)
    finally:
        hook.remove()
    prior = model.network_.latent.prior_scale.detach().numpy()
    for z, scale in zip(np.concatenate(codes).T, prior, strict=True):
        assert kstest(z, LAWS[posterior](0, scale).cdf).pvalue > 1e-3


@families
@transforms
def test_samples_without_views_get_the_learned_prior(fitted, posterior, transform):
    """q(z | nothing) = p(z): its density, its mean, and draws with its scale; other rows are not touched."""
    model = fitted[posterior, transform]
    rows = {name: VIEWS.array(name)[[0, 0, 0]].copy() for name in VIEWS.names}
    for x in rows.values():
        x[0] = np.nan
    rows["view_0"][1] = np.nan
    with torch.no_grad():
        q = model.network_.posterior(make_batch(Views(rows), model.views_))
        z = torch.from_numpy(np.random.RandomState(0).normal(size=(5, 3)).astype(np.float32))
        density = q.log_prob(z.unsqueeze(1).expand(-1, 3, -1)).numpy()
        expert = model.network_.experts(make_batch(Views(rows), model.views_)).base_dist
    prior = model.network_.latent.prior_scale.detach().numpy()
    law = LAWS[posterior]
    np.testing.assert_allclose(density[:, 0], law.logpdf(z.numpy(), 0, prior).sum(-1), rtol=1e-4)
    one_view = law.logpdf(z.numpy(), expert.loc[1, 1].numpy(), expert.scale[1, 1].numpy()).sum(-1)
    np.testing.assert_allclose(density[:, 1], one_view, rtol=1e-4)
    nothing = {name: np.full((1, *shape), np.nan) for name, shape in VIEWS.shapes.items()}
    with pytest.warns(UserWarning, match="1 of 1 samples"):
        draws = model.transform(nothing, n_samples=4000, random_state=0)[:, 0]
    with pytest.warns(UserWarning, match="1 of 1 samples"):
        assert (model.transform(nothing) == 0).all()
    for i in range(3):
        assert kstest(draws[:, i], law(0, prior[i]).cdf).pvalue > 1e-3


# ---- in the objective and the evidence ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth():
    """Views that say little of z: posteriors are nearly as wide as the prior, so that no draw of z is far out."""
    model = make_linear_gaussian((3, 2), 2, noise=0.9, random_state=3)
    return LinearGaussian(tuple(0.4 * w for w in model.loadings), model.offsets, model.noise)


@pytest.fixture(scope="module")
def views(truth):
    complete, _ = truth.sample(4, random_state=4)
    return with_gaps(complete, [(0, "view_0", None), (1, "view_1", [1]), (2, "view_1", None)])


R_2D = np.array([0.5, -0.8])


def make_network(truth, model):
    rng = np.random.RandomState(6)
    encoders = []
    for w, b, sigma in zip(truth.loadings, truth.offsets, truth.noise, strict=True):
        precision = np.eye(2) + w.T / sigma**2 @ w
        gain = np.linalg.solve(precision, w.T / sigma**2) + 0.05 * rng.normal(size=(2, len(b)))
        weight = np.vstack([gain, 0.05 * rng.normal(size=gain.shape)])
        encoders.append((weight, np.array([0.1, -0.1, 0.3, 0.0]) - weight @ b))
    network = linear_network(truth, model.latent(), model.fusion(["view_0", "view_1"]), encoders)
    if model.learn_prior:
        with torch.no_grad():
            network.latent.r_prior.copy_(double(R_2D))
    return network


class Grid:
    """Integrals over z on a grid, of two dimensions, with the densities of one model."""

    def __init__(self, truth, views, network, posterior, prior_scale):
        self.axis = np.linspace(-11, 11, 221)
        self.z = np.stack(np.meshgrid(self.axis, self.axis, indexing="ij"), -1).reshape(-1, 2)
        self.log_cell = 2 * np.log(self.axis[1] - self.axis[0])
        self.law = LAWS[posterior]
        self.log_prior = self.law.logpdf(self.z, 0, prior_scale).sum(-1)
        self.present = views.present
        with torch.no_grad():
            base = network.experts(as_batch(views)).base_dist
        self.loc, self.scale = base.loc.numpy(), base.scale.numpy()
        self.log_lik = np.zeros((len(views), len(self.z)))
        for name, w, b, sigma in zip(views.names, truth.loadings, truth.offsets, truth.noise, strict=True):
            each = norm.logpdf(views.array(name)[:, None], self.z @ w.T + b, sigma)
            self.log_lik += np.nansum(each, -1)

    def evidence(self):
        """log ∫ p(z) p(X | z) dz."""
        return logsumexp(self.log_prior + self.log_lik, axis=1) + self.log_cell

    def elbo(self, beta):
        """1/M Σ_m ∫ q_m(z) {log p(X | z) + β [log p(z) - log q(z | X)]} dz."""
        out = []
        for i, row in enumerate(self.present):
            here = np.flatnonzero(row)
            log_q = np.stack([self.law.logpdf(self.z, self.loc[m, i], self.scale[m, i]).sum(-1) for m in here])
            mixture = logsumexp(log_q, axis=0) - np.log(len(here))
            value = self.log_lik[i] + beta * (self.log_prior - mixture)
            out.append((np.exp(mixture + self.log_cell) * value).sum())
        return np.array(out)


@pytest.mark.parametrize("gradient", ["iwae", "dreg"])
@pytest.mark.parametrize("learn_prior", [False, True])
@families
@transforms
def test_bound_of_one_sample_is_the_elbo(truth, views, posterior, transform, learn_prior, gradient):
    """K = 1: E_q[log p(X | z)] - β KL(q(z | X) ‖ p(z)) with the whole mixture q and any prior, by integration."""
    beta, times = 0.8, 4000
    model = MMVAE(
        z_dim=2,
        n_importance_samples=1,
        posterior=posterior,
        scale_transform=transform,
        learn_prior=learn_prior,
        gradient=gradient,
    )
    network = make_network(truth, model)
    grid = Grid(truth, views, network, posterior, scales(R_2D, transform, posterior) if learn_prior else 1.0)
    torch.manual_seed(0)
    with torch.no_grad():
        value = model.objective(network, as_batch(repeat(views, times)), beta).value
    mean, error = replicates(value, times)
    expected = grid.elbo(beta)
    assert (error < 0.2).all()
    assert (np.abs(mean - expected) < 4 * error + 1e-3).all()
    if learn_prior:  # the prior's scale is not lost in the noise
        standard = Grid(truth, views, network, posterior, 1.0).elbo(beta)
        assert (np.abs(standard - expected) > 8 * error).any()


@families
@transforms
def test_evidence_under_the_learned_prior(truth, views, posterior, transform):
    """log_evidence reaches log ∫ p(z) p(X | z) dz with the prior's learned scale; the bound stays below."""
    model = MMVAE(z_dim=2, n_importance_samples=10, posterior=posterior, scale_transform=transform, learn_prior=True)
    network = make_network(truth, model)
    evidence = Grid(truth, views, network, posterior, scales(R_2D, transform, posterior)).evidence()
    torch.manual_seed(0)
    with torch.no_grad():
        estimate = log_evidence(network, as_batch(views), 20_000).numpy()
        mean, error = replicates(model.objective(network, as_batch(repeat(views, 1000)), 1.0).value, 1000)
    np.testing.assert_allclose(estimate, evidence, atol=0.06)
    assert (mean <= evidence + 4 * error).all()


@pytest.mark.parametrize("gradient", ["iwae", "dreg"])
@families
@transforms
def test_gradient_of_the_learned_prior(truth, views, posterior, transform, gradient):
    """K = 1: ∂/∂r of β 1/M Σ_m E_{q_m} log p(z; r) is that of the expected log-density, in closed form."""
    beta, times = 0.8, 4000
    model = MMVAE(
        z_dim=2,
        n_importance_samples=1,
        posterior=posterior,
        scale_transform=transform,
        learn_prior=True,
        gradient=gradient,
    )
    network = make_network(truth, model)
    found = []
    torch.manual_seed(0)
    for _ in range(10):
        value = model.objective(network, as_batch(repeat(views, times // 10)), beta).value.mean()
        found.append(torch.autograd.grad(value, network.latent.r_prior)[0].numpy())
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / 10**0.5

    # E log p = Σ_i [-log s_i - ½ E z_i² / s_i²] or Σ_i [-log s_i - E|z_i| / s_i], a moment of each posterior.
    with torch.no_grad():
        base = network.experts(as_batch(views)).base_dist
    loc, spread, law = base.loc.numpy(), base.scale.numpy(), LAWS[posterior]
    power = 2 if posterior == "normal" else 1
    absolute = np.abs(loc) + spread * np.exp(-np.abs(loc) / spread)
    moments = loc**2 + spread**2 if posterior == "normal" else absolute
    here = views.present.T[..., None]
    moment = ((moments * here).sum(0) / here.sum(0)).mean(0)

    def expected_log_density(r):
        s = scales(r, transform, posterior)
        return beta * (law.logpdf(0, 0, s) - moment / (power * s**power)).sum()

    step = 1e-5 * np.eye(2)
    expected = np.array([(expected_log_density(R_2D + e) - expected_log_density(R_2D - e)) / 2e-5 for e in step])
    assert (np.abs(expected) > 0.02).all()
    assert (np.abs(mean - expected) < 5 * error).all()


# ---- the mixture's density where views are missing ------------------------------------------------------------------


def test_absent_experts_do_not_enter_however_narrow():
    """q(z | X) of a row with view 0 alone is q(z | x_0), though the absent expert is 10²⁶ times as dense at z."""
    loc, scale = np.zeros((2, 1, 20)), np.stack([np.ones((1, 20)), np.full((1, 20), 0.05)])
    q = MoE()(normal_experts(loc, scale), torch.tensor([[True, False]]))
    assert q.log_prob(double(np.zeros((1, 20)))).item() == pytest.approx(20 * norm.logpdf(0))
