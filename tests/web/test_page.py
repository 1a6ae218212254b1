"""The page in headless Chromium: no error on its console, no request to another host, all without a mouse too."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from segspectral.heads import HEADS
from tests.browser import Watch, chromium, until
from tests.web.conftest import serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Any]:
    with opened(browser, server) as page:
        yield page


@contextmanager
def opened(browser: Any, server: str, **how: Any) -> Iterator[Any]:
    """The page, which may not complain or ask other servers for anything."""
    context = browser.new_context(**({"accept_downloads": True, "viewport": {"width": 1280, "height": 900}} | how))
    page = context.new_page()
    page.set_default_timeout(20_000)
    watch = Watch(page, server)
    page.goto(server)
    page.wait_for_selector("body[data-ready]")
    page.expected = []  # type: ignore[attr-defined]
    yield page
    unexpected = [text for text in watch.errors if not any(part in text for part in page.expected)]  # type: ignore[attr-defined]
    context.close()
    assert (unexpected, watch.foreign) == ([], [])


def segment(page: Any, photograph: bytes) -> None:
    page.set_input_files("#file", {"name": "photo.png", "mimeType": "image/png", "buffer": photograph})
    page.click("#run")
    page.wait_for_selector("body[data-revision]")


def revision(page: Any, number: int) -> None:
    """Wait for this revision or a later one, because two events may come between two looks."""
    until(page, f"Number(document.body.dataset.revision) >= {number}")


def downloaded(page: Any, format: str) -> bytes:
    page.select_option("#format", format)
    with page.expect_download() as waiting:
        page.click("#download")
    return Path(waiting.value.path()).read_bytes()


def test_every_head_segments_a_sample_with_the_defaults(browser: Any) -> None:
    """A user starts the server, opens the page, chooses a sample and presses Segment."""
    with serving() as (address, _), opened(browser, address) as page:
        assert page.locator("[data-setting=head]").input_value() == "auto"
        assert set(page.locator("[data-setting=head] option").all_inner_texts()) == {"auto", *HEADS}
        page.select_option("#sample", "cat.jpg")
        page.click("#run")
        finished = "document.getElementById('status').textContent.includes(' superpixels in ')"
        failed = "document.getElementById('error').textContent !== ''"
        until(page, f"{finished} || {failed}", 120)
        assert page.locator("#error").inner_text() == ""
        assert page.locator("#regions li").count() >= 2
        assert "--" not in page.locator("#command").input_value(), "nothing but the defaults"
        for head in HEADS:
            page.select_option("[data-setting=head]", head)
            page.click("#run")
            page.wait_for_selector("#run[disabled]", state="attached")
            until(page, f"!document.getElementById('run').disabled && {finished} || {failed}", 120)
            assert page.locator("#error").inner_text() == "", head
            assert f"--head {head}" in page.locator("#command").input_value()


def test_upload_segment_merge_undo_rename_download(page: Any, photograph: bytes) -> None:
    segment(page, photograph)
    assert page.locator("#stages li.done").count() == 5
    assert page.locator("#regions li").count() == 4
    before = np.asarray(PIL.Image.open(io.BytesIO(downloaded(page, "png"))))
    box = page.locator("#photo").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.move(*at(0.2, 0.2))
    assert page.locator("#hover").inner_text().startswith(f"{before[19, 22]}: segment {before[19, 22]}, ")
    page.mouse.click(*at(0.2, 0.2))
    page.keyboard.down("Shift")
    page.mouse.click(*at(0.8, 0.8))
    page.keyboard.up("Shift")
    page.click("#merge")
    revision(page, 1)
    merged = np.asarray(PIL.Image.open(io.BytesIO(downloaded(page, "png"))))
    assert merged[19, 22] == merged[77, 90] != 0
    assert page.locator("#regions li").count() == 3
    page.click("#undo")
    revision(page, 2)
    assert (np.asarray(PIL.Image.open(io.BytesIO(downloaded(page, "png")))) == before).all()
    name = page.get_by_label("Name of segment 1")
    name.fill("<b>sky</b>")
    name.press("Enter")
    revision(page, 3)
    assert json.loads(downloaded(page, "coco"))["categories"][0]["name"] == "<b>sky</b>"
    assert "--names" in page.locator("#command").input_value()


def test_slider_opacity_and_borders(page: Any, photograph: bytes) -> None:
    segment(page, photograph)
    page.locator("#compare").fill("30")
    assert page.locator("#after").evaluate("e => e.style.clipPath") == "inset(0px 0px 0px 30%)"
    assert page.locator("#line").is_visible()
    page.locator("#opacity").fill("80")
    assert page.locator("#after").evaluate("e => e.style.opacity") == "0.8"
    page.uncheck("#borders")
    assert page.locator("#lines").is_hidden()
    page.select_option("#left", "before")
    assert page.locator("#before").is_visible()
    colour = page.evaluate(
        "[...document.getElementById('after').getContext('2d').getImageData(5, 5, 1, 1).data].slice(0, 3)"
    )
    listed = page.locator("#regions input[type=color]").evaluate_all("all => all.map(e => e.value)")
    assert "#{:02x}{:02x}{:02x}".format(*colour) in listed


def test_split_recolour_and_eigenvectors(page: Any, photograph: bytes) -> None:
    segment(page, photograph)
    page.locator("#regions input[type=checkbox]").first.check()
    page.click("#split")
    revision(page, 1)
    assert page.locator("#regions li").count() == 5
    page.locator("#regions input[type=color]").first.fill("#123456")
    page.locator("#regions input[type=color]").first.dispatch_event("change")
    revision(page, 2)
    assert page.locator("#regions input[type=color]").first.input_value() == "#123456"
    assert page.locator("#spectrum img").count() == 5, "four eigenvectors and the contours"
    page.locator("#spectrum button").first.click()
    until(page, "document.getElementById('large-picture').naturalWidth > 0")
    page.click("#large-close")
    assert page.locator("#curve svg circle").count() >= 5


def painted(page: Any) -> np.ndarray:
    """Return the segments (96, 112) from the colours on the canvas."""
    page.expected.append("Canvas2D: Multiple readback operations")
    pixels = page.evaluate("[...document.getElementById('after').getContext('2d').getImageData(0, 0, 112, 96).data]")
    rgb = np.array(pixels).reshape(96, 112, 4)[..., :3]
    colours = page.locator("#regions input[type=color]").evaluate_all("all => all.map(e => e.value)")
    segments = page.locator("#regions li").evaluate_all("all => all.map(e => Number(e.dataset.segment))")
    labels = np.zeros((96, 112), int)
    for segment, colour in zip(segments, colours, strict=True):
        labels[(rgb == list(bytes.fromhex(colour[1:]))).all(axis=-1)] = segment
    return labels


def test_the_slider_of_the_hierarchy(page: Any, server: str, photograph: bytes) -> None:
    segment(page, photograph)
    job = page.evaluate("document.querySelector('#spectrum img').src").split("/jobs/")[1].split("/")[0]
    tree = page.request.get(f"{server}/api/jobs/{job}/hierarchy").json()
    of_head = page.locator("#command").input_value()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    # Held from going off, so that the last of many steps can be looked at before the server knows of it.
    page.evaluate("Object.assign(window, { later: setTimeout, setTimeout: (f) => { window.rest = f; return 0; } })")
    page.locator("#granularity").focus()
    page.keyboard.press("Home")
    for step in range(1, 12):
        page.keyboard.press("ArrowRight")
        assert page.locator("#cut-text").inner_text().startswith(f"{step + 1} segments, level ")
    until(page, "document.querySelectorAll('#regions li').length === 12")
    shown = painted(page)
    assert asked == [], "steps are drawn without a request"
    assert np.unique(shown).tolist() == list(range(1, 13))
    assert (np.diff(np.bincount(shown.ravel())[1:]) <= 0).all()
    page.evaluate("Object.assign(window, { setTimeout: later }) && rest()")
    revision(page, 1)
    assert [url.rsplit("/", 1)[-1] for url in asked] == ["edits", "labels"]
    assert "--hierarchy -k 12" in page.locator("#command").input_value()
    assert (np.asarray(PIL.Image.open(io.BytesIO(downloaded(page, "png")))) == shown).all()
    # A level, and an edit before the server has been told of it.
    page.select_option("#cut-by", "level")
    level = next(step / 100 for step in range(100) if tree["altitudes"][-2] <= step / 100)
    page.locator("#granularity").fill(str(round(100 * level)))
    name = page.get_by_label("Name of segment 1")
    until(page, "document.querySelectorAll('#regions li').length < 12")
    name.fill("ground")
    name.press("Enter")
    revision(page, 3)
    command = page.locator("#command").input_value()
    assert f" --hierarchy --level {level} " in command
    assert command.endswith(" --names 1=ground")
    left = page.locator("#regions li").count()
    # Back over the name, the level, the number, to the result of the head, and forth again.
    for number, segments in ((4, left), (5, 12), (6, 4)):
        page.click("#undo")
        revision(page, number)
        assert page.locator("#regions li").count() == segments
    assert page.locator("#command").input_value() == of_head
    page.click("#redo")
    revision(page, 7)
    assert (painted(page) == shown).all()
    assert page.locator("#cut-text").inner_text().startswith("12 segments")


def test_other_settings_of_the_same_image(page: Any, photograph: bytes) -> None:
    segment(page, photograph)
    page.locator("[data-setting=segments]").fill("2")
    page.select_option("[data-setting=refine]", "none")
    page.click("#run")
    until(page, "document.querySelectorAll('#regions li').length === 2")
    command = page.locator("#command").input_value()
    assert "-k 2" in command
    assert "--refine none" in command
    page.fill("#more", "superpixels.count: 60\naffinity: {neighbors: 12}")
    page.click("#run")
    until(page, "document.getElementById('command').value.includes('--set affinity.neighbors=12')")
    assert "--set superpixels.count=60" in page.locator("#command").input_value()
    page.expected.append("422")
    page.fill("#more", "affinity.neighbours: 12")
    page.click("#run")
    until(page, "document.getElementById('error').textContent.includes('did you mean affinity.neighbors?')")


def test_what_is_chosen_is_seen_and_disabled_buttons_say_what_they_need(page: Any, photograph: bytes) -> None:
    assert page.locator("#run").get_attribute("title") == "Choose an image first"
    page.set_input_files("#file", {"name": "photo.png", "mimeType": "image/png", "buffer": photograph})
    until(page, "document.getElementById('chosen-image').naturalWidth === 112")
    page.click("#run")
    page.wait_for_selector("body[data-revision]")
    assert "Select two or more" in page.locator("#merge").get_attribute("title")
    page.select_option("#sample", "coffee.jpg")
    until(page, "document.getElementById('chosen-image').naturalWidth > 112")
    page.set_input_files("#file", {"name": "photo.tif", "mimeType": "image/tiff", "buffer": b"II*\0"})
    until(page, "!document.getElementById('no-preview').hidden")


def test_taps_select_several_segments(browser: Any, server: str, photograph: bytes) -> None:
    with opened(browser, server, viewport={"width": 360, "height": 740}, has_touch=True) as page:
        segment(page, photograph)
        box = page.locator("#stack").bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 740, "seen without scrolling"
        for x, selected in ((0.2, 1), (0.9, 2), (0.2, 1)):
            page.touchscreen.tap(box["x"] + x * box["width"], box["y"] + 0.2 * box["height"])
            until(page, f"document.querySelectorAll('#regions li.selected').length === {selected}")


def test_all_settings_are_listed(page: Any) -> None:
    page.click("summary")
    names = page.locator("#all-settings td:first-child").all_inner_texts()
    assert {"seed", "affinity.neighbors", "head.steps", "refine.iterations", "head.encoder.dropout"} <= set(names)
    assert not [name for name in names if name.endswith((".weights", ".device", ".cache"))]
    row = page.locator("#all-settings tr", has_text="affinity.neighbors").inner_text()
    assert "10" in row
    assert "nearest neighbours of each superpixel" in row


def test_a_bad_file_gets_a_plain_sentence(page: Any) -> None:
    page.expected.append("422")  # which the browser writes into its console
    page.set_input_files("#file", {"name": "cat.png", "mimeType": "image/png", "buffer": b"no image at all"})
    page.click("#run")
    until(page, "document.getElementById('error').textContent.includes('cat.png: is')")
    assert page.locator("#run").is_enabled()
    page.set_input_files("#file", {"name": "big.png", "mimeType": "image/png", "buffer": b"x" * 3_000_000})
    assert "this server takes up to 2" in page.locator("#error").inner_text()
    assert page.locator("#run").is_disabled()


def test_cancel(page: Any, photograph: bytes) -> None:
    page.set_input_files("#file", {"name": "photo.png", "mimeType": "image/png", "buffer": photograph})
    page.select_option("[data-setting=head]", "neuncut")
    page.fill("#more", "head.steps: 2000\nhead.hidden: [1024, 1024]")
    page.click("#run")
    page.wait_for_selector("#stages li.now")
    page.click("#cancel")
    until(page, "document.getElementById('status').textContent === 'Cancelled'")
    assert page.locator("#run").is_enabled()
    assert page.locator("#view").is_hidden()


def test_with_the_keyboard_only(page: Any) -> None:
    def go_to(selector: str) -> None:
        for _ in range(80):
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{selector} is not reached by Tab")

    go_to("#sample")
    page.keyboard.type("coffee")
    go_to("#run")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-revision]")
    go_to("#regions li:nth-child(1) input[type=checkbox]")
    page.keyboard.press("Space")
    go_to("#regions li:nth-child(2) input[type=checkbox]")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+Tab")
    for _ in range(40):
        if page.evaluate("document.activeElement.id") == "merge":
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    revision(page, 1)
    page.keyboard.press("Control+z")
    revision(page, 2)
    page.keyboard.press("Control+Shift+Z")
    revision(page, 3)
    assert page.locator("#status").inner_text() == "Done again"


def test_a_pasted_image(page: Any, photograph: bytes) -> None:
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            dispatchEvent(Object.assign(new Event("paste"), { clipboardData: data }));
        }""",
        list(photograph),
    )
    assert page.locator("#chosen").inner_text() == "Chosen: pasted.png"
    page.click("#run")
    page.wait_for_selector("body[data-revision]")


def test_360_pixels_wide_and_dark(page: Any, photograph: bytes) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    segment(page, photograph)
    page.click("summary")
    page.click("#theme")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 26)"


def test_every_control_has_a_name(page: Any, photograph: bytes) -> None:
    segment(page, photograph)
    nameless = page.locator("input, select, button, textarea").evaluate_all(
        """all => all.filter(e => !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim()
            || e.querySelector("img[alt]"))).map(e => e.outerHTML)"""
    )
    assert nameless == []


def test_the_documentation_of_the_api(page: Any, server: str) -> None:
    page.goto(f"{server}/docs")
    page.wait_for_selector("text=POST /api/jobs/{job_id}/edits")
