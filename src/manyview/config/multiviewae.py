"""Configurations of the multi-view-AE library, translated. What has no counterpart is refused, never dropped."""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from torch import nn

from manyview.config.layers import LayeredDecoder, LayeredEncoder
from manyview.config.loading import model_names
from manyview.config.source import Source
from manyview.fusion import Fusion, Mean, PoE
from manyview.latent import Gaussian, Laplacian, Latent, MatchedPoint, Point
from manyview.likelihoods import LIKELIHOODS

if TYPE_CHECKING:
    from manyview.estimator import Estimator

__all__ = ["is_theirs", "place_of", "translate"]

logger = logging.getLogger("manyview")

_THEIRS = "multiviewae."
_SECTIONS = (
    "model", "encoder", "decoder", "discriminator", "prior", "datamodule", "optimizer", "trainer",
    "callbacks", "logger",
)  # fmt: skip

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
    "learn_shared_prior": ("learn_prior", "learned prior"),
    "seed": ("random_state", "random state"),
    "use_GPU": ("device", "device"),
}
_MODEL_ONLY = (
    "seed_everything", "join_type", "use_prior", "save_model", "eps", "multiple_latents", "u_dim", "w_dim", "_lambda",
)  # fmt: skip

# Keys of the section model that are settled here: the one value that agrees, and what to do for another.
_SETTLED = {
    "weight_ll": (False, "give likelihood_weight, such as one over the number of views"),
    "weight_kld": (False, "give beta"),
    "return_mean": (True, "predictions are expected values; transform(..., n_samples=...) draws"),
    "learn_private_prior": (True, "the scales of auxiliary priors are always learned"),
}
_S_DIM = 2  # their private dimensions where a file asks for private latents and says no number
_FLAGS = {"DREG_loss": ("iwae", "dreg"), "use_GPU": ("cpu", "auto")}  # for False and True
_UNUSED = {
    "out_dir": "nothing is written unless asked for: call model.save(path)",
    "model_name": "the class of the model says it",
    "model.save_model": "nothing is written unless asked for: call model.save(path) after fit",
    "model.eps": "sums of probabilities are computed in logarithms, and need no such constant",
    "model.multiple_latents": "an encoder's last layer gives the numbers of all its latents",
    "encoder.multiple_latents": "an encoder's last layer gives the numbers of all its latents",
}
_FUSIONS: dict[str, type[Fusion]] = {"PoE": PoE, "Mean": Mean}

# Distributions of z: the name in our hyperparameter ``posterior``, and the latents.
_CODES = (Point, MatchedPoint)
_POSTERIORS: dict[str, tuple[str, tuple[type[Latent], ...]]] = {
    "Default": ("", _CODES),
    "Normal": ("normal", (Gaussian,)),
    "MultivariateNormal": ("normal", (Gaussian,)),
    "Laplace": ("laplace", (Laplacian,)),
}
_PRIORS: dict[str, tuple[str, tuple[type[Latent], ...]]] = {
    "Normal": ("normal", (Gaussian, MatchedPoint)),
    "MultivariateNormal": ("normal", (Gaussian, MatchedPoint)),
    "Laplace": ("laplace", (Laplacian,)),
}
_LIKELIHOODS = {
    "Default": "mse",
    "Normal": "normal",
    "MultivariateNormal": "multivariate_normal",
    "Laplace": "laplace",
    "Bernoulli": "bernoulli",
    "ApproxBernoulli": "bernoulli",
    "Categorical": "categorical",
}
_SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hidden_layer_dim": ("hidden", lambda widths: widths),
    "non_linear": ("activation", lambda on: "relu" if on else "identity"),
    "bias": ("bias", lambda on: on),
}
# Where their files state what is a hyperparameter of ours, beside the section model.
_PLACES = {
    "batch_size": ["datamodule.batch_size"],
    "validation_fraction": ["datamodule.train_size"],
    "likelihood": ["decoder"],
    "likelihood_weight": ["model._lambda"],
    "optimizer_args": ["model.optimizer", "optimizer"],
    "scheduler_args": ["model.scheduler", "scheduler"],
}
_DISTRIBUTION = {"encoder": "enc_dist", "decoder": "dec_dist"}
_LAYERED = {"encoder": LayeredEncoder, "decoder": LayeredDecoder}
_LABELS = {
    "num_cat": "the categories are those of the labels",
    "one_hot": "labels may be numbers or one-hot rows",
}


