"""Board, processor and memory: what the hardware can do, from /proc/cpuinfo and /proc/meminfo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imago.edge_runtime.doctor.findings import Finding
from imago.edge_runtime.messages import tr
from imago.edge_runtime.system import ARM_PARTS, pairs

DOT_PRODUCT = {"asimddp", "avx512_vnni", "avx_vnni"}
ATOMICS = "atomics"
SMALL_MEMORY_MB = 700  # Zero 2 W, Pi 3A+: 512 MB less what the camera's share of it takes
LOW_MEMORY_MB = 100


@dataclass(frozen=True, slots=True)
class Cpu:
    """What /proc/cpuinfo says. board: empty where it names none. features: lower case, of the first core."""

    board: str
    name: str
    cores: int
    features: frozenset[str]
    arm: bool


def read_cpu(cpuinfo: str, board: str | None = None) -> Cpu:
    """Read the text of /proc/cpuinfo; ``board``: text of /proc/device-tree/model, where there is one."""
    facts = pairs(cpuinfo, ":")
    part = facts.get("CPU part", "").lower()
    features = facts.get("Features") or facts.get("flags") or ""
    return Cpu(
        board=board or facts.get("Model", ""),
        name=ARM_PARTS.get(part) or facts.get("model name") or part or tr("unknown processor"),
        cores=max(1, sum(line.startswith("processor") for line in cpuinfo.splitlines())),
        features=frozenset(features.lower().split()),
        arm="CPU implementer" in facts,
    )


def board_findings(cpu: Cpu, meminfo: str) -> Iterator[Finding]:
    """Which board this is, and whether its memory will do."""
    total, available = _mb(meminfo, "MemTotal"), _mb(meminfo, "MemAvailable")
    shown = cpu.board or tr("no Raspberry Pi")
    text = tr(
        "{board}: {cores} × {cpu}, {memory} MB", board=shown, cores=cpu.cores, cpu=cpu.name, memory=total
    )
    yield Finding("board.model", "ok", text)
    if total is None or available is None:
        return
    if available < LOW_MEMORY_MB:
        yield Finding(
            "board.memory",
            "warning",
            tr("only {free} MB of memory are free", free=available),
            tr("end other programs, boot without the desktop (sudo raspi-config), or add zram"),
        )
    elif total < SMALL_MEMORY_MB:
        yield Finding(
            "board.memory",
            "note",
            tr(
                "{total} MB of memory, {free} free: little for a desktop beside it",
                total=total,
                free=available,
            ),
            tr("use the Lite image without a desktop; LiteRT needs about 20 MB less than ONNX Runtime"),
        )
    else:
        yield Finding("board.memory", "ok", tr("{free} MB of memory are free", free=available))


def cpu_findings(cpu: Cpu) -> Iterator[Finding]:
    """What int8 is worth here, and whether wheels for newer processors may die."""
    if cpu.features & DOT_PRODUCT:
        yield Finding(
            "cpu.dot-product", "ok", tr("the processor has int8 dot products: int8 models pay here")
        )
    else:
        yield Finding(
            "cpu.dot-product",
            "note",
            tr("the processor has no int8 dot products: int8 models may gain little or nothing"),
            tr("let imago tune measure fp32 and int8 here"),
        )
    if not cpu.arm:
        return
    if ATOMICS in cpu.features:
        yield Finding("cpu.atomics", "ok", tr("ARMv8.1 or newer: atomic instructions are there"))
    else:
        yield Finding(
            "cpu.atomics",
            "note",
            tr("ARMv8.0 (no atomic instructions): some wheels die here with an illegal instruction"),
            tr("see below which engines live; where one does not, install the version that the remedy names"),
        )


def bits_findings(machine: str, pointer_bits: int) -> Iterator[Finding]:
    """32- or 64-bit userland. machine: the kernel's word (``uname -m``); pointer_bits: this Python's."""
    if pointer_bits == 64:
        yield Finding("cpu.bits", "ok", tr("64-bit system ({machine})", machine=machine))
        return
    kernel = tr("a 64-bit kernel, but a 32-bit system") if "64" in machine else tr("a 32-bit system")
    yield Finding(
        "cpu.bits",
        "problem",
        tr(
            "{kernel} ({machine}): onnxruntime, LiteRT and numpy have no wheels for it",
            kernel=kernel,
            machine=machine,
        ),
        tr(
            "write the 64-bit image of Raspberry Pi OS to the card; what still works on 32 bits is "
            "tflite-runtime (Python 3.9 or 3.11) or ncnn"
        ),
    )


def governor_findings(governor: str | None) -> Iterator[Finding]:
    """How the clock is governed; ``powersave`` keeps it at its lowest."""
    if governor is None:
        return
    if governor == "powersave":
        yield Finding(
            "cpu.governor",
            "warning",
            tr("the clock is held at its lowest (governor {name})", name=governor),
            tr("echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"),
        )
    else:
        yield Finding("cpu.governor", "ok", tr("clock governor {name}", name=governor))


def _mb(meminfo: str, key: str) -> int | None:
    words = pairs(meminfo, ":").get(key, "").split()
    return int(words[0]) // 1024 if words and words[0].isdigit() else None
