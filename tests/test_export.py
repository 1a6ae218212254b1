"""The files: what is in them, and that they are whole or not there."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from segspectral.errors import OutputError, SettingsError
from segspectral.export import (
    boundaries,
    colour_table,
    label_png,
    overlay,
    png,
    save,
    segment_table,
    summary,
    tinted,
    versions,
    write_bytes,
)
from segspectral.export.tables import PACKAGES
from segspectral.pipeline import Pipeline
from segspectral.registry import Look
from segspectral.values import Affinity, Features, Image, Membership, Scene, Segmentation, Superpixels
from segspectral.values.later import Later


def segmentation(labels: NDArray[np.int32], rgb: NDArray[np.uint8] | None = None) -> Segmentation:
    """A label map, with everything that stands behind one."""
    if rgb is None:
        rgb = np.random.default_rng(0).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    n, k = 6, int(labels.max())
    ring = sp.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[1, -1])
    superpixels = Superpixels((np.arange(labels.size) * n // labels.size).reshape(labels.shape).astype(np.int32))
    membership = Membership(np.eye(k, dtype=np.float32)[np.arange(n) % k], eigenvalues=np.linspace(0, 1, k))
    image = Image(rgb, "picture.jpg", None if (labels > 0).all() else labels > 0)
    features, affinity = Features(np.zeros((n, 1), np.float32)), Affinity(sp.csr_array(ring))
    pipeline = Pipeline(segments=k)
    graph = superpixels.region_graph
    scene = Scene(image, image, superpixels, graph, Later(lambda: features), Later(lambda: affinity), pipeline)
    return Segmentation(labels, scene, Later(lambda: membership), pipeline, notes=("a note",), seconds={"head": 0.25})


@pytest.fixture
def example() -> Segmentation:
    """Three segments, one of them in two pieces, and void."""
    labels = np.ones((20, 30), np.int32)
    labels[:, 12:20], labels[4:9, 22:], labels[15:, :6], labels[:3, :5] = 2, 3, 3, 0
    return segmentation(labels)


class TestLabels:
    @pytest.mark.parametrize("count", [1, 2, 37, 255])
    def test_up_to_255_segments_are_an_indexed_png_with_a_palette(self, count: int) -> None:
        labels = (np.arange(32 * 40).reshape(32, 40) % (count + 1)).astype(np.int32)
        picture = PIL.Image.open(io.BytesIO(label_png(labels)))
        assert (picture.mode, picture.format) == ("P", "PNG")
        np.testing.assert_array_equal(np.asarray(picture), labels)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), colour_table(256)[labels])

    @pytest.mark.parametrize("count", [256, 257, 1000, 10_000])
    def test_above_255_segments_are_a_png_of_16_bits(self, count: int) -> None:
        labels = (np.arange(120 * 100).reshape(120, 100) % (count + 1)).astype(np.int32)
        picture = PIL.Image.open(io.BytesIO(label_png(labels)))
        assert picture.mode.startswith("I")
        np.testing.assert_array_equal(np.asarray(picture), labels)

    def test_equal_labels_give_equal_bytes(self) -> None:
        labels = np.arange(100, dtype=np.int32).reshape(10, 10)
        assert label_png(labels) == label_png(labels.copy(order="F"))


class TestColours:
    def test_colours_all_differ_and_no_segment_is_black_like_void(self) -> None:
        table = colour_table(256)
        assert len(np.unique(table, axis=0)) == 256
        assert table[0].tolist() == [0, 0, 0]
        assert (table[1:].max(axis=1) > 60).all()

    def test_the_first_colours_are_far_from_each_other(self) -> None:
        from skimage.color import rgb2lab

        lab = rgb2lab(colour_table(13)[1:][None] / 255.0)[0]
        distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert distance[np.triu_indices(12, 1)].min() > 10

    @pytest.mark.parametrize("size", [1, 2, 8, 9, 300])
    def test_a_colour_does_not_depend_on_the_number_of_segments(self, size: int) -> None:
        np.testing.assert_array_equal(colour_table(size), colour_table(1000)[:size])

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("shape", [(1, 1), (7, 9), (7, 9, 3)])
    def test_a_picture_is_read_back_as_it_was(self, dtype: type, shape: tuple[int, ...]) -> None:
        if dtype is np.uint16 and len(shape) == 3:
            pytest.skip("Pillow reads no 16 bits in colour")
        picture = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(png(picture)))), picture)

    def test_a_colour_table_that_a_caller_changes_does_not_change_the_next(self) -> None:
        before = colour_table(5).tolist()
        with contextlib.suppress(ValueError):  # read-only: as good
            colour_table(5)[1] = 0
        assert colour_table(5).tolist() == before


class TestOverlay:
    @pytest.fixture(scope="class")
    @staticmethod
    def parts() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """A noisy grey photograph, and blocks of segments with void."""
        rng = np.random.default_rng(2)
        labels = np.kron(rng.integers(1, 5, (4, 5)), np.ones((24, 24), int)).astype(np.int32)
        labels[:24, :24] = 0
        grey = rng.integers(60, 200, labels.shape, dtype=np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), labels

    def test_a_tint_changes_the_hue_and_keeps_the_contrast(
        self, parts: tuple[NDArray[np.uint8], NDArray[np.int32]]
    ) -> None:
        photograph, labels = parts
        picture = tinted(photograph, labels, look=Look("tint"))
        luma = np.array([0.299, 0.587, 0.114])
        for segment in range(1, 5):
            at = labels == segment
            before, after = photograph[at] @ luma, picture[at] @ luma
            assert np.corrcoef(before, after)[0, 1] > 0.99
            assert after.std() > 0.75 * before.std()
            hue = picture[at].mean(axis=0) - after.mean()
            own = colour_table(5)[segment] - colour_table(5)[segment] @ luma
            assert hue @ own / np.linalg.norm(hue) / np.linalg.norm(own) > 0.95
        assert (tinted(photograph, labels, look=Look("tint", 0.0))[labels > 0] == photograph[labels > 0]).mean() > 0.95

    def test_borders_alone_leave_the_photograph_between_them(
        self, parts: tuple[NDArray[np.uint8], NDArray[np.int32]]
    ) -> None:
        photograph, labels = parts
        picture = tinted(photograph, labels, look=Look("borders"))
        border = boundaries(labels)
        near = ndimage.binary_dilation(border, np.ones((3, 3)))
        assert (picture[border] == 255).all()
        assert (picture[~near & (labels > 0)] == photograph[~near & (labels > 0)]).all()
        assert (picture[near & ~border & (labels > 0)] < photograph[near & ~border & (labels > 0)]).all()
        row, col = np.indices(labels.shape)
        checker = np.where((row // 8 + col // 8) % 2, 200, 150)
        void = (labels == 0) & ~near
        assert (picture[void] == checker[void][:, None]).all()

    def test_the_own_tint_of_a_segment_is_its_mean_colour(
        self, parts: tuple[NDArray[np.uint8], NDArray[np.int32]]
    ) -> None:
        photograph, labels = parts
        own = np.array([[0, 0, 0], [200, 60, 60], [60, 180, 90], [70, 70, 200], [120, 120, 120]])
        noise = photograph.astype(int) - 130
        coloured = np.clip(own[labels] + noise // 3, 0, 255).astype(np.uint8)
        picture = tinted(coloured, labels, look=Look("mean", 1.0))
        inner = ~ndimage.binary_dilation(boundaries(labels), np.ones((3, 3)))
        for segment in range(1, 5):
            at = inner & (labels == segment)
            mean = coloured[labels == segment].mean(axis=0)
            assert np.abs(picture[at].mean(axis=0) - mean).max() < 3
            # Hues are those of the mean everywhere, and the brightness is that of the photograph.
            chroma = picture[at] - picture[at].mean(axis=1, keepdims=True)
            assert chroma.std(axis=0).max() < 2
            assert np.corrcoef(picture[at].mean(axis=1), coloured[at].mean(axis=1))[0, 1] > 0.97
        assert (picture[boundaries(labels)] == 255).all()

    def test_numbers_stand_in_their_segments(self, parts: tuple[NDArray[np.uint8], NDArray[np.int32]]) -> None:
        photograph, labels = parts
        ring = np.ones((80, 80), np.int32)  # whose centroid lies in its hole
        ring[20:60, 10:70] = 2
        grey = np.full((80, 80, 3), 128, np.uint8)
        plain, drawn = (tinted(grey, ring, look=Look("tint", 0.0, numbers)) for numbers in (False, True))
        changed = (plain != drawn).any(axis=2)
        pieces, count = ndimage.label(changed, np.ones((3, 3)))
        assert count == 2
        inside = {int(n) for piece in (1, 2) for n in np.unique(ring[pieces == piece])}
        assert inside == {1, 2}
        assert all(len(np.unique(ring[pieces == piece])) == 1 for piece in (1, 2))
        named = tinted(grey, ring, look=Look("tint", 0.0, True), names={2: "a long name"})
        assert (named != plain).any(axis=2)[20:60].sum() > changed[20:60].sum()
        assert tinted(photograph, labels, look=Look(numbers=True)).shape == photograph.shape

    def test_an_unknown_look_is_refused(self) -> None:
        for wrong in ({"style": "glitter"}, {"opacity": 1.5}):
            with pytest.raises(SettingsError, match=r"glitter|between 0 and 1"):
                Look(**wrong)  # type: ignore[arg-type]

    def test_it_is_as_large_as_the_image_and_tinted_by_segment(self, example: Segmentation) -> None:
        picture = overlay(example)
        assert picture.shape == example.image.rgb.shape
        assert picture.dtype == np.uint8
        inside = example.labels[10, 4], picture[9:13, 2:5].reshape(-1, 3).mean(axis=0)
        photograph = example.image.rgb[9:13, 2:5].reshape(-1, 3).mean(axis=0)
        colour = colour_table(2)[inside[0]].astype(float)
        assert np.linalg.norm(inside[1] - colour) < np.linalg.norm(photograph - colour)

    def test_borders_are_white(self, example: Segmentation) -> None:
        assert (overlay(example)[boundaries(example.labels)] == 255).all()

    def test_void_shows_nothing_of_the_image(self, example: Segmentation) -> None:
        other = segmentation(
            example.labels, np.where(example.labels[..., None] == 0, 7, example.image.rgb).astype("u1")
        )
        np.testing.assert_array_equal(overlay(example), overlay(other))

    def test_boundaries_are_where_the_right_or_lower_neighbour_differs(self) -> None:
        labels = np.random.default_rng(0).integers(0, 3, (9, 11))
        expected = np.zeros(labels.shape, bool)
        for row, col in np.ndindex(labels.shape):
            for other in ((row + 1, col), (row, col + 1)):
                if other[0] < 9 and other[1] < 11 and labels[other] != labels[row, col]:
                    expected[row, col] = True
        np.testing.assert_array_equal(boundaries(labels), expected)

    def test_one_segment_has_no_borders(self) -> None:
        assert not boundaries(np.ones((5, 5), np.int32)).any()
        assert overlay(segmentation(np.ones((20, 20), np.int32))).shape == (20, 20, 3)


class TestTable:
    def test_it_agrees_with_scikit_image(self, example: Segmentation) -> None:
        table = segment_table(example)
        regions = regionprops(example.labels, example.image.rgb)
        assert [row["segment"] for row in table] == [region.label for region in regions]
        for row, region in zip(table, regions, strict=True):
            assert row["area"] == region.area
            assert (row["top"], row["left"], row["bottom"], row["right"]) == region.bbox
            assert (row["row"], row["column"]) == pytest.approx(region.centroid, abs=0.006)
            assert [row[c] for c in ("red", "green", "blue")] == pytest.approx(list(region.intensity_mean), abs=0.06)

    def test_areas_sum_to_the_valid_pixels_and_shares_to_one(self, example: Segmentation) -> None:
        table = segment_table(example)
        assert sum(row["area"] for row in table) == (example.labels > 0).sum()
        assert sum(row["share"] for row in table) == pytest.approx(1, abs=1e-5)


class TestSummary:
    def test_it_is_json_and_describes_the_run(self, example: Segmentation) -> None:
        data = json.loads(json.dumps(summary(example), allow_nan=False))
        assert (data["image"], data["height"], data["width"]) == ("picture.jpg", 20, 30)
        assert (data["segments"], data["superpixels"], data["void_pixels"]) == (3, 6, 15)
        assert data["ncut"] == pytest.approx(example.ncut)
        assert data["outcome"]["name"] == "solved"
        assert data["notes"] == ["a note"]
        assert data["eigenvalues"] == [0, 0.5, 1]
        assert data["seconds"] == {"head": 0.25}
        assert Pipeline.model_validate(data["pipeline"]) == example.pipeline

    def test_versions_are_those_that_are_installed(self) -> None:
        found = versions()
        assert found["numpy"] == np.__version__
        assert found["pillow" if "pillow" in found else "torch"]
        assert set(PACKAGES) < set(found)


class TestFiles:
    def test_all_files_are_written_into_a_new_folder(self, example: Segmentation, tmp_path: Path) -> None:
        files = save(example, tmp_path / "a" / "b", "cat")
        expected = {"labels": "cat_labels.png", "overlay": "cat_overlay.png", "segments": "cat_segments.csv"}
        assert {what: path.name for what, path in files.items()} == expected | {"summary": "cat.json"}
        assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == sorted(p.name for p in files.values())
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(files["overlay"])), overlay(example))
        rows = list(csv.DictReader(files["segments"].open(encoding="utf-8", newline="")))
        assert [int(row["area"]) for row in rows] == [row["area"] for row in segment_table(example)]

    def test_files_are_replaced(self, example: Segmentation, tmp_path: Path) -> None:
        (tmp_path / "cat.json").write_text("old")
        save(example, tmp_path, "cat")
        assert json.loads((tmp_path / "cat.json").read_text())["segments"] == 3

    @pytest.mark.parametrize("failing", ["write", "replace"])
    def test_a_write_that_fails_leaves_the_old_file_and_no_leftovers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        path = tmp_path / "cat.json"
        path.write_bytes(b"old")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        def half(self: Path, data: bytes) -> None:
            with self.open("wb") as file:
                file.write(data[:2])
            full()

        if failing == "write":
            monkeypatch.setattr(Path, "write_bytes", half)
        else:
            monkeypatch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match="No space left on device") as caught:
            write_bytes(path, b"new content")
        assert str(caught.value).startswith(str(path))
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_an_interruption_leaves_the_old_file_and_no_leftovers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "cat.json"
        path.write_bytes(b"old")

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(path, b"new content")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_that_cannot_be_written_to_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file" / "x.png", tmp_path / "file" / "deeper" / "x.png"):
            with pytest.raises(OutputError, match="cannot be written"):
                write_bytes(path, b"")
        (tmp_path / "folder").mkdir()
        with pytest.raises(OutputError, match="folder"):
            write_bytes(tmp_path / "folder", b"")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]

    def test_a_long_name_that_the_file_system_accepts_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / ("n" * 235 + "_labels.png")
        assert write_bytes(path, b"x").read_bytes() == b"x"
