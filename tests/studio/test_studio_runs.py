"""Trainings in the page, several of them: reload in the middle, a queue, failure, stop and go on, restart.

Slow: each trains for real. The quick path is in ``test_studio_browser.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from imago.studio.jobs.job import WISH

from browser import a_page
from studio_support import CLASSES, Studio, tiny_set, until, zipped
from support import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
PATIENCE_MS = 400_000


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("set")
    return zipped(tiny_set(place / "tiny", per_class=20), place / "tiny.zip")


@pytest.fixture
def studio(tmp_path: Path, archive: Path) -> Iterator[Studio]:
    with Studio(tmp_path / "workspace") as running:
        running.send_zip("tiny.zip", archive.read_bytes())
        yield running


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as patient

    return patient(locator)


def opened(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("h1").wait_for()
    page.wait_for_function("window.did_handshake")


def ready(page: Page, studio: Studio, **parameters: str) -> None:
    """LeNet-5 on the tiny set with these parameters, at the training step."""
    opened(page, f"{studio.url}/model")
    page.locator("[data-model=lenet5]").click()
    expect(page.locator("[data-model=lenet5]")).to_have_attribute("aria-pressed", "true")
    opened(page, f"{studio.url}/data")
    page.locator('[data-set="tiny"]').click()
    page.locator("[data-shown=tiny] .class").first.wait_for()
    opened(page, f"{studio.url}/parameters")
    page.locator("#field-device").select_option("cpu")
    for name, value in parameters.items():
        page.locator(f"#field-{name}").fill(value)
        page.locator(f"#field-{name}").press("Tab")
    until(lambda: len(studio.choices().get("parameters", {})) == 1 + len(parameters))
    opened(page, f"{studio.url}/train")


def ended(page: Page, number: int, status: str) -> None:
    place = f"li[data-job='{number}'][data-status={status}]"
    page.locator(place).wait_for(timeout=PATIENCE_MS)


def epochs_done(studio: Studio, run: str = "tiny-lenet5") -> int:
    try:
        return len((studio.folder / "runs" / run / "metrics.jsonl").read_text().splitlines())
    except OSError:
        return 0


@contextmanager
def held(studio: Studio, number: int, epochs: int = 0) -> Iterator[None]:
    """The job's process stands still meanwhile, from so many epochs on: a fast machine is not through with it
    before the test has clicked."""

    def worker() -> psutil.Process | None:
        place = str(studio.folder / "jobs" / f"{number:05}")
        for process in psutil.Process(studio.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # ended meanwhile
                if place in process.cmdline():
                    return process
        return None

    process = until(worker)
    until(lambda: epochs_done(studio) >= epochs, 400, every=0.005)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def weights(studio: Studio, run: str = "tiny-lenet5") -> str:
    return hashlib.sha256((studio.folder / "runs" / run / "weights.safetensors").read_bytes()).hexdigest()


def test_reload_stop_go_on_and_a_second_one(browser: Browser, studio: Studio) -> None:
    """The interrupted run ends in the same weights as an uninterrupted one of the same seed."""
    with a_page(browser) as page:
        ready(page, studio, epochs="40")
        page.click("#start")
        page.locator(".live").wait_for()
        first = job_of(studio, "tiny-lenet5")
        with held(studio, first):
            page.locator("#start", has_text="Put into the queue").click()
            ended(page, job_of(studio, "tiny-lenet5-2"), "queued")
        with held(studio, first, epochs=2):
            page.reload()
            page.locator("[data-figure=epoch]", has_text="/ 40").wait_for()
            page.wait_for_function("window.did_handshake")
            page.locator(f"[data-act=stop][data-job='{first}']").click()
            until((studio.folder / "jobs" / f"{first:05}" / WISH).is_file)
        ended(page, first, "stopped")
        assert 0 < epochs_done(studio) < 40
        assert not (studio.folder / "runs" / "tiny-lenet5" / "weights.safetensors").exists()
        second = job_of(studio, "tiny-lenet5-2")
        ended(page, second, "done")
        page.locator(f"[data-act=resume][data-job='{first}']").click()
        ended(page, first, "done")
        opened(page, f"{studio.url}/understand")
        assert page.locator("table:not(.matrix) tbody tr").count() == 2
    assert weights(studio) == weights(studio, "tiny-lenet5-2")


def job_of(studio: Studio, title: str) -> int:
    def found() -> int:
        for path in (studio.folder / "jobs").glob("*/job.json"):
            if json.loads(path.read_text())["title"] == title and "train" in path.read_text():
                return int(path.parent.name)
        return 0

    return int(until(found))


def test_pause_holds_the_queue(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        ready(page, studio, epochs="60")
        page.click("#start")
        page.locator(".live").wait_for()
        first = job_of(studio, "tiny-lenet5")
        with held(studio, first, epochs=1):
            page.locator(f"[data-act=pause][data-job='{first}']").click()
            until((studio.folder / "jobs" / f"{first:05}" / WISH).is_file)
        ended(page, first, "paused")
        seen = epochs_done(studio)
        page.locator(f"[data-act=resume][data-job='{first}']").click()
        ended(page, first, "done")
    assert 0 < seen < 60
    assert epochs_done(studio) == 60


def test_a_failure_is_told_with_its_remedy(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        ready(page, studio, epochs="3", lr="10")
        page.locator("text=learning rate 10").wait_for()
        opened(page, f"{studio.url}/parameters")
        page.locator("#field-optimizer").select_option("sgd")
        page.locator(".fold > summary").click()
        page.locator("#field-ema").fill("0")
        page.locator("#field-ema").press("Tab")
        until(lambda: studio.choices()["parameters"].get("ema") == 0)
        ruin(studio.folder / "data" / "tiny" / "bee")
        opened(page, f"{studio.url}/train")
        page.click("#start")
        page.locator(".live .note.bad").wait_for(timeout=PATIENCE_MS)
        text = page.inner_text(".live .note.bad")
        assert "This training has failed." in text
        assert "bee" in text
        assert "Traceback" not in text
        page.locator(".live").get_by_role("link", name="To the data").click()
        expect(page.locator("h1")).to_have_text("Which pictures?")


def ruin(folder: Path) -> None:
    """One picture is cut off in the middle."""
    victim = sorted(folder.iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:200])


def test_a_training_outlives_page_and_studio(tmp_path: Path, archive: Path, browser: Browser) -> None:
    folder = tmp_path / "workspace"
    with Studio(folder) as studio, a_page(browser) as page:
        studio.send_zip("tiny.zip", archive.read_bytes())
        ready(page, studio, epochs="60")
        page.click("#start")
        page.locator(".live").wait_for()
        with held(studio, job_of(studio, "tiny-lenet5"), epochs=1):
            page.close()
            studio.end(signal.SIGKILL)
    until(lambda: epochs_done(studio) > 3, 400)  # nobody is there, and it goes on
    with Studio(folder) as again, a_page(browser) as page:
        opened(page, f"{again.url}/train")
        page.locator(".live .note.good").wait_for(timeout=PATIENCE_MS)
        assert epochs_done(again) == 60


def test_ctrl_c_saves_and_the_next_studio_goes_on(tmp_path: Path, archive: Path, browser: Browser) -> None:
    folder = tmp_path / "workspace"
    with Studio(folder) as studio, a_page(browser, complaints=[]) as page:
        studio.send_zip("tiny.zip", archive.read_bytes())
        ready(page, studio, epochs="60")
        page.click("#start")
        page.locator(".live").wait_for()
        number = job_of(studio, "tiny-lenet5")
        with held(studio, number, epochs=1):
            studio.process.send_signal(signal.SIGINT)
            until((folder / "jobs" / f"{number:05}" / WISH).is_file)
        assert studio.process.wait(120) == 0
    assert (folder / "runs" / "tiny-lenet5" / "checkpoint.safetensors").is_file()
    with Studio(folder) as again, a_page(browser) as page:
        opened(page, f"{again.url}/train")
        page.locator(".live .note.good").wait_for(timeout=PATIENCE_MS)


def test_the_whole_path_in_chinese(browser: Browser, tmp_path: Path, archive: Path) -> None:

    with Studio(tmp_path / "workspace") as studio, a_page(browser, locale="zh-CN") as page:
        opened(page, studio.url)
        page.get_by_role("button", name="说出图片上是什么").click()
        page.locator("[data-model=lenet5]").click()
        page.get_by_role("link", name="下一步：数据").click()
        page.locator("[data-drop=set] input").first.set_input_files(archive)
        page.locator("[data-shown=tiny] .class").nth(2).wait_for()
        page.get_by_role("link", name="下一步：参数").click()
        page.locator("#field-epochs").fill("3")
        page.locator("#field-epochs").press("Tab")
        page.get_by_role("link", name="下一步：代码").click()
        assert "用文件夹里的照片训练一个网络" in page.inner_text("#program")
        page.get_by_role("link", name="下一步：训练").click()
        page.get_by_role("button", name="开始训练").click()
        page.locator(".live .note.good", has_text="全部保存在").wait_for(timeout=PATIENCE_MS)
        page.get_by_role("link", name="试一试").click()
        with zipfile.ZipFile(archive) as zipped_set:
            zipped_set.extract("tiny/bee/00.png", tmp_path)
        page.locator("[data-drop=try] input").first.set_input_files(tmp_path / "tiny" / "bee" / "00.png")
        page.locator("#tried .bars li").nth(2).wait_for()
        assert page.locator("#tried .bars li").count() == len(CLASSES)


def test_compress_and_pick_a_point(browser: Browser, studio: Studio) -> None:
    with a_page(browser) as page:
        ready(page, studio, epochs="6")
        page.click("#start")
        page.locator(".live .note.good").wait_for(timeout=PATIENCE_MS)
        opened(page, f"{studio.url}/compress")
        page.locator("#field-macs").select_option("0.5")
        page.locator("#field-max-drop").fill("100")
        page.locator("#field-max-drop").press("Tab")
        page.locator("#field-retrain").fill("2")
        page.locator("#field-retrain").press("Tab")
        until(lambda: studio.choices()["notes"].get("/compress", {}).get("epochs") == 2)
        page.click("#compress")
        page.locator(".versions .tile").first.wait_for(timeout=PATIENCE_MS)
        names = page.locator(".versions .tile").evaluate_all("all => all.map((e) => e.dataset.version)")
        assert {"fp32-onnx", "int8-onnx", "macs50-fp32-onnx"} <= set(names)
        page.locator("[data-version=int8-onnx]").click()
        expect(page.locator("[data-version=int8-onnx]")).to_have_attribute("aria-pressed", "true")
        opened(page, f"{studio.url}/try")
        expect(page.locator("#field-model-file")).to_have_value(
            "runs/tiny-lenet5/compressed/models/int8-onnx.onnx"
        )
        with page.expect_download() as saved:
            page.click("#save-model")
        made = studio.folder / "runs/tiny-lenet5/compressed/models/int8-onnx.onnx"
        assert Path(saved.value.path()).read_bytes() == made.read_bytes()


def test_predict_py_says_what_the_page_says(browser: Browser, studio: Studio, tmp_path: Path) -> None:
    with a_page(browser) as page:
        ready(page, studio, epochs="3")
        page.click("#start")
        page.locator(".live .note.good").wait_for(timeout=PATIENCE_MS)
    run = studio.folder / "runs" / "tiny-lenet5"
    picture = studio.folder / "data" / "tiny" / "bee" / "00.png"
    model = "runs/tiny-lenet5/tiny-lenet5.onnx"
    _, answer = studio.send(f"/api/upload/predict?model={model}", picture.read_bytes())
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    command = [sys.executable, str(run / "predict.py"), str(picture)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    best = answer["top"][0]
    assert f"{best['label']} {best['confidence']:.1%}" in done.stdout
