"""Canonical correlations, equations 10 to 13 of Andrew et al. (2013), and linear CCA, against closed forms.

The oracles whiten with Cholesky factors in numpy, where the library takes symmetric roots in torch: canonical
correlations do not depend on which root it is.
"""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.linalg import cholesky, solve_triangular, sqrtm
from sklearn.cross_decomposition import CCA

from manyview.cca import LinearCCA, canonical_correlations, total_correlation

from .helpers import double

Z = 3


def covariances(x, y, r=0.0):
    """S_xx + r I, S_yy + r I and S_xy, divided by n - 1."""
    ridge = r * np.eye(x.shape[1])
    joint = np.cov(x.T, y.T)
    half = x.shape[1]
    return joint[:half, :half] + ridge, joint[half:, half:] + ridge, joint[:half, half:]


def correlations(x, y, r=0.0):
    """The canonical correlations of numpy arrays."""
    S_xx, S_yy, S_xy = covariances(x, y, r)
    half = solve_triangular(cholesky(S_xx, lower=True), S_xy, lower=True)
    return np.linalg.svd(solve_triangular(cholesky(S_yy, lower=True), half.T, lower=True), compute_uv=False)


def correlated(n_rows, n_views=2, seed=0, z_dim=Z):
    """Codes of views that share a part of each dimension, mixed, scaled and shifted: (M, B, Z)."""
    rng = np.random.RandomState(seed)
    shared = rng.normal(size=(n_rows, z_dim))
    views = [shared + np.linspace(0.3, 2, z_dim) * rng.normal(size=shared.shape) for _ in range(n_views)]
    return np.stack([view @ rng.normal(size=(z_dim, z_dim)) + rng.normal(size=z_dim) for view in views])


def orthonormal(n_rows, n_columns, seed=0):
    """Columns of mean 0 and covariance I."""
    x = np.random.RandomState(seed).normal(size=(n_rows, n_columns))
    return np.linalg.qr(x - x.mean(0))[0] * np.sqrt(n_rows - 1)


def value_and_gradient(codes, present, r):
    codes = codes.clone().requires_grad_()
    value = total_correlation(codes, present, r)
    value.backward()
    return value.detach(), codes.grad


def degenerate(kind):
    """Two views whose covariances or correlations are special: (2, 8, 3)."""
    codes = correlated(8)
    basis = orthonormal(8, 2 * Z)
    match kind:
        case "duplicated":
            codes[0, :, 1] = codes[0, :, 0]
        case "duplicated in both":
            codes[:, :, 1] = codes[:, :, 0]
        case "constant":
            codes[0, :, 2] = 4.0
        case "constant in both":
            codes[:, :, 2] = 4.0
        case "equal variances":
            codes[0] = basis[:, :Z]
        case "equal correlations":
            codes = np.stack([basis[:, :Z], 0.6 * basis[:, :Z] + 0.8 * basis[:, Z:]])
        case "nearly equal":
            codes = np.stack([basis[:, :Z], 0.6 * basis[:, :Z] + 0.8 * basis[:, Z:]])
            codes *= 1 + 1e-9 * np.arange(Z)
        case "one view":
            codes[1] = codes[0]
        case "few rows":
            codes = codes[:, :3]
    return double(codes)


KINDS = [
    "generic", "duplicated", "duplicated in both", "constant", "constant in both", "equal variances",
    "equal correlations", "nearly equal", "one view", "few rows",
]  # fmt: skip


# ---- the correlations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("r", [0.0, 1e-4, 0.5])
@pytest.mark.parametrize("n_rows", [7, 400])
def test_they_are_the_singular_values_of_the_whitened_cross_covariance(n_rows, r, dtype):
    x, y = correlated(n_rows)
    rho = canonical_correlations(double(x).to(dtype), double(y).to(dtype), r)
    assert rho.dtype == dtype
    np.testing.assert_allclose(rho, correlations(x, y, r), rtol=1e-10 if dtype == torch.float64 else 1e-4)
    assert (rho.diff() <= 0).all()


def test_they_are_those_of_scikit_learn():
    x, y = correlated(500)
    u, v = CCA(n_components=Z, scale=False, max_iter=5000, tol=1e-10).fit_transform(x, y)
    expected = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(Z)]
    np.testing.assert_allclose(canonical_correlations(double(x), double(y), 0.0), expected, rtol=0.01)


def test_they_approach_those_of_the_population():
    rng = np.random.RandomState(0)
    rho, n_rows = np.array([0.9, 0.5, 0.1]), 200_000
    x = rng.normal(size=(n_rows, Z))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=x.shape)
    found = canonical_correlations(double(x @ rng.normal(size=(Z, Z))), double(y @ rng.normal(size=(Z, Z))), 0.0)
    assert (abs(found.numpy() - rho) < 4 * (1 - rho**2) / np.sqrt(n_rows)).all()


