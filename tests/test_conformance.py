"""Every model passes the conformance suite; the suite catches models that are broken; one view gives the plain VAE."""

import importlib
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch import nn

import manyview as mv
from manyview import testing
from manyview.data import Views
from manyview.data.batch import Batch
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview
from manyview.fusion import Fusion, Mean, PoE
from manyview.latent import Gaussian, Latent, independent, map_parameters
from manyview.models import MODELS, Variational
from manyview.objectives import Terms, elbo
from manyview.seeding import seeded
from manyview.testing import CHECKS, Case, ConformanceError, check_model


def with_gaps():
    """A fifth of the views and 30 % of the other entries missing; every sample has a view."""
    rng = np.random.RandomState(3)
    views = make_multiview(40, (5, 3, 4), missing=0.2, random_state=3)
    holes = {name: np.where(rng.uniform(size=x.shape) < 0.3, np.nan, x) for name, x in views.items()}
    kept = Views(holes).present.any(axis=1)
    return Views({name: x[kept] for name, x in holes.items()})


def images():
    rng = np.random.RandomState(4)
    return Views(image=rng.uniform(size=(40, 1, 8, 8)).astype(np.float32), table=rng.standard_normal((40, 3)))


def mixed():
    """A one-hot label, a binary table, and numbers in units of their own, in double precision."""
    rng = np.random.RandomState(5)
    label = np.arange(40) % 3
    return Views(
        label=np.eye(3)[label],
        binary=(rng.uniform(size=(40, 4)) < 0.3 + 0.2 * label[:, None]).astype(float),
        real=100 + 10 * rng.standard_normal((40, 3)) + label[:, None],
    )


CNN = {"image": {"channels": [4, 8]}, "table": {"hidden": [8]}}

OPTIONS = {
    "JMVAE alpha 0": Case(mv.JMVAE, {"alpha": 0.0}),
    "JMVAE sparse": Case(mv.JMVAE, {"sparse": True}),
    "DVCCA private": Case(mv.DVCCA, {"reference": "view_1", "private": True, "h_dim": 3}),
    "DVCCA private sparse": Case(mv.DVCCA, {"private": True, "sparse": True}),
    "MCVAE sparse": Case(mv.MCVAE, {"sparse": True}),
    "MVAE sparse": Case(mv.MVAE, {"sparse": True}),
    "MEMVAE sparse": Case(mv.MEMVAE, {"sparse": True}),
    "WeightedMVAE sparse": Case(mv.WeightedMVAE, {"sparse": True}),
    "MVTCAE sparse": Case(mv.MVTCAE, {"sparse": True}),
    "MoPoEVAE sparse": Case(mv.MoPoEVAE, {"sparse": True}),
    "MoPoEVAE all subsets": Case(mv.MoPoEVAE, {"subsets": "all"}),
    "MMVAE normal dreg": Case(mv.MMVAE, {"posterior": "normal", "gradient": "dreg", "n_importance_samples": 3}),
    "MMVAE softmax": Case(mv.MMVAE, {"scale_transform": "softmax", "learn_prior": True}),
    "MMVAE softplus": Case(mv.MMVAE, {"scale_transform": "softplus", "learn_prior": True, "posterior": "normal"}),
    "MMVAEPlus dreg": Case(mv.MMVAEPlus, {"gradient": "dreg", "n_importance_samples": 2, "h_dim": 2}),
    "MMVAEPlus without h": Case(mv.MMVAEPlus, {"h_dim": 0, "posterior": "normal"}),
    "MMJSD mixture": Case(mv.MMJSD, {"dynamic_prior": "moe"}),
    "MMJSD private": Case(mv.MMJSD, {"h_dim": 2}),
    "DMVAE without h": Case(mv.DMVAE, {"h_dim": 0}),
    "DMVAE sparse": Case(mv.DMVAE, {"sparse": True}),
    "DMVAE sources": Case(mv.DMVAE, {"bounds": "sources", "h_dim": 2}),
    "WeightedDMVAE sparse": Case(mv.WeightedDMVAE, {"sparse": True}),
    "MAAE saturating": Case(mv.MAAE, {"saturating": True, "discriminator": {"hidden": [8, 8], "activation": "elu"}}),
    "MWAE clipped": Case(mv.MWAE, {"gradient_penalty": 0.0, "clip": 0.01}),
}

