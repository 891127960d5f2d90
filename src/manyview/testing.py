"""A conformance suite: what every model of this library promises, checked on any model.

:func:`check_model` runs all of it on a model of one's own. Each property is a function ``check_...`` of a
:class:`Case`, and can be run alone. On the command line, ``python -m manyview.testing`` prints which models have which
properties; it takes names of models, or import paths of others::

    python -m manyview.testing MVAE MMVAE my_package.my_module.MyModel

Its columns are sums of checks: ``conformance`` is all of them on complete data, ``missing`` all of them on data where
30 % of the views are missing; ``any-to-any``, ``log-likelihood`` and ``covariates`` are those that the names say; and
``oracle`` is the tests of the equations, where the library's sources are at hand. A dash stands for what a model does
not claim to have, or what cannot be run.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import inspect
import math
import pickle
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.distributions import Distribution

from manyview import models
from manyview.data.batch import Batch
from manyview.data.preprocessing import make_batch
from manyview.data.views import Views, as_views
from manyview.datasets import make_multiview
from manyview.estimator import Estimator
from manyview.io import load
from manyview.messages import closest
from manyview.network import Network
from manyview.nn import JointEncoder
from manyview.objectives import log_mean_exp
from manyview.seeding import seeded

__all__ = ["CHECKS", "Case", "ConformanceError", "check_model"]

_TINY: dict[str, Any] = {
    "z_dim": 2,
    "encoder": {"hidden": [8], "activation": "elu"},  # whose units never die
    "decoder": {"hidden": [8], "activation": "elu"},
    "max_epochs": 2,
    "batch_size": 16,
    "random_state": 0,
    "verbose": False,
}

# What an absent view may hold: in the data as given, and in a batch, whose entries are finite and of moderate size.
_FILLERS = (0.0, 1e30, math.nan)
_BATCH_FILLERS = (0.0, -7.0, 1e3)

_SCALES = (1e-6, 1e6)

# How far an importance-weighted log-likelihood may be off where the posterior is narrower than it should be, in nats.
_BIAS = 0.3


class ConformanceError(AssertionError):
    """A model lacks properties that it should have."""


@dataclass(frozen=True)
class Case:
    """A model to check: its class, its hyperparameters, and data.

    Parameters
    ----------
    Model : type
        The class.
    parameters : mapping, optional
        Hyperparameters. What they leave out is small: two latent dimensions, networks of one layer, two epochs.
    data : views, optional
        Some 40 samples with at least one view each, in any form; by default three continuous views that share two
        factors.
    """

    Model: type[Estimator]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    data: Any = None

    @cached_property
    def views(self) -> Views:
        """The data, as arrays."""
        views = make_multiview(40, (5, 3, 4), random_state=0) if self.data is None else as_views(self.data)
        return Views({name: views.array(name) for name in views.names})

    def make(self, **changes: Any) -> Estimator:
        """A new model, some of its hyperparameters changed."""
        return self.Model(**{**_TINY, **self.parameters, **changes})

    @cached_property
    def fitted(self) -> Estimator:
        """The model, fitted to the data; checks leave it as it is."""
        return self.make().fit(self.views)

    @cached_property
    def batch(self) -> Batch:
        """The data as the networks see them."""
        return make_batch(self.views, self.fitted.views_)

    @cached_property
    def has_prior(self) -> bool:
        """Whether the latents have a proper prior."""
        try:
            return isinstance(self.fitted.network_.latent.prior, Distribution)
        except ValueError:
            return False

    @cached_property
    def has_score(self) -> bool:
        """Whether samples are scored; a model may refuse to only if it has no proper prior."""
        try:
            self.fitted.score(self.views, n_samples=1)
        except ValueError:
            if self.has_prior:
                raise
            return False
        return True

    def only(self, view: str) -> Case:
        """The same model on one of the views."""
        parameters = dict(self.parameters)
        for name, value in self.parameters.items():
            if isinstance(value, Mapping) and value.keys() <= {*self.views.names, "default"}:
                parameters[name] = {key: spec for key, spec in value.items() if key in (view, "default")}
                if not parameters[name]:
                    del parameters[name]
        parameters |= {name: view for name in self.Model.view_parameters if name in parameters}
        return Case(self.Model, parameters, self.views.select(view))


# ---- shapes and numbers ---------------------------------------------------------------------------------------------


def check_shapes(case: Case) -> None:
    """Every method answers with finite arrays of the documented shapes: views in their own dtype, the rest float32."""
    model, views, n = case.fitted, case.views, len(case.views)
    z_dim = model.z_dim
    expected = {"transform": (n, z_dim), "draws of z": (3, n, z_dim), "score_samples": (n,)}
    for name, shape in views.shapes.items():
        expected |= {f"predict[{name}]": (n, *shape), f"draws of {name}": (3, n, *shape)}
        expected |= {f"sample[{name}]": (3, *shape)}
    for what, x in _answers(case, model).items():
        _require(x.shape == expected[what], f"{what} has shape {x.shape}, not {expected[what]}")
        dtype = next(
            (views.array(name).dtype for name in views.names if what.endswith((f"[{name}]", f"draws of {name}"))),
            np.dtype(np.float32),
        )
        _require(x.dtype == dtype, f"{what} is {x.dtype}, not {dtype}")
        _finite(x, what)
    names = model.get_feature_names_out()
    _require(len(names) == z_dim, f"get_feature_names_out gives {len(names)} names for {z_dim} dimensions")
    for latent in model.predict_latents(views):
        _require(latent.shape == (n, z_dim), f"predict_latents has shape {latent.shape}, not {(n, z_dim)}")
    private = model.network_.latent.private
    if private is None:
        _refuses(lambda: model.transform_private(views), "transform_private, without private latents,")
    else:
        for name, h in model.transform_private(views).items():
            _require(h.shape == (n, private.z_dim), f"transform_private[{name!r}] has shape {h.shape}")
            _finite(h, f"transform_private[{name!r}]")
    q = model.network_.posterior(case.batch)
    shapes = (tuple(q.batch_shape), tuple(q.event_shape))
    _require(shapes == ((n,), (z_dim,)), f"the posterior has batch and event shape {shapes}, not {((n,), (z_dim,))}")


def check_objective(case: Case) -> None:
    """The objective has a finite float32 value for each sample, its parts one for each sample, or view and sample."""
    model, batch = case.fitted, case.batch
    n, n_views = len(batch), len(batch.x)
    with seeded(0):
        terms = model.objective(model.network_, batch, _beta(model))
    _require(terms.value.shape == (n,), f"the value has shape {tuple(terms.value.shape)}, not {(n,)}: one a sample")
    _require(terms.value.dtype == torch.float32, f"the value is {terms.value.dtype}, not float32")
    _finite(terms.value, "the value")
    for name, part in terms.parts.items():
        allowed = [(n,), (n_views, n)]
        _require(tuple(part.shape) in allowed, f"part {name!r} has shape {tuple(part.shape)}, not one of {allowed}")
        _finite(part, f"part {name!r}")
    _finite(model.history_["loss"].to_numpy(), "the loss in history_")


def check_scales(case: Case) -> None:
    """Loss, gradients and answers are finite at input scales from 1e-6 to 1e6, standardised or not."""
    network, names = case.fitted.network_, case.views.names
    continuous = [name for m, name in enumerate(names) if network.likelihood(m).continuous]
    for scale in ("standard", None):
        for factor in _SCALES:
            scaled = Views({name: x * factor if name in continuous else x for name, x in case.views.items()})
            where = f"at input scale {factor:g} with scale={scale!r}"
            try:
                other = Case(case.Model, {**case.parameters, "scale": scale}, scaled)
                check_objective(other)
                _, gradients = _value_and_gradients(other.fitted, other.batch)
                for name, gradient in gradients.items():
                    if gradient is not None:
                        _finite(gradient, f"the gradient of {name}")
                for what, x in _answers(other, other.fitted).items():
                    _finite(x, what)
            except Exception as error:
                raise ConformanceError(f"{where}: {_describe(error)}") from error


def check_single_rows(case: Case) -> None:
    """The loss is finite in batches of one sample, in training and after."""
    # Batch normalisation needs two samples to train on, and objectives of whole batches need their number.
    size = max(2 if _normalises(case.fitted.network_) else 1, case.fitted.fewest_samples)
    model = case.make(batch_size=size).fit(case.views[: max(6, 4 * size)])
    _finite(model.history_["loss"].to_numpy(), f"the loss with batch_size={size}")
    for row in range(3):
        value = _objective(case.fitted, case.fitted.network_, case.batch[row : row + 1])
        _require(value.shape == (1,), f"the objective of one row has shape {tuple(value.shape)}, not (1,)")
        _finite(value, "the objective of one row")


def check_gradients(case: Case) -> None:
    """Every parameter of the network gets a finite gradient, which is not zero throughout."""
    _, gradients = _value_and_gradients(case.fitted, case.batch)
    # A bias before a normalisation layer has no effect, and neither has the weight of an only view.
    may_vanish = _normalises(case.fitted.network_) or len(case.views.names) == 1
    for name, gradient in gradients.items():
        if gradient is None:
            raise ConformanceError(f"{name} gets no gradient: the objective does not use it")
        _finite(gradient, f"the gradient of {name}")
        _require(may_vanish or bool(gradient.any()), f"the gradient of {name} is zero: the objective ignores it")


# ---- missing views --------------------------------------------------------------------------------------------------


def check_masking(case: Case) -> None:
    """What a masked view holds changes neither training, nor loss, gradients, posterior, latents or predictions."""
    views, present = case.views, _some_present(case.views)
    weights, answers = None, None
    for filler in _FILLERS:
        model = case.make().fit(_filled(views, present, filler))
        new_answers = _answers(case, model, _filled(views, present, filler))
        if weights is None or answers is None:
            weights, answers = _weights(model), new_answers
        _same(_weights(model), weights, f"with {filler} instead of {_FILLERS[0]} in masked views, after training,")
        _same(new_answers, answers, f"with {filler} instead of {_FILLERS[0]} in masked views,")

    model, masked = case.fitted, make_batch(Views(views, present=present), case.fitted.views_)
    z = _some_z(case)
    reference: dict[str, Any] | None = None
    for filler in _BATCH_FILLERS:
        batch = _fill_absent(masked, filler)
        value, gradients = _value_and_gradients(model, batch)
        q = model.network_.posterior(batch)
        found: dict[str, Any] = {"the objective": value, "the posterior's mean": q.mean, "its density": q.log_prob(z)}
        found |= {f"the gradient of {name}": gradient for name, gradient in gradients.items() if gradient is not None}
        reference = found if reference is None else reference
        for what, x in found.items():
            _close(x, reference[what], f"{what}, with {filler} instead of {_BATCH_FILLERS[0]} in the absent views,")


def check_missing_features(case: Case) -> None:
    """Single missing features leave everything finite, and what stands in for them is not in the likelihood."""
    rng = np.random.RandomState(0)
    holes = {name: np.where(rng.uniform(size=x.shape) < 0.3, np.nan, x) for name, x in case.views.items()}
    other = Case(case.Model, case.parameters, holes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some samples may now have no view at all
        for what, x in _answers(other, other.fitted).items():
            _finite(x, what)
    model, batch = other.fitted, other.batch
    z, h, reference = _some_z(case), _some_h(case), None
    for filler in _BATCH_FILLERS:
        pairs = zip(batch.x, batch.observed, strict=True)
        filled = replace(batch, x=tuple(x if mask is None else x.where(mask, filler) for x, mask in pairs))
        log_lik = model.network_.log_lik(z, filled, h)
        reference = log_lik if reference is None else reference
        _close(log_lik, reference, f"log p(x | z), with {filler} instead of {_BATCH_FILLERS[0]} in missing features,")


def check_any_to_any(case: Case) -> None:
    """Any views predict any others; ``given=`` is the same as masking the rest, and as leaving them out."""
    model, views, names = case.fitted, case.views, case.views.names
    subsets = [*((name,) for name in names), *(tuple(n for n in names if n != name) for name in names), names]
    for given in dict.fromkeys(subset for subset in subsets if subset):
        masked = Views(views, present={name: np.zeros(len(views), bool) for name in names if name not in given})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some samples may have none of the given views
            z, what = model.transform(views, given=list(given)), f"transform(given={given})"
            _close(z, model.transform(masked), f"{what}, against masking the other views,")
            _close(z, model.transform(views.select(given)), f"{what}, against leaving the other views out,")
            everything = model.predict(masked)
            for target in names:
                found = model.predict(views, given=list(given), target=target)
                what = f"predict(given={given}, target={target!r})"
                _require(list(found) == [target], f"{what} answers for {list(found)}")
                shape = (len(views), *views.shapes[target])
                _require(found[target].shape == shape, f"{what} has shape {found[target].shape}, not {shape}")
                _finite(found[target], what)
                _close(found[target], everything[target], f"{what}, against masking the other views,")


def check_imputation(case: Case) -> None:
    """``impute`` leaves observed entries exactly as they are, and fills in the others."""
    with_gaps = Views(case.views, present=_some_present(case.views))
    filled = case.fitted.impute(with_gaps)
    expected = case.fitted.predict(with_gaps)
    for name in case.views.names:
        x = with_gaps.array(name)
        missing = np.isnan(x)
        _require(np.array_equal(filled[name][~missing], x[~missing]), f"impute changes observed entries of {name!r}")
        _finite(filled[name], f"impute[{name!r}]")
        _close(filled[name][missing], expected[name][missing], f"what impute fills into {name!r}, against predict,")


def check_no_view(case: Case) -> None:
    """A sample without any view gets the prior's answer, and a warning; those beside it are not touched."""
    model, views = case.fitted, case.views[:5]
    present = views.present.copy()
    present[0] = False
    data = Views(views, present=present)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        z, x = model.transform(data), model.predict(data)
    counted = [str(w.message) for w in caught if str(w.message).startswith("1 of 5 samples")]
    _require(len(counted) == 2, f"transform and predict should warn once each of 1 sample of 5; they warned {counted}")
    _finite(z, "transform")
    _close(z[1:], model.transform(data[1:]), "transform of the other samples")
    for name, value in x.items():
        _finite(value, f"predict[{name}]")
    if case.has_prior and model.has_likelihood:
        prior, latents = model.network_.latent.prior, _some_z(case)[:5]
        _close(z[0], prior.mean, "the latents of a sample without views, against the prior's mean,")
        q = model.network_.posterior(make_batch(data, model.views_))
        density = q.log_prob(latents[:1].expand_as(latents))
        _close(density[0], prior.log_prob(latents[0]), "its posterior density, against the prior's,")


