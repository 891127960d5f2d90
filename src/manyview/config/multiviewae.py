"""Configurations of the multi-view-AE library, translated. What has no counterpart is refused, never dropped."""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from manyview.config.source import Source
from manyview.fusion import Fusion, Mean, PoE
from manyview.latent import Gaussian, Laplacian, Latent, MatchedPoint, Point
from manyview.likelihoods import LIKELIHOODS

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["is_theirs", "translate"]

logger = logging.getLogger("manyview")

_THEIRS = "multiviewae."
_SECTIONS = ("model", "encoder", "decoder", "discriminator", "prior", "datamodule", "trainer", "callbacks", "logger")

# Keys of the section model: the hyperparameter, and what a model without it lacks.
_MODEL = {
    "z_dim": ("z_dim", "latent dimensions"),
    "learning_rate": ("learning_rate", "learning rate"),
    "beta": ("beta", "weight of the divergences"),
    "warmup": ("beta_warmup", "warm-up of beta"),
    "K": ("n_importance_samples", "importance samples"),
    "DREG_loss": ("gradient", "choice of the gradient's estimator"),
    "sparse": ("sparse", "sparse variant"),
    "threshold": ("threshold", "sparse variant"),
    "s_dim": ("h_dim", "private latents"),
    "private": ("private", "private latents"),
    "alpha": ("alpha", "weight alpha"),
    "seed": ("random_state", "random state"),
    "use_GPU": ("device", "device"),
}
_MODEL_ONLY = ("seed_everything", "join_type", "save_model", "eps")
_FLAGS = {"DREG_loss": ("iwae", "dreg"), "use_GPU": ("cpu", "auto")}  # for False and True
_UNUSED = {
    "out_dir": "nothing is written unless asked for: call model.save(path)",
    "model_name": "the class of the model says it",
    "model.save_model": "nothing is written unless asked for: call model.save(path) after fit",
    "model.eps": "sums of probabilities are computed in logarithms, and need no such constant",
}
_FUSIONS: dict[str, type[Fusion]] = {"PoE": PoE, "Mean": Mean}

# Distributions of z: the name in our hyperparameter ``posterior``, and the latent.
_POSTERIORS: dict[str, tuple[str, tuple[type[Latent], ...]]] = {
    "Default": ("", (Point, MatchedPoint)),
    "Normal": ("normal", (Gaussian,)),
    "MultivariateNormal": ("normal", (Gaussian,)),
    "Laplace": ("laplace", (Laplacian,)),
}
_LIKELIHOODS = {
    "Default": "mse",
    "Normal": "normal",
    "MultivariateNormal": "multivariate_normal",
    "Laplace": "laplace",
    "Bernoulli": "bernoulli",
    "Categorical": "categorical",
}
_SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hidden_layer_dim": ("hidden", lambda widths: widths),
    "non_linear": ("activation", lambda on: "relu" if on else "identity"),
    "bias": ("bias", lambda on: on),
}
_DISTRIBUTION = {"encoder": "enc_dist", "decoder": "dec_dist"}


def is_theirs(content: Mapping[str, Any], cls: type[Estimator]) -> bool:
    """Whether a configuration has the layout of the multi-view-AE library: by sections, keys or targets."""
    model = content.get("model")
    words = {*_MODEL, *_MODEL_ONLY} - {field.name for field in fields(cls)}
    return bool(
        ({"prior", "datamodule", "callbacks", "logger", "out_dir", "model_name"} & content.keys())
        or ("model" in content and _DISTRIBUTION.keys() & content.keys())
        or (isinstance(model, Mapping) and words & model.keys())
        or any(_has_words(content.get(role)) for role in (*_DISTRIBUTION, "discriminator"))
    )


def _has_words(value: object) -> bool:
    """Whether the settings of networks are theirs."""
    if not isinstance(value, Mapping):
        return False
    if "_target_" in value:
        return str(value["_target_"]).startswith(_THEIRS)
    words = {"hidden_layer_dim", "non_linear", *_DISTRIBUTION.values()}
    return bool(words & value.keys()) or any(map(_has_words, value.values()))


