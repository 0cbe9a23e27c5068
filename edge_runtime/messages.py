"""User-facing text in English and Simplified Chinese, through one catalogue.

The English sentence in the code is the key: code stays readable, and a missing translation
falls back to English instead of to a key. Chinese lives in ``locale/zh.*.json`` (one file per
room, sentence to sentence); a test holds every template in the code against it.
"""

from __future__ import annotations

import json
import locale
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
_listeners: list[Callable[[], str]] = []


def ask_listener(whose: Callable[[], str]) -> None:
    """From now on ``whose()`` says which language the one who is spoken to wants ("": the usual one).

    A page has visitors of several languages in one process; a command has one user.
    """
    _listeners[:] = [whose]


def language() -> str:
    """The language to speak: the listener's, ``IMAGO_LANG``, else the locale's, else English."""
    chosen = next((whose() for whose in _listeners), "") or os.environ.get("IMAGO_LANG", "")
    if not chosen:
        env = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
        chosen = next((value for value in env if value), "") or (locale.getlocale()[0] or "")
    return "zh" if chosen.lower().startswith(("zh", "chinese")) else "en"


@cache
def catalogue(lang: str) -> dict[str, str]:
    """All translations into ``lang``, merged over the rooms; empty for English."""
    merged: dict[str, str] = {}
    for file in sorted((Path(__file__).parent / "locale").glob(f"{lang}.*.json")):
        merged.update(json.loads(file.read_text(encoding="utf-8")))
    return merged


def tr(template: str, /, **values: object) -> str:
    """``template`` in the user's language with ``{name}`` fields filled in from ``values``."""
    lang = language()
    text = template if lang == "en" else catalogue(lang).get(template, template)
    return text.format(**values) if values else text
