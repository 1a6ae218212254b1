"""What to label next: the places that are chosen, the table that a person fills in, and what `teach` makes of it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from segspectral.errors import SettingsError
from segspectral.figures import numbered
from segspectral.shared.model import Model
from segspectral.shared.taught import Lesson
from segspectral.teaching import Album, Labels, read_labels, suggest
from segspectral.teaching.album import Page
from segspectral.teaching.labels import Given, names_of
from segspectral.teaching.learn import learn
from segspectral.teaching.places import _chosen
from tests.test_teach import NAMES, OPTIONS, QUICK, accuracy, clicks, picture, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for number in range(6):
        PIL.Image.fromarray(picture(number)[0]).save(place / f"p{number}.png")
    return place


@pytest.fixture
def album(folder: Path) -> Album:
    return Album.of(sorted(folder.iterdir()), Lesson.model_validate(QUICK))


def material(image: Path, row: int, col: int) -> str:
    return NAMES[picture(int(image.stem[1:]))[1][row, col]]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def filled(path: Path, leave: int = 0) -> None:
    """What a person does: write the classes into the table; the last lines stay empty."""
    rows = rows_of(path)
    for row in rows[: len(rows) - leave]:
        row["class"] = material(Path(row["image"]), int(row["row"]), int(row["col"]))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# --- which places ---


def test_the_first_places_are_of_all_materials(album: Album) -> None:
    """Three places are one of each material, although the pictures have them in other orders."""
    places = suggest(album, clicks=3)
    assert {material(p.image, p.row, p.col) for p in places} == set(NAMES)
    assert all(p.guess == "" and np.isnan(p.confidence) for p in places)
    regions = sum(p.graph.hierarchy.regions(level=0.1).max() + 1 for p in album.pages.values())
    assert sum(p.speaks_for for p in places) <= regions
    assert min(p.speaks_for for p in places) >= 2


def test_what_is_labelled_is_not_asked_again(album: Album) -> None:
    """With all pixels of all images but one labelled, all places are in that one."""
    *images, last = album.pages
    rows, cols = (part.ravel() for part in np.indices((64, 80)))
    given = {image: Given(rows, cols, picture(int(image.stem[1:]))[1].ravel(), "drawn") for image in images}
    places = suggest(album, Labels(NAMES, given), clicks=3)
    assert {place.image for place in places} == {last}


@pytest.mark.parametrize("missing", NAMES)
def test_a_material_that_the_model_does_not_know_is_asked_for(missing: str, album: Album, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("\n".join(line for line in clicks() if not line.endswith(missing)))
    labels = read_labels(tmp_path / "l.csv", list(album.pages))
    model = learn(album, labels)
    places = suggest(album, labels, model, clicks=2)
    assert missing in {material(p.image, p.row, p.col) for p in places}
    assert all(p.guess in labels.classes for p in places)
    assert all(1 / 2 <= p.confidence <= 1 for p in places)


def test_nothing_is_asked_in_images_that_are_closed(album: Album) -> None:
    first = suggest(album, images=6, clicks=12)
    closed = {place.image for place in first[:3]}
    rest = suggest(album, images=6, clicks=12, closed=closed)
    assert rest
    assert not closed & {place.image for place in rest}
    with pytest.raises(SettingsError, match="every region of these images has a label"):
        suggest(album, closed=list(album.pages))


def test_a_round_has_the_requested_images_and_places(album: Album) -> None:
    for images, count in ((1, 4), (2, 5), (5, 10), (50, 6)):
        places = suggest(album, images=images, clicks=count)
        assert len(places) == count
        assert len(set(places)) == count
        opened = [p.image for p in places]
        assert len(set(opened)) <= images
        assert opened == sorted(opened, key=opened.index)
        assert max(opened.count(image) for image in opened) <= -(-count // min(images, 6))
        again = suggest(album, images=images, clicks=count)
        assert [p[:3] for p in again] == [p[:3] for p in places]


@pytest.mark.parametrize("seed", range(5))
def test_each_place_has_the_largest_gain(seed: int) -> None:
    """Against the definition: a set is worth the sum over regions of the similarity to the nearest of its places."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(30, 3))
    alike = np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=-1)).astype(np.float32)
    covered, worth = rng.uniform(0, 0.5, 30).astype(np.float32), rng.uniform(0.1, 1, 30)

    def value(those: list[int]) -> float:
        return float(sum(worth[i] * max([covered[i], *(alike[i, j] for j in those)]) for i in range(30)))

    chosen = _chosen(alike, covered, worth, np.arange(30), 30, 6)
    for count in range(len(chosen)):
        best = max(value([*chosen[:count], j]) for j in range(30) if j not in chosen[:count])
        assert value(chosen[: count + 1]) == pytest.approx(best, rel=1e-5)


def test_a_place_is_inside_its_superpixel_at_any_size(album: Album) -> None:
    page = next(iter(album.pages.values()))
    small = page.superpixels.labels
    for shape in (page.shape, (97, 131), (64, 200), (640, 801)):
        large = Page(page.path, shape, page.superpixels, page.graph, page.components, page.drawn)
        for row, col in ((0, 0), (63, 79), (17, 33), (40, 1)):
            there = [np.array([value]) for value in large.pixel(row, col)]
            assert large.superpixel(*there)[0] == small[row, col]


def test_an_album_without_anything_to_label(album: Album) -> None:
    everything = {}
    for image in album.pages:
        rows, cols = (part.ravel() for part in np.indices((64, 80)))
        everything[image] = Given(rows, cols, picture(int(image.stem[1:]))[1].ravel(), "drawn")
    with pytest.raises(SettingsError, match="every region of these images has a label"):
        suggest(album, Labels(NAMES, everything))
    with pytest.raises(SettingsError, match="one image and one place at least"):
        suggest(album, clicks=0)


