r"""Canonical correlation analysis: what DCCA maximises, and the linear CCA fitted on its codes after training.

A pair of views has codes x and y, (B, Z), with regularised covariances :math:`\hat S_{xx} = S_{xx} + r I` and
:math:`T = \hat S_{xx}^{-1/2} S_{xy} \hat S_{yy}^{-1/2} = U D V^\top`. The canonical correlations are the diagonal of D,
and their directions the columns of :math:`\hat S_{xx}^{-1/2} U` and :math:`\hat S_{yy}^{-1/2} V`.
"""

from __future__ import annotations

from itertools import combinations
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["LinearCCA", "canonical_correlations", "total_correlation"]

_MAX_SWEEPS = 1000  # a bound, not a setting: the ascent stops when nothing is gained


def _centred(x: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
    """Less its mean, in single precision at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x.sub(x.sum(0) / max(len(x), 1))


def _whitening(S: Float[Tensor, "*M Z Z"], regularisation: float) -> Float[Tensor, "*M Z Z"]:
    """The symmetric (S + r I)^{-1/2}; directions whose variance is lost in rounding are left out."""
    if not regularisation >= 0:
        raise ValueError(f"regularisation must be 0 or more, but is {regularisation!r}; 1e-4 suits codes of scale 1")
    eigenvalues, Q = torch.linalg.eigh(S + regularisation * torch.eye(S.shape[-1], dtype=S.dtype, device=S.device))
    floor = torch.finfo(S.dtype).eps * S.shape[-1] * eigenvalues[..., -1:]
    scales = torch.where(eigenvalues > floor, eigenvalues.rsqrt(), 0.0)
    W: Tensor = (Q * scales.unsqueeze(-2)) @ Q.mT
    return W


@torch.no_grad()
def _directions(
    x: Float[Tensor, "B Z"], y: Float[Tensor, "B Z"], regularisation: float
) -> tuple[Float[Tensor, "Z Z"], Float[Tensor, "Z Z"]]:
    """The canonical directions of centred codes, as columns; zeros for those whose correlation is lost in rounding."""
    n = max(len(x) - 1, 1)
    S_xx, S_yy, S_xy = x.T @ x / n, y.T @ y / n, x.T @ y / n
    if not (S_xx.isfinite().all() and S_yy.isfinite().all()):
        return torch.full_like(S_xx, torch.nan), torch.full_like(S_yy, torch.nan)  # for training to report
    W_x, W_y = _whitening(S_xx, regularisation), _whitening(S_yy, regularisation)
    U, rho, Vh = torch.linalg.svd(W_x @ S_xy @ W_y)
    a, b = W_x @ U, W_y @ Vh.T
    rounding = torch.finfo(x.dtype).eps * a.norm(dim=0) * b.norm(dim=0) * (S_xx.trace() * S_yy.trace()).sqrt()
    return a * (rho > rounding), b * (rho > rounding)


def canonical_correlations(
    x: Float[Tensor, "B Z"],
    y: Float[Tensor, "B Z"],
    regularisation: float,
    rows: Bool[Tensor, " B"] | None = None,
) -> Float[Tensor, " Z"]:
    r"""The canonical correlations of two codes: the singular values of T, with covariances divided by n - 1.

    .. math:: \rho_i = \max_{a, b} \frac{a^\top S_{xy} b}{\sqrt{a^\top (S_{xx} + r I)\, a \; b^\top (S_{yy} + r I)\, b}}
        \quad \text{with } a \perp a_j,\; b \perp b_j,\; j < i, \text{ in these covariances}

    Parameters
    ----------
    x, y : Tensor
        The codes of the two views, (B, Z) each.
    regularisation : float
        The r that is added to the variances, in squared units of the codes; 0 or more.
    rows : Tensor, optional
        Which rows count, (B,); all when not given. The others may hold anything.

    Returns
    -------
    Tensor
        (Z,), from 0 to 1, descending; in the dtype of the codes, or single precision for half. All are 0 with fewer
        than two rows, and NaN if the covariances are not finite.

    Raises
    ------
    ValueError
        If the regularisation is negative.

    Notes
    -----
    The directions come from `eigh` and a singular value decomposition, neither of which is differentiated. At the
    maximum a correlation does not change with its directions to first order, so the gradient of the quotient with
    the directions held fixed is the gradient of :math:`\rho_i`,

    .. math:: \mathrm d\rho_i = a_i^\top \mathrm dS_{xy}\, b_i
        - \tfrac12 \rho_i \big( a_i^\top \mathrm dS_{xx}\, a_i + b_i^\top \mathrm dS_{yy}\, b_i \big),

    which summed over i is equations 11 to 13 of Andrew et al. It has no differences of eigenvalues or of correlations
    in a denominator. Where some correlations coincide, their sum has a gradient but each alone has not. Where one is
    zero up to rounding it has a kink, as ``|t|`` has at zero, and its gradient is taken to be zero. Derivatives higher
    than the first are not provided.

    References
    ----------
    G. Andrew, R. Arora, J. Bilmes, K. Livescu, "Deep canonical correlation analysis", ICML 2013, equations 10 to 13.
    https://proceedings.mlr.press/v28/andrew13.html

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> y = torch.tensor([[1.0, 3.0], [1.0, -3.0], [-1.0, 0.0], [-1.0, 0.0]])
    >>> canonical_correlations(x, y, 0.0)
    tensor([1., 0.])
    """
    if rows is not None:
        x, y = x[rows], y[rows]
    n = max(len(x) - 1, 1)
    with torch.autocast(x.device.type, enabled=False):  # there is no `eigh` in half precision
        x, y = _centred(x), _centred(y)
        a, b = _directions(x, y, regularisation)
        u, v = x @ a, y @ b
        variances = (u.square().sum(0) / n + regularisation * a.square().sum(0)) * (
            v.square().sum(0) / n + regularisation * b.square().sum(0)
        )
        # The variances are 1, unless a direction was left out or is nothing but rounding.
        quotients: Tensor = (u * v).sum(0) / n * torch.where(variances > 0.5, variances, torch.inf).rsqrt()
    return quotients.sort(descending=True).values


def total_correlation(
    codes: Float[Tensor, "M B Z"], present: Bool[Tensor, "B M"] | None, regularisation: float
) -> Float[Tensor, ""]:
    r"""The sum of all canonical correlations of all pairs of views: the objective of deep CCA.

    .. math:: \sum_{m < n} \lVert T_{mn} \rVert_* = \sum_{m < n} \sum_{i=1}^Z \rho_i(z_m, z_n)

    With two views it is the objective of Andrew et al. Each pair is computed on the rows that have both views, and
    contributes nothing where those are fewer than two.

    Parameters
    ----------
    codes : Tensor
        The codes of each view, (M, B, Z).
    present : Tensor or None
        Which views each row has, (B, M); None when it has them all. Codes of absent views may hold anything.
    regularisation : float
        The r that is added to the variances, in squared units of the codes; 0 or more.

    Returns
    -------
    Tensor
        A scalar from 0 to Z M (M - 1) / 2.

    Raises
    ------
    ValueError
        If the regularisation is negative.

    See Also
    --------
    canonical_correlations : Their gradient, and what is not differentiable.

    References
    ----------
    G. Andrew, R. Arora, J. Bilmes, K. Livescu, "Deep canonical correlation analysis", ICML 2013.
    https://proceedings.mlr.press/v28/andrew13.html

    W. Wang, R. Arora, K. Livescu, J. Bilmes, "On deep multi-view representation learning", ICML 2015.
    https://arxiv.org/abs/1602.01024

    Examples
    --------
    Three views, the same but for a rotation, have three pairs of two perfect correlations.

    >>> import torch
    >>> z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(total_correlation(torch.stack([z, z.flip(1), -z]), None, 0.0).item(), 4)
    6.0
    """
    total = codes.new_zeros(())
    for m, n in combinations(range(len(codes)), 2):
        rows = None if present is None else present[:, m] & present[:, n]
        total = total + canonical_correlations(codes[m], codes[n], regularisation, rows).sum()
    return total


def _nearest_orthogonal(A: Float[Tensor, "*M Z Z"]) -> Float[Tensor, "*M Z Z"]:
    """The orthogonal Q with the largest tr(A^T Q)."""
    U, _, Vh = torch.linalg.svd(A)
    Q: Tensor = U @ Vh
    return Q


def _align(T: Float[Tensor, "M M Z Z"]) -> tuple[Float[Tensor, "M Z Z"], Float[Tensor, "Z Z"]]:
    """Rotations Q_m with a large sum over pairs of tr(Q_m^T T_mn Q_n), and that sum's matrices, both orders of a pair.

    T_mm must be zero. Each rotation in turn is the best for the others, so that the sum only grows; it starts at the
    leading eigenvectors of T (MAXVAR), and for two views the first step is exact.
    """
    n_views, z_dim = T.shape[0], T.shape[-1]
    blocks = T.transpose(1, 2).reshape(n_views * z_dim, n_views * z_dim)
    Q = _nearest_orthogonal(torch.linalg.eigh(blocks).eigenvectors[:, -z_dim:].reshape(n_views, z_dim, z_dim))
    total, previous = torch.zeros_like(T[0, 0]), -torch.inf
    for _ in range(_MAX_SWEEPS):
        for m in range(n_views):
            Q[m] = _nearest_orthogonal((T[m] @ Q).sum(0))
        total = torch.einsum("mij,mnik,nkl->jl", Q, T, Q)
        value = total.trace().item()
        if value <= previous * (1 + torch.finfo(T.dtype).eps):
            break
        previous = value
    return Q, total


@final
class LinearCCA(nn.Module):
    r"""Linear CCA of two or more views of Z dimensions each, fitted on codes after training.

    .. math:: \max_{W_1, \dots, W_M} \sum_{m < n} \operatorname{tr}(W_m^\top S_{mn} W_n)
        \quad \text{such that } W_m^\top (S_{mm} + r I)\, W_m = I

    For two views this is classical CCA, with the weights :math:`W_1 = \hat S_{11}^{-1/2} U` and
    :math:`W_2 = \hat S_{22}^{-1/2} V`. For more it is the sum of correlations (SUMCOR of Kettenring), all dimensions at
    once (Maxdiff of ten Berge): the sum of :func:`total_correlation`, for which each view must now make do with one
    rotation in all its pairs. :math:`W_m = \hat S_{mm}^{-1/2} Q_m`, and the orthogonal :math:`Q_m` are found by an
    ascent from the solution of MAXVAR, each in turn the best for the others, to what may be a local maximum where the
    correlations are weak. What is left free, a rotation that all views share, makes the mean cross-correlation of the
    pairs diagonal and descending. A column's sign makes its largest weight in the first view positive.

    Until it is fitted, the projection is the identity.

    Parameters
    ----------
    n_views : int
        Number of views M, two or more.
    z_dim : int
        Number of latent dimensions Z.

    Attributes
    ----------
    loc : Tensor
        The means of the codes, (M, Z).
    weights : Tensor
        The weights W, (M, Z, Z), a column for each canonical dimension.
    correlations : Tensor
        The mean over the pairs of views of each dimension's correlation, (Z,), descending.

    Raises
    ------
    ValueError
        If there are fewer than two views.

    References
    ----------
    J. R. Kettenring, "Canonical analysis of several sets of variables", Biometrika 58(3), 1971.
    https://doi.org/10.1093/biomet/58.3.433

    J. M. F. ten Berge, "Generalized approaches to the Maxbet problem and the Maxdiff problem, with applications to
    canonical correlations", Psychometrika 53(4), 1988.

    W. Wang, R. Arora, K. Livescu, J. Bilmes, "On deep multi-view representation learning", ICML 2015.
    https://arxiv.org/abs/1602.01024

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    >>> codes = torch.stack([z, 5 - 3 * z])
    >>> cca = LinearCCA(n_views=2, z_dim=2).fit_(codes, None, 0.0)
    >>> projected = cca.project(codes)
    >>> bool(torch.allclose(projected[0], projected[1], atol=1e-5))
    True
    >>> bool(torch.allclose(cca.unproject(projected[0], 1), codes[1], atol=1e-5))
    True
    """

    loc: Tensor
    weights: Tensor
    correlations: Tensor

    def __init__(self, n_views: int, z_dim: int) -> None:
        super().__init__()
        if n_views < 2:
            raise ValueError(f"n_views={n_views!r}: correlations need two views or more")
        self.register_buffer("loc", torch.zeros(n_views, z_dim))
        self.register_buffer("weights", torch.eye(z_dim).repeat(n_views, 1, 1))
        self.register_buffer("correlations", torch.zeros(z_dim))

    @torch.no_grad()
    def fit_(
        self, codes: Float[Tensor, "M B Z"], present: Bool[Tensor, "B M"] | None, regularisation: float
    ) -> LinearCCA:
        r"""Fit the weights, in place.

        A view's mean and covariance are those of all its rows; a pair's cross-covariance is that of the rows they
        share, from the same means. Absent codes are in none of them.

        Parameters
        ----------
        codes : Tensor
            The codes of each view, (M, B, Z).
        present : Tensor or None
            Which views each row has, (B, M); None when it has them all. Codes of absent views may hold anything.
        regularisation : float
            The r that is added to the variances, in squared units of the codes; 0 or more.

        Returns
        -------
        LinearCCA
            Itself.

        Raises
        ------
        ValueError
            If a view shares fewer than two rows with every other view, if a code is not finite, or if the
            regularisation is negative.
        """
        n_views, n_rows, _ = codes.shape
        here = codes.new_ones(n_views, n_rows) if present is None else present.T.to(codes)
        shared = here @ here.T
        pairs = (shared >= 2) & ~torch.eye(n_views, dtype=torch.bool, device=codes.device)
        if not pairs.any(1).all():
            m = int(pairs.any(1).int().argmin())
            raise ValueError(
                f"present: view {m} shares fewer than two rows with every other view, so that nothing can be "
                "correlated; give more rows that have it and another view, or leave it out"
            )
        codes = torch.where(here.bool().unsqueeze(-1), codes, 0.0)
        if not codes.isfinite().all():
            raise ValueError("codes must be finite, but some are NaN or infinite; did training diverge?")

        loc = codes.sum(1) / here.sum(1, keepdim=True)
        centred = (codes - loc.unsqueeze(1)) * here.unsqueeze(-1)
        S = torch.einsum("mbi,nbj->mnij", centred, centred) / (shared - 1).clamp(min=1)[..., None, None]
        W = _whitening(S.diagonal().movedim(-1, 0), regularisation)
        T = W.unsqueeze(1) @ S @ W.unsqueeze(0) * pairs[..., None, None]

        Q, total = _align(T)
        correlations, rotation = torch.linalg.eigh((total + total.T) / (2 * pairs.sum()))
        weights = W @ Q @ rotation.flip(1)
        largest = weights[0].gather(0, weights[0].abs().argmax(0, keepdim=True))
        self.loc.copy_(loc)
        self.weights.copy_(weights * torch.where(largest < 0, -1.0, 1.0))
        # Estimates from different rows need not agree: with views missing, one may exceed 1 by chance.
        self.correlations.copy_(correlations.flip(0).clamp(0, 1))
        return self

    def project(self, codes: Float[Tensor, "M B Z"]) -> Float[Tensor, "M B Z"]:
        """The canonical codes (codes - loc) W of each view, (M, B, Z).

        On the rows they were fitted on, they have mean 0, variance 1 (with the regularisation's part), and no
        correlations but between the same dimension of two views.
        """
        return (codes - self.loc.unsqueeze(1)) @ self.weights

    def unproject(self, z: Float[Tensor, "*L Z"], m: int) -> Float[Tensor, "*L Z"]:
        """The code of view m whose projection is z: z W⁺ + loc, with the pseudo-inverse where directions are lost.

        Parameters
        ----------
        z : Tensor
            Canonical codes, (..., Z).
        m : int
            The view's number.
        """
        inverse: Tensor = torch.linalg.pinv(self.weights[m])
        return z @ inverse + self.loc[m]
