"""Label the ten sample images in headless Chromium, with the page's defaults, and write down how long each took.

    python tools/label_samples.py [--by mouse,phone,keyboard] [--pictures docs]

``segspectral serve`` without options is opened at ``/label.html``, the samples are taken, three classes are named, and
in each image a stroke of each class is drawn at fixed places, without looking; *Fill the rest*, *Done*; at the end COCO
is exported and counted. ``mouse`` is a desktop, ``phone`` is 360 pixels wide with touch, ``keyboard`` uses no pointer.
The seconds of an image end when it is saved; a person also needs time to look and to aim. Then drawing after a turn of
the wheel is timed on 12 megapixels. ``--pictures`` writes the screenshots of the documentation. Needs the extra
``web``, playwright and Chromium.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL.Image

NAMES = ("object", "background", "ground")
STROKES = {1: [(0.45, 0.5), (0.55, 0.6)], 2: [(0.04, 0.06), (0.2, 0.05)], 3: [(0.75, 0.85), (0.8, 0.9)]}
"""Class -> where its stroke begins and ends, as shares of width and height: the same in all images, without looking."""

VIEWS: dict[str, dict[str, Any]] = {
    "mouse": {"viewport": {"width": 1280, "height": 800}},
    "keyboard": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "device_scale_factor": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", default="mouse,phone,keyboard")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    with serving() as address, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for how in given.by.split(","):
            context = browser.new_context(accept_downloads=True, **VIEWS[how])
            page = context.new_page()
            page.goto(f"{address}/label.html")
            page.wait_for_selector("body[data-ready]")
            seconds = label(page, how, given.pictures)
            print(
                f"{how}: {len(seconds)} images, median {statistics.median(seconds):.2f} s each "
                f"(first {seconds[0]:.2f}, most {max(seconds):.2f}); {exported(page, how)}",
                flush=True,
            )
            context.close()
        if given.pictures:
            page = browser.new_page(**VIEWS["mouse"])
            page.goto(f"{address}/label.html")
            page.wait_for_selector("body[data-ready]")
            teach(page)
            picture(page, given.pictures / "teach.jpg", 50)  # stripes take many bytes
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{address}/label.html")
        print(large(page, address))
        if given.pictures:
            page.goto(address)
            page.select_option("#sample", "coffee.jpg")
            page.click("#run")
            page.wait_for_selector("body[data-revision]")
            until(page, "document.getElementById('status').textContent.includes('superpixels in')")
            picture(page, given.pictures / "page.jpg")
        browser.close()


@contextmanager
def serving() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "segspectral", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def until(page: Any, condition: str) -> None:
    end = time.monotonic() + 120
    while not page.evaluate(condition):
        if time.monotonic() > end:
            raise SystemExit(f"waited for {condition}")
        page.wait_for_timeout(10)


def label(page: Any, how: str, pictures: Path | None) -> list[float]:
    """Seconds for each image."""
    if how == "keyboard":
        tab_to(page, "#samples")
        page.keyboard.press("Enter")
    else:
        page.click("#samples")
    until(page, "document.querySelectorAll('#queue li').length === 10 && document.body.dataset.open !== ''")
    begin = time.perf_counter()
    name_classes(page, how)
    seconds: list[float] = []
    names = page.locator("#queue button").evaluate_all("all => all.map(e => e.title.split(':')[0])")
    for number, name in enumerate(names):
        until(page, f"document.body.dataset.open === {name!r}")
        for kind, stroke in STROKES.items():
            draw(page, how, kind, stroke)
        press(page, how, "f", "fill")
        until(page, "document.getElementById('busy').hidden && !document.getElementById('undo').disabled")
        until(page, "document.getElementById('error').hidden")
        if pictures and name == "coffee.jpg" and how in ("mouse", "phone"):
            picture(page, pictures / f"label-{how}.jpg")
        press(page, how, "Enter", "done")
        until(page, f"document.body.dataset.done === '{number + 1}'")
        seconds.append(time.perf_counter() - begin)
        begin = time.perf_counter()
    return seconds


def teach(page: Any) -> None:
    """Strokes in three images teach; then an image is shown with its guess, and the places to label next."""
    page.click("#samples")
    until(page, "document.querySelectorAll('#queue li').length === 10 && document.body.dataset.open !== ''")
    name_classes(page, "mouse")
    page.click("[data-tool=pencil]")
    for number in range(3):
        for kind, stroke in STROKES.items():
            draw(page, "mouse", kind, stroke)
        name = page.locator("#queue button").nth(number + 1).get_attribute("title").split(":")[0]
        page.click("#next")
        until(page, f"document.body.dataset.open === {name!r}")
    page.click("#teach")
    until(page, "!document.getElementById('where').disabled && document.getElementById('busy').hidden")
    page.click("[data-tool=region]")
    page.click("#where")
    until(page, "document.getElementById('busy').textContent.startsWith('Place 1')")
    page.wait_for_timeout(1000)  # small pictures are loaded, and guesses drawn


def name_classes(page: Any, how: str) -> None:
    if how == "keyboard":
        tab_to(page, "#add-class")
        page.keyboard.press("Enter")
    else:
        page.click("#add-class")
    until(page, "document.querySelectorAll('#classes li').length === 5")
    for number, name in enumerate(NAMES, start=1):
        field = f"[data-class='{number}'] input[type=text]"
        if how == "keyboard":
            tab_to(page, field)
            page.keyboard.press("Control+a")
            page.keyboard.type(name)
        else:
            page.locator(field).fill(name)
        page.keyboard.press("Enter")
        until(page, f"[...document.querySelectorAll('#classes .key')].some(e => e.title.includes('Paint {name} '))")


def tab_to(page: Any, selector: str) -> None:
    for _ in range(120):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise SystemExit(f"{selector} is not reached by Tab")


def press(page: Any, how: str, key: str, id_: str) -> None:
    if how == "keyboard":
        tab_to(page, "#stage")
        page.keyboard.press(key)
    else:
        page.click(f"#{id_}")


def draw(page: Any, how: str, kind: int, stroke: list[tuple[float, float]]) -> None:
    box = page.locator("#stage").bounding_box()
    width, height = page.evaluate("[window.innerWidth, window.innerHeight]")
    if box["width"] > width or box["height"] > height:
        raise SystemExit("the picture is not within the screen")
    places = [
        (box["x"] + (0.1 + 0.8 * x) * box["width"], box["y"] + (0.2 + 0.6 * y) * box["height"]) for x, y in stroke
    ]
    if how == "keyboard":
        page.keyboard.press(str(kind))
        for x, y in stroke:
            tab_to(page, "#stage")
            for key, back, part in (("ArrowRight", "ArrowLeft", x), ("ArrowDown", "ArrowUp", y)):
                for _ in range(10):
                    page.keyboard.press(back)
                for _ in range(round(8 * part)):
                    page.keyboard.press(key)
            page.keyboard.press("Space")
        return
    page.click(f"[data-class='{kind}'] .key")
    if how == "phone":
        for place in places:
            page.touchscreen.tap(*place)
    else:
        page.mouse.move(*places[0])
        page.mouse.down()
        page.mouse.move(*places[1], steps=4)
        page.mouse.up()


def exported(page: Any, how: str) -> str:
    with page.expect_download() as waiting:
        if how == "keyboard":
            tab_to(page, "#export")
            page.keyboard.press("Enter")
        else:
            page.click("#export")
    data = json.loads(zipfile.ZipFile(waiting.value.path()).read("coco.json"))
    names = [category["name"] for category in data["categories"]]
    assert names == list(NAMES), names
    return f"COCO of {len(data['images'])} images, {len(data['annotations'])} annotations of {', '.join(names)}"


def picture(page: Any, path: Path, quality: int = 82) -> None:
    image = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.save(path, quality=quality, optimize=True)


def large(page: Any, address: str) -> str:
    """Milliseconds of the wheel and of a repaint, of an image of 12 megapixels."""
    sample = Path(__file__).parents[1] / "sample_images" / "coffee.jpg"
    with PIL.Image.open(sample) as small:
        small.resize((4000, 3000)).save(buffer := io.BytesIO(), "JPEG", quality=90)
    file = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": buffer.getvalue()}
    page.set_input_files("#first-files", file)
    until(page, "document.body.dataset.open === 'large.jpg'")
    page.wait_for_timeout(500)
    times: list[float] = []
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for turn in range(20):
        page.mouse.wheel(0, -100 if turn % 8 < 4 else 100)
        page.wait_for_timeout(60)
        times.append(float(page.evaluate("document.body.dataset.took")))
    return (
        f"12 megapixels: a turn of the wheel until it is drawn takes median {statistics.median(times):.1f} ms, "
        f"most {max(times):.1f} ms"
    )


if __name__ == "__main__":
    main()
