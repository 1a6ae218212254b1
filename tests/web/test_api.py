"""The API: what it does, what it refuses, and that it stays bounded."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from segspectral import Pipeline
from segspectral.errors import SettingsError
from segspectral.export import EXPORTERS
from segspectral.heads import HEADS
from segspectral.pipeline import STAGES
from segspectral.settings import with_settings
from segspectral.values import Image
from segspectral.web import Limits, Workers, create_app
from segspectral.web.command import MOST_OF, command_line, pipeline_from_client, settings_from_text
from segspectral.web.work import Segmenting, Task, read_upload
from tests.web.conftest import LIMITS, png_of, quick


def submit(client: Any, data: bytes, name: str = "photo.png", **settings: Any) -> Any:
    return client.post("/api/jobs", files={"file": (name, data)}, data={"settings": json.dumps(settings)})


def wait(client: Any, job: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        state: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
        if state["status"] in ("done", "failed", "cancelled"):
            return state
        time.sleep(0.03)
    raise AssertionError("the job did not end")


def done(client: Any, data: bytes, **settings: Any) -> dict[str, Any]:
    answer = submit(client, data, **settings)
    assert answer.status_code == 202, answer.text
    state = wait(client, answer.json()["id"])
    assert state["status"] == "done", state
    return state


def image_of(data: bytes, folder: Path) -> Image:
    (folder / "photo.png").write_bytes(data)
    return read_upload(folder / "photo.png", "photo.png", 10**6)[0]


def labels_of(client: Any, state: dict[str, Any], query: str = "") -> np.ndarray:
    answer = client.get(f"/api/jobs/{state['id']}/labels{query}")
    return np.frombuffer(answer.content, "<u2").reshape(state["height"], state["width"])


def edit(client: Any, state: dict[str, Any], **change: Any) -> dict[str, Any]:
    answer = client.post(f"/api/jobs/{state['id']}/edits", json=change)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


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
    job = submit(client, b"no image").json()["id"]
    assert wait(client, job)["status"] == "failed"
    answer = client.post("/api/jobs", data={"again": job})
    assert (answer.status_code, answer.json()["detail"]) == (409, "the job has no result: it is failed")


def test_a_large_image_is_cut_and_segmented_again(client: Any, photograph: bytes) -> None:
    """Its stages, worked on at a smaller size, are used again."""
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
    assert "bands, but 9 were requested" in wait(client, answer.json()["id"])["error"]


def test_edits_and_their_undoing(client: Any, photograph: bytes) -> None:
    state = done(client, photograph)
    original = labels_of(client, state)
    merged = edit(client, state, action="merge", segments=[2, 4])
    assert [r["segment"] for r in merged["regions"]] == [1, 2, 3]
    assert (labels_of(client, state) == np.where(original == 4, 2, original)).all()
    named = edit(client, state, action="rename", segment=2, name="  sky ")
    assert named["regions"][1]["name"] == "sky"
    coloured = edit(client, state, action="recolour", segment=2, colour="#010203")
    assert coloured["regions"][1]["colour"] == "#010203"
    split = edit(client, state, action="split", segment=2)
    assert [r["segment"] for r in split["regions"]] == [1, 2, 3, 4]
    assert sum(r["area"] for r in split["regions"]) == original.size
    assert not split["command_is_exact"]
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
def test_impossible_edits_are_told(client: Any, photograph: bytes, change: dict[str, Any], sentence: str) -> None:
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


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "cat.jpg: the file is empty"),
        (b"<svg onload=alert(1)>", "cat.jpg: is SVG, not an image that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 50, "cat.jpg: is"),
        (
            b"<VRTDataset><SourceFilename>/etc/passwd</SourceFilename></VRTDataset>",
            "cat.jpg: is a VRT (it refers to other files), not an image",
        ),
        (png_of(np.zeros((1000, 1000, 3), np.uint8)), "cat.jpg: has 1000 x 1000 pixels; this server takes up to 0"),
        (png_of(np.zeros((4, 4, 3), np.uint8)), "cat.jpg: has 4 x 4 pixels; at least"),
    ],
)
def test_bad_files_get_a_plain_sentence(client: Any, data: bytes, sentence: str) -> None:
    answer = submit(client, data, "../../etc/cat.jpg")
    assert answer.status_code in (202, 422)
    told = answer.json()["detail"] if answer.status_code == 422 else wait(client, answer.json()["id"])["error"]
    assert told.startswith(sentence)
    assert "upload" not in told, "nothing of this computer's folders"
    assert list(client.app.state.jobs._folder.iterdir()) == []


def test_too_many_pixels_are_refused_before_anything_is_decoded(client: Any) -> None:
    answer = submit(client, png_of(np.zeros((1000, 1000, 3), np.uint8)))
    assert answer.status_code == 422
    assert client.get("/api/health").json()["jobs"]["queued"] == 0


def test_what_fails_in_the_pipeline_is_told(client: Any) -> None:
    answer = submit(
        client, png_of(np.arange(4800).reshape(40, 40, 3).astype(np.uint8)), segments=200, superpixels={"count": 50}
    )
    state = wait(client, answer.json()["id"])
    assert (state["status"], state["regions"]) == ("failed", [])
    assert "200 segments are more than" in state["error"]
    assert client.get(f"/api/jobs/{state['id']}/labels").status_code == 409


@pytest.mark.parametrize(
    "settings",
    [
        {"features": {"cnn": {"weights": "/etc/passwd"}}},
        {"features": {"cnn": {"weights": "model.safetensors"}}},
        {"features": {"cnn": {"backbone": "hf-hub:someone/model"}}},
        {"features": {"cnn": {"device": "cuda:0"}}},
        {"features": {"cnn": {"cache": {}}}},
        {"superpixels": {"count": 100_000}},
        {"segments": 10_000},
        {"nonsense": 1},
    ],
)
def test_settings_reach_no_file_network_or_device(client: Any, photograph: bytes, settings: dict[str, Any]) -> None:
    answer = submit(client, photograph, **settings)
    assert answer.status_code == 422
    with pytest.raises(SettingsError):
        pipeline_from_client(quick(), settings)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"head": 1}', "a head is its name"),
        ('{"head": {"name": []}}', "unknown head"),
        ('{"model": [1]}', "model: cannot be chosen"),
        ('{"model": {}}', "model: cannot be chosen"),
        ('{"segments": "\\ud800"}', "cannot be chosen"),
        ('{"\\ud800": 1}', "settings: "),
        ('{"segments": NaN}', "is not a finite number"),
        ('{"segments": 1' + "0" * 5000 + "}", "settings: "),
        ("segments: 0x" + "f" * 5000, "is not a finite number"),
        ("[" * 9000, "more than 10 levels"),
        ("[" * 9000 + "]" * 9000, "more than 10 levels"),
        (".".join("a" * 400) + ": 1", "unknown setting"),
        ("{" * 9000, "settings: "),
        ("a: &a [1, 1]\nb: [*a, *a]", "anchors and aliases"),
        ("head: {steps: 30", "settings: is not YAML: "),
        ("segments: 2026-99-99", "settings: is not YAML"),
        ("segments: 2026-09-09", "a value is a number"),
        ("segments: !!binary aGVsbG8=", "a value is a number"),
        ("segments: !!python/object/apply:os.system [ls]", "settings: is not YAML"),
        ("1: 2", "the name of a setting is a text"),
        ("just words", "write one setting a line"),
        ("segments: 5\x00", "settings: is not YAML"),
        ("segment: 5", "did you mean segments"),
        ("head.stepps: 5", "did you mean head.steps"),
    ],
)
def test_settings_that_are_none_are_told(client: Any, text: str, sentence: str) -> None:
    answer = client.post("/api/jobs", data={"sample": "cat.jpg", "settings": "head: neuncut", "more": text})
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_settings_in_yaml_with_dots_in_json_and_on_top_of_each_other(client: Any, photograph: bytes) -> None:
    assert settings_from_text("head: exact\nhead.n_init: 3") == settings_from_text(
        '{"head": {"name": "exact", "n_init": 3}}'
    )
    assert settings_from_text("# nothing") == settings_from_text("") == {}
    data = {"settings": '{"segments": 2, "seed": 1e0}', "more": "segments: 3\nsuperpixels.count: 60"}
    state = wait(client, client.post("/api/jobs", files={"file": ("a.png", photograph)}, data=data).json()["id"])
    assert state["segments"] == 3
    assert "--set superpixels.count=60" in state["command"]


def numbers(data: Any, name: str = "") -> list[str]:
    """Names of the settings that are numbers."""
    if isinstance(data, dict):
        return [found for key, inner in data.items() for found in numbers(inner, f"{name}.{key}" if name else key)]
    return [name] if isinstance(data, int | float) and not isinstance(data, bool) else []


def test_every_number_has_a_limit() -> None:
    for head in HEADS:
        base = with_settings(Pipeline(), {"head": head})
        names = numbers(base.model_dump(mode="json"))
        assert len(names) > 20
        for name in names:
            # The other settings are the same with every head.
            if name != "seed" and (name.startswith("head.") or head == next(iter(HEADS))):
                with pytest.raises(SettingsError):
                    pipeline_from_client(base, settings_from_text(f"{name}: 30_000_000"))
    assert MOST_OF["seed"] == 2**32
    with pytest.raises(SettingsError, match=r"head\.hidden: this server takes up to 1024"):
        pipeline_from_client(Pipeline(), {"head": {"name": "neuncut", "hidden": [100_000]}})
    with pytest.raises(SettingsError, match=r"head\.hidden: this server takes lists of up to 8"):
        pipeline_from_client(Pipeline(), {"head": {"name": "neuncut", "hidden": [4] * 9}})
    large = with_settings(Pipeline(), {"superpixels": {"count": 9000}})
    assert pipeline_from_client(large, {"segments": 3}).superpixels.count == 9000, "what the server's owner says holds"


def test_every_setting_of_the_schema_is_taken(client: Any) -> None:
    about = client.get("/api/about").json()
    assert pipeline_from_client(quick(), about["defaults"]) == quick()
    full = Pipeline().model_dump(mode="json")
    assert pipeline_from_client(quick(), full) == Pipeline()


@pytest.mark.parametrize("given", [{}, {"sample": "cat.jpg", "again": "x"}])
def test_exactly_one_image_is_asked_for(client: Any, given: dict[str, str]) -> None:
    assert client.post("/api/jobs", data={"settings": "{}", **given}).status_code == 422


@pytest.mark.parametrize("name", ["..%2Fpyproject.toml", "nothing.jpg", "%2Fetc%2Fpasswd"])
def test_samples_are_those_that_are_listed(client: Any, name: str) -> None:
    assert client.get(f"/api/samples/{name}").status_code == 404
    assert client.post("/api/jobs", data={"sample": name}).status_code == 404


class TestGuard:
    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:80"])
    def test_other_hosts_names(self, client: Any, host: str) -> None:
        assert client.get("/api/health", headers={"host": host}).status_code == 421

    @pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:1", "[::1]:8000", "192.168.1.5"])
    def test_our_names(self, client: Any, host: str) -> None:
        assert client.get("/api/health", headers={"host": host}).status_code == 200

    def test_a_name_that_is_allowed(self) -> None:
        testing = pytest.importorskip("fastapi.testclient")
        app = create_app(quick(), LIMITS, hosts=["lab.example"])
        assert testing.TestClient(app, base_url="http://lab.example").get("/api/health").status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:9"},
            {"origin": "http://["},
            {"origin": "://"},
            {"sec-fetch-site": "cross-site"},
        ],
    )
    def test_pages_of_other_sites_change_nothing(self, client: Any, headers: dict[str, str]) -> None:
        assert client.post("/api/jobs", data={"sample": "cat.jpg"}, headers=headers).status_code == 403
        assert client.get("/api/health").json()["jobs"]["queued"] == 0

    def test_too_large_by_its_length_and_by_its_chunks(self, client: Any) -> None:
        assert submit(client, b"x" * 3_000_000).status_code == 413

        def chunks() -> Any:
            for _ in range(50):
                yield b"x" * 100_000

        headers = {"content-type": "multipart/form-data; boundary=a"}
        answer = client.post("/api/jobs", content=chunks(), headers=headers)
        assert (answer.status_code, answer.json()["detail"][:9]) == (413, "a request")

    def test_headers(self, client: Any) -> None:
        for path in ("/", "/api/health", "/docs", "/app.js"):
            headers = client.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert client.get("/api/health").headers["cache-control"] == "no-store"


SLOW = {"head": {"name": "neuncut", "steps": 2000, "hidden": [1024, 1024]}}


def until(client: Any, job: str, status: str) -> None:
    end = time.monotonic() + 60
    while client.get(f"/api/jobs/{job}").json()["status"] != status:
        assert time.monotonic() < end
        time.sleep(0.03)


@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_a_running_job_ends_at_once(client: Any, photograph: bytes, way: str) -> None:
    """Also in the midst of training; the next job runs in the spare process."""
    job = submit(client, photograph, **SLOW).json()["id"]
    until(client, job, "running")
    time.sleep(0.3)
    if way == "cancel":
        assert client.post(f"/api/jobs/{job}/cancel").json()["status"] == "cancelled"
        assert client.get(f"/api/jobs/{job}/labels").status_code == 409
    else:
        assert client.delete(f"/api/jobs/{job}").status_code == 204
    assert list(client.app.state.jobs._folder.iterdir()) == [], "its upload is deleted"
    assert done(client, photograph)["status"] == "done"


def test_a_job_that_takes_too_long_is_ended(workers: Workers, photograph: bytes) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(seconds=0.3), workers=workers)
    with testing.TestClient(app, base_url="http://127.0.0.1") as client:
        state = wait(client, submit(client, photograph, **SLOW).json()["id"])
    assert state["status"] == "failed"
    assert "longer than 0.3 seconds" in state["error"]


def test_a_process_that_dies_ends_its_job_only(client: Any, photograph: bytes, workers: Workers) -> None:
    job = submit(client, photograph, **SLOW).json()["id"]
    until(client, job, "running")
    time.sleep(0.3)
    client.app.state.jobs.get(job).worker._process.kill()
    state = wait(client, job)
    assert state["status"] == "failed"
    assert "ended (signal 9, SIGKILL)" in state["error"]
    assert done(client, photograph)["status"] == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process")
def test_an_image_that_needs_too_much_memory_is_told(samples: Path) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    limits = Limits(gigabytes=0.5)
    noise = np.random.default_rng(0).integers(0, 255, (30, 30, 3), dtype=np.uint8)
    large = png_of(np.tile(noise, (120, 120, 1)))
    with testing.TestClient(create_app(quick(), limits), base_url="http://127.0.0.1") as client:
        state = wait(client, submit(client, large, working_pixels=16_000_000).json()["id"])
    assert state["status"] == "failed"
    assert "memory" in state["error"]


def test_a_waiting_job_is_cancelled_at_once_and_the_queue_is_bounded(
    photograph: bytes, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    hold = threading.Event()
    take = workers.take

    def held() -> Any:
        hold.wait(30)
        return take()

    monkeypatch.setattr(workers, "take", held)
    app = create_app(quick(), Limits(queue=2, workers=1), workers=workers)
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    ids = [submit(client, photograph).json()["id"] for _ in range(2)]
    refused = submit(client, photograph)
    assert refused.status_code == 503
    assert "2 images are waiting already; try again in" in refused.json()["detail"]
    assert f"in {refused.headers['retry-after']} second" in refused.json()["detail"]
    assert client.get(f"/api/jobs/{ids[1]}").json()["position"] == 1
    assert client.post(f"/api/jobs/{ids[1]}/cancel").json()["status"] == "cancelled"
    assert client.delete(f"/api/jobs/{ids[0]}").status_code == 204
    assert client.get(f"/api/jobs/{ids[0]}").status_code == 404
    hold.set()


def test_a_full_queue_refuses_an_upload_before_it_is_received(workers: Workers) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(queue=1), workers=workers)
    place = app.state.jobs.reserve()
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    read: list[int] = []

    def chunks() -> Any:
        for number in range(50):
            read.append(number)
            yield b"x" * 100_000

    headers = {"content-type": "multipart/form-data; boundary=a"}
    assert client.post("/api/jobs", content=chunks(), headers=headers).status_code == 503
    app.state.jobs.release(place)
    assert client.post("/api/jobs", content=b"", headers=headers).status_code in (400, 422)
    assert app.state.jobs.reserve(), "the place of a request that failed is free again"


def test_results_that_were_not_used_longest_are_forgotten_first(photograph: bytes, workers: Workers) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(kept_pixels=3 * 96 * 112), workers=workers)
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    first, second, third = (done(client, photograph)["id"] for _ in range(3))
    client.get(f"/api/jobs/{first}")
    fourth = done(client, photograph)["id"]
    alive = [client.get(f"/api/jobs/{job}").status_code for job in (first, second, third, fourth)]
    assert alive == [200, 404, 200, 200]


def test_idle_results_are_forgotten(photograph: bytes, workers: Workers) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(idle_seconds=0.2), workers=workers)
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    job = submit(client, photograph).json()["id"]
    client.app.state.jobs._pool.shutdown(wait=True)
    time.sleep(0.3)
    assert client.get(f"/api/jobs/{job}").status_code == 404


def test_twenty_clients_at_once(server: str, photograph: bytes) -> None:
    httpx = pytest.importorskip("httpx")
    ends: list[str] = []

    def one() -> None:
        with httpx.Client(base_url=server, timeout=60) as client:
            ends.append(done(client, photograph)["status"])

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    meanwhile = 0
    while any(thread.is_alive() for thread in threads):
        jobs = httpx.get(f"{server}/api/health", timeout=60).raise_for_status().json()["jobs"]
        meanwhile += jobs["queued"] + jobs["running"] > 0
        time.sleep(0.05)
    assert ends == ["done"] * 20
    assert meanwhile > 1, "it answers while it works; tools/bench_web.py measures how soon"


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
