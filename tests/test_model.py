"""Models: one head over many images, its file, and its use on images."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

import segspectral
from segspectral.cli import app
from segspectral.config import make_pipeline
from segspectral.errors import BackboneError, ImageError, SettingsError
from segspectral.features import Cnn
from segspectral.images.reader import as_image
from segspectral.pipeline import Pipeline
from segspectral.settings import with_settings
from segspectral.shared.fit import fit_model, merge_clusters, weighted
from segspectral.shared.model import Block, Model, Projection, Recipe, Regions
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Superpixels
from segspectral.values.regions import RegionGraph

COLOURS = np.array([[200, 60, 50], [60, 150, 70], [50, 80, 180], [220, 200, 90]], dtype=np.float64)
SETTINGS = ("features.cnn=null", "features.colour={}", "superpixels.count=60", "head.steps=20")
QUICK = Recipe.model_validate(
    {
        "segments": 4,
        "features": {"colour": {}, "texture": None, "position": None, "cnn": None},
        "superpixels": {"count": 60},
        "head": {"name": "neuncut", "hidden": (16,), "steps": 20, "greedy": False},
    }
)


def scene(order: Sequence[int], seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(64, 80, 3) four noisy materials in the quadrants, in this order, and (64, 80) the material of each pixel."""
    truth = np.empty((64, 80), dtype=np.int64)
    truth[:32, :48], truth[32:, :48], truth[:32, 48:], truth[32:, 48:] = order
    noisy = COLOURS[truth] + np.random.default_rng(seed).normal(0, 6, (*truth.shape, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), truth


ORDERS = ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1])
SCENES = [scene(order, seed) for seed, order in enumerate(ORDERS)]


@pytest.fixture(scope="module")
def model() -> Model:
    return fit_model([image for image, _ in SCENES], QUICK)


@pytest.fixture(scope="module")
def file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    model.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for number, (image, _) in enumerate(SCENES):
        PIL.Image.fromarray(image).save(place / f"{number}.png")
    return place


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def labels_by(pipeline: Pipeline) -> list[NDArray[np.int32]]:
    return [pipeline(as_image(image)).labels for image, _ in SCENES]


def agreement(labels: list[NDArray[np.int32]]) -> float:
    """Share of correct pixels if each segment is given its most frequent material over all images."""
    pixels = np.zeros((max(int(line.max()) for line in labels) + 1, len(COLOURS)))
    for line, (_, truth) in zip(labels, SCENES, strict=True):
        np.add.at(pixels, (line, truth), 1)
    return float(pixels.max(axis=1).sum() / pixels.sum())


# --- the same segments in every image ---


def test_a_segment_is_the_same_object_in_every_image(model: Model) -> None:
    assert agreement(labels_by(Pipeline(model=model, refine="none"))) > 0.95
    # Segments that are fitted to each image separately have no common order, and the measure shows it.
    alone = {"superpixels": {"count": 60}, "features": {"cnn": None}, "head": "exact", "refine": "none"}
    assert agreement(labels_by(make_pipeline({"segments": 4, **alone}))) < 0.8


def test_the_same_image_gets_the_same_segments_whatever_was_segmented_before(model: Model) -> None:
    image = SCENES[0][0]
    twice = fit_model([image, image, *(image for image, _ in SCENES)], QUICK)
    for one in (model, twice):
        pipeline = Pipeline(model=one, refine="none")
        first = pipeline(as_image(image)).labels
        pipeline(as_image(SCENES[1][0]))
        assert pipeline(as_image(image.copy())).labels.tobytes() == first.tobytes()


def test_crops_of_one_image_agree_where_they_overlap(model: Model) -> None:
    pipeline = Pipeline(model=model, refine="none")
    image, _ = SCENES[0]
    a, b = (pipeline(as_image(image[r : r + 52, c : c + 64])).labels for r, c in ((0, 0), (12, 16)))
    # Each crop has its own superpixels, which cross the borders at other positions.
    assert (a[12:, 16:] == b[:40, :48]).mean() > 0.9


def test_segments_that_do_not_occur_in_an_image_do_not_appear_in_refinement(model: Model) -> None:
    image = np.concatenate([SCENES[0][0][:32, :48], SCENES[0][0][:32, 48:]], axis=1)  # materials 0 and 2
    for refine in ("none", "guided"):
        s = Pipeline(model=model, refine=refine)(as_image(image))
        assert s.membership.probabilities.shape[1] == 4
        assert set(np.unique(s.labels)) == set(np.unique(s.membership.labels) + 1)
        assert s.segments == len(np.unique(s.labels)) == 2