VARIANTS = {
    **{cls.__name__: Case(cls) for cls in MODELS},
    **OPTIONS,
    **{f"{cls.__name__} with gaps": Case(cls, data=with_gaps()) for cls in MODELS},
    "MMVAE dreg with gaps": Case(mv.MMVAE, {"gradient": "dreg", "n_importance_samples": 2}, with_gaps()),
    "DMVAE sources with gaps": Case(mv.DMVAE, {"bounds": "sources"}, with_gaps()),
    "JMVAE alpha 0 with gaps": Case(mv.JMVAE, {"alpha": 0.0}, with_gaps()),
    "DVCCA private with gaps": Case(mv.DVCCA, {"private": True}, with_gaps()),
    "MoPoEVAE all subsets with gaps": Case(mv.MoPoEVAE, {"subsets": "all"}, with_gaps()),
    "MMJSD private mixture with gaps": Case(mv.MMJSD, {"dynamic_prior": "moe", "h_dim": 2}, with_gaps()),
    "MVAE images": Case(mv.MVAE, {"encoder": CNN, "decoder": CNN}, images()),
    "MMVAE images": Case(mv.MMVAE, {"encoder": CNN, "decoder": CNN, "n_importance_samples": 2}, images()),
    "JMVAE images": Case(mv.JMVAE, {"encoder": CNN, "decoder": CNN}, images()),
    "DMVAE images": Case(mv.DMVAE, {"encoder": CNN, "decoder": CNN}, images()),
    "MEMVAE mixed": Case(mv.MEMVAE, data=mixed()),
    "MVTCAE mixed": Case(mv.MVTCAE, {"likelihood_weight": "dimension"}, mixed()),
    "MCVAE laplace warm-up": Case(mv.MCVAE, {"likelihood": "laplace", "beta": 0.5, "beta_warmup": 1}),
    "MVAE batch norm": Case(mv.MVAE, {"encoder": {"hidden": [8], "norm": "batch", "dropout": 0.2}}),
    "MVAE conditional encoder": Case(mv.MVAE, {"condition": "encoder"}),
    "MVAE conditional decoder": Case(mv.MVAE, {"condition": "decoder"}),
}


# What an option, or a gap, may change; the other checks fit many times, and are for each model as it is.
ESSENTIAL = [
    check for check in CHECKS
    if check.__name__.removeprefix("check_") in (
        "shapes", "objective", "gradients", "masking", "missing_features", "any_to_any", "no_view", "view_order",
        "log_likelihood", "saving",
    )
]  # fmt: skip

RUNS = [
    pytest.param(case, check, id=f"{name}-{check.__name__.removeprefix('check_')}")
    for name, case in VARIANTS.items()
    for check in (CHECKS if name in {cls.__name__ for cls in MODELS} else ESSENTIAL)
]


@pytest.mark.parametrize(("case", "check"), RUNS)
def test_every_model_passes(case, check):
    check(case)


# ---- the suite has teeth --------------------------------------------------------------------------------------------


class Sound(Variational):
    """A sound model, to break in one place at a time: some call of ``objective`` or a fusion of its own."""

    def latent(self) -> Latent:
        return Gaussian(self.z_dim)

    def fusion(self, view_names):
        return Mean()

    def objective(self, network, batch, beta):
        q = network.fusion(network.experts(batch), batch.present)
        return elbo(network.log_lik(q.rsample((1,)), batch), network.latent.kl(q).unsqueeze(0), beta=beta)


class IgnoresTheMaskInTheLoss(Sound):
    def objective(self, network, batch, beta):
        q = network.fusion(network.experts(batch), batch.present)
        everything = Batch(batch.x, batch.observed)
        return elbo(network.log_lik(q.rsample((1,)), everything), network.latent.kl(q).unsqueeze(0), beta=beta)


class BlindMean(Fusion):
    def forward(self, experts, present=None):
        return Mean()(experts)


class PosteriorSeesTheFiller(Sound):
    def fusion(self, view_names):
        return BlindMean()


