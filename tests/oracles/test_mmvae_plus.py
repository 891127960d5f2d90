r"""MMVAE+: its objective against loops, integrals and exact evidence; its gradients; what it draws and what it answers.

The equation is, for K draws of z ~ q(z | x_m), h_m ~ q(h_m | x_m) and h̃_n ~ r_n (n ≠ m),

    1/M Σ_m E[log 1/K Σ_k w_m],
    log w_m = log p(x_m | z, h_m) + Σ_{n ≠ m} log p(x_n | z, h̃_n) + β log p(z) p(h_m) / [q(z | X) q(h_m | x_m)]
"""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import kstest, laplace, norm
from sklearn.linear_model import LinearRegression
from torch import nn

from manyview.data import Views
from manyview.data.batch import Batch
from manyview.data.preprocessing import make_batch
from manyview.datasets import LinearGaussian, make_multiview
from manyview.inference import log_evidence
from manyview.latent import map_parameters
from manyview.likelihoods import as_likelihood
from manyview.models.mixture import private_draws
from manyview.models.mmvae import MMVAE
from manyview.models.mmvae_plus import MMVAEPlus
from manyview.network import Network
from manyview.objectives import mixture_iwae

from .helpers import as_batch, double, fixed_normal, linear, repeat, replicates, with_gaps

BETA = 0.7
LAWS = {"normal": norm, "laplace": laplace}
FAMILIES = {"normal": torch.distributions.Normal, "laplace": torch.distributions.Laplace}

# ---- the objective is its equation ----------------------------------------------------------------------------------

B, M, Z, H, K = 5, 3, 2, 3, 4
SHAPES = [(3,), (2, 2), (2,)]
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0]], dtype=bool)


