"""Spaces: every head clusters in them, keeps them in its file, and applies them to new points."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import scipy.ndimage
import torch
from click.testing import Result
from sklearn.datasets import make_blobs
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import SettingsError
from segspectral.heads import HEADS, head_class
from segspectral.heads.exact import Exact
from segspectral.heads.modularity import Modularity
from segspectral.heads.networks import Mlp
from segspectral.heads.spaces import Scattering, SpaceSettings, into, learn_space, looks_like_images
from segspectral.heads.spectralnet import SpectralNet
from segspectral.heads.storage import load
from segspectral.heads.training.pretraining import Autoencoder, Siamese
from segspectral.metrics.clustering import clustering_scores
from segspectral.registry import SPACE_SOURCES, SPACES
from segspectral.shared.onnx import head_to_onnx
from segspectral.spectral.scattering import grid, paths, scattering
from tests.contracts.test_heads import CHECKS

QUICK = {
    "autoencoder": Autoencoder(hidden=(32,), code=4, epochs=30, batch_size=64),
    "siamese": Siamese(hidden=(32,), epochs=5),
    "components": 40,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gratings(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Stripes in four directions (N, 144), each image with its stripes at another place: pixels alone say little."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % 4
    row, column = np.meshgrid(np.arange(12), np.arange(12), indexing="ij")
    along = np.cos(y * np.pi / 4)[:, None, None] * column + np.sin(y * np.pi / 4)[:, None, None] * row
    images = rng.normal(0, 0.5, (count, 12, 12))
    for _ in range(3):
        pitch, phase = rng.uniform([[0.7], [0]], [[1.7], [2 * np.pi]], (2, count))[:, :, None, None]
        images += np.sin(pitch * along + phase)
    return images.reshape(count, -1), y


def blobs(count: int) -> tuple[np.ndarray, np.ndarray]:
    return make_blobs(count, n_features=16, centers=4, cluster_std=2.0, random_state=0)


@pytest.mark.parametrize(("head", "space"), [(head, SPACES[1 + i % 4]) for i, head in enumerate(HEADS)])
def test_every_head_keeps_its_space_and_applies_it_to_new_points(head: str, space: str, tmp_path: Path) -> None:
    X, _ = gratings(150)
    settings = SpaceSettings(name=space, **QUICK | {"autoencoder": Autoencoder(hidden=(16,), epochs=2)})
    fitted = head_class(head)(4, space=settings, **CHECKS.get(head, {})).fit(X[:100])
    fitted.save(tmp_path / "head.safetensors")
    again = load(tmp_path / "head.safetensors")
    assert again.space == settings
    new = fitted.predict_proba(X[100:])
    assert new.shape == (50, 4)
    assert np.array_equal(again.predict_proba(X[100:]), new)
    # What was saved has been used: in another space the points are others.
    again.space_ = head_class("exact")(4, space=SpaceSettings(name="scattering", components=2)).fit(X[:100]).space_
    with pytest.raises(ValueError, match=r"."):
        again.predict_proba(X[100:])


@pytest.mark.parametrize("space", ["code", "siamese", "both"])
def test_groups_are_found_in_learned_spaces_seen_and_unseen(space: str) -> None:
    X, y = blobs(400)
    head = Exact(4, space=SpaceSettings(name=space, **QUICK)).fit(X[:300])
    assert clustering_scores(head.labels_, y[:300])["accuracy"] > 0.95
    assert clustering_scores(head.predict(X[300:]), y[300:])["accuracy"] > 0.95
    again = Exact(4, space=SpaceSettings(name=space, **QUICK)).fit(X[:300])
    assert again.membership_.probabilities.tobytes() == head.membership_.probabilities.tobytes()


def test_scattering_groups_images_that_are_moved_seen_and_unseen() -> None:
    X, y = gratings(400)
    head = Exact(4, space="scattering").fit(X[:300])
    assert clustering_scores(head.labels_, y[:300])["accuracy"] > 0.95
    assert clustering_scores(head.predict(X[300:]), y[300:])["accuracy"] > 0.95


@pytest.mark.parametrize("space", ["code", "siamese", "both"])
def test_networks_of_images_begin_with_their_scattering_seen_and_unseen(space: str, tmp_path: Path) -> None:
    X, y = gratings(400)
    autoencoder = Autoencoder(hidden=(64,), code=10, epochs=60, batch_size=64)
    settings = SpaceSettings(name=space, autoencoder=autoencoder, siamese=Siamese(hidden=(64,), epochs=20))
    head = Exact(4, space=settings).fit(X[:300])
    assert clustering_scores(head.labels_, y[:300])["accuracy"] > 0.85
    assert clustering_scores(head.predict(X[300:]), y[300:])["accuracy"] > 0.85
    assert isinstance(head.space_, Scattering)
    assert head.space_.network is not None
    head.save(tmp_path / "head.safetensors")
    assert np.array_equal(load(tmp_path / "head.safetensors").predict(X[300:]), head.predict(X[300:]))


def test_only_what_is_alike_along_both_axes_looks_like_images() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(300, 256))
    smooth = scipy.ndimage.gaussian_filter(noise.reshape(-1, 16, 16), (0, 1, 1)).reshape(-1, 256)
    assert looks_like_images(smooth)
    assert looks_like_images(smooth + rng.normal(size=256)), "whatever the mean image is"
    assert looks_like_images(gratings(100)[0])
    no_images = {
        "columns in another order": smooth[:, rng.permutation(256)],
        "not square": smooth[:, :-1],
        "outputs of a network": rng.normal(size=(300, 5)) @ rng.normal(size=(5, 256)),
        "series": np.cumsum(noise, axis=1),
        "spectra": scipy.ndimage.gaussian_filter1d(noise, 5, axis=1),
        "all the same": np.ones((20, 256)),
        "too small": smooth.reshape(-1, 16, 16)[:, :3, :3].reshape(-1, 9),
    }
    assert [what for what, vectors in no_images.items() if looks_like_images(vectors)] == []


def test_equal_images_are_at_one_place_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = learn_space("scattering", np.ones((40, 64)), seed=0)
    assert np.ptp(into(found, np.ones((3, 64))), axis=0).max() == 0


def test_scattering_hardly_changes_where_an_image_is_moved_by_a_pixel() -> None:
    x = np.random.default_rng(0).random((20, 28, 28))

    def change(before: np.ndarray, after: np.ndarray) -> float:
        return float(np.linalg.norm(before - after) / np.linalg.norm(before - before.mean(axis=0)))

    moved = np.roll(x, 1, axis=2)
    assert change(scattering(x), scattering(moved)) < 0.5 * change(x, moved)


def test_equal_settings_under_a_name_and_raw_is_what_heads_do_by_themselves() -> None:
    X, _ = gratings(120)
    named = Exact(4, space="scattering").fit(X)
    assert np.array_equal(named.labels_, Exact(4, space=SpaceSettings(name="scattering")).fit(X).labels_)
    assert Exact(4, space="raw").fit(X).space_ is None
    assert isinstance(Exact(4, space=SpaceSettings(name="code", of="raw", **QUICK)).fit(X).space_, Mlp)
    assert named.fit(X).set_params(space="raw").fit(X).space_ is None, "a new fit forgets the space of the last one"


def test_faults_of_a_space_are_one_sentence() -> None:
    X, _ = gratings(60)
    with pytest.raises(SettingsError, match="143 numbers are none; take the space code or siamese"):
        Exact(4, space="scattering").fit(X[:, 1:])
    graph = Exact(4).fit(X).affinity_
    for features in (X, None):
        with pytest.raises(SettingsError, match="space=code makes the graph of the features"):
            Exact(4, space="code").fit(features, affinity=graph)
    with pytest.raises(SettingsError, match="space"):
        Exact(4, space="nowhere").fit(X)
    with pytest.raises(SettingsError, match="not a network that could be exported"):
        head_to_onnx(SpectralNet(4, space="scattering", hidden=(8,), steps=5).fit(X))
    with pytest.raises(SettingsError, match="of='raw'"):
        head_to_onnx(SpectralNet(4, space=SpaceSettings(name="code", **QUICK), hidden=(8,), steps=5).fit(X))
    with pytest.raises(SettingsError, match="143 numbers are none"):
        Exact(4, space=SpaceSettings(name="code", of="scattering")).fit(X[:, 1:])
    with pytest.raises(SettingsError, match="of other images than those of 16 x 16"):
        Scattering.of(X, 5, 0)(np.zeros((1, 256)))


def test_a_graph_network_sees_new_points_in_the_space() -> None:
    X, y = gratings(400)
    head = Modularity(4, space="scattering", steps=40).fit(X[:300])
    assert clustering_scores(head.predict(X[300:]), y[300:])["accuracy"] > 0.9


@pytest.mark.parametrize("side", [4, 7, 8, 16, 28])
def test_scattering_has_the_shape_that_is_promised_and_no_negative_modulus(side: int) -> None:
    x = np.random.default_rng(side).random((3, side, side))
    S = scattering(x)
    assert S.shape == (3, paths(side), grid(side), grid(side))
    assert S.min() > -1e-2
    # Wavelets have a mean of 0, and averages one of 1.
    flat = scattering(np.full((1, side, side), 0.7))
    assert np.abs(flat[:, 0] - 0.7).max() < 1e-5
    assert np.abs(flat[:, 1:]).max() < 1e-5


def test_scattering_is_that_of_a_slow_reference() -> None:
    """By convolution with filters in pixels, one path at a time, without reduced images."""
    x = np.random.default_rng(0).random((8, 8))
    wide = np.pad(scipy.ndimage.gaussian_filter(x, 1), 2, mode="symmetric")
    size, S = 12, scattering(scipy.ndimage.gaussian_filter(x, 1)[None])[0]
    far = np.arange(-4 * size, 5 * size)
    row, column = np.meshgrid(far, far, indexing="ij")

    def wrapped(filter: np.ndarray) -> np.ndarray:
        return filter.reshape(9, size, 9, size).sum(axis=(0, 2))

    def convolved(image: np.ndarray, filter: np.ndarray) -> np.ndarray:
        shifted = [np.roll(image, (i, j), axis=(0, 1)) * filter[i, j] for i in range(size) for j in range(size)]
        return np.sum(shifted, axis=0)

    def gauss(sigma: float, slant: float, angle: float) -> np.ndarray:
        ahead, aside = column * np.cos(angle) + row * np.sin(angle), row * np.cos(angle) - column * np.sin(angle)
        bell = np.exp(-(ahead**2 + (aside * slant) ** 2) / (2 * sigma**2))
        return bell / bell.sum()

    def morlet(scale: int, angle: float) -> np.ndarray:
        bell = gauss(0.8 * 2**scale, 0.5, angle)
        ahead = column * np.cos(angle) + row * np.sin(angle)
        wave = bell * np.exp(1j * 0.75 * np.pi / 2**scale * ahead)
        return wrapped(wave - bell * wave.sum())

    average = wrapped(gauss(0.8 * 2, 1.0, 0.0))
    expected = [convolved(wide, average)]
    second = []
    for j in range(2):
        for a in range(8):
            ring = np.abs(convolved(wide, morlet(j, np.pi * a / 8)))
            expected.append(convolved(ring, average))
            if j == 0:
                second += [convolved(np.abs(convolved(ring, morlet(1, np.pi * b / 8))), average) for b in range(8)]
    samples = [np.real(e)[4:12:4, 4:12:4] for e in expected]
    first, inner = S[:17], S[17:]
    scale = np.abs(np.array(samples[1:])).max()
    assert np.abs(first - np.array(samples)).max() < 0.02 * scale + 1e-3
    expected_inner = np.array([np.real(e)[4:12:4, 4:12:4] for e in second])
    assert np.abs(inner - expected_inner).max() < 0.05 * expected_inner.max() + 1e-3


def segspectral(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_fits_in_a_space_and_predicts_with_what_it_saved(tmp_path: Path) -> None:
    X, y = gratings(500)
    np.savez(tmp_path / "old.npz", x=X[:400].reshape(-1, 12, 12), y=y[:400])
    np.save(tmp_path / "new.npy", X[400:])
    fit = ["cluster", tmp_path / "old.npz", "-k", 4, "--space", "scattering"]
    result = segspectral(*fit, "--save", tmp_path / "h.safetensors", "-o", tmp_path / "old_clusters.npz")
    assert result.exit_code == 0, result.output
    assert (
        segspectral(
            "cluster", tmp_path / "new.npy", "--model", tmp_path / "h.safetensors", "-o", tmp_path / "new_clusters.npz"
        ).exit_code
        == 0
    )
    with np.load(tmp_path / "new_clusters.npz") as new:
        assert clustering_scores(new["labels"], y[400:])["accuracy"] > 0.9
    assert load(tmp_path / "h.safetensors").space == "scattering"


def test_the_command_says_that_the_networks_of_a_space_see_the_scattering(tmp_path: Path) -> None:
    X, _ = gratings(60)
    np.save(tmp_path / "images.npy", X)
    np.save(tmp_path / "others.npy", X[:, np.random.default_rng(0).permutation(144)])
    for name, told in {"images.npy": True, "others.npy": False}.items():
        result = segspectral("cluster", tmp_path / name, "-k", 4, "--space", "siamese")
        assert result.exit_code == 0, result.output
        assert ("square images, and the networks of the space see their scattering" in result.output) is told


def test_the_command_chooses_what_the_networks_of_a_space_see(tmp_path: Path) -> None:
    assert get_args(SpaceSettings.model_fields["of"].annotation) == SPACE_SOURCES
    X, _ = gratings(60)
    np.save(tmp_path / "a.npy", X)
    kinds = {}
    for of in SPACE_SOURCES:
        saved = tmp_path / f"{of}.safetensors"
        result = segspectral("cluster", tmp_path / "a.npy", "-k", 4, "--space", "code", "--of", of, "--save", saved)
        assert result.exit_code == 0, result.output
        head = load(saved)
        assert (head.space.name, head.space.of) == ("code", of)
        kinds[of] = type(head.space_)
    assert kinds == {"auto": Scattering, "raw": Mlp, "scattering": Scattering}


def test_the_command_tells_what_a_space_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("1,2\n2,3\n3,1\n4,5\n5,6\n6,4\n3,4\n")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((20, 5)))
    for arguments, sentence in [
        (("edges.csv", "--space", "code"), "space is for vectors"),
        (("a.npy", "--of", "raw"), "of=raw is for the networks of the spaces code, siamese, both; choose one"),
        (("a.npy", "--space", "scattering", "--of", "raw"), "choose one of them, or leave it out"),
        (
            ("a.npy", "--space", "code", "--of", "pixels"),
            "a space cannot learn from 'pixels'; there are auto, raw, sca",
        ),
        (("a.npy", "--model", "h.safetensors", "--of", "raw"), "--of is for a fit"),
        (("a.npy", "--space", "scattering"), "vectors of 5 numbers are none"),
        (("a.npy", "--space", "elsewhere"), "there are raw, code, siamese, both, scattering"),
        (("a.npy", "--space", "code", "--model", "x"), "--space is for a fit"),
    ]:
        result = segspectral("cluster", tmp_path / arguments[0], *arguments[1:], "-o", tmp_path / "out.npz")
        assert result.exit_code, arguments
        assert sentence in " ".join(result.output.split()), result.output
        assert not (tmp_path / "out.npz").exists()
