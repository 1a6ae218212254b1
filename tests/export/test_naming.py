"""Names of results are unique, the programs they are for find them, and they stay when images are added."""

from __future__ import annotations

import io
import json
import os
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import yaml

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from segspectral.errors import ImageError  # noqa: E402
from segspectral.export import EXPORTERS, LabelMap, Writer, result_stems  # noqa: E402
from segspectral.export.naming import names_below, short_stem, stem_in  # noqa: E402

FOLDERS = ["", "x", "x/y", "labelme", "LabelMe", "labelme_", "yolo/labels", "yolo/images", "images", "images/labels"]
FOLDERS += ["report", "k4", "a_labels.png", "coco.json", "é", unicodedata.normalize("NFD", "é")]
STEMS = ["a", "A", "a.b", "a_labels", "a.jpg", "a.jpg_labels", "a_k4", "coco", "index", "journal", "data", "report"]
STEMS += ["é", unicodedata.normalize("NFD", "é"), "a_2", "a.jpg_2", "journal.jsonl", "li\nne", "\udcff", "ß", "ss"]
NAMES = st.builds(
    lambda folder, stem, suffix: f"{folder}/{stem}{suffix}".removeprefix("/"),
    st.sampled_from(FOLDERS) | st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=3),
    st.sampled_from(STEMS),
    st.sampled_from([".jpg", ".png", ".JPG", ".tif", "", ".json", ".txt"]),
).filter(lambda name: not {"", ".", ".."} & set(name.split("/")))
TREES = st.sets(NAMES, min_size=1, max_size=12)

CORE = ("_labels.png", "_labels.tif", "_overlay.png", "_segments.csv", ".json", "_ucm.png", "_figure.png", "_sheet.png")
OF_THE_RUN = ("journal.jsonl", "journal.0of2.jsonl", "index.html", "report/0-240.jpg")
FORMATS = [exporter for exporter in EXPORTERS.values() if not exporter.extra]
LABELS = np.ones((2, 2), np.int32)


def seen_by_any_disk(path: str) -> str:
    return unicodedata.normalize("NFC", path.lower())


def outputs(name: str, stem: str) -> set[str]:
    """Return the paths of all files that any run writes for an image."""
    made = {f"{stem}{end}" for end in CORE} | {f"{stem}.gpkg", f"{stem}.geojson"}
    label_map = LabelMap(LABELS, name, Path("/photos") / name)
    for exporter in FORMATS:
        if exporter.image is not None:
            exported = exporter.image(label_map, stem, Path("/out"))
            made |= {*exported.files, *exported.links}
    return made


def written_once(paths: list[str]) -> None:
    """Check that no path occurs twice, leaves its folder, or is a folder of another path."""
    seen = Counter(map(seen_by_any_disk, paths))
    assert [path for path, count in seen.items() if count > 1] == []
    for path in paths:
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not any(seen_by_any_disk(str(above)) in seen for above in PurePosixPath(path).parents)


def of_the_run() -> list[str]:
    together = [e.together([e.part(LabelMap(LABELS), "a")], None) for e in FORMATS if e.together and e.part]
    return [*OF_THE_RUN, *(path for files in together for path in files)]


def one_kind_each(names: set[str]) -> set[str]:
    """Leave out the images that a disk cannot hold, because another image needs a folder of that name."""
    above = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    return {name for name in names if name not in above}


@settings(max_examples=25, deadline=None)
@example({"a.png", "labelme/a.png", "yolo/labels/a.png", "yolo/images/a.jpg", "yolo/images/x.jpg", "x_labels.png"})
@example({"a.png", "a.jpg", "A.jpg", "a.jpg_2.png", "coco.png", "report/a.png", "a_labels.png/a.png", "a_labels.png"})
@given(TREES)
def test_no_two_files_of_a_run_have_one_path(tree: set[str]) -> None:
    tree = one_kind_each(tree)
    stems = result_stems(tree)
    written_once([*of_the_run(), *(path for name in tree for path in outputs(name, stems[name]))])


@settings(max_examples=80, deadline=None)
@example([({"A.jpg", "a.jpg"}, set()), ({"a.jpg_3.png"}, set())])
@example([({"a.jpg"}, set()), ({"a.png"}, set()), ({"a.jpg", "a.png"}, {"a.jpg"})])
@given(st.lists(st.tuples(TREES, TREES), min_size=1, max_size=4))
def test_no_run_touches_what_earlier_runs_made_of_other_images(runs: list[tuple[set[str], set[str]]]) -> None:
    """Every run adds images and does some earlier ones again under new names; then their old results go."""
    exists: dict[str, str] = {}
    for tree, again in runs:
        stems = result_stems(tree, exists)
        for name in sorted(tree - set(exists) | tree & again):
            others = {seen_by_any_disk(stem) for other, stem in exists.items() if other != name}
            assert seen_by_any_disk(stems[name]) not in others
            exists[name] = stems[name]


