"""Which wheels a kit holds: markers asked of the board, not of the PC; words for what cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from imago.deploy.kit.closure import Pin, close, wheel_key
from imago.deploy.kit.options import KitOptions
from imago.deploy.kit.pip import failure
from imago.deploy.kit.target import here, target
from imago.edge_runtime.errors import InputError, StorageError

TRIXIE = target("trixie", "arm64")


def pin(name: str, *needs: str) -> Pin:
    return Pin(name, "1.0", "", needs)


def test_markers_are_asked_of_the_board() -> None:
    pins = [
        pin(
            "top",
            "win; sys_platform == 'win32'",
            "Lin_ux>=1; sys_platform == 'linux'",
            "old; python_version<'3.13'",
        ),
        pin("win"),
        pin("lin.ux", "arm; platform_machine == 'aarch64'", "intel; platform_machine == 'x86_64'"),
        pin("arm"),
    ]
    found = close(pins, ["top"], TRIXIE.markers())
    assert [p.name for p in found.pins] == ["arm", "lin.ux", "top"]
    assert found.missing == ()
    older = close(pins, ["top"], target("bookworm", "amd64").markers())
    assert older.missing == ("intel", "old")


def test_extras_bring_what_they_need_and_no_more() -> None:
    pins = [
        pin("app", "base", "cam; extra == 'camera'", "net[tls]; extra == 'mqtt'"),
        pin("base"),
        pin("cam"),
    ]
    assert [p.name for p in close(pins, ["app"], TRIXIE.markers()).pins] == ["app", "base"]
    assert [p.name for p in close(pins, ["app[camera]"], TRIXIE.markers()).pins] == ["app", "base", "cam"]
    assert close(pins, ["app[mqtt]"], TRIXIE.markers()).missing == ("net[tls]",)


def test_what_is_left_out_takes_its_own_needs_along() -> None:
    pins = [pin("app", "engine", "shared"), pin("engine", "only", "shared"), pin("only"), pin("shared")]
    found = close(pins, ["app"], TRIXIE.markers(), frozenset({"engine"}))
    assert [p.name for p in found.pins] == ["app", "shared"]


def test_a_circle_ends() -> None:
    found = close([pin("a", "b"), pin("b", "a")], ["a"], TRIXIE.markers())
    assert len(found.pins) == 2


def test_options_say_what_they_bring() -> None:
    assert KitOptions().imago_extras() == ("camera",)
    assert KitOptions(engine="both", camera="none", extras=("mqtt",)).imago_extras() == ("litert", "mqtt")
    assert KitOptions(engine="litert").left_out() == {"onnxruntime"}
    csi = KitOptions(os="bookworm", camera="csi", system=Path())
    assert csi.debian_packages() == ("python3-picamera2",)
    assert csi.constraints() == ("numpy<2",)  # bookworm's simplejpeg
    assert KitOptions(camera="csi", system=Path()).constraints() == ()
    with pytest.raises(InputError, match="--system IMAGE"):
        KitOptions(camera="csi")
    with pytest.raises(InputError, match="no name of a Debian package"):
        KitOptions(debs=("-o=x",), system=Path())
    with pytest.raises(InputError, match="--engine is tensorrt; expected one of: onnxruntime, litert, both"):
        KitOptions(engine="tensorrt")


@pytest.mark.parametrize("arch", ["armhf", "armv7l"])
def test_32_bit_is_told_to_use_the_64_bit_image(arch: str) -> None:
    with pytest.raises(InputError, match="64-bit image"):
        KitOptions(arch=arch)


def test_platforms_end_at_the_systems_glibc() -> None:
    flags = target("bookworm", "arm64").pip_flags()
    assert "manylinux_2_36_aarch64" in flags
    assert "manylinux_2_37_aarch64" not in flags
    assert flags[flags.index("--python-version") + 1] == "3.11"
    assert here().pip_flags() == ["--only-binary=:all:"]


def test_names_of_wheels_in_their_normal_form() -> None:
    assert wheel_key("PyYAML-6.0.0-1-cp313-cp313-manylinux_2_28_aarch64.whl") == ("pyyaml", "6.0.0")
    assert wheel_key("typing_extensions-4.16.0-py3-none-any.whl") == ("typing-extensions", "4.16.0")
    with pytest.raises(StorageError):
        wheel_key("x.whl")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("WARNING: Retrying … NewConnectionError('…: [Errno 111] Connection refused')", "cannot be reached"),
        (
            "ERROR: No matching distribution found for onnxruntime>=1.18",
            "no wheel of onnxruntime>=1.18 for trixie",
        ),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: something else", "pip failed: something else"),
    ],
)
def test_why_pip_failed(said: str, word: str) -> None:
    assert word in str(failure(["Collecting x", said], str(TRIXIE)))