def check_one_view(case: Case) -> None:
    """Everything works with one view, and an array given alone comes back alone; or one view is refused."""
    if case.Model.fewest_views > 1:
        only = case.only(case.views.names[0])
        _refuses(lambda: only.make().fit(only.views), "fit, with one view,")
        return
    for name in case.views.names:
        alone = case.only(name)
        x = alone.views.array(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some samples may lack this view
            check_shapes(alone)
            check_objective(alone)
            answers = {"predict": alone.fitted.predict(x), "impute": alone.fitted.impute(x)}
        for what, found in answers.items():
            _require(isinstance(found, np.ndarray), f"{what} of one array gives a {type(found).__name__}")
            _require(found.shape == x.shape, f"{what} of one array has shape {found.shape}, not {x.shape}")


# ---- symmetries -----------------------------------------------------------------------------------------------------


def check_row_order(case: Case) -> None:
    """Reordered samples have the same latents, predictions and objective, reordered."""
    model, views = case.fitted, case.views
    order = np.random.RandomState(0).permutation(len(views))
    _close(model.transform(views[order]), model.transform(views)[order], "transform of reordered samples")
    expected = model.predict(views)
    for name, x in model.predict(views[order]).items():
        _close(x, expected[name][order], f"predict[{name}] of reordered samples")
    few = torch.from_numpy(order[:6])
    backwards = torch.arange(5, -1, -1)
    _agree(
        _moments(model, model.network_, case.batch[few]),
        [x[backwards] for x in _moments(model, model.network_, case.batch[few[backwards]])],
        "the objective of reordered samples",
    )


def check_view_order(case: Case) -> None:
    """Reordered views, with the weights reordered alike, give the same answers, densities and objective.

    Parameters of a fusion are taken to belong to the views if their first dimension is as long as there are views.
    """
    model, n_views = case.fitted, len(case.views.names)
    named = {name: _view_name(case, getattr(model, name)) for name in model.view_parameters}
    order = [*range(1, n_views), 0]
    twin = copy.copy(model)
    for name, view in named.items():
        setattr(twin, name, view)
    twin.views_ = tuple(model.views_[m] for m in order)
    with seeded(1):
        twin.network_ = _with_weights(twin.build(twin.views_), model.network_, order).eval()

    _close(twin.transform(case.views), model.transform(case.views), "transform")
    for name, x in twin.predict(case.views).items():
        _close(x, model.predict(case.views)[name], f"predict[{name}]")
    batch, z = make_batch(case.views, twin.views_), _some_z(case)
    found, expected = twin.network_.posterior(batch).log_prob(z), model.network_.posterior(case.batch).log_prob(z)
    _close(found, expected, "the posterior density")
    h = _some_h(case)
    found = twin.network_.log_lik(z, batch, None if h is None else h[order])
    _close(found, model.network_.log_lik(z, case.batch, h)[order], "log p(x | z)")
    few = slice(0, 6)
    _agree(_moments(twin, twin.network_, batch[few]), _moments(model, model.network_, case.batch[few]), "the objective")


def check_batch_sizes(case: Case) -> None:
    """A sample's latents and predictions do not depend on those that are answered with it."""
    model, views = case.fitted, case.views[:10]
    z, x = model.transform(case.views)[:10], model.predict(case.views)
    for rows in [*(slice(i, i + 1) for i in range(10)), slice(0, 3), slice(3, 10)]:
        _close(model.transform(views[rows]), z[rows], f"transform of rows {rows.start}:{rows.stop} alone")
        for name, found in model.predict(views[rows]).items():
            _close(found, x[name][rows], f"predict[{name}] of rows {rows.start}:{rows.stop} alone")


# ---- randomness -----------------------------------------------------------------------------------------------------


def check_seeds(case: Case) -> None:
    """The same ``random_state`` gives the same model and draws, bit for bit; another gives another model."""
    again, other = case.make().fit(case.views), case.make(random_state=1).fit(case.views)
    _same(_weights(again), _weights(case.fitted), "after training with the same random_state,")
    _same(_answers(case, again), _answers(case, case.fitted), "of a model with the same random_state,")
    differ = any(not torch.equal(x, _weights(case.fitted)[name]) for name, x in _weights(other).items())
    _require(differ, "random_state=0 and random_state=1 give the same weights")


def check_determinism(case: Case) -> None:
    """The same question has the same answer, asking changes nothing in the model, and the seed fixes the objective."""
    model = case.fitted
    weights = {name: x.clone() for name, x in _weights(model).items()}
    _same(_answers(case, model), _answers(case, model), "asked twice,")
    _same(_weights(model), weights, "after answering,")
    _require(not any(module.training for module in model.network_.modules()), "the network is left in training mode")
    first, second = (_objective(model, model.network_, case.batch, seed=1) for _ in range(2))
    _same({"the objective": second}, {"the objective": first}, "with the same seed,")


def check_global_state(case: Case) -> None:
    """Random numbers and settings that others share are as they were, whatever the model is asked to do."""
    before = _global_state()
    model = case.make().fit(case.views)
    _same(_global_state(), before, "after fit,")
    _answers(case, model)
    _same(_global_state(), before, "after transform, predict, sample and score,")


def check_sampling(case: Case) -> None:
    """Samples and scores are seeded and finite; only a model without a proper prior refuses them, with a reason."""
    model = case.fitted
    if case.has_prior:
        first, again, other = (model.sample(8, random_state=seed) for seed in (1, 1, 2))
        smooth = model.sample(8, expected=True, random_state=1)
        for name in case.views.names:
            x = first.array(name)
            _require(np.array_equal(x, again.array(name)), f"sample(random_state=1) gives two {name!r}")
            _finite(smooth.array(name), f"sample(expected=True)[{name!r}]")
        same = all(np.array_equal(first.array(name), other.array(name)) for name in case.views.names)
        _require(not same, "sample gives the same views for random_state=1 and 2")
    else:
        _refuses(lambda: model.sample(2), "sample, without a proper prior,")
    if case.has_score:
        scores = [model.score_samples(case.views, n_samples=4, random_state=1) for _ in range(2)]
        _finite(scores[0], "score_samples")
        _require(np.array_equal(*scores), "score_samples(random_state=1) differs between two calls")
        mean = model.score(case.views, n_samples=4, random_state=1)
        _close(mean, scores[0].mean(), "score, against the mean of score_samples,")
    else:
        _refuses(lambda: model.score_samples(case.views), "score_samples, when score does,")


def check_log_likelihood(case: Case) -> None:
    """``score_samples`` is log p(X), as draws from the prior have it; models without a likelihood refuse ``given=``."""
    model, some = case.fitted, case.views[:4]
    first = case.views.names[0]
    if not (case.has_score and model.has_likelihood):
        _refuses(lambda: model.score_samples(some, given=[first]), "score_samples(given=), without a likelihood,")
        return
    batch = make_batch(some, model.views_)
    joint = _prior_estimate(model.network_, batch)
    _agree(_importance_estimate(case, some), joint, "score_samples", _BIAS)
    _refuses(lambda: model.score_samples(some, given=list(some.names)), "score_samples, given all the views,")
    if len(some.names) > 1:
        marginal = _prior_estimate(model.network_, batch.given(torch.arange(len(some.names)) == 0))
        error = (joint[1].square() + marginal[1].square()).sqrt()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some samples may lack the view that is given
            found = _importance_estimate(case, some, given=[first])
        _agree(found, (joint[0] - marginal[0], error), "score_samples(given=)", _BIAS)


def check_covariates(case: Case) -> None:
    """Fitted with covariates, a model asks for them everywhere, uses them, and refuses categories it has not seen."""
    views, n = case.views, len(case.views)
    known = {"age": np.linspace(20, 80, n), "site": np.where(np.arange(n) % 3 == 0, "north", "south")}
    other = {"age": known["age"][::-1] + 10, "site": known["site"][::-1]}
    model = case.make().fit(views, covariates=known)
    z = model.transform(views, covariates=known)
    _finite(z, "transform")
    answer, what_if = (model.predict(views, covariates=known, target_covariates=c) for c in (known, other))
    for name, x in answer.items():
        _finite(x, f"predict[{name!r}]")
    uses = (
        not np.array_equal(z, model.transform(views, covariates=other))
        if model.condition == "encoder"
        else any(not np.array_equal(x, what_if[name]) for name, x in answer.items())
    )
    _require(uses, "covariates make no difference")
    if case.has_prior:
        new = model.sample(covariates=other, random_state=1)
        _require(len(new) == n, f"sample gives {len(new)} samples for {n} rows of covariates")
    if case.has_score:
        _finite(model.score_samples(views, covariates=known, n_samples=3), "score_samples")
    _refuses(lambda: model.transform(views), "transform, without covariates,")
    unseen = {**known, "site": np.full(n, "west")}
    _refuses(lambda: model.transform(views, covariates=unseen), "transform, with an unseen category,")
    _refuses(lambda: case.fitted.transform(views, covariates=known), "transform of a model without covariates")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        _close(load(path).transform(views, covariates=known), z, "transform of the loaded model")


# ---- files, copies and scikit-learn ---------------------------------------------------------------------------------


def check_saving(case: Case) -> None:
    """A model that is saved and loaded has the same hyperparameters, history and answers, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        case.fitted.save(path)
        loaded = load(path)
    _require(type(loaded) is case.Model, f"load gives a {type(loaded).__name__}")
    _same(_weights(loaded), _weights(case.fitted), "loaded,")
    _same(_answers(case, loaded), _answers(case, case.fitted), "of the loaded model,")
    _require(loaded.history_.equals(case.fitted.history_), "the history_ of the loaded model differs")


def check_cloning(case: Case) -> None:
    """``clone``, ``get_params``, ``set_params``, ``pickle`` and ``copy`` do what scikit-learn expects."""
    model = case.make()
    parameters = _reprs(model)
    _require(_reprs(model.fit(case.views)) == parameters, "fit changes hyperparameters")
    blank = clone(model)
    _require(not blank.__sklearn_is_fitted__(), "a clone is fitted already")
    _require(_reprs(blank) == parameters, "a clone has other hyperparameters")
    _require(_reprs(case.Model().set_params(**model.get_params())) == parameters, "set_params(**get_params()) differs")
    _require(clone(model).set_params(z_dim=3).z_dim == 3, "set_params(z_dim=3) has no effect")
    _same(_weights(blank.fit(case.views)), _weights(model), "a clone, fitted to the same data,")
    for how, twin in {"pickled": pickle.loads(pickle.dumps(model)), "copied": copy.deepcopy(model)}.items():
        _require(_reprs(twin) == parameters, f"a {how} model has other hyperparameters")
        _same(_weights(twin), _weights(model), f"{how},")
        _same(_answers(case, twin), _answers(case, model), f"of a {how} model,")


def check_model_selection(case: Case) -> None:
    """``cross_val_score`` and ``GridSearchCV`` run, and their scores are finite."""
    from sklearn.model_selection import GridSearchCV, cross_val_score

    def explained(model: Estimator, X: Views, y: Any = None) -> float:
        """A score for models that have none: minus the squared error of the reconstruction."""
        return -float(np.mean([np.nanmean((x - X.array(name)) ** 2) for name, x in model.predict(X).items()]))

    odd = np.arange(len(case.views)) % 2 == 1
    options: dict[str, Any] = {"error_score": "raise", "scoring": None if case.has_score else explained}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samples without any view, in data that have such
        _finite(cross_val_score(case.make(), case.views, cv=2, **options), "cross_val_score")
        split = [(np.flatnonzero(~odd), np.flatnonzero(odd))]
        search = GridSearchCV(case.make(), {"learning_rate": [1e-4, 1e-2]}, cv=split, **options).fit(case.views)
    _finite(search.cv_results_["mean_test_score"], "the scores of GridSearchCV")
    best = search.best_params_["learning_rate"]
    _require(search.best_estimator_.learning_rate == best, "GridSearchCV's best model lacks its best parameters")
    _finite(search.transform(case.views), "transform of GridSearchCV")


CHECKS: tuple[Callable[[Case], None], ...] = (
    check_shapes,
    check_objective,
    check_scales,
    check_single_rows,
    check_gradients,
    check_masking,
    check_missing_features,
    check_any_to_any,
    check_imputation,
    check_no_view,
    check_one_view,
    check_row_order,
    check_view_order,
    check_batch_sizes,
    check_seeds,
    check_determinism,
    check_global_state,
    check_sampling,
    check_log_likelihood,
    check_covariates,
    check_saving,
    check_cloning,
    check_model_selection,
)
"""Every check, in the order in which they run."""


def check_model(Model: type[Estimator], *, data: Any = None, **parameters: Any) -> list[str]:
    """Check that a model has the properties that every model should have.

    Some of them: shapes are as documented; the loss is finite for data of any scale; every parameter learns; a masked
    view changes nothing, whatever it holds; the order of samples and of views does not matter; the same seed gives the
    same model; a saved model answers as before; one view suffices; scikit-learn's tools work.

    Parameters
    ----------
    Model : type
        The model's class.
    data : views, optional
        What to check it on: some 40 samples with at least one view each, in any form; by default three continuous
        views that share two factors.
    **parameters
        Hyperparameters. Those left out are small, so that the whole takes seconds.

    Returns
    -------
    list of str
        The names of the properties, all of which hold.

    Raises
    ------
    ConformanceError
        If any does not hold. The message lists each of them, with what was found.

    Examples
    --------
    >>> import manyview as mv
    >>> mv.testing.check_model(mv.AE)[:3]
    ['shapes', 'objective', 'scales']
    """
    case = Case(Model, parameters, data)
    failures = {check: failure for check, failure in _run(case) if failure is not None}
    if failures:
        details = "".join(
            f"\n- {_name(check)}: {(check.__doc__ or '').splitlines()[0]}\n  {_describe(failure)}"
            for check, failure in failures.items()
        )
        raise ConformanceError(f"{Model.__name__} fails {len(failures)} of {len(CHECKS)} checks:{details}")
    return [_name(check) for check in CHECKS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print which models have which properties; the exit code is 1 if any is lacking."""
    parser = argparse.ArgumentParser(prog="python -m manyview.testing", description="Check models for conformance.")
    parser.add_argument("Model", nargs="*", help="a model of this library, or the import path of one; default: all")
    try:
        classes = [_find_model(name) for name in parser.parse_args(arguments).Model] or list(models.MODELS)
    except ValueError as error:
        parser.error(str(error))
    width = max(len(Model.__name__) for Model in classes)
    print(" " * width, *_COLUMNS, sep="  ", flush=True)
    oracles = _run_oracles(classes)
    failures: list[str] = []
    for Model in classes:
        row = _row(Model, oracles)
        marks = {column: "–" if found is None else "✗" if found else "✓" for column, found in row.items()}
        print(Model.__name__.ljust(width), *(marks[name].center(len(name)) for name in _COLUMNS), sep="  ", flush=True)
        failures += dict.fromkeys(f"{Model.__name__}: {failure}" for found in row.values() for failure in found or ())
    print(*failures, sep="\n", end="\n" if failures else "")
    return int(bool(failures))


_COLUMNS = ("conformance", "oracle", "missing", "any-to-any", "log-likelihood", "covariates")


def _row(Model: type[Estimator], oracles: Mapping[str, bool]) -> dict[str, list[str] | None]:
    """What fails in each column; None where there is nothing to run."""
    complete = Case(Model)
    found = {
        where: {
            _name(check): failure and f"{_name(check)}{where}: {_describe(failure)}" for check, failure in _run(case)
        }
        for where, case in {"": complete, " with missing views": Case(Model, data=_with_missing_views())}.items()
    }

    def failing(where: str, *names: str) -> list[str]:
        return [failure for name, failure in found[where].items() if failure and (not names or name in names)]

    tests = {name: passed for name, passed in oracles.items() if _proves(name, Model)}
    return {
        "conformance": failing(""),
        "oracle": [f"oracle {name} fails" for name, passed in tests.items() if not passed] if tests else None,
        "missing": failing(" with missing views"),
        "any-to-any": failing("", "any_to_any", "imputation"),
        "log-likelihood": failing("", "log_likelihood") if Model.has_likelihood else None,
        "covariates": failing("", "covariates"),
    }


def _with_missing_views() -> Views:
    views: Views = make_multiview(40, (5, 3, 4), missing=0.3, random_state=3)
    return views


def _run_oracles(classes: Sequence[type[Estimator]]) -> dict[str, bool]:
    """The tests of the models' equations, and whether they pass; none where only the package is installed."""
    folder = Path(__file__).parents[2] / "tests" / "oracles"
    if not folder.is_dir():
        return {}
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        named = " or ".join(f"{Model.__name__} or test_{_module(Model)}" for Model in classes)
        options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-k", named]
        command = [sys.executable, "-m", "pytest", *options, str(folder)]
        subprocess.run(command, cwd=folder.parents[1], stdout=subprocess.DEVNULL, check=False)
        cases = ElementTree.parse(report).iter("testcase")
        return {
            f"{case.get('classname')}::{case.get('name')}": not {"failure", "error"} & {part.tag for part in case}
            for case in cases
            if case.find("skipped") is None
        }


def _module(Model: type[Estimator]) -> str:
    return Model.__module__.rpartition(".")[-1]


def _proves(test: str, Model: type[Estimator]) -> bool:
    """Whether a test is about a model: its module is the model's, or its name has the model's."""
    return (
        re.search(rf"(^|\.)test_{_module(Model)}::", test) is not None
        or re.search(rf"(?<![A-Za-z]){Model.__name__}(?![A-Za-z])", test) is not None
    )


def _run(case: Case) -> Iterable[tuple[Callable[[Case], None], Exception | None]]:
    for check in CHECKS:
        try:
            check(case)
        except Exception as error:
            yield check, error
        else:
            yield check, None


def _find_model(name: str) -> type[Estimator]:
    module, _, attribute = name.rpartition(".")
    known = {Model.__name__: Model for Model in models.MODELS}
    if not module:
        if name not in known:
            raise ValueError(f"no model {name!r}{closest(name, known)}; others by their import path, package.Model")
        return known[name]
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no model {name!r}: {error}") from None
    if not (inspect.isclass(found) and issubclass(found, Estimator)):
        raise ValueError(f"{name!r} is no model: it does not derive from manyview.Estimator")
    return found


def _name(check: Callable[[Case], None]) -> str:
    return check.__name__.removeprefix("check_")


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, ConformanceError) else f"{type(error).__name__}: {error}"


