"""The studio as a class uses it: a real server, a real Chromium, a real (tiny) training.

One training serves most of the file: the whole path from a dropped zip to a prediction, in English, then the
same pages in Chinese. What trains more often is in ``test_studio_runs.py`` (slow).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser import DESKTOP, PHONE, a_page
from studio_support import CLASSES, Studio, tiny_set, until, zipped
from support import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

# What comes a moment after the page, where there is a trained network.
LATE = {
    "data": ".findings .note",
    "understand": ".recalls",
    "train": ".live .note.good",
    "compress": "#compress",
}
PAGES = ("task", "model", "data", "parameters", "code", "train", "understand", "compress", "try", "deploy")
# Names, units, file formats and words of programs that stay as they are in Chinese.
LATIN = re.compile(
    r"imago|English|LeNet\w*|MobileNet\w*|ShuffleNet|SqueezeNet|EfficientNet|ResNet\S*|Inception|AlexNet|ImageNet|"
    r"RMSprop|AdamW?|SGD|NVIDIA|CPU|ONNX|TFLite|predict\.py|Lite|USB|ssh|https?|zip|auto|none|backbone|overhead|"
    r"adamw?|lenet5|kB|bf16|fp32|cuda|mps|cpu|onecycle|cosine|step|constant|center-crop|letterbox|stretch|"
    r"Python|train\.py|TrainConfig|export_run|train|DATA|OUT|pi@raspberrypi\.local|tiny\S*|runs|Conv|MaxPool|Relu|"
    r"beetle|bee|ladybird|deploy|flash|LeCun|ReLU\d?|Small|Fire|mobilenet_v3_small|"
    r"int8\S*|PNG|JPEG|Clip|Add|Raspberry"
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("set")
    return zipped(tiny_set(place / "tiny"), place / "tiny.zip")


@pytest.fixture(scope="module")
def trained(browser: Browser, studio: Studio, archive: Path) -> dict[str, Any]:
    """The whole path by hand, as far as a trained network; what was seen on the way."""
    seen: dict[str, Any] = {}
    with a_page(browser) as page:
        page.goto(studio.url)
        page.get_by_role("button", name="Say what is on a picture").click()
        page.locator("[data-model=lenet5]").click()
        expect(page.locator("[data-model=lenet5]")).to_have_attribute("aria-pressed", "true")
        page.get_by_role("link", name="On to the data").click()
        drop(page, archive)
        page.locator("[data-shown=tiny] .class").nth(2).wait_for()
        seen["classes"] = page.locator("[data-shown=tiny] .class strong").all_inner_texts()
        seen["pictures"] = page.locator("[data-shown=tiny] .strip img").count()
        page.locator(".findings .note").first.wait_for()
        page.get_by_role("link", name="On to the parameters").click()
        fill(page, "epochs", "3")
        fill(page, "batch_size", "8")
        page.locator("#field-device").select_option("cpu")
        page.get_by_role("link", name="On to the code").click()
        seen["program"] = page.inner_text("#program")
        page.get_by_role("link", name="On to the training").click()
        page.click("#start")
        page.locator(".live").wait_for()
        page.locator(".live .note.good").wait_for(timeout=400_000)
        seen["path"] = page.inner_text(".live .note.good")
        seen["epoch"] = page.inner_text("[data-figure=epoch]")
        seen["curve"] = page.evaluate(POINTS)
        page.screenshot(path=os.environ.get("IMAGO_SHOTS", str(archive.parent)) + "/studio-train-test.png")
    return seen


# What ECharts itself holds, curve by curve.
POINTS = """() => [...document.querySelectorAll('.nicegui-echart')].map(
  (e) => (getElement(Number(e.id.slice(1))).chart.getOption().series.map((s) => s.data.length)))"""

# A file dropped by hand: Playwright has no such gesture.
DROP = """async ([selector, name, bytes]) => {
  const file = new File([new Uint8Array(bytes)], name);
  const transfer = new DataTransfer();
  transfer.items.add(file);
  const event = new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: transfer});
  document.querySelector(selector).dispatchEvent(event);
}"""


def drop(page: Page, file: Path, selector: str = "[data-drop=set]", name: str | None = None) -> None:
    page.locator(selector).first.wait_for()
    page.evaluate(DROP, [selector, name or file.name, list(file.read_bytes())])


def fill(page: Page, name: str, value: str) -> None:
    page.locator(f"#field-{name}").fill(value)
    page.locator(f"#field-{name}").press("Tab")


def expect(locator: Locator) -> Any:
    """Playwright's patient assertions."""
    from playwright.sync_api import expect as patient

    return patient(locator)


