"""The face of every model: scikit-learn's contract, on views."""

from __future__ import annotations

import functools
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, dataclass_transform

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.distributions import Distribution

from manyview.data.batch import Batch
from manyview.data.preprocessing import FittedView, make_batch
from manyview.data.views import Views, as_views, contain, holds_all_views
from manyview.fusion import Fusion
from manyview.inference import components, draw
from manyview.latent import Latent
from manyview.likelihoods import Likelihood, as_likelihood, detect_likelihood
from manyview.messages import closest, warn
from manyview.network import Network
from manyview.nn import build_decoder, build_encoder, per_view
from manyview.objectives import Terms
from manyview.seeding import as_seed, seeded
from manyview.training import TrainingSettings
from manyview.validation import check_count, check_hyperparameters, check_known

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Estimator", "LikelihoodSpec", "NetworkSpec"]

logger = logging.getLogger("manyview")

NetworkSpec = str | Mapping[str | int, Any] | nn.Module | Callable[..., nn.Module]
LikelihoodSpec = str | Likelihood | Mapping[str | int, Any]
Array = np.ndarray
ViewNames = str | int | Sequence[str | int] | None

# Rows that go through the networks at once after training.
_ROWS = 1024

# Draws of z, over all rows, that are scored at once.
_DRAWS = 2**18


class _Learned:
    """What ``fit`` sets. No dataclass, so that these are not taken for hyperparameters."""

    views_: tuple[FittedView, ...]
    network_: Network
    best_epoch_: int
    _history: list[dict[str, float]]


