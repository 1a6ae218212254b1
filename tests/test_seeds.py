"""Seeds: they keep their labels, the walk is that of Grady's paper, and bad seeds get a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy import ndimage

import segspectral
from segspectral.config import make_pipeline
from segspectral.errors import SettingsError
from segspectral.pipeline import Pipeline
from segspectral.seeds import Seeds, read_seeds, seeds_of_shapes
from segspectral.spectral.walker import first_seed
from segspectral.values import Image, Scene, Segmentation
from segspectral.values.regions import build_hierarchy, seeded_regions
from tests.cli.conftest import one_error, run

LIGHT = {"superpixels": {"count": 60}, "features": {"cnn": None}}


@pytest.fixture(scope="module")
def light() -> Pipeline:
    return make_pipeline(LIGHT)


@pytest.fixture(scope="module")
def scene(light: Pipeline, cat: NDArray[np.uint8]) -> Scene:
    return light.describe(Image(cat, "cat.png"))


def lattice(values: NDArray[np.float64], beta: float) -> sp.csr_array:
    """The pixel graph of scikit-image's ``random_walker``: exp(-beta |difference|^2), written down anew."""
    index = np.arange(values.size).reshape(values.shape)
    pairs = np.concatenate(
        [
            np.stack([index[:, :-1], index[:, 1:]], -1).reshape(-1, 2),
            np.stack([index[:-1], index[1:]], -1).reshape(-1, 2),
        ]
    )
    step = values.reshape(-1)[pairs]
    # scikit-image scales beta by ten times the deviation of the image.
    weight = np.exp(-beta / (10 * values.std()) * (step[:, 0] - step[:, 1]) ** 2) + 1e-10
    half = sp.csr_array((weight, pairs.T), shape=(values.size, values.size))
    return sp.csr_array(half + half.T)


@pytest.mark.parametrize("seed", range(3))
def test_the_walk_is_that_of_scikit_image_on_a_graph_of_pixels(seed: int) -> None:
    from skimage.segmentation import random_walker

    rng = np.random.default_rng(seed)
    values = rng.random((14, 11))
    seeds = np.zeros(values.shape, np.int64)
    for label in (1, 2, 3, 1):
        seeds[tuple(rng.integers(0, values.shape))] = label
    seeds[0, :3] = 1, 2, 3
    theirs = random_walker(values, seeds, beta=90, mode="bf", return_full_prob=True)
    ours = first_seed(lattice(values, 90), seeds.reshape(-1), 3)
    assert np.abs(ours.T.reshape(theirs.shape) - theirs).max() < 1e-6
    # A planted defect that the comparison must see.
    assert np.abs(first_seed(lattice(values, 60), seeds.reshape(-1), 3).T.reshape(theirs.shape) - theirs).max() > 1e-4


def test_a_walk_on_a_path_meets_its_ends_in_proportion_to_the_resistances() -> None:
    weights = sp.csr_array(np.diag([1.0, 2.0, 4.0], 1) + np.diag([1.0, 2.0, 4.0], -1))
    found = first_seed(weights, np.array([1, 0, 0, 2]), 2)
    assert np.allclose(found[:, 1], [0, 4 / 7, 6 / 7, 1])
    alone = sp.csr_array(sp.block_diag([weights, weights]))
    assert not first_seed(alone, np.array([1, 0, 0, 2, 0, 0, 0, 0]), 2)[4:].any()


@pytest.mark.parametrize("by", ["walker", "hierarchy"])
@pytest.mark.parametrize("number", range(12))
def test_the_pixels_of_seeds_keep_their_labels(scene: Scene, light: Pipeline, by: str, number: int) -> None:
    rng = np.random.default_rng(number)
    shape = scene.image.shape
    seeds = np.where(rng.random(shape) < rng.choice([0.002, 0.05, 0.6]), rng.integers(1, rng.integers(3, 9), shape), 0)
    seeds[0, :2] = 1, 2
    if number % 3 == 0:  # strokes
        seeds[10:14, 5:60], seeds[12, 30:50] = 4, 2
    made = light.model_copy(update={"seeds": light.seeds.model_copy(update={"by": by})}).solve(scene, seeds=seeds)
    assert (made.labels[seeds > 0] == seeds[seeds > 0]).all()
    assert set(np.unique(made.labels)) <= set(np.unique(seeds)) - {0}
    assert made.membership.probabilities.shape == (len(made.superpixels), seeds.max())
    assert len(made.affinity) == len(made.features.nodes) == len(made.scene.graph) == len(made.superpixels)
    assert not abs(made.affinity.weights - made.affinity.weights.T).max()


