"""Step: parameters. Each field with its default, range and explanation; what was changed is marked."""

from __future__ import annotations

from typing import Any

from imago.edge_runtime.errors import ImagoError
from imago.edge_runtime.messages import tr
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.datasets import census, find_set
from imago.studio.language import in_thread
from imago.studio.parameters import (
    Parameter,
    advanced,
    basic,
    changed,
    default,
    not_for,
    plain_number,
)
from imago.studio.parts import Tag, box, button, card, figures, title
from imago.studio.steps.common import follow_once, next_step, percent
from imago.studio.training import all_runs, configured
from imago.train.config import TrainConfig


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("How shall it learn?"),
        tr("The defaults are good for a first run. Change one thing at a time, and compare."),
    )
    _facts(context)
    with card(tr("What every class talks about")), box("fields"):
        for parameter in basic():
            _field(context, parameter)
    changed_ones = any(p.name in context.choices.parameters for p in advanced())
    with box("card fold", "details", open=changed_ones or None):
        with box(tag="summary"):
            Tag("h2", tr("More"))
            Tag("span", tr("for the second look"), "muted small")
        with box("fields"):
            for parameter in advanced():
                _field(context, parameter)
    with box("row"):
        button(tr("Back to the defaults"), lambda: _reset(context), id="defaults")
    next_step(context, "/code", tr("On to the code"))


def _facts(context: Context) -> None:
    """What follows from earlier steps and is never typed: network, pictures, number of classes."""
    now = context.choices
    place = card()

    async def fill() -> None:
        pairs = [(tr("network"), now.model or "–"), (tr("pictures"), now.data or "–")]
        if now.data:
            try:
                found = find_set(context.studio.workspace, now.data)
                counted = await in_thread(census, found, 0)
                pairs.append((tr("classes"), str(len(counted.classes))))
            except ImagoError:
                pairs[1] = (tr("pictures"), "–")
        with place:
            figures(pairs, "small")

    follow_once(fill)


async def _reset(context: Context) -> None:
    context.choose(parameters={})
    await context.again()


def _field(context: Context, parameter: Parameter) -> None:
    name = parameter.name
    usual = default(name)
    value = context.choices.parameters.get(name, usual)
    with box("parameter", data_parameter=name) as place:
        pass

    def change(new: Any) -> None:
        """Keep it, or say what is wrong with it; the program and the training read it from here."""
        mistake.say("")
        try:
            wanted = changed(context.choices.parameters, name, new)
            configured(context.studio, wanted)
        except ImagoError as error:
            mistake.say(str(error))
            return
        context.choose(parameters=wanted)
        _mark(place, name in wanted)

    with place:
        _input(context, parameter, value, change)
        with box("row apart small muted"):
            Tag("span", _range(parameter, usual))
            without = not_for(parameter, context.choices.model)
            if without:
                Tag("span", without, "tag warn")
        mistake = Tag("p", "", "mistake small", role="alert")
    _mark(place, name in context.choices.parameters)


def _mark(place: Tag, is_changed: bool) -> None:
    place.classes(add="changed" if is_changed else "", remove="" if is_changed else "changed")


def _input(context: Context, parameter: Parameter, value: Any, change: fields.Change) -> None:
    name = parameter.name.replace(".", "-")
    if parameter.kind == "switch":
        fields.switch(name, parameter.label, bool(value), change, explanation=parameter.explanation)
    elif parameter.kind == "run":
        options = [("", parameter.empty), *_runs(context, parameter)]
        if value and value not in dict(options):
            options.append((value, value))  # gone, or of another network: shown as it is
        fields.choice(name, parameter.label, value or "", options, change, explanation=parameter.explanation)
    elif parameter.kind == "choice":
        options = [(one, one) for one in parameter.options]
        fields.choice(name, parameter.label, str(value), options, change, explanation=parameter.explanation)
    else:
        fields.number(
            name,
            parameter.label,
            value,
            change,
            low=parameter.low,
            high=parameter.high,
            step=parameter.step,
            explanation=parameter.explanation,
            placeholder=parameter.empty,
        )


def _runs(context: Context, parameter: Parameter) -> list[tuple[str, str]]:
    """Finished runs that can be named: to start from, only those of the chosen network."""
    network = context.choices.model or TrainConfig().model
    found = []
    for one in all_runs(context.studio):
        model = one.run.config.model
        if one.finished and (parameter.name != "init" or model == network):
            found.append((one.name, f"{one.name} · {model} · {percent(one.result.get('accuracy'))}"))
    return found


def _range(parameter: Parameter, usual: Any) -> str:
    """``default 50 · 1 to 1000``."""
    if parameter.kind == "switch":
        return tr("default: {value}", value=tr("yes") if usual else tr("no"))
    shown = parameter.empty if usual is None else f"{usual:g}" if isinstance(usual, float) else str(usual)
    text = tr("default: {value}", value=shown)
    if parameter.kind in ("choice", "run"):
        return text
    return f"{text} · " + tr(
        "{low} to {high}", low=plain_number(parameter.low), high=plain_number(parameter.high)
    )
