"""Files: each format gives back what was written, rows meet by their ids, and what is wrong is named with its file."""

import gzip
import logging
import os
import re
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from manyview.data.files import FORMATS, read_table, read_views, write_table

IDS = ["m1", "m2", "m3", "m4"]
TABLE = pd.DataFrame(
    {"Acox1": [0.1, 1 / 3, np.nan, 4e-300], "Cpt2": [1.0, -2.5, 1e10, 0.25]}, index=pd.Index(IDS, name="mouse")
)
X = TABLE.to_numpy()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Tests run in a folder of their own, so that paths are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, text):
    Path(name).write_text(text)
    return name


def write_npz(path, **arrays):
    np.savez(path, **arrays)


def write_hdf5(path, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array.astype("S") if array.dtype.kind == "U" else array


def as_anndata(x, samples, features=None, **obs):
    anndata = pytest.importorskip("anndata")
    var = pd.DataFrame(index=features or [f"g{i}" for i in range(x.shape[1])])
    return anndata.AnnData(x, obs=pd.DataFrame(obs, index=samples), var=var)


@contextmanager
def strings_written():
    """Let anndata write pandas' strings, of those kinds that it can."""
    anndata = pytest.importorskip("anndata")
    with (
        pd.option_context("mode.string_storage", "python"),
        anndata.settings.override(allow_write_nullable_strings=True),
    ):
        yield


def write_anndata(path, **obs):
    with strings_written():
        as_anndata(X, IDS, list(TABLE.columns), **obs).write_h5ad(path)


def write_image(path, pixels):
    image = pytest.importorskip("PIL.Image")
    Path(path).parent.mkdir(exist_ok=True)
    image.fromarray(pixels).save(path)


WRITERS = {
    ".csv": lambda path: TABLE.to_csv(path),
    ".csv.gz": lambda path: TABLE.to_csv(path),
    ".tsv": lambda path: TABLE.to_csv(path, sep="\t"),
    ".tsv.gz": lambda path: TABLE.to_csv(path, sep="\t"),
    ".parquet": lambda path: TABLE.to_parquet(path),
    ".npz": lambda path: write_npz(path, mouse=np.array(IDS), view=X),
    ".h5": lambda path: write_hdf5(path, mouse=np.array(IDS), view=X),
    ".hdf5": lambda path: write_hdf5(path, mouse=np.array(IDS), view=X),
    ".h5ad": lambda path: write_anndata(path),
}


# ---- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_back_what_was_written(suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    WRITERS[suffix]("view" + suffix)
    for paths in ("view" + suffix, {"view": Path("view" + suffix)}):
        views = read_views(paths, id="mouse")
        assert views.names == ("view",)
        np.testing.assert_array_equal(views.ids, IDS)
        np.testing.assert_array_equal(views.array("view"), X)
    if suffix not in (".npz", ".h5", ".hdf5"):
        assert views.feature_names["view"].tolist() == ["Acox1", "Cpt2"]


def test_every_suffix_that_is_announced_is_read():
    assert set(FORMATS) == {*WRITERS, ".npy", ".h5mu"}


def test_npy_is_matched_by_position():
    np.save("a.npy", X)
    TABLE.to_csv("b.csv", index=False)
    views = read_views({"a": "a.npy", "b": "b.csv"})
    np.testing.assert_array_equal(views.array("a"), views.array("b"))
    np.testing.assert_array_equal(views.ids, range(4))


def test_one_file_may_hold_all_views():
    images = np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2)
    for write_arrays, path in ((write_npz, "all.npz"), (write_hdf5, "all.h5")):
        write_arrays(path, genes=X, images=images, mouse=np.array(IDS))
        views = read_views(path, id="mouse")
        assert views.shapes == {"genes": (2,), "images": (3, 2, 2)}
        np.testing.assert_array_equal(views.array("images"), images)
        assert views.ids.tolist() == IDS
        chosen = read_views({"images": path}, id="mouse")  # of several, the one that has the view's name
        np.testing.assert_array_equal(chosen.array("images"), images)


def test_groups_of_hdf5_are_part_of_the_name():
    write_hdf5("all.h5", **{"omics/genes": X, "omics/lipids": X + 1})
    assert read_views("all.h5").names == ("omics/genes", "omics/lipids")


def test_anndata_is_labelled_by_obs_names_or_a_column_of_obs():
    write_anndata("a.h5ad", case=["7", "8", "9", "10"])
    assert read_views("a.h5ad").ids.tolist() == IDS
    assert read_views("a.h5ad", id="case").ids.tolist() == ["7", "8", "9", "10"]


