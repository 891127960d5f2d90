"""Data sets in files, the data modules, and models that are fitted on them.

A data set gives for any rows what indexing its arrays gives, whatever they are stored in; a model fitted on a data set
knows the data as one that was fitted in memory does; what it answers for a data set is what it answers for the views.
"""

import pickle
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

import manyview as mv
from manyview.data.modules import IndexDataModule, MultiviewDataModule
from manyview.data.stored import Dataset, FlatFile, HDF5Array, IndexMVDataset, MVDataset

N = 60
ROWS = [[3], [59, 0, 31, 30], list(range(10, 20)), [], [5, 5, 4], list(range(N))[::-1]]


def arrays():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 2))
    a = (z @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(N, 5))).astype(np.float32)
    b = (z @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(N, 3))).astype(np.float32)
    b[::7] = np.nan
    return {"a": a, "b": b}


# ---- storage --------------------------------------------------------------------------------------------------------


def as_npy(folder, x):
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def as_memmap(folder, x):
    return np.load(as_npy(folder, x), mmap_mode="r")


def as_part_of_memmap(folder, x):
    both = np.concatenate([x, x])
    return np.load(as_npy(folder, both), mmap_mode="r")[len(x) :]


def as_fortran(folder, x):
    return as_npy(folder, np.asfortranarray(x))


def as_hdf5(folder, x):
    import h5py

    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("deep/x", data=x, chunks=(7, *x.shape[1:]))
    return folder / "x.h5"


def as_hdf5_key(folder, x):
    import h5py

    with h5py.File(folder / "x.hdf5", "w") as file:
        file["x"], file["y"] = x, x + 1
    return f"{folder / 'x.hdf5'}::x"


def as_open_hdf5(folder, x):
    import h5py

    return h5py.File(as_hdf5(folder, x), "r")["deep/x"]


def as_zarr(folder, x):
    import zarr

    array = zarr.create_array(folder / "x.zarr", shape=x.shape, chunks=(11, *x.shape[1:]), dtype=x.dtype)
    array[:] = x
    return folder / "x.zarr"


def as_open_zarr(folder, x):
    import zarr

    return zarr.open_array(as_zarr(folder, x), mode="r")


def as_h5ad(folder, x, sparse=False):
    import anndata
    import scipy.sparse

    values = scipy.sparse.csr_matrix(x) if sparse else x
    samples, genes = ([f"{kind}{i}" for i in range(n)] for kind, n in zip(["s", "gene"], x.shape, strict=True))
    names = [pd.DataFrame(index=pd.Index(labels, dtype=object)) for labels in (samples, genes)]
    data = anndata.AnnData(values, *names)
    data.write_h5ad(folder / "x.h5ad")
    return folder / "x.h5ad"


def as_sparse_h5ad(folder, x):
    return as_h5ad(folder, x, sparse=True)


def as_backed(folder, x):
    import anndata

    return anndata.read_h5ad(as_h5ad(folder, x), backed="r")


STORES = [
    as_npy, as_memmap, as_part_of_memmap, as_fortran, as_hdf5, as_hdf5_key, as_open_hdf5, as_zarr, as_open_zarr,
    as_h5ad, as_sparse_h5ad, as_backed, lambda _, x: x, lambda _, x: torch.from_numpy(x), lambda _, x: pd.DataFrame(x),
]  # fmt: skip


@pytest.mark.parametrize("store", STORES)
def test_any_rows_of_any_store_are_those_of_the_array(store, tmp_path):
    x = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    dataset = MVDataset({"a": store(tmp_path, x), "b": x[:, :2]})
    assert len(dataset) == N
    assert dataset.shapes == {"a": (5,), "b": (2,)}
    for rows in ROWS:
        np.testing.assert_array_equal(dataset.read(np.array(rows, dtype=int))["a"], x[rows])
    np.testing.assert_array_equal(dataset[4:9].array("a"), x[4:9])
    np.testing.assert_array_equal(dataset[-1].array("a"), x[-1:])
    np.testing.assert_array_equal(dataset[x[:, 0] > 0].array("a"), x[x[:, 0] > 0])


