"""Views: every form in which users give data, what is refused, rows, containers, scikit-learn."""

import copy
import operator
import pickle
import re
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from joblib import parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing, indexable, resample

from manyview.data import Views, as_views
from manyview.data.views import contain

A = np.arange(12.0).reshape(4, 3)
B = np.arange(8.0).reshape(4, 2) + 100
IMAGES = np.arange(4 * 2 * 3.0).reshape(4, 2, 3)
NAN = float("nan")


def frame(labels, width=2, prefix="x", start=0.0):
    values = np.arange(len(labels) * width, dtype=float).reshape(len(labels), width) + start
    return pd.DataFrame(values, index=list(labels), columns=[f"{prefix}{i}" for i in range(width)])


def assert_same(views, other):
    assert views.names == other.names
    assert views.ids.tolist() == other.ids.tolist()
    assert {k: v.tolist() for k, v in views.feature_names.items()} == {
        k: v.tolist() for k, v in other.feature_names.items()
    }
    for name in views:
        assert type(views[name]) is type(other[name])
        np.testing.assert_array_equal(views.array(name), other.array(name))


# --- the accepted forms ---


def test_a_views_is_returned_as_it_is():
    views = Views(a=A)
    assert as_views(views) is views
    assert as_views(views, None) is views


TWO_LEVELS = pd.DataFrame(
    np.hstack([A, B]),
    columns=pd.MultiIndex.from_tuples([("a", "p"), ("a", "q"), ("a", "r"), ("b", "p"), ("b", "q")]),
)


@pytest.mark.parametrize(
    ("args", "names", "packing"),
    [
        (({"a": A, "b": B},), ("a", "b"), "dict"),
        (([A, B],), ("view_0", "view_1"), "list"),
        (((A, B),), ("view_0", "view_1"), "list"),
        ((A, B), ("view_0", "view_1"), "list"),
        ((TWO_LEVELS,), ("a", "b"), "dict"),
        (([A.tolist(), B.tolist()],), ("view_0", "view_1"), "list"),
        (([torch.from_numpy(A), frame(range(4), start=100)],), ("view_0", "view_1"), "list"),
        (({"a": scipy.sparse.csr_array(A), "b": B.astype(int)},), ("a", "b"), "dict"),
    ],
)
def test_forms_of_several_views(args, names, packing):
    views = as_views(*args)
    assert views.names == names
    assert views.packing == packing
    for name, array in zip(names, (A, B), strict=True):
        np.testing.assert_array_equal(views.array(name), array)
    assert views.ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bare", [A, torch.from_numpy(A), pd.DataFrame(A)])
@pytest.mark.parametrize("rest", [(), (None,)])  # scikit-learn calls fit(X, None)
def test_one_bare_view(bare, rest):
    views = as_views(bare, *rest)
    assert views.names == ("view_0",)
    assert views.packing == "array"
    assert type(views["view_0"]) is type(bare)
    np.testing.assert_array_equal(views.array("view_0"), A)


def test_names_by_keyword_or_mapping():
    assert_same(Views(a=A, b=B), Views({"a": A, "b": B}))
    assert Views({"a": A}).packing == Views(a=A).packing == "views"
    with pytest.raises(TypeError, match="not both"):
        Views({"a": A}, b=B)
    with pytest.raises(TypeError, match="names of views must be str, but got 0"):
        as_views({0: A})


def test_two_level_columns_name_views_and_features():
    views = as_views(TWO_LEVELS)
    assert views.feature_names["b"].tolist() == ["p", "q"]
    pd.testing.assert_frame_equal(views["a"], TWO_LEVELS["a"])


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (({"a": A, "b": None},), ("a",)),
        ((A, None), ("view_0",)),
        ((None, B), ("view_1",)),
        (([None, B, None],), ("view_1",)),
        (({"a": A, "b": B}, None), ("a", "b")),
        (([A, B], None), ("view_0", "view_1")),
    ],
)
def test_a_view_that_is_none_is_left_out_and_numbers_are_kept(args, names):
    assert as_views(*args).names == names


@pytest.mark.parametrize("args", [(), (None,), (None, None), ([],), ({},), ({"a": None},), ([None],)])
def test_no_views(args):
    with pytest.raises(ValueError, match="no views"):
        as_views(*args)


