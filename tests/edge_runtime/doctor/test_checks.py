"""The doctor's checks over what real boards say: processors, power, disks, cameras, environments."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imago.edge_runtime.doctor import camera, cpu, environment, power, storage
from imago.edge_runtime.doctor.findings import Finding, Report

from support import ROOT

ZERO2_MEMORY = "MemTotal: 426264 kB\nMemAvailable: 190000 kB\nCmaTotal: 65536 kB\nCmaFree: 20480 kB\n"
PI4_MEMORY = "MemTotal: 3884372 kB\nMemAvailable: 3000000 kB\nCmaTotal: 524288 kB\nCmaFree: 480000 kB\n"


def board(name: str) -> cpu.Cpu:
    return cpu.read_cpu((ROOT / "tests" / "boards" / f"cpuinfo.{name}").read_text())


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in findings}


@pytest.mark.parametrize(
    ("name", "model", "part", "dot", "atomics"),
    [
        ("zero2", "Raspberry Pi Zero 2 W Rev 1.0", "Cortex-A53", "note", "note"),
        ("pi3", "Raspberry Pi 3 Model B Plus Rev 1.3", "Cortex-A53", "note", "note"),
        ("pi4", "Raspberry Pi 4 Model B Rev 1.5", "Cortex-A72", "note", "note"),
        ("pi5", "Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76", "ok", "ok"),
    ],
)
def test_the_boards(name: str, model: str, part: str, dot: str, atomics: str) -> None:
    found = board(name)
    assert (found.board, found.name, found.cores, found.arm) == (model, part, 4, True)
    assert levels(cpu.cpu_findings(found)) == {"cpu.dot-product": dot, "cpu.atomics": atomics}


def test_a_pc_is_judged_by_its_own_instructions() -> None:
    text = "processor : 0\nmodel name : Some x86\nflags : fpu avx2 {}\n"
    assert levels(cpu.cpu_findings(cpu.read_cpu(text.format("avx512_vnni")))) == {"cpu.dot-product": "ok"}
    assert levels(cpu.cpu_findings(cpu.read_cpu(text.format("")))) == {"cpu.dot-product": "note"}


def test_a_32_bit_system_is_a_problem_with_a_way_out() -> None:
    assert board("pi4-32bit").name == "Cortex-A72"
    (finding,) = cpu.bits_findings("aarch64", 32)
    assert finding.level == "problem"
    assert "64-bit kernel" in finding.text
    assert "64-bit image" in finding.remedy
    assert "ncnn" in finding.remedy
    assert levels(cpu.bits_findings("armv7l", 32)) == {"cpu.bits": "problem"}
    assert levels(cpu.bits_findings("aarch64", 64)) == {"cpu.bits": "ok"}


def test_memory() -> None:
    small, large = board("zero2"), board("pi4")
    assert levels(cpu.board_findings(small, ZERO2_MEMORY))["board.memory"] == "note"
    assert levels(cpu.board_findings(large, PI4_MEMORY))["board.memory"] == "ok"
    full = PI4_MEMORY.replace("3000000", "30000")
    assert levels(cpu.board_findings(large, full))["board.memory"] == "warning"
    assert list(levels(cpu.board_findings(large, ""))) == ["board.model"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("throttled=0x0", {"power.throttled": "ok"}),
        ("throttled=0x50000", {"power.voltage": "warning", "power.throttling": "note"}),
        ("throttled=0x50005", {"power.voltage": "problem", "power.throttling": "warning"}),
        ("throttled=0x80008", {"power.throttling": "warning"}),
        ("throttled=0xe0000", {"power.throttling": "note"}),
        ("throttled=0x10000", {"power.voltage": "warning"}),
        ("VCHI initialization failed", {"power.throttled": "note"}),
    ],
)
def test_throttling(answer: str, expected: dict[str, str]) -> None:
    assert levels(power.throttle_findings(answer, is_pi=True)) == expected


def test_no_vcgencmd_is_no_matter_elsewhere() -> None:
    assert not list(power.throttle_findings(None, is_pi=False))
    assert levels(power.throttle_findings(None, is_pi=True)) == {"power.throttled": "note"}


@given(st.integers(0, 2**32 - 1))
def test_every_flag_word_is_understood(bits: int) -> None:
    found = list(power.throttle_findings(f"throttled={bits:#x}", is_pi=True))
    assert 1 <= len(found) <= 2
    silent = not bits & 0xF000F
    assert silent == (found[0].level == "ok")
    assert (bits & 1) == any(finding.level == "problem" for finding in found)


def test_heat_and_supply() -> None:
    for degrees, level in ((45.0, "ok"), (78.0, "warning"), (85.0, "problem")):
        assert levels(power.temperature_findings(degrees)) == {"power.temperature": level}
    assert not list(power.temperature_findings(None))
    for milliamperes, level in ((3000, "note"), (5000, "ok")):
        found = power.supply_findings("Raspberry Pi 5 Model B Rev 1.0", milliamperes.to_bytes(4, "big"))
        assert levels(found) == {"power.supply": level}
    assert not list(power.supply_findings("Raspberry Pi 4 Model B", (3000).to_bytes(4, "big")))


def test_disks() -> None:
    for free, level in ((10**8, "problem"), (5 * 10**8, "warning"), (10**10, "ok")):
        assert levels(storage.space_findings("/data", free, 32 * 10**9)) == {"disk.space": level}
    line = "/dev/mmcblk0p2 / {} {},noatime 0 0\nproc /proc proc rw 0 0\n"
    for kind, option, level in (
        ("ext4", "rw", "ok"),
        ("ext4", "ro", "problem"),
        ("overlay", "rw", "warning"),
    ):
        assert levels(storage.mount_findings(line.format(kind, option))) == {"disk.root": level}
    assert not list(storage.mount_findings(""))


def test_disk_health() -> None:
    assert levels(storage.health_findings({"mmcblk0p2": "0"}, None, "")) == {"disk.errors": "ok"}
    found = list(storage.health_findings({"mmcblk0p2": "12", "sda1": "0"}, None, ""))
    assert levels(found) == {"disk.errors": "problem"}
    assert "mmcblk0p2" in found[0].text
    swap = "Filename Type Size Used Priority\n{}\tpartition 100 0 -2\n"
    worn = storage.health_findings({}, "0x01 0x0a", swap.format("/dev/mmcblk0p3"))
    assert levels(worn) == {"disk.wear": "warning", "disk.swap": "note"}
    assert not list(storage.health_findings({}, "0x01 0x02", swap.format("/dev/zram0")))


@pytest.mark.parametrize(
    ("show", "year", "rtc", "expected"),
    [
        ("NTP=yes\nNTPSynchronized=yes\n", 2027, False, {"clock.sync": "ok"}),
        ("NTP=yes\nNTPSynchronized=no\n", 2027, False, {"clock.sync": "warning"}),
        ("NTP=no\nNTPSynchronized=no\n", 2027, True, {"clock.sync": "note"}),
        ("NTP=yes\nNTPSynchronized=yes\n", 1970, False, {"clock.sync": "problem"}),
        (None, 2027, False, {}),
    ],
)
def test_clock(show: str | None, year: int, rtc: bool, expected: dict[str, str]) -> None:
    assert levels(storage.clock_findings(show, year, rtc)) == expected


LISTING = """Available cameras
-----------------
0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
1 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@0/imx219@10)
"""


def test_ribbon_cameras() -> None:
    found = list(camera.ribbon_findings(LISTING, True, False))
    assert [f.text for f in found] == ["Pi camera 0: imx708", "Pi camera 1: imx219"]
    none = "No cameras available!"
    assert levels(camera.ribbon_findings(none, True, False)) == {"camera.ribbon": "warning"}
    assert levels(camera.ribbon_findings(none, True, True)) == {"camera.ribbon": "note"}
    assert not list(camera.ribbon_findings(None, False, False))


def test_video_devices() -> None:
    nodes = {"/dev/video0": "UVC Camera", "/dev/video10": "bcm2835-codec-decode", "/dev/video1": "vivid"}
    nodes |= {"/dev/video20": "pispbe-input", "/dev/video2": "rp1-cfe-csi2_ch0"}
    found = list(camera.device_findings(nodes, {"/dev/video1": False}))
    assert [(f.level, f.text.split()[-1]) for f in found] == [("ok", "Camera"), ("warning", "(vivid)")]
    assert levels(camera.no_camera_findings([])) == {"camera.usb": "note"}
    assert not list(camera.no_camera_findings(found))


def test_camera_memory() -> None:
    assert levels(camera.cma_findings(ZERO2_MEMORY, True)) == {"camera.cma": "warning"}
    assert levels(camera.cma_findings(PI4_MEMORY, True)) == {"camera.cma": "ok"}
    assert not list(camera.cma_findings("MemTotal: 1 kB\n", True))


def env(
    pyvenv: str | None = None, *, picamera2: bool = True, version: str = "3.13.5"
) -> environment.Environment:
    return environment.Environment(version, pyvenv, True, "3.13", picamera2)


def test_virtual_environments() -> None:
    closed = env("home = /usr/bin\ninclude-system-site-packages = false\n")
    opened = env("home = /usr/bin\ninclude-system-site-packages = true\n")
    assert levels(environment.environment_findings(closed, True))["python.venv"] == "note"
    assert levels(environment.environment_findings(opened, True))["python.venv"] == "ok"
    assert levels(environment.environment_findings(env(), True))["python.venv"] == "note"
    (finding,) = environment.picamera2_findings(closed, installed=False, is_pi=True)
    assert finding.level == "problem"
    assert "--system-site-packages" in finding.remedy
    assert not list(environment.picamera2_findings(opened, installed=True, is_pi=True))
    assert not list(environment.picamera2_findings(closed, installed=False, is_pi=False))
    missing = environment.picamera2_findings(env(picamera2=False), installed=False, is_pi=True)
    assert levels(missing) == {"camera.picamera2": "note"}
    other = environment.environment_findings(
        env("include-system-site-packages = true", version="3.11.9"), True
    )
    assert levels(other)["python.system"] == "warning"


def test_a_report_is_as_bad_as_its_worst_finding() -> None:
    good, bad = Finding("a", "warning", "…"), Finding("b", "problem", "…", "do")
    assert (Report.of([]).exit_code, Report.of([good]).exit_code, Report.of([good, bad]).exit_code) == (
        0,
        0,
        1,
    )
    data = Report.of([good, bad]).to_dict()
    assert (data["worst"], data["counts"]["problem"], data["findings"][1]["remedy"]) == ("problem", 1, "do")
