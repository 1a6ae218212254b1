"""The gallery: what it collects, that it cannot be broken by names, and how it behaves in a browser."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import OutputError
from segspectral.report import build
from tests.browser import Watch, chromium

EVIL = "</script><img src=x onerror=alert(1)>"


def result(out: Path, stem: str, k: int = 4, photograph: Path | None = None, **more: Any) -> None:
    """Write what ``save`` writes for one image."""
    out.mkdir(parents=True, exist_ok=True)
    picture = np.full((90, 120, 3), (40 * k % 256, 80, 120), np.uint8)
    PIL.Image.fromarray(picture).save(out / f"{stem}_overlay.png")
    summary = {
        "image": f"{stem}.jpg",
        "height": 90,
        "width": 120,
        "segments": k,
        "superpixels": 100 + k,
        "ncut": k / 100,
        "outcome": {"name": "solved", "sentence": "solved"},
        "notes": [],
        "seconds": {"features": 0.5, "head": 0.1 * k},
        "pipeline": {"segments": k, "seed": 0},
        **more,
    }
    if photograph is not None:
        summary["source"] = photograph.as_posix()
    (out / f"{stem}.json").write_text(json.dumps(summary))


def rows_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    data = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return list(json.loads(data))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    PIL.Image.new("RGB", (120, 90), (200, 30, 30)).save(tmp_path / "photo #1.jpg")
    result(folder, "photo #1", 5, Path("../photo #1.jpg"))
    result(folder / "deep", "b", 3)
    return folder


def test_each_row_has_the_files_and_addresses_of_its_image(out: Path) -> None:
    (out / "photo #1_labels.png").write_bytes(b"x")
    path, count, failed = build(out)
    assert (path, count, failed) == (out / "index.html", 2, 0)
    deep, first = rows_of(path)
    assert (deep["name"], first["name"]) == ("deep/b", "photo #1")
    assert first["overlay"] == "photo%20%231_overlay.png"
    assert first["photograph"] == "../photo%20%231.jpg"
    assert first["files"] == {"_labels.png": "photo%20%231_labels.png", ".json": "photo%20%231.json"}
    assert deep["photograph"] is None
    with PIL.Image.open(out / first["thumbnail"]) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 240


def test_moved_photographs_are_found_in_the_given_folder(out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    PIL.Image.new("RGB", (120, 90)).save(tmp_path / "elsewhere" / "b.jpg")
    deep, _ = rows_of(build(out, tmp_path / "elsewhere")[0])
    assert deep["photograph"] == "../elsewhere/b.jpg"
    (tmp_path / "elsewhere" / "deep").mkdir()
    PIL.Image.new("RGB", (120, 90)).save(tmp_path / "elsewhere" / "deep" / "b.jpg")
    deep, _ = rows_of(build(out, tmp_path / "elsewhere")[0])
    assert deep["photograph"] == "../elsewhere/deep/b.jpg"


def test_a_format_that_browsers_do_not_show_gets_a_copy(out: Path, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (120, 90)).save(tmp_path / "scan.tif")
    result(out, "scan", 2, Path("../scan.tif"), image="scan.tif")

    def photograph(images: Path | None = None) -> tuple[Any, list[str]]:
        said: list[str] = []
        rows = rows_of(build(out, images, said.append)[0])
        return next(row for row in rows if row["name"] == "scan")["photograph"], said

    def journal(**more: Any) -> None:
        stat = (tmp_path / "scan.tif").stat()
        line = {"image": "scan.tif", "status": "done", "outputs": {"scan_overlay.png": 1}, "size": stat.st_size}
        (out / "journal.jsonl").write_text(json.dumps(line | {"mtime_ns": stat.st_mtime_ns} | more) + "\n")

    # Whoever writes a summary may name any file of the machine.
    refused = ["1 photograph is not copied because it may not be an input of these results (use --images FOLDER): "]
    assert photograph() == (None, [refused[0] + "scan_overlay.png"])
    journal(mtime_ns=5)
    assert photograph() == (None, [refused[0] + "scan_overlay.png"])
    journal(image="other.tif")
    assert photograph()[0] is None
    assert not list((out / "report").glob("*-1600.jpg"))
    # The folder of the photographs is the user's word, and only the batch itself knows its inputs to the nanosecond.
    journal()
    copy, said = photograph()
    assert (copy.startswith("report/"), said) == (True, [])
    assert PIL.Image.open(out / copy).size == (120, 90)
    (out / "journal.jsonl").unlink()
    assert photograph(tmp_path) == (copy, [])
    (out / "scan.tif").write_bytes((tmp_path / "scan.tif").read_bytes())
    result(out, "scan", 2, Path("scan.tif"), image="scan.tif")
    assert photograph()[0].startswith("report/"), "what lies in the folder itself is copied"


@pytest.mark.parametrize("source", ["/etc/passwd", "../secret.tif", "../../../../../../../../etc/passwd", "inside.tif"])
def test_files_outside_that_a_summary_names_are_not_copied(out: Path, tmp_path: Path, source: str) -> None:
    PIL.Image.new("RGB", (120, 90), (1, 2, 3)).save(tmp_path / "secret.tif")
    (out / "inside.tif").symlink_to(tmp_path / "secret.tif")
    result(out, "scan", 2, Path(source))
    html = build(out)[0].read_text()
    assert next(row for row in rows_of(out / "index.html") if row["name"] == "scan")["photograph"] is None
    assert len(list((out / "report").iterdir())) == 3, "three thumbnails"
    assert "secret" not in html
    assert "passwd" not in html


def test_pictures_that_are_links_out_of_the_folder_are_reported(out: Path, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (120, 90)).save(tmp_path / "secret.png")
    (out / "x_overlay.png").symlink_to(tmp_path / "secret.png")
    (out / "y_overlay.png").symlink_to("photo #1_overlay.png")
    (out / "z_overlay.png").mkdir()
    said: list[str] = []
    assert build(out, complain=said.append)[1] == 3
    assert said == ["1 picture is a link out of the folder and is not shown: x_overlay.png"]


def test_no_thumbnails_are_written_through_a_link(out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (out / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link out of the folder"):
        build(out)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_images_in_a_folder_called_report_are_shown(out: Path) -> None:
    result(out / "report", "a", 2)
    result(out / "report" / "report", "b", 2)
    for _ in range(2):
        path, count, _ = build(out)
        assert count == 4
        assert {"report/a", "report/report/b"} < {row["name"] for row in rows_of(path)}


def test_a_file_without_a_stem_is_shown(out: Path) -> None:
    (out / "deep" / "b_overlay.png").rename(out / "deep" / "_overlay.png")
    assert build(out)[1] == 2


def test_thumbnails_are_made_again_only_if_the_overlay_changed(out: Path) -> None:
    import os

    build(out)
    thumbnail = next((out / "report").glob("*.jpg"))
    thumbnail.write_bytes(b"mine")
    build(out)
    assert thumbnail.read_bytes() == b"mine"
    for overlay in out.rglob("*_overlay.png"):
        os.utime(overlay, ns=(time.time_ns() + 10**9,) * 2)
    build(out)
    assert thumbnail.read_bytes()[:2] == b"\xff\xd8"


def test_failures_and_stages_come_from_journals(out: Path) -> None:
    lines = [
        {"started": 1.0, "images": 3},
        {"image": "x.jpg", "status": "failed", "reason": EVIL, "time": 1.0},
        {"image": "y.jpg", "status": "failed", "reason": "once", "time": 1.0},
        {"image": "y.jpg", "status": "done", "time": 2.0},
        {"image": "b.jpg", "status": "done", "stages": {"head": 7.0}, "outputs": {"deep/b_overlay.png": 1}, "time": 2},
    ]
    result(out / "deep", "b", 3, seconds={})
    (out / "journal.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"image": "torn')
    timed_out = json.dumps({"image": "z.jpg", "status": "timed out", "reason": "600 s"})
    (out / "journal.2of2.jsonl").write_text(timed_out + "\n")
    path, count, failed = build(out)
    assert (count, failed) == (2, 2)
    html = path.read_text()
    assert "once" not in html
    assert "600 s" in html
    assert EVIL not in html
    assert "&lt;/script&gt;" in html
    assert rows_of(path)[0]["seconds"] == {"head": 7.0}


def test_names_in_summaries_do_not_leave_the_data(out: Path) -> None:
    result(out, "evil", 2, image=EVIL, notes=[EVIL], pipeline={"x": EVIL})
    path, *_ = build(out)
    assert EVIL not in path.read_text()
    assert rows_of(path)[1]["image"] == EVIL


NAN, INFINITE = float("nan"), float("inf")
ODD: dict[str, list[Any]] = {
    "image": [3, None, True, [], {}],
    "source": [3, None, [], {}, "/etc/passwd", "a\0b", "\ud800"],
    "segments": ["3", 2.5, -1, [], {}, True, 10**30],
    "superpixels": ["3", [1]],
    "width": ["wide", -1, {}],
    "height": [[], 1.5],
    "ncut": ["low", [], {}, True],
    "outcome": ["solved", 3, None, [], {"sentence": 3}, {"sentence": None}],
    "notes": ["note", 3, None, {"a": 1}, [1], [None], [[]]],
    "seconds": [3, None, "x", [1], {"head": "x"}, {"head": []}, {"head": True}],
    "pipeline": [3, None, "x", []],
}
RAW = {
    "half": b'{"image": "a.jpg',
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "a string": b'"x"',
    "nothing": b"",
    "not UTF-8": b'{"image": "\xff"}',
    "deep": b"[" * 100_000,
    "a deep pipeline": b'{"pipeline": ' + b'{"a": ' * 10_000 + b"1" + b"}" * 10_001,
    "a number of 5000 digits": b'{"segments": ' + b"9" * 5000 + b"}",
}


def odd() -> list[Any]:
    made = [
        pytest.param(json.dumps({"pipeline": {}} | {name: value}).encode(), id=f"{name} {ascii(value)[:30]}")
        for name, values in ODD.items()
        for value in values
    ]
    return made + [pytest.param(data, id=name) for name, data in RAW.items()]


@pytest.mark.parametrize("data", odd())
def test_an_odd_summary_is_named_and_the_others_keep_their_page(out: Path, data: bytes) -> None:
    (out / "deep" / "b.json").write_bytes(data)
    said: list[str] = []
    path, count, _ = build(out, complain=said.append)
    assert said == ["1 summary was not written by segspectral, so its image is shown without facts: deep/b.json"]
    assert count == 2
    assert [(row["name"], row["segments"]) for row in rows_of(path)] == [("deep/b", None), ("photo #1", 5)]


@pytest.mark.parametrize(
    "image", ["/etc/passwd", "../secret.png", "deep/../../secret.png", "a\0b", "a\0/b", "\ud800/b", "x" * 300]
)
def test_names_of_images_never_lead_outside_the_folder(out: Path, tmp_path: Path, image: str) -> None:
    PIL.Image.new("RGB", (120, 90)).save(tmp_path / "secret.png")
    (tmp_path / "photos").mkdir()
    result(out / "deep", "b", 3, image=image)
    assert rows_of(build(out, tmp_path / "photos")[0])[0]["photograph"] is None


def test_numbers_that_are_not_finite_do_not_reach_the_page(out: Path) -> None:
    result(out / "deep", "b", 3, ncut=NAN, seconds={"head": INFINITE, "features": 1.0}, pipeline={"x": -INFINITE})
    text = (out / "deep" / "b.json").read_text()
    (out / "deep" / "b.json").write_text(text.replace('"width": 120', '"width": 1e400'))
    said: list[str] = []
    path, *_ = build(out, complain=said.append)
    row = rows_of(path)[0]
    assert (row["ncut"], row["width"], row["seconds"]) == (None, None, {"features": 1.0})
    assert said == []
    html = path.read_text()
    assert not any(word in html.split('id="data">')[1].split("</script>")[0] for word in ("NaN", "Infinity"))


def test_names_that_are_not_utf_8_are_shown_with_escapes(out: Path) -> None:
    import os

    result(out, "odd", 2)
    for end in ("_overlay.png", ".json"):
        os.rename(out / f"odd{end}", os.fsencode(out) + b"/odd\xff" + end.encode())
    line = {"image": "bad\udcff.jpg", "status": "failed", "reason": "broken"}
    (out / "journal.jsonl").write_text(json.dumps(line) + "\n")
    path, count, failed = build(out)
    assert (count, failed) == (3, 1)
    assert "bad\\udcff.jpg" in path.read_text()
    assert "odd%FF_overlay.png" in path.read_text()


def test_the_command_reports_what_it_left_out(out: Path) -> None:
    (out / "deep" / "b.json").write_bytes(b"[]")
    ended = CliRunner().invoke(app, ["report", str(out)])
    assert ended.exit_code == 0
    assert "1 summary was not written by segspectral" in " ".join(ended.output.split())
    assert "2 images -> " in ended.output


def test_damaged_results_do_not_remove_the_others_from_the_page(out: Path) -> None:
    (out / "photo #1_overlay.png").write_bytes(b"\x89PNG")
    (out / "deep" / "b.json").write_text("{")
    _, count, _ = build(out)
    assert count == 2


def test_a_folder_without_results_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="has no results; make some with"):
        build(tmp_path)
    run = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere")])
    assert run.exit_code == 2
    assert "there is no such folder" in run.output


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as browser:
        yield browser.new_page()


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("thousand")
    result(out, "image0", 2)
    photograph = out / "photo.png"
    PIL.Image.new("RGB", (120, 90), (250, 10, 10)).save(photograph)
    for i in range(1, 1000):
        shutil.copy(out / "image0_overlay.png", out / f"image{i}_overlay.png")
        summary = json.loads((out / "image0.json").read_text()) | {"segments": 2 + i % 7, "ncut": i / 1000}
        summary |= {"image": f"image{i}.jpg", "source": "photo.png"}
        (out / f"image{i}.json").write_text(json.dumps(summary))
    build(out)
    return out


def test_a_thousand_images_open_in_two_seconds(page: Any, thousand: Path) -> None:
    watch = Watch(page, "file://")
    seconds = [np.inf]
    while min(seconds) >= 2 and len(seconds) <= 20:
        begin = time.perf_counter()
        page.goto((thousand / "index.html").as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('#cards img')].slice(0, 8).every(i => i.naturalWidth > 0)"
        )
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 2, "what else the machine does makes some slower, none faster"
    assert page.locator("#cards li").count() == 60
    assert page.locator("#where").inner_text() == "page 1 of 17"
    assert (watch.errors, watch.foreign) == ([], [])


def test_search_sort_filter_and_pages_work(page: Any, thousand: Path) -> None:
    page.goto((thousand / "index.html").as_uri())
    first = page.locator("#cards li span").first
    assert first.inner_text() == "image0"
    page.select_option("#sort", "-ncut")
    assert first.inner_text() == "image999"
    page.select_option("#sort", "name")
    page.click("#next")
    assert first.inner_text() == "image60"
    page.fill("#search", "IMAGE77")
    assert page.locator("#cards li").count() == 11
    assert page.locator("#found").inner_text() == "11 of 1000 images"
    page.fill("#search", "")
    page.get_by_role("button", name="8 segments: 142 images").click()
    assert page.locator("#found").inner_text() == "142 of 1000 images"
    page.get_by_role("button", name="8 segments: 142 images").click()
    assert page.locator("#found").inner_text() == ""


def test_the_slider_compares_with_the_photograph(page: Any, thousand: Path) -> None:
    watch = Watch(page, "file://")
    page.goto((thousand / "index.html").as_uri())
    page.locator("#cards button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#detail-name").inner_text() == "image1"
    page.wait_for_function("document.getElementById('before').naturalWidth > 0")
    page.locator("#slider").fill("30")
    assert page.locator("#before").evaluate("e => e.style.clipPath") == "inset(0px 70% 0px 0px)"
    box = page.locator("#compare").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 20)
    assert abs(float(page.locator("#slider").input_value()) - 80) <= 1
    page.locator("#close").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#detail-name").inner_text() == "image0"
    assert page.locator("#before").is_hidden(), "image0 has no photograph"
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert (watch.errors, watch.foreign) == ([], [])


def test_a_narrow_screen_does_not_scroll_sideways(page: Any, thousand: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto((thousand / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#cards button").nth(1).click()
    assert page.locator("#detail").bounding_box()["width"] <= 360
    page.set_viewport_size({"width": 1280, "height": 800})


def test_what_a_mac_stores_beside_files_is_no_image(out: Path) -> None:
    (out / "._photo #1_overlay.png").write_bytes(b"\0\5\26\7\0\2")
    page, images, failures = build(out)
    assert (images, failures) == (2, 0)
    assert [row["name"] for row in rows_of(page)] == ["deep/b", "photo #1"]
