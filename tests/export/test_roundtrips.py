"""Each format, read back by a reader that is not segspectral's."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml
from numpy.typing import NDArray

from segspectral.export import EXPORTERS, LabelMap, colour_table, read_label_map
from segspectral.export.annotation import coco, coco_image, rle
from segspectral.export.labelstudio import brush
from segspectral.export.outlines import keyholed, outlines
from segspectral.extras import EXTRAS
from tests.export.conftest import UTM, nasty


def made(label_map: LabelMap, name: str) -> dict[str, bytes]:
    return dict(EXPORTERS[name].files_of(label_map, "photo"))


def only(files: dict[str, bytes]) -> bytes:
    (data,) = files.values()
    return data


def picture(data: bytes) -> NDArray[Any]:
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


def test_png_holds_the_labels(label_map: LabelMap) -> None:
    data = only(made(label_map, "png"))
    assert (picture(data) == label_map.labels).all()
    if label_map.labels.max() <= 255:
        palette = np.array(PIL.Image.open(io.BytesIO(data)).getpalette()).reshape(-1, 3)
        assert palette[4].tolist() == [1, 2, 3]
        assert (palette[5:21] == colour_table(21)[5:]).all()


def test_npz_without_pickle(label_map: LabelMap) -> None:
    with np.load(io.BytesIO(only(made(label_map, "npz"))), allow_pickle=False) as data:
        assert (data["labels"] == label_map.labels).all()
        assert data["labels"].dtype == np.int32


@pytest.mark.parametrize("name", ["png", "npz", "geotiff"])
def test_segspectral_reads_it_back_with_names_and_colours(label_map: LabelMap, name: str, tmp_path: Path) -> None:
    ((file, data),) = made(label_map, name).items()
    (tmp_path / file).write_bytes(data)
    back = read_label_map(tmp_path / file)
    assert (back.labels == label_map.labels).all()
    assert back.names == label_map.names
    assert back.colours == label_map.colours
    assert (back.georeference is not None) == (name == "geotiff")


def test_csv_agrees_with_scikit_image(label_map: LabelMap) -> None:
    from skimage.measure import regionprops

    rows = list(csv.DictReader(io.StringIO(only(made(label_map, "csv")).decode())))
    regions = regionprops(label_map.labels, label_map.pixels)
    assert [int(row["segment"]) for row in rows] == [region.label for region in regions]
    for row, region in zip(rows, regions, strict=True):
        assert int(row["area"]) == region.area
        assert tuple(int(row[side]) for side in ("top", "left", "bottom", "right")) == region.bbox
        assert float(row["row"]) == pytest.approx(region.centroid[0], abs=0.006)
        assert [float(row[c]) for c in ("red", "green", "blue")] == pytest.approx(region.intensity_mean, abs=0.06)
        assert float(row["perimeter"]) == pytest.approx(region.perimeter, abs=0.006)
    assert [row["name"] for row in rows[:3]] == ['sky & <"water">', "straße", "straße"]
    assert rows[3]["colour"] == "#010203"


def test_coco_is_read_back_by_pycocotools(label_map: LabelMap, tmp_path: Path) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    (tmp_path / "coco.json").write_bytes(only(made(label_map, "coco")))
    data = pycocotools.COCO(str(tmp_path / "coco.json"))
    back = np.zeros_like(label_map.labels)
    by_id = {annotation["id"]: annotation for annotation in data.dataset["annotations"]}
    for number, segment in enumerate(label_map.segments, start=1):
        mask = data.annToMask(by_id[number]).astype(bool)
        assert not back[mask].any(), "masks overlap"
        back[mask] = segment
        assert by_id[number]["area"] == mask.sum()
        assert by_id[number]["attributes"] == {"segment": segment}
        rows, cols = np.nonzero(mask)
        assert by_id[number]["bbox"] == [
            cols.min(), rows.min(), cols.max() - cols.min() + 1, rows.max() - rows.min() + 1
        ]  # fmt: skip
    assert (back == label_map.labels).all()
    named = {category["id"]: category["name"] for category in data.dataset["categories"]}
    assert named == {1: 'sky & <"water">', 2: "straße", 3: "segment"}
    given = [named[by_id[number]["category_id"]] for number in sorted(by_id)]
    assert given == [label_map.category(segment) for segment in label_map.segments]


def test_run_lengths_equal_those_of_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for share in (0, 0.01, 0.5, 0.99, 1):
        for shape in ((1, 1), (7, 5), (300, 200)):
            one = rng.random(shape) < share
            assert rle(one) == mask.encode(np.asfortranarray(one.astype(np.uint8)))["counts"].decode()


def test_coco_of_a_folder_numbers_images_and_shares_categories(label_map: LabelMap) -> None:
    data = json.loads(only(coco([coco_image(label_map, ""), coco_image(label_map, "")])))
    assert [image["id"] for image in data["images"]] == [1, 2]
    assert len({annotation["id"] for annotation in data["annotations"]}) == 2 * len(label_map.segments)
    assert [category["name"] for category in data["categories"]] == ['sky & <"water">', "straße", "segment"]


def strict_labelme(data: bytes) -> tuple[NDArray[np.int32], list[str]]:
    """labelme's documented rules: string labels, finite points, a mask's two points are corners inside its box."""
    file = json.loads(data)
    assert isinstance(file["version"], str)
    assert isinstance(file["imagePath"], str)
    assert file["imageData"] is None
    labels = np.zeros((file["imageHeight"], file["imageWidth"]), dtype=np.int32)
    names = []
    for shape in file["shapes"]:
        assert isinstance(shape["label"], str)
        assert shape["label"]
        assert isinstance(shape["flags"], dict)
        assert np.isfinite(shape["points"]).all()
        assert shape["shape_type"] == "mask"
        assert len(shape["points"]) == 2
        (x1, y1), (x2, y2) = (map(int, point) for point in shape["points"])
        mask = picture(base64.b64decode(shape["mask"])).astype(bool)
        assert mask.shape == (y2 - y1 + 1, x2 - x1 + 1)
        window = labels[y1 : y2 + 1, x1 : x2 + 1]
        assert not window[mask].any(), "masks overlap"
        window[mask] = shape["group_id"]
        names.append(shape["label"])
    return labels, names


def test_labelme_masks_give_the_labels_back(label_map: LabelMap) -> None:
    ((file, data),) = made(label_map, "labelme").items()
    assert file == "labelme/photo.json"
    labels, names = strict_labelme(data)
    assert (labels == label_map.labels).all()
    assert names == [label_map.category(segment) for segment in label_map.segments]


def test_labelme_links_to_the_photograph(label_map: LabelMap, tmp_path: Path) -> None:
    from dataclasses import replace

    here = replace(label_map, path=tmp_path / "photos" / "photo.jpg")
    made_files = EXPORTERS["labelme"].image(here, "photo", tmp_path / "out").files
    assert json.loads(only(dict(made_files)))["imagePath"] == "../../photos/photo.jpg"


def test_labelme_polygons_give_the_labels_back(label_map: LabelMap) -> None:
    file = json.loads(only(made(label_map, "labelme-polygons")))
    back = np.zeros_like(label_map.labels)
    for shape in file["shapes"]:
        assert shape["shape_type"] == "polygon"
        assert len(shape["points"]) >= 3
        back[evenodd([np.array(shape["points"])], label_map.labels.shape)] = shape["group_id"]
    assert (back == label_map.labels).all()


def test_cvat_follows_the_rules_of_voc(label_map: LabelMap) -> None:
    archive = zipfile.ZipFile(io.BytesIO(only(made(label_map, "cvat"))))
    assert archive.read("ImageSets/Segmentation/default.txt") == b"photo\n"
    colours = {}
    for line in archive.read("labelmap.txt").decode().splitlines():
        if not line.startswith("#"):
            name, colour, _, _ = line.split(":")
            colours[tuple(map(int, colour.split(",")))] = name
    assert colours.pop((0, 0, 0)) == "background"
    assert len(colours) == len({label_map.category(s) for s in label_map.segments}), "two categories have one colour"
    by_class = picture(archive.read("SegmentationClass/photo.png"))
    by_object = picture(archive.read("SegmentationObject/photo.png")).astype(int)
    seen = [(label_map.labels == 0).all() or (by_class[label_map.labels == 0] == 0).all()]
    objects = set()
    for segment in label_map.segments:
        where = label_map.labels == segment
        (colour,) = np.unique(by_class[where], axis=0).tolist()
        seen.append(colours[tuple(colour)] == label_map.category(segment))
        (colour,) = np.unique(by_object[where], axis=0).tolist()
        objects.add(tuple(colour))
    assert all(seen)
    assert len(objects) == len(label_map.segments)
    assert (0, 0, 0) not in objects


def evenodd(rings: list[NDArray[Any]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside a ring, slowly, by counting the edges to the left of each centre."""
    height, width = shape
    crossed = np.zeros((height, width + 1), dtype=int)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            for row in range(max(int(min(y1, y2)) - 1, 0), min(int(max(y1, y2)) + 1, height)):
                if (y1 <= row + 0.5) != (y2 <= row + 0.5):
                    x = x1 + (row + 0.5 - y1) * (x2 - x1) / (y2 - y1)
                    crossed[row, int(np.clip(np.ceil(x - 0.5), 0, width))] += 1
    return crossed.cumsum(axis=1)[:, :width] % 2 == 1


