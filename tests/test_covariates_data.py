"""Covariates: the forms in which users give them, the numbers they become, rows by label, what is refused, networks."""

import datetime
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manyview.data import Views
from manyview.data.covariates import CategoricalColumn, FittedCovariates, NumericColumn, as_labels
from manyview.nn.conditional import conditional_shape, with_covariates

AGE, SITE = [20.0, 30.0, 60.0], ["Rome", "Oslo", "Rome"]
NAN = float("nan")
IDS = ["a", "b", "c"]
FRAME = pd.DataFrame({"age": AGE, "site": SITE}, index=IDS)
FITTED = FittedCovariates.fit({"age": AGE, "site": SITE})


def standardised(values):
    values = np.asarray(values, dtype=float)
    return (values - values.mean()) / values.std()


EXPECTED = np.column_stack([standardised(AGE), [0, 1, 0], [1, 0, 1]])


def assert_encodes(fitted, data, expected, **options):
    encoded = fitted.encode(data, **options)
    assert encoded.dtype == torch.float32
    np.testing.assert_allclose(encoded.numpy(), np.asarray(expected, dtype=float), rtol=1e-6, atol=1e-6)


# --- the accepted forms ---


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        FRAME.astype({"site": "category"}),
        FRAME.astype({"site": object}),
        FRAME.astype({"site": "string", "age": "Float64"}),
        FRAME.astype({"age": int}),
        {"age": AGE, "site": SITE},
        {"age": torch.tensor(AGE), "site": np.array(SITE)},
        {"age": FRAME["age"], "site": pd.Categorical(SITE)},
        {"age": np.array(AGE, dtype=object), "site": np.array(SITE, dtype=object)},
    ],
)
def test_named_columns_are_standardised_or_one_hot(data):
    fitted = FittedCovariates.fit(data)
    assert fitted.names == ("age", "site")
    assert fitted.feature_names == ("age", "site=Oslo", "site=Rome")
    assert fitted.width == 3
    assert_encodes(fitted, data, EXPECTED, n_samples=3)


@pytest.mark.parametrize(
    "data",
    [
        AGE,
        tuple(AGE),
        [20, 30, 60],
        np.array(AGE),
        np.array(AGE, dtype=np.float32)[:, None],
        np.array([20, 30, 60], dtype=np.uint8),
        np.array([20, 30.0, 60], dtype=object),
        np.ma.array(AGE),
        torch.tensor([20, 30, 60]),
        torch.tensor(AGE, requires_grad=True),
        torch.tensor(AGE, dtype=torch.bfloat16),
        [torch.tensor(age) for age in AGE],
        pd.Series(AGE),
        pd.Series([20, 30, 60], dtype="Int64"),
        pd.Series(pd.arrays.SparseArray(AGE)),
        pd.Index(AGE),
    ],
)
def test_numbers_without_a_name_are_one_numeric_column(data):
    fitted = FittedCovariates.fit(data)
    assert fitted.columns == (NumericColumn("covariate_0", np.mean(AGE), np.std(AGE)),)
    assert_encodes(fitted, data, standardised(AGE)[:, None], n_samples=3)


@pytest.mark.parametrize("data", [np.array([[1, 2], [3, 2]]), [[1, 2], [3, 2]], torch.tensor([[1.0, 2.0], [3.0, 2.0]])])
def test_columns_of_arrays_are_numbered_and_integers_are_numeric(data):
    fitted = FittedCovariates.fit(data)
    assert fitted.feature_names == ("covariate_0", "covariate_1")
    assert_encodes(fitted, data, [[-1, 0], [1, 0]])


@pytest.mark.parametrize(
    ("data", "categories"),
    [
        (["b", "a", "b"], ("a", "b")),
        (np.array(["b", "a", "b"]), ("a", "b")),
        (pd.Series(["b", "a", "b"]), ("a", "b")),
        ([True, False], (False, True)),
        (np.array([True, False]), (False, True)),
        (np.ma.array([True, False]), (False, True)),
        (torch.tensor([True, False]), (False, True)),
        (pd.Series([True, False], dtype="boolean"), (False, True)),
        (pd.Series([10, 9, 10], dtype="category"), (9, 10)),
        (pd.Series([10, 9, 10], dtype=object), (9, 10)),
        (pd.Categorical([2.5, 0.5]), (0.5, 2.5)),
        (pd.Categorical(["b", "a"], categories=["b", "never", "a"], ordered=True), ("a", "b")),
        (["3A", 10, 9.5], (9.5, 10, "3A")),
    ],
)
def test_categories_are_those_that_occur_sorted_numbers_first(data, categories):
    fitted = FittedCovariates.fit(data)
    assert fitted.columns == (CategoricalColumn("covariate_0", categories),)
    assert [type(category) for category in fitted.columns[0].categories] == [type(category) for category in categories]
    values = list(data.tolist() if hasattr(data, "tolist") else data)
    assert_encodes(fitted, data, [[value == category for category in categories] for value in values])


