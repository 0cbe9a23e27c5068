"""The structure: rooms import only downward, the board's room stands alone, every text has its Chinese."""

from __future__ import annotations

import ast
import json
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

ROOMS = ("edge_runtime", "train", "export", "quantize", "deploy", "workflow", "studio", "cli")
MAY_IMPORT = {
    "edge_runtime": set(),
    "train": {"edge_runtime"},
    "export": {"edge_runtime"},
    "quantize": {"edge_runtime", "train", "export"},
    "deploy": {"edge_runtime"},
    "workflow": {"edge_runtime", "train", "export", "quantize", "deploy"},
    "studio": {"edge_runtime", "train", "export", "quantize", "deploy", "workflow"},
    "cli": set(ROOMS) - {"cli"},
}
FORBIDDEN_ON_BOARDS = {"torch", "torchvision", "onnx", "onnxscript", "matplotlib", "safetensors"}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "imago":
            assert parts[1] == room or parts[1] in MAY_IMPORT[room], f"{path} imports {name}"
        elif room == "edge_runtime":
            assert parts[0] not in FORBIDDEN_ON_BOARDS, f"{path} imports {name}"


def test_no_package_file_shadows_the_namespace() -> None:
    assert not (ROOT / ".dev" / "imago" / "__init__.py").exists()
    for room in ROOMS:
        link = ROOT / ".dev" / "imago" / room
        assert link.is_symlink()
        assert link.resolve() == ROOT / room


def templates() -> dict[str, str]:
    """Every literal template that users see: first argument of tr(…), …Error(…), and Parser summaries."""
    found: dict[str, str] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            spoken = name in ("tr", "MissingDependency", "Interrupted") or (
                name.endswith("Error") and name not in BUILTIN_ERRORS
            )
            at = 1 if name == "Parser" else 0
            if (spoken or name == "Parser") and len(node.args) > at:
                argument = node.args[at]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    found[argument.value] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


BUILTIN_ERRORS = {"ValueError", "RuntimeError", "OSError", "TypeError", "KeyError", "NotImplementedError"}


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def chinese() -> dict[str, str]:
    merged: dict[str, str] = {}
    for file in (ROOT / "edge_runtime" / "locale").glob("zh.*.json"):
        for key, value in json.loads(file.read_text(encoding="utf-8")).items():
            assert merged.get(key, value) == value, f"{file.name}: two translations of {key!r}"
            merged[key] = value
    return merged


def test_every_text_is_translated() -> None:
    known = chinese()
    spoken = {text: where for text, where in templates().items() if re.search("[a-z]{3}", text)}
    missing = {text: where for text, where in spoken.items() if text not in known}
    assert not missing, "\n".join(f"{where}: {text}" for text, where in missing.items())


def test_translations_have_the_same_fields() -> None:
    for key, value in chinese().items():
        assert fields(key) == fields(value), key


def test_modules_stay_small() -> None:
    too_long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 350}
    assert not too_long


def test_the_message_catalogue_in_docs_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "scripts/messages", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run scripts/messages and commit docs/messages.md"