@pytest.fixture(scope="module", params=["some named", "all named", "none named"])
def few(request: pytest.FixtureRequest) -> LabelMap:
    names = {"some named": {1: "sky", 3: "sky"}, "all named": {s: f"thing {s}" for s in range(1, 21)}}
    return LabelMap(nasty(20)[:80, :80], "photo.jpg", names=names.get(request.param, {}))


def test_yolo_polygons_give_the_labels_back(few: LabelMap) -> None:
    files = made(few, "yolo")
    height, width = few.labels.shape
    names = yaml.safe_load(files["yolo/data.yaml"])["names"]
    assert list(names) == list(range(len(names)))
    wanted = np.zeros_like(few.labels)
    back = np.zeros_like(few.labels)
    for line in files["yolo/labels/photo.txt"].decode().splitlines():
        number, *values = line.split()
        points = np.array(values, dtype=float).reshape(-1, 2)
        assert len(points) >= 3
        assert points.min() >= 0
        assert points.max() <= 1
        back[evenodd([points * (width, height)], few.labels.shape)] = int(number) + 1
    number = {name: number for number, name in names.items()}
    for segment in few.segments:
        wanted[few.labels == segment] = number[few.category(segment)] + 1
    assert (back == wanted).all()
    assert EXPORTERS["yolo"].image(few, "photo", None).kept == 1


