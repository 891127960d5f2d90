"""The face of every model: scikit-learn's contract, on views."""

from __future__ import annotations

import functools
import itertools
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast, dataclass_transform

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from manyview.adversary import Adversary
from manyview.data.batch import Batch, TrainingData
from manyview.data.covariates import FittedCovariates
from manyview.data.preprocessing import FittedView
from manyview.data.samples import (
    Samples,
    covariates_or_labels,
    drop_target,
    encode_covariates,
    read_for,
    take_samples,
)
from manyview.data.stored import Dataset
from manyview.data.streaming import LoadedBatch
from manyview.data.views import Views, contain
from manyview.fusion import AlignedFusion, Fusion
from manyview.imports import split_target
from manyview.inference import components, draw
from manyview.latent import Latent, map_parameters
from manyview.likelihoods import Likelihood
from manyview.messages import closest, warn
from manyview.network import Network
from manyview.nn import JointEncoder, NetworkSpec, build_decoder, build_encoder, conditional_shape, per_view
from manyview.objectives import Scalar, Terms
from manyview.preparation import Preparation, Prepared, find_data
from manyview.seeding import as_seed, as_seeds, seeded
from manyview.training import Outcome, Run, TrainingSettings
from manyview.validation import check_count, check_hyperparameters, check_known

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Estimator", "LikelihoodSpec", "NetworkSpec"]

logger = logging.getLogger("manyview")

LikelihoodWeight = Annotated[float, Ge(0)] | Literal["dimension"]
LikelihoodSpec = str | Likelihood | Mapping[str | int, Any]
Array = np.ndarray
ViewNames = str | int | Sequence[str | int] | None

# Least number of features that a joint encoder takes from each view.
_FEATURES = 64

# Rows that go through the networks at once after training.
_ROWS = 1024

# Nats a sample from the prior to the posterior, below which latents are said to be of no use.
_COLLAPSED = 0.05

# Hyperparameters that models trained as one computation may differ in: none of them is read by the objective.
_APART = (
    "learning_rate",
    "optimizer_args",
    "scheduler",
    "scheduler_args",
    "gradient_clip",
    "max_epochs",
    "patience",
    "validation_fraction",
    "beta",
    "beta_warmup",
    "random_state",
    "n_init",
    "verbose",
)

# Draws of z, or components of a mixture, over all rows, that go through the decoders at once.
_DRAWS = 2**18


class Inferred(NamedTuple):
    """The posteriors of a stretch of rows: of z, and of the private latents where there are such."""

    rows: slice
    q: Distribution
    q_h: Independent[Any] | None


