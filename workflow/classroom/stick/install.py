"""Install imago from this USB stick, without the internet. Started by install.bat or install.sh.

Standard library only: any Python 3.8 or newer can start it, and is told where another one is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NoReturn

STICK = Path(__file__).resolve().parent
ZH = (os.environ.get("IMAGO_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or "").lower()


def say(english: str, chinese: str) -> None:
    """One line in the user's language (the stick has no catalogue: imago is not installed yet)."""
    text = chinese if ZH.startswith(("zh", "chinese")) or windows_is_chinese() else english
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def fail(english: str, chinese: str) -> NoReturn:
    """Say why, and end."""
    say(english, chinese)
    sys.exit(2)


def windows_is_chinese() -> bool:
    """The language of Windows itself, where no variable says another."""
    if ZH or not hasattr(ctypes := __import__("ctypes"), "windll"):
        return False
    return bool(ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == 0x04)


def usual_folder() -> Path:
    """Where imago goes: the user's own folder."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "imago-classroom"


def check_python(manifest: dict[str, Any]) -> None:
    """The right system and Python, or an end."""
    wanted, system = manifest["python"], manifest["system"]
    here = "windows" if os.name == "nt" else "linux"
    if here != system:
        fail(
            f"this kit is for {system}, this computer runs {here}: use the other kit",
            f"这套安装盘用于 {system}，而本机是 {here}：请用另一套",
        )
    have = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if have != wanted or sys.maxsize < 2**32:
        fail(
            f"this kit needs Python {wanted} (64 bit), this is {have}: install that, then start again",
            f"这套安装盘需要 Python {wanted}（64 位），现在是 {have}：请先安装 Python {wanted} 再重新开始",
        )


def check_files(manifest: dict[str, Any]) -> None:
    """A stick that was pulled out too early shows here, not in the middle of the installation."""
    files = [f for f in manifest["files"] if f["path"].startswith("wheels/")]
    for number, entry in enumerate(files, 1):
        sys.stdout.write(f"\r{number}/{len(files)}")
        sys.stdout.flush()
        path = STICK / entry["path"]
        if not path.is_file() or digest(path) != entry["sha256"]:
            sys.stdout.write("\n")
            fail(
                f"{entry['path']} is missing or damaged: copy the kit onto the stick again",
                f"{entry['path']} 缺失或损坏：请重新把安装盘复制到 U 盘",
            )
    sys.stdout.write("\n")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def make_environment(folder: Path) -> Path:
    """A virtual environment without pip: pip itself comes from the stick, which also works on Debian."""
    venv.EnvBuilder(with_pip=False, clear=True).create(folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(python: Path) -> int:
    """pip from the stick, files from the stick, checksums from the stick."""
    pip_wheel = next((STICK / "wheels").glob("pip-*.whl"))
    command = [str(python), f"{pip_wheel}/pip", "install", "--no-index", "--no-deps", "--require-hashes"]
    command += ["--find-links", str(STICK / "wheels"), "--no-input", "--disable-pip-version-check"]
    command += ["--no-cache-dir", "--progress-bar", "off", "-r", str(STICK / "requirements.txt")]
    return subprocess.call(command)  # noqa: S603  our own words, no shell


def main() -> None:
    """Check, make, install."""
    parser = argparse.ArgumentParser(description="Install imago from this USB stick, without the internet.")
    parser.add_argument("--folder", type=Path, default=usual_folder(), help="where to (%(default)s)")
    args = parser.parse_args()
    manifest = json.loads((STICK / "manifest.json").read_text(encoding="utf-8"))
    check_python(manifest)
    say("1/3 checking the files on the stick", "1/3 正在检查 U 盘上的文件")
    check_files(manifest)
    say(f"2/3 making {args.folder}", f"2/3 正在建立 {args.folder}")
    args.folder.mkdir(parents=True, exist_ok=True)
    python = make_environment(args.folder / "venv")
    say("3/3 installing; this takes some minutes", "3/3 正在安装，需要几分钟")
    if install(python):
        fail("pip could not install; its message is above", "pip 安装失败，原因见上面")
    say("done. Start it with start.bat (Windows) or start.sh (Linux)", "完成。用 start.bat 或 start.sh 启动")


if __name__ == "__main__":
    main()