def test_svg_gives_the_labels_back(label_map: LabelMap) -> None:
    root = ET.fromstring(only(made(label_map, "svg")))
    space = "{http://www.w3.org/2000/svg}"
    height, width = label_map.labels.shape
    assert root.attrib["viewBox"] == f"0 0 {width} {height}"
    back = np.zeros_like(label_map.labels)
    for path in root.iter(f"{space}path"):
        segment = int(path.attrib["id"].removeprefix("segment-"))
        rings = [np.array(re.findall(r"(\d+),(\d+)", ring), dtype=int) for ring in path.attrib["d"].split("Z")[:-1]]
        back[evenodd(rings, label_map.labels.shape)] = segment
        assert path.attrib["fill"] == "#{:02x}{:02x}{:02x}".format(*label_map.colour(segment))
        assert path.find(f"{space}title").text == label_map.name(segment)  # type: ignore[union-attr]
    assert (back == label_map.labels).all()


def test_geotiff_is_read_back_by_rasterio(label_map: LabelMap) -> None:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.MemoryFile(only(made(label_map, "geotiff"))) as memory, memory.open() as raster:
        assert (raster.read(1) == label_map.labels).all()
        assert raster.crs.to_epsg() == 32633
        assert tuple(raster.transform)[:6] == UTM.transform
        assert raster.bounds == (500_000, 5_200_000 - 1200, 501_600, 5_200_000)
        assert raster.nodata == 0
        assert raster.colormap(1)[4] == (1, 2, 3, 255)
        assert raster.tags(1)["SEGMENT_2"] == "straße"


