"""Form fields: native inputs with a label and an explanation, changed values as Python values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from imago.studio.parts import Tag, box

Change = Callable[[Any], Any]
VALUE = "(event) => emit(event.target.value)"
CHECKED = "(event) => emit(event.target.checked)"


def _frame(name: str, label: str, explanation: str) -> tuple[Tag, dict[str, Any]]:
    """The box around a field, with its label, and the attributes that tie the input to both."""
    made = box("field")
    with made:
        Tag("label", label, for_=f"field-{name}")
    described = f"about-{name}" if explanation else None
    return made, {"id": f"field-{name}", "name": name, "aria_describedby": described}


def _explain(name: str, explanation: str) -> None:
    if explanation:
        Tag("p", explanation, "about", id=f"about-{name}")


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
    """A number; an emptied field gives None. ``change`` gets float or None once it is left or Enter is "
    "hit."""
    frame, ties = _frame(name, label, explanation)
    with frame:
        made = Tag(
            "input",
            "",
            type="number",
            inputmode="decimal",
            value="" if value is None else f"{value:.10g}",
            min=low,
            max=high,
            step=step,
            placeholder=placeholder or None,
            **ties,
        )
        _explain(name, explanation)
    made.on("change", lambda event: change(_number(event.args)), js_handler=VALUE)
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
            "input", "", type="text", value=value, maxlength=200, placeholder=placeholder or None, **ties
        )
        _explain(name, explanation)
    made.on("change", lambda event: change(str(event.args)[:200]), js_handler=VALUE)
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

    def changed(event: Any) -> Any:
        return change(event.args) if event.args in known else None

    made.on("change", changed, js_handler=VALUE)
    return made


def switch(name: str, label: str, value: bool, change: Change, *, explanation: str = "") -> Tag:
    """Yes or no."""
    frame, ties = _frame(name, label, explanation)
    frame.classes("field-switch")
    with frame:
        made = Tag("input", "", type="checkbox", role="switch", checked=value or None, **ties)
        _explain(name, explanation)
    made.on("change", lambda event: change(bool(event.args)), js_handler=CHECKED)
    return made