class NoiseOfItsOwn(Sound):
    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        noise = torch.from_numpy(np.random.standard_normal(len(batch)).astype(np.float32))  # noqa: NPY002
        return Terms(terms.value * (1 + 0.1 * noise), terms.parts)


class SystemNoise(Sound):
    """Seeded by nobody, and leaves the shared generators alone."""

    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        noise = torch.from_numpy(np.random.default_rng().standard_normal(len(batch), dtype=np.float32))
        return Terms(terms.value * (1 + 0.1 * noise), terms.parts)


class SpareMean(Fusion):
    def __init__(self):
        super().__init__()
        self.spare = nn.Parameter(torch.ones(2))

    def forward(self, experts, present=None):
        return Mean()(experts, present)


class SpareParameter(Sound):
    def fusion(self, view_names):
        return SpareMean()


class ZeroTimesMean(SpareMean):
    def forward(self, experts, present=None):
        return map_parameters(Mean()(experts, present), lambda _, x: x + 0 * self.spare.sum())


class IdleParameter(Sound):
    def fusion(self, view_names):
        return ZeroTimesMean()


class CentredMean(Fusion):
    def forward(self, experts, present=None):
        return map_parameters(Mean()(experts, present), lambda name, x: x - x.mean(0) if name == "loc" else x)


class DependsOnTheBatch(Sound):
    def fusion(self, view_names):
        return CentredMean()


class CountingMean(Fusion):
    def forward(self, experts, present=None):
        q = Mean()(experts, present)
        place = torch.arange(len(q.mean)).unsqueeze(1)
        return map_parameters(q, lambda name, x: x + 0.01 * place if name == "loc" else x)


class DependsOnThePlace(Sound):
    def fusion(self, view_names):
        return CountingMean()


class PlaceInTheLoss(Sound):
    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        return Terms(terms.value + torch.arange(len(batch)) % 2, terms.parts)


class FirstExpert(Fusion):
    def forward(self, experts, present=None):
        first = torch.zeros(experts.batch_shape[1], experts.batch_shape[0], dtype=torch.bool)
        first[:, 0] = True
        return Mean()(experts, first if present is None else first & present)


class PrefersTheFirstPosterior(Sound):
    def fusion(self, view_names):
        return FirstExpert()


class PrefersTheFirstLikelihood(Sound):
    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        return Terms(terms.value + 0.5 * terms.parts["log_lik"][0], terms.parts)


class NoisyMean(Fusion):
    def forward(self, experts, present=None):
        return map_parameters(Mean()(experts, present), lambda name, x: x + torch.randn_like(x) if name == "loc" else x)


class DrawsItsMeans(Sound):
    """Two calls agree, being seeded, but a sample's answer depends on where it stands."""

    def fusion(self, view_names):
        return NoisyMean()