def test_geopackage_is_read_back_by_gdal(label_map: LabelMap, tmp_path: Path) -> None:
    pyogrio, shapely = pytest.importorskip("pyogrio"), pytest.importorskip("shapely")
    path = tmp_path / "photo.gpkg"
    path.write_bytes(only(made(label_map, "gpkg")))
    info = pyogrio.read_info(path, layer="segments")
    assert info["crs"] == "EPSG:32633"
    assert info["total_bounds"] == pytest.approx((500_000, 5_200_000 - 1200, 501_600, 5_200_000), abs=10)
    meta, _, geometry, columns = pyogrio.raw.read(path, layer="segments")
    rows = dict(zip(meta["fields"], columns, strict=True))
    shapes = shapely.from_wkb(geometry)
    assert rows["segment"].tolist() == label_map.segments
    assert rows["name"][1] == "straße"
    assert rows["area"].tolist() == np.bincount(label_map.labels.ravel())[label_map.segments].tolist()
    assert shapely.is_valid(shapes).all()
    assert shapely.area(shapes) == pytest.approx(rows["map_area"])
    # What the simplified borders take from one they give to another: the sum of areas is that of the pixels.
    assert shapely.area(shapes).sum() == pytest.approx((label_map.labels > 0).sum() * 100, rel=0.002)
    pieces = shapely.get_parts(shapes)
    assert shapely.coverage_is_valid(pieces), "gaps or overlaps between neighbours"


def test_geojson_is_in_wgs84(label_map: LabelMap) -> None:
    shapely = pytest.importorskip("shapely")
    warp = pytest.importorskip("rasterio.warp")
    data = json.loads(only(made(label_map, "geojson")))
    west, south, east, north = warp.transform_bounds("EPSG:32633", "EPSG:4326", 500_000, 5_198_800, 501_600, 5_200_000)
    assert [feature["properties"]["segment"] for feature in data["features"]] == label_map.segments
    for feature in data["features"]:
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        x1, y1, x2, y2 = shape.bounds
        assert west - 1e-5 <= x1 < x2 <= east + 1e-5
        assert south - 1e-5 <= y1 < y2 <= north + 1e-5
        assert all(ring.exterior.is_ccw for ring in shape.geoms)
    assert data["features"][1]["properties"]["name"] == "straße"


def test_the_share_of_pixels_that_polygons_keep_is_counted(label_map: LabelMap) -> None:
    pytest.importorskip("shapely")
    kept = EXPORTERS["geojson"].image(label_map, "photo", None).kept
    assert 0.8 < kept < 1


def test_outlines_equal_those_of_rasterio(label_map: LabelMap) -> None:
    features, shapely = pytest.importorskip("rasterio.features"), pytest.importorskip("shapely")
    theirs = [
        (int(value), shapely.normalize(shapely.geometry.shape(shape)).wkt)
        for shape, value in features.shapes(label_map.labels, mask=label_map.labels > 0, connectivity=4)
    ]
    for every_corner in (False, True):
        ours = [(p.segment, shapely.Polygon(p.outer, p.holes)) for p in outlines(label_map.labels, every_corner)]
        assert all(shape.is_valid for _, shape in ours)
        thinned = [(segment, shapely.normalize(shapely.remove_repeated_points(s)).wkt) for segment, s in ours]
        if not every_corner:
            assert sorted(thinned) == sorted(theirs)
    assert shapely.coverage_is_valid([shape for _, shape in ours]), "a border has a vertex on one side only"