def test_equal_seeds_give_equal_models(model: Model) -> None:
    images = [image for image, _ in SCENES]
    assert fit_model(images, QUICK).fingerprint == model.fingerprint
    assert fit_model(images, with_settings(QUICK, {"seed": 1})).fingerprint != model.fingerprint


def test_the_first_segment_is_the_largest_over_all_images(model: Model) -> None:
    labels = np.concatenate([line.ravel() for line in labels_by(Pipeline(model=model, refine="none"))])
    sizes = np.bincount(labels, minlength=5)[1:] / len(labels)
    assert (np.diff(sizes) < 0.02).all()


HEADS_OF_A_MODEL = [
    {"name": "kmeans"},
    {"name": "exact"},
    {"name": "spectralnet", "steps": 60},
    {"name": "neuralef", "steps": 60, "encoder": "gcn"},
]


@pytest.mark.parametrize("head", HEADS_OF_A_MODEL)
def test_any_head_can_be_fitted(head: dict[str, object], tmp_path: Path) -> None:
    fitted = fit_model(
        [image for image, _ in SCENES], with_settings(QUICK, {"head": head, "regions": {"level": 0}, "fine": 1})
    )
    fitted.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").fingerprint == fitted.fingerprint
    assert agreement(labels_by(Pipeline(model=tmp_path / "m", refine="none"))) > 0.9


def test_the_graph_is_not_larger_than_requested() -> None:
    recipe = with_settings(QUICK, {"nodes": 100, "regions": {"level": 0}})
    assert fit_model([image for image, _ in SCENES], recipe).about["nodes"] == 100


