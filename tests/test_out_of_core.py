"""Data sets larger than memory.

One pass over chunks learns what ``FittedView.fit`` and ``detect_likelihood`` learn from all rows at once; every epoch
of a ``BatchStream`` has each row once, in an order that follows from torch's random numbers alone; and what is held in
memory does not grow with the data.
"""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from manyview import Views
from manyview.data import streaming
from manyview.data.batch import BatchLoader
from manyview.data.preprocessing import FittedView, make_batch
from manyview.data.stored import Dataset, MVDataset
from manyview.data.streaming import BatchStream, LoadedBatch, LoaderStream, Moments, StoredBatch, Survey, concatenate
from manyview.likelihoods import as_likelihood, detect_likelihood

N = 103


@pytest.fixture(autouse=True)
def small_reads(monkeypatch):
    """Reads of some 10 rows and buffers of some 40, so that a hundred rows take several of both."""
    monkeypatch.setattr(streaming, "_READ", 10 * 4 * 7)
    monkeypatch.setattr(streaming, "_BUFFER", 40 * 4 * 7)


class Chunked(Dataset):
    """Arrays in memory that pretend to be stored in chunks."""

    def __init__(self, arrays, chunk=4, workers=2):
        self.arrays, self.chunk, self.workers = arrays, chunk, workers
        self.shapes = {name: x.shape[1:] for name, x in arrays.items()}

    def __len__(self):
        return len(next(iter(self.arrays.values())))

    def read(self, rows):
        return {name: x[rows] for name, x in self.arrays.items()}


def tables(missing=True, dtype=np.float64):
    rng = np.random.default_rng(0)
    a = (1e4 + rng.normal(size=(N, 4)) * [1, 1e-3, 50, 0]).astype(dtype)  # the last feature is constant
    b = rng.normal(size=(N, 3)).astype(dtype)
    if missing:
        a[rng.random(a.shape) < 0.2] = np.nan
        b[rng.random(N) < 0.3] = np.nan
        a[5], b[5] = np.nan, np.nan
    return {"a": a, "b": b}


def stored(arrays, chunk=4, workers=2, covariates=None):
    dataset, likelihood = Chunked(arrays, chunk, workers), as_likelihood("normal")
    views = Views(arrays)
    fitted = tuple(FittedView.fit(views, name, likelihood, True) for name in views.names)
    return StoredBatch(dataset, fitted, views.present, covariates), make_batch(views, fitted)


def rows_of(batch):
    """Rows as comparable tuples, from a view whose entries all differ."""
    return [tuple(row) for row in batch.x[1].tolist()]


# ---- one pass -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_a_survey_learns_what_a_fit_of_all_rows_learns(missing, dtype, standardise, chunk):
    arrays, likelihood = tables(missing, dtype), as_likelihood("normal")
    training = np.random.default_rng(1).random(N) < 0.8
    survey = Survey(Chunked(arrays, chunk), training, dict.fromkeys(arrays, likelihood))
    views = Views(arrays)
    np.testing.assert_array_equal(survey.present, views.present)
    for name in arrays:
        found = survey.fit_view(name, likelihood, standardise)
        expected = FittedView.fit(views[training], name, likelihood, standardise)
        for part in ("loc", "scale", "fill"):
            np.testing.assert_allclose(getattr(found, part), getattr(expected, part), rtol=1e-9, atol=1e-12)
        for part in ("name", "shape", "feature_names", "named", "dtype"):
            assert getattr(found, part) == getattr(expected, part)


def test_moments_of_one_chunk_are_those_of_a_fit_bit_for_bit():
    x = tables()["a"]
    moments = Moments.of(x)
    expected = FittedView.fit(Views(a=x), "a", as_likelihood("normal"), True)
    np.testing.assert_array_equal(moments.mean, expected.loc)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_add_up_stably(offset):
    """Means of squares less squared means would lose eight digits of the variance at an offset of 10,000 deviations."""
    x = offset + np.random.default_rng(0).normal(size=(10_000, 2))
    moments = Moments.of(x[:0])
    for part in np.array_split(x, 77):
        moments += Moments.of(part)
    np.testing.assert_allclose(moments.squares / moments.count, np.var(x, axis=0), rtol=1e-9)