def test_a_keyholed_ring_visits_all_rings(label_map: LabelMap) -> None:
    for piece in outlines(label_map.labels):
        ring = keyholed(piece)
        assert {tuple(p) for p in ring} == {tuple(p) for r in (piece.outer, *piece.holes) for p in r}
        assert len(ring) == len(piece.outer) + sum(len(hole) + 2 for hole in piece.holes)


def brush_of(counts: list[int], height: int, width: int) -> NDArray[np.uint8]:
    """The picture (H, W, 4) of a brush stroke, by the format's own words, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in counts)
    at = 0

    def number(length: int) -> int:
        nonlocal at
        at += length
        return int(bits[at - length : at], 2)

    total, word = number(32), number(5) + 1
    lengths = [number(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = number(1)
        count = number(lengths[number(2)]) + 1
        values += [number(word)] * count if repeated else [number(word) for _ in range(count)]
    return np.array(values, np.uint8).reshape(height, width, 4)


def test_label_studio_gets_every_pixel_and_a_label_for_every_category(label_map: LabelMap) -> None:
    files = made(label_map, "labelstudio")
    (task,) = json.loads(files["labelstudio/tasks.json"])
    categories = [element.get("value") for element in ET.fromstring(files["labelstudio/labels.xml"]).iter("Label")]
    assert categories == list(dict.fromkeys(label_map.category(s) for s in label_map.segments))
    for stroke, segment in zip(task["predictions"][0]["result"], label_map.segments, strict=True):
        size = stroke["original_height"], stroke["original_width"]
        channels = brush_of(stroke["value"]["rle"], *size)
        assert (channels == np.where(label_map.labels == segment, 255, 0)[..., None]).all()
        assert stroke["value"]["brushlabels"] == [label_map.category(segment)]


def test_long_runs_of_a_brush_stroke_are_split() -> None:
    mask = np.zeros((200, 300), bool)
    mask[100:190] = True  # 108 000 values, more than a field of 16 bits can count
    assert (brush_of(brush(mask), 200, 300)[..., 3] > 0).tolist() == mask.tolist()


def test_regions_of_imagej_fill_exactly_the_pixels_of_their_segment(label_map: LabelMap) -> None:
    roifile = pytest.importorskip("roifile")
    from skimage.draw import polygon

    back = np.zeros_like(label_map.labels)
    with zipfile.ZipFile(io.BytesIO(only(made(label_map, "imagej")))) as archive:
        for name in archive.namelist():
            assert "/" not in name
            roi = roifile.ImagejRoi.frombytes(archive.read(name))
            segment = int(roi.name.split()[0])
            assert f"{roi.name}.roi" == name
            assert tuple(roi.stroke_color[1:]) == label_map.colour(segment)
            # ImageJ fills the pixels whose centres lie inside; here the centres are whole numbers.
            columns, rows = roi.coordinates().T - 0.5
            inside = polygon(rows, columns, back.shape)
            assert (back[inside] == 0).all()
            back[inside] = segment
    assert (back == label_map.labels).all()


@pytest.mark.parametrize("name", list(EXPORTERS))
def test_equal_input_gives_equal_bytes_and_the_input_is_kept(label_map: LabelMap, name: str) -> None:
    for module in EXTRAS.get(EXPORTERS[name].extra, ()):
        pytest.importorskip(module)
    before = label_map.labels.copy()
    first, second = made(label_map, name), made(label_map, name)
    if name != "gpkg":  # GDAL writes the time into it
        assert first == second
    assert first.keys() == second.keys()
    assert (label_map.labels == before).all()
