"""The frame around every page: name, step bar, laboratory menu, languages; and what goes wrong, in words."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from nicegui import Client, ui

from imago.edge_runtime.errors import ImagoError
from imago.edge_runtime.messages import LANGUAGES, language, tr
from imago.studio.context import EVENTS, TYPING, Context, Studio
from imago.studio.lab.tour import guide
from imago.studio.language import NAMES
from imago.studio.parts import Tag, box, button, link, note, title
from imago.studio.registry import Page, addresses, laboratory, steps, tools

LOG = logging.getLogger("imago.studio")


class Shell:
    """One visitor's frame."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._marks: dict[str, Tag] = {}
        link(tr("to the content"), "#content", "skip")
        with box("top", "header"):
            self._name()
            self._menu()
            self._languages()
        self._step_bar()
        guide(studio)
        with box("content", "main", id="content", tabindex="-1"):
            routes: dict[str, Callable[[], None]] = {
                path: self._filler(path, page) for path, page in addresses().items()
            }
            self._mark(ui.context.client.sub_pages_router.current_path)
            ui.context.client.sub_pages_router.on_path_changed(self._mark)
            ui.sub_pages({"/": routes["/task"], **routes}, show_404=False)

    def _filler(self, path: str, page: Page) -> Callable[[], None]:
        def fill() -> None:
            ui.page_title(f"{tr(page.title)} · imago")
            holder = box("page", data_page=path)
            context = Context(self._studio, path)
            for name in (TYPING, *EVENTS):
                holder.on(name, _teller(context, name), js_handler="(event) => emit(event.detail)")

            def rebuild() -> None:
                """In place: the visitor stays where they have scrolled to."""
                if not holder.is_deleted:
                    holder.clear()
                    with holder:
                        _build(page, context)
                    self._note_progress()

            context.rebuild = rebuild
            with holder:
                _build(page, context)

        return fill

    def _name(self) -> None:
        with link("", "/task", "name", aria_label=tr("imago, to the start")):
            box("mark", aria_hidden="true")
            Tag("span", "imago", "word")

    def _menu(self) -> None:
        groups = ((tr("Laboratory"), "/lab", laboratory()), (tr("Tools"), "/tools", tools()))
        for text, prefix, pages in groups:
            if not pages:
                continue
            with box("menu", "details"):
                Tag("summary", text)
                with box("list", "nav", aria_label=text):
                    for page in pages:
                        self._entry(f"{prefix}/{page.key}", page)

    def _entry(self, path: str, page: Page) -> None:
        with link("", path, "entry") as made:
            Tag("strong", tr(page.title))
            Tag("span", tr(page.hint))
        self._marks[path] = made

    def _languages(self) -> None:
        with box("languages", role="group", aria_label="Language · 语言"):
            for lang in LANGUAGES:
                made = button(
                    NAMES[lang], kind="quiet", lang=lang, aria_pressed=str(lang == language()).lower()
                )
                made.on("click", js_handler=f"() => imagoLanguage('{lang}')")

    def _step_bar(self) -> None:
        with box("steps", "nav", aria_label=tr("steps")), box(tag="ol"):
            for number, page in enumerate(steps(), 1):
                with box(tag="li"):
                    path = f"/{page.key}"
                    with link("", path, "step", title=tr(page.hint)) as made:
                        Tag("span", str(number), "number")
                        Tag("span", tr(page.title), "word")
                    self._marks[path] = made

    def _mark(self, path: str) -> None:
        """Show where one is, and which steps are done."""
        here = path.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
        here = "/task" if here in ("", "/") else here
        for place, made in self._marks.items():
            made.set("aria_current", "page" if place == here else None)
        self._note_progress()
        ui.run_javascript(f"imagoArrived({json.dumps(here)})")

    def _note_progress(self) -> None:
        now, runs = self._studio.choices, self._studio.workspace.runs
        trained = next(runs.glob("*/weights.safetensors"), None) is not None
        smaller = next(runs.glob("*/compressed/result.json"), None) is not None
        done = {
            "/task": bool(now.task),
            "/model": bool(now.model),
            "/data": bool(now.data),
            "/train": trained,
            "/compress": smaller,
        }
        for place, is_done in done.items():
            self._marks[place].classes(add="done" if is_done else "", remove="" if is_done else "done")


def _teller(context: Context, name: str) -> Callable[[Any], Any]:
    """The page itself listens for its scripts: it is there as long as the visitor is on it."""

    def told(event: Any) -> Any:
        if name == TYPING:
            return context.typing(bool(event.args))
        listener = context.listeners.get(name)
        return None if listener is None else listener(event.args)

    return told


def _build(page: Page, context: Context) -> None:
    """Fill the page; what can be mended is said on it."""
    try:
        page.builder()(context)
    except ImagoError as error:
        title(tr(page.title))
        note(str(error), "bad")
    except ModuleNotFoundError as error:
        title(tr(page.title))
        missing(error)


def missing(error: ModuleNotFoundError) -> None:
    """A step whose room is not there yet says so."""
    LOG.info("not there: %s", error.name)
    note(
        tr(
            "This step needs {package}, which is not part of this installation yet.",
            package=error.name or "?",
        ),
        "warn",
    )


def expected(record: logging.LogRecord) -> bool:
    """For a log: leave out what visitors can mend and are told in the page."""
    return not (record.exc_info and isinstance(record.exc_info[1], ImagoError))


def complain(error: Exception) -> None:
    """What an event handler raised: an error that can be mended is shown in words; others are logged."""
    client = ui.context.client if ui.context.slot_stack else None
    if client is None or not isinstance(client, Client):
        return
    if isinstance(error, ImagoError):
        ui.notify(str(error), type="negative", multi_line=True, timeout=12_000, close_button=tr("close"))
    else:
        ui.notify(
            tr("Something went wrong in imago; the terminal shows the details."),
            type="negative",
            close_button=tr("close"),
        )
