"""The page to label with, in headless Chromium: with its defaults, by mouse, touch and keyboard."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segspectral.shared.model import Model
from tests.browser import Watch, chromium, until
from tests.test_teach import picture
from tests.web.conftest import png_of, serving

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@contextmanager
def labelling(browser: Any, address: str, **how: Any) -> Iterator[Any]:
    context = browser.new_context(accept_downloads=True, **how)
    page = context.new_page()
    page.set_default_timeout(30_000)
    watch = Watch(page, address)
    page.goto(f"{address}/label.html")
    page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    # Chromium logs every refusal and every request that fails.
    unexpected = [text for text in watch.errors if not re.search("409|422|500|net::ERR_FAILED", text)]
    assert (unexpected, watch.foreign) == ([], [])


def opened(page: Any, name: str) -> None:
    until(page, f"document.body.dataset.open === {name!r}", 60)


def send(page: Any, photograph: bytes, *names: str) -> None:
    files = [{"name": name, "mimeType": "image/png", "buffer": photograph} for name in names]
    page.set_input_files("#first-files", files)
    opened(page, names[0])


def at(page: Any, x: float, y: float, size: tuple[int, int] = (112, 96)) -> tuple[float, float]:
    """Return the place on the screen of a place in the image, both from 0 to 1; the image is shown whole."""
    box = page.locator("#stage").bounding_box()
    width, height = size
    scale = min(box["width"] / width, box["height"] / height)
    left, top = box["width"] - scale * width, box["height"] - scale * height
    return box["x"] + left / 2 + x * scale * width, box["y"] + top / 2 + y * scale * height


def first(page: Any, held: list[Any]) -> Any:
    """The first request that a route has held back."""
    for _ in range(400):
        if held:
            return held[0]
        page.wait_for_timeout(50)
    raise AssertionError("no request came")


def exported(page: Any) -> Any:
    with page.expect_download() as waiting:
        page.click("#export")
    return json.loads(zipfile.ZipFile(waiting.value.path()).read("coco.json"))


@pytest.mark.parametrize("how", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_two_images_from_start_to_coco(browser: Any, server: str, photograph: bytes, how: Any) -> None:
    """Three classes on the four quadrants of two images; the defaults of the page."""
    with labelling(browser, server, **how) as page:
        tap = page.touchscreen.tap if how is PHONE else page.mouse.click
        send(page, photograph, "one.png", "two.png")
        until(page, "document.querySelectorAll('#queue li').length === 2")
        page.click("#add-class")
        page.locator("[data-class='3'] input[type=text]").fill("<i>field</i>")
        page.keyboard.press("Enter")
        for image in ("one.png", "two.png"):
            opened(page, image)
            page.locator("#details").fill("3")  # four regions
            assert page.locator("#details-text").inner_text() == "4"
            for number, places in {1: [(0.2, 0.2)], 2: [(0.8, 0.2)], 3: [(0.2, 0.8), (0.8, 0.8)]}.items():
                page.locator(f"[data-class='{number}'] .key").click()
                for place in places:
                    tap(*at(page, *place))
            page.click("#done")
        until(page, "document.body.dataset.done === '2'")
        assert page.evaluate("document.documentElement.scrollWidth") <= how["viewport"]["width"]
        assert page.evaluate("document.documentElement.scrollHeight") <= how["viewport"]["height"]
        coco = exported(page)
    assert [category["name"] for category in coco["categories"]] == ["class 1", "class 2", "<i>field</i>"]
    assert [image["file_name"] for image in coco["images"]] == ["one.png", "two.png"]
    share = {(a["image_id"], a["category_id"]): a["area"] / (96 * 112) for a in coco["annotations"]}
    assert len(share) == 6
    truth = {1: 60 * 76, 2: 60 * 36, 3: 36 * 112}  # the quadrants differ in size
    assert all(abs(value - truth[category] / (96 * 112)) < 0.01 for (_, category), value in share.items()), share


def test_wheel_brush_lasso_scribbles_erase_undo_and_a_reload(browser: Any, server: str, photograph: bytes) -> None:
    with labelling(browser, server, **DESKTOP) as page:
        send(page, photograph, "one.png")
        address = page.url.partition("#")

        def saved() -> np.ndarray:
            until(page, "document.getElementById('saved').textContent === 'Saved'")
            answer = page.request.get(f"{server}/api/projects/{address[2]}/images/0/labels").body()
            return np.frombuffer(answer, np.uint8).reshape(96, 112) if answer else np.zeros((96, 112), np.uint8)

        page.mouse.move(*at(page, 0.2, 0.2))
        for _ in range(12):
            page.mouse.wheel(0, 100)
        page.mouse.click(*at(page, 0.2, 0.2))
        small = saved()
        for _ in range(20):
            page.mouse.wheel(0, -100)
        page.keyboard.press("2")
        page.mouse.click(*at(page, 0.2, 0.2))
        large = saved()
        assert 0 < (small == 1).sum() < (large == 2).sum()
        assert (large[small == 1] == 2).all(), "the larger region has the smaller one in it"
        page.keyboard.press("Control+z")
        assert (saved() == small).all()
        page.keyboard.press("Control+Shift+Z")
        assert (saved() == large).all()
        page.click("#clear")
        assert not saved().any()
        # Scribbles on two sides, and the rest by the hierarchy; then a part is erased by the lasso.
        page.keyboard.press("s")
        for key, x in (("1", 0.2), ("2", 0.8)):
            page.keyboard.press(key)
            page.mouse.move(*at(page, x, 0.1))
            page.mouse.down()
            page.mouse.move(*at(page, x, 0.9), steps=3)
            page.mouse.up()
        scribbled = saved()
        assert 0 < (scribbled > 0).mean() < 0.2
        fills = {}
        for by in ("hierarchy", "walker"):
            page.select_option("#fill-by", by)
            page.locator("#stage").focus()
            page.keyboard.press("f")
            until(page, "!document.getElementById('busy').textContent")
            fills[by] = saved()
            assert (fills[by] > 0).all(), by
            page.keyboard.press("Control+z")
            assert (saved() == scribbled).all()
        assert (fills["walker"] == fills["hierarchy"]).mean() > 0.95, "an easy image"
        page.keyboard.press("Control+Shift+Z")
        filled = saved()
        assert (filled > 0).all()
        assert (filled[scribbled > 0] == scribbled[scribbled > 0]).all(), "what was drawn keeps its class"
        assert (filled[:, :70] == 1).mean() > 0.97
        assert (filled[:, 82:] == 2).mean() > 0.97
        page.keyboard.press("l")
        page.keyboard.press("0")
        corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.45), (0.02, 0.45)]
        page.mouse.move(*at(page, *corners[0]))
        page.mouse.down()
        for corner in corners[1:]:
            page.mouse.move(*at(page, *corner))
        page.mouse.up()
        erased = saved()
        assert (erased[:40] == 0).mean() > 0.9
        assert (erased[56:] > 0).mean() > 0.9
        page.reload()
        opened(page, "one.png")
        page.keyboard.press("b")
        page.keyboard.press("1")
        page.mouse.click(*at(page, 0.5, 0.2))
        assert (saved() != erased).sum() > 0, "it goes on from what was saved"


def test_two_fingers_zoom_and_paint_nothing(browser: Any, server: str, photograph: bytes) -> None:
    """A dab of the pencil has one size on the screen, so its area in the image tells the zoom."""
    with labelling(browser, server, **PHONE) as page:
        send(page, photograph, "one.png")
        page.click("[data-tool=pencil]")
        project = page.url.partition("#")[2]

        def dab() -> int:
            page.touchscreen.tap(*at(page, 0.5, 0.5))
            until(page, "document.getElementById('saved').textContent === 'Saved'")
            area = np.frombuffer(page.request.get(f"{server}/api/projects/{project}/images/0/labels").body(), np.uint8)
            page.click("#clear")
            return int((area > 0).sum())

        before = dab()
        touch = page.context.new_cdp_session(page)
        x, y = at(page, 0.5, 0.5)

        def fingers(kind: str, apart: float) -> None:
            points = [{"x": x + side * apart, "y": y, "id": i} for i, side in enumerate((-1, 1))]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []})

        fingers("touchStart", 30)
        for apart in (40, 50, 60, 75, 90):
            fingers("touchMove", apart)
        fingers("touchEnd", 0)
        assert page.locator("#redo").is_disabled()
        assert page.locator("#clear").is_disabled(), "two fingers paint nothing"
        assert 4 < before / dab() < 16, "three times as far apart: nine times as small"


def test_another_window_is_not_overwritten(browser: Any, server: str, photograph: bytes) -> None:
    """Also if this window has heard of the other one's save meanwhile, by a change of the classes."""
    with labelling(browser, server, **DESKTOP) as page:
        send(page, photograph, "one.png")
        other = page.context.new_page()
        other.goto(page.url)
        other.reload()
        opened(other, "one.png")
        other.mouse.click(*at(other, 0.2, 0.2))
        until(other, "document.getElementById('saved').textContent === 'Saved'")
        page.click("#add-class")
        until(page, "document.querySelector('#queue button').title.includes('begun')")
        page.mouse.click(*at(page, 0.2, 0.2))
        until(page, "document.getElementById('saved').textContent === 'Not saved'")
        until(page, "document.getElementById('error').textContent.includes('another window')")
        page.click("#queue button")
        until(
            page, "document.getElementById('error').hidden && document.getElementById('saved').textContent === 'Saved'"
        )
        page.keyboard.press("2")
        page.mouse.click(*at(page, 0.2, 0.2))
        until(page, "document.getElementById('saved').textContent === 'Not saved yet'")
        until(page, "document.getElementById('saved').textContent === 'Saved'")
        classes = "document.querySelectorAll('[data-class]').length"
        assert other.evaluate(classes) == page.evaluate(classes) - 1
        other.click("#queue button")
        until(other, f"{classes} === {page.evaluate(classes)}")