def test_they_do_not_change_with_invertible_maps():
    x, y = correlated(50)
    rng = np.random.RandomState(1)
    mapped = x @ rng.normal(size=(Z, Z)) - 7, 100 * y @ rng.normal(size=(Z, Z))
    expected = canonical_correlations(double(x), double(y), 1e-12)
    np.testing.assert_allclose(canonical_correlations(*map(double, mapped), 1e-12), expected, rtol=1e-8)


@pytest.mark.parametrize("r", [0.0, 1e-12, 0.3])
def test_a_view_with_itself_has_lambda_over_lambda_plus_r(r):
    x = correlated(50)[0]
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    rho = canonical_correlations(double(x), double(x), r)
    np.testing.assert_allclose(rho, eigenvalues / (eigenvalues + r), rtol=1e-9)


# ---- the objective ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_the_objective_is_the_sum_over_pairs_of_views(missing):
    codes = correlated(40, n_views=3)
    present = np.random.RandomState(1).uniform(size=(40, 3)) > (0.3 if missing else 0)
    expected = 0.0
    for m, n in combinations(range(3), 2):
        both = present[:, m] & present[:, n]
        expected += correlations(codes[m, both], codes[n, both], 0.1).sum()
    value = total_correlation(double(codes), torch.from_numpy(present) if missing else None, 0.1)
    np.testing.assert_allclose(value, expected, rtol=1e-10)


@pytest.mark.parametrize("filler", [0.0, 1e6, torch.nan])
def test_absent_codes_change_neither_value_nor_gradient(filler):
    codes = double(correlated(30))
    present = torch.ones(30, 2, dtype=torch.bool)
    present[:5, 0] = present[3:9, 1] = False
    both = present.all(1)
    value, gradient = value_and_gradient(codes.masked_fill(~present.T.unsqueeze(-1), filler), present, 1e-3)
    expected, expected_gradient = value_and_gradient(codes[:, both], None, 1e-3)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient[:, both], expected_gradient, rtol=1e-12, atol=0)
    assert (gradient[:, ~both] == 0).all()


@pytest.mark.parametrize("shared", [0, 1])
@pytest.mark.parametrize("r", [0.0, 1e-4])
def test_a_pair_with_fewer_than_two_common_rows_contributes_nothing(shared, r):
    codes = double(correlated(20, n_views=3))
    present = torch.ones(20, 3, dtype=torch.bool)
    present[: 10 - shared, 0] = present[10:, 1] = False
    value, gradient = value_and_gradient(codes, present, r)
    others = [correlations(codes[m, present[:, m]].numpy(), codes[2, present[:, m]].numpy(), r) for m in (0, 1)]
    np.testing.assert_allclose(value, np.sum(others), rtol=1e-8)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("r", [0.0, 1e-8, 1e-4, 1.0])
@pytest.mark.parametrize("kind", [*KINDS, "no rows", "one row", "zero"])
def test_value_and_gradient_are_finite_for_any_codes(kind, r, dtype):
    codes = degenerate(kind).to(dtype)
    codes = {"no rows": codes[:, :0], "one row": codes[:, :1], "zero": 0 * codes}.get(kind, codes)
    value, gradient = value_and_gradient(codes, None, r)
    assert 0 <= value <= Z * (1 + 1e-6)
    assert gradient.isfinite().all()
    if kind in ("no rows", "one row", "zero"):
        assert value == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_codes_of_low_rank_have_as_many_correlations_as_ranks(seed):
    """With fewer rows than dimensions, n centred rows span n - 1 directions, and any view explains all of them."""
    rng = np.random.RandomState(seed)
    z_dim = rng.randint(4, 12)
    codes = torch.from_numpy(rng.normal(size=(2, rng.randint(2, z_dim), z_dim))).float()
    value, gradient = value_and_gradient(codes, None, 0.0)
    np.testing.assert_allclose(value, codes.shape[1] - 1, rtol=1e-4)
    assert gradient.abs().max() < 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_correlations_are_in_order_too(dtype):
    basis = orthonormal(500, 40)
    x, y = basis[:, :20], 0.6 * basis[:, :20] + 0.8 * basis[:, 20:]
    rho = canonical_correlations(double(x).to(dtype), double(y).to(dtype), 0.0)
    assert (rho.diff() <= 0).all()
    np.testing.assert_allclose(rho, 0.6, rtol=1e-5)


