"""Records: what goes in comes out, within its bounds, from every version of the file."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.errors import ImagoError, InputError, StorageError
from imago.edge_runtime.events import Event, event_id
from imago.edge_runtime.imageio import encode_jpeg, read_image
from imago.edge_runtime.records import schema
from imago.edge_runtime.records.crops import crop_path
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.query import EventQuery, Record, mark, read_events
from imago.edge_runtime.records.sink import Records
from imago.edge_runtime.records.store import Store
from imago.edge_runtime.types import Frame, Score

from events_support import LABELS, NOON, picture, visit

SHM = Path("/dev/shm")  # noqa: S108
QUICK = SHM if SHM.is_dir() else None  # where forcing to disk costs nothing
FREE = RecordOptions(reserve_mb=0)


def read(folder: Path, **query: object) -> list[Record]:
    with closing(schema.open_for_reading(folder)) as database:
        return list(read_events(database, folder, EventQuery(**query)))  # type: ignore[arg-type]


def crops(folder: Path) -> list[Path]:
    return sorted((folder / "crops").rglob("*.jpg"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "records", FREE)
    yield made
    made.close()


def test_what_goes_in_comes_out(store: Store) -> None:
    events = [visit(n, unknown=n == 2, box=None if n == 1 else (1, 2, 3, 4)) for n in range(4)]
    for event in reversed(events):
        store.add(event)
    store.add(events[0])  # again: no change
    found = read(store.folder)
    assert [record.event for record in found] == events  # all fields but the crop, which compares apart
    for record, event in zip(found, events, strict=True):
        assert record.crop is not None and event.crop is not None
        kept = read_image(record.crop).image.astype(np.int16)
        assert np.abs(kept - event.crop.image).mean() < 8
    assert store.crops.bytes == sum(path.stat().st_size for path in crops(store.folder))


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, range(12)),
        ({"limit": 3}, (9, 10, 11)),
        ({"limit": 3, "newest_first": True}, (11, 10, 9)),
        ({"since": NOON + 100}, (10, 11)),
        ({"until": NOON + 20}, (0, 1)),
        ({"since": NOON + 20, "until": NOON + 40}, (2, 3)),
        ({"labels": ("bee",)}, (3, 6, 9)),
        ({"labels": ("bee",), "unknown": True}, (0,)),
        ({"labels": ("moth", "fly")}, (1, 4, 5, 7, 10)),
        ({"unknown": True}, (0,)),
        ({"wrong": True}, (5,)),
        ({"min_confidence": 0.6}, (10, 11)),
    ],
)
def test_queries(store: Store, query: dict[str, object], numbers: tuple[int, ...]) -> None:
    events = [visit(n, crop=False, unknown=n == 0) for n in range(12)]
    for event in events:
        store.add(event)
    mark(store.folder, events[5].id, wrong=True, correction="moth")
    assert [record.event.id for record in read(store.folder, **query)] == [events[n].id for n in numbers]


def test_pages_follow_each_other(store: Store) -> None:
    events = [visit(n, crop=False) for n in range(7)]
    for event in events:
        store.add(event)
    seen: list[str] = []
    before = None
    while page := read(store.folder, before=before, limit=3, newest_first=True):
        seen += [record.event.id for record in page]
        before = seen[-1]
    assert seen == [event.id for event in reversed(events)]


def test_marks_can_be_taken_back_and_need_an_event(store: Store) -> None:
    event = visit(0)
    store.add(event)
    mark(store.folder, event.id, wrong=True)
    assert (read(store.folder)[0].wrong, read(store.folder)[0].name) == (True, None)
    mark(store.folder, event.id, wrong=True, correction=" hover fly ")
    assert read(store.folder)[0].name == "hover fly"
    mark(store.folder, event.id, wrong=False)
    assert read(store.folder)[0] == replace(read(store.folder)[0], wrong=False, correction=None)
    for bad in (visit(3).id, "../../etc/passwd", "", "0" * 19, "G" * 20):
        with pytest.raises(InputError):
            mark(store.folder, bad, wrong=True)
    with pytest.raises(InputError, match="1 to 200"):
        mark(store.folder, event.id, wrong=True, correction="x" * 201)


def test_the_oldest_crops_make_room_and_no_event_goes(tmp_path: Path) -> None:
    size = len(encode_jpeg(picture(0)))
    store = Store(tmp_path, RecordOptions(quota_mb=6.5 * size / 1e6, reserve_mb=0))
    for n in range(20):
        store.add(visit(n, crop=True))
    store.close()
    kept = [path.stem for path in crops(tmp_path)]
    events = read(tmp_path)
    assert len(events) == 20
    assert 4 <= len(kept) <= 7
    assert kept == [record.event.id for record in events[-len(kept) :]]
    assert [record.crop is not None for record in events] == [record.event.id in kept for record in events]
    assert Store(tmp_path).crops.bytes == sum(path.stat().st_size for path in crops(tmp_path))


def test_crops_stop_where_an_hour_has_had_its_bytes(tmp_path: Path) -> None:
    size = len(encode_jpeg(picture(0)))
    store = Store(tmp_path, RecordOptions(crops_mb_per_hour=5.5 * size / 1e6, reserve_mb=0))
    for n in range(20):
        store.add(visit(3 * n))
    assert 4 <= len(crops(tmp_path)) <= 7
    assert store.crops.skipped == 20 - len(crops(tmp_path))
    assert len(read(tmp_path)) == 20


def test_a_disk_below_its_reserve_gets_no_more_crops(tmp_path: Path) -> None:
    store = Store(tmp_path, RecordOptions(reserve_mb=1e12))
    store.add(visit(0))
    assert not crops(tmp_path)
    assert len(read(tmp_path)) == 1


def test_other_peoples_files_stay(tmp_path: Path) -> None:
    store = Store(tmp_path, FREE)
    store.add(visit(0))
    day = crops(tmp_path)[0].parent
    strangers = [day / "notes.txt", day / "me.jpg", tmp_path / "crops" / "readme.md"]
    for stranger in strangers:
        stranger.write_text("mine", encoding="utf-8")
    store.crops.make_room(10**9)
    store.close()
    Store(tmp_path, FREE).close()
    assert all(stranger.exists() for stranger in strangers)
    assert not list(day.glob("0*.jpg"))


def test_one_writer_at_a_time(store: Store) -> None:
    with pytest.raises(StorageError, match="another imago run"):
        Store(store.folder)
    store.close()
    Store(store.folder).close()


def test_odd_events_are_kept_as_far_as_they_go(store: Store) -> None:
    nan = float("nan")
    odd = visit(0, top=(Score("半\ud800", 0, nan),), source="\udcff", duration_s=0.0)
    store.add(odd)
    found = read(store.folder)[0].event
    assert (found.label, found.confidence, found.source) == ("半?", 0.0, "?")
    with pytest.raises(InputError, match="no event's identifier"):
        store.add(visit(1, id="../../x"))


def test_every_colour_of_crop(store: Store) -> None:
    shades = {"rgb": (200, 10, 10), "bgr": (10, 10, 200), "gray": 90}
    for n, (color, value) in enumerate(shades.items()):
        shape = (20, 30) if color == "gray" else (20, 30, 3)
        frame = Frame(np.full(shape, value, np.uint8)[:, ::-1], color)  # type: ignore[arg-type]
        store.add(visit(n, crop=frame))
    pixels = [read_image(path).image.reshape(20, 30, -1)[5, 5].tolist() for path in crops(store.folder)]
    assert np.abs(np.array(pixels[0]) - (200, 10, 10)).max() < 8
    assert np.abs(np.array(pixels[1]) - (200, 10, 10)).max() < 8
    assert abs(pixels[2][0] - 90) < 3


def test_a_large_crop_is_made_smaller(tmp_path: Path) -> None:
    store = Store(tmp_path, RecordOptions(max_side=100, reserve_mb=0))
    store.add(visit(0, crop=picture(0, 640, 480)))
    assert read_image(crops(tmp_path)[0]).image.shape == (75, 100, 3)


def test_a_damaged_database_is_put_aside_and_recording_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path, FREE)
    store.add(visit(0))
    store.close()
    (tmp_path / schema.FILE).write_bytes(b"not a database at all" * 300)
    again = Store(tmp_path, FREE)
    again.add(visit(1))
    assert again.set_aside is not None and again.set_aside.read_bytes().startswith(b"not a database")
    assert [record.event.id for record in read(tmp_path)] == [
        visit(1).id[:12] + read(tmp_path)[0].event.id[12:]
    ]
    assert len(crops(tmp_path)) == 2  # the old crop may still be of use to whoever repairs the old file


def test_damage_found_while_writing_is_survived(tmp_path: Path) -> None:
    """Pages of the table are overwritten behind the writer's back: what flash memory does."""
    store = Store(tmp_path, FREE)
    for n in range(40):
        store.add(visit(n, crop=False))
    store.close()
    path = tmp_path / schema.FILE
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)  # the header stays: it opens
    path.write_bytes(data)
    records = Records(tmp_path, FREE)
    for n in range(40, 43):
        records.event(visit(n, crop=False))
    records.close()
    state = records.state()
    assert (state.kept, state.refused) == (3, 0)
    assert state.set_aside is not None
    assert len(read(tmp_path)) == 3


