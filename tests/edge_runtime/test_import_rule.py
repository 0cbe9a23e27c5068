"""The board's room stands on its own: all of it imports without torch, other rooms and extras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import importlib, importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        room = name.split(".")[1] if name.startswith("imago.") else ""
        other = room not in ("", "edge_runtime")
        if other or name.split(".")[0] in BLOCKED:
            raise ImportError(f"blocked: {name}")
        return None

BLOCKED = {"torch", "torchvision", "onnx", "cv2", "picamera2", "matplotlib", "safetensors", "onnxscript"}
sys.meta_path.insert(0, Blocker())
for name in sys.argv[1:]:
    importlib.import_module(name)
loaded = [name for name in ("onnxruntime", "PIL") if name in sys.modules]
print(len(sys.argv) - 1, loaded)
"""


def modules() -> list[str]:
    folder = ROOT / "edge_runtime"
    files = (file.relative_to(folder).with_suffix("") for file in folder.rglob("*.py"))
    return sorted("imago.edge_runtime." + ".".join(file.parts) for file in files if file.name != "__init__")


def test_every_module_imports_alone() -> None:
    names = modules()
    assert len(names) > 15
    done = subprocess.run(
        [sys.executable, "-c", CODE, *names],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / ".dev")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1) == [str(len(names)), "[]\n"]


def test_the_front_door_opens_only_what_is_asked_for() -> None:
    code = (
        "import sys\n"
        "import imago.edge_runtime as room\n"
        "light = 'numpy' not in sys.modules\n"
        "from imago.edge_runtime import Classifier\n"
        "print(light, Classifier.__name__, all(getattr(room, name) for name in room.__all__))\n"
        "try: room.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / ".dev")},
    )
    assert done.stdout.splitlines() == [
        "True Classifier True",
        "module 'imago.edge_runtime' has no attribute 'nothing'",
    ]


def test_the_loop_loads_nothing_heavy_that_it_does_not_use(tmp_path: Path) -> None:
    """libcrypto for a random name (3.5 MB), numpy's masked arrays for a median (2 MB): a Zero has 512."""
    import onnx_models

    onnx_models.lenet(tmp_path / "m.onnx")
    code = (
        "import sys\n"
        "from imago.cli.main import main\n"
        "sys.argv = ['imago', 'run', sys.argv[1], '--source', 'synthetic', '--frames', '5']\n"
        "main()\n"
        "heavy = {'_hashlib', 'numpy.ma', 'sqlite3', 'cv2', 'PIL', 'socket'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.onnx")]
    env = {"PYTHONPATH": str(ROOT / ".dev")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