@pytest.mark.parametrize("first", [Views(a=A), {"a": A}])
def test_a_collection_among_positional_views_is_refused(first):
    with pytest.raises(TypeError, match=r"view 'view_0': is a collection .*pass it alone \(a target y is not used\)"):
        as_views(first, B)


@pytest.mark.parametrize("rows", [list, lambda rows: pd.Series(rows).to_numpy()], ids=["list", "object array"])
@pytest.mark.parametrize("x", [A, IMAGES], ids=["table", "images"])
def test_rows_that_are_none_are_missing(rows, x):
    view = rows([x[0], None, x[2], None])
    views = as_views({"a": view, "b": B})
    expected = x.copy()
    expected[[1, 3]] = NAN
    np.testing.assert_array_equal(views["a"], expected)
    assert views.present.tolist() == [[True, True], [False, True], [True, True], [False, True]]


def test_rows_as_lists():
    views = as_views([[[1, 2], None, [3, 4]]])
    np.testing.assert_array_equal(views["view_0"], [[1, 2], [NAN, NAN], [3, 4]])


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ([None, None], "has no rows but None"),
        ([[1, 2], [3]], r"rows differ in shape, \(2,\) and others"),
        ([A, A], r"a list of 2 arrays of shape \(4, 3\) is not a view; .* np.stack"),
        ([1.0, None], r"needs shape \(samples, features\), but got shape \(2,\)"),
        ([["a", "b"], None], "column 0 is not real numbers but <U1, for example 'a'"),
    ],
)
def test_lists_that_are_no_view(view, message):
    with pytest.raises(ValueError, match=f"view 'view_0': {message}"):
        as_views([view])


def test_a_list_is_a_list_of_views_never_rows():
    with pytest.raises(ValueError, match=r"view 'view_0': needs shape \(samples, features\), but got shape \(2,\)"):
        as_views([[1, 2], [3, 4]])


# --- AnnData, MuData ---


@pytest.mark.parametrize("sparse", [False, True])
def test_anndata(sparse):
    anndata = pytest.importorskip("anndata")
    x = scipy.sparse.csr_matrix(A.astype(np.float32)) if sparse else A
    data = anndata.AnnData(x, obs=pd.DataFrame(index=list("pqrs")), var=pd.DataFrame(index=["g1", "g2", "g3"]))
    views = as_views(data)
    expected = pd.DataFrame(np.asarray(A, dtype=x.dtype), index=list("pqrs"), columns=["g1", "g2", "g3"])
    pd.testing.assert_frame_equal(views["view_0"], expected, check_index_type=False, check_column_type=False)
    assert as_views({"rna": data}).names == ("rna",)


def test_mudata():
    anndata, mudata = pytest.importorskip("anndata"), pytest.importorskip("mudata")

    def modality(table):
        return anndata.AnnData(table.to_numpy(), obs=table[[]], var=pd.DataFrame(index=table.columns))

    rna, atac = frame("pqr", prefix="g"), frame("rsq", prefix="c", start=50)
    views = as_views(mudata.MuData({"rna": modality(rna), "atac": modality(atac)}))
    assert_same(views, as_views({"rna": rna, "atac": atac}))


class AnnData:
    """What the library asks of an AnnData, so that the branch is covered where anndata is not installed."""

    __module__ = "anndata._core.anndata"
    isbacked, obs_names, var_names = False, pd.Index(list("pqrs")), pd.Index(["g1", "g2", "g3"])

    def __init__(self, x):
        self.X = x


class MuData:
    __module__ = "mudata._core.mudata"
    mod: ClassVar = {"rna": AnnData(scipy.sparse.csc_matrix(A))}


@pytest.mark.parametrize("data", [AnnData(A), AnnData(scipy.sparse.csr_matrix(A)), MuData()])
def test_single_cell_containers_are_recognised_by_their_module(data):
    (view,) = as_views(data).to_dict().values()
    pd.testing.assert_frame_equal(view, pd.DataFrame(A, index=AnnData.obs_names, columns=AnnData.var_names))


