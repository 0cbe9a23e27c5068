"""The event as a value."""

from __future__ import annotations

import pytest

from imago.edge_runtime.events import Event, event_id
from imago.edge_runtime.types import Score


def test_identifiers_sort_by_time_and_differ() -> None:
    moments = [0.0, 1.0, 1_700_000_000.001, 1_700_000_000.002, 4_000_000_000.0]
    ids = [event_id(m) for m in moments]
    assert ids == sorted(ids)
    assert len({event_id(1.0) for _ in range(100)}) == 100


def test_an_event_says_its_best_class_and_survives_json() -> None:
    top = (Score("bee", 1, 0.8), Score("fly", 2, 0.1))
    event = Event(event_id(5.0), "synthetic", "m", 5.0, 7.5, 2.5, 12, top, box=(1, 2, 3, 4))
    data = event.to_dict()
    assert (event.label, event.confidence, data["box"], data["top"][1]["label"]) == (
        "bee",
        0.8,
        [1, 2, 3, 4],
        "fly",
    )


@pytest.mark.parametrize("bad", [{"frames": 0}, {"duration_s": -1.0}, {"top": ()}])
def test_nonsense_is_refused(bad: dict[str, object]) -> None:
    good = {"frames": 1, "duration_s": 0.0, "top": (Score("a", 0, 1.0),)}
    with pytest.raises(ValueError, match="not an event"):
        Event("id", "s", "m", 0.0, 0.0, **{**good, **bad})  # type: ignore[arg-type]
