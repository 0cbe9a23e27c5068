"""The Python program that does what the page does: complete, runnable elsewhere, with the same result.

Everything that was chosen enters as a literal made by ``repr`` of a plain value: data, never code.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from imago.edge_runtime.messages import tr
from imago.train.config import PATHS, TrainConfig
from imago.train.dataset import DataOptions

PLAIN = (str, int, float, bool, type(None))
HEAD = '''"""{about}

Needs: pip install "imago-edge[train]"
"""

from pathlib import Path

from imago.train.config import TrainConfig
from imago.train.dataset import DataOptions
from imago.train.session import train
from imago.workflow.steps import export_run

# {data}
DATA = Path({data_path})

# {out}
OUT = Path({out_path})

# {config}
CONFIG = TrainConfig({arguments})


def main() -> None:
    # {learn}
    outcome = train(DATA, CONFIG, OUT, say=print)
    best = outcome.test or outcome.val
    if best is not None:
        print(f"accuracy {{best.accuracy:.2%}} on {{best.n}} pictures")

    # {export}
    exported = export_run(OUT)
    print("wrote", exported.model)


if __name__ == "__main__":
    main()
'''


def program(config: TrainConfig, data: Path, out: Path) -> str:
    """The source text, with comments in the visitor's language."""
    return HEAD.format(
        about=_comment(tr("Train a network on photos in folders. Written by imago studio.")),
        data=_comment(tr("one folder of pictures per class; the number of classes is counted there")),
        out=_comment(tr("the run: weights, figures and the exported model land here")),
        config=_comment(tr("what differs from the defaults")),
        learn=_comment(tr("learn; Ctrl-C saves, and imago train --resume goes on")),
        export=_comment(tr("one ONNX file that carries labels, preprocessing and a self-test")),
        data_path=_literal(str(data)),
        out_path=_literal(str(out)),
        arguments=_arguments(config),
    )


def _arguments(config: TrainConfig) -> str:
    rows = _differing(config, TrainConfig(), skip=("data",))
    inner = _differing(config.data, DataOptions(), skip=())
    if inner:
        rows.append(f"data=DataOptions({', '.join(inner)})")
    return "".join(f"\n    {row}," for row in rows) + ("\n" if rows else "")


def _differing(value: Any, usual: Any, skip: tuple[str, ...]) -> list[str]:
    rows = []
    for one in fields(value):
        given = getattr(value, one.name)
        named = one.name == "model"  # said even where it is the default: it is what the program is about
        if one.name in skip or (given == getattr(usual, one.name) and not named):
            continue
        rows.append(f"{one.name}={_value(one.name, given)}")
    return rows


def _value(name: str, given: Any) -> str:
    if isinstance(given, Path) and (name in PATHS or name == "split_file"):
        return f"Path({_literal(str(given))})"
    return _literal(given)


def _literal(given: Any) -> str:
    """Raises TypeError for anything but a plain value: nothing else has a safe literal."""
    if not isinstance(given, PLAIN):
        raise TypeError(f"no literal for {type(given).__name__}")
    return ascii(given) if isinstance(given, str) and not given.isprintable() else repr(given)


def _comment(text: str) -> str:
    """One line without anything that could end a comment or a docstring."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())