def test_nobody_waits_for_a_slow_server_to_paint_a_new_class(browser: Any, server: str, photograph: bytes) -> None:
    """Its name can be typed and others painted before its first save is answered, and nothing of it is lost."""
    with labelling(browser, server, **DESKTOP) as page:
        send(page, photograph, "one.png")
        held: list[Any] = []
        page.route("**/classes?*", lambda route: route.continue_() if held else held.append(route))
        page.click("#add-class")
        page.keyboard.type("roof")
        page.keyboard.press("Enter")
        page.mouse.click(*at(page, 0.2, 0.2))
        page.keyboard.press("1")
        page.mouse.click(*at(page, 0.8, 0.8))
        page.wait_for_timeout(1000)  # longer than a page waits before it saves labels
        assert page.locator("#saved").inner_text() == "Not saved yet", "labels wait for their class"
        first(page, held).continue_()
        until(page, "document.getElementById('saved').textContent === 'Saved'")
        assert page.locator(".on").get_attribute("data-class") == "1"
        project = f"{server}/api/projects/{page.url.partition('#')[2]}"
        assert page.request.get(project).json()["classes"][2]["name"] == "roof"
        labels = _labels(page, project, 0).reshape(96, 112)
        assert (labels[19, 22], labels[77, 90]) == (3, 1)