@pytest.mark.parametrize("store", [as_npy, as_hdf5, as_zarr])
def test_images_of_whole_numbers_become_float32(store, tmp_path):
    x = np.random.default_rng(0).integers(0, 255, size=(N, 1, 4, 5)).astype(np.uint8)
    views = MVDataset({"a": store(tmp_path, x)})[10:13]
    assert views.array("a").dtype == np.float32
    np.testing.assert_array_equal(views.array("a"), x[10:13])


def test_a_memory_map_is_read_as_the_file_that_it_shows(tmp_path):
    """What it has touched would otherwise count as memory of the process."""
    x = np.arange(12.0).reshape(6, 2)
    memory = as_memmap(tmp_path, x)
    found = FlatFile.of(memory)
    assert isinstance(found, FlatFile)
    np.testing.assert_array_equal(found[2:5], x[2:5])
    assert FlatFile.of(memory[1:]) is not found
    assert isinstance(FlatFile.of(memory[1:]), np.ndarray)


def test_stores_are_read_in_whole_stretches():
    """Rows of a chunk, and chunks side by side, are one read; chunks apart are two."""

    class Store:
        shape, dtype, chunks = (100, 2), np.dtype(float), (10, 2)
        reads: ClassVar[list] = []

        def __getitem__(self, rows):
            self.reads.append((rows.start, rows.stop))
            return np.arange(200.0).reshape(100, 2)[rows]

    store = Store()
    dataset = MVDataset({"a": store})
    assert dataset.chunk == 10
    x = dataset.read(np.array([45, 3, 7, 99, 9, 10]))["a"]
    np.testing.assert_array_equal(x[:, 0], [90, 6, 14, 198, 18, 20])
    assert sorted(store.reads) == [(3, 11), (45, 46), (99, 100)]


def test_arrays_with_labels_are_joined_by_them():
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3.0).reshape(3, 1)
    dataset = MVDataset({"a": pd.DataFrame(x, index=[*"pqr"]), "b": pd.DataFrame(y, index=[*"rsp"])})
    assert list(dataset.index) == [*"pqrs"]
    views = dataset[:]
    np.testing.assert_array_equal(views.array("a"), [[0, 1], [2, 3], [4, 5], [np.nan, np.nan]])
    np.testing.assert_array_equal(views.array("b"), [[2], [np.nan], [0], [1]])
    assert views.ids.tolist() == [*"pqrs"]
    assert dataset.feature_names == {"a": ["0", "1"], "b": ["0"]}


def test_files_can_be_sent_to_other_processes(tmp_path):
    x = np.ones((N, 5), np.float32)
    dataset = MVDataset({"a": as_npy(tmp_path, x), "b": as_hdf5(tmp_path, x), "c": as_zarr(tmp_path, x)})
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[3].array("c"), x[:1])
    assert isinstance(dataset._sources["b"].array, HDF5Array)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"a": "nowhere.npy"}, FileNotFoundError, "view 'a': there is no nowhere.npy"),
        ({"a": np.ones(3)}, ValueError, r"view 'a': needs shape \(samples, features\)"),
        ({"a": np.array([["x"]])}, ValueError, "view 'a': is not real numbers"),
        ({"a": object()}, TypeError, "view 'a': is a object; give the path of a file"),
        ({"a": np.ones((3, 1)), "b": np.ones((4, 1))}, ValueError, r"different numbers of samples, {'a': 3, 'b': 4}"),
        ({}, ValueError, "no views"),
    ],
)
def test_what_a_data_set_cannot_be_made_of(data, error, message):
    with pytest.raises(error, match=message):
        MVDataset(data)


