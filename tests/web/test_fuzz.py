"""The API against requests that schemathesis makes from its own description: no fault of the server's, no surprise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.web.test_api import submit, wait

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_requests_from_the_schema(server: str, photograph: bytes, tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    program = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("schemathesis is not installed: pip install --group webtest")
    with httpx.Client(base_url=server, timeout=60) as client:
        job = submit(client, photograph).json()["id"]
        assert wait(client, job)["status"] == "done"
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'[parameters]\n"path.job_id" = "{job}"\n"path.name" = "cat.jpg"\n')
    options = ["--max-examples", "15", "--seed", "0", "--exclude-method", "DELETE", "--checks", CHECKS]
    command = [program, "--config-file", str(config), "run", f"{server}/api/openapi.json", *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "Tested: 16" in run.stdout