@settings(max_examples=80, deadline=None)
@given(TREES, st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_shard_gives_the_same_names_whatever_others_have_done(tree: set[str], done: list[bool]) -> None:
    stems = result_stems(tree)
    begun = {name: stems[name] for name, ended in zip(sorted(tree), done, strict=False) if ended}
    assert result_stems(tree, begun) == stems


@settings(max_examples=80, deadline=None)
@given(TREES)
def test_the_suffix_is_kept_only_where_images_would_collide(tree: set[str]) -> None:
    stems = result_stems(tree)
    short = {name: seen_by_any_disk(short_stem(name)) for name in tree}
    for name in tree:
        others = {short[other] for other in tree - {name}}
        others |= {seen_by_any_disk(short_stem(other) + os.path.splitext(other)[1]) for other in tree - {name}}
        if short[name] not in others | {"coco"}:
            assert seen_by_any_disk(stems[name]) == short[name]


def test_stems_follow_the_rules_of_the_readers() -> None:
    stems = result_stems(["a.jpg", "day1/img.png", "day2/img.png", "both/a.jpg", "both/a.png", "coco.jpg"])
    assert stems == {
        "a.jpg": "a",
        "day1/img.png": "day1/img",
        "day2/img.png": "day2/img",
        "both/a.jpg": "both/a.jpg",
        "both/a.png": "both/a.png",
        "coco.jpg": "coco.jpg",
    }


def test_images_of_one_command_are_named_below_the_folder_that_they_share(tmp_path: Path) -> None:
    assert names_below([tmp_path / "x/a.png", tmp_path / "b.png"]) == ["a.png", "b.png"]
    assert names_below([tmp_path / "x/a.png", tmp_path / "a.png"]) == ["x/a.png", "a.png"]
    assert names_below([tmp_path / "x/y/a.png", tmp_path / "x/z/a.jpg"]) == ["y/a.png", "z/a.jpg"]


def test_the_stem_of_results_comes_from_the_overlay() -> None:
    assert stem_in({"x/a_labels.png": 1, "x/a_overlay.png": 1}) == "x/a"
    assert stem_in({}) == ""


def photographs(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


def export(out: Path, photos: Path, formats: list[str], *names: str) -> Path:
    photographs(photos, *names)
    stems = result_stems(names)
    writer = Writer([EXPORTERS[name] for name in formats], out)
    for name in names:
        assert writer.add(LabelMap(LABELS, name, photos / name), stems[name]) == []
    writer.close()
    return out


def label_of(image: str) -> Path:
    """The labels that Ultralytics and YOLOv5 look for (``img2label_paths`` in ultralytics/data/utils.py)."""
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(labels.join(image.rsplit(images, 1)).rsplit(".", 1)[0] + ".txt")


def test_trainers_find_images_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["day1/img.png", "day2/img.png", "images/train/img.jpg", "a.b.jpg", "c.jpg", "c.png"]
    out = export(tmp_path / "my images" / "out", tmp_path / "in", ["yolo"], *names)
    monkeypatch.chdir(tmp_path)  # check_det_dataset: data.yaml's own path counts, whatever the current folder
    data = yaml.safe_load((out / "yolo" / "data.yaml").read_text())
    for split in ("train", "val"):
        images = sorted(p for p in (Path(data["path"]) / data[split]).rglob("*.*") if p.is_file())
        assert sorted(p.read_bytes().decode() for p in images) == sorted(names)
        assert all(label_of(str(image)).is_file() for image in images)
    assert all(p.is_symlink() and not os.path.isabs(os.readlink(p)) for p in images)
    assert len(list((out / "yolo").rglob("*.txt"))) == len(names)


def test_images_are_copied_with_a_note_where_links_are_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", impossible)
    (photo,) = photographs(tmp_path / "in", "a.png")
    notes = Writer([EXPORTERS["yolo"]], tmp_path).add(LabelMap(LABELS, "a.png", photo), "a")
    copy = tmp_path / "yolo" / "images" / "a.png"
    assert notes == [f"yolo: {copy} is a copy of the image, because links are not possible there"]
    assert copy.read_bytes() == photo.read_bytes()


def test_labelme_finds_its_files_by_the_name_of_the_image(tmp_path: Path) -> None:
    """With ``--output DIR`` labelme looks for DIR/splitext(basename(image)).json (labelme/app.py)."""
    names = ["day1/img.png", "a.b.jpg"]
    out = export(tmp_path / "out", tmp_path / "in", ["labelme"], *names)
    for name in names:
        folder = (out / "labelme" / name).parent
        file = folder / f"{os.path.splitext(os.path.basename(name))[0]}.json"
        assert (folder / json.loads(file.read_text())["imagePath"]).read_bytes() == name.encode()


def test_cvat_finds_masks_by_the_path_without_the_suffix(tmp_path: Path) -> None:
    names = ["day1/img.png", "a.b.jpg", "li\nne.png"]
    out = export(tmp_path / "out", tmp_path / "in", ["cvat"], *names)
    archive = zipfile.ZipFile(out / "cvat.zip")
    lines = archive.read("ImageSets/Segmentation/default.txt").decode().splitlines()
    assert lines == ["day1/img", "a.b", "li_ne"]
    for line in lines:
        assert f"SegmentationClass/{line}.png" in archive.namelist()
        assert f"SegmentationObject/{line}.png" in archive.namelist()


def test_an_image_is_listed_once(tmp_path: Path) -> None:
    writer = Writer([EXPORTERS["coco"]], tmp_path)
    writer.add(LabelMap(LABELS, "a.jpg"), "a_k2")
    with pytest.raises(ImageError, match=r"a\.jpg: this is a second label map of the image; coco can hold only one"):
        writer.add(LabelMap(LABELS, "a.jpg"), "a_k3")


@pytest.mark.parametrize("names", [{1: "sky", 2: "road"}, {2: "road", 1: "sky"}, {1: "road", 2: "sky"}])
def test_a_category_has_one_number_in_all_images(tmp_path: Path, names: dict[int, str]) -> None:
    both = np.array([[1, 2]], np.int32)
    writer = Writer([EXPORTERS["yolo"], EXPORTERS["coco"]], tmp_path)
    maps = [LabelMap(both, "a.png", names={1: "sky", 2: "road"}), LabelMap(both, "b.png", names=names)]
    for label_map in [*maps, LabelMap(both, "c.png")]:
        writer.add(label_map, label_map.image[0])
    writer.close()
    classes = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())["names"]
    for label_map in maps:
        lines = (tmp_path / f"yolo/labels/{label_map.image[0]}.txt").read_text().splitlines()
        assert [classes[int(line.split()[0])] for line in lines] == [label_map.names[1], label_map.names[2]]
    lines = (tmp_path / "yolo/labels/c.txt").read_text().splitlines()
    assert [classes[int(line.split()[0])] for line in lines] == ["segment", "segment"]
    data = json.loads((tmp_path / "coco.json").read_text())
    named = {category["id"]: category["name"] for category in data["categories"]}
    given = [named[a["category_id"]] for a in data["annotations"]]
    assert given == ["sky", "road", names[1], names[2], "segment", "segment"]


def test_names_from_files_cannot_break_lists_or_numbers(tmp_path: Path) -> None:
    names = {0: "void", 1: "a\nb:c#d\r", 2: "\x00\x1b", 3: "=1+1"}
    label_map = LabelMap(np.array([[0, 1, 2, 3]], np.int32), "evil\n\x01.png", names=names)
    assert label_map.names == {1: "a b:c#d", 3: "=1+1"}
    files = {name: EXPORTERS[name].files_of(label_map, "photo") for name in ("yolo", "cvat", "svg", "csv", "coco")}
    lines = files["yolo"]["yolo/labels/photo.txt"].decode().splitlines()
    assert {int(line.split()[0]) for line in lines} == {0, 1, 2}
    assert yaml.safe_load(files["yolo"]["yolo/data.yaml"])["names"] == {0: "a b:c#d", 1: "=1+1", 2: "segment"}
    text = zipfile.ZipFile(io.BytesIO(files["cvat"]["cvat.zip"])).read("labelmap.txt").decode()
    assert [line.count(":") for line in text.splitlines()[1:]] == [3, 3, 3, 3]
    import xml.etree.ElementTree as ET

    ET.fromstring(files["svg"]["photo.svg"])
    assert files["csv"]["photo_regions.csv"].decode().splitlines()[3].startswith("3,'=1+1,")
    json.loads(files["coco"]["coco.json"])


@pytest.mark.parametrize("text", ["=cmd|'/C calc'!A0", "+a", "-a", "@a", "\ta", "\ra", "=1", "＝a"])
def test_text_that_spreadsheets_run_is_made_text(text: str) -> None:
    from segspectral.export import csv_bytes

    table = csv_bytes([{"name": text, "number": -5, "digits": "-5.5e3"}]).decode()
    assert f"'{text}" in table.replace('"', "")
    assert table.endswith(",-5,-5.5e3\n")