def test_codes_that_are_not_finite_give_nan_for_training_to_report():
    codes = double(correlated(20))
    codes[0, 3, 1] = torch.inf
    value, _ = value_and_gradient(codes, None, 1e-4)
    assert value.isnan()


def test_half_precision_is_computed_in_single():
    codes = torch.from_numpy(correlated(50)).bfloat16()
    expected = total_correlation(codes.float(), None, 1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(total_correlation(codes, None, 1e-3), expected)
        assert torch.equal(total_correlation(codes.float(), None, 1e-3), expected)


# ---- its gradient ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [1e-3, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_finite_differences(kind, r):
    """At a kink, where a correlation is zero, central differences give the mean of the two slopes: zero."""
    codes = degenerate(kind).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: total_correlation(z, None, r), codes, eps=1e-6, atol=1e-4, rtol=1e-4)


def test_gradient_of_three_views_with_gaps_is_that_of_finite_differences():
    codes = double(correlated(8, n_views=3)).requires_grad_()
    present = torch.from_numpy(np.random.RandomState(0).uniform(size=(8, 3)) > 0.1)
    assert torch.autograd.gradcheck(lambda z: total_correlation(z, present, 0.01), codes)


def test_gradient_of_each_correlation_is_that_of_finite_differences():
    x, y = double(correlated(8)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: canonical_correlations(x, y, 0.01), (x, y))


def test_gradient_is_equations_11_to_13():
    x, y = correlated(40)
    r, n = 0.05, 39
    S_xx, S_yy, S_xy = covariances(x, y, r)
    root_x, root_y = np.linalg.inv(sqrtm(S_xx)), np.linalg.inv(sqrtm(S_yy))
    U, D, Vh = np.linalg.svd(root_x @ S_xy @ root_y)
    nabla_12 = root_x @ U @ Vh @ root_y
    nabla_11 = -0.5 * root_x @ U @ np.diag(D) @ U.T @ root_x
    expected = ((y - y.mean(0)) @ nabla_12.T + 2 * (x - x.mean(0)) @ nabla_11) / n
    _, gradient = value_and_gradient(double([x, y]), None, r)
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-8, atol=1e-12)


