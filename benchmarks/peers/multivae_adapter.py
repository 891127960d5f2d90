"""Run a task with multivae, inside its environment: `python multivae_adapter.py task.json`."""

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from image_networks import image_decoder, image_encoder
from multivae import models
from multivae.data import MultimodalBaseDataset
from multivae.models.nn.base_architectures import BaseJointEncoder, BaseMultilatentEncoder
from multivae.trainers import BaseTrainer, BaseTrainerConfig
from multivae.trainers.base.callbacks import TrainingCallback
from protocol import Clock, Peer, main
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}
LINKS = {
    "normal": lambda eta: eta,
    "laplace": lambda eta: eta,
    "bernoulli": torch.sigmoid,
    "categorical": lambda eta: eta.softmax(-1),
}
FEATURES, JOINT_HIDDEN = 64, 256  # of manyview's joint encoder
MIXTURE = {"K": 1, "loss": "iwae_looser", "prior_and_posterior_dist": "normal"}

# name here -> class there, and its settings where they are not those of manyview
MODELS = {
    "MVAE": ("MVAE", {"use_subsampling": False, "warmup": 0}),
    "MEMVAE": ("MVAE", {"use_subsampling": True, "k": 0, "warmup": 0}),
    "JMVAE": ("JMVAE", {"warmup": 0, "alpha": 0.1}),
    "MMVAE": ("MMVAE", {**MIXTURE, "learn_prior": False}),
    "MMVAEPlus": ("MMVAEPlus", MIXTURE),
    "MoPoEVAE": ("MoPoE", {}),
    "MVTCAE": ("MVTCAE", {"alpha": 5 / 6}),
    "DMVAE": ("DMVAE", {}),
}
NO_LIKELIHOOD = {
    "MMVAEPlus": "compute_joint_nll drops the last view of the data that it is given",
    "DMVAE": "compute_joint_nll adds the densities of z up over rows",
}


def mlp(*widths: int, activation: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class Encoder(BaseEncoder):
    def __init__(self, net: nn.Module, z_dim: int) -> None:
        super().__init__()
        self.net, self.latent_dim = net, z_dim

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_variance = self.net(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class EncoderOfTwo(BaseMultilatentEncoder):
    """Of the shared and of the private latent."""

    def __init__(self, net: nn.Module, z_dim: int, h_dim: int) -> None:
        super().__init__()
        self.net, self.latent_dim, self.style_dim = net, z_dim, h_dim

    def forward(self, x: torch.Tensor) -> ModelOutput:
        names = ("embedding", "log_covariance", "style_embedding", "style_log_covariance")
        parts = self.net(x).split([*[self.latent_dim] * 2, *[self.style_dim] * 2], -1)
        return ModelOutput(**dict(zip(names, parts, strict=True)))


class JointEncoder(BaseJointEncoder):
    def __init__(self, trunks: dict[str, nn.Module], head: nn.Module, z_dim: int) -> None:
        super().__init__()
        self.trunks, self.head, self.latent_dim = nn.ModuleDict(trunks), head, z_dim

    def forward(self, x: dict[str, torch.Tensor]) -> ModelOutput:
        features = torch.cat([trunk(x[name]) for name, trunk in self.trunks.items()], -1)
        mean, log_variance = self.head(features).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z))