def test_broken_files_and_unknown_types_are_named(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY nothing")
    (tmp_path / "x.csv").write_text("1,2")
    as_hdf5_key(tmp_path, np.ones((3, 2)))
    for name, message in [
        ("x.npy", r"x\.npy cannot be read"),
        ("x.csv", r"'\.csv' cannot be read in parts"),
        ("x.hdf5", r"holds the arrays \['x', 'y'\]; choose one as '.*x\.hdf5::x'"),
        ("x.hdf5::z", "cannot be read"),
    ]:
        with pytest.raises(ValueError, match=message):
            MVDataset({"a": tmp_path / name})


@pytest.mark.parametrize("rows", [60, [-61], [0, 60], np.array([0.5]), np.array([[1]]), [True, False]])
def test_rows_that_are_not_there(rows):
    with pytest.raises(IndexError):
        MVDataset(arrays())[rows]


def test_a_data_set_that_reads_other_than_it_states_is_refused():
    class Wrong(Dataset):
        shapes = {"a": (2,)}  # noqa: RUF012
        answer: dict

        def __len__(self):
            return 5

        def read(self, rows):
            return self.answer

    wrong = Wrong()
    for answer, message in [
        ({"b": np.ones((1, 2))}, "read the views"),
        ({"a": np.ones((1, 3))}, "read view 'a' of shape"),
    ]:
        wrong.answer = answer
        with pytest.raises(ValueError, match=message):
            wrong[0]


# ---- a file for each sample -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in "pqrs":
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "mri.npy", rng.normal(size=(2, 3, 4)))
        if name != "q":
            np.save(tmp_path / name / "pet.npy", rng.normal(size=5).astype(np.float32))
    return tmp_path


def test_a_sample_without_a_file_lacks_the_view(folder):
    dataset = IndexMVDataset([*"pqrs"], folder, "{id}/{view}.npy", views=["mri", "pet"])
    assert dataset.shapes == {"mri": (2, 3, 4), "pet": (5,)}
    views = dataset[[3, 1]]
    assert views.present.tolist() == [[True, True], [True, False]]
    assert views.ids.tolist() == ["s", "q"]
    np.testing.assert_array_equal(views.array("mri")[0], np.load(folder / "s" / "mri.npy"))
    assert [views.array(name).dtype for name in views.names] == [np.float64, np.float32]


def test_numbered_views_and_places_without_names(tmp_path):
    for i, name in [(0, "p"), (0, "q"), (1, "p"), (1, "q")]:
        np.save(tmp_path / f"view{i}_{name}.npy", np.full(2, i))
    dataset = IndexMVDataset(["q", "p"], tmp_path, "view{}_{}.npy", views=2)
    assert dataset.shapes == {"view_0": (2,), "view_1": (2,)}
    np.testing.assert_array_equal(dataset[:].array("view_1"), np.ones((2, 2)))


def test_images_are_read_with_channels_first(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "photo_p.png")
    image.fromarray(pixels[..., 0]).save(tmp_path / "grey_p.png")
    views = IndexMVDataset(["p"], tmp_path, "{view}_{id}.png", views=["photo", "grey"])[0]
    np.testing.assert_allclose(views.array("photo")[0], pixels.transpose(2, 0, 1) / 255, rtol=1e-6)
    np.testing.assert_allclose(views.array("grey")[0, 0], pixels[..., 0] / 255, rtol=1e-6)


def test_nifti_volumes_are_read(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "mri_p.nii.gz")
    views = IndexMVDataset(["p"], tmp_path, "{view}_{id}.nii.gz", views=["mri"])[0]
    np.testing.assert_allclose(views.array("mri")[0], volume)


def test_a_reader_of_the_users_own(tmp_path):
    (tmp_path / "a_p.txt").write_text("1 2 3")
    dataset = IndexMVDataset(
        ["p"], tmp_path, "{view}_{id}.txt", views=["a"], reader=lambda p: torch.tensor(np.loadtxt(p))
    )
    np.testing.assert_array_equal(dataset[0].array("a"), [[1, 2, 3]])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"ids": ["p", "p"]}, ValueError, "each once"),
        ({"data_dir": "nowhere"}, FileNotFoundError, "data_dir='nowhere'"),
        ({"filename": "{id}/{view}.np"}, FileNotFoundError, "none of the 4 samples has a file, for example"),
        ({"filename": "{name}.npy"}, ValueError, "only {view} and {id} can be put into it"),
        ({"views": "mri"}, ValueError, "give the names of the views"),
        ({"views": ["mri", "txt"]}, FileNotFoundError, "view 'txt'"),
    ],
)
def test_what_a_list_of_samples_cannot_be_made_of(folder, changes, error, message):
    settings = {"ids": [*"pqrs"], "data_dir": folder, "filename": "{id}/{view}.npy", "views": ["mri", "pet"], **changes}
    with pytest.raises(error, match=message):
        IndexMVDataset(settings.pop("ids"), settings.pop("data_dir"), settings.pop("filename"), **settings)