def test_gradient_in_single_precision_is_that_in_double():
    codes = double(correlated(200))
    _, expected = value_and_gradient(codes, None, 1e-4)
    _, gradient = value_and_gradient(codes.float(), None, 1e-4)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_linear_networks_that_ascend_it_reach_the_leading_correlations():
    x, y = (double(view) for view in correlated(100, z_dim=4))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(4, 2, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2)]
    optimiser = torch.optim.LBFGS(weights, max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = -total_correlation(torch.stack([x @ weights[0], y @ weights[1]]), None, 1e-8)
        value.backward()
        return value

    optimiser.step(loss)
    np.testing.assert_allclose(-loss().item(), correlations(x.numpy(), y.numpy())[:2].sum(), rtol=1e-4)


# ---- linear CCA ------------------------------------------------------------------------------------------------------


def fitted(codes, present=None, r=0.0):
    codes = double(codes)
    return LinearCCA(len(codes), codes.shape[-1]).double().fit_(codes, present, r)


def cross_covariances(cca, codes):
    """The covariances of all projected dimensions of all views, (M, M, Z, Z)."""
    projected = cca.project(double(codes)).numpy()
    n_views, n_rows, z_dim = projected.shape
    joint = np.cov(projected.transpose(0, 2, 1).reshape(n_views * z_dim, n_rows))
    return joint.reshape(n_views, z_dim, n_views, z_dim).transpose(0, 2, 1, 3)


def off_diagonal_sum(blocks):
    return blocks.sum((0, 1)) - np.trace(blocks)


def test_before_it_is_fitted_it_does_nothing():
    codes = torch.randn(3, 5, Z)
    cca = LinearCCA(3, Z)
    assert torch.equal(cca.project(codes), codes)
    torch.testing.assert_close(cca.unproject(codes[1], 1), codes[1])


def test_what_it_fitted_is_saved_and_loaded():
    cca = fitted(correlated(50))
    copy = LinearCCA(2, Z).double()
    copy.load_state_dict(cca.state_dict())
    assert set(cca.state_dict()) == {"loc", "weights", "correlations"}
    for name, value in cca.state_dict().items():
        assert torch.equal(copy.get_buffer(name), value)


@pytest.mark.parametrize("r", [0.0, 0.1])
def test_two_views_get_the_classical_solution(r):
    x, y = codes = correlated(100)
    S_xx, S_yy, S_xy = covariances(x, y, r)
    root_x, root_y = np.linalg.inv(sqrtm(S_xx)), np.linalg.inv(sqrtm(S_yy))
    U, D, Vh = np.linalg.svd(root_x @ S_xy @ root_y)
    cca = fitted(codes, r=r)
    for weights, expected in zip(cca.weights.numpy(), (root_x @ U, root_y @ Vh.T), strict=True):
        signs = np.sign((weights * expected).sum(0))
        np.testing.assert_allclose(weights, signs * expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(cca.loc, codes.mean(1), rtol=1e-12)
    np.testing.assert_allclose(cca.correlations, D, rtol=1e-9)


def test_projections_of_two_views_are_white_and_correlated_dimension_by_dimension():
    codes = correlated(100)
    cca = fitted(codes)
    blocks = cross_covariances(cca, codes)
    np.testing.assert_allclose(cca.project(double(codes)).mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(blocks[[0, 1], [0, 1]], [np.eye(Z)] * 2, atol=1e-9)
    np.testing.assert_allclose(blocks[0, 1], np.diag(correlations(*codes)), atol=1e-9)


def test_projections_of_more_views_are_white_and_diagonal_in_the_mean():
    codes = correlated(100, n_views=4)
    cca = fitted(codes)
    blocks = cross_covariances(cca, codes)
    np.testing.assert_allclose(blocks[range(4), range(4)], [np.eye(Z)] * 4, atol=1e-9)
    np.testing.assert_allclose(off_diagonal_sum(blocks) / 12, np.diag(cca.correlations), atol=1e-9)
    assert (cca.correlations.diff() <= 0).all()


def test_more_views_get_a_maximum_of_the_sum_of_correlations():
    """No view can gain by a rotation: its cross-covariance with all others is symmetric and positive."""
    codes = correlated(60, n_views=4, seed=3)
    blocks = cross_covariances(fitted(codes), codes)
    for m in range(4):
        with_others = blocks[m].sum(0) - blocks[m, m]
        np.testing.assert_allclose(with_others, with_others.T, atol=1e-5)
        assert np.linalg.eigvalsh(with_others).min() > 0
    value = np.trace(off_diagonal_sum(blocks)) / 2
    bound = sum(correlations(codes[m], codes[n]).sum() for m, n in combinations(range(4), 2))
    assert 0.9 * bound < value <= bound


@pytest.mark.parametrize("seed", [5, 13])
def test_the_start_from_maxvar_leads_to_the_best_maximum(seed):
    """An ascent written anew, from several random rotations; from the identity, ours would end in a lesser maximum."""
    rng = np.random.RandomState(0)
    codes = correlated(40, n_views=4, seed=seed, z_dim=5)
    white = [(view - view.mean(0)) @ np.linalg.inv(cholesky(np.cov(view.T))) for view in codes]
    best = 0.0
    for _ in range(8):
        turned = [view @ np.linalg.qr(rng.normal(size=(5, 5)))[0] for view in white]
        for _ in range(80):
            for m in range(4):
                U, _, Vh = np.linalg.svd(white[m].T @ (sum(turned) - turned[m]))
                turned[m] = white[m] @ U @ Vh
        best = max(best, sum((turned[m] * turned[n]).sum() / 39 for m, n in combinations(range(4), 2)))
    value = np.trace(off_diagonal_sum(cross_covariances(fitted(codes), codes))) / 2
    np.testing.assert_allclose(value, best, rtol=1e-4)


def test_a_view_given_twice_changes_nothing():
    """The two-view solution still attains the bound in every pair, so that it is the three-view solution."""
    x, y = correlated(100)
    two, three = fitted([x, y]), fitted([x, y, y])
    torch.testing.assert_close(three.weights[:2], two.weights, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(three.weights[2], two.weights[1], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(three.correlations, (2 * two.correlations + 1) / 3, rtol=1e-8, atol=0)


@pytest.mark.parametrize("missing", [False, True])
def test_a_common_signal_of_three_views_comes_first(missing):
    rng = np.random.RandomState(0)
    signal = rng.normal(size=2000)
    sources = rng.normal(size=(3, 2000, Z))
    sources[:, :, 1] = signal + 0.3 * sources[:, :, 1]
    codes = np.stack([view @ rng.normal(size=(Z, Z)) for view in sources])
    present = rng.uniform(size=(2000, 3)) > 0.3 if missing else None
    cca = fitted(codes, None if present is None else torch.from_numpy(present))
    first = cca.project(double(codes))[:, :, 0].numpy()
    assert all(abs(np.corrcoef(view, signal)[0, 1]) > 0.95 for view in first)
    assert (np.corrcoef(first) > 0.9).all()
    np.testing.assert_allclose(cca.correlations[0], 1 / 1.09, atol=0.03)
    assert cca.correlations[1] < 0.1


@pytest.mark.parametrize("filler", [0.0, 1e6, torch.nan])
def test_it_leaves_absent_codes_alone(filler):
    codes = double(correlated(50, n_views=3))
    present = torch.from_numpy(np.random.RandomState(0).uniform(size=(50, 3)) > 0.3)
    expected = fitted(codes, present, 1e-3)
    cca = fitted(codes.masked_fill(~present.T.unsqueeze(-1), filler), present, 1e-3)
    for name, value in expected.state_dict().items():
        assert torch.equal(cca.get_buffer(name), value)
    for m in range(3):
        np.testing.assert_allclose(cca.loc[m], codes[m, present[:, m]].mean(0), rtol=1e-12)
        white = np.cov(cca.project(codes)[m, present[:, m]].T) + 1e-3 * (cca.weights[m].T @ cca.weights[m]).numpy()
        np.testing.assert_allclose(white, np.eye(Z), atol=1e-9)


def test_its_correlations_are_the_mean_over_the_pairs_that_share_rows():
    """Views 0 and 1 have one row in common, which is not enough to be a pair."""
    codes = double(correlated(40, n_views=3))
    present = torch.ones(40, 3, dtype=torch.bool)
    present[:19, 0] = present[20:, 1] = False
    cca = fitted(codes, present)
    projected = cca.project(codes)
    expected = torch.zeros(Z, Z, dtype=torch.float64)
    for m in (0, 1):
        both = present[:, m]
        expected += projected[m, both].T @ projected[2, both] / (both.sum() - 1) / 2
    np.testing.assert_allclose((expected + expected.T) / 2, np.diag(cca.correlations), atol=1e-8)


def test_with_few_common_rows_correlations_stay_below_one():
    codes = double(correlated(12, seed=2))
    codes[1] = codes[0]
    present = torch.ones(12, 2, dtype=torch.bool)
    present[:6, 0] = present[9:, 1] = False
    correlations = fitted(codes, present).correlations
    assert ((correlations >= 0) & (correlations <= 1)).all()


@pytest.mark.parametrize("n_views", [2, 3])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.float64, 1e-11)])
def test_unproject_inverts_project(n_views, dtype, atol):
    codes = double(correlated(50, n_views=n_views)).to(dtype)
    cca = LinearCCA(n_views, Z).to(dtype).fit_(codes, None, 1e-4)
    projected = cca.project(codes)
    assert projected.dtype == dtype
    for m in range(n_views):
        back = cca.unproject(projected[m].reshape(5, 10, Z), m)
        torch.testing.assert_close(back.reshape(50, Z), codes[m], rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["duplicated", "constant", "few rows"])
def test_unproject_inverts_project_on_the_span_of_deficient_codes(kind, dtype):
    codes = degenerate(kind).to(dtype)
    cca = LinearCCA(2, Z).to(dtype).fit_(codes, None, 0.0)
    projected = cca.project(codes)
    for m in range(2):
        torch.testing.assert_close(cca.unproject(projected[m], m), codes[m], rtol=0, atol=1e-3)


def test_signs_are_set_by_the_first_view():
    codes = double(correlated(50, n_views=3))
    cca = fitted(codes)
    largest = cca.weights[0].gather(0, cca.weights[0].abs().argmax(0, keepdim=True))
    assert (largest > 0).all()
    for other in (codes.flip(1), codes * double([1, -1, 1]).view(3, 1, 1)):
        torch.testing.assert_close(fitted(other).weights[0], cca.weights[0], rtol=1e-6, atol=1e-8)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [-1e-4, float("nan")])
def test_a_negative_regularisation_is_refused(r):
    codes = double(correlated(20))
    for call in (total_correlation, LinearCCA(2, Z).fit_):
        with pytest.raises(ValueError, match=r"regularisation must be 0 or more, but is"):
            call(codes, None, r)


def test_one_view_has_no_linear_cca():
    with pytest.raises(ValueError, match="n_views=1"):
        LinearCCA(1, Z)


def test_views_without_common_rows_are_refused():
    codes = double(correlated(10, n_views=3))
    present = torch.ones(10, 3, dtype=torch.bool)
    present[1:, 1] = False
    with pytest.raises(ValueError, match="view 1 shares fewer than two rows"):
        LinearCCA(3, Z).fit_(codes, present, 0.0)


def test_codes_that_are_not_finite_are_refused():
    codes = double(correlated(10))
    codes[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="codes must be finite"):
        LinearCCA(2, Z).fit_(codes, None, 0.0)
