"""Projects over the API: what is labelled is saved whole, comes back after a restart, and is exported by classes."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import ImageError, OutputError, SettingsError
from segspectral.export import EXPORTERS, read_label_map
from segspectral.web import Workers, create_app
from segspectral.web.labelling import Project, first_classes
from tests.web.conftest import LIMITS, png_of, quick, wait

CLASSES = [
    {"number": 1, "name": "sky", "colour": "#0072b2"},
    {"number": 2, "name": "<b>road</b>", "colour": "#112233"},
    {"number": 7, "name": "tree, old", "colour": "#00ff00"},
]


@pytest.fixture
def folder(tmp_path: Path, photograph: bytes) -> Path:
    images = tmp_path / "images"
    (images / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", ".hidden.png", "more/c.png"):
        (images / name).write_bytes(photograph)
    (images / "b.jpg").write_bytes(photograph)
    (images / "notes.txt").write_text("no image")
    return images


@contextmanager
def labelling(project: Project | None, workers: Workers) -> Iterator[tuple[Any, str]]:
    testing = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")
    made = create_app(quick(), LIMITS, workers=workers, project=project)
    with testing.TestClient(made, base_url="http://127.0.0.1:8000") as client:
        yield client, f"/api/projects/{client.get('/api/about').json()['project']}"


def project_of(folder: Path, output: Path) -> Project:
    project = Project(output, str(output), classes=first_classes())
    project.add((path, path.name) for path in sorted(folder.glob("[!.]*.[pj][np]g")))
    return project


def put(client: Any, at: str, number: int, labels: NDArray[Any], revision: int = 0, **query: Any) -> Any:
    query = {"height": labels.shape[0], "width": labels.shape[1], "revision": revision, **query}
    packed = zlib.compress(labels.astype(np.uint8).tobytes())
    return client.put(f"{at}/images/{number}/labels", content=packed, params=query)


def put_classes(client: Any, at: str, classes: list[dict[str, Any]], revision: int = 0, **more: Any) -> Any:
    return client.put(f"{at}/classes", json=classes, params={"revision": revision}, **more)


def stripes() -> NDArray[np.uint8]:
    labels = np.zeros((96, 112), np.uint8)
    labels[:30, 1:] = 1
    labels[40:60] = 2
    labels[70:, :50] = 7
    return labels


def test_labels_come_back_after_a_restart_and_images_added_later_change_nothing(
    folder: Path, tmp_path: Path, workers: Workers, photograph: bytes
) -> None:
    out = tmp_path / "out"
    with labelling(project_of(folder, out), workers) as (client, at):
        assert put_classes(client, at, CLASSES).status_code == 200
        state = put(client, at, 0, stripes(), done=True).json()
        assert [image["name"] for image in state["images"]] == ["a.png", "b.jpg", "b.png"]
        assert put(client, at, 2, stripes()[::-1]).status_code == 200
    (folder / "a.jpg").write_bytes(photograph)
    with labelling(project_of(folder, out), workers) as (client, at):
        state = client.get(at).json()
        assert state["classes"] == CLASSES
        images = {image["name"]: image for image in state["images"]}
        assert {name for name, image in images.items() if image["labelled"]} == {"a.png", "b.png"}
        assert {name for name, image in images.items() if image["done"]} == {"a.png"}
        answer = client.get(f"{at}/images/{images['a.png']['number']}/labels")
        assert (np.frombuffer(answer.content, np.uint8).reshape(96, 112) == stripes()).all()
        assert client.get(f"{at}/images/0/labels").content == b""
    kept = read_label_map(out / "a_labels.png")
    assert kept.names == {1: "sky", 2: "<b>road</b>", 7: "tree, old"}
    assert kept.colour(2) == (0x11, 0x22, 0x33)
    assert (kept.labels == stripes()).all()


def test_a_save_that_fails_leaves_what_was_saved(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    project = project_of(folder, out)
    project.save(0, zlib.compress(np.ones((96, 112), np.uint8).tobytes()), (96, 112), 0, False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="No space left"):
            project.save(0, zlib.compress(np.full((96, 112), 2, np.uint8).tobytes()), (96, 112), 1, True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    state = project.save(0, zlib.compress(np.full((96, 112), 2, np.uint8).tobytes()), (96, 112), 1, True)
    assert state.images[0].done, "and it can be saved again"


def test_what_cannot_be_saved_is_refused_with_a_sentence(folder: Path, tmp_path: Path, workers: Workers) -> None:
    with labelling(project_of(folder, tmp_path / "out"), workers) as (client, at):

        def refused(answer: Any, code: int, *words: str) -> None:
            assert answer.status_code == code, answer.text
            assert all(word in answer.json()["detail"] for word in words), answer.text

        refused(put(client, at, 0, np.full((96, 112), 3)), 422, "a.png", "no class 3")
        refused(put(client, at, 0, np.ones((50, 112))), 422, "112 x 50", "not of its size")
        refused(put(client, at, 0, np.ones((96, 112)), height=112, width=112), 422, "not of its size")
        bomb = zlib.compress(bytes(50_000_000))
        query = {"height": 96, "width": 112, "revision": 0}
        refused(client.put(f"{at}/images/0/labels", content=bomb, params=query), 422, "10753")
        refused(client.put(f"{at}/images/0/labels", content=b"nothing", params=query), 422, "not deflated")
        refused(put(client, at, 9, np.ones((96, 112))), 404, "3 images")
        assert put(client, at, 0, np.ones((96, 112))).status_code == 200
        refused(put(client, at, 0, np.ones((96, 112))), 409, "another window")
        assert put(client, at, 0, np.full((96, 112), 2), revision=1).status_code == 200
        refused(put_classes(client, at, CLASSES[:1]), 422, "class 2", "a.png")
        refused(put_classes(client, at, [CLASSES[0], {**CLASSES[1], "name": "sky"}]), 422, "one name")
        refused(put_classes(client, at, [{**CLASSES[0], "name": " "}]), 422)
        refused(client.get("/api/projects/x"), 404)
        refused(client.post(f"{at}/images", files={"file": ("x.png", b"x")}), 422, "folder")
        foreign = put_classes(client, at, CLASSES, headers={"origin": "http://evil.example"})
        refused(foreign, 403, "another site")
        # All taken away: the file goes too.
        assert put(client, at, 0, np.zeros((96, 112)), revision=2).status_code == 200
        refused(client.get(f"{at}/export/coco"), 422, "no image is labelled")
    assert not list((tmp_path / "out").glob("*.png"))


def test_classes_of_another_window_are_not_overwritten(folder: Path, tmp_path: Path, workers: Workers) -> None:
    with labelling(project_of(folder, tmp_path / "out"), workers) as (client, at):
        first = client.get(at).json()
        assert first["classes_revision"] == 0
        renamed = [{**first["classes"][0], "name": "sky"}, *first["classes"][1:]]
        theirs = put_classes(client, at, CLASSES).json()
        assert theirs["classes_revision"] == 1
        late = put_classes(client, at, renamed)
        assert late.status_code == 409
        assert "another window" in late.json()["detail"]
        assert client.get(at).json()["classes"] == CLASSES
        assert json.loads((tmp_path / "out" / "labelling.json").read_text())["classes"] == CLASSES
        # Labels that are saved meanwhile do not change the revision of the classes, nor does what was refused.
        assert put(client, at, 0, stripes()).json()["classes_revision"] == 1
        assert put_classes(client, at, CLASSES[1:], revision=1).status_code == 422, "class 1 is used"
        more = [*CLASSES, {"number": 9, "name": "sea", "colour": "#0000ff"}]
        assert put_classes(client, at, more, revision=1).json()["classes"] == more
        assert client.put(f"{at}/classes", json=CLASSES).status_code == 422, "a revision is due"


def test_a_class_that_goes_is_not_painted_meanwhile(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, packed = project_of(folder, tmp_path / "out"), zlib.compress(np.full((96, 112), 2, np.uint8).tobytes())
    refusals: list[str] = []

    def paint() -> None:
        try:
            project.save(0, packed, (96, 112), 0, False)
        except SettingsError as error:
            refusals.append(str(error))

    painter, read = Thread(target=paint), project.labels

    def labels(number: int) -> NDArray[np.uint8] | None:
        found = read(number)
        if painter.ident is None:  # the first image has been looked at
            painter.start()
            painter.join(0.3)
        return found

    monkeypatch.setattr(project, "labels", labels)
    project.set_classes([one for one in project.classes if one.number != 2], 0)
    painter.join()
    assert "there is no class 2" in "".join(refusals)
    assert read(0) is None


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
def test_a_list_that_names_other_places_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    saved = {"version": 1, "classes": CLASSES, "stems": {"a.png": name}, "done": []}
    (out / "labelling.json").write_text(json.dumps(saved))
    with pytest.raises(ImageError, match=r"labelling\.json"):
        project_of(folder, out)
    assert json.loads((out / "labelling.json").read_text()) == saved


def test_every_format_has_the_classes_as_categories(folder: Path, tmp_path: Path, workers: Workers) -> None:
    with labelling(project_of(folder, tmp_path / "out"), workers) as (client, at):
        put_classes(client, at, CLASSES)
        put(client, at, 0, stripes(), done=True)
        only_two = np.where(stripes() == 1, 0, stripes())
        put(client, at, 2, only_two)
        for name, exporter in EXPORTERS.items():
            answer = client.get(f"{at}/export/{name}")
            if answer.status_code == 422 and exporter.extra:
                assert exporter.extra in answer.json()["detail"]
                continue
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-images"] == "2", name
            archive = zipfile.ZipFile(io.BytesIO(answer.content))
            text = b"".join(map(archive.read, archive.namelist()))
            assert name in ("npz", "cvat", "geotiff", "gpkg", "imagej") or b"tree, old" in text or name == "png", name
        coco = json.loads(_member(client, f"{at}/export/coco", "coco.json"))
        assert [(c["id"], c["name"]) for c in coco["categories"]] == [(1, "sky"), (2, "<b>road</b>"), (3, "tree, old")]
        assert [image["file_name"] for image in coco["images"]] == ["a.png", "b.png"]
        areas = {(a["image_id"], a["category_id"]): a["area"] for a in coco["annotations"]}
        assert areas == {
            (image, 1 + [1, 2, 7].index(c)): int((labels == c).sum())
            for image, labels in ((1, stripes()), (2, only_two))
            for c in np.unique(labels)
            if c
        }
        png = _member(client, f"{at}/export/png", "a_labels.png")
        assert (np.asarray(PIL.Image.open(io.BytesIO(png))) == stripes()).all()
        assert client.get(f"{at}/export/coco?only_done=true").headers["x-images"] == "1"


def test_an_archive_for_yolo_is_complete_or_says_why_not(
    folder: Path, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    from segspectral.web import labelling as module

    with labelling(project_of(folder, tmp_path / "out"), workers) as (client, at):
        put_classes(client, at, CLASSES)
        names = [image["name"] for image in client.get(at).json()["images"]]
        for number in (0, 2):
            put(client, at, number, stripes())
        answer = client.get(f"{at}/export/yolo")
        assert "x-note" not in answer.headers
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        data = yaml.safe_load(archive.read("yolo/data.yaml"))
        assert set(data["names"].values()) == {c["name"] for c in CLASSES}
        assert "path" not in data  # trainers then take the folder of data.yaml
        lists = [Path(name) for name in archive.namelist() if name.endswith(".txt")]
        assert len(lists) == 2
        assert len(archive.namelist()) == 5
        for path in lists:
            photograph = archive.read(f"yolo/{data['train']}/{path.stem}.png")
            assert photograph == (folder / names[0]).read_bytes()
            lines = archive.read(path.as_posix()).decode().splitlines()
            assert {int(line.split()[0]) for line in lines} <= set(data["names"])
        monkeypatch.setattr(module, "MOST_MEGABYTES", 0.0001)
        large = client.get(f"{at}/export/yolo")
        assert large.headers["x-note"] == "the photographs have 0 MB and are left out; copy them to yolo/images"
        assert not [name for name in zipfile.ZipFile(io.BytesIO(large.content)).namelist() if "images" in name]
        monkeypatch.undo()
        (folder / names[0]).unlink()
        gone = client.get(f"{at}/export/yolo")
        assert gone.headers["x-note"] == "1 photograph is left out, because the file is gone"
        kept = zipfile.ZipFile(io.BytesIO(gone.content)).namelist()
        assert [name.startswith("yolo/images/b") for name in kept].count(True) == 1


def _member(client: Any, address: str, name: str) -> bytes:
    return zipfile.ZipFile(io.BytesIO(client.get(address).content)).read(name)


def test_uploads_have_limits_and_names_of_their_own(client: Any, photograph: bytes) -> None:
    at = f"/api/projects/{client.post('/api/projects').json()['id']}"
    for _ in range(2):
        state = client.post(f"{at}/images", files={"file": ("../../x/photo.png", photograph)}).json()
    assert [image["name"] for image in state["images"]] == ["photo.png", "photo (2).png"]
    assert client.post(f"{at}/images", data={"sample": "coffee.jpg"}).status_code == 201
    assert client.post(f"{at}/images", data={"sample": "../pyproject.toml"}).status_code == 404
    job = wait(client, client.post(f"{at}/images/1/job").json()["id"])
    assert (job["status"], job["image"], job["hierarchy"]) == ("done", "photo (2).png", True)
    client.app.state.service.projects.megabytes = 0
    answer = client.post(f"{at}/images", files={"file": ("y.png", png_of(np.zeros((9, 9, 3), np.uint8)))})
    assert (answer.status_code, "fill the 0 MB" in answer.text) == (422, True)
    assert client.post(f"{at}/images/9/job").status_code == 404


def test_serve_says_what_it_leaves_out_and_where_it_saves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr("segspectral.web.jobs.Workers.prepare", lambda workers: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: sockets[0].close())
    (folder / "cells.zarr").mkdir()
    (folder / "cells.zarr" / "zarr.json").write_text("{}")
    run = ["serve", str(folder), "--port", "0", "--set", "features.cnn=null"]
    result = CliRunner().invoke(app, run)
    assert result.exit_code == 0, result.output
    left_out = ("1 hidden file left out", "1 .txt, 1 .zarr")
    for words in (*left_out, "3 images of", f"saved in {folder}-labels", "/label.html"):
        assert words in result.output.replace("\n", " "), result.output
    assert "4 images of" in CliRunner().invoke(app, [*run, "--recursive"]).output
    wrong = [
        (["serve", str(folder / "a.png")], "is not a folder"),
        (["serve", str(folder), "-o", str(folder)], "cannot be the output too"),
        (["serve", "-o", "out"], "belong to a FOLDER"),
        (["serve", str(folder), "-o", str(folder / "a.png")], "is a file"),
    ]
    for words, sentence in wrong:
        refused = CliRunner().invoke(app, [*words, "--port", "0"])
        assert (refused.exit_code, sentence in refused.output.replace("\n", " ")) == (2, True), refused.output
