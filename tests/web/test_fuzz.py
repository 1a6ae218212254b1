"""The API against requests that schemathesis makes from its own description: no fault of the server's, no surprise.

Jobs that have ended stand behind the routes, and the settings are drawn from real names and odd values: requests made
from the description alone meet nothing but 404 and 422 answers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.web.conftest import png_of, submit, wait

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SECONDS = os.environ.get("FUZZ_SECONDS")
"""For longer runs."""


def test_requests_from_the_schema(
    server: str, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]], tmp_path: Path
) -> None:
    httpx = pytest.importorskip("httpx")
    program = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("schemathesis is not installed: pip install --group webtest")
    tiny = png_of(np.ascontiguousarray(quadrants[0][::2, ::2]))
    with httpx.Client(base_url=server, timeout=60) as client:
        job = submit(client, tiny, segments=3, superpixels={"count": 20}).json()["id"]
        assert wait(client, job)["status"] == "done"
        project = client.post("/api/projects").json()["id"]
        at = f"/api/projects/{project}"
        assert client.post(f"{at}/images", files={"file": ("tiny.png", tiny)}).status_code == 201
        painted = np.repeat(np.array([1, 2], np.uint8), 48 * 56 // 2)
        query = {"height": 48, "width": 56, "revision": 0}
        assert client.put(f"{at}/images/0/labels", content=zlib.compress(painted), params=query).status_code == 200
        assert client.post(f"{at}/lesson").status_code == 202
    config = tmp_path / "schemathesis.toml"
    paths = {"job_id": job, "name": "cat.jpg", "project_id": project, "number": 0}
    lines = [f'"path.{key}" = {json.dumps(value)}\n' for key, value in paths.items()]
    config.write_text("".join(["[parameters]\n", *lines]))
    options = ["--max-examples", "15", "--seed", "0", "--exclude-method", "DELETE", "--checks", CHECKS]
    if SECONDS is not None:
        options += ["--max-time", SECONDS]
    command = [program, "--config-file", str(config), "run", f"{server}/api/openapi.json", *options]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.web.fuzz_hooks", "FUZZ_JOB": job}
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=3600,
        cwd=Path(__file__).parents[2],
        env=os.environ | hooks | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "Tested: 31" in run.stdout
    with httpx.Client(base_url=server, timeout=60) as client:
        assert client.get(f"/api/jobs/{job}").json()["revision"] > 3, "edits were made, not only refused"
        assert client.get("/api/health").json()["jobs"]["done"] > 1, "jobs were run, not only refused"