class _Learned:
    """What ``fit`` sets. No dataclass, so that these are not taken for hyperparameters."""

    views_: tuple[FittedView, ...]
    covariates_: FittedCovariates | None = None
    network_: Network
    held_out_: Array
    init_losses_: Array
    best_epoch_: int
    interrupted_: bool
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

    **Covariates.** What the views are to be explained beside, such as age, sex or site, goes to ``covariates=``, in
    ``fit`` and then in every method: a DataFrame, a dict or an array with a row for each sample. Numbers are
    standardised, categories become one column each; the networks get them beside their input (see ``condition``).

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
    likelihood_weight : float, "dimension", or dict of these by view, default 1.0
        What each view's log-likelihood is multiplied by in the objective (λ_m); log-likelihoods that methods return are
        never weighted. "dimension" gives a view with D features the weight max(D) / D, so that wide views do not
        drown narrow ones.
    condition : {"both", "encoder", "decoder"}, default "both"
        Which networks get the covariates, in models that are fitted with covariates. With "decoder", z is to hold what
        covariates do not explain.
    learning_rate : float, default 1e-3
        Step size of the optimiser.
    optimizer : str or dict, default "Adam"
        A class of ``torch.optim`` by its name, or one of your own by its path, such as "package.module.Class". With
        arguments: ``{"_target_": "torch.optim.AdamW", "weight_decay": 0.1}``.
    optimizer_args : dict, optional
        Its other arguments, if they are not with it.
    scheduler : str or dict, optional
        A class of ``torch.optim.lr_scheduler`` or one of your own, in the same way, stepped once an epoch.
    scheduler_args : dict, optional
        Its arguments.
    gradient_clip : float, optional
        Largest norm of the gradient. It does not apply to adversaries, nor does the scheduler.
    max_epochs : int or "auto", default "auto"
        Passes through the training data. "auto" makes some 10,000 optimiser steps of them, at least 50 and at most
        1,000 passes.
    batch_size : int, "auto" or "full", default "auto"
        Samples in an optimiser step. "full" takes all; "auto" takes 128, but for models whose objective is one of a
        whole batch, which say so.
    validation_fraction : float, default 0.1
        Share of the samples held out to watch the objective; 0 for none. Fewer than two samples, or than the objective
        needs, are never held out.
    patience : int, optional, default 50
        Epochs without improvement of the held-out objective after which training stops; None never stops early. The
        weights of the best epoch are kept in any case. Models with an adversary keep their last weights and train to
        the end, since losses against an adversary that changes cannot be compared.
    n_init : int, default 1
        Number of trainings, from different initial weights, of which the one with the least loss on held-out samples
        is kept (on training samples where none are held out). They run as one computation where they can, which takes
        far less time than one after another while the networks are small: see :func:`manyview.tune`.
    input_dim : sequence of int or tuple, optional
        Number of features of each view, or their shape, checked against the data if given.
    device : str, default "auto"
        Where to train: a Lightning accelerator, "auto", "cpu", "gpu", ...
    compile : bool or {"default", "reduce-overhead", "max-autotune"}, default False
        Whether ``torch.compile`` translates the objective before training, and in which of its modes. It takes a C++
        compiler on a CPU, and a minute or so: training by some ten thousand steps or more repays that.
        "reduce-overhead" takes CUDA graphs, for small steps on a GPU. Random numbers are others than without.
    trainer : dict, optional
        Further arguments of ``pytorch_lightning.Trainer``, such as callbacks, logger or precision. Callbacks and
        loggers may be given as ``{"_target_": "package.module.Class", ...}``, and are then made anew in each fit.
        Several processes (``{"strategy": "ddp", "devices": 2}``) need an integer ``random_state``; models with an
        adversary, and those whose objective is one of a whole batch, refuse them.
    random_state : int, RandomState or None, default None
        Seeds the weights, the batches and every draw. The same integer gives the same model, bit for bit, on the same
        machine.
    verbose : bool, default True
        Whether to show a progress bar.

    Attributes
    ----------
    views_ : tuple of FittedView
        What was learned about the data of each view.
    covariates_ : FittedCovariates or None
        What was learned about the covariates.
    view_names_ : list of str
        The views.
    network_ : Network
        The trained networks.
    history_ : DataFrame
        One row an epoch: the loss (minus the objective, per sample), each of its parts, ``val_`` the same for the
        held-out samples, and β.
    best_epoch_ : int
        The epoch whose weights were kept.
    interrupted_ : bool
        Whether Ctrl-C ended training.
    held_out_ : ndarray of int
        The positions of the training samples that were held out to watch the objective.
    init_losses_ : ndarray of float
        The loss of each of the ``n_init`` trainings in its best epoch, on held-out samples where there are such; NaN
        for one that failed.
    """

    z_dim: Annotated[int, Gt(0)] = 10
    encoder: NetworkSpec = "auto"
    decoder: NetworkSpec = "auto"
    likelihood: LikelihoodSpec = "auto"
    scale: Literal["standard"] | Mapping[str | int, Literal["standard"] | None] | None = "standard"
    likelihood_weight: LikelihoodWeight | Mapping[str | int, LikelihoodWeight] = 1.0
    condition: Literal["both", "encoder", "decoder"] = "both"
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    optimizer: str | Mapping[str, Any] = "Adam"
    optimizer_args: Mapping[str, Any] | None = None
    scheduler: str | Mapping[str, Any] | None = None
    scheduler_args: Mapping[str, Any] | None = None
    gradient_clip: Annotated[float, Gt(0)] | None = None
    max_epochs: Annotated[int, Gt(0)] | Literal["auto"] = "auto"
    batch_size: Annotated[int, Gt(0)] | Literal["auto", "full"] = "auto"
    validation_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    patience: Annotated[int, Gt(0)] | None = 50
    n_init: Annotated[int, Gt(0)] = 1
    input_dim: Sequence[int | Sequence[int]] | None = None
    device: str = "auto"
    compile: bool | Literal["default", "reduce-overhead", "max-autotune"] = False
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

                parameters = {**read_config(cfg, type(self), parameters), **parameters}
            check_known(type(self), parameters)
            assign(self, **parameters)

        setattr(cls, "__init__", init)  # noqa: B010 (mypy)

    has_likelihood: ClassVar[bool]
    """Whether :meth:`score_samples` is a log-likelihood."""

    full_batch_below: ClassVar[int] = 0
    """Number of samples below which ``batch_size="auto"`` takes all of them."""

    samples_per_dimension: ClassVar[int] = 0
    """Fewest samples in a batch for each latent dimension, where the objective is one of a whole batch."""

    fewest_views: ClassVar[int] = 1
    """Number of views that the objective needs."""

    view_parameters: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters that name a view, by its name or position."""

    # ---- what a model states ------------------------------------------------------------------------------------

    @abstractmethod
    def latent(self) -> Latent:
        """Which latents are there: the prior, and the family of the posteriors."""

    @abstractmethod
    def fusion(self, view_names: Sequence[str]) -> Fusion:
        """How the posteriors of the views with these names become one."""

    @abstractmethod
    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        """What is maximised, for each sample of a batch: a function of its arguments and the hyperparameters alone."""

    @abstractmethod
    def beta_at(self, epoch: float) -> float:
        """The weight of the divergences after so many epochs of training."""

    @abstractmethod
    def adversary(self) -> Adversary | None:
        """What tells codes from draws of the prior, trained in alternation; None in models without."""

    @abstractmethod
    def evaluate(self, network: Network, batch: Batch, n_samples: int) -> Float[Tensor, " B"]:
        """The score of each sample, which :meth:`score_samples` returns."""

    # ---- fitting ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any = None,
        *views: Any,
        covariates: Any = None,
        validation: Any = None,
        validation_covariates: Any = None,
        labels: Any = None,
        datamodule: Any = None,
        dataloader: Any = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
        resume: bool = False,
    ) -> Self:
        """Train the model.

        Parameters
        ----------
        X, *views : views or Dataset
            The training data. After a dict, list or Views, a further argument is taken for scikit-learn's ``y``, and
            not used. A data set, such as :class:`~manyview.MVDataset`, is read as it is needed and may be larger than
            memory.
        covariates : DataFrame, dict or array, optional
            What the model is to be conditioned on, one row a sample.
        validation : views, optional
            Samples to watch the objective on, in place of a held-out share of the training data.
        validation_covariates : DataFrame, dict or array, optional
            Their covariates.
        labels : array, optional
            One categorical covariate, (n,): as the multi-view-AE library calls it.
        datamodule : LightningDataModule, optional
            In place of X: :class:`~manyview.MultiviewDataModule`, :class:`~manyview.IndexDataModule`, or one of your
            own, whose dataloaders give views. It says what is trained on and what is held out.
        dataloader : iterable, optional
            In place of X: gives batches of views, as tensors by name or in a list, in an order of its own. Nothing is
            held out of it: give ``validation`` as well.
        max_epochs, batch_size : int, optional
            In place of the model's parameters of these names, for this call.
        checkpoint : path, optional
            A folder where training is kept, so that it can go on after it was stopped in any way.
        resume : bool, default False
            Whether to go on with what is in that folder, if anything is: the same model and data give the same weights
            as a run that was never stopped, bit for bit, and a larger ``max_epochs`` prolongs one that had ended.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or the data are not as they should be; the message says which, and how to mend it.
        NonFiniteObjectiveError
            If the objective becomes NaN or infinite. The model then has its last good weights, and can be used.

        Warns
        -----
        UserWarning
            Of samples without any view, which are left out; if the loss grows out of all proportion; if the latents
            come to hold next to nothing of the data (posterior collapse).
        """
        given = find_data(X, views, datamodule, dataloader)
        if given.split is not None and any(other is not None for other in (covariates, labels, validation)):
            raise ValueError("covariates, labels and what is held out are the datamodule's: give them to it")
        batch_size = given.batch_size if batch_size is None else batch_size
        covariates = given.covariates if covariates is None else covariates
        validation = given.validation if validation is None else validation
        overrides = {"max_epochs": max_epochs, "batch_size": batch_size}
        model = self._with({name: value for name, value in overrides.items() if value is not None})
        check_hyperparameters(model)
        if checkpoint is not None and self.n_init > 1:
            raise ValueError(f"checkpoint keeps one training, but n_init={self.n_init}; leave one of the two out")
        seeds = as_seeds(self.random_state, self.n_init)
        if checkpoint is not None and resume and not isinstance(self.random_state, int | np.integer):
            from manyview.training.checkpoint import stored_seed

            stored = stored_seed(checkpoint)
            seeds = seeds if stored is None else [stored]
        if validation is None and validation_covariates is not None:
            raise ValueError("validation_covariates are given, but no validation samples: give validation as well")
        others = (validation, validation_covariates)
        prepare = model.preparation(seeds[0])
        data = prepare(given.source, covariates_or_labels(covariates, labels), others, given.split)
        runs = [model.run(data, seed, checkpoint, resume) for seed in seeds]
        from manyview.training.many import train_all

        self.adopt(data, runs, train_all(runs))
        self._warn_of_collapse()
        return self

    def _warn_of_collapse(self) -> None:
        """Say so where the posterior is all but the prior: latents then tell nothing of the data."""
        best = self._history[self.best_epoch_ - 1] if self.best_epoch_ else {}
        if best.get("kl", _COLLAPSED) < _COLLAPSED:
            warn(
                f"posterior collapse: the latents hold {max(best['kl'], 0.0):.1g} nats a sample, next to nothing. "
                f"Lower beta ({best['beta']:g}), let it grow from zero (beta_warmup), or train for longer, unless the "
                "data have nothing that features and views share"
            )

    def preparation(self, seed: int) -> Preparation:
        """How the model takes data to be fitted to."""
        fewest = max(2, self.fewest_samples)
        return Preparation(self.likelihood, self.scale, self.input_dim, self.validation_fraction, fewest, seed)

    def adopt(self, data: Prepared, runs: Sequence[Run], outcomes: Sequence[Outcome]) -> None:
        """Become the best of some trained networks: that with the least loss in its best epoch, held out if it can be.

        Raises
        ------
        NonFiniteObjectiveError
            If its objective, or that of every network, became NaN or infinite.
        """
        losses = [np.nan if outcome.error is not None else outcome.reached.loss for outcome in outcomes]
        best = 0 if np.isnan(losses).all() else int(np.nanargmin(losses))
        network, outcome = runs[best].network.eval(), outcomes[best]
        if isinstance(network.fusion, AlignedFusion):
            _align(network, data.training)
        self.views_, self.covariates_, self.network_ = data.views, data.covariates, network
        self.best_epoch_, self._history = outcome.reached.best_epoch, outcome.reached.history
        self.held_out_, self.init_losses_ = data.held_out, np.array(losses)
        self.interrupted_ = any(outcome.interrupted for outcome in outcomes)
        if outcome.error is not None:
            raise outcome.error
        n_failed = sum(outcome.error is not None for outcome in outcomes)
        if n_failed:
            warn(f"{n_failed} of {len(outcomes)} trainings (n_init) failed; the model is the best of the others")

    def _with(self, changes: Mapping[str, Any]) -> Self:
        """The model with some hyperparameters changed, and with Python's numbers where they are NumPy's."""
        parameters = {**self.get_params(deep=False), **changes}
        return type(self)(**{name: x.item() if isinstance(x, np.generic) else x for name, x in parameters.items()})

    def _check_overlap(self, present: Bool[Tensor, "B M"], view_names: Sequence[str]) -> None:
        """Refuse views that cannot be related to any other, where the objective is a relation."""
        here = present.float()
        most = (here.T @ here).fill_diagonal_(0).amax(1)
        m = int(most.argmin())
        if most[m] < self.fewest_samples:
            raise ValueError(
                f"{type(self).__name__} relates views to each other, on {self.fewest_samples} samples at least, but "
                f"view {view_names[m]!r} has no more than {most[m]:.0f} training samples in common with another; "
                "leave it out, give more samples that have both, or take fewer latent dimensions (z_dim)"
            )

    def build(self, views: Sequence[FittedView], covariates: FittedCovariates | None = None) -> Network:
        """A new network for views, and covariates, like these, its weights drawn from torch's random numbers."""
        names = [view.name for view in views]
        if len(names) < self.fewest_views:
            raise ValueError(
                f"{type(self).__name__} relates views to each other and needs {self.fewest_views}, but there is only "
                f"{names[0]!r}; give more views, or choose AE or MVAE"
            )
        encoders = per_view(self.encoder, names, "encoder")
        decoders = per_view(self.decoder, names, "decoder")
        latent, fusion, adversary = self.latent(), self.fusion(names), self.adversary()
        n_private = 0 if latent.private is None else latent.private.width
        h_dim = 0 if latent.private is None else latent.private.z_dim
        c_dim = 0 if covariates is None else covariates.width
        conditional = (self.condition != "decoder", self.condition != "encoder")
        seen = [conditional_shape(view.shape, c_dim) if conditional[0] and c_dim else view.shape for view in views]

        def encode_all(width: int) -> list[nn.Module]:
            pairs = zip(views, seen, strict=True)
            return [build_encoder(encoders[view.name], shape, width, view.name) for view, shape in pairs]

        joint_encoder = None
        if fusion.joint_encoder is not None:
            width = max(_FEATURES, latent.width)
            head = build_encoder(fusion.joint_encoder, (len(views) * (width + 1),), latent.width, "all views")
            joint_encoder = JointEncoder(encode_all(width), head)
        n_code = latent.z_dim + h_dim + (c_dim if conditional[1] else 0)
        return Network(
            latent,
            fusion,
            encode_all(latent.width + n_private) if fusion.unimodal else [],
            [build_decoder(decoders[view.name], n_code, view.shape, view.name) for view in views],
            [view.likelihood.build(view.shape) for view in views],
            [view.log_scale for view in views],
            weights=self._likelihood_weights(views),
            joint_encoder=joint_encoder,
            adversary=adversary,
            conditional=conditional,
        ).float()

    def _likelihood_weights(self, views: Sequence[FittedView]) -> list[float]:
        """The factor of each view's log-likelihood in the objective."""
        given = per_view(
            self.likelihood_weight, [view.name for view in views], "likelihood_weight", default=1.0, plain=True
        )
        n_features = {view.name: math.prod(view.shape) for view in views}
        widest = max(n_features.values())
        return [
            widest / n_features[name] if weight == "dimension" else float(cast(float, weight))
            for name, weight in given.items()
        ]

    def run(
        self, data: Prepared, seed: int, checkpoint: str | PathLike[str] | None = None, resume: bool = False
    ) -> Run:
        """A new network, its weights drawn from the seed, and how it is to be trained on data."""
        from manyview.config.building import build_trainer
        from manyview.training.checkpoint import describe

        with seeded(seed):
            network = self.build(data.views, data.covariates)
            random_numbers = torch.get_rng_state()
        optimizer, optimizer_args = split_target(self.optimizer, self.optimizer_args, "optimizer")
        scheduled = None if self.scheduler is None else split_target(self.scheduler, self.scheduler_args, "scheduler")
        scheduler, scheduler_args = scheduled or (None, {})
        if scheduler is None and self.scheduler_args:
            raise ValueError(f"scheduler_args={dict(self.scheduler_args)}, but there is no scheduler: name one")
        training, view_names = data.training, tuple(view.name for view in data.views)
        batch_size = self._batch_size(training)
        self._check_overlap(training.mask, view_names)
        steps = -(-len(training) // batch_size)
        settings = TrainingSettings(
            max_epochs=min(max(-(-10_000 // steps), 50), 1000) if self.max_epochs == "auto" else self.max_epochs,
            batch_size=batch_size,
            fewest_samples=self.fewest_samples,
            learning_rate=self.learning_rate,
            optimizer=optimizer,
            optimizer_args=optimizer_args,
            scheduler=scheduler,
            scheduler_args=scheduler_args,
            gradient_clip=self.gradient_clip,
            patience=self.patience,
            seed=seed,
            device=self.device,
            compile=self.compile,
            trainer=build_trainer(self.trainer or {}),
            verbose=bool(self.verbose),
            checkpoint=None if checkpoint is None else Path(checkpoint),
            resume=resume,
            model={} if checkpoint is None else describe(self),
        )
        return Run(
            network,
            self.objective,
            self.beta_at,
            training,
            data.validation,
            view_names,
            settings,
            random_numbers,
            self._kin(),
        )

    def _kin(self) -> dict[str, Any]:
        """What models that are trained as one computation have in common."""
        kept = {name: value for name, value in self.get_params(deep=False).items() if name not in _APART}
        networks = {name: _without_dropout(kept[name]) for name in ("encoder", "decoder")}
        return {"class": type(self), **kept, **networks}

    @property
    def fewest_samples(self) -> int:
        """Number of samples that a batch needs."""
        return self.samples_per_dimension * self.z_dim

    def _batch_size(self, training: TrainingData) -> int:
        """Samples in an optimiser step."""
        n_samples = len(training)
        if isinstance(training, LoadedBatch):
            if self.batch_size != "auto":
                raise ValueError(f"batch_size={self.batch_size!r}, but the dataloader makes the batches: leave it out")
            size = training.batch_size
        elif self.batch_size == "full":
            size = n_samples
        elif self.batch_size == "auto":
            size = n_samples if n_samples < self.full_batch_below else max(128, self.full_batch_below)
        else:
            size = self.batch_size
        if min(size, n_samples) < self.fewest_samples:
            raise ValueError(
                f"{type(self).__name__} needs batches of at least {self.fewest_samples} samples, but there are "
                f"{n_samples} training samples in batches of batch_size={self.batch_size!r}; take larger batches, more "
                "samples, or fewer latent dimensions (z_dim)"
            )
        return size

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

    def fit_transform(self, X: Any, *views: Any, covariates: Any = None, labels: Any = None, **fit_params: Any) -> Any:
        """Train the model, and return the latent representation of its training data."""
        c = covariates_or_labels(covariates, labels)
        self.fit(X, *views, covariates=c, **fit_params)
        return self.transform(*drop_target(X, views), covariates=c)

    @torch.no_grad()
    def transform(
        self,
        X: Any,
        *views: Any,
        given: ViewNames = None,
        covariates: Any = None,
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
        covariates : DataFrame, dict or array, optional
            Their covariates, if the model was fitted with such.
        n_samples : int, optional
            Return this many draws from the posterior instead of its mean.
        random_state : int, RandomState or None
            Seeds the draws; by default the model's own.

        Returns
        -------
        z : array of shape (n, Z), or (n_samples, n, Z)
            Posterior means, or draws; a DataFrame or tensor where the views are such.
        """
        samples = self._read(X, views, covariates)
        data = samples.views
        asked = getattr(self, "_sklearn_output_config", {}).get("transform", get_config()["transform_output"])
        out: dict[str, Array] = {}
        if n_samples is None:
            for found in self._infer(samples, given):
                _put(out, "z", found.rows, found.q.mean, len(samples))
            kind = "pandas" if asked == "pandas" else data.container
            return contain(out["z"], kind, data.index, self.get_feature_names_out())
        if asked != "default":
            raise ValueError(
                f"n_samples={n_samples}: draws have three dimensions, which DataFrames have not; "
                "use set_output(transform='default')"
            )
        n_draws = check_count("n_samples", n_samples)
        with self._seeded(random_state):
            for found in self._infer(samples, given):
                _put(out, "z", found.rows, draw(found.q, n_draws), len(samples), axis=1)
        return contain(out["z"], "torch" if data.container == "torch" else "numpy")

    @torch.no_grad()
    def transform_private(self, X: Any, *views: Any, covariates: Any = None) -> Any:
        """The private latents h_m of samples: what each view knows that it does not share.

        Parameters
        ----------
        X, *views : views
            The samples.
        covariates : DataFrame, dict or array, optional
            Their covariates, if the model was fitted with such.

        Returns
        -------
        dict, list or array, as the input
            For each view the posterior means, (n, H); the prior's mean where a view is missing.

        Raises
        ------
        ValueError
            If the model has no private latents.
        """
        samples = self._read(X, views, covariates)
        self.network_.private_latent  # noqa: B018 (raises if there is none)
        out: dict[str, Array] = {}
        for found in self._infer(samples):
            _put(out, "h", found.rows, cast("Independent[Any]", found.q_h).mean, len(samples), axis=1)
        data = samples.views
        names = [f"h{i}" for i in range(out["h"].shape[-1])]
        return data.pack(
            {
                view.name: contain(h, data.container, data.index, names)
                for view, h in zip(self.views_, out["h"], strict=True)
            }
        )

    @torch.no_grad()
    def predict(
        self,
        X: Any,
        *views: Any,
        given: ViewNames = None,
        target: ViewNames = None,
        covariates: Any = None,
        target_covariates: Any = None,
        n_samples: int | None = None,
        random_state: Any = None,
    ) -> Any:
        r"""Views predicted from views: :math:`\mathbb E[x_m \mid z]` at the posterior mean of z.

        Of a mixture posterior, the mean over its components of what each component's mean predicts. Private latents are
        at their posterior mean for views that are given, and at the prior's for others.

        Parameters
        ----------
        X, *views : views
            The samples.
        given : str, int or sequence of these, optional
            The views to predict from; all by default.
        target : str, int or sequence of these, optional
            The views to predict; all by default.
        covariates : DataFrame, dict or array, optional
            The covariates of the samples, if the model was fitted with such.
        target_covariates : DataFrame, dict or array, optional
            Covariates to predict for, in place of the samples' own: what would the views be, if the covariates were
            these? The latents are inferred with ``covariates``, the views predicted with these.
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
        samples = self._read(X, views, covariates)
        data = samples.views
        targets = self._view_indices(target, "target")
        c = samples.covariates
        if target_covariates is not None:
            c = encode_covariates(target_covariates, self.covariates_, "target_covariates", data)
        if n_samples is None:
            return self._pack(data, self._expected(samples, given, targets, c))
        n_draws = check_count("n_samples", n_samples)
        draws: dict[str, Array] = {}
        with self._seeded(random_state):
            for found in self._infer(samples, given):
                z = draw(found.q, n_draws)
                h = None if found.q_h is None else found.q_h.sample(torch.Size((n_draws,)))
                for m in targets:
                    x = self._sample_view(m, z, h, _rows(c, found.rows))
                    _put(draws, self.views_[m].name, found.rows, x, len(samples), axis=1)
        kind = "torch" if data.container == "torch" else "numpy"  # DataFrames have no third dimension
        return data.pack({name: contain(x, kind) for name, x in draws.items()})

    @torch.no_grad()
    def decode(self, z: Any, target: ViewNames = None, *, h: Any = None, covariates: Any = None) -> dict[str, Any]:
        r"""The views expected at latents of your choosing: :math:`\mathbb E[x_m \mid z, h_m]`.

        Parameters
        ----------
        z : array, tensor or DataFrame of shape (n, Z)
            The latents, such as those of :meth:`transform`, or some of them changed. The columns of a DataFrame are
            taken by their names if these are z0, z1, ..., and in their order otherwise.
        target : str, int or sequence of these, optional
            The views to decode; all by default.
        h : dict or list, optional
            The private latents of views, (n, H) each, as :meth:`transform_private` returns them. Those of views that
            are left out are at the prior's mean.
        covariates : DataFrame, dict or array, optional
            The covariates to decode for, a row for each of z, if the model was fitted with such.

        Returns
        -------
        dict
            For each target view an array of shape (n, \*shape), in the units of the data (probabilities for Bernoulli
            and categorical views); tensors or DataFrames where z is such.

        Raises
        ------
        ValueError
            If z or h are not of the shape of the model's latents, or not finite; if there are no private latents, or no
            such view.

        See Also
        --------
        predict : What is expected at the latents that are inferred from samples.

        Examples
        --------
        >>> import manyview as mv
        >>> views = mv.datasets.make_multiview(100, (6, 4), random_state=0)
        >>> model = mv.MVAE(z_dim=2, max_epochs=2, random_state=0, verbose=False).fit(views)
        >>> model.decode([[0.0, 0.0], [1.0, 0.0]], target="view_1")["view_1"].shape
        (2, 4)
        """
        private = self.fitted_network().latent.private
        if h is not None and private is None:
            raise ValueError(f"h={type(h).__name__}: {type(self).__name__} has no private latents here; leave h out")
        codes = self._read_codes(z, self.get_feature_names_out(), "z")
        means = None
        if private is not None:
            means = private.prior.mean.expand(len(self.views_), len(codes), -1).clone()
            for name, given in _by_view(h).items():
                columns = [f"h{i}" for i in range(private.z_dim)]
                means[self._view_indices(name, "h")] = self._read_codes(given, columns, f"h[{name!r}]", len(codes))
        kind = _container_of(z)
        index = z.index if kind == "pandas" else None
        c = None
        if covariates is None or self.covariates_ is None:
            encode_covariates(covariates, self.covariates_)  # says what is wrong with one, but not the other
        else:
            c = self.covariates_.encode(covariates, len(codes), index)
        found = self._expected_at(codes, self._view_indices(target, "target"), means, c)
        features = {view.name: view.feature_names for view in self.views_}
        return {name: contain(x, kind, index, features[name]) for name, x in found.items()}

    def _expected_at(
        self,
        z: Float[Tensor, "n Z"],
        targets: list[int],
        h: Float[Tensor, "M n H"] | None = None,
        covariates: Float[Tensor, "n C"] | None = None,
    ) -> dict[str, Array]:
        """The expected value of each target view at latents; private ones are at the prior's mean if not given."""
        private = self.network_.latent.private
        if h is None and private is not None:
            h = private.prior.mean.expand(len(self.views_), len(z), -1)
        out: dict[str, Array] = {}
        for start in range(0, len(z), _ROWS):
            rows = slice(start, start + _ROWS)
            h_rows = None if h is None else h[:, rows]
            for m in targets:
                x = self._expected_view(m, z[rows], h_rows, _rows(covariates, rows))
                _put(out, self.views_[m].name, rows, x, len(z))
        return out

    def _read_codes(
        self, given: Any, columns: Sequence[str] | Array, argument: str, n: int | None = None
    ) -> Float[Tensor, "n W"]:
        """Latents that the caller chose, one column for each of these, in n rows if that is settled."""
        width = len(columns)
        if _container_of(given) == "pandas" and set(given.columns) == set(columns):
            given = given[list(columns)]
        try:
            array = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{argument} holds something else than numbers in rows of one length ({error})") from None
        if array.ndim != 2 or array.shape[1] != width or not len(array) or len(array) != (n or len(array)):
            raise ValueError(
                f"{argument} has shape {array.shape}; give one row a sample, and one column for each of the {width} "
                f"latent dimensions: ({n or 'n'}, {width})"
            )
        wrong = ~np.isfinite(array)
        if wrong.any():
            raise ValueError(
                f"{argument} has {wrong.sum()} entries that are NaN or infinite, first in row {wrong.any(1).argmax()}"
            )
        return torch.from_numpy(np.array(array))  # a copy: it may not be writable

    def _expected(
        self, samples: Samples, given: ViewNames, targets: list[int], covariates: Tensor | None
    ) -> dict[str, Array]:
        """The expected value of each target view, averaged over the components of the posterior."""
        views = self.views_
        out = {m: np.empty((len(samples), *views[m].shape), dtype=views[m].dtype) for m in targets}
        for found in self._infer(samples, given):
            z, weights = components(found.q)
            h = None if found.q_h is None else found.q_h.mean.expand(len(z), *found.q_h.mean.shape)
            step = max(1, _DRAWS // len(z))
            for start in range(0, z.shape[1], step):
                part = slice(start, min(start + step, z.shape[1]))
                rows = slice(found.rows.start + part.start, found.rows.start + part.stop)
                h_part = None if h is None else h[:, :, part]
                for m in targets:
                    z_m = self.network_.regress(z[:, part], m)
                    out[m][rows] = self._expected_view(m, z_m, h_part, _rows(covariates, rows), weights[:, part])
        return {self.views_[m].name: x for m, x in out.items()}

    def _expected_view(
        self,
        m: int,
        z: Tensor,
        h: Tensor | None = None,
        covariates: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Array:
        """E[x_m | z, h_m], in the units of the data; weights average it over the first dimension of z."""
        network = self.network_
        mean = network.likelihood(m).mean(network.decode(z, m, None if h is None else h[..., m, :, :], covariates))
        return self.views_[m].decode(mean if weights is None else torch.einsum("sb,sb...->b...", weights, mean))

    def _sample_view(self, m: int, z: Tensor, h: Tensor | None = None, covariates: Tensor | None = None) -> Array:
        """A draw from p(x_m | z, h_m), in the units of the data."""
        network = self.network_
        eta = network.decode(z, m, None if h is None else h[..., m, :, :], covariates)
        return self.views_[m].decode(network.likelihood(m).sample(eta))

    @torch.no_grad()
    def impute(self, X: Any, *views: Any, covariates: Any = None) -> Any:
        """The same data, with what is missing filled in by its expected value given the rest.

        Returns
        -------
        dict, list or array, as the input
            Observed entries are as they were given. Views that were left out are there too.
        """
        samples = self._read(X, views, covariates)
        data = samples.views
        arrays = self._expected(samples, None, list(range(len(self.views_))), samples.covariates)
        for start in range(0, len(data), _ROWS):
            rows = slice(start, start + _ROWS)
            known = samples[rows].in_memory
            for name in known.names:
                observed = known.array(name)
                arrays[name][rows] = np.where(np.isnan(observed), arrays[name][rows], observed)
        return self._pack(data, arrays)

    @torch.no_grad()
    def sample(
        self,
        n_samples: int | None = None,
        *,
        covariates: Any = None,
        expected: bool = False,
        random_state: Any = None,
    ) -> Views:
        """New samples: the latents from their priors, and the views from the latents.

        Parameters
        ----------
        n_samples : int, optional
            How many; by default one, or as many as there are rows of covariates.
        covariates : DataFrame, dict or array, optional
            The covariates of the new samples, if the model was fitted with such.
        expected : bool, default False
            Whether to return E[x | z], which looks smoother, rather than draws from p(x | z).
        random_state : int, RandomState or None
            Seeds the draws; by default the model's own.

        Returns
        -------
        Views
            In the units of the data.
        """
        latent = self.fitted_network().latent
        c = encode_covariates(covariates, self.covariates_)
        n = check_count("n_samples", n_samples if n_samples is not None else 1 if c is None else len(c))
        if c is not None and len(c) != n:
            raise ValueError(f"n_samples={n_samples}, but covariates have {len(c)} rows; leave n_samples out")
        arrays: dict[str, Array] = {}
        with self._seeded(random_state):
            z = latent.prior.sample(torch.Size((n,)))
            h = None
            if latent.private is not None:
                h = latent.private.prior.sample(torch.Size((len(self.views_), n)))
            generate = self._expected_view if expected else self._sample_view
            for m, view in enumerate(self.views_):
                for start in range(0, n, _ROWS):
                    rows = slice(start, start + _ROWS)
                    x = generate(m, z[rows], None if h is None else h[:, rows], _rows(c, rows))
                    _put(arrays, view.name, rows, x, n)
        return Views(arrays, feature_names={view.name: view.feature_names for view in self.views_})

    @torch.no_grad()
    def score_samples(
        self,
        X: Any,
        *views: Any,
        given: ViewNames = None,
        covariates: Any = None,
        n_samples: int = 100,
        random_state: Any = None,
    ) -> Any:
        r"""How well the model explains each sample.

        For variational models the importance-weighted estimate of log p(X) of the views that are present, in nats, as
        a density of the data as given: never above it in expectation, and rising to it with ``n_samples``. For models
        without a likelihood, minus their loss.

        With ``given=``, the conditional log-likelihood of the other views,
        :math:`\log p(x_{\text{rest}} \mid x_{\text{given}}) = \log p(X) - \log p(x_{\text{given}})`: a difference
        of two such estimates, which converges with ``n_samples`` but is no bound.

        Parameters
        ----------
        X, *views : views
            The samples.
        given : str, int or sequence of these, optional
            The views to condition on; none by default.
        covariates : DataFrame, dict or array, optional
            The covariates of the samples, if the model was fitted with such.
        n_samples : int, default 100
            Number of draws K from the posterior of each.
        random_state : int, RandomState or None
            Seeds the draws; by default the model's own.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            If the model has no log-likelihood to condition, or nothing is left to be explained.
        """
        samples = self._read(X, views, covariates)
        n_rows = max(1, min(_ROWS, _DRAWS // check_count("n_samples", n_samples)))
        known = self._given_mask(given) if given is not None else None
        if known is not None and bool(known.all()):
            raise ValueError(f"given={given!r} names all the views: there is nothing left to be explained")
        if known is not None and not self.has_likelihood:
            raise ValueError(f"given={given!r}: {type(self).__name__} states no log-likelihood to condition")
        scores = []
        with self._seeded(random_state):
            for _, batch in self._batches(samples, n_rows=n_rows):
                score = self.evaluate(self.network_, batch, n_samples)
                if known is not None:
                    score = score - self.evaluate(self.network_, batch.given(known), n_samples)
                scores.append(score)
        return torch.cat(scores).numpy()

    def score(
        self,
        X: Any,
        *views: Any,
        given: ViewNames = None,
        covariates: Any = None,
        n_samples: int = 100,
        random_state: Any = None,
    ) -> float:
        """The mean of :meth:`score_samples`; a ``y`` after a dict, list or Views is not used."""
        options = {"given": given, "covariates": covariates, "n_samples": n_samples, "random_state": random_state}
        return float(self.score_samples(*drop_target(X, views), **options).mean())

    # ---- the calls of the multi-view-AE library -----------------------------------------------------------------

    @torch.no_grad()
    def predict_latents(
        self, X: Any, *views: Any, covariates: Any = None, labels: Any = None, batch_size: int | None = None
    ) -> list[Array]:
        """The mean of each latent: one (n, Z) array for a joint posterior, one a view where each view has its own.

        Parameters
        ----------
        X, *views : views
            The samples.
        covariates : DataFrame, dict or array, optional
            Their covariates, if the model was fitted with such.
        labels : array, optional
            Their labels, if the model was fitted with such.
        batch_size : int, optional
            Samples that go through the networks at once.
        """
        samples = self._read(X, views, covariates_or_labels(covariates, labels))
        return list(torch.cat([self._codes(found.q) for found in self._infer(samples, n_rows=batch_size)], 1).numpy())

    predict_latent = predict_latents

    @torch.no_grad()
    def predict_reconstruction(
        self, X: Any, *views: Any, covariates: Any = None, labels: Any = None, batch_size: int | None = None
    ) -> list[list[Array]]:
        r"""What each latent reconstructs: ``[latent][decoder]``, arrays of shape (n, \*shape), in the data's units.

        With private latents, a view's own latent knows h of that view alone. For the parameters see
        :meth:`predict_latents`.
        """
        samples = self._read(X, views, covariates_or_labels(covariates, labels))
        network, c = self.network_, samples.covariates
        out: list[list[list[Array]]] = []
        for found in self._infer(samples, n_rows=batch_size):
            codes = self._codes(found.q)
            out = out or [[[] for _ in self.views_] for _ in codes]
            for s in range(len(codes)):
                q_h = found.q_h
                if q_h is not None and network.fusion.per_view:
                    q_h = network.only(q_h, torch.eye(len(codes), dtype=torch.bool)[s].unsqueeze(1))
                for m in range(len(self.views_)):
                    h = None if q_h is None else q_h.mean
                    z = network.regress(codes, m)[s]
                    out[s][m].append(self._expected_view(m, z, h, _rows(c, found.rows)))
        return [[np.concatenate(parts) for parts in by_decoder] for by_decoder in out]

    def _codes(self, q: Distribution) -> Float[Tensor, "S B Z"]:
        """The latents that the multi-view-AE library tells apart: each view's, or the joint one."""
        return components(q)[0] if self.network_.fusion.per_view else q.mean.unsqueeze(0)

    # ---- files --------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, path: str | PathLike[str] | Mapping[str, Any], **overrides: Any) -> Self:
        """A model from a YAML file or a mapping; explicit arguments come before what it says."""
        return cls(cfg=path, **overrides)

    def to_config(self) -> dict[str, Any]:
        """The model's hyperparameters in plain containers, complete: what :meth:`from_config` reads."""
        from manyview.config import to_config

        return to_config(self)

    def save_config(self, path: str | PathLike[str]) -> None:
        """Write the model's hyperparameters to a YAML file, with a comment on each."""
        from manyview.config import save_config

        save_config(self, path)

    def print_config(self, keys: str | Sequence[str] | None = None) -> None:
        """Print the model's hyperparameters as YAML, or only these sections and keys: "trainer", "z_dim", ..."""
        from manyview.config import print_config

        print_config(self, keys)

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

    def _read(self, X: Any, views: tuple[Any, ...], covariates: Any) -> Samples:
        self.fitted_network()
        return take_samples(read_for(self.views_, X, views), covariates, self.covariates_)

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

    def _given_mask(self, given: ViewNames) -> Bool[Tensor, " M"]:
        mask = torch.zeros(len(self.views_), dtype=torch.bool)
        mask[self._view_indices(given, "given")] = True
        return mask

    def _batches(
        self, samples: Samples, given: ViewNames = None, n_rows: int | None = None
    ) -> Iterator[tuple[slice, Batch]]:
        """Stretches of rows as tensors, with only the given views present."""
        mask, data = self._given_mask(given), samples.views
        n_empty = 0
        step = _ROWS if n_rows is None else check_count("batch_size", n_rows)
        for start in range(0, len(data), step):
            rows = slice(start, min(start + step, len(data)))
            batch = samples[rows].batch(self.views_).given(mask)
            n_empty += int((~batch.mask.any(1)).sum())
            yield rows, batch
        if n_empty:
            warn(f"{n_empty} of {len(data)} samples have none of the given views; the answer for them is the prior's")

    def _infer(self, samples: Samples, given: ViewNames = None, n_rows: int | None = None) -> Iterator[Inferred]:
        """The posteriors of each stretch of rows, from the given views."""
        for rows, batch in self._batches(samples, given, n_rows):
            yield Inferred(rows, *self.network_.infer(batch))

    def _pack(self, data: Views | Dataset, arrays: Mapping[str, Array]) -> Any:
        """Arrays of views in the containers of the data, with ids and feature names, and keyed as the data were."""
        features = {view.name: view.feature_names for view in self.views_}
        return data.pack(
            {
                name: data.like(name, x) if name in data else contain(x, data.container, data.index, features[name])
                for name, x in arrays.items()
            }
        )


def _container_of(array: Any) -> str:
    """The container of an array: "pandas", "torch", or "numpy" for all else."""
    if isinstance(array, Tensor):
        return "torch"
    return "pandas" if hasattr(array, "columns") and hasattr(array, "index") else "numpy"


def _by_view(h: Any) -> Mapping[Any, Any]:
    """What is given for views by name, or for each in its place."""
    if h is None or isinstance(h, Mapping):
        return h or {}
    if isinstance(h, list | tuple):
        return dict(enumerate(h))
    raise TypeError(
        f"h is a {type(h).__name__}; give a dict from view to private latents, or a list with those of each"
    )


def _put(out: dict[str, Array], name: str, rows: slice, part: Any, n: int, axis: int = 0) -> None:
    """Put what there is of some rows into the array of all n, made as the first of them come: nothing is kept twice."""
    part = np.asarray(part)
    if name not in out:
        out[name] = np.empty((*part.shape[:axis], n, *part.shape[axis + 1 :]), part.dtype)
    out[name][(slice(None),) * axis + (rows,)] = part


def _rows(covariates: Tensor | None, rows: slice) -> Tensor | None:
    return None if covariates is None else covariates[rows]


def _without_dropout(spec: Any) -> Any:
    """A specification of a network, its rate of dropout left out: networks may differ in it and be trained as one."""
    if not isinstance(spec, Mapping):
        return spec
    return {name: _without_dropout(value) for name, value in spec.items() if name != "dropout"}


@torch.no_grad()
def _align(network: Network, training: TrainingData) -> None:
    """Fit the alignment of the codes to the training data."""
    fusion = cast(AlignedFusion, network.fusion)
    batches, masks = itertools.chain.from_iterable(training.loader(_ROWS, 1, shuffle=False)), []
    codes = []
    for batch in batches:
        codes.append(network.experts(batch))
        masks.append(batch.mask)
    present = torch.cat(masks)
    parameters = {
        name: torch.cat([getattr(part.base_dist, name) for part in codes], dim=1)
        for name in codes[0].base_dist.arg_constraints
    }
    fusion.fit_(map_parameters(codes[0], lambda name, _: parameters[name]), None if bool(present.all()) else present)