def test_mudata_holds_all_views_joined_on_their_samples():
    mudata = pytest.importorskip("mudata")
    from scipy import sparse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mudata's own
        with strings_written():
            rna = as_anndata(sparse.csr_matrix(np.eye(3)), ["a", "b", "c"])
            protein = as_anndata(np.array([[3.0], [1.0]]), ["c", "a"], ["p53"])
            mudata.MuData({"rna": rna, "protein": protein}).write("all.h5mu")
        views = read_views("all.h5mu")
    assert views.ids.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(views.array("rna"), np.eye(3))
    np.testing.assert_array_equal(views.array("protein"), [[1.0], [np.nan], [3.0]])


def test_a_folder_of_images_is_a_view():
    grey = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    for name, pixels in zip(["b.png", "a.PNG", "c.tif"], grey, strict=True):
        write_image(f"scans/{name}", pixels)
    write("scans/.DS_Store", "not a sample")
    views = read_views({"scan": "scans"})
    assert views.ids.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(views.array("scan"), grey[[1, 0, 2], None] / 255, rtol=1e-6)

    write("table.csv", "id,x\nc,1\na,2\n")
    joined = read_views({"x": "table.csv", "scan": "scans"}, id="id")
    assert joined.ids.tolist() == ["c", "a", "b"]
    assert joined.present.tolist() == [[True, True], [True, True], [False, True]]
    np.testing.assert_array_equal(joined.array("scan")[1], views.array("scan")[0])


@pytest.mark.parametrize(
    ("pixels", "shape", "value"),
    [
        (np.full((2, 3, 3), 51, np.uint8), (3, 2, 3), 0.2),
        (np.full((2, 3, 4), 51, np.uint8), (3, 2, 3), 0.2),  # transparency is left out
        (np.full((2, 3), 13107, np.uint16), (1, 2, 3), 0.2),
        (np.full((2, 3), True), (1, 2, 3), 1.0),
        (np.full((2, 3), 7.5, np.float32), (1, 2, 3), 7.5),
    ],
    ids=["colour", "alpha", "16 bit", "1 bit", "float"],
)
def test_images_are_channels_first_and_integers_scaled(pixels, shape, value):
    write_image("scans/a.tif", pixels)
    views = read_views({"scan": "scans"})
    assert views.shapes["scan"] == shape
    np.testing.assert_allclose(views.array("scan"), value, rtol=1e-6)


def test_folders_of_volumes_and_arrays():
    Path("arrays").mkdir()
    volumes = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32)
    for name, volume in zip("ab", volumes, strict=True):
        np.save(f"arrays/{name}.npy", volume)
    np.testing.assert_array_equal(read_views("arrays").array("arrays"), volumes)

    nibabel = pytest.importorskip("nibabel")
    Path("brains").mkdir()
    for name, volume in zip(["a.nii", "b.nii.gz"], volumes, strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), f"brains/{name}")
    views = read_views({"brain": "brains"})
    assert views.ids.tolist() == ["a", "b"]
    np.testing.assert_array_equal(views.array("brain"), volumes)


# ---- joining --------------------------------------------------------------------------------------------------------


def test_a_sample_that_a_file_lacks_misses_that_view(caplog):
    write("a.csv", "x,id,y\n1,p,2\n3,q,4\n5,r,6\n")
    write("b.csv", "id,z\nr,7\ns,8\np,9\n")
    with caplog.at_level(logging.INFO, "manyview"):
        views = read_views({"a": "a.csv", "b": "b.csv"}, id="id")
    np.testing.assert_array_equal(views.ids, ["p", "q", "r", "s"])
    np.testing.assert_array_equal(views.array("a"), [[1, 2], [3, 4], [5, 6], [np.nan, np.nan]])
    np.testing.assert_array_equal(views.array("b"), [[9], [np.nan], [7], [8]])
    assert views.index.name == "id"
    assert "read 4 samples, 2 of them in all files" in caplog.text


def test_tables_come_back_as_tables_with_their_ids():
    write("a.csv", "id,x\np,1\nq,2\n")
    frame = read_views({"a": "a.csv"}, id="id")["a"]
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index(["p", "q"], name="id")))


