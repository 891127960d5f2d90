"""Likelihoods against scipy, torch.distributions, numerical integration and marginals made by hand."""

import copy
import json
import math
import pickle
import re

import numpy as np
import pytest
import scipy.stats
import torch
from torch import distributions as D
from torch import nn

from manyview.likelihoods import (
    LIKELIHOODS,
    MSE,
    Bernoulli,
    Categorical,
    Laplace,
    Likelihood,
    MultivariateNormal,
    Normal,
    as_likelihood,
    detect_likelihood,
)

SPECS = [
    Normal(scale=0.7),
    Normal(scale=2.0, learn_scale=False),
    Laplace(scale=0.4, min_scale=0.0),
    MultivariateNormal(scale=0.8),
    MultivariateNormal(rank=2, scale=1.5),
    MultivariateNormal(rank=3, learn_scale=False),
    Bernoulli(),
    Categorical(),
    MSE(),
]
IDS = [repr(spec) for spec in SPECS]
SCALED = [Normal, Laplace, MultivariateNormal]
every_spec = pytest.mark.parametrize("spec", SPECS, ids=IDS)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def built(spec, shape, seed=0):
    """The likelihood in double precision, its parameters moved away from their initial values."""
    likelihood = spec.build(shape).double()
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.add_(0.5 * noise(*parameter.shape, seed=seed))
    return likelihood


def data(spec, n, shape, seed=1):
    """Data in the support."""
    if isinstance(spec, Categorical):
        classes = torch.randint(shape[0], (n,), generator=rng(seed))
        return nn.functional.one_hot(classes, shape[0]).double()
    x = noise(n, *shape, seed=seed)
    return (x > 0).double() if isinstance(spec, Bernoulli) else x


def covariance(likelihood):
    return torch.diag(likelihood.sigma.flatten().square()) + likelihood.W @ likelihood.W.mT


def reference(likelihood, eta):
    """The same distribution by torch.distributions."""
    match likelihood:
        case Normal():
            return D.Independent(D.Normal(eta, likelihood.sigma), len(likelihood.shape))
        case Laplace():
            return D.Independent(D.Laplace(eta, likelihood.sigma), len(likelihood.shape))
        case Bernoulli():
            return D.Independent(D.Bernoulli(logits=eta), len(likelihood.shape))
        case Categorical():
            return D.OneHotCategorical(logits=eta)
        case MultivariateNormal():
            return D.MultivariateNormal(eta, covariance(likelihood))
        case MSE():
            return D.Independent(D.Normal(eta, math.sqrt(0.5)), len(likelihood.shape))


# Densities