def test_rows_of_mixed_types_have_a_kind_in_each_column():
    rows = [[age, site] for age, site in zip(AGE, SITE, strict=True)]
    for data in (rows, np.array(rows, dtype=object), FRAME.to_numpy()):
        fitted = FittedCovariates.fit(data)
        assert fitted.feature_names == ("covariate_0", "covariate_1=Oslo", "covariate_1=Rome")
        assert_encodes(fitted, data, EXPECTED)


@pytest.mark.parametrize(("name", "expected"), [("age", "age"), (3, "3"), (None, "covariate_0")])
def test_a_series_keeps_its_name(name, expected):
    assert FittedCovariates.fit(pd.Series(AGE, name=name)).names == (expected,)


def test_a_constant_is_centred_and_a_lone_category_is_one():
    data = {"dose": [0.1] * 3, "site": ["Rome"] * 3}
    fitted = FittedCovariates.fit(data)
    assert fitted.columns[0].scale == 1.0
    assert_encodes(fitted, data, [[0, 1]] * 3)
    assert_encodes(fitted, {"dose": [1.1], "site": ["Rome"]}, [[1, 1]])


def test_encode_uses_what_training_learned():
    data = {"age": [40], "site": ["Oslo"]}
    assert_encodes(FITTED, data, [[(40 - np.mean(AGE)) / np.std(AGE), 1, 0]], n_samples=1)


@pytest.mark.parametrize(
    "data", [FRAME[["site", "age"]], {"site": SITE, "age": AGE}, FRAME.to_numpy(), FRAME.astype({"age": object})]
)
def test_columns_are_matched_by_name_and_without_names_in_order(data):
    assert_encodes(FITTED, data, EXPECTED, n_samples=3)


@pytest.mark.parametrize("data", [[10, 9], np.array([10.0, 9.0]), torch.tensor([10, 9]), pd.Series([10, 9])])
def test_categories_that_are_numbers_are_known_in_any_dtype(data):
    assert_encodes(FittedCovariates.fit(pd.Categorical([9, 10])), data, [[0, 1], [1, 0]])


def test_no_sample_at_all_can_be_encoded():
    assert FITTED.encode(FRAME[:0], n_samples=0).shape == (0, 3)


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=20),
    st.data(),
)
def test_numeric_columns_have_mean_0_and_scale_1_or_are_constant(values, data):
    categories = data.draw(st.lists(st.text(max_size=3), min_size=len(values), max_size=len(values)))
    fitted = FittedCovariates.fit({"x": values, "c": categories})
    encoded = fitted.encode({"c": categories, "x": values}, len(values)).double()
    x, one_hot = encoded[:, 0], encoded[:, 1:]
    assert abs(x.mean()) < 1e-4
    assert abs(x.std(correction=0) - float(len(set(values)) > 1)) < 1e-3
    assert [fitted.columns[1].categories[k] for k in one_hot.argmax(1)] == categories
    assert torch.equal(one_hot.sum(1), torch.ones(len(values)).double())


# --- labels ---


@pytest.mark.parametrize(
    "labels",
    [
        [7, 0, 7],
        [7.0, 0.0, 7.0],
        np.array([7, 0, 7]),
        np.array([[7], [0], [7]]),
        torch.tensor([7, 0, 7]),
        torch.tensor([7.0, 0.0, 7.0]),
        pd.Series([7, 0, 7], name="digit"),
        pd.DataFrame({"digit": [7, 0, 7]}),
        np.eye(10)[[7, 0, 7]],
        torch.eye(8, dtype=torch.bool)[[7, 0, 7]],
        pd.get_dummies(pd.Series([7, 0, 7])),
    ],
)
def test_labels_are_one_categorical_column(labels):
    fitted = FittedCovariates.fit(as_labels(labels), n_samples=3)
    assert repr(fitted.columns) == "(CategoricalColumn(name='label', categories=(0, 7)),)"
    assert_encodes(fitted, as_labels(labels), [[0, 1], [1, 0], [0, 1]], n_samples=3)


