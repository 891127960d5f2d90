"""Deep variational canonical correlation analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast, final

from annotated_types import Gt
from torch import Tensor
from torch.distributions.kl import kl_divergence

from manyview.data.batch import Batch
from manyview.fusion import Fusion, Reference
from manyview.latent import Latent, map_parameters
from manyview.messages import closest
from manyview.models.gaussian import GaussianVariational
from manyview.network import Network
from manyview.objectives import Terms, beside, elbo

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

    Only the reference view r is needed to infer z, so z holds what the reference knows about all views. The paper has
    two views; here every view is generated from the one reference.

    To answer from other views, each has an encoder :math:`q(z \mid x_m)` that is trained beside the objective to follow
    :math:`q(z \mid x_r)`, by :math:`\mathrm{KL}(q(z \mid x_r) \Vert q(z \mid x_m))` with the reference's part held
    fixed: that changes neither the objective's value nor the gradient of any other network (with private latents, a
    view's encoder shares all but its last layer between the two). A sample without the reference view contributes the
    bound of what it has, with the mixture of its other views' encoders as the posterior of z.

    Choose it when one view is at hand at prediction and others only in training. Choose
    :class:`~manyview.models.MVAE` when several views are to count alike.

    Parameters
    ----------
    reference : str or int, default 0
        The view that z is inferred from, by name or position.
    private : bool, default False
        Whether each view has a private latent.
    h_dim : int, optional
        Number of dimensions of each private latent; ``z_dim`` when not given. The paper takes 30 for images of digits.
    sparse : bool, default False
        Whether dimensions of z are switched off by variational dropout: see :class:`~manyview.models.MCVAE`.
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
    >>> views = mv.datasets.make_multiview(n_samples=200, n_features=(10, 8), n_shared=2, random_state=0)
    >>> model = mv.DVCCA(z_dim=2, reference="view_1", max_epochs=5, random_state=0, verbose=False).fit(views)
    >>> model.transform(views, given=["view_1"]).shape
    (200, 2)
    """

    view_parameters = ("reference",)

    reference: str | int = 0
    private: bool = False
    h_dim: Annotated[int, Gt(0)] | None = None

    def latent(self) -> Latent:
        return self.normal_latent((self.h_dim or self.z_dim) if self.private else 0)

    def fusion(self, view_names: Sequence[str]) -> Fusion:
        if self.reference in view_names:
            return Reference(view_names.index(cast(str, self.reference)))
        if isinstance(self.reference, str) or not -len(view_names) <= self.reference < len(view_names):
            raise ValueError(f"reference={self.reference!r}: no such view{closest(self.reference, view_names)}")
        return Reference(self.reference % len(view_names))

    def objective(self, network: Network, batch: Batch, beta: float) -> Terms:
        q, q_h = network.encode(batch)
        fusion = cast(Reference, network.fusion)
        r, active = fusion.reference, None
        sources = map_parameters(q, lambda _, value: value[r : r + 1])
        if batch.present is not None:
            sources, active = q, fusion.active(batch.present).T
        z = sources.rsample()
        h = None if q_h is None else q_h.rsample((len(z),))
        weights = None if active is None else (active / active.sum(0).clamp(min=1)).unsqueeze(1)
        log_lik, kl = network.reconstruction(z, batch, h), network.latent.kl(sources)
        terms = elbo(log_lik, kl if weights is None else kl * weights.squeeze(1), beta=beta, weights=weights)
        value, parts = terms.value, terms.parts
        if q_h is not None:
            kl_h = network.private_latent.kl(q_h)
            parts = {**parts, "kl_private": (kl_h if batch.present is None else kl_h * batch.present.T).sum(0)}
            value = value - beta * parts["kl_private"]
        return Terms(beside(value, -self._distance(q, r, batch)), parts)

    def _distance(self, q: Any, r: int, batch: Batch) -> Tensor:
        """How far the other views' posteriors are from the reference's, which is held fixed."""
        others = [m for m in range(len(batch.x)) if m != r]
        if not others:
            return q.mean.new_zeros(len(batch))
        target = map_parameters(q, lambda _, value: value[r : r + 1].detach())
        # Sparse scales are those of the latent, which is not trained beside the objective.
        guess = map_parameters(
            q, lambda name, value: value[others].detach() if self.sparse and name == "scale" else value[others]
        )
        kl: Tensor = kl_divergence(target.expand(guess.batch_shape), guess)
        kl = kl if batch.present is None else kl * (batch.present[:, others] & batch.present[:, [r]]).T
        return kl.sum(0)
