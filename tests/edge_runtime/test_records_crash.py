"""Records after a kill −9, a power cut and on a full disk: nothing committed is lost or half there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.records import schema
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.query import EventQuery, read_events
from imago.edge_runtime.records.sink import Records
from imago.edge_runtime.records.store import Store

from events_support import visit
from powercut import Disk, trace
from records_writer import write_named
from support import ROOT

FREE = RecordOptions(reserve_mb=0)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals, mounts and limits")


def check(folder: Path, acked: set[str], *, crops: bool = True) -> set[str]:
    """All that must hold whenever the program is not running; returns the identifiers that are there."""
    Store(folder, FREE, outbox=True).close()  # what every start does
    with closing(schema.open_for_reading(folder)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        records = list(read_events(database, folder, EventQuery()))
        lined_up = {row[0] for row in database.execute("SELECT event FROM outbox")}
    known = {record.event.id for record in records}
    assert acked <= known
    assert lined_up == known  # in line for MQTT in the same transaction
    files = {path for path in (folder / "crops").rglob("*") if path.is_file()}
    assert files <= {record.crop for record in records}
    for path in files:
        read_image(path)
    if crops:
        assert {record.crop for record in records} == files
    return known


@pytest.mark.parametrize("kills", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_killed_at_any_moment(tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of opening, writing crops, committing and renaming."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / '.dev'}{os.pathsep}{ROOT / 'tests'}")  # the fork server's
    folder, chance = tmp_path / "records", random.Random(4)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["records_writer"])
    acked: set[str] = set()
    for kill in range(kills):
        out = tmp_path / f"acks-{kill}"
        handle = os.open(out, os.O_WRONLY | os.O_CREAT)
        process = context.Process(target=write_named, args=(folder, str(out), 1000 * kill))
        process.start()
        os.close(handle)
        if kill % 4:  # the fourth dies while it opens, or is opened by the one before
            _until(lambda: out.stat().st_size > 0)  # noqa: B023
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        whole = out.read_text(encoding="ascii").rpartition("\n")[0].split()
        acked |= set(whole)
        known = check(folder, acked)
        assert len(known) - len(acked) <= kill + 1  # committed, then killed
    assert len(acked) > kills


@pytest.mark.skipif(shutil.which("strace") is None and not os.environ.get("CI"), reason="no strace")
@pytest.mark.parametrize("cuts", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_power_cut_at_any_moment(tmp_path: Path, cuts: int) -> None:
    """Moments between two system calls, each with its own luck as to what reached the disk."""
    folder, acks = tmp_path / "records", tmp_path / "acks"
    env = {**os.environ, "PYTHONPATH": f"{ROOT / '.dev'}{os.pathsep}{ROOT / 'tests'}"}
    calls = trace(
        [sys.executable, str(ROOT / "tests" / "records_writer.py"), str(folder), str(acks), "25"],
        folder,
        acks,
        tmp_path / "log",
        env,
    )
    assert sum(call.name == "ack" for call in calls) == 25
    assert sum(call.name == "sync" for call in calls) >= 50  # a crop and a commit each
    chance = random.Random(7)
    for moment in sorted(chance.choices(range(len(calls)), k=cuts)):
        disk = Disk()
        for call in calls[:moment]:
            disk.do(call)
        left = tmp_path / "left"
        left.mkdir()
        disk.lay_out(folder, left, chance)
        check(left, set(disk.acked))
        shutil.rmtree(left)


def test_the_power_cut_model_finds_a_program_that_does_not_sync(tmp_path: Path) -> None:
    """Without this, the test above could pass because its model never loses anything."""
    disk, chance = Disk(), random.Random(1)
    program = (
        "import os,sys; a=os.open(sys.argv[2],os.O_WRONLY|os.O_CREAT)\n"
        "with open(sys.argv[1]+'/f','wb',buffering=0) as f:\n"
        "    for i in range(5): f.write(b'x'*5000); os.write(a, b'%d\\n' % i)\n"
    )
    folder, acks = tmp_path / "d", tmp_path / "acks"
    folder.mkdir()
    for call in trace(
        [sys.executable, "-c", program, str(folder), str(acks)],
        folder,
        acks,
        tmp_path / "log",
        dict(os.environ),
    ):
        disk.do(call)
    assert disk.acked == ["0", "1", "2", "3", "4"]
    (tmp_path / "left").mkdir()
    disk.lay_out(folder, tmp_path / "left", chance)
    left = tmp_path / "left" / "f"
    assert not left.exists() or left.read_bytes() != b"x" * 25000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail("cannot mount a small file system")
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_on_a_full_disk_crops_make_room_and_events_go_on(small_disk: Path) -> None:
    store = Store(small_disk, FREE)
    kept = []
    for number in range(1200):  # far more crops than fit
        event = visit(number)
        store.add(event)
        kept.append(event.id)
    assert store.crops.evicted + store.crops.skipped > 200
    store.close()
    with closing(schema.open_for_reading(small_disk)) as database:
        assert [r.event.id for r in read_events(database, small_disk, EventQuery())] == kept
    newest = sorted(path.stem for path in (small_disk / "crops").rglob("*.jpg"))
    assert newest
    assert set(newest) <= set(kept)


def test_a_start_on_a_full_disk_makes_room(small_disk: Path) -> None:
    """Found by the soak: killed while others filled the disk, it could not be started again."""
    folder, filler = small_disk / "records", small_disk / "others.log"
    store = Store(folder, FREE)
    for number in range(200):
        store.add(visit(number))
    with closing(sqlite3.connect(folder / "events.sqlite")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    for left in folder.glob("events.sqlite-*"):
        left.unlink()
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    Store(folder, FREE).close()
    assert len(_ids(folder)) == 200


def test_what_does_not_fit_can_be_handed_over_again(small_disk: Path) -> None:
    folder, filler = small_disk / "records", small_disk / "others.log"
    records = Records(folder, FREE, outbox=True)
    for number in range(5):
        records.event(visit(number, crop=False))
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    kept = 5
    with pytest.raises(StorageError, match="free some space"):
        for number in range(5, 1000):
            records.event(visit(number, crop=False))
            kept += 1
    assert records.state().trouble is not None
    assert len(_ids(folder)) == kept  # what was committed can be read meanwhile
    filler.unlink()
    records.event(visit(2000, crop=False))
    assert records.state().trouble is None
    records.close()
    assert len(check(folder, set(_ids(folder)), crops=False)) == kept + 1


def _ids(folder: Path) -> list[str]:
    with closing(schema.open_for_reading(folder)) as database:
        return [record.event.id for record in read_events(database, folder, EventQuery())]


def _until(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)
