"""Teaching over the API: guesses for all images from what is painted in some, beside the labels of people."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import segspectral
from segspectral.pipeline import Pipeline
from segspectral.shared.taught import Lesson, TaughtModel
from segspectral.teaching import Album, suggest
from segspectral.teaching import shelf as module
from segspectral.teaching.labels import painted
from segspectral.teaching.places import CLICKS
from segspectral.web import Limits, Workers, create_app
from segspectral.web.labelling import Project
from segspectral.web.lessons import _lesson
from tests.test_teach import NAMES, QUICK, SIZE, picture
from tests.web.conftest import LIMITS, png_of, quick
from tests.web.test_labelling import project_of, put, put_classes

CLASSES = [
    {"number": number, "name": name, "colour": colour}
    for number, name, colour in zip((2, 3, 9), NAMES, ("#c83c32", "#3c9646", "#3250b4"), strict=True)
]
NUMBERS = np.array([2, 3, 9], np.uint8)
IMAGES = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for number in range(IMAGES):
        (place / f"p{number}.png").write_bytes(png_of(picture(number)[0]))
    return place


@contextmanager
def labelling(folder: Path, workers: Workers, limits: Limits = LIMITS) -> Iterator[tuple[Any, str, Project]]:
    testing = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")
    project = project_of(folder, folder.parent / "out")
    made = create_app(quick(), limits, workers=workers, project=project)
    with testing.TestClient(made, base_url="http://127.0.0.1:8000") as client:
        at = f"/api/projects/{project.id}"
        assert put_classes(client, at, CLASSES).status_code == 200
        yield client, at, project


def truth(number: int) -> NDArray[np.uint8]:
    return NUMBERS[picture(number)[1]]


def stroke(number: int) -> NDArray[np.uint8]:
    """A line across an image, which touches every class."""
    labels = np.zeros(SIZE, np.uint8)
    labels[30:33] = truth(number)[30:33]
    return labels


def taught(client: Any, at: str) -> dict[str, Any]:
    """The state at the end of a teaching that begins now."""
    answer = client.post(f"{at}/lesson")
    assert answer.status_code == 202, answer.text
    end = time.monotonic() + 60
    while (state := client.get(f"{at}/lesson").json())["status"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.03)
    return dict(state)


def guess(client: Any, at: str, number: int) -> NDArray[np.uint8]:
    answer = client.get(f"{at}/images/{number}/guess")
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, np.uint8).reshape(SIZE)


def test_two_strokes_colour_all_images_and_a_correction_is_learned(folder: Path, workers: Workers) -> None:
    with labelling(folder, workers) as (client, at, project):
        assert client.get(f"{at}/lesson").json()["status"] is None
        first = stroke(0)
        first[first == 9] = 0  # what is sky is not known yet
        put(client, at, 0, first)
        before = {path.name: path.read_bytes() for path in project.folder.iterdir()}
        state = taught(client, at)
        assert (state["status"], state["seen"], state["of"], state["round"]) == ("done", IMAGES, IMAGES, 1), state
        assert any("no pixel is labelled sky" in sentence for sentence in state["said"])
        assert {one["number"] for one in state["guesses"]} == set(range(IMAGES))
        ends = {path.name: path.read_bytes() for path in project.folder.iterdir()}
        model = ends.pop("classes.safetensors")
        assert ends == before, "guesses are no labels"
        assert [image["labelled"] for image in client.get(at).json()["images"]] == [True] + [False] * (IMAGES - 1)
        right = [(guess(client, at, number) == truth(number)).mean() for number in range(IMAGES)]
        assert max(right) < 0.95, "there is sky in all images"
        put(client, at, 1, stroke(1), done=True)
        state = taught(client, at)
        assert (state["round"], state["seen"]) == (2, IMAGES), state
        right = [(guess(client, at, number) == truth(number)).mean() for number in range(IMAGES)]
        assert min(right) > 0.97, right
        assert all(0 <= one["unsure"] < 0.5 for one in state["guesses"])
        assert client.get(f"{at}/lesson/model").content != model


def test_a_guess_is_what_the_model_says_everywhere(folder: Path, tmp_path: Path, workers: Workers) -> None:
    """The file that is downloaded, applied by ``segment --model``, gives the guess of each image."""
    with labelling(folder, workers) as (client, at, project):
        put(client, at, 3, stroke(3))
        taught(client, at)
        file = tmp_path / "downloaded.safetensors"
        file.write_bytes(client.get(f"{at}/lesson/model").content)
        assert (project.folder / "classes.safetensors").read_bytes() == file.read_bytes()
        model = TaughtModel.load(file)
        assert model.names == dict(enumerate(NAMES, 1))
        for number in range(IMAGES):
            made = segspectral.segment(folder / f"p{number}.png", model=model)
            assert (np.append(0, NUMBERS)[made.labels] == guess(client, at, number)).all()
        thumb = PIL.Image.open(io.BytesIO(client.get(f"{at}/images/1/guess.png").content))
        tint = (
            0.45 * picture(1)[0]
            + 0.55
            * np.array([PIL.Image.new("RGB", (1, 1), CLASSES[c]["colour"]).getpixel((0, 0)) for c in range(3)])[
                np.searchsorted(NUMBERS, guess(client, at, 1))
            ]
        )
        assert np.abs(np.asarray(thumb) - tint).max() <= 1


def test_places_to_label_next_are_those_of_suggest(folder: Path, workers: Workers) -> None:
    """In images that are not done, and never where there is a label; the numbers of classes are the project's."""
    with labelling(folder, workers) as (client, at, project):
        assert client.get(f"{at}/lesson").json()["places"] == []
        put(client, at, 0, stroke(0))
        put(client, at, 1, stroke(1), done=True)
        places = taught(client, at)["places"]
        assert CLICKS // 2 < len(places) <= CLICKS
        assert {one["number"] for one in places} <= {0, 2, 3, 4}
        assert not [one for one in places if one["number"] == 0 and stroke(0)[one["row"], one["col"]]]
        right = [one["guess"] == truth(one["number"])[one["row"], one["col"]] for one in places]
        assert np.mean(right) > 0.7
        assert all(0 < one["confidence"] <= 1 <= one["speaks_for"] for one in places)

        paths = sorted(folder.iterdir())
        labels = painted(
            [(paths[n], stroke(n)) for n in (0, 1)], dict(zip(NUMBERS.tolist(), NAMES, strict=True)), 10**6
        )
        album = Album.of(paths, _lesson(quick()), first=paths[:2])
        model = TaughtModel.load(project.folder / "classes.safetensors")
        expected = suggest(album, labels, model, closed=paths[1:2])
        assert [(paths[one["number"]], one["row"], one["col"]) for one in places] == [one[:3] for one in expected]

        for number in range(IMAGES):
            put(client, at, number, truth(number), revision=int(number < 2), done=number > 1)
        assert taught(client, at)["places"] == [], "all that is not done is labelled"