# ---- comparisons ----------------------------------------------------------------------------------------------------


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def _numpy(x: Any) -> np.ndarray:
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _finite(x: Any, what: str) -> None:
    bad = ~np.isfinite(_numpy(x))
    _require(not bad.any(), f"{what}: {bad.sum()} of {bad.size} numbers are not finite")


def _close(found: Any, expected: Any, what: str) -> None:
    """Equal up to the rounding of float32."""
    x, y = _numpy(found), _numpy(expected)
    _require(x.shape == y.shape, f"{what} has shape {x.shape}, not {y.shape}")
    size = np.abs(y[np.isfinite(y)]).max(initial=0.0)
    same = np.isclose(x, y, rtol=1e-4, atol=1e-5 * float(size), equal_nan=True)
    if not same.all():
        worst = tuple(np.argwhere(~same)[0].tolist())
        _require(False, f"{what} differs in {(~same).sum()} of {same.size} numbers, first at {worst}: "
                        f"{x[worst]:.7g}, not {y[worst]:.7g}")  # fmt: skip


def _same(found: Mapping[str, Any], expected: Mapping[str, Any], when: str) -> None:
    """Equal bit for bit."""
    _require(found.keys() == expected.keys(), f"{when} there are {list(found)}, not {list(expected)}")
    different = [name for name in found if not np.array_equal(_numpy(found[name]), _numpy(expected[name]))]
    _require(not different, f"{when} these differ: {', '.join(different)}")


