"""The API: what it refuses, and what settings reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segspectral import Pipeline
from segspectral.errors import SettingsError
from segspectral.heads import HEADS
from segspectral.settings import with_settings
from segspectral.web import create_app
from segspectral.web.command import MOST_OF, pipeline_from_client, settings_from_text
from tests.web.conftest import LIMITS, png_of, quick, submit, wait


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
    assert answer.status_code == 422, "at once, by its header"
    told = answer.json()["detail"]
    assert told.startswith(sentence)
    assert "upload" not in told, "nothing of this computer's folders"
    assert list(client.app.state.jobs.folder.iterdir()) == []


def test_damaged_pixels_are_reported_by_the_job(client: Any, photograph: bytes) -> None:
    answer = submit(client, photograph[: len(photograph) // 2], "../../etc/cat.png")
    assert answer.status_code == 202
    told = wait(client, answer.json()["id"])["error"]
    assert told.startswith("cat.png: ")
    assert "upload" not in told, "nothing of this computer's folders"
    assert list(client.app.state.jobs.folder.iterdir()) == []


def test_too_many_pixels_are_refused_before_anything_is_decoded(client: Any) -> None:
    answer = submit(client, png_of(np.zeros((1000, 1000, 3), np.uint8)))
    assert answer.status_code == 422
    assert client.get("/api/health").json()["jobs"]["queued"] == 0


def test_what_fails_in_the_pipeline_is_reported(client: Any) -> None:
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
        ("sizes.min: /etc/passwd", "is not a size"),
        ("sizes.min: 40\nsizes.max: 30", "min=40 is larger than max=30"),
        ("sizes: /etc/passwd", "sizes"),
    ],
)
def test_invalid_settings_are_reported(client: Any, text: str, sentence: str) -> None:
    answer = client.post("/api/jobs", data={"sample": "cat.jpg", "settings": "head: neuncut", "more": text})
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_sizes_are_pixels_shares_or_square_metres_here_too(client: Any, photograph: bytes) -> None:
    state = wait(client, submit(client, photograph, sizes={"min": "40%", "holes": "all"}).json()["id"])
    assert state["status"] == "done"
    assert len(state["regions"]) <= 2
    refused = wait(client, submit(client, photograph, sizes={"min": "9m2"}).json()["id"])
    assert "coordinate reference system" in refused["error"]


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
        pipeline_from_client(Pipeline(), {"head": {"name": "neuncut", "hidden": [2000]}})
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