def test_reading_arrays_imports_nothing():
    code = (
        "import sys, numpy as np; from manyview.data.views import as_views; before = set(sys.modules);"
        "v = as_views(np.ones((3, 2)), [[1], [2], [3]]); v[[0]]; repr(v); v.pack({'view_0': v['view_0']});"
        "print({m.partition('.')[0] for m in set(sys.modules) - before} - {'numpy', 'torch'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- what a view may be ---


@pytest.mark.parametrize("y", [np.arange(100), pd.Series(range(100)), list(range(100)), torch.arange(100)])
def test_one_dimension_is_refused(y):
    message = (
        "view 'y': needs shape (samples, features), but got shape (100,); use .reshape(-1, 1) for a single "
        "feature; if it is a target y, it is not used: pass the views in a dict or list"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        as_views({"x": np.ones((100, 2)), "y": y})


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        (">f4", "float32"),
        ("longdouble", "float64"),
        ("bool", "float32"),
        ("int8", "float32"),
        ("uint16", "float32"),
        ("int32", "float64"),
        ("int64", "float64"),
    ],
)
def test_dtypes_of_arrays_and_frames(dtype, expected):
    x = np.array([[0, 1], [1, 0]], dtype=dtype)
    for view in (x, pd.DataFrame(x.astype(x.dtype.newbyteorder("=")))):
        array = as_views(view).array("view_0")
        assert array.dtype == expected
        np.testing.assert_array_equal(array, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.uint8, torch.float32),
        (torch.bool, torch.float32),
        (torch.int64, torch.float64),
    ],
)
def test_dtypes_of_tensors(dtype, expected):
    view = as_views(torch.ones(3, 2, 2, dtype=dtype))["view_0"]
    assert isinstance(view, torch.Tensor)
    assert view.dtype == expected
    assert view.shape == (3, 2, 2)


def test_tensors_that_require_a_gradient_or_are_sparse():
    x = torch.from_numpy(A).requires_grad_()
    assert not as_views(x)["view_0"].requires_grad
    np.testing.assert_array_equal(as_views(torch.from_numpy(A).to_sparse()).array("view_0"), A)


def test_numeric_pandas_columns_of_every_kind():
    table = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int8"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
            "bool": [True, False, True],
            "float": [1.5, NAN, 2.0],
            "sparse": pd.arrays.SparseArray([0, 0, 7]),
        }
    )
    expected = [[1, 1, 1, 1.5, 0], [NAN, NAN, 0, NAN, 0], [3, 0, 1, 2, 7]]
    np.testing.assert_array_equal(as_views(table).array("view_0"), expected)
    assert as_views(table[["nullable", "boolean"]]).array("view_0").dtype == np.float32


def test_masked_arrays_lose_no_mask():
    x = np.ma.masked_equal(np.array([[0, 1], [2, 0]]), 0)
    np.testing.assert_array_equal(as_views(x).array("view_0"), [[NAN, 1], [2, NAN]])


@pytest.mark.parametrize(
    ("column", "example"),
    [
        (["m", "f"], "'m'"),
        ([None, "f"], "'f'"),
        (pd.Categorical(["lo", "hi"]), "'lo'"),
        (pd.to_datetime(["2020-01-02", "2020-01-03"]), "Timestamp('2020-01-02 00:00:00')"),
        (pd.array([1, 2], dtype="object"), "1"),
        ([1j, 2], "1j"),
    ],
)
def test_columns_that_are_not_numbers(column, example):
    table = pd.DataFrame({"age": [1.0, 2.0], "sex": column})
    with pytest.raises(ValueError, match="view 'clinical': column 'sex' is not real numbers") as error:
        as_views({"clinical": table})
    assert f"for example {example}; encode it, e.g. by pandas.get_dummies" in str(error.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (A + 1j, r"column 0 is not real numbers but complex128, for example 1j"),
        (
            np.array([[1.0, 2.0], [3.0, "x"]], dtype=object),
            "column 1 is not real numbers but object, for example 'x'",
        ),
        (np.array([["1", "2"]]), "column 0 is not real numbers but <U1, for example '1'"),
        (np.zeros((2, 2), dtype="M8[s]"), "is not real numbers but datetime64"),
        (np.zeros((3, 0)), r"has no features, its shape is \(3, 0\)"),
        (np.zeros((3, 4, 0)), r"has no features, its shape is \(3, 4, 0\)"),
        (np.zeros((0, 3)), r"has no samples, its shape is \(0, 3\)"),
        (pd.DataFrame(columns=["a"]), r"has no samples, its shape is \(0, 1\)"),
        (pd.DataFrame(index=[1, 2]), r"has no features, its shape is \(2, 0\)"),
        ("file.csv", r"needs shape \(samples, features\), but got shape \(\)"),
    ],
)
def test_what_is_no_view(x, message):
    with pytest.raises(ValueError, match=f"view 'v': .*{message}"):
        as_views({"v": x})


