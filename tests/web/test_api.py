"""The API: what it does with an image and with edits."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from segspectral import Pipeline
from segspectral.errors import SettingsError
from segspectral.export import EXPORTERS
from segspectral.pipeline import STAGES
from segspectral.settings import with_settings
from segspectral.web import create_app
from segspectral.web.command import command_line
from segspectral.web.work import Segmenting, Task
from tests.web.conftest import done, edit, image_of, labels_of, quick, submit, wait


def test_an_upload_is_segmented_as_by_the_pipeline(client: Any, photograph: bytes, tmp_path: Path) -> None:
    state = done(client, photograph, segments=3)
    expected = quick().model_copy(update={"segments": 3})(image_of(photograph, tmp_path))
    assert (labels_of(client, state) == expected.labels).all()
    assert [region["area"] for region in state["regions"]] == np.bincount(expected.labels.ravel())[1:].tolist()
    assert list(state["stages"]) == list(STAGES)
    assert state["image"] == "photo.png"
    assert state["ncut"] == pytest.approx(expected.ncut)


def test_stages_arrive_as_events(client: Any, photograph: bytes) -> None:
    job = submit(client, photograph).json()["id"]
    with client.stream("GET", f"/api/jobs/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        states = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert states[-1]["status"] == "done"
    assert [len(s["stages"]) for s in states] == sorted(len(s["stages"]) for s in states)


def test_a_second_run_uses_what_the_first_has_computed(
    photograph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.png").write_bytes(photograph)
    work = Segmenting(quick(), 10**6, None)
    first = work.segmented(Task(tmp_path / "photo.png", "photo.png", quick())).result

    def refuse(*_: object) -> None:
        raise SettingsError("computed again")

    monkeypatch.setattr("segspectral.superpixels.Slic.__call__", refuse)
    other = quick().model_copy(update={"segments": 2})
    assert work.segmented(Task(None, "photo.png", other, first)).result.segments == 2
    with pytest.raises(SettingsError, match="computed again"):
        work.segmented(Task(None, "photo.png", with_settings(quick(), {"superpixels": {"count": 60}}), first))


def test_a_job_without_a_result_is_not_run_again(client: Any, photograph: bytes) -> None:
    job = submit(client, photograph[: len(photograph) // 2]).json()["id"]
    assert wait(client, job)["status"] == "failed"
    answer = client.post("/api/jobs", data={"again": job})
    assert (answer.status_code, answer.json()["detail"]) == (409, "the job has no result: it is failed")


def test_a_large_image_is_cut_and_segmented_again(client: Any, photograph: bytes) -> None:
    """The stages of an image that is described at a smaller size are used again."""
    state = done(client, photograph, working_pixels=2000)
    cut = edit(client, state, action="cut", segments=3)
    assert len(cut["regions"]) == 3
    assert set(np.unique(labels_of(client, cut))) == {1, 2, 3}
    answer = client.post(
        "/api/jobs", data={"again": state["id"], "settings": '{"segments": 2, "working_pixels": 2000}'}
    )
    assert wait(client, answer.json()["id"])["segments"] == 2


def test_bands_are_settings_and_another_reading_needs_the_image_again(client: Any, photograph: bytes) -> None:
    state = done(client, photograph, reading={"bands": [3]})
    job = {"again": state["id"], "settings": '{"reading": {"bands": [1]}}'}
    answer = client.post("/api/jobs", data=job)
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "bands, stretch, page or channels have changed: send the image again",
    )
    job["settings"] = '{"reading": {"bands": [3]}, "segments": 2}'
    assert client.post("/api/jobs", data=job).status_code == 202
    answer = client.post(
        "/api/jobs", files={"file": ("a.png", photograph)}, data={"settings": '{"reading.bands": [9]}'}
    )
    assert wait(client, answer.json()["id"])["error"] == "a.png: has 3 bands, but 9 were requested"


def test_edits_and_their_undoing(client: Any, photograph: bytes) -> None:
    state = done(client, photograph)
    original = labels_of(client, state)
    merged = edit(client, state, action="merge", segments=[2, 4])
    assert [r["segment"] for r in merged["regions"]] == [1, 2, 3]
    assert (labels_of(client, state) == np.where(original == 4, 2, original)).all()
    assert not merged["command_is_exact"]
    named = edit(client, state, action="rename", segment=2, name="  sky ")
    assert named["regions"][1]["name"] == "sky"
    coloured = edit(client, state, action="recolour", segment=2, colour="#010203")
    assert coloured["regions"][1]["colour"] == "#010203"
    split = edit(client, state, action="split", segment=2)
    assert [r["segment"] for r in split["regions"]] == [1, 2, 3, 4]
    assert sum(r["area"] for r in split["regions"]) == original.size
    # The halves may be the two segments that were merged.
    assert split["command_is_exact"] == (labels_of(client, state) == original).all()
    for _ in range(4):
        state = edit(client, state, action="undo")
    assert (labels_of(client, state) == original).all()
    assert state["command_is_exact"]
    assert (state["can_undo"], state["can_redo"]) == (False, True)
    again = edit(client, state, action="redo")
    assert [r["segment"] for r in again["regions"]] == [1, 2, 3]
    edit(client, state, action="rename", segment=1, name="a")
    assert not edit(client, state, action="rename", segment=1, name="")["can_redo"], "a new change ends redo"


def test_cuts_of_the_hierarchy(client: Any, photograph: bytes, tmp_path: Path) -> None:
    state = done(client, photograph)
    image = image_of(photograph, tmp_path)
    expected = quick()(image).hierarchy
    original = labels_of(client, state)
    tree = client.get(f"/api/jobs/{state['id']}/hierarchy").json()
    assert tree["merges"] == expected.merges.tolist()
    assert tree["altitudes"] == expected.altitudes.tolist()
    flat = client.get(f"/api/jobs/{state['id']}/superpixels").content
    assert (np.frombuffer(flat, "<u2").reshape(original.shape) == expected.superpixels.labels + 1).all()
    contours = client.get(f"/api/jobs/{state['id']}/contours.png").content
    assert ((np.asarray(PIL.Image.open(io.BytesIO(contours))) < 255) <= (expected.contour_map > 0)).all()
    assert state["hierarchy"]
    assert state["cut"] is None
    edit(client, state, action="rename", segment=1, name="sky")
    cut = edit(client, state, action="cut", segments=12)
    assert (labels_of(client, state) == expected.labels(segments=12)).all()
    assert cut["cut"]["segments"] == 12
    assert cut["command_is_exact"]
    assert {region["name"] for region in cut["regions"]} == {f"segment {i}" for i in range(1, 13)}
    merged = edit(client, state, action="merge", segments=[1, 2])
    assert not merged["command_is_exact"]
    assert "-k 12" in merged["command"]
    level = tree["altitudes"][-4]
    cut = edit(client, state, action="cut", level=level)
    assert (labels_of(client, state) == expected.labels(level=level)).all()
    assert cut["cut"]["level"] == level
    made = np.load(io.BytesIO(client.get(f"/api/jobs/{state['id']}/export/npz").content))
    assert made["memberships"].shape[1] == len(cut["regions"]), "memberships are those of the cut"
    for _ in range(2):
        state = edit(client, state, action="undo")
    assert state["cut"]["segments"] == 12
    assert state["command_is_exact"]
    for _ in range(2):
        state = edit(client, state, action="undo")
    assert (labels_of(client, state) == original).all()
    assert (state["cut"], state["regions"][0]["name"]) == (None, "segment 1")
    assert "--hierarchy" not in state["command"]


def test_without_contours_there_is_no_hierarchy(client: Any, photograph: bytes) -> None:
    state = done(client, photograph, features={"contours": None})
    assert not state["hierarchy"]
    for path, ask in (("hierarchy", client.get), ("edits", client.post)):
        options = {"json": {"action": "cut", "segments": 3}} if path == "edits" else {}
        answer = ask(f"/api/jobs/{state['id']}/{path}", **options)
        assert answer.status_code == 422
        assert "features.contours" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"action": "cut", "segments": 900}, "the hierarchy can be cut into 1 to"),
        ({"action": "cut"}, "either segments or a level"),
        ({"action": "cut", "segments": 3, "level": 0.5}, "either segments or a level"),
        ({"action": "cut", "level": 1.5}, "level"),
        ({"action": "merge", "segments": [1, 99]}, "there is no segment 99"),
        ({"action": "merge", "segments": [1, 1]}, "two different segments"),
        ({"action": "split", "segment": 9}, "there is no segment 9"),
        ({"action": "undo"}, "there is nothing to undo"),
        ({"action": "recolour", "segment": 1, "colour": "red"}, "pattern"),
        ({"action": "explode"}, "action"),
        ({}, "the request: lacks its 'action'"),
        ({"action": "rename", "segment": 1, "name": "a\u0007b"}, "printable"),
    ],
)
def test_impossible_edits_are_reported(client: Any, photograph: bytes, change: dict[str, Any], sentence: str) -> None:
    state = done(client, photograph)
    answer = client.post(f"/api/jobs/{state['id']}/edits", json=change)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]
    assert client.get(f"/api/jobs/{state['id']}").json()["revision"] == 0


def test_every_export_shows_edits_and_names(client: Any, photograph: bytes) -> None:
    state = done(client, photograph)
    edit(client, state, action="merge", segments=[1, 2])
    edit(client, state, action="rename", segment=1, name="sky")
    for name in EXPORTERS:
        answer = client.get(f"/api/jobs/{state['id']}/export/{name}")
        if answer.status_code == 422:
            assert "segspectral[geo]" in answer.json()["detail"]
            continue
        assert answer.status_code == 200
        assert answer.headers["content-disposition"].startswith("attachment; ")
    png = client.get(f"/api/jobs/{state['id']}/export/png").content
    assert (np.asarray(PIL.Image.open(io.BytesIO(png))) == labels_of(client, state)).all()
    coco = json.loads(client.get(f"/api/jobs/{state['id']}/export/coco").content)
    assert coco["categories"][0]["name"] == "sky"
    yolo = zipfile.ZipFile(io.BytesIO(client.get(f"/api/jobs/{state['id']}/export/yolo").content))
    assert sorted(yolo.namelist()) == ["yolo/data.yaml", "yolo/labels/photo.txt"]
    assert client.get(f"/api/jobs/{state['id']}/export/exe").status_code == 404


def test_a_geotiff_keeps_its_place(client: Any, tmp_path: Path, photograph: bytes) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = np.asarray(PIL.Image.open(io.BytesIO(photograph)))
    profile = {"driver": "GTiff", "width": 112, "height": 96, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "a.tif", "w", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **profile) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    answer = submit(client, (tmp_path / "a.tif").read_bytes(), "a.tif")
    state = wait(client, answer.json()["id"])
    made = client.get(f"/api/jobs/{state['id']}/export/geotiff").content
    with rasterio.MemoryFile(made) as memory, memory.open() as raster:
        assert raster.crs.to_epsg() == 32633


def test_pictures(client: Any, photograph: bytes) -> None:
    state = done(client, photograph)
    for path in ("image", "overlay.png", "eigenvectors/2.png", "eigenvectors/5.png"):
        answer = client.get(f"/api/jobs/{state['id']}/{path}")
        assert PIL.Image.open(io.BytesIO(answer.content)).size == (112, 96)
    assert client.get(f"/api/jobs/{state['id']}/eigenvectors/1.png").status_code == 404
    assert (labels_of(client, state, "?before=true") > 0).all()


def test_labels_have_a_tag_that_changes_with_edits(client: Any, photograph: bytes) -> None:
    state = done(client, photograph)
    path = f"/api/jobs/{state['id']}/labels"
    tag = client.get(path).headers["etag"]
    assert client.get(path, headers={"if-none-match": tag}).status_code == 304
    edit(client, state, action="merge", segments=[1, 2])
    assert client.get(path, headers={"if-none-match": tag}).status_code == 200


def test_the_command_makes_the_same_result(photograph: bytes, tmp_path: Path, client: Any) -> None:
    import shlex

    from typer.testing import CliRunner

    from segspectral.cli import app

    (tmp_path / "photo.png").write_bytes(photograph)
    settings = {"segments": 3, "superpixels": {"count": 90}, "refine": "none", "affinity": {"bandwidth": "self_tuning"}}
    state = done(client, photograph, **settings)
    by_hierarchy = done(client, photograph, hierarchy=True, level=0.3)
    assert by_hierarchy["plan"] == list(by_hierarchy["stages"])
    for made_by, change in (
        (state, {}),
        (state, {"action": "cut", "segments": 9}),
        (state, {"action": "cut", "level": 0.2}),
        (by_hierarchy, {}),
    ):
        command = edit(client, made_by, **change)["command"] if change else made_by["command"]
        words = shlex.split(command)
        assert words[:2] == ["segspectral", "segment"]
        words = [str(tmp_path / w) if w in ("photo.png", "out") else w for w in words[1:]]
        assert CliRunner().invoke(app, words).exit_code == 0
        made = np.asarray(PIL.Image.open(tmp_path / "out" / "photo_labels.png"))
        assert (made == labels_of(client, made_by)).all()


def test_a_command_is_safe_to_paste() -> None:
    pipeline = with_settings(Pipeline(), {"segments": 5})
    names = {1: "the sky", 2: "a,b"}
    assert command_line(pipeline, "-rf; rm *.jpg", names) == (
        "segspectral segment './-rf; rm *.jpg' -o out -k 5 --names '1=the sky'"
    )


def test_the_page_and_its_documentation_ask_nobody_else(client: Any) -> None:
    import re

    static = Path(create_app.__code__.co_filename).parent / "static"
    for path in static.iterdir():
        text = client.get(f"/{path.name}").text
        assert text
        outside = re.findall(r"https?://[^\s\"'`)]+", text)
        assert set(outside) <= {"http://www.w3.org/2000/svg"}, path.name
    assert "/api/jobs/{job_id}/edits" in client.get("/api/openapi.json").json()["paths"]
