"""On a full disk, sets of files are written whole or not at all, and one sentence says why."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from segspectral.errors import OutputError
from segspectral.export import LabelMap
from segspectral.export.windowed import WindowedMap
from segspectral.files import scratch_folder, unfinished, whole_set, write_bytes
from segspectral.heads.exact import Exact
from segspectral.networks import find_communities, write_communities
from segspectral.networks.graphs import read_graph
from segspectral.shared import hub
from segspectral.web.labelling import Class, Project
from tests.cli.conftest import FAST, expected, files, one_error, photo, run

__all__ = ["photo"]

resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can become larger than this many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestSets:
    def test_files_appear_together_and_earlier_ones_stay_until_then(self, tmp_path: Path) -> None:
        a, b = write_bytes(tmp_path / "a", b"old"), tmp_path / "b"
        with whole_set():
            write_bytes(a, b"new")
            with whole_set():  # a part of the set
                write_bytes(b, b"more")
            assert (a.read_bytes(), b.exists()) == (b"old", False)
            assert (unfinished(a).read_bytes(), unfinished(b).read_bytes()) == (b"new", b"more")
            write_bytes(a, b"newest")
        assert contents(tmp_path) == {"a": b"newest", "b": b"more"}
        assert unfinished(a) == a

    @pytest.mark.parametrize("kind", [OutputError, KeyboardInterrupt])
    def test_after_an_error_none_appears_and_earlier_ones_stay(self, kind: type[BaseException], tmp_path: Path) -> None:
        write_bytes(tmp_path / "a", b"old")
        with pytest.raises(kind), whole_set():  # noqa: PT012
            write_bytes(tmp_path / "a", b"new")
            write_bytes(tmp_path / "b", b"more")
            raise kind
        assert contents(tmp_path) == {"a": b"old"}
        write_bytes(tmp_path / "b", b"alone")  # the set is over
        assert contents(tmp_path) == {"a": b"old", "b": b"alone"}

    @pytest.mark.parametrize("renamed", [False, True])
    def test_an_interruption_while_they_appear_waits_for_the_last(
        self, renamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace, calls = os.replace, 0

        def interrupted(source: Path, target: Path) -> None:
            nonlocal calls
            calls += 1
            if calls == 2 and not renamed:
                raise KeyboardInterrupt
            replace(source, target)
            if calls == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt), whole_set():  # noqa: PT012
            for name in "abc":
                write_bytes(tmp_path / name, name.encode())
        assert contents(tmp_path) == {"a": b"a", "b": b"b", "c": b"c"}


class TestSegment:
    def test_an_image_that_failed_is_not_in_the_files_for_all(self, photo: Path, tmp_path: Path) -> None:
        out, other = tmp_path / "out", photo.with_name("other.png")
        other.write_bytes(photo.read_bytes())
        (out / f"{photo.stem}_figure.png").mkdir(parents=True)  # the picture is the last file of an image
        arguments = ("-o", out, "-k", 3, "--format", "coco,yolo", "--figure", *FAST)
        assert run("segment", photo, other, *arguments).exit_code == 1
        assert [image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]] == ["other.png"]
        assert not [name for name in contents(out) if photo.stem in name]

    def test_an_image_has_all_its_files_or_those_of_the_run_before(self, photo: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert run("segment", photo, "-o", out, "-k", 3, "--format", "npz,svg", *FAST).exit_code == 0
        before = contents(out)
        # The label map is written first, and is smaller than the picture.
        with files_up_to(len(before["cat_overlay.png"]) // 2):
            failed = run("segment", photo, "-o", out, "-k", 4, "--format", "npz,svg", *FAST)
        assert failed.exit_code == 3
        assert one_error(failed) == f"error: {photo}: {out}/cat_overlay.png: cannot be written (File too large)"
        assert contents(out) == before

    def test_a_full_disk_ends_the_command(self, photo: Path, small_disk: Path) -> None:
        last = photo.with_name("z.png")
        for name in (*(f"{number}.png" for number in range(40)), last.name):
            photo.with_name(name).write_bytes(photo.read_bytes())
        failed = run("segment", photo.parent / "*.png", "-o", small_disk / "out", "-k", 3, *FAST)
        assert failed.exit_code == 2
        assert one_error(failed).endswith("cannot be written (No space left on device)")
        done = {Path(line.split(": ")[0]).stem for line in failed.stdout.splitlines()}
        assert done
        assert "z" not in done
        assert files(small_disk) == expected(*done)


class TestRasters:
    @pytest.fixture
    def item(self, tmp_path: Path) -> Iterator[WindowedMap]:
        pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
        from segspectral.export.geo import geotiff
        from segspectral.rasters.results import windowed_map

        labels = np.random.default_rng(0).integers(1, 5, (30, 40)).astype(np.int32).repeat(10, 0).repeat(10, 1)
        path = write_bytes(tmp_path / "labels.tif", geotiff(LabelMap(labels, "a.png")))
        with windowed_map(path, {}) as item:
            yield item

    @pytest.mark.parametrize("name", ["cog_of_raster", "png_of_raster", "geopackage"])
    def test_gdal_never_leaves_a_damaged_file_without_a_word(
        self, name: str, item: WindowedMap, tmp_path: Path
    ) -> None:
        """GDAL ends well with some damaged PNG and COG files, if the disk becomes full at the right moment."""
        from segspectral.export import geo

        write = getattr(geo, name)
        write(item, tmp_path / "whole")
        size = (tmp_path / "whole").stat().st_size
        for number, limit in enumerate(np.linspace(1, size - 1, 12).astype(int)):
            with files_up_to(int(limit)), pytest.raises(OSError):
                write(item, tmp_path / f"part{number}")

    def test_a_label_raster_that_cannot_be_read_again_is_reported(self, item: WindowedMap) -> None:
        from segspectral.images.gdal import check_written, checksum

        assert item.file is not None
        window = ((0, 300), (0, 400))
        check_written(item.file, "GTiff", {window: checksum(item.labels(*window).astype(np.uint8))})
        with pytest.raises(OSError, match="the disk may be full"):
            check_written(item.file, "GTiff", {window: 0})
        item.file.write_bytes(item.file.read_bytes()[:-500])
        with pytest.raises(OSError, match="the disk may be full"):
            check_written(item.file, "GTiff", {window: 0})


def test_a_full_folder_for_temporary_files_is_reported() -> None:
    said = r"temporary files cannot be written to \(File too large\); make room, or set TMPDIR"
    with pytest.raises(OutputError, match=said), scratch_folder() as folder, files_up_to(100):
        (folder / "a").write_bytes(bytes(200))


def test_a_model_has_its_card_or_nothing_is_written(tmp_path: Path) -> None:
    head = Exact(2).fit(np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32))
    folder = hub.save(head, tmp_path / "whole")
    sizes = {name: len(data) for name, data in contents(folder).items()}
    with files_up_to(sizes[hub.CARD] - 1), pytest.raises(OutputError):
        hub.save(head, tmp_path / "part")
    assert contents(tmp_path / "part") == {}


def test_communities_have_all_their_files_or_none(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text("a b\nb c\na c\nc d\nd e\ne f\nd f\n")
    found = find_communities(read_graph(tmp_path / "g.txt"), 2, head="exact")
    written = write_communities(found, tmp_path / "whole")
    largest = max(path.stat().st_size for path in written)
    with files_up_to(largest - 1), pytest.raises(OutputError):
        write_communities(found, tmp_path / "part")
    assert contents(tmp_path / "part") == {}


def test_what_the_page_cannot_save_is_as_it_was(tmp_path: Path, photo: Path) -> None:
    """Labels without their entry in labelling.json would be those of no class."""
    classes = [Class(number=n, name=f"class {n:060}", colour="#112233") for n in range(1, 100)]
    project = Project(tmp_path / "out", classes=classes)
    project.add([(photo, "a.png")])
    labels = np.zeros((72, 96), np.uint8)
    labels[:30] = 1
    packed = zlib.compress(labels.tobytes())
    limit = len(json.dumps([one.model_dump() for one in classes]))
    with files_up_to(limit), pytest.raises(OutputError, match=r"labelling.json: cannot be written"):
        project.save(0, packed, labels.shape, 0, True)
    assert contents(tmp_path / "out") == {}
    with files_up_to(limit), pytest.raises(OutputError):
        project.set_classes([one.model_copy(update={"colour": "#000000"}) for one in classes], 0)
    assert project.classes == classes
    state = project.save(0, packed, labels.shape, 0, True)  # still at the first revision
    assert (state.images[0].revision, state.images[0].done) == (1, True)