def test_infinite_values_are_named():
    table = frame([f"S{i}" for i in range(20)], width=3)
    table.columns = ["TP53", "BRCA1", "EGFR"]
    table.loc["S17", ["BRCA1", "EGFR"]] = [np.inf, -np.inf]
    table.loc["S19", "TP53"] = np.inf
    message = (
        "view 'genes': 3 infinite values, first at row 17 (id 'S17'), feature 'BRCA1'; "
        "replace them by NaN (missing) or a finite value"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        as_views({"genes": table})
    images = IMAGES.copy()
    images[2, 1, 0] = np.inf
    with pytest.raises(ValueError, match=re.escape("first at row 2 (id 2), feature 'image_3'")):
        as_views({"image": images})


# --- missing entries ---


@given(
    npst.arrays(float, (5, 3), elements=st.sampled_from([0.0, 1.0, NAN])),
    npst.arrays(bool, (5, 2)),
    st.sampled_from([0.0, NAN, np.inf]),
)
def test_present_is_what_has_an_observed_entry_whatever_the_filler(x, mask, filler):
    other = np.full((5, 2, 1), 7.0)
    x[~mask[:, 0]] = filler
    other[~mask[:, 1]] = filler
    before = x.copy()
    views = Views({"x": x, "other": other}, present=mask)
    np.testing.assert_array_equal(x, before)
    for row in range(5):
        assert views.present[row, 0] == (mask[row, 0] and not all(np.isnan(x[row])))
        assert views.present[row, 1] == mask[row, 1]
        np.testing.assert_array_equal(views.array("x")[row], x[row] if mask[row, 0] else [NAN] * 3)
    assert views.present is views.present


def test_present_by_name_and_on_views():
    mask = np.array([True, False, True, True])
    views = Views(a=A, b=B)
    masked = Views(views, present={"b": mask})
    assert masked.array("a") is views.array("a")
    assert masked.present[:, 1].tolist() == mask.tolist()
    assert views.present.all()


@pytest.mark.parametrize(
    ("present", "error", "message"),
    [
        (np.ones((4, 3), bool), ValueError, r"present: needs shape \(4, 2\).*but got shape \(4, 3\)"),
        (np.ones((4, 2)), ValueError, r"present: the mask of view 'a' .*float64; use .astype\(bool\)"),
        ({"a": np.ones(3, bool)}, ValueError, r"present: the mask of view 'a' needs shape \(4,\)"),
        ({"aa": np.ones(4, bool)}, KeyError, "present: no view 'aa'; did you mean 'a'"),
    ],
)
def test_bad_masks(present, error, message):
    with pytest.raises(error, match=message):
        Views({"a": A, "b": B}, present=present)


def test_zeros_are_data():
    assert as_views(np.zeros((3, 2))).present.all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_copy_where_nothing_changes(dtype):
    x = A.astype(dtype)
    views = as_views(x, torch.from_numpy(x), pd.DataFrame(x, copy=False))
    for name in views:
        assert np.shares_memory(views.array(name), x)
    assert np.shares_memory(views[1:3].array("view_0"), x)


# --- joining ---


@given(
    st.lists(
        st.permutations("pqrstu").flatmap(lambda p: st.integers(1, 6).map(lambda k: p[:k])),
        min_size=1,
        max_size=4,
    )
)
def test_joins_agree_with_pandas(labels):
    tables = {f"v{i}": frame(rows, start=100 * i) for i, rows in enumerate(labels)}
    views = as_views(tables)
    oracle = pd.concat(tables, axis=1, join="outer", sort=False)
    assert views.ids.tolist() == list(dict.fromkeys(label for rows in labels for label in rows))
    for name, table in tables.items():
        pd.testing.assert_frame_equal(views[name], oracle[name].reindex(views.ids))
        np.testing.assert_array_equal(views.present[:, views.names.index(name)], np.isin(views.ids, table.index))


def test_join_of_multiindexes_keeps_names():
    index = pd.MultiIndex.from_tuples([("s", 1), ("s", 2), ("t", 1)], names=["site", "visit"])
    a, b = frame(range(3)).set_index(index), frame(range(2)).set_index(index[[2, 0]])
    views = as_views({"a": a, "b": b})
    assert views.ids.tolist() == [("s", 1), ("s", 2), ("t", 1)]
    assert views.ids.shape == (3,)
    pd.testing.assert_frame_equal(views["a"], a)
    pd.testing.assert_frame_equal(views["b"], b.reindex(index))
    assert views[[2, 0]]["a"].index.names == ["site", "visit"]
    assert contain(A[:3], "pandas", views.ids).index.tolist() == index.tolist()


def test_frames_keep_their_index():
    a = frame("pqr").rename_axis("patient")
    pd.testing.assert_frame_equal(as_views(a)["view_0"], a)
    pd.testing.assert_frame_equal(as_views(a)[[2, 0]]["view_0"], a.iloc[[2, 0]])


def test_frames_in_another_order_are_aligned():
    a, b = frame("pqr"), frame("rpq", start=10)
    pd.testing.assert_frame_equal(as_views(a, b)["view_1"], b.loc[list("pqr")])


def test_arrays_beside_frames_of_one_index():
    views = as_views({"a": frame("pqrs"), "b": B, "c": torch.from_numpy(B), "d": frame("pqrs", start=5)})
    assert views.ids.tolist() == list("pqrs")
    assert {name: type(view) for name, view in views.items()} == {
        "a": pd.DataFrame, "b": np.ndarray, "c": torch.Tensor, "d": pd.DataFrame,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (
            {"image": np.ones((100, 2)), "label": np.ones((90, 2))},
            "views have different numbers of samples: image 100, label 90; arrays are matched by position: "
            "give equal numbers, or DataFrames with sample ids as index",
        ),
        ({"a": frame("pq"), "b": np.ones((3, 2))}, "views have different numbers of samples: a 2, b 3"),
        ({"a": frame("pp"), "b": frame("pq")}, "view 'a': index label 'p' occurs more than once"),
        ({"a": frame("pp")}, "view 'a': index label 'p' occurs more than once"),
        (
            {"a": pd.DataFrame(A), "b": pd.DataFrame(A[:3])},
            "rows cannot be matched: the indexes differ, and that of ['a', 'b'] is a default RangeIndex "
            "(a 4, b 3); set_index with a sample id, or give views of equal length",
        ),
        ({"a": frame("pq"), "b": pd.DataFrame(A[:2])}, "that of ['b'] is a default RangeIndex"),
        (
            {"a": frame("pq"), "b": frame("qp"), "c": A[:2]},
            "['c'] are arrays, matched by position, but the indexes of ['a', 'b'] differ",
        ),
        (
            {"a": A, "b": frame("pqrs").set_axis(["x", "x"], axis=1)},
            "view 'b': feature name 'x' occurs more than once",
        ),
    ],
)
def test_rows_that_cannot_be_matched(views, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        as_views(views)


@pytest.mark.parametrize("ids", [list("pqrs"), np.array([3, 1, 2, 0]), pd.Index(list("pqrs"), name="patient")])
def test_ids_for_arrays(ids):
    views = Views({"a": A, "b": B}, ids=ids)
    assert views.ids.tolist() == list(ids)
    assert views[[2, 1]].ids.tolist() == [ids[2], ids[1]]
    assert Views(Views(a=A), ids=ids).ids.tolist() == list(ids)


@pytest.mark.parametrize(
    ("data", "ids", "message"),
    [
        (A, list("pqr"), r"ids: needs shape \(4,\), one label a sample, but got shape \(3,\)"),
        (A, list("pqrp"), "ids: label 'p' occurs more than once"),
        (frame("pqrs"), list("pqrs"), r"ids: are the index of \['view_0'\] already"),
    ],
)
def test_bad_ids(data, ids, message):
    with pytest.raises(ValueError, match=message):
        Views(data, ids=ids)


def test_feature_names():
    views = Views(
        {
            "img": IMAGES,
            "tab": frame("pqrs"),
            "int": frame(range(4)).set_axis([5, 6], axis=1).set_axis(list("pqrs")),
        }
    )
    assert views.feature_names["img"].tolist() == [f"img_{i}" for i in range(6)]
    assert views.feature_names["tab"].tolist() == ["x0", "x1"]
    assert views.feature_names["int"].tolist() == ["5", "6"]
    assert Views(a=B, feature_names={"a": ["u", "v"]}).feature_names["a"].tolist() == ["u", "v"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ({"a": ["u"]}, ValueError, "view 'a': 1 feature names for 2 features"),
        ({"a": ["u", "u"]}, ValueError, "view 'a': feature name 'u' occurs more than once"),
        ({"A": ["u", "v"]}, KeyError, "no view 'A'; did you mean 'a'"),
    ],
)
def test_bad_feature_names(names, error, message):
    with pytest.raises(error, match=message):
        Views(a=B, feature_names=names)


