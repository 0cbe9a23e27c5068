"""The laboratory as a pupil uses it: a real studio, a real Chromium, a network built and trained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from imago.train.run import Run

from browser import DESKTOP, PHONE, a_page
from studio_support import Studio, tiny_set, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PATIENCE = 180_000  # ms; machines that run other things as well take their time
PAGES = ("lesson", "pixels", "weights", "convolution", "lenet", "builder", "baselines")
# What comes a moment after the page, where there is a trained network.
LATE = {"lenet": "#stages .lab-stage", "builder": "#layers .layer"}
# Names, units and program text that stay as they are in Chinese.
LATIN = re.compile(
    r"imago|English|LeNet\S*|ReLU|Softmax|softmax|Conv2D|MaxPool|AvgPool|GlobalAvgPool|BatchNorm|Dropout|Flatten|"
    r"Linear|Residual|Inception|Python|ONNX|predict\.py|kB|MB|my-lenet|tiny\S*|JPEG|PNG|RGB|my-\w+"
)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """With the tour, and a set of pictures that was chosen already."""
    folder = tmp_path_factory.mktemp("lab") / "workspace"
    tiny_set(folder / "data" / "tiny")
    kept = {"task": "classify", "data": "tiny", "parameters": {"epochs": 2, "batch_size": 8, "device": "cpu"}}
    (folder / "studio.json").write_text(json.dumps(kept), encoding="utf-8")
    with Studio(folder, "--lesson") as running:
        yield running


def expect(locator: Locator) -> Any:
    from playwright.sync_api import expect as patient

    patient.set_options(timeout=PATIENCE)
    return patient(locator)


def settled(page: Page, address: str) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.locator("h1").wait_for()
    page.wait_for_function("window.did_handshake")
    last = LATE.get(address.rpartition("/")[2])
    if last is not None:
        page.locator(last).last.wait_for()


def fill(page: Page, selector: str, value: str) -> None:
    page.locator(selector).fill(value)
    page.locator(selector).press("Tab")


@pytest.fixture(scope="module")
def white(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "white.jpg"
    Image.fromarray(np.full((300, 500, 3), 255, np.uint8)).save(path)
    return path


def test_the_pupils_own_picture_as_numbers(browser: Browser, studio: Studio, white: Path) -> None:
    with a_page(browser) as page:
        settled(page, f"{studio.url}/lab/pixels")
        before = page.locator("#pixel-text").text_content()
        assert before is not None
        rows = [[int(v) for v in line.split()] for line in before.splitlines()]
        assert [len(row) for row in rows] == [25] * 25
        page.set_input_files("#lab-file", white)
        expect(page.locator("#pixel-text")).to_have_text("\n".join([" ".join(["255"] * 25)] * 25))
        page.locator("#field-mode").select_option("rgb")
        expect(page.locator("#pixel-text")).to_contain_text("[255 255 255] [255 255 255]")
        expect(page.locator("#field-side")).to_have_value("12")  # three numbers a pixel need more room
        page.locator("#field-mode").select_option("bw")
        fill(page, "#field-side", "4")
        expect(page.locator("#pixel-text")).to_have_text("\n".join(["1 1 1 1"] * 4))
        page.locator("[data-insect=ant]").click()
        expect(page.locator("#pixel-text")).not_to_have_text("\n".join(["1 1 1 1"] * 4))


def test_what_is_no_picture_is_told(browser: Browser, studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"<svg onload=alert(1)>")
    with a_page(browser) as page:
        settled(page, f"{studio.url}/lab/pixels")
        page.set_input_files("#lab-file", tmp_path / "no.png")
        expect(page.locator(".q-notification")).to_contain_text("choose a JPEG or PNG")


def test_weights_are_counted_at_once(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        settled(page, f"{studio.url}/lab/weights")
        expect(page.locator("#dense")).to_have_text("100,000,000")
        fill(page, "#field-side", "10")
        expect(page.locator("#dense")).to_have_text("10,000")
        expect(page.locator("#field-side")).to_have_value("10")
        expect(page.locator("#conv")).to_have_text("150")
        fill(page, "#field-kernel", "3")
        expect(page.locator("#conv")).to_have_text("54")


def test_a_kernel_over_the_picture(browser: Browser, studio: Studio, white: Path) -> None:
    with a_page(browser) as page:
        settled(page, f"{studio.url}/lab/convolution")
        page.set_input_files("#lab-file", white)
        expect(page.locator("#sum")).to_contain_text("255×(-1) + 255×0 + 255×1")
        expect(page.locator("#sum")).to_contain_text(re.compile(r"= 0$"))
        page.locator("[data-preset=blur]").click()
        expect(page.locator("#sum")).to_contain_text(re.compile(r"= 255$"))
        page.locator("[data-preset=nothing]").click()
        expect(page.locator(".kernel input").nth(4)).to_have_value("1")
        cell = page.locator(".kernel input").nth(0)
        cell.fill("2")
        cell.press("Tab")
        expect(page.locator("#sum")).to_contain_text(re.compile(r"= 765$"))
        expect(cell).to_have_value("2")


@pytest.fixture(scope="module")
def built(browser: Browser, studio: Studio) -> dict[str, Any]:
    """A network changed in the builder and trained; what was seen on the way."""
    seen: dict[str, Any] = {}
    with a_page(browser) as page:
        settled(page, f"{studio.url}/lab/builder")
        seen["start"] = page.inner_text("#total")
        page.get_by_label("take layer 5 out").click()
        expect(page.locator("#layers .layer")).to_have_count(6)
        seen["without C5"] = page.inner_text("#total")
        for count in (7, 8, 9):
            page.locator("[data-add=max_pool]").click()
            expect(page.locator("#layers .layer")).to_have_count(count)
        expect(page.locator("#problem")).to_contain_text("does not fit")
        seen["wrong"] = page.locator("#layers .layer.wrong").inner_text()
        expect(page.locator("#train-net")).to_be_disabled()
        for left in (8, 7, 6):
            page.locator("#layers [data-layer=max_pool]").last.get_by_text("✕").click()
            expect(page.locator("#layers .layer")).to_have_count(left)
        expect(page.locator("#problem")).to_have_text("All layers fit.")
        page.locator("[data-add=batch_norm]").click()
        expect(page.locator("#layers .layer").nth(5)).to_have_attribute("data-layer", "batch_norm")
        page.get_by_label("move layer 6 up").click()
        expect(page.locator("#layers .layer").nth(4)).to_have_attribute("data-layer", "batch_norm")
        first = page.locator("#layers .layer").nth(0).locator("input").nth(0)
        first.fill("0")
        first.press("Tab")
        expect(page.locator("#layers .layer").nth(0)).to_contain_text("from 1 to 2048")
        first.fill("4")
        first.press("Tab")
        expect(page.locator("#layers .layer").nth(0)).to_contain_text("4@28×28")
        seen["program"] = page.inner_text("#net-program")
        fill(page, "#field-name", "<b>mine</b>")
        page.reload()
        expect(page.locator("#layers .layer").nth(0)).to_contain_text("4@28×28")
        page.click("#train-net")
        expect(page.locator("h1")).to_contain_text("learn")
        settled(page, f"{studio.url}/code")
        seen["code"] = page.inner_text("#program")
        settled(page, f"{studio.url}/train")
        page.click("#start")
        page.locator(".live .note.good").wait_for(timeout=5 * PATIENCE)
    return seen


def test_the_builder_counts_and_says_what_does_not_fit(built: dict[str, Any]) -> None:
    assert built["start"] == "61,706 parameters"
    assert built["without C5"] == f"{156 + 2416 + (400 * 84 + 84) + 850:,} parameters"
    assert "needs feature maps" in built["wrong"]
    assert 'net.add("conv2d", 4, kernel=5' in built["program"]


def test_what_was_built_is_what_was_trained(studio: Studio, built: dict[str, Any]) -> None:
    assert "from imago.train import Net" in built["code"]
    assert "net=net.plan" in built["code"]
    compile(built["code"], "train.py", "exec")
    runs = list((studio.folder / "runs").iterdir())
    assert [run.name for run in runs] == ["tiny-b-mine--b"]
    kinds = [layer["layer"] for layer in Run.load(runs[0]).model["extra"]["layers"]]
    assert kinds == ["conv2d", "max_pool", "conv2d", "max_pool", "batch_norm", "linear", "linear"]
    until(lambda: list(runs[0].glob("*.onnx")))


def test_every_layer_shows_what_it_sees(browser: Browser, studio: Studio, built: dict[str, Any]) -> None:
    with a_page(browser) as page:
        settled(page, f"{studio.url}/lab/lenet")
        page.locator("#stages .lab-stage").nth(3).wait_for()
        text = page.inner_text("#stages")
        assert "4@28×28" in text
        assert "16@5×5" in text
        assert "beetle" in text


def test_the_tour_leads_from_station_to_station(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        settled(page, studio.address)
        expect(page.locator("h1")).to_contain_text("Convolutional neural networks")
        expect(page.locator(".station")).to_have_count(15)
        settled(page, f"{studio.url}/lab/pixels")
        expect(page.locator("#tour")).to_contain_text("1/15 · Pixels")
        page.locator("#tour .button").click()
        expect(page.locator("#tour")).to_contain_text("2/15")
        expect(page.locator("h1")).to_have_text("Counting weights")
        page.locator("#tour a").first.click()
        expect(page.locator(".station.done").nth(0)).to_contain_text("Pixels")
    until(lambda: "/lab/pixels" in studio.choices().get("notes", {}).get("/lab/lesson", []))


@pytest.mark.slow
def test_a_network_beside_what_came_before(browser: Browser, studio: Studio, built: dict[str, Any]) -> None:
    with a_page(browser) as page:
        settled(page, f"{studio.url}/lab/baselines")
        page.click("#compare")
        page.locator("tbody tr").nth(3).wait_for(timeout=5 * PATIENCE)
        names = page.locator("tbody th").all_inner_texts()
        assert set(names) == {"k nearest neighbours", "linear SVM", "random forest", "b-mine--b"}
        shares = [float(text.split()[0]) for text in page.locator("tbody td:nth-child(3)").all_inner_texts()]
        assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    "size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"]
)
def test_every_page_is_accessible_and_within_the_screen(
    browser: Browser, studio: Studio, built: dict[str, Any], size: tuple[int, int]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    with a_page(browser, size) as page:
        for name in PAGES:
            settled(page, f"{studio.url}/lab/{name}")
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name
            found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
            assert found.violations_count == 0, (name, found.generate_report())


# The page's words without programs, commands and paths, which are the same in all languages.
TEXT = """() => {
  const copy = document.body.cloneNode(true);
  copy.querySelectorAll('pre, code, script, style, noscript').forEach((e) => e.remove());
  return copy.innerText + [...document.querySelectorAll('[aria-label]')].map((e) => e.ariaLabel).join(' ');
}"""


def test_every_page_is_whole_in_chinese(browser: Browser, studio: Studio, built: dict[str, Any]) -> None:
    with a_page(browser, locale="zh-CN") as page:
        for name in PAGES:
            settled(page, f"{studio.url}/lab/{name}")
            if name == "lenet":
                page.locator("#stages .lab-stage").nth(3).wait_for()
            left = set(re.findall(r"[A-Za-z][A-Za-z'-]{2,}", LATIN.sub(" ", page.evaluate(TEXT))))
            known = {
                "bee",
                "beetle",
                "ladybird",
                "Conv",
                "Gemm",
                "BatchNormalization",
                "mine",
                "Language",
                "WebSocket",
            }
            assert left <= known, (name, left)