class EpochClock(TrainingCallback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_epoch_begin(self, *args, **kwargs) -> None:
        self.clock.start()

    def on_epoch_end(self, *args, **kwargs) -> None:
        self.clock.stop()


class MultiVae(Peer):
    library = "multivae"

    def build(self) -> None:
        task = self.task
        if task["model"] not in MODELS:
            raise NotImplementedError(f"no {task['model']} in multivae: {', '.join(MODELS)}")
        name, settings = MODELS[task["model"]]
        settings = {"beta": task["beta"], **settings}
        # Not the task's own names of views, which could collide with those of attributes.
        self.shapes = {f"view{m:02d}": view.shape[1:] for m, view in enumerate(self.train)}
        self.likelihoods = dict(zip(self.shapes, task["likelihoods"], strict=True))
        if "alpha" in settings:
            settings["alpha"] = task.get("alpha", settings["alpha"])
        h_dim = task.get("h_dim", 1) if name in ("DMVAE", "MMVAEPlus") else 0
        if h_dim:
            settings["modalities_specific_dim"] = dict.fromkeys(self.shapes, h_dim) if name == "DMVAE" else h_dim
        config = getattr(models, f"{name}Config")(
            n_modalities=len(self.shapes),
            latent_dim=task["z_dim"],
            input_dims=self.shapes,
            decoders_dist=self.likelihoods,
            decoder_dist_params={view: {"scale": 0.75} for view, x in self.likelihoods.items() if x == "laplace"},
            **{**settings, **self.options()},
        )
        self.model = getattr(models, name)(config, **self._networks(h_dim, joint=name == "JMVAE"))
        self._shim()
        self.network = self.model

    def _networks(self, h_dim: int, joint: bool) -> dict[str, object]:
        task, z_dim, act = self.task, self.task["z_dim"], self.task["activation"]

        def from_view(shape: tuple[int, ...], width: int) -> nn.Sequential:
            if len(shape) == 3:
                return image_encoder(shape, width, task["channels"])
            return mlp(*shape, *task["encoder_hidden"], width, activation=act)

        def encoder(shape: tuple[int, ...]) -> nn.Module:
            net = from_view(shape, 2 * (z_dim + h_dim))
            return EncoderOfTwo(net, z_dim, h_dim) if h_dim else Encoder(net, z_dim)

        def decoder(shape: tuple[int, ...]) -> nn.Module:
            if len(shape) == 3:
                return Decoder(image_decoder(z_dim + h_dim, shape, task["channels"][::-1]))
            return Decoder(mlp(z_dim + h_dim, *task["decoder_hidden"], *shape, activation=act))

        networks: dict[str, object] = {
            "encoders": {view: encoder(shape) for view, shape in self.shapes.items()},
            "decoders": {view: decoder(shape) for view, shape in self.shapes.items()},
        }
        if joint:
            width = max(FEATURES, 2 * z_dim)
            trunks = {view: from_view(shape, width) for view, shape in self.shapes.items()}
            head = mlp(width * len(trunks), JOINT_HIDDEN, 2 * z_dim, activation="relu")
            networks["joint_encoder"] = JointEncoder(trunks, head, z_dim)
        return networks

    def _shim(self) -> None:
        self.shims += [
            "torchvision is a stub",
            "own decoders, without the sigmoid that the library's end in although its likelihoods take logits",
        ]
        views = zip(self.train, self.task["likelihoods"], strict=True)
        if any(likelihood == "bernoulli" and ((view > 0) & (view < 1)).any() for view, likelihood in views):
            torch.distributions.Distribution.set_default_validate_args(False)
            self.shims.append("checks of torch.distributions are off: the library's Bernoulli refuses grey values")
        if "normal" in self.task["likelihoods"]:
            self.shims.append("normal likelihoods have a fixed scale of 1: the library cannot learn it")
        if set(self.task["likelihoods"]) - {"normal", "laplace"}:
            self.shims.append("the library reconstructs logits: they went through a sigmoid or softmax")

    def fit(self) -> None:
        task = self.task
        config = BaseTrainerConfig(
            output_dir=str(Path(task["out"]).parent / self.library),
            per_device_train_batch_size=task["batch_size"],
            num_epochs=task["epochs"],
            learning_rate=task["learning_rate"],
            seed=task["seed"],
            no_cuda=task.get("device") != "cuda",
        )
        data, callbacks = self._data(self.train), [EpochClock(self.epochs)]
        BaseTrainer(self.model, data, training_config=config, callbacks=callbacks).train()
        self.model.eval()  # the library leaves it in training mode

    def _data(self, views: list[np.ndarray]) -> MultimodalBaseDataset:
        return MultimodalBaseDataset(dict(zip(self.shapes, map(torch.from_numpy, views), strict=True)))

    def latents(self, views: list[np.ndarray]) -> np.ndarray:
        return self.model.encode(self._data(views), return_mean=True).z.numpy()

    def reconstructions(self) -> list[np.ndarray]:
        output = self.model.predict(self._data(self.test), return_mean=True)
        return [LINKS[likelihood](output[view]).numpy() for view, likelihood in self.likelihoods.items()]

    def log_likelihood(self, test: list[np.ndarray]) -> tuple[float, str] | None:
        name, k, rows = self.task["model"], self.task["n_importance"], len(test[0])
        if name in NO_LIKELIHOOD:
            self.shims.append(f"no log-likelihood: {NO_LIKELIHOOD[name]}")
            return None
        if name == "MMVAE":
            # compute_joint_nll draws from one expert and divides by the density of all. The paper's draws from each,
            # but adds rows up within the logarithm: so one row at a time.
            k = max(1, k // len(test))
            data = (self._data([view[[i]] for view in test]) for i in range(rows))
            total = sum(float(self.model.compute_joint_nll_paper(row, K=k, batch_size_K=k)) for row in data)
            return -total / rows, f"compute_joint_nll_paper, a row at a time, K = {k} for each view"
        # MoPoE's compute_joint_nll draws from one subset a row; the paper's from the product of all views.
        method = "compute_joint_nll_paper" if name == "MoPoEVAE" else "compute_joint_nll"
        return -float(getattr(self.model, method)(self._data(test), K=k)) / rows, f"{method}, K = {k}"


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main(MultiVae)
