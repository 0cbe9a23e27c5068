"""The progress line: silent in pipes, one line on a terminal, wiped when other text comes."""

from __future__ import annotations

import io

from imago.edge_runtime.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_silent_where_stderr_is_no_terminal() -> None:
    stream = io.StringIO()
    with Progress(3, "decoding", stream=stream) as bar:
        bar.advance(3)
    assert stream.getvalue() == ""


def test_one_line_that_ends_wiped() -> None:
    stream = Terminal()
    with Progress(4, "decoding", stream=stream) as bar:
        bar.advance(4, "loss 0.5")
        assert "4/4" in stream.getvalue()
        assert "loss 0.5" in stream.getvalue()
        bar.clear()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_unknown_total_and_overrun_do_not_fail() -> None:
    bar = Progress(0, "frames", stream=Terminal())
    bar.advance(5)
    assert "frames 5" in bar.line(0.0)
    over = Progress(2, "steps", stream=Terminal())
    over.advance(5)
    assert "5/2" in over.line(1e9)


def test_durations() -> None:
    assert [duration(s) for s in (0, 75, 3725)] == ["0:00", "1:15", "1:02:05"]
