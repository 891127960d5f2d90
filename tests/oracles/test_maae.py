r"""MAAE and MWAE: -1/M² Σ_s Σ_m ‖x_m - d_m(f_s(x_s))‖² + β/M Σ_s (a(f_s(x_s)) - E_p[a(z)]), against an adversary.

The objectives of both sides in loops; that each side's steps leave the other side alone, and come in turn; what the
codes are distributed as after training, and what is drawn from the prior; and what the options do. The adversaries
themselves are proven in test_adversary.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

import manyview as mv
from manyview.adversary import Discriminator
from manyview.data.preprocessing import make_batch
from manyview.datasets import make_multiview
from manyview.seeding import as_seed, seeded

M, Z, BETA = 3, 2, 0.7
SMALL = {
    "z_dim": Z,
    "encoder": {"hidden": [16]},
    "decoder": {"hidden": [16]},
    "discriminator": {"hidden": [16]},
    "max_epochs": 2,
    "validation_fraction": 0,
    "random_state": 0,
    "verbose": False,
}
MODELS = {
    "MAAE": (mv.MAAE, {}),
    "MAAE saturating": (mv.MAAE, {"saturating": True}),
    "MWAE": (mv.MWAE, {}),
    "MWAE two-sided": (mv.MWAE, {"one_sided": False, "gradient_penalty": 3.0}),
    "MWAE clipped": (mv.MWAE, {"gradient_penalty": 0.0, "clip": 0.05}),
}
EVERY = pytest.mark.parametrize("name", MODELS)
BOTH = pytest.mark.parametrize("cls", [mv.MAAE, mv.MWAE])


def trained(name, missing=0.0, **changes):
    """A model of three views after a few steps, its network and its data in double precision."""
    cls, options = MODELS[name]
    views = make_multiview(40, (5, 3, 4), missing=missing, random_state=1)
    model = cls(**(SMALL | options | changes)).fit(views)
    batch = make_batch(views, model.views_)
    return model, model.network_.double(), replace(batch, x=tuple(x.double() for x in batch.x))


def draws(shape, seed=2):
    """What the prior gives first after this seed."""
    torch.manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64)


def present_views(batch, b):
    return [m for m in range(M) if batch.present is None or batch.present[b, m]]


def score(network, z):
    return network.adversary_.network(z.unsqueeze(0))[0, 0]


def log_d(score):
    return -torch.log1p(torch.exp(-score))


def log_not_d(score):
    return -torch.log1p(torch.exp(score))


# What a code, or a draw of the prior, is worth to encoders that have to fool the adversary.
WORTH = {
    "MAAE": log_d,
    "MAAE saturating": lambda score: -log_not_d(score),
    "MWAE": lambda score: score,
    "MWAE two-sided": lambda score: score,
    "MWAE clipped": lambda score: score,
}


def gradients(value, modules):
    return torch.autograd.grad(value.mean(), [*modules.parameters()], retain_graph=True, materialize_grads=True)


# ---- the objectives -------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_objective_equals_its_equation(name, missing):
    """Row by row and pair by pair, over the views that are present; its gradient too, and none in the adversary."""
    model, network, batch = trained(name, missing)
    prior = draws((M, len(batch), Z))
    torch.manual_seed(2)
    terms = model.objective(network, batch, BETA)
    expected, worth = [], WORTH[name]
    for b in range(len(batch)):
        views = present_views(batch, b)
        codes = {m: network.encoders[m](batch.x[m][b : b + 1]) for m in views}
        errors = [(batch.x[m][b] - network.decoders[m](codes[s])[0]).square().sum() for s in views for m in views]
        fooled = sum(worth(score(network, codes[s][0])) for s in views) / len(views)
        real = sum(worth(score(network, prior[s, b])) for s in range(M)) / M
        expected.append(-sum(errors) / len(views) ** 2 + BETA * (fooled - real))
    expected = torch.stack(expected)
    torch.testing.assert_close(terms.value, expected, rtol=1e-6, atol=1e-7)
    for part in (network.encoders, network.decoders):
        for found, other in zip(gradients(terms.value, part), gradients(expected, part), strict=True):
            torch.testing.assert_close(found, other, rtol=1e-6, atol=1e-7)
    assert not any(gradient.any() for gradient in gradients(terms.value, network.adversary_))


@EVERY
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_adversary_maximises_its_equation(name, missing):
    """1/M Σ_s of log D(z) + log(1 - D(f_s(x_s))), or of C(z) - C(f_s(x_s)) - λ penalty; no gradient in the encoders."""
    model, network, batch = trained(name, missing)
    prior = draws((M, len(batch), Z))
    u = torch.rand(M, len(batch), 1, dtype=torch.float64)
    torch.manual_seed(2)
    value = network.adversarial(network.experts(batch).mean, batch.present)
    expected = []
    for b in range(len(batch)):
        total = 0.0
        for s in present_views(batch, b):
            code = network.encoders[s](batch.x[s][b : b + 1])[0].detach()
            of_prior, of_code = score(network, prior[s, b]), score(network, code)
            if model.__class__ is mv.MAAE:
                total = total + log_d(of_prior) + log_not_d(of_code)
                continue
            total = total + of_prior - of_code
            between = (code + u[s, b] * (prior[s, b] - code)).requires_grad_()
            (slope,) = torch.autograd.grad(score(network, between), between, create_graph=True)
            excess = slope.square().sum().sqrt() - 1
            total = total - model.gradient_penalty * (excess.clamp(min=0) if model.one_sided else excess) ** 2
        expected.append(total / len(present_views(batch, b)))
    expected = torch.stack(expected)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    adversary = network.adversary_
    for found, other in zip(gradients(value, adversary), gradients(expected, adversary), strict=True):
        torch.testing.assert_close(found, other, rtol=1e-6, atol=1e-7)
    assert not any(gradient.any() for gradient in gradients(value, network.encoders))


@EVERY
def test_scores_are_the_objective_against_many_draws(name):
    """``score_samples`` is the objective at β, its last term the mean over ``n_samples`` draws for each sample."""
    cls, options = MODELS[name]
    views = make_multiview(30, (5, 3), random_state=0)
    model = cls(**(SMALL | options | {"beta": 2.0})).fit(views)
    network, batch, worth = model.network_, make_batch(views, model.views_), WORTH[name]
    with seeded(as_seed(3)), torch.no_grad():
        prior = network.latent.prior.sample((50, 30))
        codes = torch.stack([encoder(x) for encoder, x in zip(network.encoders, batch.x, strict=True)])
        squares = [(x - d(z)).square().sum(1) for x, d in zip(batch.x, network.decoders, strict=True) for z in codes]
        fooled, real = (worth(network.adversary_.network(z.flatten(0, 1)).view(len(z), 30)) for z in (codes, prior))
    expected = -sum(squares) / 4 + 2.0 * (fooled.mean(0) - real.mean(0))
    np.testing.assert_allclose(model.score_samples(views, n_samples=50, random_state=3), expected, rtol=1e-4, atol=1e-5)


def test_generator_is_zero_at_the_balance():
    """Codes that are draws of the prior score as it does, whatever the discriminator thinks of them: 0 on average."""
    adversary = Discriminator(Z, {"hidden": [8]})
    codes, prior = torch.randn(2, 4, 20_000, Z, generator=torch.Generator().manual_seed(0))
    assert (adversary.generator(codes) - adversary.generator(prior)).mean().abs() < 5e-3


# ---- steps in turn --------------------------------------------------------------------------------------------------


class Diary(nn.Module):
    """A linear adversary that notes, in training, how many codes it is shown, and what its weight is then."""

    notes: list[tuple[int, float]] = []  # noqa: RUF012 (shared by the copies that are made of it)

    def __init__(self, in_shape, out_dim):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_dim)

    def forward(self, z):
        if self.training:
            self.notes.append((len(z), self.layer.weight[0, 0].item()))
        return self.layer(z)


@pytest.mark.parametrize(
    ("cls", "steps"),
    [
        (mv.MAAE, {"n_discriminator_steps": 1}),
        (mv.MAAE, {"n_discriminator_steps": 3}),
        (mv.MWAE, {"n_critic_steps": 4, "gradient_penalty": 0.0, "clip": 10.0}),
    ],
)
def test_the_adversary_takes_its_steps_before_each_of_the_encoders(monkeypatch, cls, steps):
    """N steps on codes and draws of the prior, each of which moves it; then the encoders' step, which does not."""
    monkeypatch.setattr(Diary, "notes", [])
    views, n_steps = make_multiview(60, (5, 3), random_state=0), next(iter(steps.values()))
    cls(**(SMALL | {"discriminator": Diary, "batch_size": 20, "max_epochs": 2} | steps)).fit(views)
    turn, n_turns = n_steps + 2, 6
    assert len(Diary.notes) == n_turns * turn
    weights = np.array([weight for _, weight in Diary.notes]).reshape(n_turns, turn)
    shown = np.array([n for n, _ in Diary.notes]).reshape(n_turns, turn)
    assert (shown[:, :n_steps] == 80).all()  # two views of 20 samples, and as many draws of the prior
    assert (shown[:, n_steps:] == 40).all()  # the encoders': the two views, and the prior for comparison
    assert (np.diff(weights[:, : n_steps + 1]) != 0).all()  # every step of the adversary moved it
    assert (weights[:, n_steps] == weights[:, n_steps + 1]).all()  # the encoders' step did not
    assert (weights[1:, 0] == weights[:-1, -1]).all()


