"""Whether other programs open what segspectral writes: each check is made by the program itself, without a window.

    python tools/check_tools.py                          # every program that this environment has
    python tools/check_tools.py datumaro --python PATH   # a program in another environment

The samples are segmented with the environment that runs the script. A check reads the exports with the program's own
importer, and compares each segment with the label map pixel by pixel. A program that is absent is skipped, with the
reason. A line per program says its version and what it opened; the exit code is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parents[1] / "sample_images"
PHOTOS = ("cat.jpg", "coffee.jpg")
FORMATS = "coco,cvat,gpkg,imagej,labelme,labelme-polygons,labelstudio,yolo"


def labels_of(out: Path, stem: str) -> np.ndarray:
    return np.asarray(Image.open(out / f"{stem}_labels.png"))


def agree(seen: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Compare masks with label maps. Raises AssertionError if there is none, or one differs."""
    assert seen, "nothing was imported"
    wrong = sum(int((mask != wanted).sum()) for mask, wanted in seen)
    assert wrong == 0, f"{wrong} pixels differ"
    return f"{len(seen)} segments, all pixels equal"


def labelstudio(out: Path) -> str:
    from label_studio_sdk.converter.brush import decode_rle

    seen = []
    for task in json.loads((out / "labelstudio/tasks.json").read_text()):
        labels = labels_of(out, Path(task["data"]["image"]).stem)
        for stroke in task["predictions"][0]["result"]:
            channels = np.reshape(decode_rle(stroke["value"]["rle"]), (*labels.shape, 4))
            seen.append((channels[..., 3] > 0, labels == int(stroke["id"].removeprefix("segment-"))))
    return "tasks.json: " + agree(seen)


def datumaro(out: Path) -> str:
    from datumaro.components.dataset import Dataset

    seen = []
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(out / "cvat.zip").extractall(folder)
        for item in Dataset.import_from(folder, "voc_segmentation"):
            labels = labels_of(out, item.id)
            masks = [annotation.image.astype(bool) for annotation in item.annotations]
            for segment in np.unique(labels[labels > 0]):
                wanted = labels == segment
                seen.append((max(masks, key=lambda mask: (mask & wanted).sum()), wanted))
    return "cvat.zip: " + agree(seen)


def fiftyone(out: Path) -> str:
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    seen = []
    with COCODetectionDatasetImporter(
        data_path=str(SAMPLES), labels_path=str(out / "coco.json"), label_types=["segmentations"]
    ) as importer:
        for path, _, found in importer:
            if found is None:
                continue
            labels = labels_of(out, Path(path).stem)
            for detection in found.detections:
                mask = np.zeros(labels.shape, bool)
                left, top = (round(s * n) for s, n in zip(detection.bounding_box[:2], labels.shape[::-1], strict=True))
                height, width = detection.mask.shape
                mask[top : top + height, left : left + width] = detection.mask
                seen.append((mask, labels == detection["segment"]))
    return "coco.json: " + agree(seen)


def labelme(out: Path) -> str:
    from labelme._label_file import LabelFile

    seen = []
    for photo in PHOTOS:
        stem = Path(photo).stem
        labels = labels_of(out, stem)
        for shape in LabelFile(str(out / f"labelme/{stem}.json")).shapes:
            (left, top), (right, bottom) = np.asarray(shape["points"]).astype(int)
            mask = np.zeros(labels.shape, bool)
            mask[top : bottom + 1, left : right + 1] = shape["mask"]
            seen.append((mask, labels == shape["group_id"]))
    return "labelme/*.json by its own reader: " + agree(seen)


def ultralytics(out: Path) -> str:
    from ultralytics import YOLO

    model = YOLO("yolo11n-seg.yaml")
    model.train(
        data=str(out / "yolo/data.yaml"), epochs=1, imgsz=64, batch=2, plots=False, workers=0,
        project=str(out / "runs"), device="cpu", verbose=False,
    )  # fmt: skip
    found = model.trainer.train_loader.dataset.labels
    pieces = sum(len(one["cls"]) for one in found)
    assert len(found) == len(PHOTOS), found
    assert pieces > 0, "no outlines"
    return f"data.yaml: trained for one epoch on {len(found)} photographs with {pieces} outlines"


IMAGEJ = """
setBatchMode(true);
newImage("labels", "16-bit black", {width}, {height}, 1);
roiManager("open", "{zip}");
for (i = 0; i < roiManager("count"); i++) {{
    roiManager("select", i);
    setColor(parseInt(substring(Roi.getName, 0, 5)));
    fill();
}}
run("Select None");
saveAs("Tiff", "{back}");
File.saveString(getVersion(), "{back}.txt");
run("Quit");
"""


