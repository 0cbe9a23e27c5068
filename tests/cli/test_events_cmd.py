"""``imago events``, and ``imago run`` with records, MQTT and page, in real processes."""

from __future__ import annotations

import csv
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.store import Store

import onnx_models
from broker import Broker, Listener, until
from events_support import NOON, visit
from support import ROOT, imago

FREE = RecordOptions(reserve_mb=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten visits: bee, fly, wasp and so on, the first unknown, the fourth without crop."""
    store = Store(tmp_path / "records", FREE)
    for n in range(10):
        store.add(visit(n, unknown=n == 0, crop=n != 3, source="=1+1"))
    store.close()
    return tmp_path / "records"


def listed(folder: Path, *args: str) -> list[dict[str, object]]:
    done = imago("events", str(folder), *args, "--json", "-")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["n"] == len(data["events"])
    return list(data["events"])


def test_listing(folder: Path) -> None:
    done = imago("events", str(folder), env={"TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 10
    assert "2025-11-24T16:00:00" in lines[0]
    assert "bee  (unknown)" in lines[0]
    assert imago("events", str(folder), "--label", "moth").stdout == "no events\n"


@pytest.mark.parametrize(
    ("args", "count"),
    [
        (["--label", "fly"], 3),
        (["--label", "fly", "--label", "wasp"], 6),
        (["--unknown"], 1),
        (["--min-confidence", "0.57"], 3),
        (["--limit", "4"], 4),
        (["--since", "2025-11-24T16:00:50+00:00"], 5),
        (["--until", "2025-11-24T16:00:20Z"], 2),
        (["--until", "2025-11-25"], 10),
        (["--since", "24h"], 0),
        (["--since", "2025-11-24", "--until", "2025-11-25", "--label", "bee"], 3),
    ],
)
def test_filters(folder: Path, args: list[str], count: int) -> None:
    assert len(listed(folder, *args)) == count


def test_marking_and_retraining(folder: Path, tmp_path: Path) -> None:
    events = listed(folder)
    wrong = [str(events[n]["id"]) for n in (1, 2)]
    assert imago("events", str(folder), "--wrong", wrong[0]).returncode == 0
    assert imago("events", str(folder), "--wrong", wrong[1], "--label", "A/../moth").returncode == 0
    assert [e["id"] for e in listed(folder, "--marked")] == wrong
    out = tmp_path / "new"
    done = imago("events", str(folder), "--retrain", str(out))
    assert done.returncode == 0, done.stderr
    assert "the model sorted it" in done.stdout
    pictures = {path.parent.name: [] for path in out.rglob("*.jpg")}  # type: ignore[var-annotated]
    for path in sorted(out.rglob("*.jpg")):
        pictures[path.parent.name].append(path.stem)
    ids = [str(event["id"]) for event in events]
    assert pictures == {
        "_to_label": [ids[0], ids[1]],
        "A_.._moth": [ids[2]],
        "bee": [ids[6], ids[9]],  # the fourth visit has no picture
        "fly": [ids[4], ids[7]],
        "wasp": [ids[5], ids[8]],
    }
    check = imago("data", "check", str(out), "--json", "-")
    assert set(json.loads(check.stdout)["classes"]) == {"A_.._moth", "bee", "fly", "wasp"}
    again = imago("events", str(folder), "--retrain", str(out))
    assert again.returncode == 2
    assert "new or empty" in again.stderr
    assert imago("events", str(folder), "--right", *wrong).returncode == 0
    assert not listed(folder, "--marked")


def test_csv_for_spreadsheets(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "visits.csv"
    done = imago("events", str(folder), "--csv", str(path), env={"TZ": "Asia/Shanghai"})
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert (rows[0]["start"], rows[0]["label"], rows[0]["unknown"]) == (
        "2025-11-25T00:00:00.000+08:00",
        "bee",
        "True",
    )
    assert rows[0]["source"] == "'=1+1"  # no formula
    shown = imago("events", str(folder), "--csv", "-", "--limit", "2")
    assert len(shown.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--since", "yesterday"], "is no time"),
        (["--since", "0000-13-45"], "is no time"),
        (["--min-confidence", "2"], "0 to 1"),
        (["--wrong", "../../x"], "no event's identifier"),
        (["--wrong", "0" * 20], "no event 0000"),
        (["--wrong", "0" * 20, "--label", "a", "--label", "b"], "one --label"),
        (["--limit", "0"], "no whole number"),
        (["--label", "moth", "--retrain", "nowhere"], "nothing to train on"),
    ],
)
def test_bad_input_is_one_line(folder: Path, args: list[str], words: str) -> None:
    done = imago("events", str(folder), *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path("nowhere").exists()


def test_no_records_and_damaged_records(tmp_path: Path) -> None:
    for damage in (None, b"", b"SQLite format 3\0" + b"x" * 5000):
        if damage is not None:
            (tmp_path / "events.sqlite").write_bytes(damage)
        for args in ([], ["--json", "-"], ["--wrong", "0" * 20]):
            done = imago("events", str(tmp_path), *args)
            if damage == b"" and not args:
                continue  # an empty file is an empty database to SQLite
            assert "Traceback" not in done.stderr
            assert len(done.stderr.splitlines()) <= 1
            assert done.returncode in (0, 2)
    assert imago("events", str(tmp_path)).returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="no POSIX signals")
def test_run_keeps_sends_and_shows(tmp_path: Path) -> None:
    """The whole way: camera, model, visit, database, broker, page; ended by SIGTERM."""
    model, records = tmp_path / "m.onnx", tmp_path / "records"
    onnx_models.lenet(model)
    with Broker(tmp_path) as broker:
        listener = Listener(broker.port, "trap/#")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "imago.cli.main", "run", str(model), "--source", "synthetic"),
                *("--realtime", "--motion", "off", "--json", "-", "--records", str(records)),
                *("--web", "localhost:0", "--mqtt", f"mqtt://127.0.0.1:{broker.port}/trap"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"},
        )
        assert process.stderr is not None
        port = int(re.search(r"localhost:(\d+)/", process.stderr.readline())[1])  # type: ignore[index]
        page = http.client.HTTPConnection("localhost", port, timeout=20)
        page.request("GET", "/api/frame?after=0")
        frame = page.getresponse()
        assert Image.open(frame).size == (640, 480)
        page.close()
        until(lambda: _frames(port) > 20)  # long enough to be a visit
        until(lambda: b"online" in listener.of("trap/status"))
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        until(lambda: listener.of("trap/events") and listener.of("trap/status")[-1] == b"offline")
        listener.close()
    assert json.loads(out)["events"]["count"] == 1
    (event,) = listed(records)
    assert event["crop"]
    assert event["start"] > NOON  # type: ignore[operator]
    (sent,) = {json.loads(payload)["id"] for payload in listener.of("trap/events")}
    assert sent == event["id"]


def _frames(port: int) -> int:
    page = http.client.HTTPConnection("localhost", port, timeout=20)
    page.request("GET", "/api/status")
    with page.getresponse() as answer:
        frames = int(json.load(answer)["frames"])
    page.close()
    return frames


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--mqtt", "mqtt://b"], "needs --records"),
        (["--mqtt", "mqtt://me:pw@b", "--records", "r"], "no password on the command line"),
        (["--web", "a:b"], "no address"),
        (["--web", "192.0.2.1:1"], "cannot listen"),
        (["--records", "/dev/null/x"], "cannot write"),
    ],
)
def test_run_says_what_is_wrong(tmp_path: Path, args: list[str], words: str) -> None:
    model = tmp_path / "m.onnx"
    onnx_models.lenet(model)
    args = [str(tmp_path / "r") if arg == "r" else arg for arg in args]
    done = imago("run", str(model), "--source", "synthetic", "--frames", "2", *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert "pw" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