def test_one_hot_columns_of_a_frame_are_read_by_name():
    dummies = pd.get_dummies(pd.Series(["b", "a", "c"]))
    fitted = FittedCovariates.fit(as_labels(dummies))
    assert fitted.feature_names == ("label=a", "label=b", "label=c")
    assert_encodes(fitted, as_labels(dummies[["c", "b", "a"]]), [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert_encodes(fitted, as_labels(["c"]), [[0, 0, 1]])


def test_labels_in_a_series_are_matched_by_index():
    fitted = FittedCovariates.fit(as_labels([0, 1]))
    labels = as_labels(pd.Series([0, 1], index=["p", "q"]))
    assert_encodes(fitted, labels, [[0, 1], [1, 0]], n_samples=2, index=pd.Index(["q", "p"]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[1, 1], [0, 1]]), "labels: need one column, or one-hot rows, but got 2 columns.*as covariates"),
        (np.array([[0.5, 0.5], [0, 1]]), "labels: need one column"),
        ([["a", "b"]], "labels: need one column"),
        ([0.5, 1.0], "labels: are classes, but 0.5 is not a whole number"),
        ([0, None], "column 'label' has 1 missing"),
        (np.array([[NAN, 1], [0, 1]]), "has 1 missing"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        FittedCovariates.fit(as_labels(labels))


# --- rows ---


@pytest.mark.parametrize(
    ("covariates", "index", "rows"),
    [
        (FRAME, pd.Index(IDS), [0, 1, 2]),
        (FRAME, pd.Index(["c", "a", "b"]), [2, 0, 1]),
        (FRAME, pd.Index(["c", "a"]), [2, 0]),  # a table of the whole cohort serves some samples
        (FRAME, pd.Index(["c", "a", "c"]), [2, 0, 2]),  # a bootstrap
        (FRAME, np.array(["c", "a", "b"]), [2, 0, 1]),  # ids of Views of arrays
        (FRAME.set_index(pd.Index([10, 11, 12])), np.array([12, 10]), [2, 0]),
        (FRAME.set_index(pd.MultiIndex.from_tuples([("s", 1), ("s", 2), ("t", 1)])), None, [0, 1, 2]),
        # position: the samples are arrays, the rows have no labels, or both are in the same order
        (FRAME, np.arange(3), [0, 1, 2]),
        (FRAME.set_index(pd.Index([2, 0, 1])), np.arange(3), [0, 1, 2]),
        (FRAME, None, [0, 1, 2]),
        (FRAME.reset_index(drop=True), np.arange(3), [0, 1, 2]),
        (FRAME.reset_index(drop=True), np.array([7, 3, 5]), [0, 1, 2]),
        (FRAME.reset_index(drop=True), pd.RangeIndex(3), [0, 1, 2]),
        (FRAME.set_index(pd.Index(["a", "a", "b"])), pd.Index(["a", "a", "b"]), [0, 1, 2]),
        (FRAME.to_numpy(), pd.Index(["c", "a", "b"]), [0, 1, 2]),
        ({"age": AGE, "site": SITE}, pd.Index(["c", "a", "b"]), [0, 1, 2]),
        # a mapping of Series has their index
        ({"age": FRAME["age"], "site": SITE}, pd.Index(["c", "a", "b"]), [2, 0, 1]),
    ],
)
def test_rows_are_matched_by_label_where_there_are_labels_else_by_position(covariates, index, rows):
    assert_encodes(FITTED, covariates, EXPECTED[rows], n_samples=len(rows), index=index)


@given(st.permutations(range(6)), st.permutations(range(6)), st.integers(1, 6))
def test_matching_by_label_is_reindexing(order, wanted, n):
    labels = np.array([f"s{i}" for i in range(6)])
    table = pd.DataFrame({"x": np.arange(6.0)}, index=labels).iloc[list(order)]
    index = pd.Index(labels[list(wanted[:n])])
    fitted = FittedCovariates((NumericColumn("x", 0.0, 1.0),))
    assert fitted.encode(table, n, index).flatten().tolist() == table["x"].reindex(index).tolist()


def test_views_and_covariates_in_frames_are_matched():
    views = Views(x=pd.DataFrame(np.zeros((3, 2)), index=["b", "c", "a"]))
    assert_encodes(FITTED, FRAME, EXPECTED[[1, 2, 0]], n_samples=3, index=views.index)
    assert_encodes(FITTED, FRAME, EXPECTED[[2, 0]], n_samples=2, index=views[1:].index)


def test_rows_of_other_samples_are_not_learned_from():
    table = pd.DataFrame({"age": [*AGE, NAN], "site": [*SITE, "Bonn"]}, index=[*IDS, "d"])
    assert FittedCovariates.fit(table, n_samples=3, index=pd.Index(["c", "a", "b"])) == FITTED


@pytest.mark.parametrize(
    ("covariates", "index", "message"),
    [
        (FRAME, pd.Index(["a", "b", "x", "y"]), r"2 of 4 samples have no row among the 3.*first \['x', 'y'\]"),
        (FRAME, pd.Index([0, 1, 5]), r"3 of 3 samples have no row.*\[0, 1, 5\].*\['a', 'b', 'c'\]"),
        (FRAME, pd.RangeIndex(3), "samples is a default RangeIndex.*set_index.*set_axis"),
        (FRAME.reset_index(drop=True), pd.Index(["c", "a", "b"]), "that of the rows is a default RangeIndex"),
        (FRAME.reset_index(drop=True), pd.RangeIndex(2), r"\(3 rows, 2 samples\).*default RangeIndex"),
        (FRAME.set_index(pd.Index(["a", "b", "b"])), pd.Index(["a", "b"]), "'b' occurs more than once"),
        (FRAME, np.arange(4), "3 rows for 4 samples; give one row a sample"),
        (FRAME, None, "3 rows for 5 samples"),
        ({"age": [20], "site": ["Rome"]}, None, "1 rows for 5 samples"),  # nothing is broadcast
    ],
)
def test_rows_that_cannot_be_matched_are_refused(covariates, index, message):
    with pytest.raises(ValueError, match=f"^covariates: .*{message}"):
        FITTED.encode(covariates, n_samples=5 if index is None else len(index), index=index)


# --- what is refused ---


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FRAME.assign(age=[20, NAN, NAN]), r"column 'age' has 2 missing.*row 1 \(index 'b'\).*drop.*or fill"),
        (FRAME.assign(site=["Rome", "Oslo", None]), r"column 'site' has 1 missing.*row 2 \(index 'c'\)"),
        (
            FRAME.astype({"site": "category"}).assign(site=pd.Categorical(["Rome", None, "Oslo"])),
            "'site' has 1 missing",
        ),
        (pd.Series([1, pd.NA], dtype="Int64"), "'covariate_0' has 1 missing.*row 1"),
        (["a", None], "has 1 missing.*None at row 1"),
        (["a", NAN], "has 1 missing.*nan at row 1"),
        ([1.0, None], "has 1 missing"),
        (["a", pd.NA], "has 1 missing"),
        (np.ma.array([1, 2, 3], mask=[False, True, False]), "has 1 missing.*row 1"),
        (np.ma.array(["a", "b"], mask=[True, False]), "has 1 missing.*row 0"),
        ([1.0, float("inf")], "has 1 infinite values, first inf at row 1"),
        (pd.Categorical([1.0, float("inf")]), "has 1 infinite values"),
        (pd.DataFrame({"day": pd.to_datetime(["2020-01-01"])}), "column 'day' holds 1 values that are neither"),
        ([datetime.date(2020, 1, 1)], "neither numbers, strings nor bools"),
        ([b"a"], r"neither.*b'a'.*\.astype\(str\)"),
        (np.array([1j]), "neither"),
        ([1, [2, 3]], "neither"),
        (None, r"need shape \(samples,\) or \(samples, columns\), but got NoneType"),
        ("age", "got str"),
        (np.zeros((2, 2, 2)), re.escape("got ndarray of shape (2, 2, 2)")),
        ({"age": 3}, r"column 'age' needs shape \(samples,\), but got shape \(\)"),
        ({"age": np.zeros((2, 2))}, "column 'age' needs shape"),
        ({"age": [1, 2], "sex": ["m"]}, "columns differ in length, {'age': 2, 'sex': 1}"),
        ({"age": pd.Series([1], index=[1]), "sex": pd.Series([1], index=[2])}, "indexes of the columns differ"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column 'a' occurs more than once"),
        ({}, "have no columns"),
        (pd.DataFrame(index=[1, 2]), "have no columns"),
        (np.zeros((2, 0)), "have no columns"),
        ([], "have no rows"),
        (FRAME[:0], "have no rows"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(data, message):
    with pytest.raises(ValueError, match=f"^covariates: .*{message}"):
        FittedCovariates.fit(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"age": [1, 2], "site": ["Oslo", "Rom"]},
            "'site'.*unseen.* 1 rows, first 'Rom' at row 1.*mean 'Rome'",
        ),
        ({"age": [1, 2], "site": ["Bonn", "Bonn"]}, r"'site'.*unseen.* 2 rows, first 'Bonn'.*Allowed: 'Oslo', 'Rome'"),
        ({"age": [1], "site": [1]}, "'site'.*unseen.*first 1 at row 0.*Allowed: 'Oslo', 'Rome'"),
        ({"age": [1], "site": [None]}, "'site' has 1 missing"),
        ({"age": ["20"], "site": ["Oslo"]}, r"'age' is numeric, but 1 of its.*first '20' at row 0.*\.astype\(float\)"),
        ({"age": [NAN], "site": ["Oslo"]}, "'age' has 1 missing"),
        ({"age": [float("inf")], "site": ["Oslo"]}, "'age' has 1 infinite"),
        ({"aeg": [1], "site": ["Oslo"]}, r"no \['age'\] and unknown \['aeg'\].*did you mean 'age'"),
        ({"site": ["Oslo"]}, r"no \['age'\] among the columns.*\['age', 'site'\]"),
        ({"age": [1], "site": ["Oslo"], "sex": ["f"]}, r"unknown \['sex'\] among the columns"),
        (np.zeros((1, 3)), r"3 columns without names, but.*trained with 2: \['age', 'site'\]"),
        ([20.0], "1 columns without names"),
    ],
)
def test_what_training_did_not_know_is_refused(data, message):
    with pytest.raises(ValueError, match=f"^covariates: .*{message}"):
        FITTED.encode(data)