def one_hot(n, classes):
    return np.eye(classes)[np.arange(n) % classes]


def with_entry(x, row, value):
    x = x.copy()
    x[row, 0] = value
    return x


@pytest.mark.parametrize(
    "x",
    [
        one_hot(N, 3),
        with_entry(one_hot(N, 3), 100, np.nan),
        with_entry(one_hot(N, 3), 100, 1.0),
        with_entry(one_hot(N, 3), 100, 0.5),
        with_entry(one_hot(N, 3), 99, 0.0),
        np.zeros((N, 3)),
        np.ones((N, 3)),
        with_entry(np.zeros((N, 3)), 101, 1.0),
        np.full((N, 2), np.nan) * one_hot(N, 2),
        one_hot(N, 2)[:, :1],
        np.stack([one_hot(N, 3)] * 2, axis=2),
        np.random.default_rng(0).normal(size=(N, 2)),
    ],
)
def test_the_likelihood_is_chosen_as_from_all_rows(x):
    survey = Survey(Chunked({"a": x}), np.ones(N, dtype=bool), {"a": None})
    assert survey.detect("a") == detect_likelihood(x)


def test_data_outside_the_support_are_found_in_any_chunk():
    x = np.zeros((N, 2))
    x[97, 1] = 1.5
    with pytest.raises(ValueError, match=r"view 'a': bernoulli needs values in \[0, 1\], but found 1.5.*number \d+ of"):
        Survey(Chunked({"a": x}), np.ones(N, dtype=bool), {"a": as_likelihood("bernoulli")})


# ---- batches --------------------------------------------------------------------------------------------------------


def epoch(stream, seed=0):
    torch.manual_seed(seed)
    return list(stream)


@pytest.mark.parametrize("chunk", [1, 4, 1000])
@pytest.mark.parametrize("batch_size", [1, 6, 17, 34, 1000])
def test_an_epoch_has_every_row_once(chunk, batch_size):
    data, everything = stored(tables(missing=False), chunk)
    stream = BatchStream(data, batch_size, steps=3, shuffle=True)
    items = epoch(stream)
    assert len(items) == len(stream)
    batches = [batch for item in items for batch in item]
    assert len(batches) == stream.n_batches
    assert all(len(item) == 3 for item in items[:-1])
    assert sorted(row for batch in batches for row in rows_of(batch)) == sorted(rows_of(everything))
    in_memory = BatchLoader(everything, batch_size, 3, shuffle=True)
    assert list(map(len, batches)) == [len(batch) for item in in_memory for batch in item]


def test_a_last_batch_of_one_row_joins_the_one_before():
    data, _ = stored(tables(missing=False))
    sizes = [len(batch) for item in BatchStream(data, 34, steps=2, shuffle=True) for batch in item]
    assert sizes == [34, 34, 35]


def test_the_order_is_new_in_each_epoch_and_follows_from_the_seed_alone():
    data, _ = stored(tables(missing=False))
    slow, _ = stored(tables(missing=False), workers=1)
    stream = BatchStream(data, 10, steps=2, shuffle=True)
    first, second = ([rows_of(b) for item in epoch(stream, seed) for b in item] for seed in (0, 1))
    again = [rows_of(b) for item in epoch(BatchStream(slow, 10, steps=2, shuffle=True)) for b in item]
    assert first == again
    assert first != second
    torch.manual_seed(0)
    assert [rows_of(b) for item in stream for b in item] == first
    assert [rows_of(b) for item in stream for b in item] != first  # the numbers went on