def test_seeds_mean_the_same_in_any_order_of_labels(scene: Scene, light: Pipeline) -> None:
    seeds = np.zeros(scene.image.shape, np.int64)
    seeds[5, 5], seeds[40, 50], seeds[65, 90] = 1, 2, 3
    swapped = np.array([0, 3, 1, 2])[seeds]
    first, second = (light.solve(scene, seeds=one) for one in (seeds, swapped))
    assert (np.array([0, 3, 1, 2])[first.labels] == second.labels).all()


def test_one_seed_in_each_quadrant_gives_the_quadrants(quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    image, truth = quadrants
    plain = segspectral.segment(image, segments=2, **LIGHT, refine="none")
    seeds = np.zeros(truth.shape, np.int32)
    for label in (1, 2, 3, 4):
        rows, cols = np.nonzero(truth == label)
        seeds[rows[len(rows) // 2], cols[len(cols) // 2]] = label
    for by in ("walker", "hierarchy"):
        made = plain.with_seeds(seeds, by=by)
        assert (made.labels == truth).mean() > 0.97
    assert plain.segments == 2


def test_regions_are_merged_as_in_the_tree_until_two_labels_would_meet(scene: Scene) -> None:
    tree, n = build_hierarchy(scene.graph), len(scene.graph)
    seeds = np.zeros(n, np.int64)
    seeds[[0, n - 1]] = 1, 2
    found = seeded_regions(scene.graph, seeds)
    apart = next(k for k in range(2, n + 1) if (cut := tree.regions(segments=k))[0] != cut[n - 1])
    cut = tree.regions(segments=apart)
    assert (found[cut == cut[0]] == 1).all()
    assert (found[cut == cut[n - 1]] == 2).all()
    assert (found > 0).all()


def test_what_void_cuts_off_takes_the_label_of_the_most_similar_and_says_so(cat: NDArray[np.uint8]) -> None:
    mask = np.ones(cat.shape[:2], np.bool_)
    mask[:, 45:50] = False
    light = make_pipeline({**LIGHT, "affinity": {"neighbors": 1}, "seeds": {"by": "hierarchy"}})
    seeds = np.zeros(mask.shape, np.int32)
    seeds[10, 10], seeds[60, 20], seeds[30, 47] = 1, 2, 2
    made = light.solve(light.describe(Image(cat, mask=mask)), seeds=seeds)
    assert set(np.unique(made.labels[mask])) == {1, 2}
    assert not made.labels[~mask].any()
    assert any("no seed can be reached" in text for text in made.notes)
    assert any("1 pixel of the seeds left out" in text for text in made.notes)


def test_seeds_of_a_large_image_hold_at_its_own_size(cat: NDArray[np.uint8]) -> None:
    light = make_pipeline({**LIGHT, "working_pixels": 1500})
    seeds = np.zeros(cat.shape[:2], np.int32)
    seeds[20, 20:40], seeds[21, 20:40], seeds[50:60, 70] = 1, 2, 3
    made = light.solve(light.describe(Image(cat)), seeds=seeds)
    assert made.labels.shape == seeds.shape
    assert (made.labels[seeds > 0] == seeds[seeds > 0]).all()


class TestFiles:
    @staticmethod
    def shapes() -> dict[str, object]:
        return {
            "imageHeight": 72,
            "imageWidth": 96,
            "shapes": [
                {"label": "cat", "shape_type": "linestrip", "points": [[20, 30.5], [40, 30.5], [40, 50]]},
                {"label": "wall", "shape_type": "polygon", "points": [[0, 0], [10, 0], [10, 5], [0, 5]]},
                {"label": "cat", "shape_type": "point", "points": [[96, 72]]},
            ],
        }

    def test_shapes_points_and_pixels_say_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "cat.json"
        path.write_text(json.dumps(self.shapes()))
        seeds = read_seeds(path, (72, 96))
        assert seeds.names == {1: "cat", 2: "wall"}
        assert (seeds.labels[30, 20:41] == 1).all()
        assert (seeds.labels[30:51, 40] == 1).all()
        assert (seeds.labels[:5, :10] == 2).all()
        assert seeds.labels[71, 95] == 1
        rows, cols = np.nonzero(seeds.labels)
        lines = [f"{r},{c},{seeds.names[int(seeds.labels[r, c])]}" for r, c in zip(rows, cols, strict=True)]
        (tmp_path / "cat.csv").write_text("row,col,label\n" + "\n".join(sorted(lines, key=lambda one: "wall" in one)))
        PIL.Image.fromarray(seeds.labels.astype(np.uint8)).save(tmp_path / "cat.png")
        PIL.Image.fromarray(seeds.labels.astype(np.uint16)).save(tmp_path / "cat.tif")
        np.save(tmp_path / "cat.npy", seeds.labels)
        for name in ("cat.csv", "cat.png", "cat.tif", "cat.npy"):
            assert (read_seeds(tmp_path / name, (72, 96)).labels == seeds.labels).all(), name

    def test_a_brush_is_as_wide_as_it_says_and_no_label_erases(self) -> None:
        line = {"label": "a", "shape_type": "line", "points": [[10, 10], [60, 10]], "width": 9}
        other = {"label": "b", "shape_type": "rectangle", "points": [[0, 40], [20, 50]]}
        rubber = {"label": None, "shape_type": "circle", "points": [[30, 10], [33, 10]]}
        seeds = seeds_of_shapes([line, other, rubber], (72, 96), names=["b", "a"]).labels
        assert 8 <= (seeds[:, 50] == 2).sum() <= 10
        assert seeds[45, 10] == 1
        assert seeds[10, 30] == 0

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("s.csv", "x,y\n1,2\n", "needs the header row,col,label"),
            (
                "s.csv",
                "row,col,label\n5,200,1\n",
                "line 2: the pixel (5, 200) is outside the image of 72 rows and 96 columns",
            ),
            ("s.csv", "row,col,label\n5,20,1\n6,20,1\n", "all seeds have the label 1"),
            ("s.csv", "row,col,label\n5,20,\n", "line 2: has no label"),
            ("s.csv", "row,col,label\n5.5,20,1\n", "line 2: the pixel '5.5,20' is not two whole numbers"),
            ("s.csv", "row,col,label\n5,20,1\n6,20,99999\n", "99999 is not a label of seeds"),
            ("s.csv", "row,col,label\n", "no pixel has a label"),
            ("s.json", "{", "is not a JSON file of labelme"),
            ("s.json", '{"shapes": 3}', "it has no list 'shapes'"),
            ("s.json", '{"shapes": [], "imageHeight": 5, "imageWidth": 6}', "the seeds have 6 x 5 pixels"),
            ("s.json", '{"shapes": [{"label": "a", "shape_type": "mask", "points": []}]}', "has the type 'mask'"),
            ("s.json", '{"shapes": [{"label": "a", "shape_type": "line", "points": [[1, 2]]}]}', "needs 2 points"),
            (
                "s.json",
                '{"shapes": [{"label": "a", "shape_type": "point", "points": [[500, 2]]}]}',
                "shape 1 has the point (500, 2), outside the image of 96 x 72 pixels",
            ),
            ("s.txt", "1", "is not a file of seeds"),
            ("s.png", "no picture", "cannot be read as seeds"),
        ],
    )
    def test_bad_files_get_a_sentence(self, tmp_path: Path, name: str, content: str, sentence: str) -> None:
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(SettingsError) as caught:
            read_seeds(path, (72, 96))
        assert sentence in str(caught.value)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize(
        ("labels", "sentence"),
        [
            (np.zeros((5, 5), int), "no pixel has a label"),
            (np.eye(5), "seeds are integers"),
            (np.eye(5, dtype=int), "all seeds have the label 1"),
            (-np.eye(5, dtype=int), "-1 is not a label of seeds"),
        ],
    )
    def test_bad_arrays_get_a_sentence(self, labels: NDArray[np.generic], sentence: str) -> None:
        with pytest.raises(SettingsError, match=sentence):
            Seeds.of(labels)

    def test_seeds_of_another_size_or_on_void_only_are_refused(self, scene: Scene, light: Pipeline) -> None:
        with pytest.raises(SettingsError, match="the seeds have 5 x 5 pixels, but the image has 96 x 72"):
            light.solve(scene, seeds=np.diag([1, 2, 0, 0, 0]))
        mask = np.ones(scene.image.shape, np.bool_)
        mask[:, :9] = False
        void = light.describe(Image(scene.image.rgb, mask=mask))
        seeds = np.zeros(mask.shape, np.int32)
        seeds[4, 4], seeds[6, 6] = 1, 2
        with pytest.raises(SettingsError, match="all seeds lie on void pixels"):
            light.solve(void, seeds=seeds)


class TestCommands:
    @pytest.fixture
    def folder(self, tmp_path: Path, cat: NDArray[np.uint8]) -> Path:
        (tmp_path / "seeds").mkdir()
        (tmp_path / "in").mkdir()
        for name in ("one", "two"):
            PIL.Image.fromarray(cat).save(tmp_path / "in" / f"{name}.png")
            (tmp_path / "seeds" / f"{name}.json").write_text(json.dumps(TestFiles.shapes()))
        return tmp_path

    def test_segment_keeps_seeds_and_their_names(self, folder: Path) -> None:
        command = ["segment", folder / "in/one.png", "-o", folder / "out", "--set", "features.cnn=null"]
        done = run(*command, "--seeds", folder / "seeds/one.json", "--format", "npz,coco")
        assert done.exit_code == 0, done.stderr
        labels = np.asarray(PIL.Image.open(folder / "out/one_labels.png"))
        seeds = read_seeds(folder / "seeds/one.json", (72, 96)).labels
        assert (labels[seeds > 0] == seeds[seeds > 0]).all()
        with np.load(folder / "out/one.npz") as data:
            assert data["memberships"].shape == (data["superpixels"].max() + 1, 2)
        names = {one["name"] for one in json.loads((folder / "out/coco.json").read_text())["categories"]}
        assert names == {"cat", "wall"}

    def test_batch_takes_seeds_by_name_and_does_changed_ones_again(self, folder: Path) -> None:
        command = ["batch", folder / "in", "-o", folder / "out", "--set", "features.cnn=null", "-j", "0"]
        command += ["--seeds", folder / "seeds"]
        assert run(*command).exit_code == 0
        before = (folder / "out/two_labels.png").read_bytes()
        assert run(*command).exit_code == 0
        (folder / "seeds/two.json").unlink()
        (folder / "seeds/two.csv").write_text("row,col,label\n3,3,1\n60,90,2\n4,90,5\n")
        assert run(*command).exit_code == 0
        assert (folder / "out/two_labels.png").read_bytes() != before
        assert set(np.unique(PIL.Image.open(folder / "out/two_labels.png"))) == {1, 2, 5}
        (folder / "seeds/two.csv").unlink()
        failed = run(*command)
        assert failed.exit_code != 0
        assert "has no seeds for two.png" in failed.stderr + failed.stdout

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--seeds", "nothing.png"), "there is no such file or folder of seeds"),
            (("--seeds", "seeds/one.json"), "is one file of seeds for 2 images"),
            (("--seeds", "seeds", "--seeds-by", "luck"), "'luck' is neither walker nor hierarchy"),
            (("--seeds-by", "walker"), "needs --seeds"),
            (("--seeds", "seeds", "--hierarchy"), "seeds and hierarchy exclude each other"),
            (("--seeds", "seeds", "--pieces"), "which no seed names"),
            (("--seeds", "seeds", "-k", "2,3"), "leave out the list of numbers"),
        ],
    )
    def test_what_does_not_fit_gets_a_sentence(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], sentence: str
    ) -> None:
        monkeypatch.chdir(folder)
        assert sentence in one_error(run("segment", "in", "-o", "out", *options))
        assert not (folder / "out").exists()


