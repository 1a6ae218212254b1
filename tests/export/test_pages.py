"""Results of one page, or of chosen bands, of a file: whatever reads the file again sees what was segmented."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import ImageError
from segspectral.export.labelmap import origin_of
from segspectral.images.reader import Reading

GREYS = {1: 20, 2: 90, 3: 160}
"""The brightness of the ground of each page; a block is 60 brighter."""

SEGMENT = ("-k", 2, "--head", "exact", "--refine", "none", "--set", "superpixels.count=40")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def scene(grey: int) -> NDArray[np.uint8]:
    picture = np.full((40, 60), grey, np.uint8)
    picture[10:30, 20:45] += 60
    return picture


def means(table: Path, column: str = "grey_mean") -> list[float]:
    """The means of ground and block, rounded: the border of superpixels may be a pixel off."""
    return sorted(round(float(row[column])) for row in csv.DictReader(io.StringIO(table.read_text())))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pages = [PIL.Image.fromarray(scene(grey)) for grey in GREYS.values()]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    return folder


def test_measure_reads_the_page_that_was_segmented(photos: Path, tmp_path: Path) -> None:
    stack, out = photos / "stack.tif", tmp_path / "out"
    run("segment", stack, "-o", out / "one", "--page", 3, *SEGMENT)
    run("segment", stack, "-o", out, "--page", "all", *SEGMENT)
    pages = [(page, out / f"stack_page{page}_labels.png") for page in GREYS]
    for page, labels in [(3, out / "one" / "stack_labels.png"), *pages]:
        said = run("measure", labels, stack, "-o", tmp_path / "m.csv")
        assert means(tmp_path / "m.csv") == [GREYS[page], GREYS[page] + 60]
        assert f"page {page} of 3 is measured" in said.replace("\n", " ")


def test_a_file_of_another_name_and_labels_without_a_summary_are_read_by_default(photos: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", photos / "other.png"
    run("segment", photos / "stack.tif", "-o", out, "--page", 2, *SEGMENT)
    PIL.Image.fromarray(scene(100)).save(other)
    run("measure", out / "stack_labels.png", other, "-o", tmp_path / "m.csv")
    assert means(tmp_path / "m.csv") == [100, 160]
    (out / "stack.json").unlink()
    assert "page 1 of 3" in run("measure", out / "stack_labels.png", photos / "stack.tif", "-o", tmp_path / "m.csv")
    assert means(tmp_path / "m.csv") == [GREYS[1], GREYS[1] + 60]


def test_convert_has_the_colours_of_each_page_and_gives_trainers_its_picture(photos: Path, tmp_path: Path) -> None:
    out, converted = tmp_path / "out", tmp_path / "converted"
    run("segment", photos / "stack.tif", "-o", out, "--page", "all", "--format", "yolo,labelme", *SEGMENT)
    run("convert", out, "--to", "csv,yolo,labelme,coco", "--images", photos, "-o", converted)
    for page, grey in GREYS.items():
        assert means(converted / f"stack_page{page}_regions.csv", "red") == [grey, grey + 60]
        for folder in (out, converted):
            with PIL.Image.open(folder / "yolo" / "images" / f"stack_page{page}.png") as seen:
                assert (np.asarray(seen)[..., 0] == scene(grey)).all()
            held = json.loads((folder / "labelme" / f"stack_page{page}.json").read_text())["imageData"]
            assert (held is None) == (page == 1)  # the page that labelme shows anyway
            if held is not None:
                picture = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(held))))
                assert (picture[..., 0] == scene(grey)).all()
    names = [image["file_name"] for image in json.loads((converted / "coco.json").read_text())["images"]]
    assert names == [f"stack_page{page}.tif" for page in GREYS]


def test_convert_reads_bands_and_stretch_as_they_were_read(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    PIL.Image.fromarray(np.dstack([scene(10), scene(80), scene(150)])).save(photos / "a.png")
    run("segment", photos / "a.png", "-o", tmp_path / "out", "--bands", "3,2,1", "--stretch", "0:510", *SEGMENT)
    run("convert", tmp_path / "out", "--to", "csv", "--images", photos, "-o", tmp_path / "c")
    red = means(tmp_path / "c" / "a_regions.csv", "red")
    assert red == pytest.approx([75, 105], abs=1)
    assert red == pytest.approx(means(tmp_path / "out" / "a_segments.csv", "red"), abs=1)


def test_the_gallery_shows_the_page(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("segment", photos / "stack.tif", "-o", out, "--page", "all", *SEGMENT)
    run("report", out, "--images", photos)
    text = (out / "index.html").read_text()
    rows = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    shown = {row["image"]: np.asarray(PIL.Image.open(out / row["photograph"]))[5, 5, 0] for row in rows}
    assert shown == {f"stack_page{page}.tif": pytest.approx(grey, abs=3) for page, grey in GREYS.items()}


def test_a_summary_with_an_unknown_reading_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"image": "a.png", "pipeline": {"reading": {"bands": [1, 2]}}}))
    with pytest.raises(ImageError, match=r"a\.json: says that the image was read in a way"):
        origin_of(tmp_path / "a_labels.png")
    (tmp_path / "a.json").write_text(json.dumps({"image": "a.png", "source": 3, "pipeline": [], "read": None}))
    assert origin_of(tmp_path / "a_labels.png").reading == Reading()
