"""From a data set and predictions to results: protocols, parts, resuming, files, and errors in a sentence."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segspectral
from segspectral.errors import DatasetError, OutputError, SettingsError
from segspectral.evaluation import ImageScore, Plan, Prediction, Results, evaluate, seed_spread
from segspectral.evaluation.datasets import Dataset, open_dataset
from segspectral.metrics.contour import CONTOUR_KINDS
from segspectral.values.regions import SWEEP_LEVELS

SHAPE = (24, 30)


def truth_of(k: int) -> np.ndarray:
    rng = np.random.default_rng(k)
    labels = np.kron(rng.integers(0, 3, (4, 5)), np.ones((6, 6), int)).astype(np.uint8)
    labels[:2] = 255
    return labels


def prediction_of(k: int) -> np.ndarray:
    rng = np.random.default_rng(100 + k)
    wrong = rng.random(SHAPE) < 0.2
    return np.where(wrong, rng.integers(0, 4, SHAPE), (truth_of(k) + 1) % 3).astype(np.uint8)


@pytest.fixture
def semantic(tmp_path: Path) -> Dataset:
    root = tmp_path / "set"
    for k in range(5):
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*SHAPE, 3), 40 * k, np.uint8)).save(root / "images" / f"i{k}.png")
        Image.fromarray(truth_of(k)).save(root / "masks" / f"i{k}.png")
    return open_dataset("folder", root, void=255)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    folder = tmp_path / "predictions"
    folder.mkdir()
    for k in range(5):
        if k < 3:
            Image.fromarray(prediction_of(k)).save(folder / f"i{k}.png")
        elif k == 3:
            np.save(folder / f"i{k}.npy", prediction_of(k))
        else:
            np.savez(folder / f"i{k}.npz", segs=prediction_of(k))
    return folder


def bsds_segs(k: int) -> np.ndarray:
    return np.stack(
        [np.kron(np.random.default_rng(k + a).integers(1, 5, (4, 5)), np.ones((6, 6), int)) for a in range(3)]
    )


@pytest.fixture
def regions(tmp_path: Path) -> Dataset:
    root = tmp_path / "bsds" / "val"
    (root / "images").mkdir(parents=True)
    (root / "gt").mkdir()
    for k in range(4):
        segs = bsds_segs(k).astype(np.uint16)
        edges = np.zeros(segs.shape, bool)
        edges[:, :-1] |= segs[:, :-1] != segs[:, 1:]
        edges[:, :, :-1] |= segs[:, :, :-1] != segs[:, :, 1:]
        Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(root / "images" / f"{k}.jpg")
        np.savez(root / "gt" / f"{k}.npz", segs=segs, bdrys=np.packbits(edges, axis=-1))
    return open_dataset("bsds", tmp_path / "bsds")


def sweep(path: Path) -> np.ndarray:
    segs = bsds_segs(int(path.stem))
    return np.stack([segs[0] // 2, segs[1], np.arange(segs[0].size).reshape(SHAPE) // 60])


def test_folder_of_predictions_in_every_format(semantic: Dataset, predictions: Path) -> None:
    results = evaluate(semantic, predictions)
    assert results.data["images"] == 5
    assert {"protocol", "miou", "miou_present", "pixel_accuracy", "per_class"} <= set(results.data["semantic"])
    valid = np.stack([truth_of(k) for k in range(5)]) != 255
    hits = [((prediction_of(k) + 2) % 3 == truth_of(k)) & (prediction_of(k) < 3) for k in range(5)]
    expected = np.stack(hits)[valid].mean()
    assert results.data["semantic"]["pixel_accuracy"] == pytest.approx(expected)


def test_protocols_are_named_and_kept_apart(semantic: Dataset, predictions: Path) -> None:
    for protocol in ("direct", "P1", "P2", "P3", "P4", "diffcut"):
        results = evaluate(semantic, predictions, protocol=protocol, bootstrap=0)  # type: ignore[arg-type]
        data = results.data
        assert data["semantic"]["protocol"] == protocol
        assert data["protocol"]["semantic"].startswith(protocol)
        assert protocol not in data["semantic_protocols"]
        assert ("P1" in data["semantic_protocols"]) == (protocol in ("direct", "P2"))
        assert all((name in data) == (protocol in ("direct", "P3", "P4")) for name in CONTOUR_KINDS)
    assert "interval_95" not in data


def test_contours_of_a_perfect_prediction_are_perfect_under_any_names(semantic: Dataset) -> None:
    def renamed(path: Path) -> np.ndarray:
        return (truth_of(int(path.stem[1:])).astype(int) + 1) % 4 * 3

    for measures in (None, ["contour"]):
        data = evaluate(semantic, renamed, measures=measures, bootstrap=0).data
        assert {name: data[name]["value"] for name in CONTOUR_KINDS} == dict.fromkeys(CONTOUR_KINDS, 1.0)
        assert "DAVIS" in data["protocol"]["contour"]


def test_contours_need_names_that_are_known_per_image(semantic: Dataset, predictions: Path) -> None:
    with pytest.raises(SettingsError, match=r"contour .* P1 .* direct, P3 or P4"):
        evaluate(semantic, predictions, measures=["semantic", "contour"], protocol="P1")


def test_a_callable_can_score_a_sweep_of_scales(regions: Dataset) -> None:
    results = evaluate(regions, sweep)
    keys = {"covering_ods", "covering_ois", "covering_best"}
    keys |= {f"{measure}_{scale}" for measure in ("pri", "vi", "fop") for scale in ("ods", "ois")}
    assert keys == set(results.data["region"])
    assert {"f_ods", "f_ois", "ap"} <= set(results.data["boundary"])
    low, high = results.data["interval_95"]["region"]["covering_ods"]
    assert low <= results.data["region"]["covering_ods"] <= high
    perfect = evaluate(regions, lambda path: bsds_segs(int(path.stem))[0], bootstrap=0)
    assert perfect.data["region"]["covering_ods"] > 1 / 3


def test_a_pipeline_is_scored_as_its_label_maps_are(regions: Dataset) -> None:
    """With levels of the hierarchy for BSDS500, and with the numbers of segments that are asked for."""
    quick = segspectral.Pipeline(features={"cnn": None}, superpixels={"count": 40})

    def levels(path: Path) -> np.ndarray:
        tree = quick.describe(segspectral.read_image(path)).hierarchy
        return np.stack([tree.labels(level=level) for level in SWEEP_LEVELS])

    def pairs(path: Path) -> np.ndarray:
        scene = quick.describe(segspectral.read_image(path))
        return np.stack([quick.solve(scene, k).labels for k in (2, 3)])

    asked = segspectral.evaluate(regions, quick, measures=["region"])
    assert asked.data["region"] == pytest.approx(evaluate(regions, levels, measures=["region"]).data["region"])
    assert asked.data["settings"]["superpixels"]["count"] == 40
    asked = segspectral.evaluate(regions, quick, measures=["region"], scales=[2, 3])
    assert asked.data["region"] == pytest.approx(evaluate(regions, pairs, measures=["region"]).data["region"])
    with pytest.raises(SettingsError, match="scales are for a pipeline"):
        evaluate(regions, levels, scales=[2])


def test_the_edge_map_of_a_pipeline_and_of_a_user_are_scored(regions: Dataset, tmp_path: Path) -> None:
    quick: dict[str, Any] = {"superpixels": {"count": 20}, "features": {"cnn": None}}
    edges = tmp_path / "edges"
    edges.mkdir()
    for sample in regions.samples:
        drawn = sample.truth().boundaries
        assert drawn is not None
        Image.fromarray((255 * drawn.mean(axis=0)).astype(np.uint8)).save(edges / f"{sample.id}.png")
    own = segspectral.evaluate(regions, segspectral.Pipeline(edges=edges, **quick), measures=["edges", "boundary"])
    learned = segspectral.evaluate(regions, segspectral.Pipeline(superpixels={"count": 20}), measures=["edges"])
    # The photographs are black, so the network sees nothing.
    assert learned.data["edges"]["edges_ods"] < 0.4 < own.data["edges"]["edges_ods"]
    assert {"edges_ods", "edges_ois", "edges_ap"} == set(own.data["interval_95"]["edges"])
    assert own.rows[0]["edges_f"] > learned.rows[0]["edges_f"]
    assert learned.ranking() == "edges_f"
    given = {sample.id: np.asarray(Image.open(edges / f"{sample.id}.png")) / 255 for sample in regions.samples}
    called = evaluate(
        regions, lambda path: Prediction(bsds_segs(int(path.stem)), edges=given[path.stem]), measures=["edges"]
    )
    assert called.data["edges"] == pytest.approx(own.data["edges"], abs=1e-6)


def test_what_has_no_edge_map_is_reported(regions: Dataset, predictions: Path) -> None:
    with pytest.raises(SettingsError, match=r"label maps have no edge map.*--edges"):
        evaluate(regions, predictions, measures=["edges"])
    for without in ({"cnn": None}, {"contours": None}, {"contours": {"edges": False}}):
        with pytest.raises(SettingsError, match="no network of borders: leave edges out"):
            evaluate(regions, segspectral.Pipeline(features=without), measures=["edges"])
    with pytest.raises(DatasetError, match=r"0: has no edge map"):
        evaluate(regions, sweep, measures=["edges"])


def test_superpixels_give_their_ceiling(semantic: Dataset) -> None:
    grid = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) // 3

    def predict(path: Path) -> Prediction:
        return Prediction(prediction_of(int(path.stem[1:])), grid)

    data = evaluate(semantic, predict, bootstrap=0).data
    assert data["ceiling"]["pixel_accuracy"] == data["superpixel"]["asa"] == 1.0
    assert data["superpixel"]["segments"] == grid.max() + 1


def test_parts_in_any_order_equal_one_run(semantic: Dataset, predictions: Path) -> None:
    whole: list[ImageScore] = []
    expected = evaluate(semantic, predictions, protocol="P1", on_image=lambda s, *_: whole.append(s))
    parts = [ImageScore.from_json(json.loads(json.dumps(s.to_json())), s.picture) for s in whole]
    again = Results.of(semantic, Plan(("semantic",), "P1"), parts[3:] + parts[:3])
    strip = ("seconds",)
    assert {k: v for k, v in again.data.items() if k not in strip} == {
        k: v for k, v in expected.data.items() if k not in strip
    }
    for wrong in (parts[1:], [*parts, parts[0]]):
        with pytest.raises(DatasetError, match="do not belong to the images"):
            Results.of(semantic, Plan(("semantic",), "P1"), wrong)


def test_a_stopped_run_goes_on_where_it_was(regions: Dataset, tmp_path: Path) -> None:
    calls: list[str] = []

    def predict(path: Path) -> np.ndarray:
        calls.append(path.stem)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sweep(path)

    with pytest.raises(KeyboardInterrupt):
        evaluate(regions, predict, resume=tmp_path / "parts")
    resumed = evaluate(regions, predict, resume=tmp_path / "parts")
    assert calls == ["0", "1", "2", "2", "3"]
    straight = evaluate(regions, sweep)
    for group in ("region", "boundary", "interval_95"):
        assert resumed.data[group] == straight.data[group]
    evaluate(regions, predict, resume=tmp_path / "parts", settings={"n_segments": 7})
    assert len(calls) == 9  # other settings, nothing is taken over
    for part in (tmp_path / "parts").glob("*.json"):
        part.write_text(part.read_text()[:50])
    evaluate(regions, predict, resume=tmp_path / "parts")
    assert len(calls) == 13  # damaged parts are scored again
    with pytest.raises(OutputError, match="cannot be written"):
        evaluate(regions, predict, resume=next(iter((tmp_path / "parts").glob("*.json"))) / "x")


def test_changed_predictions_are_scored_again(semantic: Dataset, predictions: Path, tmp_path: Path) -> None:
    first = evaluate(semantic, predictions, resume=tmp_path / "parts", bootstrap=0)
    Image.fromarray(truth_of(0)).save(predictions / "i0.png")
    second = evaluate(semantic, predictions, resume=tmp_path / "parts", bootstrap=0)
    assert second.data["semantic"]["miou"] > first.data["semantic"]["miou"]


def test_results_are_written_to_three_files(semantic: Dataset, predictions: Path, tmp_path: Path) -> None:
    results = evaluate(semantic, predictions, settings={"<b>": "x & y"}, command="segspectral evaluate <folder>")
    written = results.write(tmp_path / "out" / "deep")
    assert sorted(written) == ["report.html", "results.json", "scores.csv"]
    data = json.loads(written["results.json"].read_text())
    assert data["semantic"]["miou"] == results.data["semantic"]["miou"]
    assert data["dataset"]["fingerprint"] == semantic.fingerprint()
    assert data["versions"]["numpy"]
    rows = list(csv.DictReader(written["scores.csv"].open()))
    assert [r["id"] for r in rows] == [f"i{k}" for k in range(5)]
    page = written["report.html"].read_text()
    assert "segspectral evaluate &lt;folder&gt;" in page
    assert "<b>" not in page
    assert page.count("data:image/jpeg;base64,") == 5, "each image is among the worst or the best, none twice"
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "<script" not in page
    with pytest.raises(OutputError, match="cannot be written"):
        results.write(written["results.json"] / "below")


def test_report_of_regions_has_a_curve(regions: Dataset, tmp_path: Path) -> None:
    page = evaluate(regions, sweep).write(tmp_path)["report.html"].read_text()
    assert "<polyline" in page
    assert "covering_ods" in page


def test_results_are_deterministic_and_the_seed_moves_only_intervals(regions: Dataset) -> None:
    first, second, other = (evaluate(regions, sweep, seed=s) for s in (0, 0, 1))
    first.data["seconds"] = second.data["seconds"] = 0
    assert first.data == second.data
    assert first.data["region"] == other.data["region"]


def test_the_spread_over_seeds_has_mean_and_deviation(semantic: Dataset, predictions: Path) -> None:
    runs = [evaluate(semantic, predictions, bootstrap=0) for _ in range(3)]
    spread = seed_spread(runs)["semantic"]["miou"]
    assert spread["mean"] == pytest.approx(runs[0].data["semantic"]["miou"])
    assert spread["sd"] == 0
    assert len(spread["values"]) == 3
    with pytest.raises(ValueError, match="same data"):
        seed_spread([])


def test_bad_predictions_are_named(semantic: Dataset, predictions: Path) -> None:
    def broken(name: str, array: np.ndarray | bytes | None) -> str:
        for old in predictions.glob("i1.*"):
            old.unlink()
        path = predictions / name
        if isinstance(array, bytes):
            path.write_bytes(array)
        elif array is not None:
            np.savez(path, segs=array) if path.suffix == ".npz" else np.save(path, array)
        with pytest.raises(DatasetError) as caught:
            evaluate(semantic, predictions)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no prediction for i1" in broken("i1.npy", None)
    assert re.search(r"i1\.npy: is 10 high and 30 wide .* truth 24 high", broken("i1.npy", np.zeros((10, 30), int)))
    assert "float64" in broken("i1.npy", np.zeros(SHAPE))
    assert "2 scales" in broken("i1.npz", np.zeros((2, *SHAPE), int))
    for name in ("i1.npy", "i1.npz", "i1.png"):
        assert f"{name}: cannot be read" in broken(name, b"rubbish")
    np.save(predictions / "i1.npy", np.zeros(SHAPE, int))
    with pytest.raises(DatasetError, match="belongs to the same image"):
        evaluate(semantic, predictions)
    with pytest.raises(DatasetError, match="is not a folder"):
        evaluate(semantic, predictions / "nowhere")


def test_scales_must_agree_between_images(regions: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"1: has 2 scales but 0 has 3"):
        evaluate(regions, lambda path: sweep(path)[: 3 if path.stem == "0" else 2])


def test_impossible_plans_are_refused(regions: Dataset, predictions: Path) -> None:
    with pytest.raises(SettingsError, match="no classes"):
        evaluate(regions, sweep, measures=["semantic"])
    with pytest.raises(SettingsError, match="measures"):
        Plan(("speed",))
    with pytest.raises(SettingsError, match="P7"):
        Plan(("region",), "P7")  # type: ignore[arg-type]


def test_importing_evaluate_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = "import sys, segspectral.evaluation; print(any(m in sys.modules for m in ('torch', 'timm', 'jinja2')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