def test_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    store = Store(tmp_path, FREE)
    store.add(visit(0))
    store.close()
    steps = (*schema.MIGRATIONS, ("ALTER TABLE events ADD COLUMN note TEXT", "UPDATE events SET note = 'x'"))
    with closing(sqlite3.connect(tmp_path / schema.FILE, isolation_level=None)) as database:
        schema.migrate(database, tmp_path, steps)
        assert database.execute("SELECT label, note FROM events").fetchall() == [("bee", "x")]
        assert database.execute("PRAGMA user_version").fetchone() == (len(steps),)
        broken = (*steps, ("CREATE TABLE half (x)", "no SQL at all"))
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(database, tmp_path, broken)
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchone() is None
        assert database.execute("PRAGMA user_version").fetchone() == (len(steps),)
    with pytest.raises(StorageError, match="newer imago"):
        schema.open_for_reading(tmp_path)
    with pytest.raises(StorageError, match="newer imago"):
        Store(tmp_path)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / schema.FILE)) as database:
        database.execute("CREATE TABLE holiday_photos (x)")
        database.commit()
    for opening in (Store, schema.open_for_reading):
        with pytest.raises(StorageError, match="another program"):
            opening(tmp_path)  # type: ignore[operator]


def test_no_records_is_a_clear_word(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no records"):
        schema.open_for_reading(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write"):
        Records(tmp_path / "file")


def test_the_sink_keeps_what_it_is_handed(tmp_path: Path) -> None:
    commits: list[int] = []
    records = Records(tmp_path, FREE, outbox=True, on_commit=lambda: commits.append(1))
    events = [visit(n) for n in range(30)]
    for event in events:
        records.event(event)
    records.event(visit(99, id="no identifier"))  # never can be kept; must not stop the others
    records.close()
    records.close()
    state = records.state()
    assert (state.kept, state.refused, len(commits)) == (30, 1, 30)
    assert [record.event for record in read(tmp_path)] == events
    with closing(schema.open_for_reading(tmp_path)) as database:
        lined_up = [row[0] for row in database.execute("SELECT event FROM outbox ORDER BY seq")]
    assert lined_up == [event.id for event in events]


text = st.text(max_size=20)
events = st.builds(
    lambda start, label, source, confidence, frames, unknown, box: Event(
        id=event_id(start),
        source=source,
        model="m",
        start=start,
        end=start + 1,
        duration_s=1.0,
        frames=frames,
        top=(Score(label, 0, confidence),),
        unknown=unknown,
        box=box,
    ),
    st.floats(0, 4e9),
    text,
    text,
    st.floats(0, 1).map(lambda v: round(v, 6)),
    st.integers(1, 2**40),
    st.booleans(),
    st.none() | st.tuples(*[st.integers(-(2**31), 2**31)] * 4),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=8))
def test_any_event_survives(made: list[Event]) -> None:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        store = Store(Path(name), FREE)
        for event in made:
            store.add(event)
        found = read(store.folder)
        store.close()
    assert [record.event for record in found] == sorted(made, key=lambda event: event.id)
    json.dumps([record.to_dict() for record in found], allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "ids": st.lists(text, max_size=3).map(tuple),
            "since": st.floats(),
            "until": st.floats(),
            "labels": st.lists(st.text() | st.sampled_from(LABELS), max_size=5).map(tuple),
            "unknown": st.none() | st.booleans(),
            "wrong": st.none() | st.booleans(),
            "min_confidence": st.floats(),
            "before": text | st.from_regex("[0-9a-f]{20}"),
            "limit": st.integers(),
            "newest_first": st.booleans(),
        },
    )
)
def test_any_query_answers_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, query: dict[str, object]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-query"
    if not folder.exists():
        store = Store(folder, FREE)
        for n in range(6):
            store.add(visit(n, crop=False))
        store.close()
    try:
        found = read(folder, **query)
    except InputError:
        return
    except ImagoError as error:
        raise AssertionError(query) from error
    assert len(found) <= 6


def test_a_crop_is_found_by_its_identifier_alone(tmp_path: Path) -> None:
    assert crop_path(tmp_path, event_id(NOON)).parent == tmp_path / "crops" / "2025-11-24"
    assert crop_path(tmp_path, "f" * 20).parent.name == "9999-12-31"