def test_ids_are_text_so_that_numbers_meet_across_formats():
    pytest.importorskip("pyarrow")
    write("a.csv", "id,x\n7 ,1\n 8,2\n007,3\n")
    pd.DataFrame({"id": [8, 7], "y": [1, 2]}).to_parquet("b.parquet")
    pd.DataFrame({"id": [8.0, 7.0], "y": [1, 2]}).to_parquet("c.parquet")
    write_npz("d.npz", id=np.array([b"8", b"7"]), y=np.array([[1], [2]]))
    for other in ("b.parquet", "c.parquet", "d.npz"):
        views = read_views({"a": "a.csv", "b": other}, id="id")
        assert views.ids.tolist() == ["7", "8", "007"]
        np.testing.assert_array_equal(views.array("b"), [[2], [1], [np.nan]])


def test_byte_order_marks_quotes_and_windows_lines_are_read():
    Path("a.csv").write_bytes('\ufeffid,"C16:0, µM"\r\np,1\r\n\r\n"q",2\r\n'.encode())
    views = read_views("a.csv", id="id")
    assert views.feature_names["a"].tolist() == ["C16:0, µM"]
    assert views.ids.tolist() == ["p", "q"]


def test_empty_lines_and_spaces_are_no_data():
    write("a.csv", 'id, x , "y, z"\np, 1, NA\n\nq, 2, 3\n,,\n,,\n')
    views = read_views("a.csv", id="id")
    assert views.ids.tolist() == ["p", "q"]
    assert views.feature_names["a"].tolist() == ["x", "y, z"]
    np.testing.assert_array_equal(views.array("a"), [[1, np.nan], [2, 3]])


def test_missing_values_and_booleans_are_numbers():
    pytest.importorskip("pyarrow")
    write("a.csv", "id,x,y\np,True,NA\nq,,2\nr,False,\n")
    columns = {"x": pd.array([True, None, False], "boolean"), "y": pd.array([None, 2, None], "Int64")}
    pd.DataFrame(columns, index=pd.Index(["p", "q", "r"], name="id")).to_parquet("b.parquet")
    views = read_views({"a": "a.csv", "b": "b.parquet"}, id="id")
    for view in views:
        np.testing.assert_array_equal(views.array(view), [[1, np.nan], [np.nan, 2], [0, np.nan]])


def test_an_index_of_parquet_labels_unless_it_only_counts():
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    frame.to_parquet("a.parquet")
    frame.iloc[[2, 0]].to_parquet("b.parquet")
    frame.iloc[1:].to_parquet("c.parquet")
    assert read_views("a.parquet").ids.tolist() == [0, 1, 2]
    assert read_views("b.parquet").ids.tolist() == ["2", "0"]
    joined = read_views({"b": "b.parquet", "c": "c.parquet"})
    assert joined.ids.tolist() == ["2", "0", "1"]
    np.testing.assert_array_equal(joined.array("c"), [[3], [np.nan], [2]])


@pytest.mark.parametrize("values", [["2020-01-01", None], ["u", "v"]])
def test_dates_and_categories_are_no_numbers(values):
    pytest.importorskip("pyarrow")
    dtype = "datetime64[s]" if None in values else "category"
    pd.DataFrame({"id": ["p", "q"], "when": pd.Series(values, dtype=dtype)}).to_parquet("a.parquet")
    with pytest.raises(ValueError, match=rf"column 'when' is not numeric, first .*{values[0]}.* in sample 'p'"):
        read_views("a.parquet", id="id")


def test_row_names_of_r_can_be_the_ids():
    write("a.csv", '"","x"\n"p",1\n"q",2\n')  # write.csv
    write("b.tsv", '"x"\n"p"\t1\n"q"\t2\n')  # write.table
    views = read_views({"a": "a.csv", "b": "b.tsv"}, id="Unnamed: 0")
    assert views.ids.tolist() == ["p", "q"]
    np.testing.assert_array_equal(views.array("b"), [[1], [2]])


def test_few_ids_in_common_are_doubted():
    write("a.csv", "id,x\n" + "".join(f"m{i},1\n" for i in range(10)))
    write("b.csv", "id,y\n" + "".join(f"m{i},1\n" for i in range(7, 17)))
    with pytest.warns(UserWarning, match=r"a.csv \(10 ids, such as 'm0'\) and b.csv .* only 3 ids in common") as record:
        read_views({"a": "a.csv", "b": "b.csv"}, id="id")
    assert len(record) == 1
    assert record[0].filename == __file__


def test_a_subset_of_the_samples_is_not_doubted(recwarn):
    write("a.csv", "id,x\n" + "".join(f"m{i},1\n" for i in range(10)))
    write("b.csv", "id,y\nm9,1\n")
    read_views({"a": "a.csv", "b": "b.csv"}, id="id")
    assert not recwarn