def translate(content: dict[str, Any], cls: type[Estimator], source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyperparameters, and the arguments of the trainer."""
    return _Translation(cls, source).run(content)


class _Translation:
    """One configuration on its way to one model."""

    def __init__(self, cls: type[Estimator], source: Source) -> None:
        self.cls, self.source = cls, source
        self.known = {field.name for field in fields(cls)}
        self.said: set[str] = set()
        self.posteriors: dict[str, str] = {}  # which section asks for which distribution of z
        self.conditional: set[str] = set()  # which networks get the labels

    def run(self, content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self.source.check_keys("", content, [*_SECTIONS, "out_dir", "model_name"])
        self.drop_unused("", content)
        sections = {name: self.source.section(content, name) for name in _SECTIONS}
        parts = [
            self.model(sections["model"]),
            self.networks(sections["encoder"], "encoder"),
            self.networks(sections["decoder"], "decoder"),
            self.discriminator(sections["discriminator"]),
            self.datamodule(sections["datamodule"]),
        ]
        self.prior(sections["prior"])
        if self.conditional:
            parts.append({"condition": "both" if len(self.conditional) == 2 else self.conditional.pop()})
            self.say("conditional networks: give labels= (or covariates=) to fit, and to every method after it")
        given = self.source.merge([*parts, self.posterior()])
        if given.get("sparse") and "prior" in self.posteriors:
            raise self.source.error("prior", "sparse models have a log-uniform prior; remove this section")
        trainer = self.trainer(sections["trainer"])
        if "accelerator" in trainer:
            given.pop("device", None)  # it came from use_GPU, which says less
        extras = {name: sections[name] for name in ("callbacks", "logger") if sections[name]}
        callbacks = [spec for spec in sections["callbacks"].values() if isinstance(spec, Mapping)]
        if any(str(spec.get("_target_")).endswith(".EarlyStopping") for spec in callbacks):
            given["patience"] = None  # the callback decides, not our own early stopping before it
        return given, self.source.merge([trainer, extras])

    def say(self, line: str) -> None:
        """Log a line, once."""
        if line not in self.said:
            self.said.add(line)
            logger.info("%s", line)

    def drop_unused(self, path: str, section: dict[str, Any]) -> None:
        for key in list(section):
            reason = _UNUSED.get(f"{path}{key}")
            if reason and section.pop(key):
                self.say(f"{path}{key} was read and is not used: {reason}")

    def model(self, given: dict[str, Any]) -> dict[str, Any]:
        self.source.check_keys("model", given, [*_MODEL, *_MODEL_ONLY])
        self.drop_unused("model.", given)
        if not given.pop("seed_everything", True):
            given.pop("seed", None)
        if "join_type" in given:
            self.check_join_type(given.pop("join_type"))
        if not given.get("sparse") and ("threshold" not in self.known or given.get("threshold") == 0):
            given.pop("threshold", None)  # it has no effect without sparse
        self.read_private(given)
        hyperparameters = {}
        for key, value in given.items():
            name, meaning = _MODEL[key]
            if name in self.known:
                hyperparameters[name] = _FLAGS[key][bool(value)] if key in _FLAGS else value
            elif value is not False:
                message = f"{key}={value!r}, but {self.cls.__name__} has no {meaning}"
                raise self.source.error("model", f"{message}; remove it, or choose a model that has")
        return hyperparameters

    def read_private(self, given: dict[str, Any]) -> None:
        """Their z_dim counts private dimensions as well; ours does not."""
        if "private" in self.known or "h_dim" not in self.known:
            return
        if not given.pop("private", True):
            given["s_dim"] = 0
            return
        if "s_dim" in given and "z_dim" in given:
            if not given["s_dim"] < given["z_dim"]:
                message = f"s_dim={given['s_dim']} must be below z_dim={given['z_dim']}, which includes it"
                raise self.source.error("model", message)
            given["z_dim"] -= given["s_dim"]
            self.say(f"z_dim counts private dimensions there: z_dim={given['z_dim']}, h_dim={given['s_dim']} here")

    def check_join_type(self, value: str) -> None:
        """The fusion is a matter of the class: what the file says must agree."""
        self.source.check_keys("model.join_type", [value], _FUSIONS, "value")
        fusion = self.cls().fusion(["view_0", "view_1"])
        if not isinstance(fusion, _FUSIONS[value]):
            joins = f"{self.cls.__name__} joins views by {type(fusion).__name__}"
            raise self.source.error("model", f"join_type={value!r}, but {joins}; remove it")

    def networks(self, section: dict[str, Any], role: str) -> dict[str, Any]:
        """The networks of all views, and their likelihoods if they are decoders."""
        distribution = _DISTRIBUTION[role]
        if {"_target_", *_SETTINGS, distribution} & section.keys():
            section = {"default": section}  # without views, as older files have it
        parts: dict[str, dict[str | int, Any]] = {role: {}, "likelihood": {}}
        for key in list(section):
            position = re.fullmatch(role[:3] + r"(\d+)", str(key))
            if not position:
                self.source.check_keys(role, [key], ["default", f"{role[:3]}0", f"{role[:3]}1"])
            path, view = f"{role}.{key}", int(position[1]) if position else str(key)
            spec = self.source.section(section, key, path)
            z_or_x = self.source.section(spec, distribution, f"{path}.{distribution}")
            log_variance = spec.pop("init_logvar", None) if role == "decoder" else None
            if role == "decoder" and (z_or_x or log_variance is not None):
                parts["likelihood"][view] = self.likelihood(z_or_x, log_variance, f"{path}.{distribution}")
            elif z_or_x:
                self.ask_posterior(z_or_x, f"{path}.{distribution}", _POSTERIORS)
                self.source.check_keys(f"{path}.{distribution}", z_or_x, [])
            if spec:
                parts[role][view] = self.network(spec, role, path)
        return {name: by_view for name, by_view in parts.items() if by_view}

    def network(self, spec: dict[str, Any], role: str, path: str) -> dict[str, Any]:
        target, kind = spec.pop("_target_", None), ""
        if target is not None and not str(target).startswith(_THEIRS):
            return {"_target_": target, **spec}  # a user's own class
        if target is not None:
            targets = {
                f"{_THEIRS}architectures.{kind}.{variant}{role.capitalize()}": kind
                for kind in ("mlp", "cnn")
                for variant in ("", "Variational", "Conditional", "ConditionalVariational", "VariationalConditional")
            }
            if ".Conditional" in target or ".VariationalConditional" in target:
                self.conditional.add(role)
                spec.pop("num_cat", None)  # the labels say how many there are
            self.source.check_keys(f"{path}._target_", [target], targets, "target")
            kind = targets[target]
            self.say(f"{target} -> manyview.nn.{'MLP' if kind == 'mlp' else f'CNN{role.capitalize()}'}")
        if any(re.fullmatch(r"layer\d+", str(key)) for key in spec):
            instead = f"give {role}={{'name': 'cnn', 'channels': [...]}}, or a module of your own"
            raise self.source.error(path, f"layers cannot be listed one by one: {instead}")
        self.source.check_keys(path, spec, _SETTINGS)
        if kind == "cnn" and spec.get("bias") is True:
            del spec["bias"]  # our CNNs always have it
        settings = {ours: convert(spec[key]) for key, (ours, convert) in _SETTINGS.items() if key in spec}
        return {"name": kind, **settings} if kind else settings

    def discriminator(self, section: dict[str, Any]) -> dict[str, Any]:
        """The adversary's network."""
        if not section:
            return {}
        if "discriminator" not in self.known:
            raise self.source.error("discriminator", f"{self.cls.__name__} has none; remove this section")
        target = f"{_THEIRS}architectures.mlp.Discriminator"
        self.source.check_keys("discriminator._target_", [section.pop("_target_", target)], [target], "target")
        section.pop("is_wasserstein", None)  # the class of the model says it
        self.source.check_keys("discriminator", section, [*_SETTINGS, "dropout_threshold"])
        settings = {ours: convert(section[key]) for key, (ours, convert) in _SETTINGS.items() if key in section}
        if section.get("dropout_threshold"):
            settings["dropout"] = section["dropout_threshold"]
        return {"discriminator": settings}

    def distribution(self, spec: dict[str, Any], path: str, allowed: Iterable[str]) -> str:
        """The short name of a distribution, taken out of its section."""
        prefix = f"{_THEIRS}base.distributions."
        target = str(spec.pop("_target_", None))
        self.source.check_keys(f"{path}._target_", [target], [prefix + name for name in allowed], "target")
        return target.removeprefix(prefix)

    def likelihood(self, spec: dict[str, Any], log_variance: object, path: str) -> str | dict[str, Any]:
        if not str(spec.get("_target_", _THEIRS)).startswith(_THEIRS):
            return spec
        theirs = self.distribution(spec, path, _LIKELIHOODS)
        name = _LIKELIHOODS[theirs]
        kind = LIKELIHOODS[name]
        known = inspect.signature(kind).parameters
        self.say(f"{_THEIRS}base.distributions.{theirs} -> manyview.likelihoods.{kind.__name__}")
        self.source.check_keys(path, spec, known)
        if "scale" in spec:
            spec.setdefault("learn_scale", False)
        if log_variance is not None:
            if "scale" not in known:
                raise self.source.error(path, f"{theirs} has no variance, which init_logvar sets; remove init_logvar")
            spec.setdefault("scale", math.exp(0.5 * self.number(log_variance, f"{path}.init_logvar")))
        return {"name": name, **spec} if spec else name

    def number(self, value: object, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.source.error(path, f"must be a number, but is {value!r}")
        return value

    def prior(self, section: dict[str, Any]) -> None:
        if not section:
            return
        self.ask_posterior(section, "prior", [name for name in _POSTERIORS if name != "Default"])
        self.source.check_keys("prior", section, ["loc", "scale"])
        for key, standard in (("loc", 0), ("scale", 1)):
            if section.get(key, standard) not in (standard, [standard]):
                message = f"{key}={section[key]!r}, but priors are standard; remove it or set {standard}"
                raise self.source.error("prior", message)

    def ask_posterior(self, spec: dict[str, Any], path: str, allowed: Iterable[str]) -> None:
        self.posteriors[path] = self.distribution(spec, path, allowed)

    def posterior(self) -> dict[str, Any]:
        """The hyperparameter of that name, if the model has it; an error if the model cannot do what is asked."""
        given: dict[str, Any] = {}
        for path, theirs in self.posteriors.items():
            name, families = _POSTERIORS[theirs]
            asked: dict[str, Any] = {"posterior": name} if name and "posterior" in self.known else {}
            latent = self.cls(**asked).latent()
            if not isinstance(latent, families):
                has = f"the latents of {self.cls.__name__} are {type(latent).__name__}"
                raise self.source.error(path, f"{theirs}, but {has}")
            if given and asked != given:
                raise self.source.error(path, f"{theirs}, but another section says {given['posterior']!r}")
            given = asked
            self.say(f"{_THEIRS}base.distributions.{theirs} -> manyview.latent.{type(latent).__name__}")
        return given

    def datamodule(self, section: dict[str, Any]) -> dict[str, Any]:
        allowed = ["_target_", "batch_size", "is_validate", "train_size", "is_labelled", "dataset"]
        self.source.check_keys("datamodule", section, allowed)
        dataset = self.source.section(section, "dataset", "datamodule.dataset")
        self.source.check_keys("datamodule.dataset", dataset, ["_target_", "is_path_ds"])
        for target in (section.get("_target_"), dataset.get("_target_")):
            if not str(target or _THEIRS).startswith(_THEIRS):
                raise self.source.error("datamodule", f"{target} is not used: give the data to fit; remove it")
            if target is not None:
                self.say(f"{target} -> manyview.Views")
        if dataset.get("is_path_ds"):
            raise self.source.error("datamodule", "lists of paths cannot be read: give arrays to fit")
        if section.get("is_labelled"):
            self.say("is_labelled: give labels= to fit, and to every method after it")
        given: dict[str, Any] = {}
        if "batch_size" in section:
            given["batch_size"] = "full" if section["batch_size"] is None else section["batch_size"]
        if not section.get("is_validate", True):
            given["validation_fraction"] = 0.0
        elif "train_size" in section:
            given["validation_fraction"] = round(1 - self.number(section["train_size"], "datamodule.train_size"), 12)
        return given

    def trainer(self, section: dict[str, Any]) -> dict[str, Any]:
        """Arguments that Lightning no longer has, in today's words."""
        if section.pop("resume_from_checkpoint", None) is not None:
            message = "resume_from_checkpoint is not supported; manyview.load reads a saved model"
            raise self.source.error("trainer", message)
        gpus = section.pop("gpus", None)
        if gpus is None:
            return section
        return {"accelerator": "gpu" if gpus else "cpu", **({"devices": gpus} if gpus else {}), **section}