def test_a_label_whose_pixels_all_get_another_one_is_refused(tmp_path: Path) -> None:
    def point(label: str | None, x: float, y: float) -> dict[str, object]:
        return {"label": label, "shape_type": "point", "points": [[x, y]]}

    covered = [point("a", 3, 3), point("b", 3, 3), point("c", 9, 9)]
    with pytest.raises(SettingsError, match="no pixel of 'a' is left, because later shapes lie above it"):
        seeds_of_shapes(covered, (20, 30))
    assert seeds_of_shapes([*covered, point(None, 15, 15)], (20, 30)).labels[3, 3] == 2
    path = tmp_path / "s.csv"
    path.write_text("row,col,label\n3,4,a\n9,9,b\n3,4,a\n3,4,b\n")
    with pytest.raises(SettingsError, match=r"line 5: gives pixel \(3, 4\) the label b, but it has a"):
        read_seeds(path, (20, 30))


@pytest.mark.parametrize("by", ["walker", "hierarchy"])
@pytest.mark.parametrize("sizes", [{"min": "300"}, {"min": "40%"}, {"holes": "all"}, {"min": "5%", "holes": "3%"}])
def test_a_seed_wins_against_limits_on_sizes_and_a_note_says_so(scene: Scene, sizes: dict[str, str], by: str) -> None:
    pipeline = make_pipeline({**LIGHT, "sizes": sizes, "seeds": {"by": by}})
    least = pipeline.sizes.of_image(scene.image).least
    rng = np.random.default_rng(5)
    for count in (3, 40):
        seeds = np.zeros(scene.image.shape, np.int32)
        seeds.reshape(-1)[rng.choice(seeds.size, count, replace=False)] = rng.integers(1, 10, count)
        made: Segmentation = pipeline.solve(scene, seeds=seeds)
        assert (made.labels[seeds > 0] == seeds[seeds > 0]).all()
        # What is smaller than the minimum holds a seed, and a note counts these pieces.
        small = 0
        for label in np.unique(made.labels):
            piece, number = ndimage.label(made.labels == label)
            for one in range(1, number + 1):
                if (piece == one).sum() < least:
                    assert (seeds[piece == one] == label).any()
                    small += 1
        said = [note for note in made.notes if "because seeds hold the segment there" in note]
        assert said == (
            [
                f"{small} {'piece is' if small == 1 else 'pieces are'} smaller than the minimum, because "
                "seeds hold the segment there"
            ]
            if small
            else []
        )
        assert small or "min" not in sizes or count < 40