def test_headers_that_are_numbers_in_order_are_names():
    write("spectra.csv", "400.5,401.0,401.5\n1,2,3\n")
    assert read_views("spectra.csv").feature_names["spectra"].tolist() == ["400.5", "401.0", "401.5"]


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_tables_keep_text_and_categories(suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"diet": ["lin", 'a "b", c', None], "age": [3, 4, 5], "z": [0.1, 1 / 3, np.nan]},
        index=pd.Index(["007", "8", "NAN1"], name="mouse"),
    )
    write_table(frame, "t" + suffix)
    read = read_table("t" + suffix, id="mouse")
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert read["age"].dtype.kind == "i"
    if suffix == ".parquet":
        category = frame.astype({"diet": "category"})
        write_table(category, "c.parquet")
        assert read_table("c.parquet", id="mouse")["diet"].dtype == "category"
        pd.testing.assert_frame_equal(read_table("c.parquet"), category, check_index_type=False)


def test_without_id_all_columns_are_kept():
    write("t.csv", "id,diet\n1,lin\n1,sun\n")
    assert read_table("t.csv").columns.tolist() == ["id", "diet"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_has_its_ids_and_is_not_changed(suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    frame = pd.DataFrame({0: [0.5, 1.5], 1: [2.0, 3.0]})
    write_table(frame, "latents" + suffix)
    assert frame.columns.tolist() == [0, 1]
    assert frame.index.name is None
    read = read_table("latents" + suffix, id="id")
    assert read.index.tolist() == ["0", "1"]
    assert read.columns.tolist() == ["0", "1"]
    np.testing.assert_array_equal(read, frame)


def test_a_failed_write_leaves_the_former_file(monkeypatch):
    write_table(TABLE, "t.csv")
    before = Path("t.csv").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_table(TABLE * 2, "t.csv")
    assert Path("t.csv").read_bytes() == before
    assert os.listdir() == ["t.csv"]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("t.xlsx", ValueError, "t.xlsx: unknown format; save it as one of .csv, .csv.gz, .tsv, .tsv.gz, .parquet"),
        ("nowhere/t.csv", FileNotFoundError, "there is no folder 'nowhere'"),
    ],
)
def test_tables_are_not_written_where_they_cannot_be(path, error, message):
    with pytest.raises(error, match=re.escape(message)):
        write_table(TABLE, path)


def test_an_index_called_like_a_column_is_refused():
    with pytest.raises(ValueError, match="index and a column are both called 'id'"):
        write_table(pd.DataFrame({"id": [1]}), "t.csv")


# ---- what is wrong --------------------------------------------------------------------------------------------------

WRONG_TEXT = [
    # the text of a.csv, id, what the message says
    ("", None, "a.csv: is empty"),
    ("\n\n", None, "a.csv: is empty, or its first line is"),
    ("id,x\n", "id", "a.csv: has names of columns, but no rows"),
    ("id\np\nq\n", "id", "a.csv: has no columns but the sample ids"),
    ("id,x\np,1\nq,n.d.\nr,?\n", "id", "column 'x' is not numeric, first 'n.d.' in sample 'q'; write numbers as 1.5"),
    ("x,y\n1,2\n1,lin\n", None, "column 'y' is not numeric, first 'lin' in row 2"),
    ("x,y,z\n1,a,b\n", None, "column 'y' is not numeric, first 'a' in row 1 (1 other columns are not numeric either)"),
    ("mouse,x\nm1,1\n", None, "if it holds the sample ids, give id='mouse'"),
    ("x,y\n1,2021-03-04\n", None, "column 'y' is not numeric, first '2021-03-04'"),
    ("ID,x\np,1\n", "id", "a.csv: has no column 'id' of sample ids; did you mean 'ID'? It has 'ID', 'x'"),
    ("mouse_id,x\np,1\n", "mouseid", "did you mean 'mouse_id'?"),
    ("id,x\np,1\nq,2\np,3\n", "id", "a.csv: sample id 'p' occurs 2 times in 'id' (rows 1, 3); ids must be unique"),
    ("id,x\np,1\n,2\n", "id", "a.csv: 1 of 2 sample ids in 'id' are missing, first in row 2"),
    ("Sample ID,x\n1,1\n2,2\n", None, "column 'Sample ID' seems to label the samples: give id='Sample ID'"),
    (",x\n1,1\n2,2\n", None, "a.csv: column 1 has no name; name it in the first line, or delete it"),
    (",x\n1,1\n2,2\n", None, "if it holds the sample ids, give id='Unnamed: 0'"),
    ("x,y,\n1,2,\n", None, "a.csv: column 3 has no name"),
    ("x,y,x\n1,2,3\n", None, "a.csv: 2 columns are called 'x'"),
    ("0.3,0.1,0.2\n1,2,3\n", None, "a.csv: its first line is numbers (0.3, 0.1, 0.2, ...), but must hold the names"),
    ("id;x;y\np;1;2\n", "id", "has a single column 'id;x;y', as if columns were separated by ';'"),
    ("id\tx\np\t1\n", "id", "has a single column 'id\\tx', as if columns were separated by '\\t'"),
    ("x,y\n1,2\n3\n", None, "a.csv: line 3 has 1 values for 2 columns; is the file complete"),
    ("x,y\n1,2,\n", None, "a.csv: line 2 has 3 values for 2 columns"),
    ("x,y\n1,2\n1,2,3,4\n", None, "a.csv: cannot be read as text in UTF-8 with columns separated by commas (Error"),
    ("x,y\n1,inf\n", None, "view 'a': 1 infinite values, first at row 0 (id 0), feature 'y'"),
]