def test_a_class_that_is_refused_goes_again_and_so_does_its_paint(browser: Any, server: str, photograph: bytes) -> None:
    """What is still typed into its name is no shortcut, and what was changed after it is dropped."""
    with labelling(browser, server, **DESKTOP) as page:
        send(page, photograph, "one.png")
        held: list[Any] = []
        page.route("**/classes?*", lambda route: held.append(route))
        page.click("#add-class")
        page.mouse.click(*at(page, 0.2, 0.2))
        page.locator("[data-class='3'] input[type=text]").focus()
        page.keyboard.type("fe")
        until(page, "document.getElementById('saved').textContent === 'Not saved yet'")
        first(page, held).fulfill(status=409, json={"detail": "the disk is full"})
        until(page, "document.getElementById('error').textContent === 'the disk is full'")
        until(page, "document.querySelectorAll('[data-class]').length === 3")
        page.keyboard.type("fn")  # fill, and the next image, if these were shortcuts
        until(page, "document.getElementById('saved').textContent === 'Saved'")
        project = f"{server}/api/projects/{page.url.partition('#')[2]}"
        assert not _labels(page, project, 0).any()
        assert len(page.request.get(project).json()["classes"]) == 2


def test_a_class_is_saved_when_the_server_answers_again(browser: Any, server: str, photograph: bytes) -> None:
    with labelling(browser, server, **DESKTOP) as page:
        send(page, photograph, "one.png")
        faults = ["abort", "full"]

        def answer(route: Any) -> None:
            fault = faults.pop(0) if faults else ""
            if fault == "abort":
                route.abort()
            elif fault:
                route.fulfill(status=500, json={"detail": "the disk is full"})
            else:
                route.continue_()

        page.route("**/classes?*", answer)
        page.click("#add-class")
        page.mouse.click(*at(page, 0.2, 0.2))
        until(page, "document.getElementById('error').textContent.includes('tried again')")
        until(page, "document.getElementById('saved').textContent === 'Saved'")
        assert page.locator("#error").is_hidden()
        project = f"{server}/api/projects/{page.url.partition('#')[2]}"
        assert _labels(page, project, 0).reshape(96, 112)[19, 22] == 3