def _refuses(call: Callable[[], Any], what: str) -> None:
    try:
        call()
    except ValueError as error:
        _require(bool(str(error)), f"{what} should say why it raises a ValueError")
    else:
        raise ConformanceError(f"{what} should raise a ValueError")


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor], what: str, bias: float = 0.0) -> None:
    """Means that are equal up to six standard errors, and a bias."""
    (mean, error), (other, other_error) = found, expected
    bound = 6 * (error.square() + other_error.square()).sqrt() + 1e-4 * other.abs() + 1e-5 + bias
    worst = int(((mean - other).abs() / bound).argmax())
    _require(
        bool(((mean - other).abs() <= bound).all()),
        f"{what} differs on average over the noise: {mean[worst]:.5g}, not {other[worst]:.5g} ± {bound[worst]:.2g}",
    )


# ---- what is asked of a model ---------------------------------------------------------------------------------------


def _answers(case: Case, model: Estimator, views: Views | None = None) -> dict[str, np.ndarray]:
    """One answer of every method."""
    views = case.views if views is None else views
    answers = {"transform": model.transform(views), "draws of z": model.transform(views, n_samples=3, random_state=1)}
    answers |= {f"predict[{name}]": x for name, x in model.predict(views).items()}
    answers |= {f"draws of {name}": x for name, x in model.predict(views, n_samples=3, random_state=1).items()}
    if case.has_score:
        answers["score_samples"] = model.score_samples(views, n_samples=3, random_state=1)
    if case.has_prior:
        new = model.sample(3, random_state=1)
        answers |= {f"sample[{name}]": new.array(name) for name in new.names}
    return answers