# --- access ---


@pytest.fixture
def mixed():
    gap = B.copy()
    gap[1] = NAN
    return as_views({"img": IMAGES, "tab": frame("pqrs", prefix="g"), "ten": torch.from_numpy(gap)})


def test_attributes(mixed):
    assert mixed.names == mixed.keys() == tuple(mixed) == ("img", "tab", "ten")
    assert mixed.shapes == {"img": (2, 3), "tab": (2,), "ten": (2,)}
    assert (mixed.shape, mixed.n_samples, len(mixed)) == ((4, 10), 4, 4)
    assert "tab" in mixed
    assert "other" not in mixed
    assert mixed.to_dict().keys() == dict(mixed).keys() == set(mixed.names)
    assert repr(mixed) == "Views(n=4, img=(2, 3), tab=(2,), ten=(2,), missing: ten 1)"
    assert repr(mixed.select("img")) == "Views(n=4, img=(2, 3))"


def test_a_view_comes_in_its_own_container(mixed):
    assert mixed["img"] is mixed.array("img")
    pd.testing.assert_frame_equal(mixed["tab"], frame("pqrs", prefix="g"))
    assert torch.isnan(mixed["ten"]).any(dim=1).tolist() == [False, True, False, False]
    assert mixed.container == "numpy"
    assert mixed.select(["tab"]).container == "pandas"
    assert mixed.select("ten").container == "torch"