def test_a_class_that_was_just_painted_cannot_be_removed(browser: Any, server: str, photograph: bytes) -> None:
    """Nor does a class that is added at once take its number."""
    with labelling(browser, server, **DESKTOP) as page:
        send(page, photograph, "one.png")
        page.keyboard.press("2")
        page.mouse.click(*at(page, 0.2, 0.2))
        held: list[Any] = []
        page.route("**/classes?*", lambda route: route.continue_() if held else held.append(route))
        page.click("[data-class='2'] button:last-child")
        page.click("#add-class")
        first(page, held).continue_()
        until(page, "document.getElementById('error').textContent.includes('class 2 is used')")
        until(page, "document.querySelectorAll('[data-class]').length === 3")
        project = f"{server}/api/projects/{page.url.partition('#')[2]}"
        assert [one["name"] for one in page.request.get(project).json()["classes"]] == ["class 1", "class 2"]
        assert _labels(page, project, 0).reshape(96, 112)[19, 22] == 2


def test_the_classes_of_another_window_are_not_overwritten(browser: Any, server: str, photograph: bytes) -> None:
    """The window that comes late shows them, also if a save of labels has told it of them before."""
    with labelling(browser, server, **DESKTOP) as page:
        send(page, photograph, "one.png")
        late = page.context.new_page()
        late.goto(page.url)
        late.reload()
        opened(late, "one.png")
        name = "document.querySelector('[data-class=\"1\"] input[type=text]').value"
        page.fill("[data-class='1'] input[type=text]", "sky")
        page.keyboard.press("Enter")
        page.click("#add-class")  # it has a number when the first change is saved
        until(page, "document.querySelectorAll('[data-class]').length === 4")
        late.mouse.click(*at(late, 0.2, 0.2))
        until(late, "document.getElementById('saved').textContent === 'Saved'")
        assert late.evaluate(name) != "sky"
        late.fill("[data-class='1'] input[type=text]", "sea")
        late.keyboard.press("Enter")
        until(late, "document.getElementById('error').textContent.includes('another window')")
        until(late, f"{name} === 'sky'")
        assert late.evaluate("document.querySelectorAll('[data-class]').length") == 4
        late.fill("[data-class='1'] input[type=text]", "sea")
        with late.expect_response("**/classes?*"):
            late.keyboard.press("Enter")
        late.reload()
        opened(late, "one.png")
        assert late.evaluate(name) == "sea"


