"""Deep variational canonical correlation analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast, final

import torch
from annotated_types import Gt
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Independent
from torch.distributions.kl import kl_divergence

from manyview.data.batch import Batch
from manyview.fusion import Fusion, Reference
from manyview.latent import Latent, map_parameters
from manyview.messages import closest
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Scalar, Terms, beside, elbo

__all__ = ["DVCCA"]


@final
class DVCCA(GaussianVariational):
    r"""Deep variational CCA: one view's encoder infers the latent that generates all views.

    .. math:: q(z \mid X) = q(z \mid x_r), \qquad \mathcal L = \mathbb E_{q(z \mid x_r)} \Big[ \sum_{m=1}^M
        \log p(x_m \mid z) \Big] - \beta\, \mathrm{KL}\big(q(z \mid x_r) \,\Vert\, p(z)\big)

    and with ``private=True`` (VCCA-private), where each view has a latent h_m of its own,

    .. math:: \mathcal L = \mathbb E_{q(z \mid x_r) \prod_m q(h_m \mid x_m)} \Big[ \sum_{m=1}^M
        \log p(x_m \mid z, h_m) \Big] - \beta\, \mathrm{KL}\big(q(z \mid x_r) \,\Vert\, p(z)\big)
        - \beta \sum_{m=1}^M \mathrm{KL}\big(q(h_m \mid x_m) \,\Vert\, p(h_m)\big)

    Only the reference view r is needed to infer z, so z holds what the reference knows about all the views. The paper
    has two views; here every view is generated from the one reference. Its model with a reference on either side,
    bi-VCCA, is not here.

    To answer from other views, each has an encoder :math:`q(z \mid x_m)` that is trained beside the objective to follow
    the reference's, by :math:`\mathrm{KL}(q(z \mid x_r) \Vert q(z \mid x_m))` with the first held fixed: at best, its
    mean is the regression of the reference's mean on :math:`x_m`. That changes neither the objective's value nor the
    gradient of any other network. (With private latents, the one network that infers z and h_m learns from both.)

    Where views are missing, a sample without the reference contributes the bound of what it has, its z inferred from
    one of its other views, drawn anew each time. After training, z is inferred from the reference where it is given,
    and from the mixture of the others elsewhere.

    With ``private=True``, only economy keeps what is the reference's own out of z, for z and :math:`h_r` come from the
    same view: what is shared costs one divergence in z, but one for each view in the private latents; what is private
    costs the same in either. Choose ``z_dim`` no larger than what is shared, or private factors of the reference show
    in the dimensions to spare; and ``h_dim`` no larger than what each view has to itself, or shared factors show in h.

    **Choose it** when one view is at hand at prediction and others only in training. Choose
    :class:`~manyview.models.MVAE` when several views are to count alike, and :class:`~manyview.models.DMVAE` to tell
    shared from private when no view is the reference.

    **What goes wrong:** What the reference does not know cannot be in z, so that the other views are reconstructed as
    far as they can be predicted, and no further: choose as reference the view that is at hand later, not the easiest
    one. With ``private=True`` and dimensions to spare, shared and private factors trade places (see above); compare
    what ``predict`` says of one view from the other with what it reconstructs.

    Parameters
    ----------
    reference : str or int, default 0
        The view r that z is inferred from, by name or position.
    private : bool, default False
        Whether each view has a latent of its own.
    h_dim : int, optional
        Number of dimensions of each private latent, with ``private=True``; ``z_dim`` when not given. The paper takes 30
        for images of digits.
    sparse : bool, default False
        Whether dimensions of z are switched off by variational dropout: see :class:`~manyview.models.MCVAE`. The scale
        of a sparse posterior follows from its mean, so the other encoders learn the reference's mean by least squares.
    threshold : float, default 0.2
        The dropout rate above which a dimension is switched off; used when sparse.
    beta : float, default 1.0
        Weight of the divergences.
    beta_warmup : int, default 0
        Epochs over which β grows linearly from 0.
    **parameters
        Those that all models share: see :class:`~manyview.estimator.Estimator`.

    References
    ----------
    W. Wang, X. Yan, H. Lee, K. Livescu, "Deep variational canonical correlation analysis", 2016.
    https://arxiv.org/abs/1610.03454

    Examples
    --------
    >>> import manyview as mv
    >>> views = mv.datasets.make_multiview(n_samples=300, n_features=(10, 8), n_shared=2, random_state=0)
    >>> train, test = views[:200], views[200:]
    >>> model = mv.DVCCA(z_dim=2, reference="view_0", max_epochs=30, random_state=0, verbose=False)
    >>> _ = model.fit(train)  # with both views
    >>> error = mv.metrics.reconstruction_error(model, test, given="view_0", target="view_1")  # with one
    >>> bool(error.by_view["r2"].item() > 0.3)
    True
    >>> z = model.transform({"view_0": test["view_0"]})  # nobody has measured view 1
    >>> z.shape
    (100, 2)
    """

    view_parameters = ("reference",)

    reference: str | int = 0
    private: bool = False
    h_dim: Annotated[int, Gt(0)] | None = None

    def latent(self) -> Latent:
        return self.normal_latent((self.h_dim or self.z_dim) if self.private else 0)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        n_views = len(view_names)
        positions: dict[str | int, int] = {m: m % n_views for m in range(-n_views, n_views)}
        positions |= {name: m for m, name in enumerate(view_names)}
        if self.reference not in positions:
            raise ValueError(
                f"reference={self.reference!r}: there is no such view{closest(self.reference, view_names)}"
            )
        return Reference(positions[self.reference])

    def objective(self, network: Network, batch: Batch, beta: Scalar) -> Terms:
        experts, q_h = network.encode(batch)
        fusion, present = cast(Reference, network.fusion), batch.mask
        source, rows = fusion.draw(present).unsqueeze(0), torch.arange(len(batch), device=present.device)
        q = map_parameters(experts, lambda _, value: value[source, rows])
        kl, h = network.latent.kl(q), None
        if q_h is not None:
            kl = kl + network.private_latent.kl(network.only(q_h, present.T)).sum(0)
            h = q_h.rsample((1,))
        log_lik = network.reconstruction(q.rsample(), batch, h)
        terms = elbo(log_lik, kl, beta=beta, active=present.any(1).unsqueeze(0))
        return Terms(beside(terms.value, -self._distance(experts, fusion.reference, present)), terms.parts)

    def _distance(self, experts: Independent[Any], r: int, present: Bool[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """How far the other views' posteriors are from the reference's, which is held fixed, where both are there."""
        if self.sparse:
            experts = map_parameters(experts, lambda name, x: torch.ones_like(x) if name == "scale" else x)
        fixed = map_parameters(experts, lambda _, value: value[r].detach().expand_as(value))
        others = present & present[:, r, None]
        others[:, r] = False
        kl: Tensor = kl_divergence(fixed, experts) * others.T
        return kl.sum(0)