def test_what_cannot_be_taught_is_a_sentence(folder: Path, workers: Workers) -> None:
    with labelling(folder, workers) as (client, at, _):
        nothing = client.post(f"{at}/lesson")
        assert (nothing.status_code, "nothing is painted yet" in nothing.json()["detail"]) == (422, True)
        for route in ("lesson/model", "images/0/guess", "images/0/guess.png"):
            assert client.get(f"{at}/{route}").status_code == 404
        assert client.get(f"{at}/images/{IMAGES}/guess").status_code == 404
        assert client.post("/api/projects/x/lesson").status_code == 404
        foreign = client.post(f"{at}/lesson", headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403

        put(client, at, 0, np.where(stroke(0) == 2, 2, 0))
        state = taught(client, at)
        assert (state["status"], state["round"], state["model"]) == ("failed", 0, False)
        assert state["error"] == "what is painted: has only the class 'brick'; give labels of two classes at least"

        put(client, at, 0, stroke(0), revision=1)
        faults = {"Brick": "write one class in one way", "unknown": "no class may be called 'unknown'"}
        for revision, (name, words) in enumerate(faults.items(), 1):
            put_classes(client, at, [*CLASSES[:2], {**CLASSES[2], "name": name}], revision)
            assert words in taught(client, at)["error"]
        assert put_classes(client, at, CLASSES, 3).status_code == 200

        (folder / "p4.png").write_bytes(b"no image any more")
        state = taught(client, at)
        assert state["status"] == "done"
        assert [one["number"] for one in state["guesses"]] == [0, 1, 2, 3]
        assert any("1 image is left out: p4.png: " in sentence for sentence in state["said"]), state["said"]
        (folder / "p0.png").write_bytes(png_of(picture(0)[0][:40]))
        state = taught(client, at)
        assert (state["status"], state["error"]) == (
            "failed",
            "p0.png: has another size than its labels; label it again",
        )
        assert len(state["guesses"]) == 4, "those of the last teaching that ended well stay"

        put(client, at, 1, stroke(1))
        (folder / "p0.png").unlink()
        state = taught(client, at)
        assert (state["status"], [one["number"] for one in state["guesses"]]) == ("done", [1, 2, 3])
        assert any("2 images are left out: p0.png: there is no such file" in one for one in state["said"]), state[
            "said"
        ]


def test_a_class_that_is_gone_is_no_longer_guessed(folder: Path, workers: Workers) -> None:
    """Its number may be given to another class, which has not been taught."""
    with labelling(folder, workers) as (client, at, _):
        put(client, at, 0, stroke(0))
        taught(client, at)
        assert (guess(client, at, 1) == 9).any()
        assert 9 in {one["guess"] for one in client.get(f"{at}/lesson").json()["places"]}
        put(client, at, 0, np.where(stroke(0) == 9, 0, stroke(0)), revision=1)
        assert put_classes(client, at, CLASSES[:2], 1).status_code == 200
        put_classes(client, at, [*CLASSES[:2], {**CLASSES[2], "name": "sea"}], 2)
        assert set(np.unique(guess(client, at, 1))) == {0, 2, 3}
        assert {one["guess"] for one in client.get(f"{at}/lesson").json()["places"]} == {0, 2, 3}


def test_one_teaching_at_a_time_which_can_be_cancelled(
    folder: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, take = threading.Event(), workers.take

    def held() -> Any:
        hold.wait(30)
        return take()

    with labelling(folder, workers) as (client, at, _):
        put(client, at, 0, stroke(0))
        monkeypatch.setattr(workers, "take", held)
        assert client.post(f"{at}/lesson").json()["status"] == "queued"
        again = client.post(f"{at}/lesson")
        assert (again.status_code, "being taught already" in again.json()["detail"]) == (409, True)
        assert client.get(f"/api/jobs/{next(iter(client.app.state.jobs._jobs))}").status_code == 404, "it is no image"
        assert client.delete(f"{at}/lesson").json()["status"] == "cancelled"
        assert not client.app.state.jobs._jobs, "it takes no place among the results"
        hold.set()
        monkeypatch.undo()
        assert taught(client, at)["status"] == "done"


def test_images_are_described_while_a_person_paints(folder: Path, workers: Workers) -> None:
    with labelling(folder, workers) as (client, at, _):
        (folder / "p2.png").write_bytes(b"no image")
        asked, end = [], time.monotonic() + 60
        while not asked or asked[-1]:
            assert time.monotonic() < end
            asked.append(client.post(f"{at}/lesson/preparation").json()["left"])
            time.sleep(0.03)
        assert asked[0] == IMAGES
        while client.app.state.jobs._jobs:
            time.sleep(0.03)
        kept = {path: path.stat().st_ino for path in (client.app.state.jobs.folder / "shelf").iterdir()}
        assert len(kept) == IMAGES - 1
        put(client, at, 0, stroke(0))
        assert len(taught(client, at)["guesses"]) == IMAGES - 1
        assert {path: path.stat().st_ino for path in kept} == kept, "they are not described again"


def test_images_beyond_the_limit_are_not_guessed(folder: Path, workers: Workers) -> None:
    with labelling(folder, workers, replace(LIMITS, taught_images=2)) as (client, at, _):
        put(client, at, 3, stroke(3))
        state = taught(client, at)
        assert [one["number"] for one in state["guesses"]] == [3, 0]
        assert any("2 of 5 images" in sentence for sentence in state["said"]), state["said"]


def test_images_are_described_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = module.Shelf(tmp_path / "shelf", Lesson.model_validate(QUICK))
    path = folder / "p0.png"
    first = shelf(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "describe", None)
        again = module.Shelf(tmp_path / "shelf", shelf.lesson)(path)
        assert again.shape == first.shape
        assert (again.superpixels.labels == first.superpixels.labels).all()
        assert (again.parts.rows == first.parts.rows).all()
        levels = [(one.parts.graph.hierarchy.regions(level=0.1)) for one in (first, again)]
        assert (levels[0] == levels[1]).all()
        other = module.Shelf(tmp_path / "shelf", shelf.lesson.model_copy(update={"working_pixels": 2000}))
        assert other.place(path) != shelf.place(path)
    shelf.place(path).write_bytes(b"damaged")
    assert (shelf(path).parts.rows == first.parts.rows).all()
    before = shelf.place(path)
    path.write_bytes(png_of(picture(1)[0]))
    assert shelf.place(path) != before, "a changed image is another one"


def test_a_guess_has_the_size_of_a_large_image(folder: Path, tmp_path: Path) -> None:
    """Each pixel has the class of the superpixel that covers it at the working size, and void has none."""
    rgb = np.dstack([picture(0)[0], np.full(SIZE, 255, np.uint8)])
    rgb[:20, :, 3] = 0
    path = folder / "void.png"
    path.write_bytes(png_of(rgb))
    lesson = Lesson.model_validate(QUICK | {"working_pixels": 1300})
    shelf = module.Shelf(tmp_path / "shelf", lesson)
    one = shelf(path)
    height, width = one.superpixels.shape
    assert (one.shape, height * width <= 1300) == (SIZE, True)
    classes = np.arange(1, len(one.parts.graph) + 1, dtype=np.uint8)
    found = module.guess_of(shelf.place(path), classes)
    for row, col in ((0, 0), (5, 70), (40, 3), (63, 79)):
        covers = one.superpixels.labels[row * height // SIZE[0], col * width // SIZE[1]]
        assert found[row, col] == covers + 1
    assert (found[:18] == 0).all()
    assert (found[24:] > 0).all()
    thumb, of = module.thumb_of(shelf.place(path), classes)
    assert thumb.shape[:2] == of.shape == SIZE
    assert (of == found).all()


def test_the_model_is_there_after_a_restart_and_guesses_are_not(folder: Path, workers: Workers) -> None:
    with labelling(folder, workers) as (client, at, _):
        put(client, at, 0, stroke(0))
        taught(client, at)
    with labelling(folder, workers) as (client, at, _):
        state = client.get(f"{at}/lesson").json()
        assert (state["status"], state["model"], state["guesses"]) == (None, True, [])
        assert client.get(f"{at}/lesson/model").status_code == 200
        assert client.get(f"{at}/images/1/guess").status_code == 404
        assert taught(client, at)["round"] == 1


def test_the_page_teaches_as_the_command_does_unless_the_server_has_another_network() -> None:
    usual, chosen = Lesson(), Pipeline.model_validate({"features": {"cnn": {"backbone": "resnet18"}}})
    assert usual.features.cnn is not None
    made = _lesson(Pipeline()).features.cnn
    assert made == usual.features.cnn
    other = _lesson(chosen).features.cnn
    assert other == usual.features.cnn.model_copy(update={"backbone": "resnet18"})
    assert _lesson(quick()).features.cnn is None
