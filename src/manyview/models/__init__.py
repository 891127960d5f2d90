"""The models, under the names of their papers, and the names that the multi-view-AE library gives them."""

from manyview.models.ae import AE
from manyview.models.mcvae import MCVAE
from manyview.models.memvae import MEMVAE
from manyview.models.mmvae import MMVAE
from manyview.models.mvae import MVAE
from manyview.models.variational import Variational
from manyview.models.weighted_mvae import WeightedMVAE

mcVAE = MCVAE
mVAE = MVAE
me_mVAE = MEMVAE
mmVAE = MMVAE
weighted_mVAE = WeightedMVAE

MODELS = (AE, MCVAE, MVAE, MEMVAE, WeightedMVAE, MMVAE)
"""Every model."""

__all__ = [
    "AE", "MCVAE", "MEMVAE", "MMVAE", "MODELS", "MVAE", "Variational", "WeightedMVAE",
    "mVAE", "mcVAE", "me_mVAE", "mmVAE", "weighted_mVAE",
]  # fmt: skip