@dataclass_transform(kw_only_default=True, eq_default=False)
@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(_Learned, TransformerMixin, BaseEstimator, ABC):
    r"""What every model can do, and the parameters that all of them share.

    A model is a subclass that declares its hyperparameters as annotated fields and answers four questions:
    :meth:`latent` (which latents are there), :meth:`fusion` (how the views' posteriors become one), and
    :meth:`objective` (what is decoded from what, and which divergences hold it in place).

    **Data.** Every method takes the views in any of these forms, and answers in the same form:
    :class:`~manyview.Views`, a dict from name to view, a list of views, several views as arguments, a DataFrame with
    the views in the first level of its columns, AnnData or MuData. A view is an array, tensor or DataFrame of shape
    (n, \*features). DataFrames are joined on their index. A row of NaN, or a view that is None or left out, is a
    missing view; a single NaN is a missing feature. Neither enters the likelihood.

    **Choosing views.** ``given=`` names the views that a method may look at, ``target=`` those that it answers for,
    by name or by position. Samples with none of the given views get the prior's answer, and a warning counts them.

    Parameters
    ----------
    z_dim : int, default 10
        Number of latent dimensions Z.
    encoder, decoder : str, dict, Module, callable or dict of these by view, default "auto"
        The networks. "auto" is "cnn" for views of shape (channels, height, width), and "mlp" for others. A dict of
        settings, such as ``{"hidden": [512, 512], "activation": "silu"}``, refines them; see :mod:`manyview.nn`. A
        module maps (B, \*shape) to (B, W) as an encoder, with W the numbers that the model's posterior takes (2 Z for
        mean and log-variance), and (B, Z) to (B, \*shape) as a decoder; a callable makes one from the two shapes.
    likelihood : str, Likelihood, dict, or dict of these by view, default "auto"
        What a decoder's output means: "normal", "multivariate_normal", "laplace", "bernoulli", "categorical" or "mse";
        see :mod:`manyview.likelihoods`. "auto" takes Bernoulli for zeros and ones, categorical for one-hot rows, and
        Normal with a learned variance for each feature otherwise.
    scale : {"standard", None} or dict of these by view, default "standard"
        Whether features with a continuous likelihood are standardised: by mean and standard deviation of the observed
        training entries. Outputs are in the units of the data, log-likelihoods are densities of the data as given.
    learning_rate : float, default 1e-3
        Step size of the optimiser.
    optimizer : str, default "Adam"
        A class of ``torch.optim``.
    optimizer_args : dict, optional
        Its other arguments.
    scheduler : str, optional
        A class of ``torch.optim.lr_scheduler``, stepped once an epoch.
    scheduler_args : dict, optional
        Its arguments.
    gradient_clip : float, optional
        Largest norm of the gradient.
    max_epochs : int or "auto", default "auto"
        Passes through the training data. "auto" makes some 10,000 optimiser steps of them, at least 50 and at most
        1,000 passes.
    batch_size : int, default 128
        Samples in an optimiser step.
    validation_fraction : float, default 0.1
        Share of the samples held out to watch the objective; 0 for none. Fewer than two samples are never held out.
    patience : int, optional, default 50
        Epochs without improvement of the held-out objective after which training stops; None never stops early. The
        weights of the best epoch are kept in any case.
    input_dim : sequence of int, optional
        Number of features of each view, checked against the data if given.
    device : str, default "auto"
        Where to train: a Lightning accelerator, "auto", "cpu", "gpu", ...
    trainer : dict, optional
        Further arguments of ``pytorch_lightning.Trainer``, such as callbacks, logger or precision.
    random_state : int, RandomState or None, default None
        Seeds the weights, the batches and every draw. The same integer gives the same model, bit for bit, on the same
        machine.
    verbose : bool, default True
        Whether to show a progress bar.

    Attributes
    ----------
    views_ : tuple of FittedView
        What was learned about the data of each view.
    view_names_ : list of str
        The views.
    network_ : Network
        The trained networks.
    history_ : DataFrame
        One row an epoch: the loss (minus the objective, per sample), each of its parts, ``val_`` the same for the
        held-out samples, and β.
    best_epoch_ : int
        The epoch whose weights were kept.
    """

    z_dim: Annotated[int, Gt(0)] = 10
    encoder: NetworkSpec = "auto"
    decoder: NetworkSpec = "auto"
    likelihood: LikelihoodSpec = "auto"
    scale: Literal["standard"] | Mapping[str | int, Literal["standard"] | None] | None = "standard"
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    optimizer: str = "Adam"
    optimizer_args: Mapping[str, Any] | None = None
    scheduler: str | None = None
    scheduler_args: Mapping[str, Any] | None = None
    gradient_clip: Annotated[float, Gt(0)] | None = None
    max_epochs: Annotated[int, Gt(0)] | Literal["auto"] = "auto"
    batch_size: Annotated[int, Gt(0)] = 128
    validation_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    patience: Annotated[int, Gt(0)] | None = 50
    input_dim: Sequence[int] | None = None
    device: str = "auto"
    trainer: Mapping[str, Any] | None = None
    random_state: int | np.random.RandomState | None = None
    verbose: bool | int = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # A model is a dataclass without having to say so, and its constructor explains unknown names.
        super().__init_subclass__(**kwargs)
        dataclass(kw_only=True, eq=False, repr=False)(cls)
        assign = cls.__init__

        @functools.wraps(assign)
        def init(self: Estimator, **parameters: Any) -> None:
            cfg = parameters.pop("cfg", None)
            if cfg is not None:
                from manyview.config import read_config

                parameters = {**read_config(cfg, type(self)), **parameters}
            check_known(type(self), parameters)
            assign(self, **parameters)

        setattr(cls, "__init__", init)  # noqa: B010 (mypy)

    # ---- what a model states ------------------------------------------------------------------------------------

    @abstractmethod
    def latent(self) -> Latent:
        """Which latents are there: the prior, and the family of the posteriors."""

    @abstractmethod
    def fusion(self, n_views: int) -> Fusion:
        """How the views' posteriors become one."""

    @abstractmethod
    def objective(self, network: Network, batch: Batch, beta: float) -> Terms:
        """What is maximised, for each sample of a batch: a function of its arguments and the hyperparameters alone."""

    @abstractmethod
    def beta_at(self, epoch: float) -> float:
        """The weight of the divergences after so many epochs of training."""

    @abstractmethod
    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """The score of each sample, which :meth:`score_samples` returns."""

    # ---- fitting ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        *views: Any,
        validation: Any = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
    ) -> Self:
        """Train the model.

        Parameters
        ----------
        X, *views : views
            The training data. After a dict, list or Views, a further argument is taken for scikit-learn's ``y``, and
            not used.
        validation : views, optional
            Samples to watch the objective on, in place of a held-out share of the training data.
        max_epochs, batch_size : int, optional
            In place of the model's parameters of these names, for this call.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or the data are not as they should be; the message says which, and how to mend it.
        NonFiniteObjectiveError
            If the objective becomes NaN or infinite. The model then has its last good weights, and can be used.
        """
        overrides = {"max_epochs": max_epochs, "batch_size": batch_size}
        run = self._with({name: value for name, value in overrides.items() if value is not None})
        check_hyperparameters(run)
        seed = as_seed(self.random_state)
        arguments = _drop_target(X, views)
        _refuse_absent(arguments[0] if len(arguments) == 1 else arguments)
        data = _without_empty_rows(as_views(*arguments))
        likelihoods = run._choose_likelihoods(data)
        held_out: Views | None = None
        if validation is None:
            data, held_out = _split(data, self.validation_fraction, seed)
        fitted = run._fit_views(data, likelihoods)
        if validation is not None:
            held_out = _without_empty_rows(_read(fitted, validation, ()))
        with seeded(seed):
            network = run.build(fitted)
            history, best_epoch, error = run._train(
                network,
                make_batch(data, fitted),
                None if held_out is None else make_batch(held_out, fitted),
                tuple(view.name for view in fitted),
                seed,
            )
        self.views_, self.network_, self.best_epoch_, self._history = (
            fitted,
            network.eval(),
            best_epoch,
            history,
        )
        if error is not None:
            raise error
        return self

    def _with(self, changes: Mapping[str, Any]) -> Self:
        """The model with some hyperparameters changed, and with Python's numbers where they are NumPy's."""
        parameters = {**self.get_params(deep=False), **changes}
        return type(self)(**{name: x.item() if isinstance(x, np.generic) else x for name, x in parameters.items()})

    def _choose_likelihoods(self, data: Views) -> dict[str, Likelihood]:
        """The likelihood of each view, which its data fit."""
        likelihoods = {}
        for name, spec in per_view(self.likelihood, data.names, "likelihood").items():
            x = data.array(name)
            if spec == "auto":
                spec = detect_likelihood(x)
                logger.info("view %r: likelihood %r, chosen from the data", name, spec)
            likelihoods[name] = as_likelihood(spec)
            likelihoods[name].check(x, name)
        return likelihoods

    def _fit_views(self, data: Views, likelihoods: Mapping[str, Likelihood]) -> tuple[FittedView, ...]:
        names = data.names
        widths = [math.prod(data.shapes[name]) for name in names]
        if self.input_dim is not None and list(self.input_dim) != widths:
            raise ValueError(
                f"input_dim={list(self.input_dim)}, but the views have {widths} features; "
                "leave input_dim out, or give the views in its order"
            )
        scales = per_view(self.scale, names, "scale", default="standard")
        fitted = []
        for m, name in enumerate(names):
            if not data.present[:, m].any():
                raise ValueError(f"view {name!r} is missing for every training sample; leave it out, or give it values")
            likelihood = likelihoods[name]
            standardise = scales[name] == "standard" and likelihood.continuous
            fitted.append(FittedView.fit(data, name, likelihood, standardise))
        return tuple(fitted)

    def build(self, views: Sequence[FittedView]) -> Network:
        """A new network for views like these, its weights drawn from torch's random numbers."""
        names = [view.name for view in views]
        encoders = per_view(self.encoder, names, "encoder")
        decoders = per_view(self.decoder, names, "decoder")
        latent = self.latent()
        return Network(
            latent,
            self.fusion(len(views)),
            [build_encoder(encoders[view.name], view.shape, latent.width, view.name) for view in views],
            [build_decoder(decoders[view.name], latent.z_dim, view.shape, view.name) for view in views],
            [view.likelihood.build(view.shape) for view in views],
            [view.log_scale for view in views],
        ).float()

    def _train(
        self, network: Network, data: Batch, validation: Batch | None, view_names: tuple[str, ...], seed: int
    ) -> tuple[list[dict[str, float]], int, Exception | None]:
        from manyview.training.loop import train

        steps = -(-len(data) // self.batch_size)
        settings = TrainingSettings(
            max_epochs=min(max(-(-10_000 // steps), 50), 1000) if self.max_epochs == "auto" else self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            optimizer_args=self.optimizer_args or {},
            scheduler=self.scheduler,
            scheduler_args=self.scheduler_args or {},
            gradient_clip=self.gradient_clip,
            patience=self.patience,
            seed=seed,
            device=self.device,
            trainer=self.trainer or {},
            verbose=bool(self.verbose),
        )
        return train(network, self.objective, self.beta_at, data, validation, view_names, settings)

    # ---- what was learned ---------------------------------------------------------------------------------------

    @property
    def view_names_(self) -> list[str]:
        """The views, in the order of ``fit``."""
        self.fitted_network()
        return [view.name for view in self.views_]

    @property
    def history_(self) -> pd.DataFrame:
        """The objective and its parts, one row an epoch."""
        import pandas as pd

        self.fitted_network()
        return pd.DataFrame(self._history, columns=None if self._history else ["epoch"]).set_index("epoch")

    def fitted_network(self) -> Network:
        """The trained network.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit with training views first")
        return self.network_

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in vars(self)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the latent dimensions: z0, z1, ..."""
        return np.array([f"z{i}" for i in range(self.z_dim)], dtype=object)

    # ---- using the model ----------------------------------------------------------------------------------------

    def fit_transform(self, X: Any, *views: Any, **fit_params: Any) -> Any:
        """Train the model, and return the latent representation of its training data."""
        return self.fit(X, *views, **fit_params).transform(*_drop_target(X, views))

    @torch.no_grad()
    def transform(
        self,
        X: Any,
        *views: Any,
        given: ViewNames = None,
        n_samples: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """The latent representation of samples.

        Parameters
        ----------
        X, *views : views
            The samples.
        given : str, int or sequence of these, optional
            The views to infer from; all by default.
        n_samples : int, optional
            Return this many draws from the posterior instead of its mean.
        random_state : int, RandomState or None
            Seeds the draws; by default the model's own.

        Returns
        -------
        z : array of shape (n, Z), or (n_samples, n, Z)
            Posterior means, or draws; a DataFrame or tensor where the views are such.
        """
        data = self._read(X, views)
        asked = getattr(self, "_sklearn_output_config", {}).get("transform", get_config()["transform_output"])
        if n_samples is None:
            z = np.concatenate([q.mean.numpy() for _, q in self._posteriors(data, given)])
            kind = "pandas" if asked == "pandas" else data.container
            return contain(z, kind, data.index, self.get_feature_names_out())
        if asked != "default":
            raise ValueError(
                f"n_samples={n_samples}: draws have three dimensions, which DataFrames have not; "
                "use set_output(transform='default')"
            )
        n_draws = check_count("n_samples", n_samples)
        with self._seeded(random_state):
            draws = np.concatenate([draw(q, n_draws).numpy() for _, q in self._posteriors(data, given)], axis=1)
        return contain(draws, "torch" if data.container == "torch" else "numpy")

    @torch.no_grad()
    def predict(
        self,
        X: Any,
        *views: Any,
        given: ViewNames = None,
        target: ViewNames = None,
        n_samples: int | None = None,
        random_state: Any = None,
    ) -> Any:
        r"""Views predicted from views: :math:`\mathbb E[x_m \mid z]` at the posterior mean of z.

        Of a mixture posterior, the mean over its components of what each component's mean predicts.

        Parameters
        ----------
        X, *views : views
            The samples.
        given : str, int or sequence of these, optional
            The views to predict from; all by default.
        target : str, int or sequence of these, optional
            The views to predict; all by default.
        n_samples : int, optional
            Return this many draws from p(x | given) instead of the expected value.
        random_state : int, RandomState or None
            Seeds the draws; by default the model's own.

        Returns
        -------
        dict, list or array, as the input
            For each target view, an array of its shape, or (n_samples, n, \*shape) of draws, in the units of the data
            (probabilities for Bernoulli and categorical views).
        """
        data = self._read(X, views)
        targets = self._view_indices(target, "target")
        if n_samples is None:
            return self._pack(data, self._expected(data, given, targets))
        n_draws = check_count("n_samples", n_samples)
        draws: dict[str, list[Array]] = {self.views_[m].name: [] for m in targets}
        with self._seeded(random_state):
            for _, q in self._posteriors(data, given):
                z = draw(q, n_draws)
                for m in targets:
                    draws[self.views_[m].name].append(self._sample_view(z, m))
        kind = "torch" if data.container == "torch" else "numpy"  # DataFrames have no third dimension
        return data.pack({name: contain(np.concatenate(x, axis=1), kind) for name, x in draws.items()})

    def _expected(self, data: Views, given: ViewNames, targets: list[int]) -> dict[str, Array]:
        """The expected value of each target view, averaged over the components of the posterior."""
        views = self.views_
        out = {m: np.empty((len(data), *views[m].shape), dtype=views[m].dtype) for m in targets}
        for rows, q in self._posteriors(data, given):
            z, weights = components(q)
            for m in targets:
                out[m][rows] = self._expected_view(z, m, weights)
        return {self.views_[m].name: x for m, x in out.items()}

    def _expected_view(self, z: Tensor, m: int, weights: Tensor | None = None) -> Array:
        """E[x_m | z], in the units of the data; weights average it over the first dimension of z."""
        mean = self.network_.likelihood(m).mean(self.network_.decode(z, m))
        return self.views_[m].decode(mean if weights is None else torch.einsum("sb,sb...->b...", weights, mean))

    def _sample_view(self, z: Tensor, m: int) -> Array:
        """A draw from p(x_m | z), in the units of the data."""
        return self.views_[m].decode(self.network_.likelihood(m).sample(self.network_.decode(z, m)))

    @torch.no_grad()
    def impute(self, X: Any, *views: Any) -> Any:
        """The same data, with what is missing filled in by its expected value given the rest.

        Returns
        -------
        dict, list or array, as the input
            Observed entries are as they were given. Views that were left out are there too.
        """
        data = self._read(X, views)
        arrays = self._expected(data, None, list(range(len(self.views_))))
        for name in data.names:
            observed = data.array(name)
            arrays[name] = np.where(np.isnan(observed), arrays[name], observed)
        return self._pack(data, arrays)

    @torch.no_grad()
    def sample(self, n_samples: int = 1, *, expected: bool = False, random_state: Any = None) -> Views:
        """New samples: z from the prior, and the views from z.

        Parameters
        ----------
        n_samples : int, default 1
            How many.
        expected : bool, default False
            Whether to return E[x | z], which looks smoother, rather than draws from p(x | z).
        random_state : int, RandomState or None
            Seeds the draws; by default the model's own.

        Returns
        -------
        Views
            In the units of the data.
        """
        network = self.fitted_network()
        n_samples = check_count("n_samples", n_samples)
        out: dict[str, Array] = {}
        with self._seeded(random_state):
            z = network.latent.prior.sample(torch.Size((n_samples,)))
            generate = self._expected_view if expected else self._sample_view
            for m, view in enumerate(self.views_):
                out[view.name] = np.concatenate([generate(part, m) for part in z.split(_ROWS)])
        return Views(out, feature_names={view.name: view.feature_names for view in self.views_})

    @torch.no_grad()
    def score_samples(self, X: Any, *views: Any, n_samples: int = 100, random_state: Any = None) -> Any:
        """How well the model explains each sample.

        For variational models the importance-weighted estimate of log p(X) of the views that are present, in nats, as
        a density of the data as given: never above it in expectation, and rising to it with ``n_samples``. For models
        without a likelihood, minus their loss.

        Parameters
        ----------
        X, *views : views
            The samples.
        n_samples : int, default 100
            Number of draws K from the posterior of each.
        random_state : int, RandomState or None
            Seeds the draws; by default the model's own.

        Returns
        -------
        ndarray of shape (n,)
        """
        data = self._read(X, views)
        n_rows = max(1, min(_ROWS, _DRAWS // check_count("n_samples", n_samples)))
        with self._seeded(random_state):
            batches = self._batches(data, n_rows=n_rows)
            return torch.cat([self.evaluate(self.network_, batch, n_samples) for _, batch in batches]).numpy()

    def score(self, X: Any, *views: Any, n_samples: int = 100, random_state: Any = None) -> float:
        """The mean of :meth:`score_samples`; a ``y`` after a dict, list or Views is not used."""
        views = tuple(_drop_target(X, views)[1:])
        return float(self.score_samples(X, *views, n_samples=n_samples, random_state=random_state).mean())

    # ---- the calls of the multi-view-AE library -----------------------------------------------------------------

    @torch.no_grad()
    def predict_latents(self, X: Any, *views: Any) -> list[Array]:
        """The mean of each latent: one (n, Z) array for a joint posterior, one a component for a mixture."""
        data = self._read(X, views)
        parts = [components(q)[0].numpy() for _, q in self._posteriors(data, None)]
        return list(np.concatenate(parts, axis=1))

    predict_latent = predict_latents

    @torch.no_grad()
    def predict_reconstruction(self, X: Any, *views: Any) -> list[list[Array]]:
        r"""What each latent reconstructs: ``[latent][decoder]``, arrays of shape (n, \*shape), in the data's units."""
        latents = [torch.from_numpy(z).split(_ROWS) for z in self.predict_latents(X, *views)]
        return [
            [np.concatenate([self._expected_view(z, m) for z in parts]) for m in range(len(self.views_))]
            for parts in latents
        ]

    # ---- files --------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, path: str | PathLike[str] | Mapping[str, Any], **overrides: Any) -> Self:
        """A model from a YAML file or a mapping; explicit arguments come before what it says."""
        return cls(cfg=path, **overrides)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted model to one ``.safetensors`` file; see :func:`manyview.load`."""
        from manyview.io import save

        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a fitted model of this class from a file that :meth:`save` wrote."""
        from manyview.io import load

        model = load(path)
        if not isinstance(model, cls):
            raise TypeError(f"{path} holds a {type(model).__name__}, not a {cls.__name__}; use manyview.load")
        return model

    # ---- reading and answering ----------------------------------------------------------------------------------

    def _read(self, X: Any, views: tuple[Any, ...]) -> Views:
        self.fitted_network()
        return _read(self.views_, X, views)

    def _seeded(self, random_state: Any) -> AbstractContextManager[None]:
        return seeded(as_seed(self.random_state if random_state is None else random_state))

    def _view_indices(self, names: ViewNames, argument: str) -> list[int]:
        known = self.view_names_
        if names is None:
            return list(range(len(known)))
        indices = []
        for name in names if isinstance(names, Iterable) and not isinstance(names, str) else [names]:
            if isinstance(name, str) and name in known:
                indices.append(known.index(name))
            elif isinstance(name, int | np.integer) and name is not True and -len(known) <= name < len(known):
                indices.append(int(name) % len(known))
            else:
                raise ValueError(f"{argument}={names!r}: the model has no view {name!r}{closest(name, known)}")
        if not indices:
            raise ValueError(f"{argument}={names!r}: name at least one view{closest('', known)}")
        return list(dict.fromkeys(indices))

    def _batches(self, data: Views, given: ViewNames = None, n_rows: int = _ROWS) -> Iterator[tuple[slice, Batch]]:
        """Stretches of rows as tensors, with only the given views present."""
        chosen = self._view_indices(given, "given")
        mask = torch.zeros(len(self.views_), dtype=torch.bool)
        mask[chosen] = True
        names = [self.views_[m].name for m in chosen]
        columns = [m for m, name in enumerate(data.names) if name in names]
        n_empty = int((~data.present[:, columns].any(axis=1)).sum())
        if n_empty:
            warn(f"{n_empty} of {len(data)} samples have none of the given views; the answer for them is the prior's")
        for start in range(0, len(data), n_rows):
            rows = slice(start, min(start + n_rows, len(data)))
            yield rows, make_batch(data[rows], self.views_).given(mask)

    def _posteriors(self, data: Views, given: ViewNames = None) -> Iterator[tuple[slice, Distribution]]:
        """The posterior of each stretch of rows, from the given views."""
        for rows, batch in self._batches(data, given):
            yield rows, self.network_.posterior(batch)

    def _pack(self, data: Views, arrays: Mapping[str, Array]) -> Any:
        """Arrays of views in the containers of the data, with ids and feature names, and keyed as the data were."""
        features = {view.name: view.feature_names for view in self.views_}
        return data.pack(
            {
                name: data.like(name, x) if name in data else contain(x, data.container, data.index, features[name])
                for name, x in arrays.items()
            }
        )


def _drop_target(X: Any, views: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments without scikit-learn's y, which follows data that hold all the views."""
    if len(views) != 1 or (views[0] is not None and not holds_all_views(X)):
        return (X, *views)
    if isinstance(views[0], Views | Mapping):
        raise TypeError("two collections of views were given; put all the views in one dict, list or Views")
    return (X,)


def _refuse_absent(data: Any) -> None:
    """Refuse training data in which a view is None: nothing could be learned about it."""
    views: Mapping[Any, Any] = {}
    if isinstance(data, list | tuple):
        views = dict(enumerate(data))
    elif isinstance(data, Mapping):
        views = data
    absent = [name for name, view in views.items() if view is None]
    if absent:
        raise ValueError(
            f"view {absent[0]!r} is None, missing for every training sample; leave it out, or give it values"
        )


def _without_empty_rows(data: Views) -> Views:
    some = data.present.any(axis=1)
    if some.all():
        return data
    if not some.any():
        raise ValueError("every sample lacks every view: there is nothing to learn from")
    warn(f"{(~some).sum()} of {len(data)} samples have no view at all; they are left out")
    return data[some]


def _split(data: Views, fraction: float, seed: int) -> tuple[Views, Views | None]:
    """Training samples, and the share held out."""
    n_held_out = round(fraction * len(data))
    if n_held_out < 2:
        return data, None
    order = np.random.RandomState(seed).permutation(len(data))
    return data[np.sort(order[n_held_out:])], data[np.sort(order[:n_held_out])]


def _read(fitted: Sequence[FittedView], X: Any, views: tuple[Any, ...]) -> Views:
    """Samples for a fitted model: its views, in any form, by name or by position, with the features it knows."""
    known = {view.name: view for view in fitted}
    by_position = X if isinstance(X, list | tuple) else () if holds_all_views(X) else (X, *views)
    if by_position and len(by_position) != len(known):
        raise ValueError(
            f"{len(by_position)} views are given by position, but the model has {len(known)}: {list(known)}; "
            "give None for a view that is missing, or a dict from name to view"
        )
    data = as_views(X, *views, names=list(known))
    for name in data.names:
        if name not in known:
            raise ValueError(f"the model has no view {name!r}{closest(name, known)}")
        view = known[name]
        if view.named and data.has_feature_names(name):
            data = data.with_features(name, view.feature_names)
        if data.shapes[name] != view.shape:
            raise ValueError(
                f"view {name!r} has features of shape {data.shapes[name]}, but the model was fitted on {view.shape}"
            )
        view.likelihood.check(data.array(name), name)
    if not len(data):
        raise ValueError("there are no samples: give at least one row")
    return data
