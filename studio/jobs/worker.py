"""``python -m imago.studio.jobs.worker FOLDER``: do one job, in a process of its own.

It outlives the browser and even the studio: all it needs and all it says is in the folder. No NiceGUI here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

from imago.edge_runtime.errors import ImagoError
from imago.edge_runtime.progress import Progress, watch_progress
from imago.edge_runtime.records.lock import FolderLock
from imago.edge_runtime.threads import calm_threads
from imago.studio.jobs.job import LOG, Order, Report, wish_of

LOOK_EVERY_S = 0.2
NICE = 5  # the page, and whatever else a pupil has open, go first


class Teller:
    """Keeps ``state.json`` up to date, and hears wishes, in a thread: work never waits for the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._report = Report(began=time.time())
        self._started = time.monotonic()
        self._end = threading.Event()
        self._bar: tuple[object, float, int] | None = None
        self._heard = False
        self._log = (folder / LOG).open("a", encoding="utf-8")
        self._thread = threading.Thread(target=self._run, name="imago-teller", daemon=True)
        self._report.write(folder)

    def start(self) -> None:
        """Begin to look and to tell."""
        watch_progress(self.progress)
        self._thread.start()

    def progress(self, bar: Progress) -> None:
        """Called at every step of every bar."""
        now = time.monotonic()
        if self._bar is None or self._bar[0] is not bar:
            self._bar = (bar, now, bar.done)  # what was done before a resume says nothing about the speed
        _, began, first = self._bar
        rate = (bar.done - first) / (now - began) if now > began else 0.0
        self._report = replace(self._report, label=bar.label, done=bar.done, total=bar.total, rate=rate)

    def say(self, text: str) -> None:
        """One line for the log."""
        self._log.write(text + "\n")
        self._log.flush()

    def finish(self, report: Report) -> None:
        """The last word."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self._told().write(self._folder)
        final = replace(
            self._told(),
            ended=report.ended,
            error=report.error,
            values=report.values,
            unexpected=report.unexpected,
            result=report.result,
        )
        final.write(self._folder)
        self._log.close()

    def _told(self) -> Report:
        return replace(self._report, seconds=time.monotonic() - self._started)

    def _run(self) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            self._told().write(self._folder)
            if not self._heard and wish_of(self._folder):
                self._heard = True
                signal.raise_signal(signal.SIGINT)  # heard between two steps, as Ctrl-C is


def work(folder: Path) -> int:
    """Do the job in ``folder``; 0 where it was done or interrupted, 1 where it failed."""
    order = Order.read(folder)
    teller = Teller(folder)
    teller.start()
    try:
        from imago.studio.jobs.kinds import KINDS
        from imago.train.interrupt import Interrupted

        result = KINDS[order.kind](dict(order.arguments), teller.say)
        report = Report(ended="done", result=result)
    except (KeyboardInterrupt, Interrupted):
        report = Report(ended="interrupted")
    except ImagoError as error:
        teller.say(str(error))
        values = {name: _plain(value) for name, value in error.values.items()}
        report = Report(ended="failed", error=error.template, values=values)
    except MemoryError:
        report = Report()  # as if the system had ended it: Job.failure names the remedy
    except Exception as error:  # noqa: BLE001 - whatever it is, the page has to tell it
        teller.say(traceback.format_exc())
        report = Report(ended="failed", error=f"{type(error).__name__}: {error}", unexpected=True)
    teller.finish(report)
    return 1 if report.ended == "failed" else 0


def _plain(value: object) -> object:
    return value if isinstance(value, (int, float)) else str(value)


def main() -> int:
    """Take the lock, and work."""
    calm_threads()
    folder = Path(sys.argv[1])
    lock = FolderLock(folder)
    if hasattr(os, "nice"):
        os.nice(NICE)
    # Ignored where the studio was started in the background (nohup …): stop and pause would not be heard.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return work(folder)
    finally:
        lock.release()


if __name__ == "__main__":
    sys.exit(main())
