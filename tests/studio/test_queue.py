"""Jobs in processes of their own: one after the other, found again, ended, and told when they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imago.edge_runtime.errors import InputError
from imago.studio.jobs.job import STATE, Job
from imago.studio.jobs.queue import Queue

from picture_support import striped_folders
from studio_support import until
from support import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / ".dev"))  # workers run this checkout's code
    (tmp_path / "jobs").mkdir()
    return tmp_path / "jobs"


def status(queue: Queue, number: int) -> str:
    queue.turn()
    job = queue.get(number)
    assert job is not None
    return job.status


def wait(queue: Queue, number: int, *wanted: str) -> Job:
    ended = ("done", "failed", "stopped")
    until(lambda: status(queue, number) in (*wanted, *ended))
    job = queue.get(number)
    assert job is not None
    assert job.status in wanted, (job.status, job.failure)
    return job


def test_one_after_the_other(folder: Path, tmp_path: Path) -> None:
    queue = Queue(folder)
    first = queue.add("draw", "a", {"out": str(tmp_path / "a"), "per_class": 7, "size": 16})
    second = queue.add("draw", "b", {"out": str(tmp_path / "b"), "per_class": 7, "size": 16})
    assert [job.status for job in queue.live()] == ["running", "queued"]
    done = wait(queue, first.number, "done")
    assert done.report.result == {"set": "a"}
    assert done.report.done == done.report.total == 42
    assert wait(queue, second.number, "done").report.result == {"set": "b"}
    assert (tmp_path / "b" / "generated.json").is_file()
    with pytest.raises(InputError, match="nothing to resume"):
        queue.resume(first.number)


def test_what_failed_says_why_in_both_languages(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(folder)
    made = queue.add("check", "x", {"data": str(tmp_path / "nowhere")})
    failed = wait(queue, made.number, "failed")
    assert "there is no folder" in failed.failure
    assert str(tmp_path / "nowhere") in failed.failure
    monkeypatch.setenv("IMAGO_LANG", "zh")
    assert "没有文件夹" in failed.failure
    monkeypatch.setenv("IMAGO_LANG", "en")
    data = striped_folders(tmp_path / "nowhere", count=4)
    queue.resume(made.number)
    assert wait(queue, made.number, "done").report.result["n"] == sum(1 for _ in data.rglob("*.*"))


def test_a_process_that_dies_is_noticed(folder: Path, tmp_path: Path) -> None:
    queue = Queue(folder)
    made = queue.add("draw", "a", {"out": str(tmp_path / "a"), "per_class": 500, "size": 200})
    until(lambda: (made.folder / STATE).exists())
    queue._processes[made.number].kill()
    failed = wait(queue, made.number, "failed")
    assert "out of memory" in failed.failure
    assert not (tmp_path / "a").exists()


def test_a_job_goes_on_without_its_studio_and_is_found_again(folder: Path, tmp_path: Path) -> None:
    first = Queue(folder)
    made = first.add("draw", "a", {"out": str(tmp_path / "a"), "per_class": 40, "size": 96})
    until(lambda: (made.folder / STATE).exists())
    process = first._processes.pop(made.number)  # the first studio is gone, without a word
    second = Queue(folder)
    assert status(second, made.number) in ("running", "done")
    process.wait()
    assert wait(second, made.number, "done").report.result == {"set": "a"}


def test_a_stopped_job_makes_way_and_a_paused_one_does_not(folder: Path, tmp_path: Path) -> None:
    queue = Queue(folder)
    big = {"per_class": 3000, "size": 200}
    one = queue.add("draw", "a", {"out": str(tmp_path / "a"), **big})
    two = queue.add("draw", "b", {"out": str(tmp_path / "b"), "per_class": 7, "size": 16})
    until(lambda: (one.folder / STATE).exists())
    queue.wish(one.number, "pause")
    wait(queue, one.number, "paused")
    assert status(queue, two.number) == "queued"
    again = Queue(folder)  # also after a restart
    assert (status(again, one.number), status(again, two.number)) == ("paused", "queued")
    again.wish(one.number, "stop")
    assert wait(again, two.number, "done").order.title == "b"
    assert status(again, one.number) == "stopped"
    assert not (tmp_path / "a").exists()


def test_closing_interrupts_and_the_next_studio_goes_on(folder: Path, tmp_path: Path) -> None:
    queue = Queue(folder)
    made = queue.add("draw", "a", {"out": str(tmp_path / "a"), "per_class": 40, "size": 96})
    until(lambda: (made.folder / STATE).exists())
    queue.close()
    assert not (tmp_path / "a").exists()
    again = Queue(folder)
    assert status(again, made.number) in ("paused", "queued", "running")
    assert wait(again, made.number, "done").report.result == {"set": "a"}


def test_damaged_job_folders_do_not_stop_the_studio(folder: Path) -> None:
    for name, text in {"00001": "{", "00002": "[]", "00003": '{"kind": 1, "nonsense": 2}', "x": "{}"}.items():
        (folder / name).mkdir()
        (folder / name / "job.json").write_text(text)
    (folder / "00004").mkdir()
    queue = Queue(folder)
    assert queue.jobs() == []
    made = queue.add("check", "x", {"data": json.dumps("nowhere")})
    assert wait(queue, made.number, "failed").number == made.number