class RunningMean(Fusion):
    """Moves whenever it is asked."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, experts, present=None):
        self.count += 1
        return Mean()(experts, present)


class LearnsFromQuestions(Sound):
    def fusion(self, view_names):
        return RunningMean()


class HiddenState(RunningMean):
    """What it learned in training is in no file."""

    def __init__(self):
        super().__init__()
        self.offset = 0.0

    def forward(self, experts, present=None):
        self.offset += 0.1 * torch.is_grad_enabled()
        return map_parameters(Mean()(experts, present), lambda name, x: x + self.offset if name == "loc" else x)


class LosesWhatItLearned(Sound):
    def fusion(self, view_names):
        return HiddenState()


class Explodes(Sound):
    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        return Terms(terms.value - batch.x[0].flatten(1).exp().sum(1), terms.parts)


class VarianceOverTheBatch(Sound):
    """Undefined for a batch of one."""

    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        return Terms(terms.value - batch.x[0].flatten(1).var(0).sum(), terms.parts)


class DoublePrecision(Sound):
    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        return Terms(terms.value.double(), terms.parts)


class Truncates(Sound):
    def transform(self, *args, **kwargs):
        return super().transform(*args, **kwargs)[..., :1]


class ProductOfNothing(Fusion):
    def forward(self, experts, present=None):
        precision = experts.base_dist.scale.pow(-2)
        if present is not None:
            precision = precision * present.T.unsqueeze(-1)
        total = precision.sum(0)
        loc = (precision * experts.mean).sum(0) / total
        return independent(torch.distributions.Normal(loc, total.rsqrt(), validate_args=False))


class NoAnswerWithoutViews(Sound):
    def fusion(self, view_names):
        return ProductOfNothing()


class OffCentre(Fusion):
    def forward(self, experts, present=None):
        return map_parameters(PoE()(experts, present), lambda name, x: x + 0.5 if name == "loc" else x)


class AnotherPrior(Sound):
    def fusion(self, view_names):
        return OffCentre()


class NeedsTwoViews(Sound):
    def objective(self, network, batch, beta):
        terms = super().objective(network, batch, beta)
        return Terms(terms.value + 0 * terms.parts["log_lik"][1], terms.parts)


class ForgetsWhatWasGiven(Sound):
    def impute(self, X, *views):
        return self.predict(X, *views)


class IgnoresGiven(Sound):
    def transform(self, X, *views, given=None, **options):
        return super().transform(X, *views, **options)


class RefusesToScore(Sound):
    def evaluate(self, network, batch, n_samples):
        raise ValueError("not today")


class ScoresNothing(Sound):
    def evaluate(self, network, batch, n_samples):
        return torch.full((len(batch),), torch.nan)


class ForgetsTheWeights(Sound):
    """The mean of log p(X | z) over draws of the posterior: no evidence."""

    def evaluate(self, network, batch, n_samples):
        return network.log_lik(network.posterior(batch).sample((n_samples,)), batch).sum(-2).mean(0)


class ShiftsTheEvidence(Sound):
    def evaluate(self, network, batch, n_samples):
        return super().evaluate(network, batch, n_samples) + batch.x[0].new_full((len(batch),), 0.7)


class IgnoresCovariates(Sound):
    def build(self, views, covariates=None):
        network = super().build(views)
        network.decoders_see_covariates = network.encoders_see_covariates = False
        return network


class TakesAnyCategory(Sound):
    def transform(self, X, *views, covariates=None, **options):
        if covariates is not None:
            covariates = {**covariates, "site": np.where(np.isin(covariates["site"], ["north"]), "north", "south")}
        return super().transform(X, *views, covariates=covariates, **options)


class TunesItself(Sound):
    def fit(self, X, *views, **options):
        self.learning_rate = 2 * self.learning_rate
        return super().fit(X, *views, **options)


class DropsItsWeights(Sound):
    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "network_"}


class IndifferentToTheSeed(Sound):
    def fit(self, X, *views, **options):
        given, self.random_state = self.random_state, 0
        super().fit(X, *views, **options)
        self.random_state = given
        return self


class FillsInZeros(mv.likelihoods.MSE):
    """Missing features count as if they were what stands in for them."""

    def log_prob(self, eta, x, observed=None):
        return super().log_prob(eta, x)


BROKEN = [
    (Truncates, "shapes", r"transform has shape \(40, 1\), not \(40, 2\)"),
    (DoublePrecision, "objective", "float64"),
    (Explodes, "scales", "at input scale"),
    (VarianceOverTheBatch, "single_rows", "not finite|non-finite"),
    (SpareParameter, "gradients", r"fusion\.spare gets no gradient"),
    (IdleParameter, "gradients", r"gradient of fusion\.spare is zero"),
    (IgnoresTheMaskInTheLoss, "masking", "the objective, with"),
    (PosteriorSeesTheFiller, "masking", "with -7"),
    (PosteriorSeesTheFiller, "any_to_any", "masking the other views"),
    (IgnoresGiven, "any_to_any", "masking the other views"),
    (ForgetsWhatWasGiven, "imputation", "changes observed entries"),
    (NoAnswerWithoutViews, "no_view", "not finite"),
    (AnotherPrior, "no_view", "prior"),
    (NeedsTwoViews, "one_view", "index 1 is out of bounds"),
    (DependsOnThePlace, "row_order", "transform of reordered samples"),
    (PlaceInTheLoss, "row_order", "the objective of reordered samples"),
    (PrefersTheFirstPosterior, "view_order", "transform differs"),
    (PrefersTheFirstLikelihood, "view_order", "the objective differs"),
    (DependsOnTheBatch, "batch_sizes", "transform of rows"),
    (DrawsItsMeans, "batch_sizes", "transform of rows"),
    (SystemNoise, "seeds", "after training with the same random_state"),
    (IndifferentToTheSeed, "seeds", "give the same weights"),
    (NoiseOfItsOwn, "seeds", "after training with the same random_state"),
    (NoiseOfItsOwn, "global_state", "numpy's random numbers"),
    (SystemNoise, "determinism", "with the same seed"),
    (LearnsFromQuestions, "determinism", r"after answering, .*fusion\.count"),
    (RefusesToScore, "sampling", "not today"),
    (ForgetsTheWeights, "log_likelihood", "score_samples differs on average"),
    (ShiftsTheEvidence, "log_likelihood", "score_samples differs on average"),
    (IgnoresCovariates, "covariates", "covariates make no difference"),
    (TakesAnyCategory, "covariates", "unseen category"),
    (ScoresNothing, "sampling", "not finite"),
    (ScoresNothing, "model_selection", "not finite"),
    (LosesWhatItLearned, "saving", "of the loaded model, these differ: transform"),
    (TunesItself, "cloning", "fit changes hyperparameters"),
    (DropsItsWeights, "cloning", "network_"),
]


@pytest.mark.filterwarnings("ignore:var")
@pytest.mark.parametrize(("Model", "name", "message"), BROKEN, ids=[f"{m.__name__}-{n}" for m, n, _ in BROKEN])
def test_broken_models_are_caught(Model, name, message):
    check = getattr(testing, f"check_{name}")
    with pytest.raises(Exception, match=message):
        check(Case(Model))


def test_the_model_that_is_broken_above_is_sound():
    assert check_model(Sound) == [check.__name__.removeprefix("check_") for check in CHECKS]


def test_missing_features_in_the_likelihood_are_caught():
    testing.check_missing_features(Case(Sound, {"likelihood": mv.likelihoods.MSE()}))
    with pytest.raises(ConformanceError, match=r"log p\(x \| z\), with -7.* differs"):
        testing.check_missing_features(Case(Sound, {"likelihood": FillsInZeros()}))


def test_every_check_catches_something():
    caught = {name for _, name, _ in BROKEN} | {"missing_features"}
    assert caught == {check.__name__.removeprefix("check_") for check in CHECKS}


def test_the_error_lists_everything_that_failed():
    with pytest.raises(ConformanceError, match=r"NoiseOfItsOwn fails \d+ of \d+ checks") as caught:
        check_model(NoiseOfItsOwn)
    message = str(caught.value)
    for name in ("masking", "seeds", "determinism", "global_state"):
        assert f"\n- {name}: " in message
    for name in ("shapes", "any_to_any", "batch_sizes"):
        assert f"\n- {name}: " not in message
    assert testing.check_seeds.__doc__ in message


def test_samples_without_a_prior_are_caught():
    class Invents(mv.AE):
        def sample(self, n_samples=1, **options):
            return None

    with pytest.raises(ConformanceError, match="without a proper prior, should raise"):
        testing.check_sampling(Case(Invents))


# ---- the command line -----------------------------------------------------------------------------------------------


def test_the_table_shows_what_was_found(monkeypatch, capsys):
    module = importlib.import_module(__name__)
    monkeypatch.setattr(testing, "CHECKS", (testing.check_objective, testing.check_gradients))
    oracles = {"oracles.test_ae::test_it": True, "oracles.test_models::test_all[MVAE-x]": False, "test_x[MMVAE]": True}
    monkeypatch.setattr(testing, "_run_oracles", lambda classes: oracles)
    assert testing.main(["AE"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["conformance", "oracle", "missing", "any-to-any", "log-likelihood", "covariates"]
    assert row.split() == ["AE", "✓", "✓", "✓", "✓", "–", "✓"]
    assert testing.main(["MVAE", f"{module.__name__}.SpareParameter"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in out[1:3]] == [["✓", "✗", "✓", "✓", "✓", "✓"], ["✗", "–", "✗", "✓", "✓", "✓"]]
    assert "MVAE: oracle oracles.test_models::test_all[MVAE-x] fails" in out
    assert any(line.startswith("SpareParameter: gradients: fusion.spare gets no gradient") for line in out)


def test_oracles_are_run_and_told_apart(monkeypatch, tmp_path):
    """Tests beside the library are run; their names, and those of their modules, say what they prove."""
    folder = tmp_path / "tests" / "oracles"
    folder.mkdir(parents=True)
    (folder / "test_mvae.py").write_text("def test_it():\n    pass\n\ndef test_not():\n    assert False\n")
    monkeypatch.setattr(testing, "__file__", str(tmp_path / "src" / "manyview" / "testing.py"))
    found = testing._run_oracles([mv.MVAE])
    assert {name.rpartition("::")[2]: passed for name, passed in found.items()} == {"test_it": True, "test_not": False}
    assert [testing._proves(next(iter(found)), Model) for Model in (mv.MVAE, mv.MMVAE)] == [True, False]
    monkeypatch.setattr(testing, "__file__", str(tmp_path / "elsewhere" / "manyview" / "testing.py"))
    (tmp_path / "tests").rename(tmp_path / "gone")
    assert testing._run_oracles([mv.MVAE]) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MVEA", "did you mean 'MVAE'"),
        ("manyview.nn.MLP", "does not derive from manyview.Estimator"),
        ("manyview.nothing.Here", "No module named"),
        ("manyview.Nothing", "no model 'manyview.Nothing'"),
    ],
)
def test_unknown_models_on_the_command_line(name, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        testing.main([name])
    assert message in capsys.readouterr().err


# ---- one view -------------------------------------------------------------------------------------------------------
#
# What each model's objective is when there is one view, in NumPy and SciPy, from what the encoder and the decoder
# return and the same noise. The likelihood is Normal with a standard deviation of 0.7 on standardised data, β = 0.5.

BETA, SIGMA, ROWS, Z = 0.5, 0.7, 30, 2


class OneView:
    """A fitted model of one view, its encoder's output and its decoder, in float64."""

    def __init__(self, Model, **parameters):
        rng = np.random.RandomState(0)
        x = 50 + 20 * rng.standard_normal((ROWS, 4))
        self.model = Model(
            z_dim=Z, encoder={"hidden": [8]}, decoder={"hidden": [8]}, max_epochs=2, batch_size=10, random_state=0,
            verbose=False, validation_fraction=0, **parameters,
        ).fit(x)  # fmt: skip
        self.batch = make_batch(Views(x), self.model.views_)
        self.x = (x - x.mean(0)) / x.std(0)
        self.log_scale = np.log(x.std(0)).sum()
        with torch.no_grad():
            h = self.model.network_.encoders[0](torch.from_numpy(self.x).float()).double().numpy()
        self.h, self.loc, self.log_spread = h, h[:, :Z], h[:, Z:]

    def decode(self, z):
        with torch.no_grad():
            return self.model.network_.decoders[0](torch.from_numpy(z).float().reshape(-1, Z)).double().numpy()

    def log_lik(self, z):
        """log p(x | z) as a density of the data in their units; z is (..., B, Z)."""
        eta = self.decode(z).reshape(*z.shape[:-1], -1)
        return stats.norm(eta, SIGMA).logpdf(self.x).sum(-1) - self.log_scale

    def objective(self):
        with seeded(7), torch.no_grad():
            return self.model.objective(self.model.network_, self.batch, BETA).value.double().numpy()