def test_unknown_names(mixed):
    for get in (mixed.__getitem__, mixed.array, mixed.select, lambda name: mixed.like(name, A)):
        with pytest.raises(KeyError, match="no view 'tabb'; did you mean 'tab'"):
            get("tabb")
    with pytest.raises(ValueError, match="no names given"):
        mixed.select([])


def test_select_orders(mixed):
    assert_same(
        mixed.select(["ten", "img"]),
        as_views({"ten": mixed["ten"], "img": mixed["img"], "x": mixed["tab"]}).select(["ten", "img"]),
    )
    assert mixed.select(name for name in ("ten", "img")).names == ("ten", "img")


ROWS = st.one_of(
    st.integers(-4, 3),
    st.builds(slice, *[st.none() | st.integers(-6, 6)] * 2, st.none() | st.sampled_from([-2, -1, 1, 2])),
    st.lists(st.integers(-4, 3), max_size=6),
    st.lists(st.integers(-4, 3), max_size=6).map(lambda rows: np.array(rows, dtype=np.int32)),
    st.lists(st.integers(-4, 3), max_size=6).map(lambda rows: torch.tensor(rows, dtype=torch.int64)),
    st.lists(st.booleans(), min_size=4, max_size=4),
    npst.arrays(bool, 4),
)
WRAP = st.sampled_from([lambda key: key, lambda key: (key, ...), lambda key: (key, slice(None))])


@given(ROWS, WRAP)
def test_rows_commute_with_array_indexing(rows, wrap):
    gap = B.copy()
    gap[1] = NAN
    views = as_views({"img": IMAGES, "tab": frame("pqrs"), "ten": torch.from_numpy(gap)})
    some = views[wrap(rows)]
    at = np.arange(4)[rows if isinstance(rows, slice) else np.asarray(rows, dtype=None if np.size(rows) else int)]
    at = np.atleast_1d(at)
    assert isinstance(some, Views)
    assert some.packing == "dict"
    assert some.ids.tolist() == [list("pqrs")[i] for i in at]
    assert some.feature_names["tab"].tolist() == ["x0", "x1"]
    np.testing.assert_array_equal(some["img"], IMAGES[at])
    pd.testing.assert_frame_equal(some["tab"], views["tab"].iloc[at])
    assert torch.equal(some["ten"].nan_to_num(-1), views["ten"][at.copy()].nan_to_num(-1))
    np.testing.assert_array_equal(some.present, views.present[at])
    assert some.shape == (len(at), 10)


