"""Which language each visitor reads: the page asks by cookie, threads inherit it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from fastapi import Request
from nicegui import Client
from nicegui.slot import Slot

from imago.edge_runtime.messages import LANGUAGES, ask_listener, language

COOKIE = "imago_language"
NAMES = {"en": "English", "zh": "简体中文"}
HTML = {"en": "en-GB", "zh": "zh-CN"}

_spoken: ContextVar[str] = ContextVar("spoken", default="")
P = ParamSpec("P")
T = TypeVar("T")


def listen() -> None:
    """From now on every text is in the language of the visitor whose event is being handled."""
    ask_listener(_of_visitor)


def _of_visitor() -> str:
    chosen = _spoken.get()
    if chosen:
        return chosen
    stack = Slot.get_stack()
    if not stack:
        return ""
    try:
        return str(stack[-1].parent.client.storage.get("language", ""))
    except RuntimeError:  # the visitor has gone
        return ""


def greet(client: Client, request: Request) -> str:
    """Note the visitor's language: the chosen one, else the browser's, else this machine's."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen not in LANGUAGES:
        wanted = request.headers.get("accept-language", "").lower()
        first = wanted.split(",")[0].strip()[:2]
        chosen = first if first in LANGUAGES else language()
    client.storage["language"] = chosen
    return chosen


@contextmanager
def speaking(lang: str) -> Iterator[None]:
    """Within, texts are in ``lang``."""
    before = _spoken.set(lang)
    try:
        yield
    finally:
        _spoken.reset(before)


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``work`` in a thread, speaking the visitor's language; the page stays alive meanwhile."""
    with speaking(language()):
        return await asyncio.to_thread(work, *args, **kwargs)