def imagej(out: Path) -> str:
    seen, version = [], ""
    with tempfile.TemporaryDirectory() as folder:
        back, macro = Path(folder) / "back.tif", Path(folder) / "fill.ijm"
        for photo in PHOTOS:
            stem = Path(photo).stem
            labels = labels_of(out, stem)
            height, width = labels.shape
            rois = out / f"{stem}_rois.zip"
            macro.write_text(IMAGEJ.format(width=width, height=height, zip=rois, back=back))
            command = ["xvfb-run", "-a", "imagej", "-b", str(macro)]
            subprocess.run(
                command, check=False, capture_output=True, timeout=120
            )  # it ends with 5 if it is told to quit
            filled, version = np.asarray(Image.open(back)), Path(f"{back}.txt").read_text().strip()
            seen += [(filled == segment, labels == segment) for segment in np.unique(labels[labels > 0])]
    return f"(version {version}) *_rois.zip by its ROI Manager: {agree(seen)}"


def napari(out: Path) -> str:
    """In a window, on a virtual screen if there is none; the picture of the window is kept beside the exports."""
    if "DISPLAY" not in os.environ:
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24"]
        command = [*screen, sys.executable, __file__, "napari", "--exports", str(out)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        return done.stdout.strip().split(": ", 1)[-1] or done.stderr[-500:]
    import napari
    from napari.qt import get_qapp

    import segspectral

    viewer = napari.Viewer()
    viewer.window.resize(1150, 700)
    viewer.open_sample("segspectral", "coffee")
    _, widget = viewer.window.add_plugin_dock_widget("segspectral", "Segment")
    widget.segments.value = 6
    widget.segment()
    end = time.monotonic() + 120
    while "coffee segments" not in viewer.layers:
        assert time.monotonic() < end, widget.said.value
        get_qapp().processEvents()
    shown = viewer.layers["coffee segments"]
    wanted = segspectral.segment(SAMPLES / "coffee.jpg", segments=6, hierarchy=True).labels
    by_widget = agree([(shown.data == segment, wanted == segment) for segment in np.unique(wanted)])
    widget.segments.value = 12
    assert len(np.unique(shown.data)) == len(shown.features) == 12, "another number cuts again at once"
    strokes = np.zeros(wanted.shape, np.int32)
    strokes[20:40, 20:40], strokes[150:170, 220:240] = 1, 2
    painted = viewer.add_labels(strokes, name="strokes")
    widget.seeds.value = painted
    assert set(np.unique(shown.data)) == {1, 2}, "seeds spread"
    assert (shown.data[strokes > 0] == strokes[strokes > 0]).all(), "a seed keeps its label"
    widget.seeds.value = None
    viewer.layers.remove(painted)
    viewer.reset_view()
    get_qapp().processEvents()
    viewer.screenshot(str(out / "napari.png"), canvas_only=False)
    seen = []
    for photo in PHOTOS:
        (layer,) = viewer.open(out / f"{Path(photo).stem}_labels.png", plugin="segspectral")
        labels = labels_of(out, Path(photo).stem)
        seen += [(layer.data == segment, labels == segment) for segment in np.unique(labels)]
    return f"widget: {by_widget}; reader: {agree(seen)}"


def qgis(out: Path) -> str:
    """The layer is drawn by QGIS in the style that the file brings; away from borders each pixel has its colour."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from qgis.core import Qgis, QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsRectangle, QgsVectorLayer
    from qgis.PyQt.QtCore import QSize
    from qgis.PyQt.QtGui import QColor

    program = QgsApplication([], False)
    program.initQgis()
    seen = []
    for photo in PHOTOS:
        stem = Path(photo).stem
        labels = labels_of(out, stem)
        height, width = labels.shape
        layer = QgsVectorLayer(f"{out / stem}.gpkg|layername=segments", stem, "ogr")
        renderer = layer.renderer()
        assert renderer.type() == "categorizedSymbol", renderer.type()
        settings = QgsMapSettings()
        settings.setLayers([layer])
        settings.setOutputSize(QSize(width, height))
        settings.setExtent(QgsRectangle(0, -height, width, 0))
        settings.setBackgroundColor(QColor("white"))
        settings.setFlag(QgsMapSettings.Antialiasing, False)
        job = QgsMapRendererParallelJob(settings)
        job.start()
        job.waitForFinished()
        picture = job.renderedImage().convertToFormat(4)  # RGB in 32 bits
        data = picture.constBits().asstring(picture.sizeInBytes())
        drawn = np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., 2::-1].astype(int)
        near = [np.roll(labels, (down, across), (0, 1)) for down in range(-2, 3) for across in range(-2, 3)]
        inside = np.logical_and.reduce([other == labels for other in near])
        inside[[0, 1, -2, -1]] = inside[:, [0, 1, -2, -1]] = False
        for category in renderer.categories():
            symbol = category.symbol()
            colour = np.array(symbol.color().getRgb()[:3])
            shade = np.rint(255 + symbol.opacity() * (colour - 255))
            shown = (np.abs(drawn - shade) <= 2).all(axis=-1)
            seen.append((shown & inside, (labels == int(category.value())) & inside))
    del layer, job, settings, renderer, symbol, category  # QGIS crashes if they outlive it
    program.exitQgis()
    return f"(version {Qgis.QGIS_VERSION}) *.gpkg in the style it brings, away from borders: {agree(seen)}"


def qgis_script(out: Path) -> str:
    """The script of tools/qgis runs in Processing, on a raster with a place, and its layer covers the raster."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path.append("/usr/share/qgis/python/plugins")
    from osgeo import gdal
    from qgis.core import (
        Qgis,
        QgsApplication,
        QgsProcessingContext,
        QgsProcessingFeedback,
        QgsRasterLayer,
        QgsVectorLayer,
    )

    program = QgsApplication([], False)
    program.initQgis()
    sys.path.append(str(Path(__file__).parent / "qgis"))
    from segspectral_algorithm import SegmentRaster

    photo = Image.open(SAMPLES / "satellite.jpg")
    raster = out / "placed.tif"
    target = gdal.GetDriverByName("GTiff").Create(str(raster), *photo.size, 3)
    target.SetGeoTransform((400_000, 10, 0, 5_800_000, 0, -10))
    target.SetProjection(QgsRasterLayer().crs().fromEpsgId(32633).toWkt())
    for band, values in enumerate(np.moveaxis(np.asarray(photo), -1, 0), 1):
        target.GetRasterBand(band).WriteArray(values)
    del target
    command = os.environ.get("SEGSPECTRAL", "segspectral")
    parameters = {"INPUT": str(raster), "SEGMENTS": 12, "SMALLEST": "20000m2", "COMMAND": command}
    parameters |= {"FOLDER": str(out / "qgis"), "OUTPUT": str(out / "qgis-segments.gpkg")}
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback(False)
    made, ended = SegmentRaster().create().run(parameters, context, feedback)
    assert ended, feedback.textLog()
    layer = QgsVectorLayer(made["OUTPUT"], "segments", "ogr")
    area = sum(feature.geometry().area() for feature in layer.getFeatures())
    share = area / (photo.width * photo.height * 100)
    assert layer.crs().authid() == "EPSG:32633", layer.crs().authid()
    assert abs(share - 1) < 1e-6, share
    kind = layer.renderer().type()
    assert kind == "categorizedSymbol", kind
    said = f"{layer.featureCount()} segments with colours, which cover the raster"
    del layer, context, feedback
    program.exitQgis()
    return f"(version {Qgis.QGIS_VERSION}) the script of tools/qgis: {said}"


CHECKS: dict[str, tuple[Callable[[Path], str], str]] = {
    "labelstudio": (labelstudio, "label-studio-sdk"),
    "datumaro": (datumaro, "datumaro"),
    "fiftyone": (fiftyone, "fiftyone"),
    "labelme": (labelme, "labelme"),
    "ultralytics": (ultralytics, "ultralytics"),
    "imagej": (imagej, "imagej"),
    "napari": (napari, "napari"),
    "qgis": (qgis, "qgis"),
    "qgis-script": (qgis_script, "qgis"),
}
"""Name -> (check, the Python package whose version is printed, or the program)."""


def check(name: str, out: Path) -> str:
    """One line about a program; raises AssertionError if it reads something else than was written."""
    run, package = CHECKS[name]
    try:
        version = f" {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        if not shutil.which(package) and importlib.util.find_spec(package) is None:
            return f"{name}: skipped, {package} is not installed"
        version = ""
    return f"{name}{version}: {run(out)}"


def exports(out: Path) -> None:
    from segspectral.cli import app

    app(
        ["segment", *(str(SAMPLES / photo) for photo in PHOTOS), "-o", str(out), "-k", "5", "--format", FORMATS],
        standalone_mode=False,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"some of {', '.join(CHECKS)} (default: all)")
    parser.add_argument("--python", help="the interpreter of the environment that has the program")
    parser.add_argument("--exports", type=Path, help="a folder with the exports of an earlier run")
    options = parser.parse_args()
    unknown = set(options.programs) - set(CHECKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; the programs are {', '.join(CHECKS)}")
    with tempfile.TemporaryDirectory() as folder:
        out = options.exports or Path(folder)
        if options.exports is None:
            exports(out)
        if options.python:
            command: list[Any] = [options.python, __file__, *options.programs, "--exports", out]
            return subprocess.run(command, check=False).returncode
        failed = 0
        for name in options.programs or CHECKS:
            try:
                print(check(name, out))
            except Exception as error:
                failed += 1
                print(f"{name}: FAILED: {type(error).__name__}: {error}")
        return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