def _beta(model: Estimator) -> float:
    """The weight of the divergences after any warm-up."""
    return model.beta_at(1e6)


def _objective(model: Estimator, network: Network, batch: Batch, seed: int = 0) -> Tensor:
    with seeded(seed):
        return model.objective(network, batch, _beta(model)).value


def _value_and_gradients(model: Estimator, batch: Batch) -> tuple[Tensor, dict[str, Tensor | None]]:
    """The objective, and the gradients of its mean: those of a training step."""
    # Batch normalisation in training mixes samples, and with them what stands in for absent views.
    network = copy.deepcopy(model.network_).train(not _normalises(model.network_))
    value = _objective(model, network, batch)
    value.mean().backward()
    if network.adversary is not None:  # it is trained by an objective of its own
        with seeded(0):
            network.adversarial(network.experts(batch).mean, batch.present).mean().backward()
    return value.detach(), {name: parameter.grad for name, parameter in network.named_parameters()}


@torch.no_grad()
def _moments(model: Estimator, network: Network, batch: Batch, repeats: int = 200) -> tuple[Tensor, Tensor]:
    """The mean of each row's objective over the noise, and the standard error of that."""
    values = _objective(model, network, batch[torch.arange(len(batch)).repeat(repeats)]).double().view(repeats, -1)
    return values.mean(0), values.std(0) / repeats**0.5


