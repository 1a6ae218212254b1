"""Further formats of a batch: files of each image, and files for all of them, over resume and shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from segspectral.batch import (
    InProcess,
    Job,
    Processes,
    Record,
    Segmenter,
    Shard,
    all_ended,
    find_jobs,
    read_history,
    run,
    write_together,
)
from segspectral.batch.run import _sweep
from segspectral.cli import app
from segspectral.errors import SettingsError
from segspectral.export import EXPORTERS
from segspectral.pipeline import Pipeline
from segspectral.rasters.segment import Tiles
from segspectral.settings import with_settings
from tests.batch.conftest import FAST_OPTIONS

Put = Callable[..., Path]
TOGETHER = ["coco.json", "cvat.zip", "yolo/data.yaml"]


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def test_a_batch_has_the_files_that_convert_makes(put: Put, tmp_path: Path):
    folder, out = put("a.jpg", "a.png", "x/a.jpg"), tmp_path / "out"
    (folder / "bad.jpg").write_bytes(b"no image")
    formats = "coco,cvat,yolo,labelme,svg,csv"
    code, said = command(
        *("batch", folder, "-r", "-o", out, "-j", 0, *FAST_OPTIONS, "--format", formats, "--names", "1=sky")
    )
    assert code == 1, said
    batch_said = said
    assert all(f"all images -> {out / name}" in said for name in TOGETHER)
    other = tmp_path / "other"
    code, said = command("convert", out, "--to", "coco,cvat,yolo", "-o", other, "--images", folder)
    assert code == 0, said
    made = {p.relative_to(other).as_posix(): p.read_bytes() for p in other.rglob("*") if p.is_file()}
    expected = {*TOGETHER, *(f"yolo/labels/{name}.txt" for name in ("a.jpg", "a.png", "x/a"))}
    assert set(made) == expected | {f"yolo/images/{name}" for name in ("a.jpg.jpg", "a.png.png", "x/a.jpg")}
    # The path in data.yaml is absolute.
    made["yolo/data.yaml"] = made["yolo/data.yaml"].replace(bytes(other), bytes(out))
    assert {name: (out / name).read_bytes() for name in made} == made
    assert "2 images have results with longer names, to keep images apart: a.jpg, a.png" in batch_said
    assert [i["file_name"] for i in json.loads(made["coco.json"])["images"]] == ["a.jpg", "a.png", "x/a.jpg"]
    assert b'"sky"' in made["coco.json"]
    # The links of labelme lead to the photographs.
    link = json.loads((out / "labelme/x/a.json").read_text())["imagePath"]
    assert (out / "labelme/x" / link).resolve() == folder / "x/a.jpg"
    record = read_history(out).latest["x/a.jpg"]
    assert {"labelme/x/a.json", "yolo/labels/x/a.txt", "yolo/images/x/a.jpg", "x/a.svg", "x/a_regions.csv"} < set(
        record.outputs
    )


def test_workers_write_formats_too(put: Put, fast: Pipeline, tmp_path: Path):
    jobs, out = find_jobs([put("a.png")]), tmp_path / "out"
    run(jobs, Segmenter.of(fast, out, formats=["npz,coco"]), Processes(1), out)
    assert (out / "a.npz").exists()
    assert read_history(out).latest["a.png"].formats == ["npz"]


def test_only_images_that_lack_a_format_are_done_again(put: Put, fast: Pipeline, tmp_path: Path):
    jobs, out = find_jobs([put("a.png", "b.png")]), tmp_path / "out"

    def done_now(*formats: str) -> int:
        return run(jobs, Segmenter.of(fast, out, formats=formats), InProcess(), out).now.total()

    assert done_now("svg") == 2
    assert done_now("svg") == 0
    assert done_now() == 0
    assert done_now("coco", "cvat") == 0  # made of the label maps
    assert done_now("csv,svg") == 2
    assert done_now("csv") == 0
    (out / "a.svg").unlink()
    assert done_now("csv") == 1
    # What is made anew in fewer formats leaves no files of the old settings behind.
    run(jobs, Segmenter.of(with_settings(fast, {"segments": 4}), out), InProcess(), out)
    assert sorted(p.name for p in out.glob("b*")) == ["b.json", "b_labels.png", "b_overlay.png", "b_segments.csv"]


def test_the_file_for_all_comes_with_the_last_shard(put: Put, fast: Pipeline, tmp_path: Path):
    folder = put(*(f"{i}.png" for i in range(4)))
    (folder / "bad.png").write_bytes(b"no image")
    jobs, out, whole = find_jobs([folder]), tmp_path / "out", tmp_path / "whole"
    work = Segmenter.of(fast, out)
    for shard in (Shard(0, 2), Shard(1, 2)):
        assert not all_ended(read_history(out), jobs, work)
        run(jobs, work, InProcess(), out, shard)
    assert all_ended(read_history(out), jobs, work)
    assert not all_ended(read_history(out), jobs, Segmenter.of(with_settings(fast, {"seed": 7}), out))
    run(jobs, Segmenter.of(fast, whole), InProcess(), whole)
    assert write_together(out, ["coco", "svg"]) == [out / "coco.json"]
    write_together(whole, ["coco"])
    assert (out / "coco.json").read_bytes() == (whole / "coco.json").read_bytes()
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 4


def test_an_image_that_ends_while_the_file_for_all_is_made_is_in_it(
    put: Put, fast: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from segspectral.batch import together

    jobs, out = find_jobs([put("a.png", "b.png")]), tmp_path / "out"
    run(jobs[:1], Segmenter.of(fast, out), InProcess(), out)
    real = together._label_map

    def label_map(folder: Path, record: Record) -> object:
        run(jobs, Segmenter.of(fast, out), InProcess(), out)
        return real(folder, record)

    monkeypatch.setattr(together, "_label_map", label_map)
    write_together(out, ["coco"])
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 2


def test_a_damaged_label_map_is_reported_and_the_others_are_kept(put: Put, fast: Pipeline, tmp_path: Path):
    jobs, out = find_jobs([put("a.png", "b.png")]), tmp_path / "out"
    run(jobs, Segmenter.of(fast, out), InProcess(), out)
    (out / "a_labels.png").write_bytes(b"no label map")
    told: list[str] = []
    write_together(out, ["coco"], told.append)
    assert len(told) == 1
    assert "a_labels.png: is text, not an image that can be read" in told[0]
    assert [i["file_name"] for i in json.loads((out / "coco.json").read_text())["images"]] == ["b.png"]


def test_half_written_files_of_formats_and_long_names_are_swept(tmp_path: Path):
    long = "ö" * 110
    jobs = [Job("/", f"{stem}.jpg", stem=stem) for stem in ("a", "a_labels", "x/b", long)]
    mine = [jobs[0], *jobs[2:]]
    from segspectral.files import partial_of

    own = ["a_overlay.png", "x/b_labels.tif.nodes", "labelme/a.json", "yolo/labels/x/b.txt", "yolo/images/x/b.jpg"]
    own += [f"{long}_segments.csv", f"labelme/{long}.json"]
    others = ["a_labels_labels.png", "labelme/a_labels.json", "c_labels.png", "x/a_labels.png", "ab_labels.png"]
    paths = {name: partial_of(tmp_path / name) for name in own + others}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    _sweep(tmp_path, jobs, mine)
    assert {name for name, path in paths.items() if path.exists()} == set(others)


def test_a_hierarchy_has_its_contour_map(put: Put, fast: Pipeline, tmp_path: Path):
    jobs, out = find_jobs([put("a.png")]), tmp_path / "out"
    run(jobs, Segmenter.of(with_settings(fast, {"hierarchy": True}), out), InProcess(), out)
    assert "a_ucm.png" in read_history(out).latest["a.png"].outputs


def test_tiles_refuse_settings_that_need_the_whole_image(fast: Pipeline, tmp_path: Path):
    with pytest.raises(SettingsError, match="svg can only be made of whole images; leave out --tile"):
        Segmenter.of(fast, tmp_path, Tiles(), formats=["svg"])
    with pytest.raises(SettingsError, match="in tiles"):
        Segmenter.of(fast.model_copy(update={"model": object()}), tmp_path, Tiles())


def test_names_are_a_setting(fast: Pipeline, tmp_path: Path):
    hashes = [Segmenter.of(fast, tmp_path, names=names).settings for names in ({}, {1: "sky"}, {1: "sea"})]
    assert len(set(hashes)) == 3


def test_parts_and_files_for_all_come_in_pairs():
    for exporter in EXPORTERS.values():
        assert (exporter.part is None) == (exporter.together is None)
        assert exporter.image is not None or exporter.together is not None


def results_of(out: Path) -> dict[str, dict[str, bytes]]:
    """Return the outputs of each image as they are on the disk."""
    latest = read_history(out).latest
    return {name: {path: (out / path).read_bytes() for path in sorted(r.outputs)} for name, r in latest.items()}


def test_folders_named_like_those_of_formats_and_of_the_gallery_lose_nothing(put: Put, fast: Pipeline, tmp_path: Path):
    from segspectral.report import build

    names = ("a.png", "coco.png", "labelme/a.png", "report/a.png", "yolo/labels/a.png", "yolo/images/x_labels.png")
    names = (*names, "y_labels.png")
    jobs, out = find_jobs([put(*names)], recursive=True), tmp_path / "out"
    formats = ["labelme,labelme-polygons,yolo,coco,cvat,png,npz,csv,svg"]
    run(jobs, Segmenter.of(fast, out, formats=formats), InProcess(), out)
    made = results_of(out)
    written = [path for outputs in made.values() for path in outputs]
    assert set(made) == set(names)
    assert len(set(written)) == len(written) == 11 * len(names)
    write_together(out, formats)
    assert results_of(out) == made
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == sorted(names)
    assert build(out)[1] == len(names)
    assert results_of(out) == made
    code, said = command("convert", out, "--to", "svg", "-o", tmp_path / "exports")
    assert code == 0, said
    assert len(list((tmp_path / "exports").rglob("*.svg"))) == len(names)


def test_an_image_that_comes_later_leaves_the_results_of_others_alone(put: Put, fast: Pipeline, tmp_path: Path):
    work, out = Segmenter.of(fast, tmp_path / "out", formats=["svg"]), tmp_path / "out"
    run(find_jobs([put("a.jpg")]), work, InProcess(), out)
    first = results_of(out)["a.jpg"]
    assert "a.svg" in first
    folder = put("b.png")
    (folder / "b.png").rename(folder / "a.png")
    (folder / "a.jpg").rename(tmp_path / "a.jpg")
    run(find_jobs([folder]), work, InProcess(), out)  # the earlier image is not even in the folder
    assert set(results_of(out)["a.png"]) == {f"a.png{end}" for end in (
        ".json", ".svg", "_labels.png", "_overlay.png", "_segments.csv"
    )}  # fmt: skip
    assert results_of(out)["a.jpg"] == first
    (tmp_path / "a.jpg").rename(folder / "a.jpg")
    assert run(find_jobs([folder]), work, InProcess(), out).now.total() == 0
    tally = run(find_jobs([folder]), work, InProcess(), out, fresh=True)
    assert tally.longer == ["a.jpg", "a.png"]
    assert sorted(p.name for p in out.glob("*.svg")) == ["a.jpg.svg", "a.png.svg"]
    assert list(results_of(out)["a.jpg"].values())[1:] == list(first.values())[1:]


def test_results_under_the_names_of_an_earlier_version_are_known_and_replaced(put: Put, fast: Pipeline, tmp_path: Path):
    jobs, out = find_jobs([put("a.png")]), tmp_path / "out"

    class Earlier(Segmenter):
        def __call__(self, job: Job) -> Record:
            return super().__call__(replace(job, stem=job.name))

    earlier = Earlier.of(fast, out)
    run(jobs, earlier, InProcess(), out)
    write_together(out, ["coco"])
    assert [i["file_name"] for i in json.loads((out / "coco.json").read_text())["images"]] == ["a.png"]
    code, said = command("convert", out, "--to", "yolo", "-o", tmp_path / "exports")
    assert code == 0, said
    assert (tmp_path / "exports/yolo/labels/a.txt").exists()
    assert run(jobs, earlier, InProcess(), out).now.total() == 0
    run(jobs, Segmenter.of(fast, out), InProcess(), out, fresh=True)
    assert sorted(p.name for p in out.glob("a*")) == ["a.json", "a_labels.png", "a_overlay.png", "a_segments.csv"]


def test_segments_have_one_category_unless_they_mean_the_same_in_all_images(put: Put, tmp_path: Path):
    folder, out = put("a.png", "b.png"), tmp_path / "out"

    def categories(*options: object) -> tuple[list[str], str]:
        arguments = ["batch", folder, "-o", out, "-j", 0, *FAST_OPTIONS, "--format", "coco,yolo", *options]
        code, said = command(*arguments)
        assert code == 0, said
        data = json.loads((out / "coco.json").read_text())
        classes = yaml.safe_load((out / "yolo/data.yaml").read_text())["names"]
        lines = [line for name in "ab" for line in (out / f"yolo/labels/{name}.txt").read_text().splitlines()]
        assert {int(line.split()[0]) for line in lines} == set(classes)
        assert list(classes.values()) == [category["name"] for category in data["categories"]]
        assert {a["attributes"]["segment"] for a in data["annotations"]} == {1, 2, 3}
        return list(classes.values()), said

    assert categories()[0] == ["segment"]
    assert categories("--category", "cell")[0] == ["cell"]
    found, said = categories("--names", "2=sky")
    assert found == ["sky", "segment"]
    assert said.count("--category NAME gives all segments one category") == 1
