"""OME-Zarr: the same pixels as in a TIFF, by every command; and folders that are none, damaged or made to do harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from typer.testing import CliRunner

import segspectral
from segspectral.batch.jobs import find_jobs, fingerprint_of
from segspectral.cli import app
from segspectral.errors import ImageError, SettingsError
from segspectral.images.finding import Search, find_images
from segspectral.images.formats import WITHOUT_ZARR, ZARR, format_of
from segspectral.images.reader import image_size, page_count, read_image
from tests.omezarr import ome_zarr

zarr = pytest.importorskip("zarr", reason="zarr (extra 'zarr') is not installed")

H, W = 80, 120
rng = np.random.default_rng(4)
rows, cols = np.indices((H, W))
AREA = (cols > 50 + 9 * np.sin(rows / 8)).astype(int) + (np.hypot(rows - 50, cols - 90) < 18)
STACK = np.array([[900, 3000, 400], [2500, 300, 3900]])[:, AREA] + rng.integers(0, 120, (2, H, W))
STACK = STACK.astype(np.uint16)
"""(C, H, W) two channels of 12 bits."""

WRITERS: dict[str, dict[str, Any]] = {
    "Zarr 2": {"version": 2},
    "Zarr 2, big-endian, no compression": {"version": 2, "dtype": ">u2", "compressors": None},
    "Zarr 2, blosc": {"version": 2, "compressors": "blosc"},
    "Zarr 3": {"version": 3},
    "Zarr 3, gzip": {"version": 3, "compressors": "gzip"},
    "Zarr 3, shards": {"version": 3, "shards": True},
    "Zarr 3, one chunk": {"version": 3, "chunk": 10**4},
}


def write(path: Path, values: NDArray[Any], axes: str, how: dict[str, Any]) -> Path:
    options = dict(how)
    values = values.astype(options.pop("dtype", values.dtype))
    if options.pop("shards", False):
        options |= {"shards": (*(1,) * (values.ndim - 2), 64, 64), "levels": 1}
    if options.get("compressors") == "blosc":
        import numcodecs

        options["compressors"] = numcodecs.Blosc(cname="lz4", shuffle=1)
    elif options.get("compressors") == "gzip":
        options["compressors"] = zarr.codecs.GzipCodec(level=1)
    return ome_zarr(path, values, axes, **options)


@pytest.mark.parametrize("how", WRITERS)
def test_it_is_read_as_the_same_ome_tiff(how: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    path = write(tmp_path / "a.ome.zarr", STACK, "cyx", WRITERS[how])
    ours, theirs = read_image(path), read_image(tmp_path / "a.ome.tif")
    assert np.array_equal(ours.rgb, theirs.rgb)
    assert ours.notes == theirs.notes
    assert dict(ours.read) == dict(theirs.read)
    assert np.array_equal(ours.bands.values, theirs.bands.values)
    assert image_size(path) == (W, H)
    one = read_image(path, channels=(1,))
    assert np.array_equal(one.rgb, read_image(tmp_path / "a.ome.tif", channels=(1,)).rgb)


def test_time_and_depth_are_pages_in_the_order_of_the_axes(tmp_path: Path) -> None:
    many = np.stack([[STACK + 7 * t + 50 * z for z in range(3)] for t in range(2)])  # (t, z, c, y, x)
    path = ome_zarr(tmp_path / "a.zarr", np.moveaxis(many, 2, 1), "tczyx", labels=("DAPI", "GFP"))
    assert page_count(path) == 6
    image = read_image(path, page=5)
    assert np.array_equal(np.moveaxis(image.bands.values, -1, 0), many[1, 1])
    assert image.bands.names == ("DAPI", "GFP")
    assert any("page 1 of 6" in note for note in read_image(path).notes)
    with pytest.raises(SettingsError, match="has 6 pages, but page 7 was requested"):
        read_image(path, page=7)
    # Versions of NGFF before 0.3 name no axes of their five.
    about = json.loads((path / "zarr.json").read_text())
    del about["attributes"]["ome"]["multiscales"][0]["axes"]
    (path / "zarr.json").write_text(json.dumps(about))
    assert np.array_equal(read_image(path, page=5).bands.values, image.bands.values)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_every_command_takes_it_as_one_image(tmp_path: Path) -> None:
    photo = np.stack([STACK[0] // 16, STACK[1] // 16, (STACK[0] + STACK[1]) // 32]).astype(np.uint8)
    folder = tmp_path / "in"
    ome_zarr(folder / "deep" / "a.ome.zarr", photo, "cyx")
    ome_zarr(folder / "b.zarr", photo, "cyx", version=2)
    tifffile.imwrite(folder / "c.tif", np.moveaxis(photo, 0, -1).copy(), photometric="rgb")
    settings = ["--head", "exact", "--refine", "none", "-k", 3]
    done = run("segment", folder / "b.zarr", folder / "c.tif", "-o", tmp_path / "s", *settings)
    assert done.exit_code == 0, done.output
    labels = [(tmp_path / "s" / f"{name}_labels.png").read_bytes() for name in "bc"]
    assert labels[0] == labels[1]
    done = run("batch", folder, "-o", tmp_path / "b", "--recursive", "-j", 0, "--progress", "none", *settings)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "b" / "b_labels.png").read_bytes() == labels[0]
    assert (tmp_path / "b" / "deep" / "a.ome_labels.png").read_bytes() == labels[0]
    assert sorted(path.name for path in (tmp_path / "b").glob("*_labels.png")) == ["b_labels.png", "c_labels.png"]
    tiled = [
        run("segment", folder / name, "-o", tmp_path / "t", "--tile", 64, *settings) for name in ("b.zarr", "c.tif")
    ]
    assert [one.exit_code for one in tiled] == [0, 0], tiled[0].output
    assert np.array_equal(*(tifffile.imread(tmp_path / "t" / f"{name}_labels.tif") for name in "bc"))
    from_python = segspectral.segment(folder / "b.zarr", segments=3, head="exact", refine="none")
    assert np.array_equal(
        from_python.labels, segspectral.segment(folder / "c.tif", segments=3, head="exact", refine="none").labels
    )


def test_folders_are_searched_for_it_but_its_own_folders_are_not(tmp_path: Path) -> None:
    ome_zarr(tmp_path / "day" / "a.zarr", STACK, "cyx")
    ome_zarr(tmp_path / "b.zarr", STACK, "cyx")
    ome_zarr(tmp_path / ".hidden.zarr", STACK, "cyx")
    (tmp_path / "empty.zarr").mkdir()
    told: list[str] = []
    assert [path.name for path in find_images([tmp_path], note=told.append)] == ["b.zarr"]
    assert told == ["1 hidden file left out; 2 subfolders left out (--recursive)"]
    assert [path.name for path in find_images([tmp_path], recursive=True)] == ["b.zarr", "a.zarr"]
    assert [path.name for path in find_images([f"{tmp_path}/*.zarr"])] == ["b.zarr"]
    (job,) = find_jobs([tmp_path / "b.zarr"])
    assert job.name == "b.zarr"
    before = fingerprint_of(job.path)
    chunk = next(path for path in (tmp_path / "b.zarr" / "0").rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes() + b"x")
    assert fingerprint_of(job.path) != before


def plate(path: Path) -> None:
    group = zarr.open_group(path, mode="w")
    group.attrs["ome"] = {"plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}]}}


def several(path: Path) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3


def changed(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        ome_zarr(path, STACK, "cyx", version=2)
        change(path)

    return make


def edited(file: str, **entries: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = json.loads((path / file).read_text())
        (path / file).write_text(json.dumps(data | entries))

    return changed(change)


def link_a_chunk(path: Path) -> None:
    chunk = path / "0" / "0.0.0"
    secret = path.parent / "secret"
    shutil.copy(chunk, secret)
    chunk.unlink()
    chunk.symlink_to(secret)


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a plate": (plate, r"is a plate of 2 wells; name an image in it, such as .*/A/1/0"),
    "several images": (several, r"holds several images; name one of them, such as .*/0"),
    "an array": (
        lambda path: zarr.create_array(path, shape=(9, 9), dtype="u1").__setitem__(slice(None), 1),
        "is a Zarr array that does not say what its axes are",
    ),
    "no image": (lambda path: zarr.open_group(path, mode="w"), "is a Zarr group without an image"),
    "a pickle": (edited("0/.zarray", filters=[{"id": "pickle"}]), "is packed by pickle, which is not read"),
    "objects": (edited("0/.zarray", dtype="|O"), "contains object; convert it to integers or floats"),
    "texts": (edited("0/.zarray", dtype="<U4"), "contains <U4; convert it"),
    "complex": (edited("0/.zarray", dtype="<c8"), "contains complex64; convert it"),
    "a way out": (
        edited(".zattrs", multiscales=[{"axes": [*"cyx"], "datasets": [{"path": "../b.zarr/0"}]}]),
        "leads out of its folder",
    ),
    "an absolute path": (
        edited(".zattrs", multiscales=[{"axes": [*"cyx"], "datasets": [{"path": "/etc"}]}]),
        "is empty, absolute",
    ),
    "a link": (changed(link_a_chunk), r"holds a link \(0/0\.0\.0\), and links in it are not followed"),
    "a bomb": (edited("0/.zarray", shape=[2, 10**6, 10**6]), r"has 1000000 x 1000000 pixels, more than"),
    "a chunk that is a bomb": (
        edited("0/.zarray", shape=[2, 10**4, 10**4], chunks=[64, 10**4, 10**4]),
        "which cannot be read",
    ),
    "other axes": (
        edited(".zattrs", multiscales=[{"axes": [*"yxc"], "datasets": [{"path": "0"}]}]),
        "the last two must be y and x",
    ),
    "odd JSON": (edited(".zattrs", multiscales=[{"datasets": 7}]), "its JSON is not that of an OME-Zarr"),
    "no level": (
        edited(".zattrs", multiscales=[{"axes": [*"cyx"], "datasets": [{"path": "9"}]}]),
        "its JSON is not that of an OME-Zarr",
    ),
    "deep JSON": (
        changed(lambda path: (path / ".zattrs").write_text("[" * 10**5) and None),
        "its JSON is not that of an OME-Zarr",
    ),
    "a damaged chunk": (
        changed(lambda path: (path / "0" / "0.0.0").write_bytes(b"no zstd") and None),
        "is damaged or cut off",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_cannot_be_read_ends_in_one_sentence(kind: str, tmp_path: Path) -> None:
    make, sentence = FAULTS[kind]
    make(tmp_path / "a.zarr")
    with pytest.raises(ImageError, match=sentence):
        read_image(tmp_path / "a.zarr")
    done = run("segment", tmp_path / "a.zarr", "-o", tmp_path / "out", "--tile", "none")
    assert done.exit_code == 3
    assert "Traceback" not in done.output


def test_without_zarr_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ome_zarr(tmp_path / "a.zarr", STACK, "cyx")
    monkeypatch.setattr(type(ZARR), "readable", False)
    with pytest.raises(ImageError, match="is OME-Zarr, which needs zarr; pip install"):
        format_of(tmp_path / "a.zarr", among=())
    search = Search(extensions=(".png",))
    assert search.inside(str(tmp_path)) == []
    assert f"1 file left out: 1 .zarr; OME-Zarr: {WITHOUT_ZARR}" in search.sentence


def test_only_the_chunks_of_a_tile_are_read(tmp_path: Path) -> None:
    """An array that claims 20 000 x 20 000 pixels, of which only one corner has chunks, is read in bounded memory."""
    import tracemalloc

    from segspectral.images.interpret import Reading
    from segspectral.rasters.raster import Raster

    pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    array = group.create_array("0", shape=(2, 20_000, 20_000), chunks=(1, 512, 512), dtype="uint16")
    array[:, :H, :W] = STACK
    group.attrs["ome"] = {"multiscales": [{"axes": [{"name": axis} for axis in "cyx"], "datasets": [{"path": "0"}]}]}
    tracemalloc.start()
    with Raster.open(tmp_path / "a.zarr", Reading(stretch="0:4095")) as raster:
        assert raster.shape == (20_000, 20_000)
        values, valid = raster.read((0, 1024), (0, 1024))
        assert np.array_equal(raster.bands_of((0, H), (0, W)).values, np.moveaxis(STACK, 0, -1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert valid.all()
    np.testing.assert_allclose(values[:H, :W, 0], STACK[0] / 4095, atol=1 / 255)
    assert peak < 400e6  # the array has 1.6 GB