def _weights(model: Estimator) -> dict[str, Tensor]:
    return dict(model.network_.state_dict())


def _reprs(model: Estimator) -> dict[str, str]:
    return {name: repr(value) for name, value in model.get_params(deep=False).items()}


def _some_z(case: Case) -> Tensor:
    with seeded(0):
        return torch.randn(len(case.views), case.fitted.z_dim)


def _importance_estimate(case: Case, views: Views, **options: Any) -> tuple[Tensor, Tensor]:
    """The mean of some calls of score_samples, and its standard error."""
    scores = [case.fitted.score_samples(views, n_samples=5000, random_state=i, **options) for i in range(8)]
    values = torch.from_numpy(np.stack(scores)).double()
    return values.mean(0), values.std(0) / len(scores) ** 0.5


@torch.no_grad()
def _prior_estimate(network: Network, batch: Batch, n_draws: int = 20_000) -> tuple[Tensor, Tensor]:
    """Log p(X) as the mean of p(X | z, h) over draws from the priors, and its standard error."""
    private = network.latent.private
    with seeded(2):
        z = network.latent.prior.sample(torch.Size((n_draws, 1))).expand(-1, len(batch), -1)
        h = None
        if private is not None:
            h = private.prior.sample(torch.Size((n_draws, len(batch.x), 1))).expand(-1, -1, len(batch), -1)
    log_lik = network.log_lik(z, batch, h).sum(-2).double()
    relative = (log_lik - log_lik.max(0).values).exp()
    return log_mean_exp(log_lik, 0), relative.std(0) / relative.mean(0) / n_draws**0.5