def accessible(page: Page) -> None:
    """No finding of axe-core for WCAG 2.2 A and AA, contrast included."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    assert found.violations_count == 0, found.generate_report()


def settled(page: Page, address: str) -> None:
    """Open a page and wait until it listens and has everything on it."""
    page.goto(address)
    page.locator("h1").wait_for()
    page.wait_for_function("window.did_handshake")
    last = LATE.get(address.rpartition("/")[2])
    if last is not None:
        page.locator(last).first.wait_for()


def test_from_a_dropped_zip_to_a_trained_network(studio: Studio, trained: dict[str, Any]) -> None:
    assert trained["classes"] == list(CLASSES)
    assert trained["pictures"] == 6 * len(CLASSES)
    assert trained["epoch"] == "3 / 3"
    assert trained["curve"] == [[3, 3], [3, 3]]
    assert str(studio.folder / "runs" / "tiny-lenet5") in trained["path"]
    run = json.loads((studio.folder / "runs" / "tiny-lenet5" / "run.json").read_text(encoding="utf-8"))
    assert run["classes"] == list(CLASSES)
    config = run["config"]
    assert (config["epochs"], config["batch_size"], config["device"]) == (3, 8, "cpu")


def test_it_says_what_is_on_a_picture(
    browser: Browser, studio: Studio, trained: dict[str, Any], archive: Path
) -> None:
    from imago.edge_runtime.classifier import Classifier

    model = studio.folder / "runs" / "tiny-lenet5" / "tiny-lenet5.onnx"
    picture = archive.parent / "tiny" / "bee" / "03.png"
    with Classifier(model) as classifier:
        wanted = classifier(picture)
    with a_page(browser) as page:
        settled(page, f"{studio.url}/try")
        drop(page, picture, "[data-drop=try]")
        page.locator("#tried .bars li").nth(2).wait_for()
        rows = page.locator("#tried .bars li").all_inner_texts()
    assert rows[0].splitlines() == [wanted.label, f"{100 * wanted.confidence:.1f} %"]
    assert len(rows) == len(CLASSES)


def test_it_shows_what_it_has_learnt(browser: Browser, studio: Studio, trained: dict[str, Any]) -> None:
    figures = json.loads((studio.folder / "runs" / "tiny-lenet5" / "metrics.json").read_text("utf-8"))
    with a_page(browser) as page:
        settled(page, f"{studio.url}/understand")
        cells = page.locator(".matrix tbody td").all_inner_texts()
        counts = [0 if cell == "·" else int(cell) for cell in cells]
        assert counts == [n for row in figures["test"]["confusion"] for n in row]
        assert page.locator(".recalls li").count() == len(CLASSES)
        wrong = figures["test"]["n"] - round(figures["test"]["accuracy"] * figures["test"]["n"])
        assert page.locator(".gallery figure").count() == wrong
        if wrong:
            page.locator("#occlusion").wait_for()
            shapes = page.locator(".layers figcaption").all_inner_texts()
            assert any("6@28×28" in shape for shape in shapes)


def test_a_webcam_is_asked_as_the_board_would(
    browser: Browser, studio: Studio, trained: dict[str, Any]
) -> None:
    """Chromium's own test camera; the answer changes the bars again and again, and nothing is kept."""
    before = sorted(path.name for path in (studio.folder / "data").rglob("*"))
    with a_page(browser, permissions=["camera"]) as page:
        settled(page, f"{studio.url}/try")
        page.evaluate(FAKE_CAMERA)
        page.click("#look")
        page.locator(".camera .bars li").nth(2).wait_for()
        shown = " ".join(page.locator(".camera .bars li").all_text_contents())
        shares = [float(number) for number in re.findall(r"([\d.]+) %", shown)]
        assert len(shares) == len(CLASSES)
        assert abs(sum(shares) - 100) < 0.3
    assert sorted(path.name for path in (studio.folder / "data").rglob("*")) == before


