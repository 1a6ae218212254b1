"""The feature cache: equal inputs are computed once, its size is bounded, and damaged entries are replaced."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.config import make_pipeline
from segspectral.errors import OutputError
from segspectral.features import Cnn
from segspectral.features.backbones.packaged import PackagedNetwork
from segspectral.features.cache import FeatureCache, prune
from segspectral.images.reader import as_image
from segspectral.pipeline import Pipeline
from segspectral.settings import with_settings
from segspectral.superpixels import Slic
from segspectral.values import Image


class Counted:
    def __init__(self, value: float = 1.0) -> None:
        self.calls, self.value = 0, value

    def __call__(self) -> dict[str, NDArray[np.float32]]:
        self.calls += 1
        return {"8": np.full((3, 2), self.value, np.float32)}


def ask(cache: FeatureCache, make: Counted, settings: str = "s", **changed: NDArray[np.generic] | None):
    arrays = {"rgb": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "mask": None}
    return cache.get(arrays | changed, settings, make)["8"]


def test_equal_inputs_are_computed_once_and_different_ones_again(tmp_path: Path):
    cache, make = FeatureCache(folder=str(tmp_path / "c")), Counted(3)
    for _ in range(3):
        np.testing.assert_array_equal(ask(cache, make), np.full((3, 2), 3, np.float32))
    assert make.calls == 1
    ask(cache, make, "t")
    ask(cache, make, rgb=np.arange(12, dtype=np.uint8).reshape(1, 4, 3))
    ask(cache, make, rgb=np.arange(1, 13, dtype=np.uint8).reshape(2, 2, 3))
    ask(cache, make, mask=np.ones((2, 2), bool))
    assert make.calls == 5
    assert len(list((tmp_path / "c").iterdir())) == 5


@pytest.mark.parametrize("broken", [b"", b"garbage", b"\x10" + bytes(30)])
def test_a_damaged_entry_is_replaced(tmp_path: Path, broken: bytes):
    cache, make = FeatureCache(folder=str(tmp_path)), Counted()
    ask(cache, make)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(broken)
    assert ask(cache, make).tolist() == [[1, 1]] * 3
    assert make.calls == 2
    ask(cache, make)
    assert make.calls == 2


def test_prune_removes_the_least_recently_used_entries(tmp_path: Path):
    cache = FeatureCache(folder=str(tmp_path))
    for i in range(5):
        ask(cache, Counted(), str(i))
        (newest,) = (p for p in tmp_path.iterdir() if p.stat().st_mtime > 1e9)
        os.utime(newest, (i, i))
    ask(cache, Counted(), "0")  # the most recently used entry
    size = newest.stat().st_size
    (tmp_path / ".x.safetensors.1.partial").touch()
    assert prune(tmp_path, 2.5 * size / 1e9) == (3, 2 * size)
    left = Counted()
    ask(cache, left, "0")
    ask(cache, left, "4")
    assert left.calls == 0
    assert (tmp_path / ".x.safetensors.1.partial").exists()
    os.utime(tmp_path / ".x.safetensors.1.partial", (0, time.time() - 7200))
    assert prune(tmp_path, 0) == (2, 0)
    assert list(tmp_path.iterdir()) == []


def test_its_size_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("segspectral.features.cache.PRUNE_EVERY", 1)
    cache = FeatureCache(folder=str(tmp_path), max_gb=500e-9)
    for i in range(20):
        ask(cache, Counted(), str(i))
    assert 0 < sum(p.stat().st_size for p in tmp_path.iterdir()) <= 500


def test_a_folder_that_is_not_writable_is_reported_in_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the cache is not writable"):
        ask(FeatureCache(folder=str(tmp_path / "file")), Counted())


def test_ten_numbers_of_segments_need_one_pass(cat: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    passes = []
    real = PackagedNetwork.activations
    monkeypatch.setattr(PackagedNetwork, "activations", lambda *a, **options: passes.append(1) or real(*a, **options))
    plain = make_pipeline({"superpixels": {"count": 60}, "head": "exact", "refine": "none"})
    cached = with_settings(plain, {"features": {"cnn": {"cache": {"folder": str(tmp_path)}}}})
    image = as_image(cat)
    for k in (2, 3, 4):
        labels = with_settings(cached, {"segments": k})(image).labels
    assert len(passes) == 1
    np.testing.assert_array_equal(labels, with_settings(plain, {"segments": 4})(image).labels)
    assert Pipeline.model_validate(cached.model_dump(mode="json")) == cached


def test_superpixels_mask_and_settings_are_part_of_the_key(cat: NDArray[np.uint8], tmp_path: Path):
    image, mask = as_image(cat), np.ones(cat.shape[:2], bool)
    mask[:9] = False
    cnn = Cnn(cache=FeatureCache(folder=str(tmp_path)), channels=4)
    some, more = Slic(count=30)(image), Slic(count=60)(image)
    asked = [
        (cnn, image, some),
        (cnn, image, more),
        (cnn, Image(cat, mask=mask), some),
        (cnn.model_copy(update={"channels": 5}), image, some),
        (cnn.model_copy(update={"strides": (8,)}), image, some),
    ]
    for (
        extractor,
        picture,
        superpixels,
    ) in asked:  # The number of components is not among them, because PCA comes after the cache.
        kept = [extractor(picture, superpixels) for _ in range(2)]
        plain = extractor.model_copy(update={"cache": None})(picture, superpixels)
        for nodes in kept:
            np.testing.assert_array_equal(nodes, plain)
    assert len(list(tmp_path.iterdir())) == len(asked) - 1