def parts(model):
    state = model.network_.state_dict()
    theirs = {name: x for name, x in state.items() if name.startswith("adversary.")}
    return theirs, {name: x for name, x in state.items() if name not in theirs}


@BOTH
@pytest.mark.parametrize("who", ["adversary", "encoders"])
def test_each_side_has_its_own_optimiser_and_step_size(cls, who):
    """With a step size of nothing on one side, that side stays as it was drawn, and the other side learns."""
    views, nothing = make_multiview(60, (5, 3), random_state=0), 1e-30
    first = cls(learning_rate=nothing, discriminator_learning_rate=nothing, **SMALL).fit(views)
    rates = {"learning_rate": nothing} if who == "adversary" else {"discriminator_learning_rate": nothing}
    model = cls(**({"learning_rate": 1e-2, "discriminator_learning_rate": 1e-2} | rates), **SMALL).fit(views)
    for ours, start, learns in zip(parts(model), parts(first), (who == "adversary", who == "encoders"), strict=True):
        assert ours.keys() == start.keys() != set()
        assert all(torch.equal(x, start[name]) != learns for name, x in ours.items())


@BOTH
def test_the_step_size_is_shared_unless_given(cls):
    """``discriminator_learning_rate=None`` is ``learning_rate``."""
    views = make_multiview(60, (5, 3), random_state=0)
    shared = cls(learning_rate=3e-3, **SMALL).fit(views)
    given = cls(learning_rate=3e-3, discriminator_learning_rate=3e-3, **SMALL).fit(views)
    other = cls(learning_rate=3e-3, discriminator_learning_rate=1e-3, **SMALL).fit(views)
    assert all(torch.equal(x, parts(given)[0][name]) for name, x in parts(shared)[0].items())
    assert not any(torch.equal(x, parts(other)[0][name]) for name, x in parts(shared)[0].items())