def _some_h(case: Case) -> Tensor | None:
    private = case.fitted.network_.latent.private
    if private is None:
        return None
    with seeded(1):
        return torch.randn(len(case.views.names), len(case.views), private.z_dim)


def _view_name(case: Case, view: str | int) -> str:
    return view if isinstance(view, str) else case.views.names[view]


def _normalises(network: Network) -> bool:
    layers = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    return any(isinstance(module, layers) for module in network.modules())


def _some_present(views: Views) -> np.ndarray:
    """About half of the views that are there, and at least one of each sample's."""
    rng, present = np.random.RandomState(0), views.present
    one = (rng.uniform(size=present.shape) * present).argmax(axis=1)
    chosen = rng.uniform(size=present.shape) < 0.5
    chosen[np.arange(len(one)), one] = True
    kept: np.ndarray = present & chosen
    return kept


def _filled(views: Views, present: np.ndarray, filler: float) -> Views:
    """The views with a filler wherever one is absent, and a mask that says so."""
    data = {}
    for m, (name, x) in enumerate(views.items()):
        mask = present[:, m].reshape(-1, *[1] * (x.ndim - 1))
        data[name] = np.where(mask, x, np.asarray(filler, x.dtype))
    return Views(data, present=present)


def _fill_absent(batch: Batch, filler: float) -> Batch:
    if batch.present is None:
        return batch
    masks = [mask.view(-1, *[1] * (x.ndim - 1)) for mask, x in zip(batch.present.T, batch.x, strict=True)]
    return replace(batch, x=tuple(x.where(mask, filler) for mask, x in zip(masks, batch.x, strict=True)))