# This browser has no camera: a moving canvas stands in for one.
FAKE_CAMERA = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = 320; canvas.height = 240;
  const pen = canvas.getContext('2d');
  let t = 0;
  setInterval(() => { pen.fillStyle = `hsl(${t++ % 360} 80% 50%)`; pen.fillRect(0, 0, 320, 240); }, 40);
  navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20);
}"""


def test_the_program_ends_in_the_same_network(
    studio: Studio, trained: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(trained["program"], encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "runs" / "tiny-lenet5"
    page_run = studio.folder / "runs" / "tiny-lenet5"
    assert digest(made / "weights.safetensors") == digest(page_run / "weights.safetensors")
    assert (made / "tiny-lenet5.onnx").is_file()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("size", "names"),
    [
        (DESKTOP, PAGES),
        pytest.param(PHONE, ("data", "parameters", "train", "understand"), marks=pytest.mark.slow),
    ],
    ids=["desktop", "phone"],
)
def test_every_page_is_accessible_and_within_the_screen(
    browser: Browser, studio: Studio, trained: dict[str, Any], size: tuple[int, int], names: tuple[str, ...]
) -> None:
    with a_page(browser, size) as page:
        for name in names:
            settled(page, f"{studio.url}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name
            accessible(page)


def test_every_page_is_whole_in_chinese(browser: Browser, studio: Studio, trained: dict[str, Any]) -> None:
    with a_page(browser) as page:
        settled(page, studio.url)
        page.get_by_role("button", name="简体中文").click()
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        expect(page.locator("h1")).to_have_text("要让电脑学会什么？")
        for name in PAGES:
            settled(page, f"{studio.url}/{name}")
            text = page.evaluate(TEXT)
            left = set(re.findall(r"[A-Za-z][A-Za-z'-]{2,}", LATIN.sub(" ", text)))
            assert left <= {"Language", "workspace"}, (name, left)
        page.get_by_role("button", name="English").click()
        expect(page.locator("html")).to_have_attribute("lang", "en-GB")


# The page's words without programs, commands and paths, which are the same in all languages.
TEXT = """() => {
  const copy = document.body.cloneNode(true);
  const same = 'pre, code, option, script, style, noscript, [id$=popup], .live .note, .tile.slim .about,'
    + '[data-model] strong, .family h2';
  copy.querySelectorAll(same).forEach((e) => e.remove());
  return copy.innerText + [...document.querySelectorAll('[aria-label]')].map((e) => e.ariaLabel).join(' ');
}"""


def test_choices_survive_reload_and_restart(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    with Studio(folder) as first, a_page(browser, complaints=[]) as page:  # it ends while the page is open
        settled(page, f"{first.url}/model")
        page.locator("[data-model=resnet18]").click()
        expect(page.locator("[data-model=resnet18]")).to_have_attribute("aria-pressed", "true")
        settled(page, f"{first.url}/parameters")
        fill(page, "epochs", "7")
        page.reload()
        expect(page.locator("#field-epochs")).to_have_value("7")
        page.wait_for_function("window.did_handshake")
        fill(page, "lr", "1000")
        expect(page.locator("[data-parameter=lr] .mistake")).to_contain_text("0.000001 to 10")
        until(lambda: first.choices().get("parameters") == {"epochs": 7})
        assert first.end() == 0
    with Studio(folder) as second, a_page(browser) as page:
        settled(page, f"{second.url}/parameters")
        expect(page.locator("#field-epochs")).to_have_value("7")
        expect(page.locator("#field-lr")).to_have_value("")
        settled(page, f"{second.url}/model")
        expect(page.locator("[data-model=resnet18]")).to_have_attribute("aria-pressed", "true")


def test_the_path_by_keyboard(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        settled(page, studio.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "to the content"
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('href')") == "/model":
                break
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Which network?")
        expect(page.locator(".steps [aria-current=page]")).to_contain_text("Model")
        page.go_back()
        expect(page.locator("h1")).to_have_text("What shall the computer learn?")
