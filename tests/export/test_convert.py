"""The command line around the exporters, names, and faults in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import ImageError, SettingsError
from segspectral.export import EXPORTERS, LabelMap, label_png, parse_names, read_label_map
from segspectral.registry import FORMATS
from tests.export.conftest import nasty


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "cat_labels.png").write_bytes(label_png(nasty(20), {1: "sky"}))
    (folder / "cat.json").write_text(json.dumps({"image": "cat.jpeg"}))
    return folder


def test_the_help_names_every_format() -> None:
    assert list(EXPORTERS) == list(FORMATS)


def test_convert_writes_beside_the_labels(out: Path) -> None:
    code, output = run("convert", out / "cat_labels.png", "--to", "coco,svg", "--to", "csv", "--names", "2=road")
    assert code == 0
    assert str(out / "coco.json") in output
    data = json.loads((out / "coco.json").read_text())
    assert data["images"][0]["file_name"] == "cat.jpeg"
    assert [c["name"] for c in data["categories"]] == ["sky", "road", "segment"]
    assert (out / "cat.svg").exists()
    assert "red" not in (out / "cat_regions.csv").read_text()


def test_converting_there_and_back_changes_nothing(out: Path, tmp_path: Path) -> None:
    run("convert", out, "--to", "npz", "-o", tmp_path / "a")
    run("convert", tmp_path / "a", "--to", "png", "-o", tmp_path / "b")
    assert (tmp_path / "b" / "cat_labels.png").read_bytes() == (out / "cat_labels.png").read_bytes()


def test_convert_with_photographs_has_colours_and_links(out: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.full((120, 160, 3), (10, 20, 30), np.uint8)
    PIL.Image.fromarray(pixels).save(photos / "cat.jpeg", quality=95)
    code, _ = run("convert", out, "--to", "csv,labelme", "--images", photos)
    assert code == 0
    assert (out / "cat_regions.csv").read_text().splitlines()[1].split(",")[-2:][0].startswith("30")
    assert json.loads((out / "labelme" / "cat.json").read_text())["imagePath"] == "../../photos/cat.jpeg"


def test_a_photograph_of_another_size_is_reported(out: Path, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (80, 60)).save(tmp_path / "cat.jpeg")
    code, output = run("convert", out, "--to", "csv", "--images", tmp_path)
    assert code == 3
    assert "the photograph has 80 x 60 pixels, but its label map has 160 x 120" in output


def test_one_bad_file_does_not_stop_the_others(out: Path) -> None:
    (out / "dog_labels.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    PIL.Image.new("RGB", (20, 20)).save(out / "photo_labels.png")
    PIL.Image.new("L", (20, 20)).save(out / "void_labels.png")
    code, output = run("convert", out, "--to", "coco")
    assert code == 1
    assert "dog_labels.png: is damaged, or is not a label map" in output
    assert "photo_labels.png: is a colour picture (RGB), not a label map" in output
    assert "the label map has only void and no segment" in output
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--to", "shapefile"], "unknown format 'shapefile'; the formats are png, npz"),
        (["--to", "csv", "--names", "sky"], "--names sky: write names as 1=sky,2=road"),
        (["--to", "csv", "--names", "1=a,1=b"], "segment 1 has two names"),
        (["--to", "csv", "--names", "0=a"], "segment numbers start at 1"),
    ],
)
def test_wrong_usage_is_reported_in_one_sentence(out: Path, arguments: list[str], sentence: str) -> None:
    code, output = run("convert", out, *arguments)
    assert code == 2
    assert sentence in output


def test_a_missing_module_is_reported_with_the_install_command(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segspectral.extras.installed", lambda module: False)
    code, output = run("convert", out, "--to", "gpkg")
    assert code == 2
    assert "needs rasterio and shapely and pyogrio: pip install 'segspectral[geo]'" in output


def test_two_files_of_one_stem_do_not_overwrite_each_other(out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "cat_labels.png").write_bytes((out / "cat_labels.png").read_bytes())
    code, _ = run("convert", out, other, "--to", "svg,coco", "-o", tmp_path / "all")
    assert code == 0
    assert sorted(p.relative_to(tmp_path / "all").as_posix() for p in (tmp_path / "all").rglob("*.svg")) == [
        "other/cat.svg",
        "out/cat.svg",
    ]
    images = json.loads((tmp_path / "all" / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["out/cat.jpeg", "other/cat"]


def test_a_tree_of_folders_is_kept(out: Path, tmp_path: Path) -> None:
    deep = out / "x" / "y"
    deep.mkdir(parents=True)
    (deep / "cat_labels.png").write_bytes((out / "cat_labels.png").read_bytes())
    code, output = run("convert", out, "--to", "svg,coco", "-o", tmp_path / "all")
    assert code == 0, output
    assert (tmp_path / "all" / "x" / "y" / "cat.svg").exists()
    images = json.loads((tmp_path / "all" / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["cat.jpeg", "x/y/cat"]


def test_segment_writes_the_formats_asked_for(samples: Path, tmp_path: Path) -> None:
    quick = ["--set", "features.cnn=null", "--refine", "none", "--head", "exact", "-k", "3"]
    formats = ["--format", "npz,coco", "--format", "labelme", "--names", "1=fur"]
    code, output = run("segment", samples / "cat.jpg", "-o", tmp_path, *quick, *formats)
    assert code == 0, output
    with np.load(tmp_path / "cat.npz", allow_pickle=False) as data:
        assert data["superpixels"].shape == data["labels"].shape
        assert data["memberships"].shape == (data["superpixels"].max() + 1, 3)
        assert (np.diff(data["eigenvalues"]) >= 0).all()
        assert data["embedding"].shape[0] == len(data["memberships"])
    assert json.loads((tmp_path / "coco.json").read_text())["categories"][0]["name"] == "fur"
    assert read_label_map(tmp_path / "cat_labels.png").names == {1: "fur"}
    link = json.loads((tmp_path / "labelme" / "cat.json").read_text())["imagePath"]
    assert (tmp_path / "labelme" / link).resolve() == (samples / "cat.jpg").resolve()


def test_names_are_trimmed() -> None:
    assert parse_names(" 1 = the sky ,12=road") == {1: "the sky", 12: "road"}
    with pytest.raises(SettingsError):
        parse_names("1=")


@pytest.mark.parametrize("labels", [np.zeros((4, 4), np.int32), np.ones((4, 4), np.int64), -np.ones((4, 4), np.int32)])
def test_a_label_map_is_checked_when_it_is_made(labels: np.ndarray) -> None:
    with pytest.raises(ImageError):
        LabelMap(labels)


def test_images_of_one_name_and_several_numbers_of_segments_are_listed_once_each(samples: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for day in ("day1", "day2"):
        (photos / day).mkdir(parents=True)
        with PIL.Image.open(samples / "cat.jpg") as picture:
            picture.resize((80, 60)).save(photos / day / "img.png")
    quick = ["--set", "features.cnn=null", "--set", "superpixels.count=60", "--refine", "none", "--head", "exact"]
    inputs = [photos / "day1" / "img.png", photos / "day2" / "img.png"]
    code, output = run("segment", *inputs, "-o", tmp_path / "out", *quick, "-k", "2,3", "--format", "coco,yolo,labelme")
    assert code == 0, output
    code, output = run("convert", tmp_path / "out", "--to", "coco,yolo", "-o", tmp_path / "again", "--images", photos)
    assert code == 0, output
    for number in (2, 3):
        folder, again = tmp_path / "out" / f"k{number}", tmp_path / "again" / f"k{number}"
        data = json.loads((folder / "coco.json").read_text())
        assert [image["file_name"] for image in data["images"]] == ["day1/img.png", "day2/img.png"]
        assert len(data["annotations"]) == 2 * number
        assert [category["name"] for category in data["categories"]] == ["segment"]
        for name in ("coco.json", "yolo/labels/day1/img.txt", "yolo/labels/day2/img.txt", "yolo/images/day2/img.png"):
            assert (again / name).read_bytes() == (folder / name).read_bytes()
        assert (folder / "labelme" / "day1" / "img.json").is_file()


def test_what_a_mac_stores_beside_files_is_passed_over(out: Path) -> None:
    (out / "._cat_labels.png").write_bytes(b"\0\5\26\7\0\2")
    code, output = run("convert", out, "--to", "coco")
    assert code == 0, output
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 1