@every_spec
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_log_prob_agrees_with_torch_distributions(spec, lead):
    likelihood, x = built(spec, (4,)), data(spec, 5, (4,))
    eta = noise(*lead, 5, 4, seed=2)
    expected = reference(likelihood, eta).log_prob(x)
    if not likelihood.normalised:
        expected = expected + 4 / 2 * math.log(math.pi)
    result = likelihood.log_prob(eta, x)
    assert result.shape == (*lead, 5)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    ("spec", "log_density"),
    [
        (Normal(scale=0.7), lambda x, eta, s: scipy.stats.norm.logpdf(x, eta, s).sum(1)),
        (Laplace(scale=0.7), lambda x, eta, s: scipy.stats.laplace.logpdf(x, eta, s).sum(1)),
    ],
    ids=["normal", "laplace"],
)
def test_log_prob_agrees_with_scipy(spec, log_density):
    likelihood, x, eta = built(spec, (3,)), noise(6, 3), noise(6, 3, seed=5)
    expected = log_density(x.numpy(), eta.numpy(), likelihood.sigma.detach().numpy())
    np.testing.assert_allclose(likelihood.log_prob(eta, x).detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("spec", [s for s in SPECS if not isinstance(s, Categorical)], ids=repr)
def test_features_of_any_shape_count_as_their_flat_vector(spec):
    image, flat = built(spec, (2, 3, 2)), built(spec, (12,))
    for a, b in zip(image.parameters(), flat.parameters(), strict=True):
        b.data.copy_(a.data.reshape(b.shape))
    x, eta = data(spec, 4, (2, 3, 2)), noise(2, 4, 2, 3, 2, seed=3)
    observed = noise(4, 2, 3, 2, seed=4) > 0
    for mask in (None, observed):
        torch.testing.assert_close(
            image.log_prob(eta, x, mask),
            flat.log_prob(eta.reshape(2, 4, 12), x.flatten(1), None if mask is None else mask.flatten(1)),
        )
    a, b = image.sample(eta, rng()), flat.sample(eta.flatten(2), rng())
    torch.testing.assert_close(a.flatten(2), b)


@pytest.mark.parametrize("spec", [s for s in SPECS if s.continuous], ids=repr)
def test_continuous_densities_integrate_to_one(spec):
    likelihood = built(spec, (1,))
    x = torch.linspace(-60, 60, 240_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        mass = torch.trapezoid(likelihood.log_prob(torch.full_like(x, 0.3), x).exp(), x[:, 0])
    assert mass.item() == pytest.approx(1.0 if likelihood.normalised else math.sqrt(math.pi), rel=1e-5)


def test_correlated_density_integrates_to_one_in_two_dimensions():
    likelihood = built(MultivariateNormal(rank=1, scale=0.5), (2,))
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = likelihood.log_prob(torch.zeros_like(x), x).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("spec", "support"),
    [
        (Bernoulli(), torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).double()),
        (Categorical(), torch.eye(4).double()),
    ],
    ids=["bernoulli", "categorical"],
)
def test_discrete_probabilities_sum_to_one(spec, support):
    eta = noise(1, 4).expand(len(support), 4)
    assert spec.build((4,)).log_prob(eta, support).exp().sum().item() == pytest.approx(1.0)


def test_bernoulli_takes_grey_values_and_extreme_logits():
    likelihood = Bernoulli().build((2,))
    x, eta = torch.tensor([[0.3, 0.8]]), torch.tensor([[1.0, -2.0]])
    p = eta.sigmoid()
    torch.testing.assert_close(likelihood.log_prob(eta, x), (x * p.log() + (1 - x) * (1 - p).log()).sum(-1))
    extreme = torch.tensor([[1e4, -1e4]])
    assert likelihood.log_prob(extreme, torch.tensor([[1.0, 0.0]])).item() == 0.0
    assert likelihood.log_prob(extreme, torch.tensor([[0.0, 1.0]])).item() == -2e4


def test_rank_zero_is_normal():
    correlated, plain = MultivariateNormal(scale=0.6).build((5,)), Normal(scale=0.6).build((5,))
    x, eta, observed = torch.randn(4, 5, generator=rng()), torch.zeros(2, 4, 5), noise(4, 5) > 0
    for mask in (None, observed):
        torch.testing.assert_close(correlated.log_prob(eta, x, mask), plain.log_prob(eta, x, mask))
    torch.testing.assert_close(correlated.sample(eta, rng()), plain.sample(eta, rng()))
    assert [name for name, _ in correlated.named_parameters()] == ["rho"]


def test_single_precision_survives_a_low_rank_far_larger_than_the_diagonal():
    likelihood = MultivariateNormal(rank=2, scale=0.02, learn_scale=False).build((50,))
    with torch.no_grad():
        likelihood.W.copy_(10 * torch.randn(50, 2, generator=rng()))
    x = likelihood.sample(torch.zeros(20, 50), rng(1)).detach()
    result = likelihood.log_prob(torch.zeros(20, 50), x)
    expected = copy.deepcopy(likelihood).double().log_prob(torch.zeros(20, 50).double(), x.double())
    torch.testing.assert_close(result.double(), expected, rtol=1e-2, atol=0.5)