def test_the_wand_is_the_tree_of_the_server(browser: Any, server: str, photograph: bytes) -> None:
    """For every number of regions, the wand's are the segments of a cut; filling is checked against a slow twin."""
    with labelling(browser, server, **DESKTOP) as page:
        faults = page.evaluate(
            """async (bytes) => {
                const [api, { Hierarchy }, { Wand }] = await Promise.all(
                    ["api", "hierarchy", "wand"].map((name) => import(`/${name}.js`)));
                const { id } = await api.newProject();
                await api.addImage(id, { file: new File([new Uint8Array(bytes)], "one.png") });
                const { id: job } = await api.openImage(id, 0);
                await new Promise((done) => api.follow(job, ({ status }) => status === "done" && done()));
                const [superpixels, tree] = await Promise.all([api.superpixels(job), api.hierarchy(job)]);
                const [hierarchy, wand] = [new Hierarchy(superpixels, tree), new Wand(superpixels, tree)];
                const faults = [];
                for (let k = 1; k <= wand.count; k++) {
                    const { labels } = hierarchy.cut(k);
                    const regions = wand.regions(k);
                    const ways = new Map();
                    superpixels.forEach((s, i) => ways.set(regions[s], labels[i]));
                    if (ways.size !== k
                        || superpixels.some((s, i) => ways.get(regions[s]) !== labels[i])) faults.push(`${k}: cut`);
                    for (const [node, label] of ways) {
                        const pixels = wand.pixels(node);
                        if (pixels.length !== labels.filter((l) => l === label).length
                            || pixels.some((i) => labels[i] !== label)) faults.push(`${k}: pixels of ${node}`);
                        const up = wand.larger(node);
                        const around = wand.area(up) > wand.area(node) && wand.first[up] <= wand.first[node];
                        if (up !== node && !around) faults.push("larger");
                        const s = superpixels[pixels[0]];
                        const down = wand.smaller(node, s);
                        if (down !== s && wand.area(down) * 1.3 > wand.area(node) + 1) faults.push("smaller");
                    }
                }
                const drawn = new Uint8Array(superpixels.length);
                for (const [s, c] of [[1, 3], [20, 1], [50, 2], [51, 2], [90, 4]]) {
                    for (const i of wand.pixels(s)) drawn[i] = c;
                }
                const filled = wand.filled(drawn);
                for (let s = 1; s <= wand.count; s++) {
                    let node = s;
                    const inside = () => new Set([...wand.pixels(node)].map((i) => drawn[i]).filter(Boolean));
                    while (!inside().size) node = wand.parent[node];
                    if (!inside().has(filled[s])) faults.push(`${s} is ${filled[s]}`);
                }
                return [wand.count, faults];
            }""",
            list(photograph),
        )
    assert faults[0] > 60
    assert faults[1] == []