def is_theirs(content: Mapping[str, Any], cls: type[Estimator]) -> bool:
    """Whether a configuration has the layout of the multi-view-AE library: by sections, keys or targets."""
    model = content.get("model")
    keys = set(model) if isinstance(model, Mapping) else set()
    words = {*_MODEL, *_SETTLED, *_MODEL_ONLY} - {"z_dim", "learning_rate", "beta", "sparse", "threshold"}
    known = {field.name for field in fields(cls)}
    networks = (*_DISTRIBUTION, "discriminator")
    if isinstance(model, Mapping) and "_target_" in model:
        return str(model["_target_"]).startswith(_THEIRS)
    if (
        ({"prior", "out_dir", "model_name"} & content.keys())
        or (words - known) & keys
        or any(_has_words(content.get(section)) for section in (*networks, "datamodule"))
    ):
        return True
    module = content.get("datamodule")
    of_others = isinstance(module, Mapping) and "_target_" in module  # of theirs, it would have been found by now
    both = {"callbacks", "logger", *(() if of_others else ("datamodule",))}
    both |= {*networks, "optimizer"} if "model" in content else set()
    ours = (known - {*_MODEL}) & keys or (known - {*_SECTIONS}) & content.keys()
    return bool(both & content.keys()) and not ours


def place_of(name: str) -> list[str]:
    """Where their files state what is a hyperparameter of ours."""
    keys = [f"model.{key}" for key, (ours, _) in _MODEL.items() if ours == name]
    return [*keys, *_PLACES.get(name, [])]


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


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a network in our words."""
    return {ours: convert(spec[key]) for key, (ours, convert) in _SETTINGS.items() if key in spec}


class _Translation:
    """One configuration on its way to one model."""

    def __init__(self, cls: type[Estimator], source: Source) -> None:
        self.cls, self.source = cls, source
        self.known = {field.name for field in fields(cls)}
        self.said: set[str] = set()
        self.posteriors: dict[str, str] = {}  # which section asks for which distribution of z
        self.softmax: set[str] = set()  # the sections that ask for scales by softmax
        self.conditional: dict[str, set[bool]] = {role: set() for role in _DISTRIBUTION}  # the kinds of networks

    def run(self, content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self.source.check_keys("", content, [*_SECTIONS, "out_dir", "model_name"])
        self.drop_unused("", content)
        sections = {name: self.source.section(content, name) for name in _SECTIONS}
        parts = [
            self.model(sections["model"]),
            self.networks(sections["encoder"], "encoder"),
            self.networks(sections["decoder"], "decoder"),
            self.condition(),
            self.discriminator(sections["discriminator"]),
            self.datamodule(sections["datamodule"]),
            {"optimizer": sections["optimizer"]} if sections["optimizer"] else {},
        ]
        self.prior(sections["prior"])
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

    def check_class(self, target: str) -> None:
        """The class that a file names must be the one that reads it."""
        name = target.rpartition(".")[2]
        if model_names().get(name.lower()) is not self.cls:
            message = f"{target!r} is what the file configures, but {self.cls.__name__} reads it"
            raise self.source.error("model._target_", f"{message}; call that class, or remove the line")
        self.say(f"{target} -> manyview.{self.cls.__name__}")

    def model(self, given: dict[str, Any]) -> dict[str, Any]:
        if "_target_" in given:
            self.check_class(str(given.pop("_target_")))
        self.source.check_keys("model", given, [*_MODEL, *_SETTLED, *_MODEL_ONLY])
        self.drop_unused("model.", given)
        if not given.pop("seed_everything", True):
            given.pop("seed", None)
        self.check_settled(given)
        hyperparameters = self.weights(given)
        self.read_alpha(given)
        self.read_private(given)
        if given.get("sparse") and given.get("threshold") == 0:
            given["sparse"] = False
            self.say("model.sparse was read and is not used: nor is it there with threshold=0")
        if not given.get("sparse") and ("threshold" not in self.known or given.get("threshold") == 0):
            given.pop("threshold", None)  # it has no effect without sparse
        for key, value in given.items():
            name, meaning = _MODEL[key]
            if name in self.known:
                hyperparameters[name] = _FLAGS[key][bool(value)] if key in _FLAGS else value
            elif value is not False:
                raise self.lacks(key, value, meaning)
        return hyperparameters

    def lacks(self, key: str, value: object, meaning: str) -> ValueError:
        """What to raise about a key for what the model does not have."""
        message = f"{key}={value!r}, but {self.cls.__name__} has no {meaning}"
        return self.source.error("model", f"{message}; remove it, or choose a model that has")

    def check_settled(self, given: dict[str, Any]) -> None:
        """What the class or the library settles is not for a file to say: it must agree."""
        for key, (value, advice) in _SETTLED.items():
            if given.pop(key, value) is not value:
                raise self.source.error("model", f"{key}={not value} is not available: {advice}; remove it")
        if "join_type" in given:
            self.check_join_type(given.pop("join_type"))
        expert = bool(getattr(self.cls().fusion(["view_0", "view_1"]), "prior_expert", False))
        if given.pop("use_prior", expert) is not expert:
            is_expert = f"the prior is {'an' if expert else 'no'} expert of {self.cls.__name__}"
            raise self.source.error("model", f"use_prior={not expert}, but {is_expert}; remove it")

    def weights(self, given: dict[str, Any]) -> dict[str, Any]:
        """Their lambda: a list weighs the likelihoods of the views, a number the reconstruction of all."""
        value = given.pop("_lambda", None)
        if isinstance(value, list):
            return {"likelihood_weight": {m: self.number(x, "model._lambda") for m, x in enumerate(value)}}
        if "reconstruction_weight" in self.known and value is not None:
            return {"reconstruction_weight": self.number(value, "model._lambda")}
        if value not in (None, 1):
            raise self.lacks("_lambda", value, "weight of the reconstruction of all views")
        return {}

    def read_alpha(self, given: dict[str, Any]) -> None:
        """Where alpha weighs a Jensen-Shannon divergence and beta that of private latents, our beta weighs both."""
        if "alpha" not in given or "dynamic_prior" not in self.known:
            return
        alpha = given.pop("alpha")
        beta = given.get("beta", alpha)
        if beta != alpha and given.get("private") is not False:
            both = f"alpha={alpha!r} and beta={beta!r}, but {self.cls.__name__} has one weight of all its divergences"
            raise self.source.error("model", f"{both}; set them equal")
        given["beta"] = alpha
        self.say(f"alpha, the weight of the Jensen-Shannon divergence -> beta={alpha!r}")

    def read_private(self, given: dict[str, Any]) -> None:
        """Their z_dim counts private dimensions as well; ours does not."""
        for key in ("s_dim", "u_dim", "w_dim"):
            if key in given and not (type(given[key]) is int and given[key] >= 0):
                raise self.source.error(f"model.{key}", f"must be a whole number, at least 0, but is {given[key]!r}")
        self.read_shared_and_private(given)
        if "private" in self.known or "h_dim" not in self.known:
            return
        private = given.pop("private", None)
        if private is False:
            given["s_dim"] = 0
            return
        if private and "s_dim" not in given and not self.cls().h_dim:
            given["s_dim"] = _S_DIM
        if "s_dim" in given and "z_dim" in given:
            if not given["s_dim"] < self.number(given["z_dim"], "model.z_dim"):
                message = f"s_dim={given['s_dim']} must be below z_dim={given['z_dim']}, which includes it"
                raise self.source.error("model", message)
            given["z_dim"] -= given["s_dim"]
            self.say(f"z_dim counts private dimensions there: z_dim={given['z_dim']}, h_dim={given['s_dim']} here")

    def read_shared_and_private(self, given: dict[str, Any]) -> None:
        """Dimensions given apart, as u_dim and w_dim, in words of z_dim and s_dim."""
        asked = {key: given.pop(key) for key in ("u_dim", "w_dim") if key in given}
        if not asked:
            return
        if "h_dim" not in self.known or "private" in self.known:
            key, value = next(iter(asked.items()))
            raise self.lacks(key, value, "such private latents")
        total = sum(asked.values())
        if len(asked) < 2 or "s_dim" in given or given.get("z_dim", total) != total:
            raise self.source.error("model", "u_dim and w_dim go together, without s_dim, and z_dim is their sum")
        given |= {"z_dim": total, "s_dim": asked["w_dim"]}

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
                learns_variance = str(spec.get("_target_")).endswith(".VariationalDecoder")
                where = f"{path}.{distribution}"
                parts["likelihood"][view] = self.likelihood(z_or_x, log_variance, where, learns_variance)
            elif z_or_x:
                self.ask_posterior(z_or_x, f"{path}.{distribution}", _POSTERIORS)
            if spec:
                parts[role][view] = self.network(spec, role, path)
        return {name: by_view for name, by_view in parts.items() if by_view}

    def network(self, spec: dict[str, Any], role: str, path: str) -> dict[str, Any]:
        target, kind = spec.pop("_target_", None), ""
        self.drop_unused(f"{role}.", spec)
        if target is not None and not str(target).startswith(_THEIRS):
            return {"_target_": target, **spec}  # a user's own class
        if target is not None:
            targets = {
                f"{_THEIRS}architectures.{kind}.{variant}{role.capitalize()}": kind
                for kind in ("mlp", "cnn")
                for variant in ("", "Variational", "Conditional", "ConditionalVariational", "VariationalConditional")
            }
            self.source.check_keys(f"{path}._target_", [target], targets, "target")
            kind = targets[target]
            if role == "encoder":
                self.check_noise(target, path)
        conditional = "Conditional" in str(target)
        self.conditional[role].add(conditional)
        for key in _LABELS.keys() & spec.keys() if conditional else ():
            del spec[key]
            self.say(f"{key} was read and is not used: {_LABELS[key]}")
        layers = [key for key in spec if re.fullmatch(r"layer\d+", str(key))]
        if layers and kind == "cnn":
            listed = {f"{path}.{key}": self.source.section(spec, key, f"{path}.{key}") for key in layers}
            return self.layered(listed, spec, role, path)
        if kind:
            self.say(f"{target} -> manyview.nn.{'MLP' if kind == 'mlp' else f'CNN{role.capitalize()}'}")
        self.source.check_keys(path, spec, _SETTINGS)
        if kind == "cnn" and spec.get("bias") is True:
            del spec["bias"]  # our CNNs always have it
        settings = _settings(spec)
        return {"name": kind, **settings} if kind else settings

    def check_noise(self, target: str, path: str) -> None:
        """Encoders are variational where the posteriors are distributions, and only there."""
        noise = not isinstance(self.cls().latent(), _CODES)
        if ("Variational" in target) is not noise:
            has = "have noise; use a VariationalEncoder" if noise else "have no noise; use an Encoder"
            raise self.source.error(path, f"{target}, but the codes of {self.cls.__name__} {has}")

    def layered(self, layers: dict[str, dict[str, Any]], rest: dict[str, Any], role: str, path: str) -> dict[str, Any]:
        """A network whose layers are listed one by one, each under the path where it was found."""
        names = [name for name, part in vars(nn).items() if isinstance(part, type) and issubclass(part, nn.Module)]
        for where, layer in layers.items():
            self.source.check_keys(f"{where}.layer", [layer.get("layer")], names, "layer")
            self.source.check_keys(where, layer, ["layer", *inspect.signature(getattr(nn, layer["layer"])).parameters])
        first, *_ = listed = list(layers.values())
        if role == "decoder" and (first["layer"] != "Linear" or "out_features" not in first):
            raise self.source.error(path, "the first layer takes z: it must be a Linear with out_features")
        if role == "encoder" and not any({"out_channels", "out_features"} & layer.keys() for layer in listed):
            raise self.source.error(path, "no layer says how wide it is, by out_channels or out_features")
        self.source.check_keys(path, rest, ["non_linear", "bias"])
        settings = _settings(rest)
        network = f"{_LAYERED[role].__module__}.{_LAYERED[role].__name__}"
        self.say(f"layers of the {role} -> {network}")
        return {"_target_": network, "layers": listed, **settings}

    def condition(self) -> dict[str, Any]:
        """Which networks get the labels."""
        for role, kinds in self.conditional.items():
            if len(kinds) == 2:
                raise self.source.error(role, f"some {role}s are conditional and some are not; make them all alike")
        roles = [role for role, kinds in self.conditional.items() if True in kinds]
        if not roles:
            return {}
        self.say("conditional networks: give labels= (or covariates=) to fit, and to every method after it")
        return {"condition": roles[0] if len(roles) == 1 else "both"}

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
        settings = _settings(section)
        if section.get("dropout_threshold"):
            settings["dropout"] = section["dropout_threshold"]
        return {"discriminator": settings}

    def distribution(self, spec: dict[str, Any], path: str, allowed: Iterable[str]) -> str:
        """The short name of a distribution, taken out of its section."""
        prefix = f"{_THEIRS}base.distributions."
        target = str(spec.pop("_target_", None))
        self.source.check_keys(f"{path}._target_", [target], [prefix + name for name in allowed], "target")
        return target.removeprefix(prefix)

    def likelihood(
        self, spec: dict[str, Any], log_variance: object, path: str, learns_variance: bool
    ) -> str | dict[str, Any]:
        if not str(spec.get("_target_", _THEIRS)).startswith(_THEIRS):
            return spec
        theirs = self.distribution(spec, path, _LIKELIHOODS) if spec else "Normal"  # where init_logvar stands alone
        name = _LIKELIHOODS[theirs]
        kind = LIKELIHOODS[name]
        known = inspect.signature(kind).parameters
        self.say(f"{_THEIRS}base.distributions.{theirs} -> manyview.likelihoods.{kind.__name__}")
        self.source.check_keys(path, spec, known)
        if "scale" in spec:
            spec.setdefault("learn_scale", False)
        if learns_variance and "scale" not in known:
            raise self.source.error(path, f"{theirs} has no variance, which a VariationalDecoder learns; use a Decoder")
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
        self.ask_posterior(section, "prior", _PRIORS, ("loc", "scale"))
        for key, standard in (("loc", 0), ("scale", 1)):
            values = section.get(key, standard)
            if any(value != standard for value in (values if isinstance(values, list) else [values])):
                message = f"{key}={section[key]!r}, but priors are standard; remove it or set {standard}"
                raise self.source.error("prior", message)

    def ask_posterior(
        self, spec: dict[str, Any], path: str, allowed: Iterable[str], settings: tuple[str, ...] = ()
    ) -> None:
        if not str(spec.get("_target_", _THEIRS)).startswith(_THEIRS):
            own = f"{spec['_target_']!r}: what z is drawn from is settled by the model; write a model of your own"
            raise self.source.error(path, own)
        theirs = self.posteriors[path] = self.distribution(spec, path, allowed)
        if theirs == "Laplace" and "scale_transform" in self.known:
            settings += ("with_softmax",)
        self.source.check_keys(path, spec, settings)
        if spec.get("with_softmax"):
            self.softmax.add(path)

    def posterior(self) -> dict[str, Any]:
        """The hyperparameter of that name, if the model has it; an error if the model cannot do what is asked."""
        given: dict[str, Any] = {}
        for path, theirs in self.posteriors.items():
            name, families = (_PRIORS if path == "prior" else _POSTERIORS)[theirs]
            asked: dict[str, Any] = {"posterior": name} if name and "posterior" in self.known else {}
            latent = self.cls(**asked).latent()
            if not isinstance(latent, families):
                fits = [n for n, (_, kinds) in _POSTERIORS.items() if isinstance(latent, kinds)]
                product = isinstance(self.cls().fusion(["view_0", "view_1"]), PoE)
                why = ", as a product of experts takes normal ones alone" if product else ""
                has = f"the latents of {self.cls.__name__} are {type(latent).__name__}{why}"
                raise self.source.error(path, f"{theirs}, but {has}; give {' or '.join(fits)}, or choose another model")
            if given and asked != given:
                raise self.source.error(path, f"{theirs}, but another section says {given['posterior']!r}")
            given = asked
            self.say(f"{_THEIRS}base.distributions.{theirs} -> manyview.latent.{type(latent).__name__}")
        if self.softmax:
            for path in self.posteriors.keys() - self.softmax:
                raise self.source.error(path, "with_softmax is for all posteriors and the prior, or for none")
            return {**given, "scale_transform": "softmax"}
        return given

    def datamodule(self, section: dict[str, Any]) -> dict[str, Any]:
        allowed = ["_target_", "batch_size", "is_validate", "train_size", "is_labelled", "dataset"]
        self.source.check_keys("datamodule", section, allowed)
        dataset = self.source.section(section, "dataset", "datamodule.dataset")
        self.source.check_keys(
            "datamodule.dataset", dataset, ["_target_", "is_path_ds", "data_dir", "filename", "views"]
        )
        targets = (section.get("_target_"), dataset.get("_target_"))
        indexed = dataset.keys() - {"_target_", "is_path_ds"} or any(".Index" in str(target) for target in targets)
        if dataset.get("is_path_ds") or indexed:
            raise self.source.error("datamodule", "lists of paths cannot be read: give arrays to fit")
        for target in targets:
            if not str(target or _THEIRS).startswith(_THEIRS):
                raise self.source.error("datamodule", f"{target} is not used: give the data to fit; remove it")
            if target is not None:
                self.say(f"{target} -> manyview.Views")
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