def _with_weights(network: Network, source: Network, order: Sequence[int]) -> Network:
    """A network with the weights of another, whose views are in another order."""
    for parts in ("encoders", "decoders", "likelihoods"):
        theirs = getattr(source, parts)
        for part, m in zip(getattr(network, parts), order[: len(theirs)], strict=True):  # encoders may be none
            part.load_state_dict(theirs[m].state_dict())
    network.latent.load_state_dict(source.latent.state_dict())
    if network.adversary is not None:
        network.adversary.load_state_dict(source.adversary_.state_dict())
    if network.joint_encoder is not None and source.joint_encoder is not None:
        _reorder_joint_encoder(network.joint_encoder, source.joint_encoder, order)
    n_views = len(order)
    network.fusion.load_state_dict(
        {name: x[list(order)] if x.ndim and len(x) == n_views else x for name, x in source.fusion.state_dict().items()}
    )
    return network


def _reorder_joint_encoder(encoder: JointEncoder, source: JointEncoder, order: Sequence[int]) -> None:
    """The weights of a joint encoder for views in another order: those of the trunks, and the inputs of the head."""
    for trunk, m in zip(encoder.trunks, order, strict=True):
        trunk.load_state_dict(source.trunks[m].state_dict())
    encoder.head.load_state_dict(source.head.state_dict())
    first, of_source = (
        next(layer for layer in part.head.modules() if isinstance(layer, nn.Linear)) for part in (encoder, source)
    )
    n_views = len(order)
    width = (first.in_features - n_views) // n_views  # features of each view, and then a flag for each
    columns = [m * width + i for m in order for i in range(width)] + [n_views * width + m for m in order]
    with torch.no_grad():
        first.weight.copy_(of_source.weight[:, columns])


def _global_state() -> dict[str, Any]:
    """What belongs to everybody."""
    _, keys, *rest = np.random.get_state()  # noqa: NPY002 (the global one is meant)
    return {
        "torch's random numbers": torch.get_rng_state(),
        "numpy's random numbers": np.array([*keys, *rest]),
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's number of threads": torch.get_num_threads(),
        "whether gradients are on": torch.is_grad_enabled(),
        "whether algorithms are deterministic": torch.are_deterministic_algorithms_enabled(),
        "whether distributions validate": Distribution._validate_args,
    }


if __name__ == "__main__":
    sys.exit(main())