def test_unseen_numbers_are_refused_with_those_allowed():
    with pytest.raises(ValueError, match=r"column 'label'.*first 3 at row 0.*Allowed: 0, 7"):
        FittedCovariates.fit(as_labels([7, 0])).encode(as_labels(np.array([3])))


def test_names_after_training_on_an_array_are_refused():
    with pytest.raises(ValueError, match="training had an array: give one again"):
        FittedCovariates.fit(np.zeros((2, 1))).encode(pd.DataFrame({"age": [1]}))


# --- saving ---


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        as_labels([3, 1, 1]),
        np.float32([1.5, 2.5]),
        {"flag": [True, False], "dose": pd.Categorical([0.5, 1.0]), "batch": ["3A", 7]},
    ],
)
def test_json_keeps_everything_types_included(data):
    fitted = FittedCovariates.fit(data)
    again = FittedCovariates.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert again == fitted
    assert repr(again) == repr(fitted)  # 1, 1.0 and True are equal, but differ here
    assert torch.equal(again.encode(data), fitted.encode(data))


def test_pandas_is_not_imported_for_other_input(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # importing it fails
    fitted = FittedCovariates.fit({"a": [1, 2], "b": ["x", "y"]})
    assert_encodes(fitted, [[1, "x"]], [[-1, 1, 0]], n_samples=1)
    assert_encodes(FittedCovariates.fit(as_labels(torch.tensor([1, 2]))), as_labels([1]), [[1, 0]])
    with pytest.raises(ImportError):
        FittedCovariates.fit(FRAME)


# --- networks ---


@given(st.lists(st.integers(1, 4), max_size=4), st.integers(0, 3), st.integers(0, 3))
def test_conditional_shape_is_that_of_with_covariates(shape, n_covariates, n):
    out = with_covariates(torch.zeros(n, *shape), torch.zeros(n, n_covariates))
    assert out.shape == (n, *conditional_shape(shape, n_covariates))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 3, 2)])
def test_features_get_covariates_behind_them(shape):
    x, c = torch.randn(5, *shape), torch.randn(5, 2)
    for row, (features, covariates) in zip(with_covariates(x, c), zip(x, c, strict=True), strict=True):
        assert row.tolist() == [*features.flatten().tolist(), *covariates.tolist()]


def test_images_get_a_constant_channel_for_each_covariate():
    x, c = torch.randn(5, 3, 4, 2), torch.randn(5, 2)
    out = with_covariates(x, c)
    assert torch.equal(out[:, :3], x)
    for b in range(5):
        for k in range(2):
            assert out[b, 3 + k].unique().tolist() == [c[b, k]]


def test_covariates_take_the_type_of_the_features_and_pass_gradients():
    x, c = torch.randn(2, 1, 2, 2, dtype=torch.float64), torch.randn(2, 3, requires_grad=True)
    out = with_covariates(x, c)
    assert out.dtype == torch.float64
    out.sum().backward()
    assert torch.equal(c.grad, torch.full((2, 3), 4.0))
