"""Each model's objective on a random network, against its equation written out in loops, with the same noise."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Laplace, Normal, kl_divergence

import manyview as mv
from manyview.data.batch import Batch
from manyview.likelihoods import as_likelihood
from manyview.network import Network

B, M, Z, BETA = 6, 3, 2, 0.7
SHAPES = [(3,), (2, 2), (2,)]
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]], dtype=bool)
SCALES = {"normal": Normal, "laplace": Laplace}
KINDS = ("normal", "bernoulli", "laplace")


def make_network(model, kinds=KINDS):
    """Nonlinear encoders and decoders with random weights, learned scales away from their start, units of features."""
    torch.manual_seed(0)
    latent = model.latent()
    likelihoods = [as_likelihood(kind).build(shape) for kind, shape in zip(kinds, SHAPES, strict=True)]
    network = Network(
        latent,
        model.fusion([f"view_{m}" for m in range(M)]),
        [
            nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(s)), 8), nn.Tanh(), nn.Linear(8, latent.width))
            for s in SHAPES
        ],
        [nn.Sequential(nn.Linear(Z, 8), nn.Tanh(), nn.Linear(8, int(np.prod(s))), nn.Unflatten(1, s)) for s in SHAPES],
        likelihoods,
        [torch.randn(shape) for shape in SHAPES],
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return network


def make_data(case):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(B, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    x[1] = (x[1] > 0).double()
    observed, present = [None] * M, None
    if case != "complete":
        present = torch.from_numpy(PRESENT)
    if case == "features":
        for m in (0, 1):
            mask = torch.rand(B, *SHAPES[m], generator=generator) < 0.6
            mask.view(B, -1)[:, 0] = True
            observed[m] = mask
    return Batch(tuple(x), tuple(observed), present)


class Reference:
    """One row's distributions and densities, from the weights of a network alone."""

    def __init__(self, network, batch, b, kinds=KINDS):
        self.network, self.batch, self.b, self.kinds = network, batch, b, kinds
        self.views = [m for m in range(M) if batch.present is None or batch.present[b, m]]

    def h(self, m):
        return self.network.encoders[m](self.batch.x[m][self.b : self.b + 1])[0]

    def normal(self, m):
        """q(z | x_m), h = (μ, log σ²)."""
        mean, log_variance = self.h(m).split(Z)
        return Normal(mean, log_variance.exp().sqrt())

    def laplace(self, m):
        """q(z | x_m), h = (μ, log b)."""
        loc, log_scale = self.h(m).split(Z)
        return Laplace(loc, log_scale.exp())

    def log_lik(self, z, m):
        """log p(x_m | z) of the observed features, as a density in the units of the data."""
        x, eta = self.batch.x[m][self.b], self.network.decoders[m](z.unsqueeze(0))[0]
        if self.kinds[m] == "mse":
            each = -((x - eta) ** 2)
        elif self.kinds[m] == "bernoulli":
            each = Bernoulli(logits=eta).log_prob(x)
        else:
            sigma = 0.01 + self.network.likelihoods[m].rho.exp()
            each = SCALES[self.kinds[m]](eta, sigma).log_prob(x) - getattr(self.network, f"log_scale_{m}")
        observed = self.batch.observed[m]
        return each.sum() if observed is None else each[observed[self.b]].sum()

    def product(self, views, powers=None, prior=True):
        """p(z)^[prior] Π q(z | x_m)^α_m."""
        precision, weighted = float(prior), 0.0
        for i, m in enumerate(views):
            q = self.normal(m)
            t = q.scale**-2 * (1 if powers is None else powers[i])
            precision, weighted = precision + t, weighted + t * q.loc
        return Normal(weighted / precision, precision**-0.5)

    def elbo(self, q, noise, views):
        """Σ_m log p(x_m | z) - β KL(q ‖ p), with z = μ + σ ε."""
        z = q.loc + q.scale * noise
        divergence = kl_divergence(q, Normal(torch.zeros_like(z), torch.ones_like(z))).sum()
        return sum(self.log_lik(z, m) for m in views) - BETA * divergence


def ae(ref, noise):
    """1/M² Σ_s Σ_m log p(x_m | f_s(x_s))."""
    pairs = itertools.product(ref.views, ref.views)
    return sum(ref.log_lik(ref.h(s), m) for s, m in pairs) / len(ref.views) ** 2


def mvae(ref, noise):
    """ELBO with q(z | X) ∝ p(z) Π q(z | x_m)."""
    return ref.elbo(ref.product(ref.views), noise[0, ref.b], ref.views)


def memvae(ref, noise):
    """ELBO(X) + Σ_m ELBO(x_m)."""
    total = ref.elbo(ref.product(ref.views), noise[0, ref.b], ref.views)
    return total + sum(ref.elbo(ref.product([m]), noise[1 + m, ref.b], [m]) for m in ref.views)