@pytest.mark.parametrize(
    "key",
    [
        4,
        -5,
        [0, 4],
        np.array([-5]),
        [True, False],
        np.ones(5, bool),
        [0.5],
        True,
        None,
        ["a", "b"],
        (0, 1),
        (0, 0, 0),
        ...,
        A,
    ],
)
def test_bad_rows(key, mixed):
    with pytest.raises(IndexError):
        mixed[key]


def test_rows_of_read_only_memory_make_tensors_without_a_warning(recwarn):
    views = as_views(torch.from_numpy(A))
    views.array("view_0").flags.writeable = False
    assert views["view_0"].shape == views[::-1]["view_0"].shape == (4, 3)
    assert not recwarn.list


def test_numpy_refuses_views_rather_than_nest_them():
    with pytest.raises(TypeError, match="Views are several arrays"):
        np.asarray(Views(a=A))


def test_equality_is_identity():
    views = Views(a=A)
    assert views == views
    assert views != Views(a=A)
    assert len({views, views}) == 1


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_copies(duplicate, mixed):
    same = duplicate(mixed)
    assert same is not mixed
    assert same.packing == mixed.packing
    assert_same(same, mixed)
    assert_same(same[[1, 2]], mixed[[1, 2]])


# --- results as the input was ---


def test_like(mixed):
    z = np.arange(12.0).reshape(4, 3)
    assert mixed.like("img", z) is z
    assert torch.equal(mixed.like("ten", z), torch.from_numpy(z))
    pd.testing.assert_frame_equal(mixed.like("tab", z), pd.DataFrame(z, index=list("pqrs")))
    pd.testing.assert_frame_equal(
        mixed.like("tab", torch.from_numpy(B)), pd.DataFrame(B, index=list("pqrs"), columns=["g0", "g1"])
    )
    with pytest.raises(ValueError, match=r"DataFrame of 4 rows cannot hold an array of shape \(3, 2\)"):
        mixed.like("tab", B[:3])


def test_contain():
    table = contain(IMAGES, "pandas", index=list("pqrs"))
    np.testing.assert_array_equal(table, IMAGES.reshape(4, 6))
    assert contain(table, "pandas") is table
    np.testing.assert_array_equal(contain(torch.from_numpy(A), "numpy"), A)
    tensor = contain(A, "torch")
    assert contain(tensor, "torch") is tensor
    assert torch.equal(contain(A[::-1], "torch"), torch.from_numpy(A[::-1].copy()))
    with pytest.raises(ValueError, match="kind must be 'numpy', 'pandas' or 'torch', but got 'list'"):
        contain(A, "list")


def test_pack_is_keyed_as_the_input():
    results = {"view_1": B, "view_0": A}
    by_name = Views({"view_0": A, "view_1": B}).pack(results)
    assert by_name.keys() == results.keys()
    assert by_name["view_0"] is A
    assert as_views({"view_0": A, "view_1": B}).pack(results).keys() == results.keys()
    for given_as in ([A, B], (A, B)):
        packed = as_views(given_as)[1:3].pack(results)
        assert isinstance(packed, list)
        assert packed[0] is A
        assert packed[1] is B
    assert as_views([A, B]).pack({"view_1": B})[0] is B
    assert as_views(A).pack({"view_0": A}) is A
    assert as_views(A).pack({"view_0": A, "view_1": B})[1] is B


def test_integer_columns_come_back_as_they_were():
    table = pd.DataFrame(A)
    views = as_views(table)
    assert views.feature_names["view_0"].tolist() == [str(column) for column in table.columns]
    pd.testing.assert_frame_equal(views["view_0"], table)


# --- what an estimator asks ---