@BOTH
def test_history_has_both_sides(cls):
    """Loss = -(Σ_m log_lik[m] + β generator), in training and on held-out samples; the adversary's own value beside."""
    views = make_multiview(100, (5, 3), random_state=0)
    history = (
        cls(beta=0.5, beta_warmup=4, **(SMALL | {"validation_fraction": 0.2, "max_epochs": 6})).fit(views).history_
    )
    np.testing.assert_allclose(history["beta"], [0.125, 0.25, 0.375, 0.5, 0.5, 0.5])
    value = history["val_log_lik[view_0]"] + history["val_log_lik[view_1]"] + history["beta"] * history["val_generator"]
    np.testing.assert_allclose(history["val_loss"], -value, rtol=1e-5)
    assert np.isfinite(history[["adversary", "generator"]]).all(axis=None)
    assert history["adversary"].nunique() == 6


@BOTH
def test_training_goes_to_the_end(cls):
    """Losses against an adversary that learns do not say when to stop: the last weights are kept, for any patience."""
    views = make_multiview(100, (5, 3), random_state=0)
    settings = SMALL | {"validation_fraction": 0.2, "max_epochs": 15, "batch_size": 16, "learning_rate": 1e-2}
    model = cls(patience=1, **settings).fit(views)
    assert (model.history_["val_loss"].diff() > 0).any()
    assert len(model.history_) == model.best_epoch_ == 15


# ---- what training reaches ------------------------------------------------------------------------------------------


def energy_distance(a, b):
    """2 E‖a - b‖ - E‖a - a'‖ - E‖b - b'‖: zero for equal distributions, else positive (Székely & Rizzo, 2013)."""
    n, m = len(a), len(b)
    return 2 * cdist(a, b).mean() - cdist(a, a).sum() / (n * (n - 1)) - cdist(b, b).sum() / (m * (m - 1))


def pooled_codes(model, views):
    return np.concatenate(model.predict_latents(views))


@pytest.fixture(scope="module")
def views():
    return make_multiview(1000, (6, 5), n_shared=2, noise=0.3, random_state=0)


@pytest.fixture(scope="module")
def fitted(views):
    """A model of each class, of the first 600 samples."""
    training = SMALL | {"learning_rate": 3e-3, "max_epochs": 40}
    autoencoder = {name: value for name, value in training.items() if name != "discriminator"}
    models = [mv.AE(**autoencoder), mv.MAAE(**training), mv.MWAE(**training)]
    return {type(model): model.fit(views[:600]) for model in models}