def test_images_are_taken_whole_and_only_opened_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image has four regions, so 25 of 60 images fill a graph of 100 nodes."""
    monkeypatch.setattr("segspectral.shared.fit.FEWEST_IMAGES", 20)
    images = [scene(ORDERS[seed % 4], seed)[0] for seed in range(60)]
    opened: list[int] = []

    def seen(image: Any, error: Exception | None) -> None:
        opened.append(next(i for i, one in enumerate(images) if one is image))

    fitted = fit_model(images, with_settings(QUICK, {"nodes": 100}), observer=seen)
    assert (fitted.about["nodes"], fitted.about["images"]) == (100, 25)
    assert len(opened) == len(set(opened)) == 25
    # Images are drawn from the whole folder, not only from its beginning.
    assert max(opened) > 40
    assert agreement(labels_by(Pipeline(model=fitted, refine="none"))) > 0.95


def test_photographs_are_separated_by_cnn_features(cat: NDArray[np.uint8], tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"segments": 3, "superpixels": {"count": 40}})
    fitted = fit_model([cat, cat[:, ::-1], cat[::-1]], recipe)
    fitted.save(tmp_path / "m")
    a, b = (Pipeline(model=m, refine="none")(as_image(cat)).labels for m in (fitted, tmp_path / "m"))
    assert a.tobytes() == b.tobytes()
    other = replace(fitted, backbone="0" * 64)
    first = fitted.backbone.split("+")[0]
    with pytest.raises(BackboneError, match="was made with other weights of 'segspectral_lite0'"):
        Pipeline(model=replace(fitted, backbone=first))(as_image(cat))
    with pytest.raises(BackboneError, match="was made with other weights of 'tf_efficientnet_lite0'"):
        Pipeline(model=other)(as_image(cat))


# --- the file ---


def test_a_loaded_model_is_the_saved_one(model: Model, file: Path) -> None:
    back = Model.load(file)
    assert back.recipe == model.recipe
    assert back.fingerprint == model.fingerprint
    ours, theirs = (labels_by(Pipeline(model=m)) for m in (model, back))
    assert [a.tobytes() for a in ours] == [b.tobytes() for b in theirs]


def test_a_file_that_is_not_a_model_is_refused_in_one_sentence(model: Model, file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    model.head.save(tmp_path / "head")
    (tmp_path / "text").write_text("segments")
    (tmp_path / "cut").write_bytes(whole[:-100])
    (tmp_path / "pickle").write_bytes(pickle.dumps({"model": 1}))
    replace(model, segment_of=model.segment_of[:-1]).save(tmp_path / "narrow")
    replace(model, segment_of=model.segment_of + 9).save(tmp_path / "beyond")
    replace(model, projection=replace(model.projection, axes=model.projection.axes[:, :2])).save(tmp_path / "thin")
    for name in ("head", "text", "cut", "pickle", "narrow", "beyond", "thin"):
        with pytest.raises(
            SettingsError, match=f"{name}: is not a model that `segspectral fit` or `teach` has written, or"
        ):
            Model.load(tmp_path / name)
    with pytest.raises(SettingsError, match="there is no such model"):
        Model.load(tmp_path / "absent")
    newer = whole.replace(b'"model": 5', b'"model": 9').replace(b'\\"model\\": 5', b'\\"model\\": 9')
    (tmp_path / "newer").write_bytes(newer)
    with pytest.raises(SettingsError, match="another version"):
        Model.load(tmp_path / "newer")


def test_a_changed_file_is_read_again_and_has_another_fingerprint(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "m"
    model.save(path)
    settings = Pipeline(model=path).model_dump(mode="json")
    assert make_pipeline(settings) == Pipeline(model=path)
    fit_model([SCENES[0][0], SCENES[1][0]], with_settings(QUICK, {"segments": 3})).save(path)
    assert Pipeline(model=path).segments == 3
    with pytest.raises(SettingsError, match="is not the model with which these settings were made"):
        make_pipeline(settings)


# --- settings that contradict the model ---


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"superpixels": {"count": 300}}, r"superpixels.count=300 contradicts the model .*made with 60"),
        ({"features": {"colour": {"weight": 2}}}, "features.colour.weight=2.0 contradicts"),
        ({"segments": 5}, "segments=5 contradicts"),
        ({"head": "exact"}, "head.name=exact contradicts|head.* contradicts"),
        ({"hierarchy": True}, "hierarchy and model exclude each other"),
    ],
)
def test_settings_that_contradict_the_model_are_refused(file: Path, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        with_settings(Pipeline(model=file), settings)
    with pytest.raises(SettingsError, match=sentence):
        with_settings(Pipeline(), {"model": str(file), **settings})


def test_settings_that_agree_with_the_model_are_accepted(file: Path) -> None:
    pipeline = with_settings(Pipeline(), {"model": str(file), "refine": "guided", "seed": 3})
    assert (pipeline.segments, pipeline.superpixels.count) == (4, 60)
    with pytest.raises(SettingsError, match="the model has 4 segments and cannot make 7"):
        pipeline.solve(pipeline.describe(as_image(SCENES[0][0])), 7)


def test_more_segments_than_superpixels_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"500 segments are more than the .* regions of the 1 images"):
        fit_model([SCENES[0][0]], with_settings(QUICK, {"segments": 500}))
    with pytest.raises(ImageError, match="no image to fit"):
        fit_model([], QUICK)


# --- its parts ---


def test_merging_finds_planted_groups_of_unequal_size() -> None:
    rng = np.random.default_rng(0)
    sizes = (400, 60, 40)
    truth = np.repeat(np.arange(3), sizes)
    X = np.array([[0.0, 0], [30, 0], [0, 30]])[truth] + rng.normal(0, 2, (len(truth), 2))
    fine = np.concatenate([np.arange(size) % 4 + 4 * group for group, size in enumerate(sizes)])
    sure = np.eye(12)[fine]
    group_of = merge_clusters(knn_affinity(X), sure, 3, damping=0.6)
    assert group_of.tolist() == np.repeat(np.arange(3), 4).tolist()
    assert merge_clusters(knn_affinity(X), sure, 12, damping=0.6).tolist() == list(range(12))
    # Two more clusters are the most likely one of no node; they go where they are the second.
    doubtful = np.concatenate([0.7 * sure, 0.3 * (fine[:, None] // 4 == [2, 0])], axis=1)
    assert merge_clusters(knn_affinity(X), doubtful, 3, damping=0.6).tolist() == [*group_of, 2, 0]


def halves() -> tuple[RegionGraph, NDArray[np.bool_]]:
    """The graph of 4 x 4 square superpixels with one boundary between left and right, and which are on the right."""
    superpixels = Superpixels((np.arange(8)[:, None] // 2 * 4 + np.arange(8)[None] // 2).astype(np.int32))
    right = superpixels.centre[:, 1] > 3.5
    i, j = superpixels.borders.T
    return superpixels.region_graph.with_boundary(np.where(right[i] != right[j], 0.9, 0.01)), right


def test_regions_end_at_boundaries_and_have_the_mean_features() -> None:
    graph, right = halves()
    values = (10 * right[:, None] + np.random.default_rng(0).normal(0, 1, (16, 3))).astype(np.float32)
    rows, region = Regions(level=0.1, context=0)(graph, values)
    assert len(rows) == 2
    assert (np.unique(region[right]).size, np.unique(region[~right]).size) == (1, 1)
    for side in (right, ~right):
        assert np.allclose(rows[region[side][0]], values[side].mean(axis=0), atol=1e-5)
    # The larger region of both is the whole image.
    around, _ = Regions(level=0.1, context=1)(graph, values)
    assert np.allclose(around, (rows + values.mean(axis=0)) / 2, atol=1e-5)


def test_features_of_regions_are_weighted_by_area_and_linear() -> None:
    pair = Superpixels(np.array([[0, 0, 0, 1]], dtype=np.int32)).region_graph.with_boundary(np.array([0.01]))
    values = np.array([[0.0], [4.0]], np.float32)
    rows, _ = Regions(level=0.5)(pair, values)
    assert rows.tolist() == [[1.0]]
    graph, _ = halves()
    values, axes = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32), np.ones((3, 2), np.float32)
    one, other = (Regions()(graph, v)[0] for v in (values @ axes, values))
    assert np.allclose(one, other @ axes, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_without_regions_or_boundary_probabilities_superpixels_are_nodes(level: float) -> None:
    graph, _ = halves()
    values = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    rows, region = Regions(level=level)(replace(graph, boundary=None) if level else graph, values)
    assert rows is values
    assert region.tolist() == list(range(16))


def test_large_regions_and_coarse_maps_have_more_weight() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    features = Recipe().features.model_copy(update={"cnn": Cnn(channels=4)})
    widths = {Block("cnn", 16): 2, Block("cnn", 32): 2}

    def spread(coarseness: float) -> tuple[float, float]:
        known = Projection.learn(rows, np.ones(200), widths, features, coarseness)
        lone = [np.zeros_like(rows), np.zeros_like(rows)]
        lone[0][:, :2], lone[1][:, 2:] = rows[:, :2], rows[:, 2:]
        fine, coarse = (float(np.sqrt(known(part).var(axis=0).sum())) for part in lone)
        return fine, coarse

    assert np.allclose(spread(0), spread(0)[0], rtol=1e-3)
    fine, coarse = spread(1)
    assert np.isclose(coarse, 2 * fine, rtol=1e-3)
    area = np.where(np.arange(200) < 100, 1e-9, 1.0)
    assert np.allclose(Projection.learn(rows, area, widths, features).shift, rows[100:].mean(axis=0), atol=1e-5)
    graph = knn_affinity(rows)
    W, plain = weighted(graph, area + 1).weights, graph.weights
    ratio = (W[150].sum() / plain[150].sum()) / (W[10].sum() / plain[10].sum())
    assert ratio > 1.2
    assert (abs(weighted(graph, np.full(200, 3.0)).weights - plain) > 1e-6).nnz == 0


def test_nearest_neighbours_are_in_other_groups() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    groups = np.repeat([0, 1, 2], 20)
    i, j = knn_affinity(X, neighbors=4, groups=groups).weights.nonzero()
    assert (groups[i] != groups[j]).all()
    distance = np.linalg.norm(X[:, None] - X[None], axis=2)
    distance[groups[:, None] == groups[None]] = np.inf
    edges = set(zip(i.tolist(), j.tolist(), strict=True))
    assert all((n, int(m)) in edges for n in range(60) for m in np.argsort(distance[n])[:4])
    assert (knn_affinity(X, groups=np.zeros(60, int)).weights != knn_affinity(X).weights).nnz == 0


# --- the commands ---


def test_fit_says_that_one_segment_is_nearly_everything(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for n in range(2):
        rgb = np.full((120, 120, 3), 90, np.uint8)
        rgb[20 * n : 20 * n + 20, 40:60] = (220, 30, 30)
        PIL.Image.fromarray(rgb).save(tmp_path / "plain" / f"{n}.png")
    options = [word for setting in SETTINGS for word in ("--set", setting)]
    result = run("fit", tmp_path / "plain", "-o", tmp_path / "m.safetensors", "-k", 2, *options)
    assert result.exit_code == 0, result.output
    assert "share of the area: 1: 97%, 2: 3%" in result.output
    assert "segment 1 is nearly everything; another --seed" in result.output


def test_fit_then_segment_batch_and_evaluate_agree_with_python(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "my.safetensors"
    options = [word for setting in SETTINGS for word in ("--set", setting)]
    result = run("fit", folder, "-o", path, "-k", 4, *options)
    assert result.exit_code == 0, result.output
    assert "4 segments from " in result.stdout
    assert "of 4 images" in result.stdout
    shares = Model.load(path).about["shares"]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert f"share of the area: 1: {shares[0]:.0%}, 2: " in result.stdout
    assert "nearly everything" not in result.output
    options = ["--model", path, "--refine", "none"]
    assert (
        run("segment", folder, "-o", tmp_path / "one", "--format", "coco", "--names", "2=sky", *options).exit_code == 0
    )
    categories = json.loads((tmp_path / "one" / "coco.json").read_text())["categories"]
    assert [category["name"] for category in categories] == ["segment 1", "sky", "segment 3", "segment 4"]
    assert run("batch", folder, "-o", tmp_path / "many", "-j", 0, "--model", path, "--refine", "none").exit_code == 0
    for number, (image, _) in enumerate(SCENES):
        ours = segspectral.segment(image, model=path, refine="none").labels
        one, many = (
            np.array(PIL.Image.open(tmp_path / place))
            for place in (f"one/{number}_labels.png", f"many/{number}_labels.png")
        )
        assert np.array_equal(one, ours)
        assert np.array_equal(many, ours)
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    folder.rename(data / "images")
    for number, (_, truth) in enumerate(SCENES):
        PIL.Image.fromarray(truth.astype(np.uint8)).save(data / "masks" / f"{number}.png")
    evaluated = run("evaluate", "folder", data, "-o", tmp_path / "scores", "--model", path, "--refine", "none")
    assert evaluated.exit_code == 0, evaluated.output
    results = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert results["semantic"]["protocol"] == "P1"
    assert results["semantic"]["miou"] > 0.9
    refused = run("evaluate", "folder", data, "-o", tmp_path / "s2", "--model", path, "--runs", 2)
    assert refused.exit_code == 2
    assert "--runs and --scales do not change a fitted model" in refused.stderr


def test_fit_leaves_out_files_that_it_cannot_read_and_says_so(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    options = [word for setting in (*SETTINGS[:3], "head=kmeans") for word in ("--set", setting)]
    result = run("fit", folder, "-o", tmp_path / "m", "-k", 3, *options)
    assert result.exit_code == 1
    assert result.stderr.count("error: ") == 1
    assert "broken.png" in result.stderr
    assert "1 of 5 images could not be read" in result.stderr
    assert Model.load(tmp_path / "m").about["images"] == 4
    limited = run("fit", folder, "-o", tmp_path / "m", "-k", 3, "--limit", 2, *options)
    assert limited.exit_code == 0
    assert Model.load(tmp_path / "m").about["images"] == 2


def test_faults_of_a_command_are_reported_in_one_sentence(folder: Path, file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.yaml").write_text("segmnts: 3\n")
    for arguments, sentence in (
        (("fit", tmp_path / "empty", "-o", tmp_path / "m"), "no images were found"),
        (("fit", folder, "-o", tmp_path / "m", "--config", tmp_path / "bad.yaml"), "did you mean segments?"),
        (("fit", folder, "-o", tmp_path / "m", "--head", "wrong"), "unknown head 'wrong'"),
        (("segment", folder, "-o", tmp_path / "o", "--model", tmp_path / "none"), "there is no such model"),
        (("segment", folder, "-o", tmp_path / "o", "--model", file, "-k", 9), "segments=9 contradicts the model"),
        (("batch", folder, "-o", tmp_path / "o", "--model", file, "--set", "superpixels.count=9"), "made with 60"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert sentence in result.stderr
        assert result.stderr.count("\n") == 1


def test_fit_says_how_many_images_did_not_fit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segspectral.shared.fit.FEWEST_IMAGES", 1)
    settings = (*SETTINGS[:3], "head=kmeans", "nodes=100", "regions.level=0")
    options = [word for setting in settings for word in ("--set", setting)]
    result = run("fit", folder, "-o", tmp_path / "m", "-k", 3, *options)
    assert result.exit_code == 0, result.output
    assert "100 regions of 2 images" in result.stdout
    assert "2 more images did not fit into the graph: --set nodes=200 takes more of them" in result.stdout


def test_a_model_gives_the_images_of_its_fit_the_shares_that_the_fit_has_told(samples: Path) -> None:
    # Memberships of k-means are vague: three clusters of one segment would together outweigh the nearest cluster.
    changes = {
        "features": {"cnn": {"strides": [16, 32]}},
        "superpixels": {"count": 200},
        "head": "kmeans",
        "segments": 3,
    }
    recipe = with_settings(Recipe(), changes)
    images = [as_image(samples / name) for name in ("coffee.jpg", "cat.jpg")]
    model = fit_model(images, recipe)
    found = np.zeros(3)
    for image in images:
        superpixels = recipe.superpixels(image)
        features, graph = model.features(image, superpixels)
        membership = model.membership(features)
        np.testing.assert_allclose(membership.probabilities.sum(axis=1), 1, atol=1e-6)
        found += np.bincount(membership.labels, graph.area, 3) / graph.area.sum() / len(images)
    np.testing.assert_allclose(found, model.about["shares"], atol=1e-4)
    assert found.min() > 0.01
