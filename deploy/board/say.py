"""What the agent says: one JSON object a line on standard output, for the program at the other end."""

from __future__ import annotations

import json
import sys
from typing import Any

from imago.edge_runtime.errors import ImagoError


def say(event: str, **values: Any) -> None:
    """``{"event": …}`` and more, in plain ASCII whatever the board's locale."""
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def step(name: str, text: str, **values: Any) -> None:
    """Something begins. text: for people, translated."""
    say("step", name=name, text=text, **values)


def failure(error: ImagoError) -> None:
    """It went wrong, for a reason that has a remedy."""
    say("error", kind=type(error).__name__, text=str(error), exit=error.exit_code)
