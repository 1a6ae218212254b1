"""The README and the pages of docs/: their commands and Python run, their links lead somewhere, the site builds.

Each page runs by itself in an empty folder with small sample files, from its first block to its last, as a reader would
go through it. A block that cannot run here is marked with ``<!-- not run: WHY -->``.
"""

from __future__ import annotations

import re
import runpy
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from scipy.io import savemat
from typer.main import get_command
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.heads import HEADS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.+?) -->\n)?^```(?P<language>bash|python)(?: title=\"(?P<title>\S+)\")?\n"
    r"(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
PORT = 8000
"""The port of ``segspectral serve`` in the documentation; a free one is taken instead."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, text, file name, and why it does not run, if it does not."""

    page: str
    language: str
    text: str
    title: str | None
    why: str | None


def blocks_of(page: Path) -> list[Block]:
    name = page.relative_to(ROOT).as_posix()
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(name, m["language"], m["text"], m["title"], m["why"]) for m in found]


BLOCKS = {page.relative_to(ROOT).as_posix(): blocks_of(page) for page in PAGES}
RUN = {name: blocks for name, blocks in BLOCKS.items() if any(block.why is None for block in blocks)}


# --- what the documentation may be read with: photo.jpg, photos/, DATA/, ... ---


def _save(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def readers_files(tmp_path_factory: pytest.TempPathFactory, cat: NDArray[np.uint8]) -> Path:
    """A folder with all files that the pages name; each page gets a copy by links."""
    folder = tmp_path_factory.mktemp("reader")
    height, width = cat.shape[:2]
    rng = np.random.default_rng(0)
    _save(folder / "photo.jpg", cat)
    for number, picture in enumerate((cat, cat[:, ::-1], cat[::-1])):
        _save(folder / "photos" / ("below" if number == 2 else "") / f"{number}.jpg", picture)
    _rasters(folder, cat)
    truth = np.zeros((height, width), np.uint8)
    truth[:, width // 2 :] = 1
    for number in range(2):
        _save(folder / "DATA/mine/images" / f"{number}.jpg", cat)
        _save(folder / "DATA/mine/masks" / f"{number}.png", truth)
        _save(folder / "predictions" / f"{number}.png", truth)
    _data_sets(folder / "DATA", cat, truth)
    people = [f"p{i}" for i in range(60)]
    links = [(a, b) for a in range(60) for b in range(a) if rng.random() < (0.4 if a % 3 == b % 3 else 0.02)]
    rows = [f"{name},{i % 3 + rng.normal(0, 0.2):.3f},{-(i % 3):.1f}" for i, name in enumerate(people)]
    for suffix, keep in (("", 55), ("_now", 60)):
        edges = [f"{people[a]},{people[b]}" for a, b in links if a < keep and b < keep]
        (folder / f"friends{suffix}.csv").write_text("source,target\n" + "\n".join(edges) + "\n")
        (folder / f"people{suffix}.csv").write_text("name,age,height\n" + "\n".join(rows[:keep]) + "\n")
    (folder / "edges.csv").write_text("".join(f"{a},{b}\n" for a, b in links))
    classes = np.arange(90) % 3
    for name in ("points.npy", "more.npy"):
        np.save(folder / name, (rng.normal(0, 0.3, (1500, 6)) + np.eye(6)[np.arange(1500) % 5] * 5).astype(np.float32))
    np.savez(folder / "images.npz", x=rng.normal(0, 1, (40, 8, 8)))
    np.save(folder / "more_images.npy", rng.normal(0, 1, (5, 8, 8)))
    np.savez(folder / "vectors.npz", x=rng.normal(0, 0.3, (90, 4)) + np.eye(4)[classes] * 5, labels=classes)
    return folder


def _rasters(folder: Path, cat: NDArray[np.uint8]) -> None:
    import tifffile

    tifffile.imwrite(folder / "cells.tif", cat[..., 1].astype(np.uint16) * 16)
    rasterio = pytest.importorskip("rasterio", reason="the extra 'geo' is not installed")
    colours = np.tile(cat, (3, 3, 1)).transpose(2, 0, 1).astype(np.uint16) * 16
    scene = np.concatenate([colours, colours[1:2] // 2 + 500])
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(400_000, 5_800_000, 10, 10)}
    with rasterio.open(folder / "scene.tif", "w", "GTiff", *scene.shape[:0:-1], 4, dtype="uint16", **place) as file:
        file.write(scene)
        file.descriptions = ("red", "green", "blue", "nir")


def _data_sets(folder: Path, cat: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
    voc = folder / "voc2012" / "VOCdevkit" / "VOC2012"
    _save(voc / "JPEGImages/a.jpg", cat)
    _save(voc / "SegmentationClass/a.png", truth * np.uint8(8))
    lists = voc / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a\n")
    city = folder / "cityscapes"
    _save(city / "leftImg8bit/val/bonn/bonn_0_1_leftImg8bit.png", cat)
    _save(city / "gtFine/val/bonn/bonn_0_1_gtFine_labelIds.png", truth + np.uint8(7))
    _save(folder / "camvid/val/f.png", cat)
    _save(folder / "camvid/valannot/f.png", truth)
    _save(folder / "bsds500/images/val/12.jpg", cat)
    borders = np.zeros_like(truth)
    borders[:, truth.shape[1] // 2] = 1
    cells = np.empty((1, 2), object)
    cells[0, :] = [{"Segmentation": truth.astype(np.uint16) + 1, "Boundaries": borders}] * 2
    (folder / "bsds500/groundTruth/val").mkdir(parents=True)
    savemat(folder / "bsds500/groundTruth/val/12.mat", {"groundTruth": cells})


@pytest.fixture
def reader(readers_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a page is read in; what it makes stays in it."""
    for file in readers_files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    for name in ("sample_images", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # caches
    return tmp_path


# --- running them ---


@pytest.mark.parametrize("page", RUN)
def test_what_a_page_says_runs(page: str, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "resnet18.safetensors" in (ROOT / page).read_text(encoding="utf-8"):
        _random_resnet(reader / "resnet18.safetensors")
    names: dict[str, Any] = {"__name__": "__main__"}
    with patch.dict(HEADS), _servers(monkeypatch) as port:  # a page adds a head to them
        for block in RUN[page]:
            if block.why is not None:
                continue
            text = block.text.replace(str(PORT), str(port))
            if block.language == "bash":
                for line in _lines(text):
                    _run(line)
            elif block.title is not None:
                (reader / block.title).write_text(text, encoding="utf-8")
            else:
                exec(compile(text, f"{page}: {text.splitlines()[0]}", "exec"), names)


def _lines(text: str) -> list[str]:
    """The commands of a block, without comments and with continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _run(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] == "segspectral", f"{line}: a block of commands holds segspectral alone, or says why it is not run"
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], words[words.index(">") + 1]
    if words[1] == "batch":
        # In this process: a worker would import torch for seconds.
        words = [*_without(words, "--jobs", "--timeout"), "--jobs", "0"]
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    if target is not None:
        Path(target).write_text(result.stdout, encoding="utf-8")


def _without(words: list[str], *options: str) -> list[str]:
    """The words without these options and their values."""
    return [word for before, word in zip(["", *words], words, strict=False) if not {before, word} & set(options)]


@contextmanager
def _servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """``segspectral serve`` returns when it listens, and its servers end with the page. Gives a free port."""
    running: list[tuple[Any, threading.Thread, Any]] = []

    def serve(server: Any, sockets: list[socket.socket]) -> None:
        # The command, which closes its socket when it ends, ends before the page does.
        thread = threading.Thread(target=real, args=(server, [one.dup() for one in sockets]), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        jobs = server.config.app.state.jobs
        running.append((server, thread, jobs.close))
        jobs.close = lambda: None  # nor are its workers to end with it

    try:
        import uvicorn

        real = uvicorn.Server.run
        monkeypatch.setattr(uvicorn.Server, "run", serve)
        # The spare process starts when it is needed, and on no page it is.
        monkeypatch.setattr("segspectral.web.jobs.Workers._warm", lambda workers, worker: workers.give(worker))
    except ImportError:
        pass
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield port
    for server, thread, close in running:
        server.should_exit = True
        thread.join(5)
        close()


def _random_resnet(path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    tensors = timm.create_model("resnet18", pretrained=False).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


# --- what else is true of them ---


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    left_out = [(name, block.why) for name, blocks in BLOCKS.items() for block in blocks if block.why is not None]
    assert len(left_out) <= 10, left_out
    assert sum(len(blocks) for blocks in RUN.values()) > 40


def test_every_block_of_a_page_is_found() -> None:
    """A fence that the pattern above does not match would be a block that nobody runs."""
    for page in PAGES:
        fences = re.findall(r"^```(?:bash|sh|shell|console|python|py|pycon)\b", page.read_text("utf-8"), re.MULTILINE)
        assert len(fences) == len(blocks_of(page)), page