def test_mixed_precision_keeps_the_covariance_in_full():
    likelihood = MultivariateNormal(rank=3).build((20,))
    eta, x = torch.zeros(4, 20), torch.randn(4, 20, generator=rng())
    expected = likelihood.log_prob(eta, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(likelihood.log_prob(eta.bfloat16(), x), expected)


# Missing entries


@every_spec
def test_filler_is_excluded_and_nothing_observed_gives_zero(spec):
    likelihood, x = built(spec, (4,)), data(spec, 6, (4,))
    eta = noise(3, 6, 4, seed=2).requires_grad_()
    observed = noise(6, 4, seed=3) > 0
    observed[0], observed[1] = False, True
    results, gradients = [], []
    for filler in (0.0, 1.0, -1e200):  # whose square overflows
        results.append(likelihood.log_prob(eta, torch.where(observed, x, filler), observed))
        gradients.append(torch.autograd.grad(results[-1].sum(), eta)[0])
    for result, gradient in zip(results, gradients, strict=True):
        assert torch.equal(result, results[0])
        assert torch.equal(gradient, gradients[0])
        assert gradient.isfinite().all()
    assert (results[0][:, 0] == 0).all()
    assert (gradients[0][:, 0] == 0).all()
    torch.testing.assert_close(results[0][:, 1], likelihood.log_prob(eta, x)[:, 1])


@pytest.mark.parametrize("spec", [Normal(), Laplace(), Bernoulli(), MSE()], ids=repr)
def test_factorised_marginal_is_the_likelihood_of_the_observed_columns(spec):
    likelihood, x, eta = built(spec, (5,)), data(spec, 3, (5,)), noise(2, 3, 5, seed=6)
    keep = torch.tensor([True, False, True, True, False])
    rest = spec.build((3,)).double()
    for part, whole in zip(rest.parameters(), likelihood.parameters(), strict=True):
        part.data.copy_(whole.data[keep])
    torch.testing.assert_close(
        likelihood.log_prob(eta, x, keep.expand(3, 5)), rest.log_prob(eta[..., keep], x[:, keep])
    )


@pytest.mark.parametrize("rank", [0, 1, 3, 8])
def test_correlated_marginal_is_scipys_on_the_observed_features(rank):
    likelihood = built(MultivariateNormal(rank=rank, scale=0.8), (6,))
    x, eta, observed = noise(8, 6, seed=1), noise(2, 8, 6, seed=2), noise(8, 6, seed=3) > 0
    observed[:, 0] |= ~observed.any(1)
    cov = covariance(likelihood).detach().numpy()
    result = likelihood.log_prob(eta, x, observed).detach().numpy()
    for s, b in np.ndindex(2, 8):
        o = observed[b].numpy()
        oracle = scipy.stats.multivariate_normal(eta[s, b].numpy()[o], cov[np.ix_(o, o)])
        assert result[s, b] == pytest.approx(oracle.logpdf(x[b].numpy()[o]), rel=1e-10)


@pytest.mark.parametrize("observed", list(np.ndindex(2, 2, 2)))
@pytest.mark.parametrize("k", range(3))
def test_categorical_marginal_sums_over_the_classes_that_agree(k, observed):
    eta, x, mask = noise(1, 3), torch.eye(3)[[k]].double(), torch.tensor([observed]).bool()
    probabilities = eta[0].softmax(0)
    agree = [c for c in range(3) if torch.equal(torch.eye(3)[c][mask[0]].double(), x[0][mask[0]])]
    expected = probabilities[agree].sum().log().item()
    filled = torch.where(mask, x, 1.0)
    assert Categorical().build((3,)).log_prob(eta, filled, mask).item() == pytest.approx(expected, abs=1e-12)


# Means and draws


@every_spec
def test_mean_is_that_of_the_reference(spec):
    likelihood, eta = built(spec, (4,)), noise(2, 3, 4)
    torch.testing.assert_close(likelihood.mean(eta), reference(likelihood, eta).mean)


@every_spec
def test_samples_have_the_moments_of_the_density(spec):
    n = 40_000
    likelihood, eta = built(spec, (3,)), noise(3)
    with torch.no_grad():
        x = likelihood.sample(eta.expand(2, n // 2, 3), rng(7))
        assert x.shape == (2, n // 2, 3)
        assert x.dtype == eta.dtype
        x = x.reshape(n, 3)
        if isinstance(spec, MSE):
            assert torch.equal(x, eta.expand(n, 3))
            return
        law = reference(likelihood, eta)
        sd = law.variance.sqrt()
        assert ((x.mean(0) - law.mean).abs() < 5 * sd / n**0.5).all()
        # The noise of a variance grows with the kurtosis, at most 6 here.
        torch.testing.assert_close(x.var(0), law.variance, rtol=5 * (6 / n) ** 0.5, atol=0.0)
        if isinstance(law, D.MultivariateNormal):
            expected = law.covariance_matrix / (sd[:, None] * sd)
            torch.testing.assert_close(torch.corrcoef(x.T), expected, rtol=0.0, atol=5 / n**0.5)
        if isinstance(spec, Categorical):
            assert torch.equal(x.sum(-1), torch.ones(n, dtype=x.dtype))
        if not spec.continuous:
            assert ((x == 0) | (x == 1)).all()


@pytest.mark.parametrize(
    ("spec", "law"), [(Normal(scale=0.5), "norm"), (Laplace(scale=0.5), "laplace")], ids=["normal", "laplace"]
)
def test_samples_follow_scipys_law(spec, law):
    x = spec.build((1,)).sample(torch.full((5000, 1), 2.0), rng(3)).detach()[:, 0]
    assert scipy.stats.kstest(x.numpy(), law, args=(2.0, 0.5)).pvalue > 1e-3


@every_spec
def test_sample_honours_the_generator_and_leaves_the_global_one_alone(spec):
    likelihood, eta = built(spec, (4,)), noise(50, 4)
    state = torch.get_rng_state()
    first, again, other = (likelihood.sample(eta, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == isinstance(spec, MSE)


@every_spec
def test_sample_without_generator_follows_the_global_one(spec):
    likelihood, eta = built(spec, (4,)), noise(50, 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first = likelihood.sample(eta)
        torch.manual_seed(5)
        assert torch.equal(likelihood.sample(eta), first)


# Building


@every_spec
@pytest.mark.parametrize("masked", [False, True])
def test_every_parameter_and_eta_get_a_gradient(spec, masked):
    likelihood, x = spec.build((4,)), data(spec, 8, (4,)).float()
    eta = torch.zeros(2, 8, 4, requires_grad=True)
    observed = torch.ones(8, 4, dtype=torch.bool) if masked else None
    if masked:
        observed[0, 0] = False
    likelihood.log_prob(eta, x, observed).sum().backward()
    for name, tensor in [("eta", eta), *likelihood.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        assert tensor.grad.abs().sum() > 0, name


class LogProb(nn.Module):
    def __init__(self, likelihood):
        super().__init__()
        self.likelihood = likelihood

    def forward(self, *args):
        return self.likelihood.log_prob(*args)


@pytest.mark.parametrize("masked", [False, True])
@every_spec
def test_gradients_agree_with_finite_differences(spec, masked):
    log_prob, x, eta = LogProb(built(spec, (3,))), data(spec, 2, (3,)), noise(2, 3, seed=9).requires_grad_()
    observed = torch.tensor([[True, False, True], [False, True, True]]) if masked else None
    parameters = dict(log_prob.named_parameters())

    def f(eta, *values):
        named = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(log_prob, named, (eta, x, observed))

    assert torch.autograd.gradcheck(f, (eta, *parameters.values()))


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize(("scale", "min_scale"), [(1.0, 0.01), (0.05, 0.0), (3.0, 2.9)])
def test_sigma_starts_at_scale_and_keeps_its_floor(kind, scale, min_scale):
    learned = kind(scale=scale, min_scale=min_scale).build((2, 3))
    assert learned.sigma.shape == (2, 3)
    torch.testing.assert_close(learned.sigma, torch.full((2, 3), scale), rtol=1e-6, atol=0)
    learned.rho.data.fill_(-100)
    torch.testing.assert_close(learned.sigma, torch.full((2, 3), min_scale))
    fixed = kind(scale=scale, learn_scale=False, min_scale=5.0).build((2, 3))
    assert torch.equal(fixed.sigma, torch.full((2, 3), scale))
    assert not list(fixed.parameters())


def test_low_rank_start_is_small_and_follows_torchs_generator():
    spec = MultivariateNormal(rank=2, scale=0.5)
    with torch.random.fork_rng(devices=[]):
        first, again, other = (torch.manual_seed(seed) and spec.build((400,)).W for seed in (1, 1, 2))
    assert first.shape == (400, 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first @ first.mT).diagonal().mean().item() == pytest.approx(0.01 * 0.5**2, rel=0.3)


@every_spec
def test_build_leaves_the_specification_alone_and_may_be_repeated(spec):
    first = spec.build((4,))
    assert type(first) is type(spec)
    assert first.shape == (4,)
    assert spec.shape is None
    assert not spec.state_dict()
    second = first.build((6,))
    assert second.shape == (6,)
    assert first.shape == (4,)
    assert second.settings() == spec.settings()
    assert all(len(value) == 6 for value in second.state_dict().values())
    assert second.log_prob(torch.zeros(2, 6), torch.eye(6)[:2]).shape == (2,)


@every_spec
def test_settings_are_plain_and_rebuild(spec):
    settings = json.loads(json.dumps(spec.settings()))
    assert repr(type(spec)(**settings)) == repr(spec)
    rebuilt = type(spec)(**settings).build((4,))
    rebuilt.load_state_dict(spec.build((4,)).state_dict())


def test_settings_of_numpy_scalars_are_plain():
    spec = MultivariateNormal(scale=np.float64(0.5), min_scale=np.float64(0.1))
    assert {name: type(value) for name, value in spec.settings().items()} == {
        "rank": int,
        "scale": float,
        "learn_scale": bool,
        "min_scale": float,
    }


def test_repr_shows_the_settings():
    assert repr(Normal()) == "Normal(scale=1.0, learn_scale=True, min_scale=0.01)"
    assert repr(Bernoulli().build((3,))) == "Bernoulli()"
    assert repr(MultivariateNormal(rank=2)).startswith("MultivariateNormal(rank=2, scale=1.0, ")


@every_spec
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles_before_and_after_build(spec, duplicate):
    assert repr(duplicate(spec)) == repr(spec)
    assert duplicate(spec).shape is None
    likelihood, x, eta = built(spec, (4,)), data(spec, 5, (4,)), noise(5, 4)
    twin = duplicate(likelihood)
    assert torch.equal(twin.log_prob(eta, x), likelihood.log_prob(eta, x))
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert all(parameter.data.any() for parameter in likelihood.parameters())


@pytest.mark.parametrize("kind", [*SCALED, MSE, Bernoulli, Categorical])
def test_a_specification_alone_has_no_density(kind):
    with pytest.raises(RuntimeError, match=re.escape(f"{kind()!r} is only a specification; call build(shape)")):
        kind().log_prob(torch.zeros(1, 2), torch.zeros(1, 2))


@pytest.mark.parametrize("kind", SCALED)
def test_a_specification_alone_has_no_sigma(kind):
    with pytest.raises(RuntimeError, match="only a specification"):
        _ = kind().sigma


# Bad settings


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, r"scale must be above 0, but is 0\.0"),
        ({"scale": -1.0}, r"scale must be above 0, but is -1\.0"),
        ({"scale": math.nan}, "scale must be finite, but is nan"),
        ({"min_scale": math.inf}, "min_scale must be finite, but is inf"),
        ({"min_scale": -0.1}, r"min_scale must be 0 or more, but is -0\.1"),
        (
            {"scale": 0.01},
            r"scale, where learning starts, must be above min_scale, but scale=0\.01 and min_scale=0\.01; "
            "lower min_scale, or fix the scale with learn_scale=False",
        ),
    ],
)
def test_bad_scales(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"scale": "1"}, {"scale": True}, {"min_scale": None}, {"learn_scale": 1}, {"rank": 1.0}, {"rank": True}],
)
def test_settings_of_the_wrong_type(settings):
    (name,) = settings
    with pytest.raises(TypeError, match=name):
        MultivariateNormal(**settings)


def test_negative_rank():
    with pytest.raises(ValueError, match="rank must be 0 or more, but is -1; 0 gives a diagonal covariance"):
        MultivariateNormal(rank=-1)


@pytest.mark.parametrize("shape", [(), (0,), (3, -1)])
def test_bad_shape(shape):
    message = f"shape must be one or more positive integers, such as (10,) or (1, 28, 28), but is {shape};"
    with pytest.raises(ValueError, match=re.escape(message)):
        Normal().build(shape)


def test_categorical_images_are_refused():
    message = "categorical needs one-hot rows, features of shape (classes,), but the shape is (2, 3);"
    with pytest.raises(ValueError, match=re.escape(message)):
        Categorical().build((2, 3))


# Data outside the support


NAN = math.nan


@pytest.mark.parametrize(
    ("spec", "x"),
    [
        (Normal(), [[-1e9, NAN]]),
        (Laplace(), [[-1e9, NAN]]),
        (MultivariateNormal(), [[-1e9, NAN]]),
        (MSE(), [[-1e9, NAN]]),
        (Bernoulli(), [[0.0, 1.0], [0.5, NAN]]),
        (Bernoulli(), [[True, False]]),
        (Categorical(), [[0, 1], [1, 0]]),
        (Categorical(), [[0.0, 1.0, 0.0], [NAN, NAN, NAN], [NAN, 0.0, 0.0], [1.0, NAN, 0.0]]),
    ],
)
def test_check_accepts(spec, x):
    spec.check(np.array(x), "image")


@pytest.mark.parametrize(
    ("spec", "x", "message"),
    [
        (
            Bernoulli(),
            [[0.0, NAN], [1.0, 3.2]],
            "likelihood of view 'image': bernoulli needs values in [0, 1], but found 3.2 at row 1; "
            "rescale the view or choose likelihood={'image': 'normal'}",
        ),
        (Bernoulli(), [[[0.0], [0.5]], [[1.0], [-1.0]]], "but found -1 at row 1;"),
        (
            Categorical(),
            [[0.0, 1.0], [NAN, NAN], [0.5, 0.5]],
            "likelihood of view 'image': categorical needs one-hot rows, one 1 and else 0, "
            "but found 0.5 at row 2; "
            "one-hot encode the classes or choose another likelihood={'image': ...}",
        ),
        (Categorical(), [[0.0, 1.0], [0.0, 0.0]], "but row 1 sums to 0;"),
        (Categorical(), [[1.0, 1.0, NAN]], "but row 0 sums to 2;"),
        (Categorical(), [[3], [1]], "but found 3 at row 0;"),
        (
            Categorical(),
            [[[1.0]]],
            "likelihood of view 'image': categorical needs one-hot rows, an array (n, classes), "
            "but its shape is (1, 1, 1); one-hot encode",
        ),
    ],
)
def test_check_refuses(spec, x, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        spec.check(np.array(x), "image")


# Naming and detection


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_name_makes_its_likelihood(name):
    expected = repr(LIKELIHOODS[name]())
    assert repr(as_likelihood(name)) == repr(as_likelihood({"name": name})) == expected


def test_names():
    assert {name: kind.__name__ for name, kind in LIKELIHOODS.items()} == {
        "normal": "Normal",
        "multivariate_normal": "MultivariateNormal",
        "laplace": "Laplace",
        "bernoulli": "Bernoulli",
        "categorical": "Categorical",
        "mse": "MSE",
        "default": "MSE",
    }


def test_objects_and_mappings():
    spec = Laplace()
    assert as_likelihood(spec) is spec
    given = {"_target_": "manyview.likelihoods.MultivariateNormal", "rank": 2, "scale": 0.5}
    made = as_likelihood(given)
    assert type(made) is MultivariateNormal
    assert made.settings() == {"rank": 2, "scale": 0.5, "learn_scale": True, "min_scale": 0.01}
    assert given["_target_"] == "manyview.likelihoods.MultivariateNormal", "the mapping is left as it was"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("norml", ValueError, "unknown likelihood 'norml'; did you mean 'normal'? Allowed: 'normal', 'mult"),
        ("Bernoulli", ValueError, "unknown likelihood 'Bernoulli'; did you mean 'bernoulli'?"),
        ({"name": "nope"}, ValueError, "unknown likelihood 'nope'. Allowed: 'normal', "),
        (
            {"name": "normal", "sclae": 1.0},
            ValueError,
            "likelihood 'normal' has no setting 'sclae'; did you mean 'scale'? Allowed: 'scale', ",
        ),
        ({"scale": 1.0}, ValueError, "a likelihood's mapping needs either 'name' or '_target_', such as"),
        ({"name": "normal", "_target_": "x.Y"}, ValueError, "needs either 'name' or '_target_'"),
        (
            {"_target_": "manyview.likelihoods.Nrmal"},
            ValueError,
            "_target_ 'manyview.likelihoods.Nrmal' cannot be imported",
        ),
        (
            {"_target_": "no_such_package.Normal"},
            ValueError,
            "_target_ 'no_such_package.Normal' cannot be imported",
        ),
        (
            {"_target_": "Normal"},
            ValueError,
            "give the full path of a class, such as 'manyview.likelihoods.Normal'",
        ),
        (
            {"_target_": "torch.nn.Linear"},
            ValueError,
            "'torch.nn.Linear' is not a likelihood; give the full path of a subclass",
        ),
        (
            3,
            TypeError,
            "a likelihood is given by name, as an object such as Normal(), or as a mapping such as "
            "{'name': 'normal', 'scale': 0.5}, but got 3",
        ),
        (Normal, TypeError, "but got <class 'manyview.likelihoods.Normal'>"),
    ],
)
def test_bad_specifications(spec, error, message):
    with pytest.raises(error, match=re.escape(message)):
        as_likelihood(spec)


@pytest.mark.parametrize(
    ("x", "name"),
    [
        (np.eye(3), "categorical"),
        (np.eye(3, dtype=int), "categorical"),
        (np.eye(3, dtype=bool), "categorical"),
        (np.array([[0, 1.0], [NAN, NAN], [NAN, 0]]), "categorical"),
        (np.array([[0, 1.0, 0], [1, 1, NAN]]), "bernoulli"),
        (np.array([[0, NAN], [NAN, 1.0]]), "bernoulli"),  # no row is complete
        (np.array([[0.0, 1], [1, 1]]), "bernoulli"),
        (np.array([[0.0, 1], [0, 0]]), "bernoulli"),
        (np.array([[0.0], [1], [1]]), "bernoulli"),
        (np.eye(4)[None].repeat(3, 0), "bernoulli"),
        (np.ones((3, 2)), "normal"),
        (np.zeros((3, 2)), "normal"),
        (np.full((3, 2), NAN), "normal"),
        (np.array([[0.0, 1], [0.5, 0.5]]), "normal"),
        (np.array([[0, 1], [2, 0]]), "normal"),
        (np.array([[0.0, 1], [np.inf, 0]]), "normal"),
    ],
)
def test_detect_likelihood(x, name):
    assert detect_likelihood(x) == name
    LIKELIHOODS[name]().check(x, "view")


def test_a_likelihood_of_ones_own_needs_only_its_answers():
    class Poisson(Likelihood):
        continuous = False

        def __init__(self, floor: float = 1e-6) -> None:
            super().__init__()
            self.floor = floor

        def _make_parameters(self, shape):
            pass

        def log_prob(self, eta, x, observed=None):
            log_p = D.Poisson(self.mean(eta), validate_args=False).log_prob(x)
            return (log_p if observed is None else torch.where(observed, log_p, 0.0)).sum(self._axes)

        def mean(self, eta):
            return eta.exp() + self.floor

        def sample(self, eta, generator=None):
            return torch.poisson(self.mean(eta), generator)

        def check(self, x, view):
            pass

    likelihood = as_likelihood(Poisson(floor=0.5)).build((2,))
    assert repr(likelihood) == "Poisson(floor=0.5)"
    expected = scipy.stats.poisson.logpmf([1, 2], 1.5).sum()
    result = likelihood.log_prob(torch.zeros(1, 2), torch.tensor([[1.0, 2.0]])).item()
    assert result == pytest.approx(expected, rel=1e-5)