def test_a_file_that_is_broken_or_of_another_shape_is_named(folder):
    dataset = IndexMVDataset([*"pqrs"], folder, "{id}/{view}.npy", views=["mri", "pet"])
    np.save(folder / "r" / "pet.npy", np.ones(6))
    with pytest.raises(ValueError, match=r"r/pet.npy has shape \(6,\), but the first file of view 'pet' has \(5,\)"):
        dataset[2]
    (folder / "r" / "pet.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"r/pet.npy.* cannot be read"):
        dataset[2]


# ---- data modules ---------------------------------------------------------------------------------------------------


def test_a_data_module_divides_the_samples_once():
    datamodule = MultiviewDataModule(arrays(), batch_size=8, train_size=0.75, random_state=1)
    assert isinstance(datamodule, pl.LightningDataModule)
    datamodule.setup("fit")
    trained, held_out = datamodule.trained, datamodule.held_out
    assert (len(datamodule.train_dataset), len(datamodule.val_dataset)) == (45, 15)
    assert sorted([*trained, *held_out]) == list(range(N))
    datamodule.setup("validate")
    assert datamodule.trained is trained
    again = MultiviewDataModule(arrays(), train_size=0.75, random_state=1)
    again.setup()
    np.testing.assert_array_equal(again.held_out, held_out)
    np.testing.assert_array_equal(datamodule.val_dataset[:].array("a"), arrays()["a"][held_out])
    batches = list(datamodule.train_dataloader())
    assert [len(batch["a"]) for batch in batches] == [8, 8, 8, 8, 8, 5]
    seen = np.concatenate([batch["a"] for batch in batches])
    assert sorted(map(tuple, seen)) == sorted(map(tuple, arrays()["a"][trained]))
    np.testing.assert_array_equal(np.concatenate([b["b"] for b in datamodule.predict_dataloader()]), arrays()["b"])


def test_a_data_module_without_validation():
    datamodule = MultiviewDataModule(list(arrays().values()), is_validate=False)
    datamodule.setup()
    assert datamodule.val_dataset is None
    assert datamodule.val_dataloader() == []
    assert datamodule.dataset.names == ("view_0", "view_1")


def test_a_data_module_of_files(folder):
    datamodule = IndexDataModule([*"pqrs"], folder, "{id}/{view}.npy", views=["mri", "pet"], train_size=0.5)
    datamodule.setup()
    assert len(datamodule.train_dataset) == 2
    assert next(iter(datamodule.predict_dataloader()))["mri"].shape == (4, 2, 3, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_size": 0.0}, "train_size=0.0"),
        ({"train_size": 1.5}, "train_size=1.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"labels": [0] * N, "covariates": np.ones((N, 1))}, "among the covariates, or alone"),
    ],
)
def test_what_a_data_module_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        MultiviewDataModule(arrays(), **settings)


# ---- models on data sets --------------------------------------------------------------------------------------------

SETTINGS = {"z_dim": 2, "max_epochs": 3, "batch_size": 16, "random_state": 0, "verbose": False}


@pytest.fixture(scope="module")
def in_memory():
    return mv.MVAE(**SETTINGS).fit(arrays())


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    folder, data = tmp_path_factory.mktemp("data"), arrays()
    for name, x in data.items():
        np.save(folder / f"{name}.npy", x)
    return mv.MVAE(**SETTINGS).fit(MVDataset({name: folder / f"{name}.npy" for name in data}))


def test_a_model_learns_the_same_of_a_data_set_as_of_views(in_memory, streamed):
    np.testing.assert_array_equal(streamed.held_out_, in_memory.held_out_)
    for found, expected in zip(streamed.views_, in_memory.views_, strict=True):
        assert (found.name, found.shape, found.dtype) == (expected.name, expected.shape, expected.dtype)
        assert type(found.likelihood) is type(expected.likelihood)
        for part in ("loc", "scale", "fill"):
            np.testing.assert_allclose(getattr(found, part), getattr(expected, part), rtol=1e-9, atol=1e-12)
    assert streamed.history_.columns.tolist() == in_memory.history_.columns.tolist()
    assert len(streamed.history_) == 3


def test_without_shuffling_differences_training_is_the_same():
    """In batches of all samples, where order has no part, the weights are those of training in memory."""
    settings = {**SETTINGS, "batch_size": "full", "max_epochs": 5}
    models = [mv.AE(**settings).fit(data) for data in (arrays(), MVDataset(arrays()))]
    np.testing.assert_allclose(models[1].history_, models[0].history_, rtol=1e-4)


def test_the_same_seed_gives_the_same_model_of_a_data_set(streamed):
    again = mv.MVAE(**SETTINGS).fit(MVDataset(arrays(), workers=1))
    pd.testing.assert_frame_equal(again.history_, streamed.history_)


def test_answers_for_a_data_set_are_those_for_its_views(streamed):
    dataset, views = MVDataset(arrays()), mv.Views(arrays())
    np.testing.assert_allclose(streamed.transform(dataset), streamed.transform(views), rtol=1e-6)
    np.testing.assert_allclose(streamed.score_samples(dataset), streamed.score_samples(views), rtol=1e-6)
    for method in ("predict", "impute"):
        found, expected = getattr(streamed, method)(dataset), getattr(streamed, method)(views)
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    with pytest.warns(UserWarning, match="9 of 60 samples have none of the given views"):
        streamed.transform(dataset, given="b")


def test_a_data_set_is_checked_as_views_are(streamed):
    with pytest.raises(ValueError, match="no view 'c'"):
        streamed.transform(MVDataset({"c": np.ones((3, 2))}))
    with pytest.raises(ValueError, match=r"features of shape \(2,\), but the model was fitted on \(5,\)"):
        streamed.transform(MVDataset({"a": np.ones((3, 2))}))


def test_samples_without_any_view_are_left_out():
    data = arrays()
    data["a"][7] = np.nan  # b lacks it as well
    with pytest.warns(UserWarning, match="1 of 60 samples have no view at all; they are left out"):
        model = mv.MVAE(**SETTINGS).fit(MVDataset(data))
    assert 7 not in model.held_out_


def test_a_data_set_can_be_watched_on_and_conditioned():
    data, age = arrays(), np.arange(N, dtype=float)[:, None]
    held_out = MVDataset({name: x[40:] for name, x in data.items()})
    trained = MVDataset({name: x[:40] for name, x in data.items()})
    model = mv.MVAE(**SETTINGS)
    model.fit(trained, covariates=age[:40], validation=held_out, validation_covariates=age[40:])
    assert "val_loss" in model.history_
    assert model.held_out_.size == 0
    in_memory = mv.MVAE(**SETTINGS).fit(
        {name: x[:40] for name, x in data.items()},
        covariates=age[:40],
        validation={name: x[40:] for name, x in data.items()},
        validation_covariates=age[40:],
    )
    # The same validation samples meet the same draws; after an epoch the weights differ, if little.
    np.testing.assert_allclose(model.history_["val_loss"].iloc[0], in_memory.history_["val_loss"].iloc[0], rtol=0.05)
    assert model.transform(held_out, covariates=age[40:]).shape == (20, 2)


def test_fit_with_a_data_module_takes_its_division_and_batches():
    datamodule = MultiviewDataModule(arrays(), batch_size=8, train_size=0.75, labels=np.arange(N) % 2)
    model = mv.MVAE(**{**SETTINGS, "batch_size": "auto"}).fit(datamodule=datamodule)
    np.testing.assert_array_equal(model.held_out_, datamodule.held_out)
    assert model.covariates_.feature_names == ("label=0", "label=1")
    views = mv.Views(arrays())[datamodule.trained]
    np.testing.assert_allclose(model.views_[0].loc, views.array("a").mean(0, dtype=float), rtol=1e-9)


def test_fit_with_a_list_of_files(folder):
    datamodule = IndexDataModule([*"pqrs"], folder, "{id}/{view}.npy", views=["mri", "pet"], is_validate=False)
    model = mv.MVAE(z_dim=2, max_epochs=2, random_state=0, verbose=False, encoder="mlp", decoder="mlp")
    imputed = model.fit(datamodule=datamodule).impute(datamodule.dataset)
    assert imputed["pet"].shape == (4, 5)
    assert np.isfinite(imputed["pet"]).all()
    np.testing.assert_allclose(imputed["mri"][1], np.load(folder / "q" / "mri.npy"))


class Theirs(pl.LightningDataModule):
    """A data module of a user's own."""

    def setup(self, stage):
        self.parts = {name: torch.from_numpy(x) for name, x in arrays().items()}

    def train_dataloader(self):
        data = torch.utils.data.TensorDataset(*(x[:40] for x in self.parts.values()))
        return DataLoader(data, batch_size=13, shuffle=True)

    def val_dataloader(self):
        data = torch.utils.data.TensorDataset(*(x[40:] for x in self.parts.values()))
        return DataLoader(data, batch_size=13)


def test_fit_with_a_data_module_of_the_users():
    settings = {**SETTINGS, "batch_size": "auto"}
    model = mv.MVAE(**settings).fit(datamodule=Theirs())
    assert model.view_names_ == ["view_0", "view_1"]
    assert "val_loss" in model.history_
    np.testing.assert_allclose(model.views_[0].loc, arrays()["a"][:40].mean(0, dtype=float), rtol=1e-9)
    again = mv.MVAE(**settings).fit(datamodule=Theirs())
    pd.testing.assert_frame_equal(again.history_, model.history_)


def test_fit_with_a_dataloader():
    settings = {**SETTINGS, "batch_size": "auto"}
    loader = DataLoader(MVDataset(arrays()), batch_size=13, shuffle=True)
    model = mv.MVAE(**settings).fit(dataloader=loader, validation=arrays())
    assert model.view_names_ == ["a", "b"]
    assert "val_loss" in model.history_
    with pytest.raises(ValueError, match="the dataloader makes the batches"):
        mv.MVAE(**SETTINGS).fit(dataloader=loader)
    with pytest.raises(ValueError, match="covariates are given, but dataloaders have none"):
        mv.MVAE(**settings).fit(dataloader=loader, covariates=np.ones((N, 1)))


def test_the_training_data_are_given_once():
    model, datamodule = mv.MVAE(**SETTINGS), MultiviewDataModule(arrays())
    for arguments in ({"X": arrays(), "datamodule": datamodule}, {"datamodule": datamodule, "dataloader": []}):
        with pytest.raises(TypeError, match="give the training data once"):
            model.fit(**arguments)
    with pytest.raises(ValueError, match="no views: give an array"):
        model.fit()
    with pytest.raises(TypeError, match="a data set holds all the views"):
        model.fit(MVDataset(arrays()), arrays()["a"])
    for arguments in ({"covariates": np.ones((N, 1))}, {"validation": arrays()}):
        with pytest.raises(ValueError, match="are the datamodule's: give them to it"):
            model.fit(datamodule=datamodule, **arguments)


@pytest.mark.parametrize("cls", [mv.MCVAE, mv.DCCA, mv.MAAE])
def test_models_of_other_kinds_are_fitted_on_data_sets(cls):
    """One aligns its codes after training, one takes whole batches, one has an adversary."""
    dataset = MVDataset({name: np.nan_to_num(x) for name, x in arrays().items()})
    model = cls(z_dim=2, max_epochs=2, random_state=0, verbose=False).fit(dataset)
    assert np.isfinite(model.transform(dataset)).all()


def test_a_run_on_a_data_set_is_resumed(tmp_path):
    dataset = MVDataset(arrays())
    whole = mv.MVAE(**SETTINGS).fit(dataset, checkpoint=tmp_path / "whole")
    mv.MVAE(**{**SETTINGS, "max_epochs": 2}).fit(dataset, checkpoint=tmp_path / "parts")
    parts = mv.MVAE(**SETTINGS).fit(dataset, checkpoint=tmp_path / "parts", resume=True)
    pd.testing.assert_frame_equal(parts.history_, whole.history_)
    np.testing.assert_array_equal(parts.transform(dataset), whole.transform(dataset))