# --- the command ---


def test_a_round_by_the_command_teaches(folder: Path, tmp_path: Path) -> None:
    """Without any label: a round, filled in, is enough; the next one joins it."""
    first, second, model = tmp_path / "first.csv", tmp_path / "second.csv", tmp_path / "m.safetensors"
    output = run("suggest", folder, "-o", first, "--clicks", 6, *OPTIONS).output
    assert "6 places in " in output
    assert "guess" not in output
    assert list(rows_of(first)[0])[:4] == ["image", "row", "col", "class"]
    assert {row["class"] for row in rows_of(first)} == {""}
    filled(first)
    run("teach", folder, "--labels", first, "-o", model, *OPTIONS)
    taught = Model.load(model)
    assert accuracy(taught, range(6)) > 0.9  # type: ignore[arg-type]
    output = run("suggest", folder, "--labels", first, "-o", second, "--clicks", 4, "--images", 2, *OPTIONS).output
    assert "4 places in 2 images of 6" in output
    assert "guess" in output
    assert {row["guess"] for row in rows_of(second)} <= set(NAMES)
    asked = {(row["image"], row["row"], row["col"]) for path in (first, second) for row in rows_of(path)}
    assert len(asked) == 10
    filled(second, leave=1)
    output = run("teach", folder, "--labels", first, "--labels", second, "-o", model, *OPTIONS).output
    assert "second.csv: 1 line has no class and does not count" in " ".join(output.split())
    assert "from 9 labels" in output


def test_a_model_alone_is_enough(folder: Path, tmp_path: Path) -> None:
    table, model = tmp_path / "l.csv", tmp_path / "m.safetensors"
    table.write_text("\n".join(line for line in clicks() if not line.endswith("sky")))
    run("teach", folder, "--labels", table, "-o", model, *OPTIONS)
    run("suggest", folder, "--model", model, "--clicks", 3, "-o", tmp_path / "next.csv")
    rows = rows_of(tmp_path / "next.csv")
    assert "sky" in {material(Path(row["image"]), int(row["row"]), int(row["col"])) for row in rows}
    assert {row["guess"] for row in rows} <= {"brick", "grass"}
    assert all(0.5 <= float(row["confidence"]) <= 1 for row in rows)


def test_pictures_mark_the_places(folder: Path, tmp_path: Path) -> None:
    run("suggest", folder, "-o", tmp_path / "next.csv", "--clicks", 4, "--images", 2, *OPTIONS)
    rows = rows_of(tmp_path / "next.csv")
    order = list(dict.fromkeys(row["image"] for row in rows))
    files = sorted((tmp_path / "next").iterdir())
    assert [file.name for file in files] == [f"{n}_{Path(name).stem}.png" for n, name in enumerate(order, 1)]
    for file, name in zip(files, order, strict=True):
        before = picture(int(Path(name).stem[1:]))[0].astype(int)
        changed = np.abs(np.array(PIL.Image.open(file)).astype(int) - before).sum(axis=2) > 0
        for row in rows:
            if row["image"] == name:
                y, x = int(row["row"]), int(row["col"])
                assert changed[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7].sum() > 10
        assert changed.mean() < 0.5


def test_numbers_are_told_apart_and_the_pixel_stays() -> None:
    grey = np.full((100, 120, 3), 128, np.uint8)
    one, two = (numbered(grey, {number: (50, 60)}) for number in (1, 8))
    assert (one != two).any()
    assert (one[50, 60] == 128).all()
    assert (numbered(grey, {3: (50, 119)}) != grey).any()
    assert (grey == 128).all()


def test_what_somebody_filled_in_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "next.csv"
    path.write_text("image,row,col,class\np0.png,1,1,sky\n")
    before = path.read_bytes()
    output = run("suggest", folder, "-o", path, *OPTIONS, code=2).output
    assert "exists already" in output
    assert path.read_bytes() == before
    assert not (tmp_path / "next").exists()
    assert "ends in .csv" in run("suggest", folder, "-o", tmp_path / "next.txt", *OPTIONS, code=2).output


def test_images_of_one_name_are_told_apart(folder: Path, tmp_path: Path) -> None:
    below = folder / "more"
    below.mkdir()
    for number in range(3):
        (folder / f"p{number}.png").rename(below / f"p{number + 3}.png")
    (folder / "p3.png").rename(folder / "-1.png")
    images = sorted(path for path in folder.rglob("*.png"))
    assert "more/p5.png" in names_of(images, images)
    assert "./-1.png" in names_of(images, images)  # a table's cell must not begin like a formula
    run("suggest", folder, "-r", "-o", tmp_path / "next.csv", "--images", 9, "--clicks", 12, *OPTIONS)
    rows = rows_of(tmp_path / "next.csv")
    lines = [",".join((row["image"], row["row"], row["col"], f"c{n % 2}")) for n, row in enumerate(rows)]
    (tmp_path / "next.csv").write_text("\n".join(["image,row,col,class", *lines]))
    assert read_labels(tmp_path / "next.csv", images).pixels == 12


def test_settings_and_a_model_exclude_each_other(folder: Path, tmp_path: Path) -> None:
    table, model = tmp_path / "l.csv", tmp_path / "m.safetensors"
    table.write_text("\n".join(clicks()))
    run("teach", folder, "--labels", table, "-o", model, *OPTIONS)
    output = run("suggest", folder, "--model", model, *OPTIONS, code=2).output
    assert "has settings of its own" in " ".join(output.split())
    assert "needs --labels" in run("suggest", folder, "--names", "1=sky", *OPTIONS, code=2).output