def random_network(model):
    """Nonlinear encoders and decoders with random weights; scales, learned ones included, away from their start."""
    torch.manual_seed(0)
    latent = model.latent()
    h_dim = model.h_dim if isinstance(model, MMVAEPlus) else 0
    width = latent.width + (latent.private.width if h_dim else 0)
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    network = Network(
        latent,
        model.fusion(["a", "b", "c"]),
        [nn.Sequential(nn.Flatten(), nn.Linear(d, 6), nn.Tanh(), nn.Linear(6, width)) for d in sizes],
        [
            nn.Sequential(nn.Linear(Z + h_dim, 6), nn.Tanh(), nn.Linear(6, d), nn.Unflatten(1, shape))
            for d, shape in zip(sizes, SHAPES, strict=True)
        ],
        [as_likelihood("laplace").build(shape) for shape in SHAPES],
        [torch.randn(shape) for shape in SHAPES],
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def random_batch(case):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(B, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    observed = [None] * M
    if case == "features":
        for m in (0, 1):
            mask = torch.rand(B, *SHAPES[m], generator=generator) < 0.6
            mask.view(B, -1)[:, 0] = True
            observed[m] = mask
    return Batch(tuple(x), tuple(observed), None if case == "complete" else torch.from_numpy(PRESENT))


def scale_of(r, transform, family):
    """The scale that a number states: a log-variance or log-scale, or one made positive or normalised."""
    if transform == "exp":
        return torch.exp(r / 2 if family == "normal" else r)
    if transform == "softplus":
        return torch.log(1 + torch.exp(r)) + 1e-6
    return len(r) * torch.exp(r) / torch.exp(r).sum() + 1e-6


def written_out(model, network, batch, noise_z, noise_own, noise_other):
    """The equation in loops over rows, sources, samples and views, from the weights of the network alone."""
    family = FAMILIES[model.posterior]

    def density(value, loc, scale):
        return family(loc, scale, validate_args=False).log_prob(value).sum()

    def scale(r):
        return scale_of(r, model.scale_transform, model.posterior)

    prior_scale = scale(network.latent.r_prior) if model.learn_prior else torch.ones(Z, dtype=torch.float64)
    zero, one = torch.zeros(H, dtype=torch.float64), torch.ones(H, dtype=torch.float64)
    bounds = []
    for b in range(B):
        views = [m for m in range(M) if batch.present is None or batch.present[b, m]]
        q_z, q_h = {}, {}
        for m in views:
            loc_z, r_z, loc_h, r_h = network.encoders[m](batch.x[m][b : b + 1])[0].split([Z, Z, H, H])
            q_z[m], q_h[m] = (loc_z, scale(r_z)), (loc_h, scale(r_h))
        by_source = []
        for m in views:
            log_w = []
            for k in range(K):
                z = q_z[m][0] + q_z[m][1] * noise_z[k, m, b]
                own = q_h[m][0] + q_h[m][1] * noise_own[k, m, b]
                log_lik = 0.0
                for n in views:
                    h = own if n == m else scale(network.fusion.r[n]) * noise_other[k, m, b, n]
                    x, eta = batch.x[n][b], network.decoders[n](torch.cat([z, h]).unsqueeze(0))[0]
                    sigma = 0.01 + network.likelihoods[n].rho.exp()
                    each = torch.distributions.Laplace(eta, sigma).log_prob(x) - getattr(network, f"log_scale_{n}")
                    mask = batch.observed[n]
                    log_lik = log_lik + (each.sum() if mask is None else each[mask[b]].sum())
                mixture = torch.logsumexp(torch.stack([density(z, *q_z[j]) for j in views]), 0) - np.log(len(views))
                log_ratio = density(z, torch.zeros_like(z), prior_scale) - mixture
                log_ratio = log_ratio + density(own, zero, one) - density(own, *q_h[m])
                log_w.append(log_lik + BETA * log_ratio)
            by_source.append(torch.logsumexp(torch.stack(log_w), 0) - np.log(K))
        bounds.append(sum(by_source) / len(by_source))
    return torch.stack(bounds)


OPTIONS = {
    "normal": {"posterior": "normal"},
    "laplace, softmax": {"posterior": "laplace", "scale_transform": "softmax", "learn_prior": True},
    "normal, softplus": {"posterior": "normal", "scale_transform": "softplus", "learn_prior": True},
    "laplace, dreg": {"posterior": "laplace", "gradient": "dreg"},
}


@pytest.mark.parametrize("case", ["complete", "views", "features"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_objective_equals_its_equation(options, case):
    """Each row's value is the equation above, over the views it has; so is its gradient (DReG's is another)."""
    model = MMVAEPlus(z_dim=Z, h_dim=H, n_importance_samples=K, **options)
    network, batch = random_network(model), random_batch(case)
    torch.manual_seed(2)
    value = model.objective(network, batch, BETA).value
    torch.manual_seed(2)
    law = FAMILIES[model.posterior](double(0.0), double(1.0))
    noise = law.rsample((K, M, B, Z)), law.rsample((K, M, B, H)), law.rsample((K, M, B, M, H))
    expected = written_out(model, network, batch, *noise)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    if model.gradient == "iwae":
        parameters = list(network.parameters())
        ours, theirs = (torch.autograd.grad(x.mean(), parameters) for x in (value, expected))
        for found, wanted in zip(ours, theirs, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-9)


# ---- limiting cases -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["complete", "views"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_without_private_dimensions_it_is_mmvae(options, case):
    """h_dim = 0: the same value and gradient as MMVAE's with the same draws, bit for bit."""
    found = []
    for model in (MMVAE(z_dim=Z, **options), MMVAEPlus(z_dim=Z, h_dim=0, **options)):
        network, batch = random_network(model), random_batch(case)
        torch.manual_seed(2)
        value = model.objective(network, batch, BETA).value
        found.append([value, *torch.autograd.grad(value.mean(), list(network.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


TINY = {
    "z_dim": 2,
    "encoder": {"hidden": [8]},
    "decoder": {"hidden": [8]},
    "n_importance_samples": 2,
    "max_epochs": 4,
    "random_state": 0,
    "verbose": False,
}


def test_without_private_dimensions_it_fits_as_mmvae():
    """h_dim = 0: the same data and seed give the same weights and predictions, and nothing is private."""
    views = make_multiview(100, (4, 3), missing=0.2, random_state=0)
    one, other = MMVAE(**TINY).fit(views), MMVAEPlus(h_dim=0, **TINY).fit(views)
    weights, others = one.network_.state_dict(), other.network_.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(x, others[name]) for name, x in weights.items())
    for name, x in one.predict(views).items():
        assert np.array_equal(other.predict(views)[name], x)
    with pytest.raises(AttributeError, match="h_dim"):
        _ = other.auxiliary_scales_
    with pytest.raises(ValueError, match="private"):
        other.transform_private(views)


@pytest.mark.parametrize("gradient", ["iwae", "dreg"])
@pytest.mark.parametrize("case", ["complete", "views"])
def test_private_latents_that_say_nothing_change_nothing(case, gradient):
    """With q(h_m | x_m) = p(h) and decoders that do not look at h, the value is MMVAE's with the same draws of z."""
    plus = MMVAEPlus(z_dim=Z, h_dim=H, gradient=gradient)
    network, batch = random_network(plus), random_batch(case)
    plain = MMVAE(z_dim=Z, gradient=gradient)
    other = random_network(plain)
    with torch.no_grad():
        for m in range(M):
            network.encoders[m][-1].weight[2 * Z :] = 0
            network.encoders[m][-1].bias[2 * Z :] = 0
            network.decoders[m][0].weight[:, Z:] = 0
            other.encoders[m][1].load_state_dict(network.encoders[m][1].state_dict())
            other.encoders[m][-1].weight.copy_(network.encoders[m][-1].weight[: 2 * Z])
            other.encoders[m][-1].bias.copy_(network.encoders[m][-1].bias[: 2 * Z])
            other.decoders[m][0].weight.copy_(network.decoders[m][0].weight[:, :Z])
            other.decoders[m][0].bias.copy_(network.decoders[m][0].bias)
            other.decoders[m][2].load_state_dict(network.decoders[m][2].state_dict())
            other.likelihoods[m].load_state_dict(network.likelihoods[m].state_dict())
            getattr(other, f"log_scale_{m}").copy_(getattr(network, f"log_scale_{m}"))
    values = []
    for model, net in ((plus, network), (plain, other)):
        torch.manual_seed(3)
        values.append(model.objective(net, batch, BETA).value)
    torch.testing.assert_close(*values, rtol=1e-10, atol=1e-10)


# ---- linear models: exact evidence, and exact limits of the bound ---------------------------------------------------


class LinearPrivate:
    """x_m = W_m z + V_m h_m + b_m + noise, one z and one h_m a view, and linear encoders that are not quite right."""

    def __init__(self, n_features=(3, 2), seed=3):
        rng = np.random.RandomState(seed)
        self.w = [rng.normal(size=(d, 1)) for d in n_features]
        self.v = [0.8 * rng.normal(size=(d, 1)) for d in n_features]
        self.b = [0.5 * rng.normal(size=d) for d in n_features]
        self.sigma = [rng.uniform(0.6, 0.9, size=d) for d in n_features]
        self.encoders = []
        for w, v, b, sigma in zip(self.w, self.v, self.b, self.sigma, strict=True):
            loadings = np.hstack([w, v])
            covariance = np.linalg.inv(np.eye(2) + loadings.T / sigma**2 @ loadings)
            gain = covariance @ loadings.T / sigma**2 + 0.05 * rng.normal(size=(2, len(b)))
            bias, flat = 0.1 - gain @ b, 0.02 * rng.normal(size=(2, len(b)))
            r = 0.4 + np.log(np.diag(covariance))
            self.encoders.append(
                (
                    np.vstack([gain[:1], flat[:1], gain[1:], flat[1:]]),
                    np.array([bias[0], r[0], bias[1], r[1]]),
                )
            )

    @property
    def exact(self):
        """The same as a linear-Gaussian model of (z, h_1 ... h_M)."""
        n = len(self.w)
        loadings = []
        for m, (w, v) in enumerate(zip(self.w, self.v, strict=True)):
            loadings.append(np.hstack([w, *(v if j == m else np.zeros_like(v) for j in range(n))]))
        return LinearGaussian(tuple(loadings), tuple(self.b), tuple(self.sigma))

    def network(self, model, auxiliary_scales=None):
        """Networks with these weights; the auxiliary priors have these scales, 1 when not given."""
        fusion = model.fusion([f"view_{m}" for m in range(len(self.w))])
        network = Network(
            model.latent(),
            fusion,
            [linear(*encoder) for encoder in self.encoders],
            [linear(np.hstack([w, v]), b) for w, v, b in zip(self.w, self.v, self.b, strict=True)],
            [fixed_normal(sigma) for sigma in self.sigma],
            [torch.zeros(len(b), dtype=torch.float64) for b in self.b],
        ).double()
        if auxiliary_scales is not None:
            factor = 2 if model.posterior == "normal" else 1
            with torch.no_grad():
                fusion.r.copy_(factor * double(auxiliary_scales).log().unsqueeze(1))
        return network

    def log_marginal(self, x, n, z, scale, law):
        """log ∫ law(h; 0, scale) p(x_n | z, h) dh at each z, by the trapezoid rule."""
        h = np.linspace(-14, 14, 561) * scale if law is laplace else np.linspace(-8, 8, 161) * scale
        seen = ~np.isnan(x)
        mean = z[:, None, None] * self.w[n][:, 0] + h[:, None] * self.v[n][:, 0] + self.b[n]
        log_p = norm.logpdf(x[seen], mean[..., seen], self.sigma[n][seen]).sum(-1)
        return logsumexp(log_p + law.logpdf(h, 0, scale), axis=1) + np.log(h[1] - h[0])

    def limits(self, views, network, auxiliary_scales, law):
        """1/M Σ_m log ∫ q_m(z) p_m(X, z) / q(z | X) dz and log ∫ p(X, z) dz of each row, by integration over z.

        p_m(X, z) = p(z) p(x_m | z) Π_{n ≠ m} ∫ r_n(h) p(x_n | z, h) dh: the first is what the bound of K samples tends
        to as K rises, and stays below. The second is the evidence.
        """
        z = np.linspace(-12, 12, 401)
        with torch.no_grad():
            base = network.experts(as_batch(views)).base_dist
        loc, spread = base.loc[..., 0].numpy(), base.scale[..., 0].numpy()
        limits, evidence = [], []
        for i in range(len(views)):
            here = np.flatnonzero(views.present[i])
            log_q = {m: law.logpdf(z, loc[m, i], spread[m, i]) for m in here}
            mixture = logsumexp(list(log_q.values()), axis=0) - np.log(len(here))
            x = {n: views.array(views.names[n])[i] for n in here}
            own = {n: self.log_marginal(x[n], n, z, 1.0, law) for n in here}
            other = {n: self.log_marginal(x[n], n, z, auxiliary_scales[n], law) for n in here}
            by_source = [
                logsumexp(log_q[m] - mixture + law.logpdf(z) + sum(own[n] if n == m else other[n] for n in here))
                for m in here
            ]
            limits.append(np.mean(by_source) + np.log(z[1] - z[0]))
            evidence.append(logsumexp(law.logpdf(z) + sum(own.values())) + np.log(z[1] - z[0]))
        return np.array(limits), np.array(evidence)


GAPS = [(0, "view_0", None), (1, "view_1", [1]), (2, "view_0", [2]), (3, "view_1", None)]
ROWS = 5


@pytest.fixture(scope="module")
def toy():
    return LinearPrivate()


@pytest.fixture(scope="module", params=["complete", "gaps"])
def views(request, toy):
    views, _ = toy.exact.sample(ROWS, random_state=4)
    return views if request.param == "complete" else with_gaps(views, GAPS)


def bound(model, network, views, times):
    """The mean of the objective over draws, and its standard error."""
    torch.manual_seed(0)
    with torch.no_grad():
        return replicates(model.objective(network, as_batch(repeat(views, times)), 1.0).value, times)


def plus(k, **options):
    return MMVAEPlus(z_dim=1, h_dim=1, n_importance_samples=k, **options)


@pytest.mark.parametrize("gradient", ["iwae", "dreg"])
@pytest.mark.parametrize("posterior", ["normal", "laplace"])
def test_bound_of_the_evidence(toy, views, posterior, gradient):
    """With r_n = p(h): below log p(X), z and all h_m integrated out, for every K, and rising with K."""
    network = toy.network(plus(1, posterior=posterior))
    _, evidence = toy.limits(views, network, [1.0, 1.0], LAWS[posterior])
    if posterior == "normal":
        np.testing.assert_allclose(evidence, toy.exact.log_evidence(views), atol=1e-6)
    means = []
    for k in (1, 10):
        mean, error = bound(plus(k, posterior=posterior, gradient=gradient), network, views, 2000)
        assert (mean <= evidence + 4 * error).all()
        means.append(mean)
    assert (means[1] > means[0]).all()
    assert (evidence - means[1] < 0.7 * (evidence - means[0])).all()


@pytest.mark.parametrize("posterior", ["normal", "laplace"])
def test_limit_of_many_samples(toy, views, posterior):
    """K → ∞: 1/M Σ_m log ∫ q(z | x_m) p_m(X, z) / q(z | X) dz, with r_n in place of p(h_n) for all views but m."""
    scales = [0.3, 2.0]
    network = toy.network(plus(1, posterior=posterior), scales)
    limits, evidence = toy.limits(views, network, scales, LAWS[posterior])
    complete = views.present.all(1)
    assert np.abs(limits - evidence)[complete].max() > 0.1  # the auxiliary priors matter
    for k in (1, 20):
        mean, error = bound(plus(k, posterior=posterior), network, views, 1000)
        assert (mean <= limits + 4 * error).all()
    mean, error = bound(plus(4000, posterior=posterior), network, views, 12)
    assert (error < 0.015).all()
    np.testing.assert_allclose(mean, limits, atol=0.03)


@pytest.mark.parametrize("k", [1, 3])
def test_tight_for_one_view_with_its_exact_posterior(k):
    """M = 1 and q(z, h | x) = p(z, h | x), which factorises if W ⟂ V: every draw gives log p(x), without noise."""
    toy = LinearPrivate((2,))
    toy.w, toy.v, toy.sigma = [np.array([[1.3], [0.0]])], [np.array([[0.0], [0.7]])], [np.array([0.6, 0.8])]
    precision = 1 + np.array([1.3, 0.7]) ** 2 / toy.sigma[0] ** 2
    gain = np.diag(np.array([1.3, 0.7]) / toy.sigma[0] ** 2 / precision)
    bias, r = -gain @ toy.b[0], -np.log(precision)
    weight = np.vstack([gain[:1], np.zeros((1, 2)), gain[1:], np.zeros((1, 2))])
    toy.encoders = [(weight, np.array([bias[0], r[0], bias[1], r[1]]))]
    model = plus(k, posterior="normal")
    views, _ = toy.exact.sample(6, random_state=0)
    value = model.objective(toy.network(model), as_batch(views), 1.0).value
    np.testing.assert_allclose(value.detach().numpy(), toy.exact.log_evidence(views), atol=1e-10)


def test_score_is_the_evidence_under_the_prior_of_the_private_latents(toy, views):
    """log_evidence reaches log p(X) with h_m ~ p(h), whatever the auxiliary priors are."""
    torch.manual_seed(0)
    with torch.no_grad():
        estimate = log_evidence(toy.network(plus(1, posterior="normal"), [0.1, 9.0]), as_batch(views), 8000).numpy()
    np.testing.assert_allclose(estimate, toy.exact.log_evidence(views), atol=0.05)


@pytest.mark.parametrize("present", [[1, 1, 1], [1, 0, 1]])
def test_gradient_of_the_auxiliary_scales(present):
    """K = 1: ∂/∂r_n of 1/M Σ_{m ≠ n} E log N(x_n; W z + V e^{r_n/2} ε, σ²) is -(M-1)/M ½ e^{r_n} ‖V/σ‖²."""
    toy, scales = LinearPrivate((3, 2, 4)), np.array([0.5, 1.0, 1.5])
    model = plus(1, posterior="normal")
    views, _ = toy.exact.sample(1, random_state=0)
    views = with_gaps(views, [(0, f"view_{m}", None) for m in range(3) if not present[m]])
    network = toy.network(model, scales)
    batch = as_batch(repeat(views, 500))
    torch.manual_seed(0)
    gradients = []
    for _ in range(40):
        value = model.objective(network, batch, 1.0).value.mean()
        gradients.append(torch.autograd.grad(value, network.fusion.r)[0][:, 0].numpy())
    mean, error = np.mean(gradients, 0), np.std(gradients, 0, ddof=1) / 40**0.5
    size = np.array([((v[:, 0] / s) ** 2).sum() for v, s in zip(toy.v, toy.sigma, strict=True)])
    count = sum(present)
    expected = -(count - 1) / count * 0.5 * scales**2 * size * np.array(present)
    assert (np.abs(expected[np.array(present, bool)]) > 0.05).all()
    assert (np.abs(mean - expected) <= 4 * error).all()


# ---- what is drawn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("posterior", ["normal", "laplace"])
def test_draws_of_private_latents(posterior):
    """Decoder n gets h ~ q(h_n | x_n) with its own view's z, h̃ ~ r_n with others': one a row, source and sample."""
    toy, scales, k, n_rows = LinearPrivate((3, 2, 4)), np.array([0.5, 3.0, 1.2]), 4, 100
    for weight, bias in toy.encoders:
        weight[2:] = 0
        bias[2:] = [100.0, 0.0]  # q(h_m | x_m) is around 100
    model = plus(k, posterior=posterior)
    network = toy.network(model, scales)
    views, _ = toy.exact.sample(1, random_state=0)
    codes = {}
    for n, decoder in enumerate(network.decoders):
        decoder.register_forward_hook(lambda _, inputs, __, n=n: codes.update({n: inputs[0].detach().numpy()}))
    torch.manual_seed(0)
    model.objective(network, as_batch(repeat(views, n_rows)), 1.0)
    for n in range(3):
        z, h = codes[n].reshape(k, 3, n_rows, 2).transpose(3, 0, 1, 2)
        assert np.array_equal(z, codes[0][:, 0].reshape(k, 3, n_rows))  # the same z for all decoders
        assert len(np.unique(h)) == h.size
        own, others = h[:, n].ravel(), np.delete(h, n, axis=1).ravel()
        law = LAWS[posterior]
        assert kstest(own - 100, law(0, 1).cdf).pvalue > 1e-3
        assert kstest(others, law(0, scales[n]).cdf).pvalue > 1e-3


# ---- doubly reparametrised gradients --------------------------------------------------------------------------------


class Free(nn.Module):
    """An encoder without input: what it returns is its parameter, one row each, so that each row has its gradient."""

    def __init__(self, numbers, n_rows):
        super().__init__()
        self.numbers = nn.Parameter(double(numbers).repeat(n_rows, 1))

    def forward(self, x):
        return self.numbers


def free_network(toy, model, n_rows):
    network = toy.network(model, [0.6, 1.4])
    rng = np.random.RandomState(1)
    # Wider than the exact posteriors, so that the importance weights of K samples differ.
    numbers = rng.normal(scale=0.5, size=(2, 4)) + np.array([0.0, 0.9, 0.0, 0.9])
    network.encoders = nn.ModuleList(Free(row, n_rows) for row in numbers)
    return network


def row_gradients(network, value):
    """The gradient of each row's value in what the encoders state, (rows, M · numbers), and the decoders' and r's."""
    *shared, first, second = torch.autograd.grad(
        value.sum(), [*network.decoders.parameters(), network.fusion.r, *network.encoders.parameters()]
    )
    return torch.cat([first, second], 1).numpy(), shared


def without_scores(model, network, batch, beta):
    """The plain bound with the parameters of q(h_m | x_m) held fixed: unbiased for K = 1 only."""

    def log_joint(z):
        _, q_h = network.encode(batch)
        own = q_h.rsample((len(z),))
        frozen = map_parameters(q_h, lambda _, parameter: parameter.detach())
        log_ratio = network.latent.prior.log_prob(z) + network.private_latent.prior.log_prob(own)
        log_lik = network.reconstruction(z, batch, private_draws(network, own)).sum(-2)
        return log_lik + beta * (log_ratio - frozen.log_prob(own))

    k = model.n_importance_samples
    return mixture_iwae(network.experts(batch), log_joint, k, present=batch.present, beta=beta)


def deviations(first, second):
    """The difference of two mean gradients in its standard errors."""
    difference = np.abs(first.mean(0) - second.mean(0))
    error = np.sqrt(first.var(0) / len(first) + second.var(0) / len(second))
    return np.where(difference <= 1e-12, 0.0, difference / np.where(error > 0, error, 1.0))


@pytest.mark.parametrize("posterior", ["normal", "laplace"])
@pytest.mark.parametrize(("k", "beta", "gap"), [(1, 1.0, None), (5, 1.0, None), (5, 0.4, None), (5, 1.0, "view_0")])
def test_dreg_and_iwae_agree_in_expectation(toy, posterior, k, beta, gap):
    """E[∇ DReG] = E[∇ IWAE] for q(z | x_m) and q(h_m | x_m), within 4 standard errors; the others' are the same."""
    n = 20_000
    views, _ = toy.exact.sample(1, random_state=0)
    batch = as_batch(repeat(with_gaps(views, [(0, gap, None)] if gap else []), n))
    found = {}
    for gradient, seed in (("iwae", 1), ("dreg", 2), ("dreg", 1)):
        model = plus(k, posterior=posterior, gradient=gradient)
        network = free_network(toy, model, n)
        torch.manual_seed(seed)
        found[gradient, seed] = row_gradients(network, model.objective(network, batch, beta).value)
    plain, doubly = found["iwae", 1][0], found["dreg", 2][0]
    assert deviations(plain, doubly).max() < 4
    present = [gap != "view_0", True]
    for columns, here in zip((slice(0, 4), slice(4, 8)), present, strict=True):
        assert (np.abs(plain.mean(0)[columns]) > 0.01).any() == here
        assert (doubly[:, columns] == 0).all() == (not here)
    for ours, theirs in zip(found["iwae", 1][1], found["dreg", 1][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("k", "biased"), [(1, False), (5, True)])
def test_the_comparison_has_power(toy, k, biased):
    """The same comparison finds the bias of dropping the score of q(h_m | x_m), which has none for K = 1."""
    n = 20_000
    views, _ = toy.exact.sample(1, random_state=0)
    batch = as_batch(repeat(views, n))
    model = plus(k, posterior="normal")
    network = free_network(toy, model, n)
    torch.manual_seed(1)
    plain, _ = row_gradients(network, model.objective(network, batch, 1.0).value)
    torch.manual_seed(2)
    dropped, _ = row_gradients(network, without_scores(model, network, batch, 1.0))
    worst = deviations(plain, dropped).max()
    assert worst > 8 if biased else worst < 4


def test_dreg_is_less_noisy_for_many_samples(toy):
    """K = 50: less variance in the gradients of q(h_m | x_m), which needs the private latents' own paths."""
    n = 1000
    views, _ = toy.exact.sample(1, random_state=0)
    batch, noise = as_batch(repeat(views, n)), {}
    for gradient in ("iwae", "dreg"):
        model = plus(50, posterior="normal", gradient=gradient)
        network = free_network(toy, model, n)
        torch.manual_seed(1)
        noise[gradient] = row_gradients(network, model.objective(network, batch, 1.0).value)[0].var(0)
    private = [2, 3, 6, 7]
    assert noise["dreg"][private].sum() < 0.5 * noise["iwae"][private].sum()


# ---- through the face -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    views = make_multiview(300, (6, 5), n_shared=1, n_private=1, random_state=0)
    return MMVAEPlus(**{**TINY, "z_dim": 1, "max_epochs": 30}, h_dim=2).fit(views), views


def test_auxiliary_priors_learn(fitted):
    """Each view has its own scales, (M, H), moved by training from 1; under "softmax" they still average 1."""
    model, views = fitted
    assert model.auxiliary_scales_.shape == (2, 2)
    assert (np.abs(model.auxiliary_scales_ - 1) > 1e-3).all()
    assert not np.allclose(*model.auxiliary_scales_)
    normalised = MMVAEPlus(**TINY, h_dim=2, scale_transform="softmax").fit(views).auxiliary_scales_
    assert (np.abs(normalised - 1) > 1e-4).all()
    np.testing.assert_allclose(normalised.mean(1), 1, atol=1e-5)


def test_auxiliary_priors_serve_training_alone(fitted):
    """The private latent of a view that is not given has the prior p(h): predictions, samples and scores ignore r_n."""
    model, views = fitted
    options = {"given": ["view_0"], "n_samples": 3}

    def answers():
        drawn = model.predict(views, **options)["view_1"], model.sample(5).array("view_0")
        return [*drawn, model.score_samples(views, n_samples=3), model.predict(views)["view_0"]]

    before, r = answers(), model.network_.fusion.r
    kept = r.detach().clone()
    try:
        with torch.no_grad():
            r.add_(3.0)
        for x, y in zip(before, answers(), strict=True):
            assert np.array_equal(x, y)
    finally:
        with torch.no_grad():
            r.copy_(kept)


def test_private_latents_of_given_and_absent_views(fitted):
    """infer: q(h_m | x_m) where view m is given, p(h) = Laplace(0, 1) where it is not."""
    model, views = fitted
    data = Views(view_0=views.array("view_0")[:3], view_1=np.full((3, 5), np.nan))
    _, q_h = model.network_.infer(make_batch(data, model.views_))
    _, everything = model.network_.infer(make_batch(views[:3], model.views_))
    for name, prior in (("loc", 0.0), ("scale", 1.0)):
        found, wanted = getattr(q_h.base_dist, name), getattr(everything.base_dist, name)
        torch.testing.assert_close(found[0], wanted[0])
        assert (found[1] == prior).all()
        assert (wanted[1] != prior).all()
    assert (model.transform_private(data)["view_1"] == 0).all()


def explained(codes, factor):
    """R² of the linear regression of a factor on codes, on the half that it was not fitted to."""
    half = len(codes) // 2
    return LinearRegression().fit(codes[:half], factor[:half]).score(codes[half:], factor[half:])


def test_shared_and_private_factors_separate():
    """z, of all views or of any one, holds the shared factor and no private one; each h_m holds its view's own."""
    views, factors = make_multiview(2000, (10, 8, 6), n_shared=1, n_private=1, return_factors=True, random_state=0)
    nets = {"hidden": [32]}
    model = MMVAEPlus(
        z_dim=1, h_dim=1, posterior="normal", n_importance_samples=1, encoder=nets, decoder=nets,
        learning_rate=5e-3, max_epochs=12, random_state=0, verbose=False,
    ).fit(views)  # fmt: skip
    private = model.transform_private(views)
    assert explained(model.transform(views), factors["shared"][:, 0]) > 0.95
    for m, name in enumerate(views.names):
        own = factors[f"private_{m}"][:, 0]
        z = model.transform(views, given=[name])
        assert explained(z, factors["shared"][:, 0]) > 0.9
        assert explained(z, own) < 0.05
        assert explained(model.transform(views), own) < 0.05
        assert explained(private[name], own) > 0.8
        assert explained(private[name], factors["shared"][:, 0]) < 0.1
