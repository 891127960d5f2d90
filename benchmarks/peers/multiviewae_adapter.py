"""Run a task with multiviewae, inside its environment: `python multiviewae_adapter.py task.json`."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import numpy as np
import torch
import torch.nn.functional as F
from image_networks import image_decoder, image_encoder
from multiviewae import models
from multiviewae.architectures import mlp
from multiviewae.base.base_model import BaseModelAE
from multiviewae.base.dataloaders import MultiviewDataModule
from omegaconf import OmegaConf
from protocol import Peer, main
from torch import nn

LINKS = {
    "normal": lambda x: x,
    "laplace": lambda x: x,
    "bernoulli": lambda x: x,
    "categorical": lambda x: x.softmax(-1),
}

# name here -> class there, and its settings where they are not those of manyview
MODELS = {
    "AE": ("AE", {}),
    "MCVAE": ("mcVAE", {"sparse": False}),
    "MVAE": ("mVAE", {"warmup": 0, "use_prior": True}),
    "MEMVAE": ("me_mVAE", {"warmup": 0, "use_prior": True}),
    "WeightedMVAE": ("weighted_mVAE", {"private": False}),
    "JMVAE": ("JMVAE", {"warmup": 0, "alpha": 0.1}),
    "MMVAE": ("mmVAE", {"K": 1}),
    "MMVAEPlus": ("mmVAEPlus", {"K": 1}),
    "MoPoEVAE": ("MoPoEVAE", {}),
    "MVTCAE": ("mvtCAE", {"alpha": 5 / 6}),
    "MMJSD": ("mmJSD", {"private": False}),
    "DMVAE": ("DMVAE", {"private": True}),
    "WeightedDMVAE": ("weighted_DMVAE", {"private": True}),
    "DVCCA": ("DVCCA", {"private": False, "sparse": False}),
}
PRIVATE = ("mmVAEPlus", "DMVAE", "weighted_DMVAE")
OTHERS = {"normal": "Default", "bernoulli": "ApproxBernoulli", "categorical": "Categorical", "laplace": "Laplace"}
SEVERAL_OPTIMIZERS = ("DMVAE", "weighted_DMVAE", "DVCCA")
LIKELIHOOD = ("mVAE", "me_mVAE", "JMVAE")  # those that have predict_nll


def mend(name: str, activation: str) -> list[str]:
    """Make 1.1.8, of the time of Lightning 1.5, train with Lightning 2; the mathematics stays as it is."""
    step, validation_loader = BaseModelAE.training_step, MultiviewDataModule.val_dataloader

    # Lightning 2 refuses a training_step that has the argument optimizer_idx.
    BaseModelAE.training_step = lambda self, batch, batch_idx: step(self, batch, batch_idx)
    # Lightning 2 refuses None for the loader of a model that has a validation_step.
    MultiviewDataModule.val_dataloader = lambda self: validation_loader(self) or []
    shims = [
        "training_step without optimizer_idx, which Lightning 2 refuses",
        "val_dataloader gives an empty list for None, which Lightning 2 refuses",
    ]
    if name in SEVERAL_OPTIMIZERS:
        # Lightning 2 no longer takes turns between several optimizers.
        cls = getattr(models, name)
        cls.training_step, cls.automatic_optimization = take_turns(step), False
        shims.append("several optimizers take turns, as they did in Lightning 1.5")
    if activation != "relu":
        # The networks have ReLU written into them, by way of this name.
        mlp.F = SimpleNamespace(relu=getattr(F, activation), one_hot=F.one_hot, dropout=F.dropout)
        shims.append(f"{activation} in place of relu, the only activation that the library has")
    return shims


def take_turns(step: Callable[..., torch.Tensor]) -> Callable[..., None]:
    """The loop over optimizers of Lightning 1.5: the loss anew for each, with the others' parameters frozen."""

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            loss = step(self, batch, batch_idx)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.untoggle_optimizer(optimizer)

    return training_step


class ImageEncoder(nn.Module):
    """Of a flat image; the mean and the log-variance, as the library's encoders return them."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, channels: list[int]) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Unflatten(1, shape), image_encoder(shape, 2 * z_dim, channels))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.net(x).chunk(2, -1)


class ImageDecoder(nn.Module):
    """To the distribution of a flat image, made as the library's decoders make theirs."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, channels: list[int], dec_dist: Any) -> None:
        super().__init__()
        self.net, self.dec_dist = image_decoder(z_dim, shape, channels[::-1]), dec_dist

    def forward(self, z: torch.Tensor) -> Any:
        x = self.net(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], -1)
        return hydra.utils.instantiate(self.dec_dist, x=x)


