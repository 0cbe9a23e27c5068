"""Pictures come into the workspace: a folder, the webcam, a folder of this computer; what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser import a_page
from studio_support import CLASSES, Studio, tiny_set, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# This browser has no camera: a moving canvas stands in for one.
FAKE_CAMERA = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = 320; canvas.height = 240;
  const pen = canvas.getContext('2d');
  let t = 0;
  setInterval(() => { pen.fillStyle = `hsl(${t++ * 7 % 360} 80% 50%)`; pen.fillRect(0, 0, 320, 240); }, 40);
  navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20);
}"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_set(tmp_path_factory.mktemp("set") / "photos", per_class=4)


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as patient

    return patient(locator)


def opened(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("h1").wait_for()
    page.wait_for_function("window.did_handshake")


def test_a_folder_is_chosen(browser: Browser, studio: Studio, photos: Path) -> None:
    (photos / "notes.docx").write_bytes(b"x")
    with a_page(browser) as page:
        opened(page, f"{studio.url}/data")
        page.locator("[data-drop=set] input").nth(1).set_input_files(photos)
        page.locator("[data-shown=photos] .class").nth(2).wait_for()
        assert page.locator(".class strong").all_inner_texts() == list(CLASSES)
        page.locator(".findings .note").first.wait_for()
        assert "only 4 training pictures" not in page.inner_text("main")  # some are held out
    sent = sorted(
        p.relative_to(studio.folder / "data" / "photos") for p in studio.folder.glob("data/photos/*/*")
    )
    assert sent == sorted(p.relative_to(photos) for p in photos.glob("*/*"))


def test_insects_are_drawn(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        opened(page, f"{studio.url}/data")
        page.click("#draw")
        page.locator(".card", has_text="Drawing insects").wait_for()  # that it has begun is seen at once
        page.locator("[data-shown=insects] .class").nth(5).wait_for()
        expect(page.locator(".card", has_text="Drawing insects")).to_have_count(0)


def test_the_webcam_fills_classes(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        opened(page, f"{studio.url}/data")
        page.click("#collect")
        page.locator("[data-set='my pictures'][aria-pressed=true]").wait_for()  # not the set shown before it
        for name in ("red", "绿"):
            page.locator("#field-class").fill(name)
            page.locator("#field-class").press("Tab")
            page.click("#add-class")
            page.locator(f"[data-folder='{name}']").first.wait_for()
        page.evaluate(FAKE_CAMERA)
        for name, count in (("red", 1), ("绿", 1), ("red", 2)):
            page.locator(f"button[data-folder='{name}']").click()
            until(lambda: len(list(studio.folder.glob(f"data/my pictures/{name}/*.jpg"))) == count, 30)  # noqa: B023
            page.evaluate(FAKE_CAMERA)
        page.locator(".class", has_text="red").locator("span", has_text="2").wait_for()
        assert "a classifier needs at least two classes" not in page.inner_text("main")


# Vue draws everything on the page again, as at any change of anything.
DRAW_AGAIN = "() => mounted_app.$forceUpdate()"
# A field is drawn anew with what the studio knows, as if that had been on its way already.
RENEW = """([id, shown, heard]) => {
  const old = document.getElementById(id), fresh = old.cloneNode();
  fresh.value = shown;
  fresh.dataset.heard = heard;
  window.toldAgain = 0;
  fresh.addEventListener('change', () => { window.toldAgain += 1; });
  old.replaceWith(fresh);
}"""


def test_pictures_that_come_take_nothing_from_who_is_typing(
    browser: Browser, studio: Studio, photos: Path
) -> None:
    with a_page(browser) as page:
        opened(page, f"{studio.url}/data")
        page.click("#collect")
        page.locator("[data-set='my pictures-2'][aria-pressed=true]").wait_for()
        name = page.locator("#field-class")
        name.press_sequentially("lady")
        page.evaluate(DRAW_AGAIN)
        expect(name).to_have_value("lady")
        picture = (photos / "bee" / "01.png").read_bytes()
        status, answer = studio.send("/api/upload/file?set=my%20pictures-2&path=bee/1.png", picture)
        assert status == 200, answer
        page.evaluate(ARRIVED, "my pictures-2")
        name.press_sequentially("bird")
        assert page.locator(".class").count() == 0  # who types is not disturbed
        page.click("#add-class")
        page.locator("[data-folder=ladybird]").first.wait_for()
        page.locator(".class", has_text="bee").first.wait_for()
        expect(name).to_have_value("")


# Files have come, as the page's scripts say it.
ARRIVED = """(set) => imagoTell(document.querySelector('.page'), 'imagosent', {set, sent: 1, failed: 0})"""


def test_a_field_that_is_drawn_anew_holds_what_was_typed(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        opened(page, f"{studio.url}/parameters")
        field = page.locator("#field-epochs")
        field.clear()
        field.press_sequentially("7")
        page.evaluate(RENEW, ["field-epochs", "50", ""])
        expect(field).to_have_value("7")
        expect(field).to_be_focused()
        assert page.evaluate("toldAgain") == 0  # it is still being typed
        page.reload()
        page.wait_for_function("window.did_handshake")
        field.fill("9")
        field.press("Tab")
        page.evaluate(RENEW, ["field-epochs", "50", ""])
        expect(field).to_have_value("9")
        assert page.evaluate("toldAgain") == 1  # the change had gone to a field that was no more
        page.evaluate(RENEW, ["field-epochs", "50", "99"])
        expect(field).to_have_value("50")  # and this is what the studio made of it


def test_what_was_typed_and_left_is_known_at_once(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        opened(page, f"{studio.url}/parameters")
        page.locator("#field-epochs").fill("8")
        page.click("#defaults")  # both arrive together: the default wins
        page.locator("[data-parameter=epochs]:not(.changed)").wait_for()
        expect(page.locator("#field-epochs")).to_have_value("50")
        page.locator(".fold > summary").click()
        page.locator("#field-patience").fill("3")
        page.locator("#field-patience").press("Tab")
        page.locator("[data-parameter=patience].changed").wait_for()
        page.evaluate(DRAW_AGAIN)
        expect(page.locator("#field-patience")).to_have_value("3")
    until(lambda: studio.choices().get("parameters") == {"patience": 3})


def test_a_folder_stays_where_it_lies(browser: Browser, studio: Studio, photos: Path) -> None:
    before = sorted(photos.rglob("*"))
    with a_page(browser) as page:
        opened(page, f"{studio.url}/data")
        page.get_by_text("Use a folder where it lies").click()
        page.locator("#field-folder").fill("not/a/whole/path")
        page.locator("#field-folder").press("Tab")
        page.click("#use-folder")
        page.locator(".q-notification", has_text="give the whole path").wait_for()
        page.locator("#field-folder").fill(str(photos))
        page.locator("#field-folder").press("Tab")
        page.click("#use-folder")
        page.locator("[data-shown=photos-2] .class").nth(2).wait_for()
        page.get_by_role("button", name="delete photos-2").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        page.locator('[data-set="photos-2"]').wait_for(state="detached")
    assert sorted(photos.rglob("*")) == before
    assert (studio.folder / "data" / "photos").is_dir()


def test_what_is_wrong_with_pictures_is_said(browser: Browser, studio: Studio, photos: Path) -> None:
    victim = studio.folder / "data" / "photos" / "bee" / "00.png"
    victim.write_bytes(victim.read_bytes()[:100])
    with a_page(browser) as page:
        opened(page, f"{studio.url}/data")
        page.locator('[data-set="photos"]').click()
        page.locator("[data-shown=photos]").wait_for()
        page.locator(".findings .note.bad", has_text="training stops at them").wait_for()
        assert "bee/00.png" in page.inner_text(".findings")
        shown = page.locator(".strip img").first
        loaded = "(image) => image.complete && image.naturalWidth > 0"
        page.wait_for_function(loaded, arg=shown.element_handle())
        status, headers, _ = studio.ask(str(shown.get_attribute("src")))
        assert (status, headers["content-type"]) == (200, "image/svg+xml")