def test_by_keyboard_in_a_folder_that_is_served(browser: Any, photograph: bytes, tmp_path: Path) -> None:
    """The command that a user types; labels lie in the folder beside the images."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("one.png", "two.png", ".hidden.png"):
        (images / name).write_bytes(photograph)
    options = (str(images), "--set", "features.cnn=null")
    with serving(*options) as (address, _), labelling(browser, address, **DESKTOP) as page:
        opened(page, "one.png")
        assert "1 hidden file left out" in page.locator("#notes").inner_text()
        while page.evaluate("document.activeElement.id") != "stage":
            page.keyboard.press("Tab")
        for key in ("ArrowLeft", "ArrowUp", ".", ".", "2", "Space", "Enter"):
            page.keyboard.press(key)
        opened(page, "two.png")
        assert (tmp_path / "images-labels" / "one_labels.png").exists()
        assert page.locator("#queue li").first.inner_text().startswith("✓")


def test_teach_accept_and_teach_again(browser: Any, server: str) -> None:
    """Strokes in one image colour both; a guess becomes labels when it is accepted, and not before."""
    with labelling(browser, server, **DESKTOP) as page:
        files = [(f"p{n}.png", png_of(picture(n)[0])) for n in range(2)]
        page.set_input_files("#first-files", [{"name": n, "mimeType": "image/png", "buffer": b} for n, b in files])
        opened(page, "p0.png")
        until(page, "document.querySelectorAll('#queue li').length === 2")
        project = f"{server}/api/projects/{page.url.partition('#')[2]}"
        assert page.locator("#teach").is_disabled()
        assert page.locator("#accept").is_disabled()
        page.click("#add-class")
        page.keyboard.press("Enter")
        page.click("[data-tool=pencil]")
        truth = picture(0)[1]
        for of in range(3):
            page.keyboard.press(str(of + 1))
            x = float(np.flatnonzero(truth[30] == of).mean()) + 0.5
            page.mouse.move(*at(page, x / 80, 0.1, (80, 64)))
            page.mouse.down()
            page.mouse.move(*at(page, x / 80, 0.9, (80, 64)), steps=4)
            page.mouse.up()
        page.keyboard.press("t")
        until(page, "document.querySelectorAll('#queue img').length === 2", 60)
        until(page, "!document.getElementById('accept').disabled")
        assert page.locator("#teach").inner_text() == "Teach again"
        first = _labels(page, project, 0)
        assert 0 < (first > 0).mean() < 0.5, "what is painted is saved before it is taught from, and nothing else"
        page.click("#next")
        opened(page, "p1.png")
        until(page, "!document.getElementById('accept').disabled")
        until(page, "[...document.querySelectorAll('#queue img')].every((image) => image.naturalWidth === 80)")
        assert not _labels(page, project, 1).size, "a guess is no label"
        page.keyboard.press("g")
        until(page, "document.getElementById('saved').textContent === 'Saved'")
        accepted = _labels(page, project, 1)
        assert (accepted == picture(1)[1].ravel() + 1).mean() > 0.9
        page.keyboard.press("Control+z")
        until(page, "document.getElementById('saved').textContent === 'Saved'")
        assert not _labels(page, project, 1).any()
        page.keyboard.press("g")
        page.select_option("#order", "unsure")
        page.click("#teach")
        until(page, "document.querySelectorAll('#queue img[src*=\"round=2\"]').length === 2", 60)
        with page.expect_download() as waiting:
            page.click("#model")
        assert Model.load(waiting.value.path()).names == {n: f"class {n}" for n in (1, 2, 3)}
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("how", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_suggested_places_are_marked_and_labelled_one_after_the_other(browser: Any, server: str, how: Any) -> None:
    """After Teach, numbered regions wait for a label; a tap gives it, and the next place may be in another image."""
    with labelling(browser, server, **how) as page:
        files = [(f"p{n}.png", png_of(picture(n)[0])) for n in range(2)]
        page.set_input_files("#first-files", [{"name": n, "mimeType": "image/png", "buffer": b} for n, b in files])
        opened(page, "p0.png")
        until(page, "document.querySelectorAll('#queue li').length === 2")
        project = f"{server}/api/projects/{page.url.partition('#')[2]}"
        assert page.locator("#where").is_disabled()
        tap = page.touchscreen.tap if how is PHONE else page.mouse.click
        truth = picture(0)[1]
        for of in (0, 1):
            page.locator(f"[data-class='{of + 1}'] .key").click()
            tap(*at(page, float(np.flatnonzero(truth[30] == of).mean() + 0.5) / 80, 0.5, (80, 64)))
        until(page, "document.getElementById('saved').textContent === 'Saved'")
        assert page.evaluate(CYAN) == 0
        page.click("#teach")
        until(page, "!document.getElementById('where').disabled", 60)
        assert page.evaluate("document.documentElement.scrollWidth") <= how["viewport"]["width"]
        assert page.evaluate("document.documentElement.scrollHeight") <= how["viewport"]["height"]
        places = page.request.get(f"{project}/lesson").json()["places"]
        assert {one["number"] for one in places} == {0, 1}
        until(page, f"{CYAN} > 50")
        page.locator("#guesses").uncheck()
        until(page, f"{CYAN} === 0")
        page.locator("#guesses").check()
        page.locator("#details").fill("1000")
        seen = []
        for order, place in enumerate(places, 1):
            page.click("#where")
            opened(page, f"p{place['number']}.png")
            until(
                page, f"document.getElementById('busy').textContent.startsWith('Place {order} of {len(places)}: taken')"
            )
            assert page.evaluate("document.activeElement.id") == "stage"
            before = _labels(page, project, place["number"])
            assert not before.size or not before.reshape(64, 80)[place["row"], place["col"]]
            if order % 2:
                tap(*at(page, (place["col"] + 0.5) / 80, (place["row"] + 0.5) / 64, (80, 64)))
            else:
                page.keyboard.press("Space")
            until(page, "document.getElementById('saved').textContent === 'Saved'")
            after = _labels(page, project, place["number"]).reshape(64, 80)
            assert after[place["row"], place["col"]] == 2
            seen.append((after > 0).sum())
            if order == 4:
                break
        counts = page.locator("#queue b").evaluate_all("all => all.map((one) => Number(one.textContent))")
        assert sum(counts) <= len(places) - 4
        page.select_option("#order", "asked", force=True)
        names = page.locator("#queue button").evaluate_all("all => all.map((one) => one.title.split(':')[0])")
        assert sorted(names) == ["p0.png", "p1.png"]


def test_images_that_another_window_added_have_guesses_and_places(browser: Any, server: str) -> None:
    """This window has one image of two when it teaches: both are guessed, and a place in the other is shown."""
    first, second = (png_of(picture(n)[0]) for n in range(2))
    with labelling(browser, server, **DESKTOP) as page, labelling(browser, server, **DESKTOP) as other:
        send(page, first, "p0.png")
        two_taps(page)
        other.goto(page.url)
        other.reload()
        opened(other, "p0.png")
        other.locator("#files").set_input_files([{"name": "p1.png", "mimeType": "image/png", "buffer": second}])
        until(other, "document.querySelectorAll('#queue li').length === 2")
        classes = "document.querySelectorAll('[data-class]').length"
        before = page.evaluate(classes)
        other.click("#add-class")
        until(other, f"{classes} > {before}")
        page.click("#teach")
        until(page, "document.querySelectorAll('#queue img').length === 2", 60)
        assert page.locator("#error").is_hidden()
        assert page.evaluate(classes) == before + 1


def test_an_image_that_is_done_loses_its_stripes_and_places_at_once(browser: Any, server: str) -> None:
    """Also the last one, which stays open; they are back when the mark is taken away."""
    with labelling(browser, server, **DESKTOP) as page:
        send(page, png_of(picture(0)[0]), "p0.png")
        two_taps(page)
        page.click("#teach")
        until(page, f"{CYAN} > 50", 60)
        until(page, "!document.getElementById('accept').disabled")
        page.click("#done")
        until(page, "document.body.dataset.done === '1'")
        until(page, f"{CYAN} === 0 && document.getElementById('accept').disabled", 5)
        assert page.locator("#where").is_disabled()
        page.click("#done")
        until(page, f"{CYAN} > 50 && !document.getElementById('accept').disabled", 5)


def two_taps(page: Any) -> None:
    """Label a region of the first class and one of the second in the first picture, and wait until it is saved."""
    truth = picture(0)[1]
    for of in (0, 1):
        page.locator(f"[data-class='{of + 1}'] .key").click()
        page.mouse.click(*at(page, float(np.flatnonzero(truth[30] == of).mean() + 0.5) / 80, 0.5, (80, 64)))
    until(page, "document.getElementById('saved').textContent === 'Saved'")


CYAN = """(() => {
    const over = document.getElementById("over");
    const copy = new OffscreenCanvas(over.width, over.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(over, 0, 0);
    const { data } = copy.getImageData(0, 0, over.width, over.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += data[i] === 0 && data[i + 1] === 229 && data[i + 2] === 255;
    return count;
})()"""
"""How many pixels on the screen have the colour in which a label is asked for."""


def _labels(page: Any, project: str, number: int) -> np.ndarray:
    return np.frombuffer(page.request.get(f"{project}/images/{number}/labels").body(), np.uint8)


def test_what_cannot_be_taught_is_reported_on_the_page(browser: Any, server: str, photograph: bytes) -> None:
    with labelling(browser, server, **PHONE) as page:
        send(page, photograph, "one.png")
        page.touchscreen.tap(*at(page, 0.2, 0.2))
        page.click("#teach")
        until(page, "document.getElementById('error').textContent.includes(\"has only the class 'class 1'\")", 60)
        assert page.locator("#teach").inner_text() == "Teach"
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.documentElement.scrollHeight") <= 740