class MultiviewAe(Peer):
    library = "multiviewae"

    def build(self) -> None:
        task = self.task
        if task["model"] not in MODELS:
            raise NotImplementedError(f"no {task['model']} in multiviewae, or none to compare: {', '.join(MODELS)}")
        self.name = MODELS[task["model"]][0]
        self.h_dim = task.get("h_dim", 1) if self.name in PRIVATE else 0
        self.shims += mend(self.name, task["activation"])
        self.shims.append("no shuffling: the library takes the rows in their order in every epoch")
        if "categorical" in task["likelihoods"]:
            self.shims.append("the library reconstructs logits of categorical views: they went through a softmax")
        if self.name == "AE" and "normal" in task["likelihoods"]:
            self.shims.append("normal likelihoods are squared errors: the library has no others for AE")
        folder = Path(task["out"]).resolve().parent / self.library
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config(folder), folder / "config.yaml")
        shapes = [view.shape[1:] for view in self.train]
        self.train, self.test = ([view.reshape(len(view), -1) for view in part] for part in (self.train, self.test))
        dims = [view.shape[1] for view in self.train]
        cls, z_dim = getattr(models, self.name), task["z_dim"] + self.h_dim
        self.model = cls(cfg=str(folder / "config.yaml"), input_dim=dims, z_dim=z_dim)
        if "channels" in task:
            self._take_image_networks(shapes, z_dim)
        self.network = self.model

    def _take_image_networks(self, shapes: list[tuple[int, ...]], z_dim: int) -> None:
        """Its own convolutional networks end in a ReLU wherever there is a layer, be it nn.Flatten."""
        channels, model = self.task["channels"], self.model
        model.encoders = nn.ModuleList(ImageEncoder(shape, z_dim, channels) for shape in shapes)
        distributions = [decoder.dec_dist for decoder in model.decoders]
        pairs = zip(shapes, distributions, strict=True)
        model.decoders = nn.ModuleList(ImageDecoder(shape, z_dim, channels, dist) for shape, dist in pairs)
        self.shims.append("images are flat, for its losses know one axis of features; own networks restore their shape")

    def _config(self, folder: Path) -> dict[str, Any]:
        task, settings = self.task, dict(MODELS[self.task["model"]][1])
        if "alpha" in settings:
            settings["alpha"] = task.get("alpha", settings["alpha"])
        if self.name == "mmVAEPlus":
            settings |= {"u_dim": task["z_dim"], "w_dim": self.h_dim}
        elif self.h_dim:
            settings["s_dim"] = self.h_dim
        settings = {name: task[name] for name in ("beta", "learning_rate", "seed")} | settings | self.options()
        variational = "" if self.name == "AE" else "Variational"
        encoder = network(f"{variational}Encoder", task["encoder_hidden"])
        encoder["enc_dist"] = distribution("Normal" if variational else "Default")
        decoders = {}
        for m, likelihood in enumerate(task["likelihoods"]):
            normal = variational if likelihood == "normal" else ""
            # Its Bernoulli refuses grey values, and predicts by random draws.
            decoders[f"dec{m}"] = network(f"{normal}Decoder", task["decoder_hidden"]) | {
                "init_logvar": task.get("init_logvar", -3),
                "dec_dist": distribution("Normal" if normal else OTHERS[likelihood]),
            }
        return {
            "out_dir": str(folder),
            "model": settings,
            "datamodule": {"is_validate": False},
            "encoder": {"default": encoder, **{f"enc{m}": encoder for m in range(len(decoders))}},
            "decoder": decoders,
            "trainer": {
                "accelerator": "gpu" if task.get("device") == "cuda" else "cpu",
                "log_every_n_steps": 10**6,
                "enable_progress_bar": False,
            },
        }

    def fit(self) -> None:
        # Hooks of the class, for the library pickles the model and would pickle those of an object with it.
        cls, clock = type(self.model), self.epochs
        cls.on_train_epoch_start = lambda model: clock.start()
        cls.on_train_epoch_end = lambda model: clock.stop()
        self.model.fit(*self.train, max_epochs=self.task["epochs"], batch_size=self.task["batch_size"])

    def latents(self, views: list[np.ndarray]) -> np.ndarray:
        # One entry for all views, or one a view: the mean of these is that of the mixture.
        z = np.mean(self.model.predict_latents(*views, batch_size=self.task.get("inference_batch")), axis=0)
        return z[:, : self.task["z_dim"]] if self.name == "mmVAEPlus" else z[:, self.h_dim :]

    def reconstructions(self) -> list[np.ndarray]:
        # From one latent, or from that of each view: the mean of these.
        sources = self.model.predict_reconstruction(*self.test, batch_size=self.task.get("inference_batch"))
        means = [torch.from_numpy(np.mean(view, axis=0)) for view in zip(*sources, strict=True)]
        return [LINKS[name](mean).numpy() for name, mean in zip(self.task["likelihoods"], means, strict=True)]

    def log_likelihood(self, test: list[np.ndarray]) -> tuple[float, str] | None:
        if self.name not in LIKELIHOOD:
            self.shims.append(f"no log-likelihood: the library has one for {', '.join(LIKELIHOOD)} only")
            return None
        return -float(self.model.predict_nll(*test)), "predict_nll, whose K is always 1000"


def network(name: str, hidden: list[int]) -> dict[str, Any]:
    target = f"multiviewae.architectures.mlp.{name}"
    return {"_target_": target, "hidden_layer_dim": hidden, "bias": True, "non_linear": True}


def distribution(name: str) -> dict[str, str]:
    return {"_target_": f"multiviewae.base.distributions.{name}"}


if __name__ == "__main__":
    main(MultiviewAe)