@pytest.mark.parametrize(("text", "id", "message"), WRONG_TEXT)
def test_wrong_tables_are_refused(text, id, message):
    write("a.csv", text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_views({"a": "a.csv"}, id=id)


def test_many_columns_are_not_all_listed():
    write("a.csv", ",".join(f"g{i}" for i in range(1000)) + "\n" + ",".join(["1"] * 1000))
    with pytest.raises(ValueError, match=re.escape("has no column 'mouse' of sample ids. It has 'g0'")) as error:
        read_views("a.csv", id="mouse")
    assert len(str(error.value)) < 200


def damage_gzip(path):
    Path(path).write_bytes(gzip.compress(b"x,y\n" + b"1,2\n" * 1000)[:-20])


def cut(writer):
    def write_half(path):
        writer(path)
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: len(data) // 2])

    return write_half


DAMAGED = {
    "a.csv": lambda path: Path(path).write_bytes("x\u00b5\n1\n".encode("latin-1")),
    "a.csv.gz": damage_gzip,
    "a.parquet": lambda path: Path(path).write_bytes(b"PAR1 and nothing else"),
    "a.npy": cut(lambda path: np.save(path, X)),
    "a.npz": cut(WRITERS[".npz"]),
    "a.h5": cut(WRITERS[".h5"]),
    "a.h5ad": cut(WRITERS[".h5ad"]),
    "a.h5mu": lambda path: Path(path).write_bytes(b"nothing of the kind"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_named(name):
    package = {".parquet": "pyarrow", ".h5ad": "anndata", ".h5mu": "mudata"}.get(Path(name).suffix)
    if package:
        pytest.importorskip(package)
    DAMAGED[name](name)
    with pytest.raises(ValueError, match=rf"^{name}: cannot be read as .*; is it complete, and of that format\?"):
        read_views({"a": name})


def test_damaged_images_are_named():
    write_image("scans/a.png", np.zeros((30, 30), np.uint8))
    data = Path("scans/a.png").read_bytes()
    Path("scans/b.png").write_bytes(data[:40])
    with pytest.raises(ValueError, match=r"^scans/b.png: cannot be read as an image"):
        read_views({"scan": "scans"})


def test_images_of_other_sizes_are_named():
    write_image("scans/a.png", np.zeros((3, 3), np.uint8))
    write_image("scans/b.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(ValueError, match=re.escape("scans/b.png: has shape (1, 3, 4), but a.png has (1, 3, 3)")):
        read_views({"scan": "scans"})


def test_two_images_of_one_sample_are_refused():
    write_image("scans/a.png", np.zeros((3, 3), np.uint8))
    write_image("scans/a.tif", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"sample id 'a' occurs 2 times in 'names of files'"):
        read_views({"scan": "scans"})


def test_films_are_refused():
    image = pytest.importorskip("PIL.Image")
    Path("scans").mkdir()
    frames = [image.fromarray(np.full((3, 3), i, np.uint8)) for i in range(3)]
    frames[0].save("scans/a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="it has 3 frames"):
        read_views({"scan": "scans"})


def test_other_files_in_a_folder_are_mentioned():
    write_image("scans/a.png", np.zeros((3, 3), np.uint8))
    write("scans/notes.txt", "hello")
    with pytest.warns(UserWarning, match=r"scans: 1 files that are no \.png, .* are left out, .*'notes.txt'"):
        read_views({"scan": "scans"})
    Path("scans/a.png").unlink()
    with pytest.raises(ValueError, match="this folder has no samples"):
        read_views({"scan": "scans"})


def test_a_missing_file_is_guessed():
    write("genes.csv", "x\n1\n")
    with pytest.raises(FileNotFoundError, match=r"no file 'gene.csv'; did you mean 'genes.csv'\?"):
        read_views({"genes": "gene.csv"})
    with pytest.raises(FileNotFoundError, match=r"no file 'elsewhere/x.csv' \(looked in /"):
        read_views({"genes": "elsewhere/x.csv"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xlsx", "a.xlsx: unknown format; save it as one of .csv"),
        ("a.txt", "a.txt: unknown format"),
    ],
)
def test_unknown_formats_are_refused(name, message):
    write(name, "x")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_views({"a": name})


def test_arrays_that_are_no_views_are_refused():
    np.save("a.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"a.npy: view 'v' must be numbers of shape .* is float64 of shape \(3,\)"):
        read_views({"v": "a.npy"})
    write_npz("a.npz", id=np.array(IDS), x=X)
    with pytest.raises(ValueError, match=r"view 'id' must be numbers .* give the name of that array as id"):
        read_views("a.npz")
    with pytest.raises(ValueError, match=r"has no array 'ids' of sample ids; did you mean 'id'\?"):
        read_views("a.npz", id="ids")
    with pytest.raises(ValueError, match=r"a.npz: holds 2 arrays, and none is called 'y'. It has 'id', 'x'"):
        read_views({"y": "a.npz"})
    write_npz("b.npz", id=np.array(IDS), x=X[:3])
    with pytest.raises(ValueError, match=r"b.npz: view 'x' has 3 rows, but there are 4 sample ids"):
        read_views("b.npz", id="id")
    np.save("c.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"c.npy: cannot be read as NumPy array"):
        read_views("c.npy")


def test_hdf5_of_other_libraries_says_what_to_do():
    h5py = pytest.importorskip("h5py")
    write_anndata("a.h5ad")
    Path("a.h5ad").rename("a.h5")
    with pytest.raises(ValueError, match=r"was written as anndata; give the file the ending .h5ad"):
        read_views("a.h5")
    with h5py.File("b.h5", "w") as file:
        file.create_group("frame").attrs["pandas_type"] = "frame"
    with pytest.raises(ValueError, match=r"holds a table of pandas.*to_parquet"):
        read_views("b.h5")


UNMATCHED = [
    # a.csv, b.csv, id, what the message says
    ("x\n1\n2\n", "y\n1\n", None, "as files differ in their number: a.csv 2, b.csv 1; give id, the name of the column"),
    ("id,x\np,1\n", "id,y\nP-1,1\n", "id", "a.csv (1 ids, such as 'p') and b.csv (1 ids, such as 'P-1') have no id"),
    ("id,x\np,1\n", "id,p,q\nx,1,2\n", "id", "have no id in common; transpose it: each sample is a row"),
    ("id,x\np,1\n", "name,y\np,1\n", "id", "b.csv: has no column 'id' of sample ids. It has 'name', 'y'"),
]


@pytest.mark.parametrize(("a", "b", "id", "message"), UNMATCHED)
def test_rows_that_cannot_be_matched(a, b, id, message):
    write("a.csv", a)
    write("b.csv", b)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_views({"a": "a.csv", "b": "b.csv"}, id=id)


@pytest.mark.parametrize("id", [None, "id"])
def test_rows_with_and_without_labels_do_not_meet(id):
    write("a.csv", "id,x\np,1\nq,1\n" if id else "x\n1\n1\n")
    np.save("b.npy", np.zeros((2, 3)))
    write_image("scans/p.png", np.zeros((3, 3), np.uint8))
    write_image("scans/q.png", np.zeros((3, 3), np.uint8))
    bare = "b.npy" if id else "a.csv"
    with pytest.raises(ValueError, match=rf"{bare}: does not label its samples.*give id, the name of a column"):
        read_views({"a": "a.csv", "scan": "scans", "b": "b.npy"}, id=id)


def test_no_files_are_refused():
    with pytest.raises(ValueError, match="paths: no files given"):
        read_views({})


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write("a.parquet", "x")
    with pytest.raises(ImportError, match="Parquet needs a package that is not installed: pip install pyarrow"):
        read_views("a.parquet")
