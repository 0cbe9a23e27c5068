"""The live page as people see it: a real Chromium, English and Chinese, desktop and phone, light and dark."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imago.edge_runtime.imageio import encode_jpeg
from imago.edge_runtime.records.query import EventQuery, read_events
from imago.edge_runtime.records.schema import open_for_reading

from browser import DESKTOP, PHONE, a_page, chromium
from events_support import picture, visit
from page_support import Camera, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

TOKEN = "open sesame, please"  # noqa: S105


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    with Camera(folder=tmp_path_factory.mktemp("page")) as made:
        for n in range(30):
            made.visit(visit(n, unknown=n % 5 == 0))
        yield made


def expect(locator: Locator) -> Any:
    """Playwright's patient assertions."""
    from playwright.sync_api import expect as patient

    return patient(locator)


def opened(page: Page, url: str) -> Page:
    page.goto(url)
    page.locator("#picture").wait_for()
    page.locator("#list li").first.wait_for()
    page.locator("#figures dd").first.wait_for()
    return page


def accessible(page: Page) -> None:
    """No finding of axe-core for WCAG 2.2 A and AA, contrast included."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    assert found.violations_count == 0, found.generate_report()


def test_what_the_camera_sees_and_how_it_does(browser: Browser, camera: Camera) -> None:
    with a_page(browser) as page:
        opened(page, camera.url)
        assert page.inner_text("#label") == "bee"
        assert page.inner_text("#sure") == "91.0 %"
        assert page.locator("#top li").count() == 3
        assert page.locator("#boxes rect").count() == 1
        assert page.inner_text("#durations tbody").split("\t")[1:2] == ["2.1 ms"]
        assert page.inner_text("#health") == "live"
        for word in ("speed", "memory", "running for", "30 kept"):
            assert word in page.inner_text("#figures")
        first = page.get_attribute("#picture", "src")
        expect(page.locator("#picture")).not_to_have_attribute("src", first or "")
        assert page.evaluate("document.getElementById('picture').naturalWidth") == 320
        page.locator("#trend:not([hidden])").wait_for()


@pytest.mark.parametrize(
    ("size", "locale", "scheme"),
    [
        (DESKTOP, "en-GB", "light"),
        (DESKTOP, "zh-CN", "dark"),
        (PHONE, "zh-CN", "light"),
        ((320, 568), "en-GB", "dark"),
    ],
)
def test_accessible_and_within_the_screen(
    browser: Browser, camera: Camera, size: tuple[int, int], locale: str, scheme: Any
) -> None:
    with a_page(browser, size, locale=locale, color_scheme=scheme) as page:
        opened(page, camera.url)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 19)"
        assert dark == (scheme == "dark")
        if size == DESKTOP:
            assert page.evaluate("document.querySelector('#camera').getBoundingClientRect().bottom") < 768
        accessible(page)
        page.locator("#list button").first.click()
        page.locator("#visit[open]").wait_for()
        accessible(page)


def test_chinese_is_whole_and_remembered(browser: Browser, camera: Camera) -> None:
    with a_page(browser) as page:
        opened(page, camera.url)
        page.click("#language")
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
        expect(page.locator("#list")).to_contain_text("蜜蜂")
        expect(page.locator("#spoken")).to_have_text("蜜蜂")  # to screen readers, some seconds later
        expect(page.locator("#label")).to_have_text("蜜蜂")
        text = page.inner_text("body")
        left = set(re.findall(r"[A-Za-z]{3,}", text)) - {"imago", "tiny", "test", "picture", "English"}
        assert not left
        page.reload()
        expect(page.locator("#visits-title")).to_have_text("来访记录")
        page.click("#language")
        expect(page.locator("#visits-title")).to_have_text("Visits")


def test_the_theme_can_be_chosen(browser: Browser, camera: Camera) -> None:
    with a_page(browser, color_scheme="light") as page:
        opened(page, camera.url)
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 19)"
        opened(page, camera.url)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 19)"


def test_visits_are_found_and_marked(browser: Browser, camera: Camera) -> None:
    with a_page(browser) as page:
        opened(page, camera.url)
        assert page.locator("#list li").count() == 24
        page.click("#more")
        expect(page.locator("#list li")).to_have_count(30)
        page.check("#unknown")
        expect(page.locator("#list li")).to_have_count(6)
        page.uncheck("#unknown")
        page.select_option("#which", "wasp")
        expect(page.locator("#list li")).to_have_count(8)
        assert page.locator(".crop img").first.evaluate("i => i.decode().then(() => i.naturalWidth)") == 64
        tile = page.locator("#list button").first
        identifier = tile.get_attribute("data-visit")
        tile.click()
        assert page.inner_text("#visit-title") == "wasp"
        page.select_option("#truth", "fly")
        page.click("#mark")
        page.locator("#visit").wait_for(state="hidden")
        assert "→ fly" in tile.inner_text()
        assert _marks(camera, identifier) == (True, "fly")
        tile.press("Enter")  # by keyboard, too
        page.locator("#unmark").press("Enter")
        page.locator("#visit").wait_for(state="hidden")
        assert _marks(camera, identifier) == (False, None)


def _marks(camera: Camera, identifier: str | None) -> tuple[bool, str | None]:
    assert camera.folder is not None and identifier is not None
    with closing(open_for_reading(camera.folder)) as database:
        (record,) = read_events(database, camera.folder, EventQuery(ids=(identifier,)))
    return record.wrong, record.correction


def test_a_new_visit_appears_by_itself(browser: Browser, camera: Camera) -> None:
    with a_page(browser) as page:
        opened(page, camera.url)
        newest = visit(77)
        camera.visit(newest)
        page.locator(f"[data-visit='{newest.id}']").wait_for()


def test_a_picture_of_ones_own(browser: Browser, camera: Camera, tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(encode_jpeg(picture(3)))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    complaints: list[str] = []
    with a_page(browser, complaints=complaints) as page:
        opened(page, camera.url)
        page.set_input_files("#file", tmp_path / "mine.jpg")
        page.locator("#own-top li").first.wait_for()
        assert "answered in" in page.inner_text("#own-note")
        assert not complaints
        page.set_input_files("#file", tmp_path / "broken.jpg")
        page.locator("#own-note", has_text="No answer").wait_for()


def test_token_by_hand_and_by_link(browser: Browser) -> None:
    with Camera("0.0.0.0:0", token=TOKEN) as camera:
        camera.visit(visit(0))
        with a_page(browser, complaints=[]) as page:
            page.goto(camera.url)
            page.locator("#login").wait_for()
            accessible(page)
            page.fill("#token", "a wrong token, this")
            page.press("#token", "Enter")
            page.locator("#wrong-token", has_text="That is not the token.").wait_for()
            assert page.locator("#content").is_hidden()
            page.fill("#token", TOKEN)
            page.press("#token", "Enter")
            page.locator("#picture").wait_for()
        with a_page(browser) as page:
            page.goto(f"{camera.url}#token={TOKEN.replace(' ', '%20')}")
            page.locator("#picture").wait_for()
            assert "token" not in page.url
            assert "token" not in page.evaluate("JSON.stringify([document.cookie, {...localStorage}])")


def test_a_foreign_page_in_the_same_browser_gets_nothing(browser: Browser, camera: Camera) -> None:
    """It may load, read, post and frame nothing, although localhost needs no token."""
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Foreign)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    before = camera.ask("GET", "/api/status").json["encoded"]
    statuses: dict[str, int] = {}
    try:
        with a_page(browser, complaints=[]) as page:
            page.on("response", lambda r: statuses.update({r.url: r.status}))
            page.goto(f"http://127.0.0.1:{served.server_port}/")
            base = camera.url.rstrip("/")
            got = page.evaluate(ATTACK, base)
        assert got == {"read": "blocked", "image": "blocked", "frame": "empty"}
        assert statuses.get(f"{base}/api/predict", 403) == 403
        assert statuses.get(f"{base}/stream.mjpg", 403) == 403
        assert camera.ask("GET", "/api/status").json["encoded"] == before
    finally:
        served.shutdown()
        served.server_close()


ATTACK = """async (base) => {
  const got = {};
  got.read = await fetch(base + '/api/status').then((r) => r.text(), () => 'blocked');
  await fetch(base + '/api/predict', {method: 'POST', mode: 'no-cors', body: 'x'}).catch(() => {});
  got.image = await new Promise((done) => {
    const image = new Image();
    image.onload = () => done('loaded');
    image.onerror = () => done('blocked');
    image.src = base + '/stream.mjpg';
  });
  const frame = document.createElement('iframe');
  frame.src = base + '/';
  const loaded = new Promise((done) => { frame.onload = done; });
  document.body.append(frame);
  await loaded;
  got.frame = frame.contentWindow.length === 0 ? 'empty' : 'shown';
  try { got.frame = frame.contentDocument ? 'readable' : got.frame; } catch { /* as it should be */ }
  return got;
}"""


class _Foreign(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>foreign</title><p>foreign"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_camera_that_failed_is_told_at_once(browser: Browser) -> None:
    """The loop knows within two seconds; the page does not wait until the picture is ten seconds old."""
    state = {"down": True, "failures": 3, "stalls": 1, "reopened": 2, "downtime_s": 74.2}
    with Camera() as camera, a_page(browser, locale="zh-CN") as page:
        camera.visit(visit(0))
        camera.page.status.provide("camera", lambda: dict(state))
        opened(page, camera.url)
        expect(page.locator("#health")).to_have_text("没有画面")
        expect(page.locator("#figures dd.bad")).to_have_text("出错 3 次，共 1:14 无画面")
        state["down"] = False
        expect(page.locator("#health")).to_have_text("实时")
        expect(page.locator("#figures dd.bad")).to_have_count(0)


def test_a_silent_camera_and_a_program_that_ends_are_told(browser: Browser) -> None:
    with a_page(browser, complaints=[]) as page:
        with Camera(stale_s=1.0) as camera:
            camera.visit(visit(0))
            opened(page, camera.url)
            camera.stop.set()
            page.locator("#notice", has_text="No picture for").wait_for()
            assert page.inner_text("#health") == "no pictures"
            assert page.locator("#caption").is_hidden()  # what was seen then is not there now
            assert page.locator("#top li").count() == 0
            assert page.locator("#boxes rect").count() == 0
            accessible(page)
            port = camera.page.port
        page.locator("#notice", has_text="cannot be reached").wait_for()
        with Camera(f"localhost:{port}") as again:
            page.locator("#notice").wait_for(state="hidden")
            until(lambda: again.ask("GET", "/api/status").json["encoded"] > 0)
