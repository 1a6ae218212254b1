"""Edge maps of a user: the regions that they plant, the contour map that they give, and bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import segspectral
from segspectral.config import make_pipeline
from segspectral.errors import SettingsError
from segspectral.features.contours import Contours
from segspectral.images.planes import as_edges, read_edges
from segspectral.images.reader import read_image
from segspectral.metrics.boundary import boundary_counts
from segspectral.values import Image
from segspectral.values.labels import boundaries
from segspectral.values.regions import build_hierarchy
from tests.cli.conftest import one_error, run

LIGHT = {"superpixels": {"count": 100}, "features": {"cnn": None}}
SHAPE = (72, 96)


@pytest.fixture(scope="module")
def planted() -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(72, 96) five regions that have nothing to do with the photograph, and their thin borders."""
    rows, cols = np.indices(SHAPE)
    truth = 1 + (cols > 30 + rows // 4) + 2 * (rows > 40)
    truth[(rows - 20) ** 2 + (cols - 70) ** 2 < 100] = 5
    return truth.astype(np.int32), boundaries(truth).astype(np.float32)


@pytest.mark.parametrize("scale", [np.uint8(255), np.uint16(65535), np.float64(1), np.float32(7.5)])
def test_the_planted_regions_are_found(
    cat: NDArray[np.uint8], planted: tuple[NDArray[np.int32], NDArray[np.float32]], scale: np.generic
) -> None:
    truth, edges = planted
    made = segspectral.from_edges(cat, edges.astype(scale.dtype) * scale, segments=5, **LIGHT)
    pairs = np.unique(np.stack([made.labels, truth], -1).reshape(-1, 2), axis=0, return_counts=True)[1]
    assert np.sort(pairs)[-5:].sum() > 0.97 * truth.size  # each segment is one region, up to its border
    plain = segspectral.segment(cat, hierarchy=True, segments=5, **LIGHT)
    assert not np.array_equal(plain.labels, made.labels)


def test_the_head_follows_the_edges_too(
    cat: NDArray[np.uint8], planted: tuple[NDArray[np.int32], NDArray[np.float32]]
) -> None:
    truth, edges = planted
    made = segspectral.from_edges(cat, edges, segments=5, hierarchy=False, head="exact", refine="none", **LIGHT)
    assert np.unique(made.labels * 10 + truth, return_counts=True)[1].max() > 0
    crossing = boundaries(made.labels) & ~np.maximum(edges, np.roll(edges, 1, 0)).astype(bool)
    assert crossing.sum() < 0.5 * boundaries(made.labels).sum()


def test_the_contour_map_is_that_of_the_tree_of_the_edges(
    cat: NDArray[np.uint8], planted: tuple[NDArray[np.int32], NDArray[np.float32]]
) -> None:
    truth, edges = planted
    rng = np.random.default_rng(0)
    soft = np.clip(0.7 * edges + 0.3 * rng.random(SHAPE), 0, 1).astype(np.float32)
    made = segspectral.from_edges(cat, soft, **LIGHT)
    cells = made.superpixels
    tree = build_hierarchy(cells.region_graph.with_boundary(cells.along_borders(soft[..., None])[:, 0].astype(float)))
    scores = []
    for levels in (made.hierarchy, tree):
        maps = [cells.to_pixels(levels.regions(level=level)) for level in (0.05, 0.2, 0.4)]
        scores.append(boundary_counts(np.stack(maps), truth).scores())
    assert scores[0] == scores[1]


def test_a_weight_joins_both(cat: NDArray[np.uint8]) -> None:
    image = Image(cat, edges=np.full(SHAPE, 0.25, np.float32))
    whole, half, none = (
        make_pipeline({**LIGHT, "features": {"cnn": None, "contours": {"own": w}}}).describe(image).graph.boundary
        for w in (1.0, 0.5, 0.0)
    )
    assert whole is not None
    assert half is not None
    assert none is not None
    assert np.allclose(whole, 0.25)
    assert np.allclose(half, (whole + none) / 2)
    assert none.std() > 0.01


def test_an_image_without_edges_of_its_own_is_as_before(cat: NDArray[np.uint8]) -> None:
    first, second = (
        make_pipeline({**LIGHT, "features": {"cnn": None, "contours": {"own": w}}}).describe(Image(cat)).graph
        for w in (1.0, 0.3)
    )
    assert (first.boundary == second.boundary).all()
    assert Contours().own == 1


def test_void_and_large_images_keep_their_edges(planted: tuple[NDArray[np.int32], NDArray[np.float32]]) -> None:
    truth, edges = planted
    mask = np.ones(SHAPE, np.bool_)
    mask[:, 50:53] = False
    mask[10:12, :50] = False
    grey = np.full((*SHAPE, 3), 90, np.uint8)  # one colour: only the edges tell regions apart
    made = make_pipeline({**LIGHT, "hierarchy": True, "segments": 12}).solve(
        make_pipeline({**LIGHT, "hierarchy": True, "segments": 12}).describe(Image(grey, mask=mask, edges=edges))
    )
    assert ((made.labels == 0) == ~mask).all()
    large = Image(np.kron(grey, np.ones((4, 4, 1), np.uint8)), edges=np.kron(edges, np.ones((4, 4), np.float32)))
    made = make_pipeline({**LIGHT, "hierarchy": True, "segments": 5, "working_pixels": 7000})(large)
    wide = np.kron(truth, np.ones((4, 4), np.int32))
    pairs = np.unique(np.stack([made.labels, wide], -1).reshape(-1, 2), axis=0, return_counts=True)[1]
    assert np.sort(pairs)[-5:].sum() > 0.93 * wide.size


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        (np.zeros((5, 6)), "the edges have 6 x 5 pixels, but the image has 96 x 72"),
        (np.full(SHAPE, -0.5), "the edges have negative values"),
        (np.full(SHAPE, np.nan), "the edges contain NaN"),
        (np.zeros((*SHAPE, 3)), "edges are numbers"),
    ],
)
def test_bad_edges_get_a_sentence(edges: NDArray[np.float64], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        as_edges(edges, SHAPE)


def test_files_of_8_and_16_bits_and_arrays_say_the_same(tmp_path: Path) -> None:
    edges = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    PIL.Image.fromarray(edges).save(tmp_path / "a.png")
    PIL.Image.fromarray(edges.astype(np.uint16) * 257).save(tmp_path / "b.png")
    np.save(tmp_path / "c.npy", (edges / 255).astype(np.float32))
    for name in ("a.png", "b.png", "c.npy"):
        assert np.allclose(read_edges(tmp_path / name, SHAPE)[0], edges / 255, atol=1e-6), name
    assert "divided by their largest value, 3" in as_edges(np.full(SHAPE, 3.0), SHAPE)[1]
    assert "0 everywhere" in as_edges(np.zeros(SHAPE, np.uint16), SHAPE)[1]


class TestCommands:
    @pytest.fixture
    def folder(
        self, tmp_path: Path, cat: NDArray[np.uint8], planted: tuple[NDArray[np.int32], NDArray[np.float32]]
    ) -> Path:
        for name in ("in", "edges"):
            (tmp_path / name).mkdir()
        for name in ("one", "two"):
            PIL.Image.fromarray(cat).save(tmp_path / "in" / f"{name}.png")
            PIL.Image.fromarray((planted[1] * 255).astype(np.uint8)).save(tmp_path / "edges" / f"{name}.png")
        return tmp_path

    def test_segment_and_batch_and_python_agree(
        self, folder: Path, planted: tuple[NDArray[np.int32], NDArray[np.float32]]
    ) -> None:
        options = ["--edges", folder / "edges", "--hierarchy", "-k", 5, "--set", "features.cnn=null"]
        for command, out in ((["segment"], "a"), (["batch", "-j", "0"], "b")):
            done = run(*command, folder / "in", "-o", folder / out, *options)
            assert done.exit_code == 0, done.stderr
        made = segspectral.from_edges(read_image(folder / "in/one.png"), planted[1], segments=5, features={"cnn": None})
        for out in ("a", "b"):
            assert (np.asarray(PIL.Image.open(folder / out / "one_labels.png")) == made.labels).all()

    def test_images_of_two_folders_do_not_share_a_file(self, folder: Path) -> None:
        """evaluate took the file of one of them for both, without a word."""
        for inner in ("images", "images/sub", "masks", "masks/sub"):
            (folder / "set" / inner).mkdir(parents=True)
            PIL.Image.fromarray(np.eye(*SHAPE, dtype=np.uint8)).save(folder / "set" / inner / "one.png")
        done = run("evaluate", "folder", folder / "set", "--edges", folder / "edges", "-o", folder / "out")
        assert done.exit_code == 2
        assert "one file of edges would belong to both" in done.stderr

    def test_an_accent_is_one_whatever_its_spelling(self, folder: Path) -> None:
        (folder / "in/one.png").rename(folder / "in/cafe\u0301.png")
        (folder / "edges/one.png").rename(folder / "edges/caf\u00e9.png")
        done = run("segment", folder / "in", "-o", folder / "a", "--edges", folder / "edges", "-k", 5, "--hierarchy")
        assert done.exit_code == 0, done.stderr

    def test_official_scores_are_those_of_the_edges(
        self, folder: Path, planted: tuple[NDArray[np.int32], NDArray[np.float32]]
    ) -> None:
        """Where the edges are those that people drew, their regions are found; without them they are not."""
        truth = planted[0].astype(np.uint16)
        root = folder / "bsds/val"
        (root / "gt").mkdir(parents=True)
        (folder / "in").rename(root / "images")
        for path in (root / "images").iterdir():
            path.rename(path.with_suffix(".jpg"))
            borders = np.packbits(boundaries(planted[0])[None], axis=-1)
            np.savez(root / "gt" / f"{path.stem}.npz", segs=truth[None], bdrys=borders)
        covering = {}
        for name, options in (("own", ["--edges", folder / "edges"]), ("learned", [])):
            measures = "region,edges" if options else "region"
            arguments = [folder / "bsds", "-o", folder / name, "--measures", measures, "--set", "features.cnn=null"]
            done = run("evaluate", "bsds", *arguments, *options)
            assert done.exit_code == 0, done.stderr
            results = json.loads((folder / name / "results.json").read_text())
            covering[name] = results["region"]["covering_ods"]
        assert covering["own"] > 0.9 > covering["learned"]
        results = json.loads((folder / "own" / "results.json").read_text())
        assert results["edges"]["edges_ods"] > 0.9
        assert "non-maximum suppression" in results["protocol"]["edges"]
        shown = json.loads((folder / "own" / "evaluation.json").read_text())
        assert shown["measures"] == "region,edges"

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (
                ("--set", "features.cnn=null"),
                "there is no network of borders: leave edges out of the measures, or give",
            ),
            (("--predictions", "edges"), "label maps have no edge map"),
        ],
    )
    def test_scores_of_edges_need_edges(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], sentence: str
    ) -> None:
        monkeypatch.chdir(folder)
        (folder / "in").rename(folder / "images")
        (folder / "edges").rename(folder / "masks")
        assert sentence in one_error(run("evaluate", "folder", ".", "-o", "out", "--measures", "edges", *options))
        assert not (folder / "out").exists()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--edges", "none.png"), "there is no such file or folder of edges"),
            (("--edges", "edges/one.png"), "is one file of edges for 2 images"),
            (("--edges-weight", "0.5"), "needs --edges"),
            (("--edges", "edges", "--edges-weight", "2"), "less than or equal to 1"),
            (("--edges", "edges", "--set", "features.contours=null"), "edges become boundary probabilities"),
        ],
    )
    def test_what_does_not_fit_gets_a_sentence(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], sentence: str
    ) -> None:
        monkeypatch.chdir(folder)
        assert sentence in one_error(run("segment", "in", "-o", "out", *options))
        assert not (folder / "out").exists()
