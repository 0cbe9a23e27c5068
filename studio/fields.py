"""Form fields: native inputs with a label and an explanation, changed values as Python values.

What somebody types is theirs. Inputs are given a ``defaultValue``, because Vue sets a ``value`` again at
every redrawing of anything on the page. Where a field itself is drawn anew, ``static/typing.js`` gives back
what was being typed; ``data-heard`` says up to which number this visitor's changes have come here, so that it
tells the new field what went to the one that was gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from nicegui import Client, ui

from imago.studio.parts import Tag, box

Change = Callable[[Any], Any]
TOLD = "(event) => emit(imagoTold(event.target))"
_HEARD: WeakKeyDictionary[Client, dict[str, int]] = WeakKeyDictionary()


def _frame(name: str, label: str, explanation: str) -> tuple[Tag, dict[str, Any]]:
    """The box around a field, with its label, and the attributes that tie the input to both."""
    made = box("field")
    with made:
        Tag("label", label, for_=f"field-{name}")
    described = f"about-{name}" if explanation else None
    heard = _HEARD.get(ui.context.client, {}).get(f"field-{name}")
    return made, {
        "id": f"field-{name}",
        "name": name,
        "aria_describedby": described,
        "data_heard": str(heard) if heard else None,
    }


def _explain(name: str, explanation: str) -> None:
    if explanation:
        Tag("p", explanation, "about", id=f"about-{name}")


def listen(made: Tag, change: Change) -> None:
    """Call ``change`` with what was typed or chosen, once the field is left or Enter is hit."""
    name = str(made._props.get("id", ""))

    def told(event: Any) -> Any:
        match event.args:
            case [value, int(count)]:
                _HEARD.setdefault(made.client, {})[name] = count
                return change(value)
        return None

    made.on("change", told, js_handler=TOLD)


def put(made: Tag, value: str) -> None:
    """Show a value that the page has decided on, but never in place of what is being typed there."""
    if made.tag == "input":
        made.set("defaultValue", value)
    made.client.run_javascript(f"imagoPut({made.id}, {json.dumps(value)})")


def number(
    name: str,
    label: str,
    value: float | None,
    change: Change,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | str = "any",
    explanation: str = "",
    placeholder: str = "",
) -> Tag:
    """A number; ``change`` gets a float, or None where the field was emptied."""
    frame, ties = _frame(name, label, explanation)
    with frame:
        made = Tag(
            "input",
            "",
            type="number",
            inputmode="decimal",
            defaultValue="" if value is None else f"{value:.10g}",
            min=low,
            max=high,
            step=step,
            placeholder=placeholder or None,
            **ties,
        )
        _explain(name, explanation)
    listen(made, lambda typed: change(_number(typed)))
    return made


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def text(
    name: str, label: str, value: str, change: Change, *, explanation: str = "", placeholder: str = ""
) -> Tag:
    """One line of text."""
    frame, ties = _frame(name, label, explanation)
    with frame:
        made = Tag(
            "input",
            "",
            type="text",
            defaultValue=value,
            maxlength=200,
            placeholder=placeholder or None,
            **ties,
        )
        _explain(name, explanation)
    listen(made, lambda typed: change(str(typed)[:200]))
    return made


def choice(
    name: str,
    label: str,
    value: str,
    options: Sequence[tuple[str, str]],
    change: Change,
    *,
    explanation: str = "",
) -> Tag:
    """One of ``options``, pairs of a value and its text. ``change`` gets a value that is among them."""
    frame, ties = _frame(name, label, explanation)
    known = {key for key, _ in options}
    with frame:
        made = Tag("select", "", **ties)
        with made:
            for key, words in options:
                Tag("option", words, value=key, selected=key == value or None)
        _explain(name, explanation)

    def chosen(key: Any) -> Any:
        return change(key) if isinstance(key, str) and key in known else None

    listen(made, chosen)
    return made


def switch(name: str, label: str, value: bool, change: Change, *, explanation: str = "") -> Tag:
    """Yes or no."""
    frame, ties = _frame(name, label, explanation)
    frame.classes("field-switch")
    with frame:
        made = Tag("input", "", type="checkbox", role="switch", checked=value or None, **ties)
        _explain(name, explanation)
    listen(made, lambda checked: change(bool(checked)))
    return made
