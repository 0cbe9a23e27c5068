"""Figures for Prometheus, in its text format 0.0.4."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import accumulate

from imago.edge_runtime.status import BOUNDS_MS, Histogram, LiveStatus
from imago.edge_runtime.system import THROTTLE_BITS

KIND = "text/plain; version=0.0.4; charset=utf-8"
MB = 2**20


def render(status: LiveStatus, viewers: int) -> str:
    """The whole page of figures."""
    data = status.snapshot()
    lines: list[str] = []
    lines += _one("imago_info", "gauge", "What runs", 1, model=data["model"], source=data["source"])
    lines += _one("imago_up", "gauge", "1 while frames keep coming", int(data["healthy"]))
    lines += _one("imago_uptime_seconds", "gauge", "Since the start", data["uptime_s"])
    lines += _one("imago_frames_total", "counter", "Frames looked at", data["frames"])
    lines += _one("imago_frames_dropped_total", "counter", "Frames replaced by newer ones", data["dropped"])
    lines += _one("imago_last_frame_age_seconds", "gauge", "Since the last frame", data["last_frame_s"])
    lines += _histogram("imago_inference_seconds", "Preprocessing and engine", status.latency)
    lines += _histogram("imago_frame_age_seconds", "From the picture taken to its answer", status.age)
    labels = ((name, count) for name, count in sorted(data["events"]["labels"].items()))
    lines += _many("imago_events_total", "counter", "Visits that have ended", "label", labels)
    lines += _one("imago_viewers", "gauge", "Requests that wait for a picture", viewers)
    lines += _one("imago_temperature_celsius", "gauge", "Hottest zone", data["temperature_c"])
    lines += _one("imago_clock_hertz", "gauge", "Of the first core", _times(data["clock_mhz"], 1e6))
    if data["throttled"] is not None:
        flags = ((words, int(words in data["throttled"])) for words in THROTTLE_BITS.values())
        lines += _many("imago_throttled", "gauge", "Raspberry Pi's flags", "flag", flags)
    lines += _one("process_resident_memory_bytes", "gauge", "Memory", _times(data["rss_mb"], MB))
    lines += _one("process_cpu_seconds_total", "counter", "CPU time", round(sum(os.times()[:2]), 2))
    lines += _camera(data.get("camera"))
    lines += _records(data.get("records"))
    lines += _mqtt(data.get("mqtt"))
    return "\n".join(lines) + "\n"


def _camera(data: dict[str, object] | None) -> Iterator[str]:
    if data:
        yield from _one("imago_camera_down", "gauge", "1: being waited for", int(bool(data["down"])))
        yield from _one("imago_camera_failures_total", "counter", "Failed or fell silent", data["failures"])
        yield from _one("imago_camera_reopened_total", "counter", "Came back", data["reopened"])
        yield from _one("imago_camera_down_seconds_total", "counter", "Without pictures", data["downtime_s"])


def _records(data: dict[str, object] | None) -> Iterator[str]:
    if data is not None:
        yield from _one("imago_records_kept_total", "counter", "Events committed", data["kept"])
        yield from _one("imago_records_refused_total", "counter", "Could not be kept", data["refused"])
        yield from _one("imago_records_crop_bytes", "gauge", "Crops on disk", data["crop_bytes"])
        yield from _one(
            "imago_records_crops_skipped_total", "counter", "Events kept without crop", data["crops_skipped"]
        )
        yield from _one(
            "imago_records_trouble", "gauge", "1: cannot write now", int(data["trouble"] is not None)
        )


def _mqtt(data: dict[str, object] | None) -> Iterator[str]:
    if data is not None:
        yield from _one(
            "imago_mqtt_connected", "gauge", "1: the broker is there", int(bool(data["connected"]))
        )
        yield from _one("imago_mqtt_outbox", "gauge", "Events not delivered yet", data["waiting"])
        yield from _one("imago_mqtt_delivered_total", "counter", "Confirmed by the broker", data["delivered"])


def _one(name: str, kind: str, text: str, value: object, **labels: str) -> Iterator[str]:
    if value is not None:
        yield from _head(name, kind, text)
        yield f"{name}{_labels(labels)} {value}"


def _many(name: str, kind: str, text: str, label: str, rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield from _head(name, kind, text)
    for key, value in rows:
        yield f"{name}{_labels({label: key})} {value}"


def _histogram(name: str, text: str, histogram: Histogram) -> Iterator[str]:
    yield from _head(name, "histogram", text)
    totals = list(accumulate(histogram.counts))
    for bound, total in zip((*(f"{ms / 1e3:g}" for ms in BOUNDS_MS), "+Inf"), totals, strict=True):
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {histogram.sum_s:.6f}"
    yield f"{name}_count {totals[-1]}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_escape(value)}"' for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escape(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean.replace("\\", r"\\").replace("\n", r"\n").replace("\r", " ").replace('"', r"\"")


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else round(value * factor)
