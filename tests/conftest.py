"""Shared by all tests: one thread, no network, and small images."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SAMPLES = Path(__file__).parents[1] / "sample_images"


def pytest_configure() -> None:
    # On two busy cores, threads that wait for each other cost more than they bring. The variables are for what is
    # imported later (torch), and for the commands that tests run.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    threadpool_limits(1)
    # A shell's background job ignores interruptions, and its children with it: here they must arrive.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.pop("SEGSPECTRAL_WEIGHTS", None)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample images."""
    return SAMPLES


@pytest.fixture(scope="session")
def cat() -> NDArray[np.uint8]:
    """(72, 96, 3) a photograph, small enough for every test; read-only."""
    with PIL.Image.open(SAMPLES / "cat.jpg") as picture:
        array = np.array(picture.crop((90, 40, 378, 256)).resize((96, 72), PIL.Image.Resampling.LANCZOS))
    array.setflags(write=False)
    return array


@pytest.fixture(scope="session")
def quadrants() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(96, 112, 3) four noisy coloured quadrants of descending area, and their true labels 1..4; both read-only."""
    truth = np.empty((96, 112), dtype=np.int64)
    truth[:60, :76], truth[60:, :76], truth[:60, 76:], truth[60:, 76:] = 1, 2, 3, 4
    colours = np.array([[0, 0, 0], [190, 60, 50], [60, 150, 70], [50, 80, 180], [220, 200, 90]], dtype=np.float64)
    noisy = colours[truth] + np.random.default_rng(0).normal(0, 6, (*truth.shape, 3))
    image = np.clip(noisy, 0, 255).astype(np.uint8)
    image.setflags(write=False)
    truth.setflags(write=False)
    return image, truth


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a tmpfs may not be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)