def test_the_table_of_commands_names_every_command() -> None:
    table = (ROOT / "docs/howto/index.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `segspectral (\w+)", table, re.MULTILINE))
    assert described == set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", BLOCKS)
def test_commands_within_the_text_exist_with_their_options(page: str) -> None:
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for said in re.findall(r"`segspectral ([^`]+)`", text):
        words = shlex.split(said.replace("\n", " ").replace("[", "").replace("]", ""))
        command: Any = get_command(app)
        while words and (inner := getattr(command, "commands", None)) is not None:
            if words[0] not in inner:  # such as COMMAND
                assert words[0].isupper() or words[0].startswith("-"), said
                break
            command = inner[words.pop(0)]
        else:
            known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            assert {word for word in words if word.startswith("-")} <= known, said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_links_to_the_settings_of_a_head_lead_to_its_table() -> None:
    written = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    for name in HEADS:
        page = (ROOT / f"docs/concepts/heads/{name}.md").read_text(encoding="utf-8")
        assert f"settings.md#head-{name}" in page
        assert f"\n### head: {name}\n" in written


def test_the_reference_of_commands_and_settings_is_up_to_date() -> None:
    """``python tools/docs_pages.py`` writes it anew."""
    for path, text in runpy.run_path(str(ROOT / "tools" / "docs_pages.py"))["written"]().items():
        assert path.read_text(encoding="utf-8") == text, path


def test_files_and_tools_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:segspectral|tools|configs)/[\w/.]+)", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page}: {path}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mkdocs", reason="the group 'docs' is not installed")
    pytest.importorskip("mkdocstrings_handlers.python", reason="the group 'docs' is not installed")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    monkeypatch.chdir(ROOT)
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = {
        page.relative_to(tmp_path).as_posix(): page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")
    }
    assert {"index.html", "reference/cli.html", "reference/settings.html", "changelog.html"} <= set(pages)
    for name, text in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?([^\"\s>]+)", text)
        loaded += re.findall(
            r"<link\b[^>]*\brel=\"?(?:stylesheet|preload|preconnect|icon)[^>]*href=\"?([^\"\s>]+)", text
        )
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], name
    assert "Settings of <code>segspectral fit</code>" in pages["reference/settings.html"]
    assert "--retry-failed" in pages["reference/cli.html"]
    assert "Robust Spectral Map" in pages["reference/heads.html"]
