"""The napari plug-in, as far as it can be tested without napari; `tools/check_tools.py napari` runs it in napari."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

import segspectral
from segspectral.export import LabelMap, contour_png, save
from segspectral.files import write_bytes
from segspectral.images.reader import as_image
from segspectral.napari.files import reader_of, sample
from segspectral.napari.layers import image_of, labels_layer


def layer(data: Any, rgb: bool = False, limits: tuple[float, float] = (0, 255)) -> Any:
    """What the plug-in uses of an Image layer."""
    return SimpleNamespace(data=data, rgb=rgb, multiscale=False, contrast_limits=limits, name="image")


def test_the_manifest_names_what_there_is() -> None:
    manifest = yaml.safe_load(files("segspectral").joinpath("napari/napari.yaml").read_text(encoding="utf-8"))
    declared = manifest["contributions"]
    commands = {command["id"]: command["python_name"] for command in declared["commands"]}
    used = [entry["command"] for kind in ("readers", "widgets", "sample_data") for entry in declared[kind]]
    assert set(used) == set(commands)
    for python_name in commands.values():
        module, name = python_name.split(":")
        if module.endswith(".widget"):
            assert f"class {name}" in files("segspectral").joinpath("napari/widget.py").read_text(encoding="utf-8")
        else:
            assert callable(getattr(import_module(module), name))
    entries = distribution("segspectral").entry_points.select(group="napari.manifest")
    assert [entry.value for entry in entries] == ["segspectral.napari:napari.yaml"]


@pytest.fixture(scope="module")
def segmented(quadrants: tuple[Any, Any]) -> segspectral.Segmentation:
    return segspectral.segment(quadrants[0], segments=4, features={"cnn": None}, hierarchy=True)


def test_results_open_as_layers_with_colours_and_a_table(segmented: Any, tmp_path: Path) -> None:
    save(segmented, tmp_path, "photo")
    write_bytes(tmp_path / "photo_ucm.png", contour_png(segmented.hierarchy.contour_map))
    paths = [str(tmp_path / "photo_labels.png"), str(tmp_path / "photo_ucm.png")]
    read = reader_of(paths)
    assert read is not None
    (labels, arguments, kind), (levels, shown, picture) = read(paths)
    assert (kind, picture) == ("labels", "image")
    assert (labels == segmented.labels).all()
    assert arguments["features"]["area"] == np.bincount(labels.ravel())[1:].tolist()
    assert arguments["features"]["index"] == [1, 2, 3, 4] == [key for key in arguments["colormap"] if key]
    assert np.abs(levels - segmented.hierarchy.contour_map).max() < 1e-4
    assert shown["contrast_limits"] == (0, 1)


def test_other_files_are_left_to_other_readers(tmp_path: Path) -> None:
    np.savez(tmp_path / "else.npz", a=np.zeros(3))
    (tmp_path / "text_labels.png").write_text("no picture")
    assert reader_of(str(tmp_path / "else.npz")) is None
    assert reader_of([str(tmp_path / "text_labels.png")]) is None


def test_an_image_is_segmented_as_it_is_shown() -> None:
    """The plane at the sliders, with the contrast limits of the layer as black and white."""
    ramp = np.linspace(0, 4000, 12 * 20).reshape(12, 20).astype(np.uint16)
    stack = np.stack([ramp[::-1], ramp, ramp.T.reshape(12, 20)])
    seen = image_of(layer(stack, limits=(1000, 3000)), (1, 0, 0))
    assert (seen.uint8 == as_image(ramp, stretch="1000:3000").uint8).all()
    # A viewer with more dimensions than the layer has sliders that do not concern the layer.
    assert (image_of(layer(stack, limits=(1000, 3000)), (7, 1, 0, 0)).uint8 == seen.uint8).all()
    colour = np.random.default_rng(0).integers(0, 255, (2, 12, 20, 3)).astype(np.uint8)
    assert (image_of(layer(colour, rgb=True), (1, 0, 0)).uint8 == colour[1]).all()


def test_the_sample_is_an_image() -> None:
    ((pixels, _, kind),) = sample()
    assert (pixels.ndim, pixels.dtype, kind) == (3, np.uint8, "image")


def test_a_label_map_keeps_its_names_and_colours() -> None:
    labels = np.array([[1, 1], [0, 7]], np.int32)
    _, arguments, _ = labels_layer(LabelMap(labels, names={7: "cup"}, colours={7: (255, 0, 0)}), "map")
    assert arguments["features"]["name"] == ["segment 1", "cup"]
    assert arguments["colormap"][7] == (1, 0, 0, 1)