@BOTH
def test_codes_are_distributed_as_the_prior(fitted, views, cls):
    """Of new samples, all views together: means 0, covariance I, energy distance to N(0, I) a tenth of AE's at most."""
    new = views[600:]
    codes = pooled_codes(fitted[cls], new)
    np.testing.assert_allclose(codes.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(Z), atol=0.25)
    prior = np.random.RandomState(0).standard_normal((2000, Z))
    ours, theirs = (energy_distance(pooled_codes(model, new), prior) for model in (fitted[cls], fitted[mv.AE]))
    assert ours < 0.1 * theirs


@BOTH
def test_codes_still_reconstruct(fitted, views, cls):
    """Each view from each, new samples: as well as AE, whose codes nothing holds, up to a twentieth of the variance."""
    new = views[600:]
    for given in views.names:
        for target in views.names:
            x = new.array(target)
            errors = [
                np.square(x - model.predict(new, given=given, target=target)[target]).sum()
                / np.square(x - x.mean(0)).sum()
                for model in (fitted[cls], fitted[mv.AE])
            ]
            assert errors[0] < errors[1] + 0.05


@BOTH
def test_samples_look_like_what_is_reconstructed(fitted, views, cls):
    """Decoded draws of the prior have the means and covariances of decoded codes: of the data, less their noise."""
    model, new = fitted[cls], views[600:]
    drawn, expected = model.sample(4000, random_state=1), model.predict(new)
    a, b = (np.hstack([x[name] for name in views.names]) for x in (drawn, expected))
    np.testing.assert_allclose(a.mean(0), b.mean(0), atol=0.2)
    assert np.linalg.norm(np.cov(a.T) - np.cov(b.T)) < 0.25 * np.linalg.norm(np.cov(b.T))


# ---- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.01, 0.1])
def test_clipping_bounds_the_critic_throughout(monkeypatch, clip):
    """After every step the critic's weights are in [-clip, clip]; with the penalty instead, they are not."""
    monkeypatch.setattr(Diary, "notes", [])
    views = make_multiview(60, (5, 3), random_state=0)
    settings = SMALL | {"learning_rate": 1e-2, "max_epochs": 6}
    model = mv.MWAE(gradient_penalty=0.0, clip=clip, **(settings | {"discriminator": Diary})).fit(views)
    seen = np.abs([weight for _, weight in Diary.notes[1:]])
    assert len(seen) > 30
    assert seen.max() <= np.float32(clip)
    assert max(weight.abs().max().item() for weight in model.network_.adversary_.parameters()) == pytest.approx(clip)
    free = mv.MWAE(**settings).fit(views)
    assert max(weight.abs().max() for weight in free.network_.adversary_.parameters()) > 0.1


def test_the_slope_is_bounded_in_one_way():
    """By the penalty or by clipping, not both and not neither."""
    views = make_multiview(30, (5, 3), random_state=0)
    for options in ({"clip": 0.01}, {"gradient_penalty": 0.0}):
        with pytest.raises(ValueError, match="bounded in one way"):
            mv.MWAE(**SMALL, **options).fit(views)


@BOTH
@pytest.mark.parametrize(
    ("spec", "widths"),
    [
        ({"hidden": []}, []),
        ({"hidden": [7, 5], "activation": "silu"}, [7, 5]),
        (lambda n_in, n_out: nn.Sequential(nn.Linear(n_in[0], 3), nn.Tanh(), nn.Linear(3, n_out)), [3]),
        (nn.Sequential(nn.Linear(Z, 4), nn.ReLU(), nn.Linear(4, 1)), [4]),
    ],
    ids=["linear", "settings", "function", "module"],
)
def test_the_adversary_has_the_architecture_that_is_given(cls, spec, widths):
    """Settings of an MLP, a function of the two shapes, or a network to be copied."""
    model = cls(**(SMALL | {"discriminator": spec, "max_epochs": 1})).fit(make_multiview(30, (5, 3), random_state=0))
    layers = [layer for layer in model.network_.adversary_.modules() if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in layers] == [Z, *widths]
    assert [layer.out_features for layer in layers] == [*widths, 1]
    if isinstance(spec, nn.Module):
        assert layers[0] is not spec[0]


@BOTH
def test_an_adversary_that_mixes_samples_is_refused(cls):
    """With batch normalisation, the score of a code would depend on its batch."""
    with pytest.raises(ValueError, match="batch normalisation"):
        cls(**(SMALL | {"discriminator": {"norm": "batch"}})).fit(make_multiview(30, (5, 3), random_state=0))
