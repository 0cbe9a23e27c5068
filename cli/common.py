"""What the commands share: argument parsing with examples, and output for people and for programs."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import tr


class _Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse would ask through shutil, which loads three compressors: 0.7 MB."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS", "")) or 80
        except ValueError:
            try:
                columns = os.get_terminal_size(1).columns or 80
            except OSError:
                columns = 80
        super().__init__(prog, width=columns - 2)


class Parser(argparse.ArgumentParser):
    """argparse whose help ends with examples and whose errors are one line with exit code 2."""

    def __init__(self, command: str, summary: str, examples: Iterable[str] = ()) -> None:
        lines = [tr("examples:"), *(f"  {line}" for line in examples)]
        super().__init__(
            prog=f"imago {command}",
            description=tr(summary),
            epilog="\n".join(lines),
            formatter_class=_Help,
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage: main() turns it into one line."""
        raise InputError("{message}; {program} --help explains", message=message, program=self.prog)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The ``--json FILE|-`` flag of every command that measures or answers."""
    parser.add_argument(
        "--json",
        metavar="FILE",
        help=tr("write the result as one JSON object to FILE (- for standard output)"),
    )


def size_in_bytes(text: str) -> int:
    """``300kB`` → 300000; kB, MB, GB are powers of ten, plain numbers are bytes. Raises InputError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgG]?)[bB]?\s*", text)
    if found is None:
        raise InputError("{text} is not a size; expected a number with kB or MB, such as 300kB", text=text)
    return round(float(found[1]) * {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}[found[2].lower()])


class Output:
    """Human lines go to standard output, or to standard error when JSON takes standard output."""

    def __init__(self, json_target: str | None) -> None:
        self.json_target = json_target
        self.stream = sys.stderr if json_target == "-" else sys.stdout

    def say(self, text: str = "") -> None:
        """Print one line for people."""
        print(text, file=self.stream, flush=True)

    def result(self, data: Mapping[str, Any]) -> None:
        """Write the one JSON object, where one was asked for."""
        if self.json_target is None:
            return
        text = json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        if self.json_target == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            write_text(Path(self.json_target), text)