def normal_noise(*shape):
    with seeded(7):
        return torch.randn(shape).double().numpy()


def kl_to_standard_normal(loc, scale):
    return 0.5 * (scale**2 + loc**2 - 1 - 2 * np.log(scale)).sum(-1)


def plain_vae(one, posteriors):
    """The sum of the ELBOs of some posteriors, the noise of the first drawn first."""
    noise = normal_noise(len(posteriors), ROWS, Z)
    return sum(
        one.log_lik(loc + scale * eps) - BETA * kl_to_standard_normal(loc, scale)
        for (loc, scale), eps in zip(posteriors, noise, strict=True)
    )


def encoder_posterior(one):
    return one.loc, np.exp(0.5 * one.log_spread)


def times_prior(one):
    """The product of the encoder's normal and the standard normal."""
    precision = np.exp(-one.log_spread)
    return precision * one.loc / (precision + 1), (precision + 1) ** -0.5


NORMAL = {"likelihood": {"name": "normal", "scale": SIGMA, "learn_scale": False}}


@pytest.mark.parametrize(
    ("Model", "posteriors"),
    [
        pytest.param(mv.MVAE, lambda one: [times_prior(one)], id="MVAE: with the prior expert"),
        pytest.param(mv.MEMVAE, lambda one: 2 * [times_prior(one)], id="MEMVAE: the joint bound and the single one"),
        pytest.param(mv.WeightedMVAE, lambda one: [encoder_posterior(one)], id="WeightedMVAE: the plain VAE"),
        pytest.param(mv.MCVAE, lambda one: [encoder_posterior(one)], id="MCVAE: the plain VAE"),
    ],
)
def test_one_view_gives_the_plain_vae(Model, posteriors):
    one = OneView(Model, **NORMAL)
    np.testing.assert_allclose(one.objective(), plain_vae(one, posteriors(one)), rtol=2e-4)
    np.testing.assert_allclose(one.model.transform(50 + 0 * one.x), one.model.transform([50 + 0 * one.x]))
    q = one.model.network_.posterior(one.batch)
    np.testing.assert_allclose(q.mean.detach(), posteriors(one)[0][0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(q.variance.detach(), posteriors(one)[0][1] ** 2, rtol=1e-3, atol=1e-5)


def test_one_view_gives_the_plain_autoencoder():
    one = OneView(mv.AE)
    error = np.square(one.x - one.decode(one.h)).sum(-1)
    np.testing.assert_allclose(one.objective(), -error, rtol=1e-4)
    np.testing.assert_allclose(one.model.network_.posterior(one.batch).mean.detach(), one.h, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("K", [1, 5])
@pytest.mark.parametrize("gradient", ["iwae", "dreg"])
@pytest.mark.parametrize("family", ["laplace", "normal"])
def test_one_view_gives_the_plain_importance_weighted_autoencoder(family, gradient, K):
    one = OneView(mv.MMVAE, n_importance_samples=K, posterior=family, gradient=gradient, **NORMAL)
    if family == "normal":
        loc, scale = encoder_posterior(one)
        z = loc + scale * normal_noise(K, ROWS, Z)
        p, q = stats.norm(), stats.norm(loc, scale)
    else:
        scale = np.exp(one.log_spread)
        with seeded(7):
            u = torch.empty(K, ROWS, Z).uniform_(torch.finfo(torch.float32).eps - 1, 1).double().numpy()
        z = one.loc - scale * np.sign(u) * np.log1p(-np.abs(u))
        p, q = stats.laplace(), stats.laplace(one.loc, scale)
    log_w = one.log_lik(z) + BETA * (p.logpdf(z) - q.logpdf(z)).sum(-1)
    np.testing.assert_allclose(one.objective(), logsumexp(log_w, axis=0) - np.log(K), rtol=2e-4)


def test_one_view_gives_the_plain_vae_with_variational_dropout():
    one = OneView(mv.MCVAE, sparse=True, **NORMAL)
    log_alpha = one.model.network_.latent.log_alpha.detach().double().numpy()
    scale = np.exp(0.5 * log_alpha) * (np.abs(one.h) + 1e-6)
    # Molchanov et al. 2017, eq. 14, with the constant that makes it 0 for α → ∞
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    minus_kl = k1 / (1 + np.exp(-(k2 + k3 * log_alpha))) - 0.5 * np.log1p(np.exp(-log_alpha)) - k1
    expected = one.log_lik(one.h + scale * normal_noise(1, ROWS, Z)[0]) + BETA * minus_kl.sum()
    np.testing.assert_allclose(one.objective(), expected, rtol=2e-4)


def test_cases_are_picklable():
    """So that checks can run in other processes."""
    assert pickle.loads(pickle.dumps(Case(mv.AE, {"z_dim": 3}))) == Case(mv.AE, {"z_dim": 3})