def mcvae(ref, noise):
    """Σ_s E_{q_s} Σ_m log p(x_m | z_s) - β KL(q_s ‖ p)."""
    return sum(ref.elbo(ref.normal(s), noise[s, ref.b], ref.views) for s in ref.views)


def sparse_mcvae(ref, noise):
    """The same with q_s = N(μ, α μ²), and the approximate divergence from the log-uniform prior."""
    log_alpha = ref.network.latent.log_alpha
    gate = 1 / (1 + torch.exp(-(1.87320 + 1.48695 * log_alpha)))
    divergence = (0.5 * torch.log(1 + torch.exp(-log_alpha)) + 0.63576 * (1 - gate)).sum()
    total = 0.0
    for s in ref.views:
        mean = ref.h(s)
        z = mean + torch.exp(log_alpha).sqrt() * (mean.abs() + 1e-6) * noise[s, ref.b]
        total = total + sum(ref.log_lik(z, m) for m in ref.views) - BETA * divergence
    return total


def weighted_mvae(ref, noise):
    """ELBO with q(z | X) ∝ Π q(z | x_m)^α_m, the weights of the views that are present summing to one."""
    exponentials = ref.network.fusion.logits.exp()[ref.views]
    q = ref.product(ref.views, exponentials / exponentials.sum(0), prior=False)
    return ref.elbo(q, noise[0, ref.b], ref.views)


def mmvae(ref, noise, expert, family):
    """1/M Σ_m log 1/K Σ_k p(X, z) / q(z | X), with the density of the whole mixture."""
    experts = {m: expert(ref, m) for m in ref.views}
    bounds = []
    for m in ref.views:
        weights = []
        for k in range(len(noise)):
            z = experts[m].loc + experts[m].scale * noise[k, m, ref.b]
            q = sum(torch.exp(experts[j].log_prob(z).sum()) for j in ref.views) / len(ref.views)
            p = family(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum()
            weights.append(sum(ref.log_lik(z, n) for n in ref.views) + BETA * (p - torch.log(q)))
        bounds.append(torch.log(torch.exp(torch.stack(weights)).mean()))
    return sum(bounds) / len(bounds)


def mmvae_normal(ref, noise):
    return mmvae(ref, noise, Reference.normal, Normal)


def mmvae_laplace(ref, noise):
    return mmvae(ref, noise, Reference.laplace, Laplace)


MIXTURE = {"z_dim": Z, "n_importance_samples": 3}
CASES = {
    "AE": (mv.AE(z_dim=Z), ae, Normal, (1, B, Z)),
    "MVAE": (mv.MVAE(z_dim=Z), mvae, Normal, (1, B, Z)),
    "MEMVAE": (mv.MEMVAE(z_dim=Z), memvae, Normal, (1 + M, B, Z)),
    "MCVAE": (mv.MCVAE(z_dim=Z), mcvae, Normal, (M, B, Z)),
    "MCVAE sparse": (mv.MCVAE(z_dim=Z, sparse=True), sparse_mcvae, Normal, (M, B, Z)),
    "WeightedMVAE": (mv.WeightedMVAE(z_dim=Z), weighted_mvae, Normal, (1, B, Z)),
    "MMVAE laplace": (mv.MMVAE(**MIXTURE), mmvae_laplace, Laplace, (3, M, B, Z)),
    "MMVAE normal": (mv.MMVAE(posterior="normal", **MIXTURE), mmvae_normal, Normal, (3, M, B, Z)),
    "MMVAE dreg": (mv.MMVAE(gradient="dreg", **MIXTURE), mmvae_laplace, Laplace, (3, M, B, Z)),
}


def compare(name, case, kinds):
    model, reference, family, shape = CASES[name]
    network, batch = make_network(model, kinds), make_data(case)
    torch.manual_seed(2)
    value = model.objective(network, batch, BETA).value
    torch.manual_seed(2)
    zero = torch.zeros(shape, dtype=torch.float64)
    noise = family(zero, zero + 1).rsample()
    expected = torch.stack([reference(Reference(network, batch, b, kinds), noise) for b in range(B)])
    # AE counts the views of incomplete rows in single precision.
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9)
    return network, value, expected


def gradients(network, value):
    return torch.autograd.grad(value.mean(), list(network.parameters()), allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("case", ["complete", "views", "features"])
@pytest.mark.parametrize("name", CASES)
def test_objective_equals_its_equation(name, case):
    """The objective of each row is the equation in the model's docstring; so is its gradient (DReG's is another)."""
    network, value, expected = compare(name, case, KINDS)
    if name != "MMVAE dreg":
        for ours, theirs in zip(gradients(network, value), gradients(network, expected), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", ["complete", "views", "features"])
def test_ae_minimises_the_squared_error(case):
    """-1/M² Σ_s Σ_m ‖x_m - d_m(f_s(x_s))‖², in the units of the standardised data."""
    compare("AE", case, ("mse",) * M)
