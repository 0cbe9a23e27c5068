"""The search as a job of the studio and as a page: asked for with a click, watched, its network used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imago.edge_runtime.classifier import Classifier
from imago.studio.jobs.kinds import KINDS, SEARCH_REPORT
from imago.studio.tools.search import scatter
from imago.train.run import Run

from picture_support import striped_folders


@pytest.mark.slow
def test_the_job_leaves_a_run_that_the_other_steps_can_use(tmp_path: Path) -> None:
    data = striped_folders(tmp_path / "photos", count=20)
    options = {"budget_s": 7200, "models": ["lenet5"], "trials": 1, "epochs": 1, "workers": 1, "threads": 1}
    arguments = {
        "data": str(data),
        "out": str(tmp_path / "searches" / "s"),
        "run": str(tmp_path / "runs" / "photos-search"),
        "options": {**options, "models": ("lenet5",)},
    }
    said: list[str] = []
    done = KINDS["search"](arguments, said.append)
    run = tmp_path / "runs" / "photos-search"
    assert Run.load(run).model["name"] == "lenet5" and done["run"] == run.name
    with Classifier(Path(done["model"])) as classifier:
        assert classifier.self_test().passed
    assert any("lenet5" in line for line in said)
    report = (run / SEARCH_REPORT).read_text(encoding="utf-8")
    assert report == (tmp_path / "searches" / "s" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in report
    state = json.loads((tmp_path / "searches" / "s" / "progress.json").read_text(encoding="utf-8"))
    (point,) = scatter(state)["series"][0]["data"]
    assert point["name"] == "lenet5, 32 px" and point["label"]["show"]
    again = KINDS["search"](arguments, said.append)  # as after a stop: nothing is made twice
    assert again == done


def test_nothing_is_drawn_before_there_is_something() -> None:
    assert [series["data"] for series in scatter({})["series"]] == [[], []]


def test_the_picture_shows_the_front_as_steps() -> None:
    def trial(number: int, p50_us: float, accuracy: float | None) -> dict[str, Any]:
        setting = {"model": f"n{number}", "width": 1, "size": 32, "rung": number % 3}
        return {"number": number, "p50_us": p50_us, "accuracy": accuracy, **setting}

    trials = [trial(0, 4000, 0.9), trial(1, 1000, 0.5), trial(2, 2000, 0.4), trial(3, 500, None)]
    state = {"trials": trials, "front": [0, 1], "best": 1, "max_latency_us": 3000}
    dots, steps = scatter(state)["series"]
    assert [point["value"] for point in dots["data"]] == [[4.0, 90.0], [1.0, 50.0], [2.0, 40.0]]
    assert [point["label"]["show"] for point in dots["data"]] == [False, True, False]
    assert dots["markLine"]["data"] == [{"xAxis": 3.0}]
    assert steps["data"] == [[1.0, 50.0], [4.0, 90.0]]
    assert steps["step"] == "end"


@pytest.mark.slow
def test_one_button_from_pictures_to_a_network(tmp_path: Path) -> None:
    from playwright.sync_api import expect

    from browser import a_page, chromium
    from studio_support import Studio, tiny_set, until, zipped

    archive = zipped(tiny_set(tmp_path / "tiny", per_class=20), tmp_path / "tiny.zip")
    with Studio(tmp_path / "workspace") as studio, chromium() as browser, a_page(browser) as page:
        studio.send_zip("tiny.zip", archive.read_bytes())
        opened(page, f"{studio.url}/data")
        page.locator('[data-set="tiny"]').click()
        page.locator("[data-shown=tiny] .class").first.wait_for()
        opened(page, f"{studio.url}/tools/search")
        page.locator("#field-minutes").select_option("2")
        page.locator("#search").click()
        page.locator("#stop-search").wait_for(timeout=30_000)
        expect(page.locator("#use")).to_be_visible(timeout=400_000)
        expect(page.locator("#tried")).to_contain_text("most accurate")
        assert page.request.get(f"{studio.url}{page.locator('#why').get_attribute('href')}").ok
        page.locator("#use").click()
        page.wait_for_url("**/understand")
        runs = [p.name for p in (tmp_path / "workspace" / "runs").iterdir()]
        assert runs == ["tiny-search"]
        until(lambda: studio.choices().get("run") == "tiny-search")  # written behind the page


def opened(page: Any, address: str) -> None:
    page.goto(address)
    page.locator("h1").wait_for()
    page.wait_for_function("window.did_handshake")
