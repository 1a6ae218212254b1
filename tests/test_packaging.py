"""The distributions: what is in them, and that a wheel works outside the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.environments import Run, environment

ROOT = Path(__file__).parents[1]
SHIPPED = ("sample_images", "configs")
"""Folders of the checkout that the wheel holds inside the package."""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the source distribution makes, which is what pip makes of it."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return built("wheel", next(path for path in folder.iterdir() if path.is_dir()), folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command of the wheel in an environment that knows nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    python = environment(folder / "venv", ("segspectral", "_editable_impl_segspectral"))
    (site,) = (folder / "venv").glob("lib/python*/site-packages" if os.name == "posix" else "Lib/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (folder / "elsewhere").mkdir()
    return Run(python, folder / "elsewhere")


def built(kind: str, source: Path, folder: Path) -> Path:
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install --group dev")
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return made


def files_of(folder: Path) -> set[str]:
    """The files below a folder that are not made by running or editing."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
        metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        licences = [n for n in archive.namelist() if "/licenses/" in n]
    expected = {f"segspectral/{name}" for name in files_of(ROOT / "segspectral")}
    for folder in SHIPPED:
        expected |= {f"segspectral/{folder}/{name}" for name in files_of(ROOT / folder)}
    assert held == expected
    assert {Path(name).name for name in licences} == {"LICENSE", "NOTICE"}
    assert "License-Expression: MIT" in text


def test_the_source_distribution_holds_what_the_tests_and_the_documentation_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for needed in ("README.md", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "tests/conftest.py", "mkdocs.yml"):
        assert needed in held
    assert {f"docs/{name}" for name in files_of(ROOT / "docs")} <= held


def test_an_installed_wheel_segments_outside_the_checkout(installed: Run, tmp_path: Path) -> None:
    """Network, presets, recipes of papers and samples come from the wheel."""
    assert "papers/" in installed("config", "list").stdout
    done = installed("demo", "cat.jpg", "-o", tmp_path / "demo")
    assert "cat_overlay.png" in done.stdout
    (place,) = {line.split(" segment ")[1].split()[0] for line in done.stdout.splitlines() if " -k 6 " in line}
    assert ROOT not in Path(place).parents
    assert json.loads((tmp_path / "demo/cat.json").read_text())["segments"] > 1
    installed("segment", place, "-o", tmp_path / "out", "--preset", "quality", "-k", 4)
    installed("batch", place, "-o", tmp_path / "many", "--preset", "fast")
    installed("report", tmp_path / "many")
    assert (tmp_path / "many/index.html").exists()


def test_an_installed_wheel_serves_the_page(installed: Run) -> None:
    pytest.importorskip("uvicorn")
    command = [installed.python, "-m", "segspectral", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=installed.folder) as server:
        try:
            assert server.stdout is not None
            (address,) = [word for word in server.stdout.readline().split() if word.startswith("http://")]
            with urlopen(address, timeout=30) as page:
                html = page.read().decode()
            for name in re.findall(r'(?:src|href)="(/?static/[^"]+)"', html):
                with urlopen(f"{address.rstrip('/')}/{name.lstrip('/')}", timeout=30) as file:
                    assert file.status == 200
            with urlopen(f"{address.rstrip('/')}/api/samples/cat.jpg", timeout=30) as sample:
                assert sample.read(3) == b"\xff\xd8\xff"
        finally:
            server.kill()


def test_the_versions_of_package_changelog_and_citation_agree() -> None:
    import tomllib

    import yaml

    from segspectral import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == __version__ == citation["version"]
    assert project["license"] == citation["license"] == "MIT"
