"""The models, under the names of their papers, and the names that the multi-view-AE library gives them."""

from manyview.models.adversarial import Adversarial
from manyview.models.ae import AE
from manyview.models.canonical import Canonical
from manyview.models.dcca import DCCA
from manyview.models.dccae import DCCAE
from manyview.models.deterministic import Deterministic
from manyview.models.dmvae import DMVAE
from manyview.models.dvcca import DVCCA
from manyview.models.gaussian import GaussianVariational
from manyview.models.jmvae import JMVAE
from manyview.models.maae import MAAE
from manyview.models.mcvae import MCVAE
from manyview.models.memvae import MEMVAE
from manyview.models.mixture import MixtureVariational
from manyview.models.mmjsd import MMJSD
from manyview.models.mmvae import MMVAE
from manyview.models.mmvae_plus import MMVAEPlus
from manyview.models.mopoe_vae import MoPoEVAE
from manyview.models.mvae import MVAE
from manyview.models.mvtcae import MVTCAE
from manyview.models.mwae import MWAE
from manyview.models.variational import Variational
from manyview.models.weighted_dmvae import WeightedDMVAE
from manyview.models.weighted_mvae import WeightedMVAE

mAAE = MAAE
mVAE = MVAE
mWAE = MWAE
mcVAE = MCVAE
me_mVAE = MEMVAE
mmJSD = MMJSD
mmVAE = MMVAE
mmVAEPlus = MMVAEPlus
mvtCAE = MVTCAE
weighted_DMVAE = WeightedDMVAE
weighted_mVAE = WeightedMVAE

MODELS = (
    AE, JMVAE, DCCA, DCCAE, DVCCA, MCVAE, MVAE, MEMVAE, WeightedMVAE, MMVAE, MVTCAE, MoPoEVAE, MMJSD, MMVAEPlus,
    DMVAE, WeightedDMVAE, MAAE, MWAE,
)  # fmt: skip
"""Every model."""

__all__ = [
    "AE",
    "DCCA",
    "DCCAE",
    "DMVAE",
    "DVCCA",
    "JMVAE",
    "MAAE",
    "MCVAE",
    "MEMVAE",
    "MMJSD",
    "MMVAE",
    "MODELS",
    "MVAE",
    "MVTCAE",
    "MWAE",
    "Adversarial",
    "Canonical",
    "Deterministic",
    "GaussianVariational",
    "MMVAEPlus",
    "MixtureVariational",
    "MoPoEVAE",
    "Variational",
    "WeightedDMVAE",
    "WeightedMVAE",
    "mAAE",
    "mVAE",
    "mWAE",
    "mcVAE",
    "me_mVAE",
    "mmJSD",
    "mmVAE",
    "mmVAEPlus",
    "mvtCAE",
    "weighted_DMVAE",
    "weighted_mVAE",
]  # fmt: skip