def test_shuffling_mixes_rows_from_afar():
    """Within a buffer of 40 rows, drawn from chunks of 4 anywhere in the data, a batch meets many chunks."""
    number = np.arange(N, dtype=float)[:, None].repeat(7, 1)
    data, _ = stored({"a": number[:, :4], "b": number[:, 4:]})
    view = data.fitted[0]
    batches = [view.decode(b.x[0])[:, 0].round() for item in epoch(BatchStream(data, 20, 1, True)) for b in item]
    assert all(len(set(rows // 4)) >= 7 for rows in batches[:4])
    assert all(np.ptp(rows) > 40 for rows in batches[:4])
    assert all((np.diff(rows) < 0).any() for rows in batches[:4])


def test_without_shuffling_rows_keep_their_order():
    data, everything = stored(tables())
    assert_same(concatenate([b for item in BatchStream(data, 8, 2, False) for b in item]), everything)


def test_the_order_draws_nothing_else_from_torch():
    """Reading ahead takes one number, at the start: what is drawn between batches does not change them."""
    data, _ = stored(tables(missing=False))
    plain = [rows_of(b) for item in epoch(BatchStream(data, 10, 1, True)) for b in item]
    torch.manual_seed(0)
    noisy = []
    for item in BatchStream(data, 10, 1, True):
        torch.randn(5)
        noisy += map(rows_of, item)
    assert plain == noisy


def assert_same(batch, expected):
    """Equal, also where one has masks that say nothing."""
    for m, x in enumerate(expected.x):
        torch.testing.assert_close(batch.x[m], x, rtol=0, atol=0)
        columns = expected.mask[:, m].view(-1, *[1] * (x.ndim - 1)).expand(x.shape)
        for_all = [columns if b.observed[m] is None else b.observed[m] for b in (batch, expected)]
        assert torch.equal(*for_all)
    assert torch.equal(batch.mask, expected.mask)
    if expected.covariates is not None:
        assert torch.equal(batch.covariates, expected.covariates)


@pytest.mark.parametrize("missing", [False, True])
def test_a_stretch_of_rows_is_that_of_a_batch_in_memory(missing):
    covariates = torch.arange(2.0 * N).reshape(N, 2)
    data, everything = stored(tables(missing), covariates=covariates)
    everything = replace(everything, covariates=covariates)
    assert len(data) == N
    assert (data.present is None) == (everything.present is None)
    assert_same(data[20:50], everything[20:50])
    parts = [data[start : start + 9] for start in range(0, N, 9)]
    assert_same(concatenate(parts), everything)


def test_the_samples_of_a_selection_are_streamed_from_the_chunks_they_lie_in():
    arrays = tables(missing=False)
    data, _ = stored(arrays, chunk=10)
    rows = np.flatnonzero(np.arange(N) % 3 > 0)
    some = StoredBatch(
        data.dataset.take(rows).take(np.arange(1, len(rows))), data.fitted, np.ones((len(rows) - 1, 2), bool)
    )
    seen = sorted(row for item in BatchStream(some, 5, 2, True) for batch in item for row in rows_of(batch))
    expected = make_batch(Views({name: x[rows[1:]] for name, x in arrays.items()}), data.fitted)
    assert seen == sorted(rows_of(expected))


def test_an_error_while_reading_ahead_reaches_the_caller_and_ends_the_threads():
    class Broken(Chunked):
        def read(self, rows):
            if 50 in rows:
                raise OSError("the disk is gone")
            return super().read(rows)

    data, _ = stored(tables(missing=False))
    broken = StoredBatch(Broken(data.dataset.arrays), data.fitted, np.ones((N, 2), bool))
    with pytest.raises(OSError, match="the disk is gone"):
        list(BatchStream(broken, 10, 1, True))
    assert_no_threads()


def test_a_stream_that_is_left_ends_its_threads():
    data, _ = stored(tables(missing=False))
    batches = iter(BatchStream(data, 10, 1, True))
    next(batches)
    del batches
    assert_no_threads()


def assert_no_threads():
    deadline = time.monotonic() + 5
    while any(t.name.startswith("manyview") for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rows_are_read_ahead_of_their_use():
    read = threading.Event()

    class Watched(Chunked):
        def read(self, rows):
            self.count = getattr(self, "count", 0) + len(rows)
            if self.count > 60:
                read.set()
            return super().read(rows)

    data, _ = stored(tables(missing=False))
    ahead = StoredBatch(Watched(data.dataset.arrays), data.fitted, np.ones((N, 2), bool))
    batches = iter(BatchStream(ahead, 10, 1, True))
    next(batches)  # needs the first buffer, of 40 rows
    assert read.wait(5)


# ---- DataLoaders ----------------------------------------------------------------------------------------------------


def loaded(arrays, batch_size):
    loader = torch.utils.data.DataLoader(MVDataset(arrays), batch_size=batch_size)
    likelihood = as_likelihood("normal")
    survey = Survey.of_loader(loader, lambda views: dict.fromkeys(views.names, likelihood))
    fitted = tuple(survey.fit_view(name, likelihood, True) for name in survey.names)
    return LoadedBatch(loader, fitted, survey)


def test_a_dataloader_is_surveyed_and_streamed():
    arrays = tables(dtype=np.float32)
    data = loaded(arrays, 16)
    views = Views(arrays)
    for view in data.fitted:
        expected = FittedView.fit(views, view.name, view.likelihood, True)
        np.testing.assert_allclose(view.loc, expected.loc, rtol=1e-9)
        np.testing.assert_allclose(view.scale, expected.scale, rtol=1e-9)
    assert (len(data), data.survey.n_batches) == (N, 7)
    stream = LoaderStream(data, steps=3)
    items = list(stream)
    assert [len(item) for item in items] == [3, 3, 1]
    assert len(stream) == 3
    assert_same(concatenate([b for item in items for b in item]), make_batch(views, data.fitted))


def test_a_last_batch_of_one_row_of_a_dataloader_joins_the_one_before():
    stream = LoaderStream(loaded(tables(missing=False, dtype=np.float32), 34), steps=2)
    assert [len(batch) for item in stream for batch in item] == [34, 34, 35]
    assert stream.n_batches == 3


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "the dataloader is empty"),
        ([{"a": torch.ones(3, 2)}, {"a": torch.ones(3, 4)}], "the dataloader's batches differ"),
        ([[[torch.ones(3, 2)], torch.ones(3)]], "a batch of the dataloader cannot be read"),
    ],
)
def test_what_a_dataloader_must_not_give(items, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Survey.of_loader(items, lambda views: dict.fromkeys(views.names))


# ---- memory ---------------------------------------------------------------------------------------------------------

_PASS = """
import sys, resource, numpy as np, torch
from manyview.data import streaming
from manyview.data.stored import MVDataset
from manyview.data.streaming import StoredBatch, Survey
from manyview.likelihoods import as_likelihood

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

torch.set_num_threads(1)
streaming._BUFFER = 2**22
torch.randn(1000, 1000) @ torch.randn(1000, 1000)
before = peak()
dataset, likelihood = MVDataset({"a": sys.argv[1]}), as_likelihood("normal")
n = len(dataset)
survey = Survey(dataset, np.ones(n, dtype=bool), {"a": likelihood})
data = StoredBatch(dataset, (survey.fit_view("a", likelihood, True),), survey.present)
rows = sum(len(batch) for item in data.loader(128, 8, True) for batch in item)
assert rows == n
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_data(tmp_path):
    """A file of 320 MB, nearly all of it a hole, is surveyed and streamed within half of that."""
    path, shape = tmp_path / "sparse.npy", (40_000, 2000)
    np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()
    done = subprocess.run([sys.executable, "-c", _PASS, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 160