def test_names_of_views_given_by_position():
    assert as_views(A, B, names=["a", "b", "c"]).names == ("a", "b")
    assert as_views([None, B], names=["a", "b"]).names == ("b",)
    assert as_views(A, names=["a", "b"]).packing == "array"
    assert as_views({"x": A}, names=["a"]).names == ("x",)
    packed = as_views([A, B], names=["a", "b"]).pack({"b": B, "a": A})
    assert packed[0] is A
    with pytest.raises(ValueError, match=r"2 views given by position, but there are only 1: \['a'\]"):
        as_views(A, B, names=["a"])


def test_features_are_put_in_order():
    table = frame("pqrs", width=3)
    views = as_views({"t": table[["x2", "x0", "x1"]], "img": IMAGES})
    assert views.has_feature_names("t")
    assert not views.has_feature_names("img")
    ordered = views.with_features("t", ["x0", "x1", "x2"])
    pd.testing.assert_frame_equal(ordered["t"], table)
    assert ordered["img"] is IMAGES
    assert views.with_features("t", ["x2", "x0", "x1"]) is views
    with pytest.raises(
        ValueError, match=r"view 't': features differ .* 1 lacking \['y'\], 2 not expected \['x1', 'x2'\]"
    ):
        views.with_features("t", ["y", "x0"])


# --- scikit-learn ---


class MeanOf(BaseEstimator):
    """Scores a view by how near its mean is to that of the training rows."""

    def __init__(self, view="a", data=None):
        self.view = view
        self.data = data

    def fit(self, X, y=None):
        self.mean_ = np.nanmean(X.array(self.view))
        return self

    def score(self, X, y=None):
        return -abs(np.nanmean(X.array(self.view)) - self.mean_)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    b = rng.normal(size=(40, 2))
    b[::7] = NAN
    return Views(a=rng.normal(size=(40, 2, 2)), b=pd.DataFrame(b, index=[f"s{i}" for i in range(40)]))


def test_train_test_split(data):
    y = np.arange(40)
    train, test, y_train, y_test = train_test_split(data, y, random_state=0)
    alone, _ = train_test_split(data, random_state=0)
    assert_same(train, alone)
    assert train.ids.tolist() == [f"s{i}" for i in y_train]
    np.testing.assert_array_equal(test.array("a"), data.array("a")[y_test])
    assert isinstance(test["b"], pd.DataFrame)


def test_cross_validation_sees_the_rows_that_it_should(data):
    a = data.array("a")
    folds = list(KFold(4).split(data))
    expected = [-abs(a[test].mean() - a[train].mean()) for train, test in folds]
    np.testing.assert_allclose(cross_val_score(MeanOf(), data, cv=KFold(4)), expected)
    np.testing.assert_allclose(cross_val_score(MeanOf(), data, np.arange(40) % 2, cv=KFold(4)), expected)


def test_grid_search_in_two_processes(data):
    pipeline = make_pipeline(FunctionTransformer(operator.itemgetter("b")), SimpleImputer(), PCA())
    grid = {"pca__n_components": [1, 2]}
    with parallel_config("multiprocessing"):  # as the default, but forks: quicker to start
        search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3).fit(data)
    table = GridSearchCV(pipeline[1:], grid, cv=3).fit(data["b"])
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], table.cv_results_["mean_test_score"])


@pytest.mark.parametrize("rows", [[3, 1], np.array([3, 1]), np.arange(40) == 3, slice(2, 5), (3, 1)])
def test_safe_indexing(rows, data):
    at = list(rows) if isinstance(rows, tuple) else rows
    assert_same(_safe_indexing(data, rows), data[at])
    assert indexable(data, np.ones(40))[0] is data


def test_resample_repeats_rows(data):
    drawn = resample(data, random_state=0)
    at = resample(np.arange(40), random_state=0)
    np.testing.assert_array_equal(drawn.array("a"), data.array("a")[at])
    assert as_views(drawn) is drawn
    assert Views(drawn, present={"a": np.ones(40, bool)}).ids.tolist() == drawn.ids.tolist()


def test_pipeline_and_clone(data):
    pipeline = make_pipeline(FunctionTransformer(lambda views: views.select("b")), MeanOf("b")).fit(data)
    assert pipeline.score(data) == 0
    cloned = clone(MeanOf(data=data))
    assert_same(cloned.data, data)
    assert "Views(n=40" in repr(cloned)
