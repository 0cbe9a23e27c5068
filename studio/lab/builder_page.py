"""Laboratory: the builder. A network put together layer by layer; shapes and weights follow at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nicegui import ui

from imago.edge_runtime.messages import tr
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.lab import nets
from imago.studio.lab.looks import begin
from imago.studio.parts import Tag, box, button, card
from imago.train.models.layers import Layer, LayerError, Linear, field_names
from imago.train.models.plan import MOST_SIDE, Plan
from imago.train.models.plan_text import plan_program
from imago.train.models.rows import shape_text

ACTIVATIONS = (("", "–"), ("relu", "ReLU"), ("softmax", "Softmax"))


class Builder:
    """The network on the table. A changed value redraws the results; a changed order redraws the list."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.plan = nets.on_the_table(context.studio.memory)
        self.rows: list[tuple[Tag, Tag]] = []

    def build(self) -> None:
        """Layers left, results right."""
        with box("columns wide-left"):
            with box("stack"):
                self._beginnings()
                with card(tr("Layers")):
                    self._input()
                    self.list = box("layers", "ol", id="layers")
                with card(tr("Add a layer")):
                    Tag("p", tr("It comes before the last Linear; arrows move it."), "muted small")
                    with box("row"):
                        for layer in nets.FRESH:
                            button(
                                layer.TITLE,
                                lambda layer=layer: self._add(layer),
                                data_add=layer.KIND,
                                title=about(layer),
                            )
            with box("stack lab-totals"):
                self._results()
        self._list()

    def _beginnings(self) -> None:
        names = {
            "LeNet-5": tr("LeNet-5"),
            "fully connected": tr("fully connected"),
            "residual blocks": tr("residual blocks"),
            "Inception blocks": tr("Inception blocks"),
        }
        with box("row", role="group", aria_label=tr("Begin with")):
            Tag("span", tr("Begin with"), "muted")
            for key, name in names.items():
                button(name, lambda key=key: self._take(nets.TEMPLATES[key]), data_template=key)

    def _input(self) -> None:
        with box("fields"):
            kinds = [("1", tr("grey, 1 channel")), ("3", tr("colour, 3 channels"))]
            self.channels = fields.choice(
                "channels",
                tr("Picture"),
                str(self.plan.input[0]),
                kinds,
                lambda v: self._size(channels=int(v)),
            )
            self.side = fields.number(
                "side",
                tr("Pixels each way"),
                self.plan.input[1],
                lambda v: self._size(side=int(v or 32)),
                low=1,
                high=MOST_SIDE,
                step=1,
            )

    def _results(self) -> None:
        with card(tr("The whole")):
            self.total = Tag("p", "", "lab-number", id="total")
            self.words = Tag("p", "", "muted")
            self.problem = Tag("p", "", "note", role="status", id="problem")
            self.name = fields.text("name", tr("Name"), self.plan.name, self._rename)
            with box("row"):
                self.go = button(tr("Train this network"), self._train, kind="main", id="train-net")
                button(tr("Save as a file"), self._download, id="save-net")
        with (
            card(tr("The same in Python")),
            box("code", "pre", tabindex="0", role="region", aria_label="Python"),
        ):
            self.code = Tag("code", "", id="net-program")

    def _list(self, focus: int | None = None) -> None:
        """All rows anew; the keyboard stays where it was."""
        self.list.clear()
        self.rows = []
        with self.list:
            for index, layer in enumerate(self.plan.layers):
                self._row(index, layer)
        self.show()
        if focus is not None and self.plan.layers:
            at = min(focus, len(self.plan.layers) - 1)
            # not ui.run_javascript: the button that was pressed is gone, and its page with it
            self.list.client.run_javascript(f"document.querySelectorAll('#layers .layer')[{at}]?.focus()")

    def _row(self, index: int, layer: Layer) -> None:
        with box("layer", "li", tabindex="-1", data_layer=layer.KIND) as row:
            Tag("span", str(index + 1), "place")
            Tag("strong", layer.TITLE, title=about(layer))
            with box("settings"):
                for name in field_names(type(layer)):
                    self._setting(index, layer, name)
            with box("moves"):
                number = index + 1
                for sign, label, act in (
                    ("↑", tr("move layer {n} up", n=number), lambda: self._move(index, -1)),
                    ("↓", tr("move layer {n} down", n=number), lambda: self._move(index, 1)),
                    ("✕", tr("take layer {n} out", n=number), lambda: self._remove(index)),
                ):
                    button(sign, act, kind="quiet", aria_label=label, title=label)
            made = Tag("p", "", "made")
        self.rows.append((row, made))

    def _setting(self, index: int, layer: Layer, name: str) -> None:
        value = getattr(layer, name)
        with box(tag="label"):
            Tag("span", setting_words().get(name, name))
            if name == "activation":
                kinds = [k for k in ACTIVATIONS if k[0] != "softmax" or isinstance(layer, Linear)]
                with box(tag="select") as made:
                    for key, text in kinds:
                        Tag("option", text, value=key, selected=key == value or None)
            else:
                low, high = layer.RANGES[name]
                made = Tag(
                    "input",
                    "",
                    type="number",
                    defaultValue="" if value is None else f"{value:g}",
                    min=low,
                    max=high,
                    step="any" if isinstance(low, float) else 1,
                    placeholder=tr("classes") if name == "units" and index == self.plan.head else None,
                )
        fields.listen(made, self._setter(index, name, made))

    def _setter(self, index: int, name: str, made: Tag) -> Callable[[Any], None]:
        def change(text: Any) -> None:
            layer = self.plan.layers[index]
            try:
                self._keep(nets.changed(self.plan, index, **{name: typed(layer, name, text)}))
            except LayerError as error:
                fields.put(made, "" if getattr(layer, name) is None else str(getattr(layer, name)))
                self.show()
                row, words = self.rows[index]
                row.classes(add="wrong")
                words.say(str(error))

        return change

    def show(self) -> None:
        """Shapes, weights and what does not fit, after any change."""
        trace = self.plan.trace()
        for index, (row, made) in enumerate(self.rows):
            row.classes(remove="wrong")
            if index < len(trace.rows):
                one = trace.rows[index]
                made.say(
                    tr(
                        "→ {shape} · {params} parameters · {macs} multiplications",
                        shape=shape_text(one.shape),
                        params=f"{one.params:,}",
                        macs=f"{one.macs:,}",
                    )
                )
            else:
                made.say("")
        if trace.problem is not None and len(trace.rows) < len(self.rows):
            row, made = self.rows[len(trace.rows)]
            row.classes(add="wrong")
            made.say(str(trace.problem))
        params, macs = trace.totals
        self.total.say(tr("{n} parameters", n=f"{params:,}"))
        self.words.say(
            tr(
                "{macs} multiplications for a picture; about {size} kB as a file, a quarter with 8 bits",
                macs=f"{macs:,}",
                size=f"{max(1, round(params * 4 / 1000)):,}",
            )
        )
        self.problem.say(str(trace.problem) if trace.problem else tr("All layers fit."))
        self.problem.classes(
            add="bad" if trace.problem else "good", remove="good" if trace.problem else "bad"
        )
        self.go.set("disabled", True if trace.problem else None)
        self.code.say(plan_program(self.plan))

    def _keep(self, plan: Plan) -> None:
        self.plan = plan
        nets.put(self.context.studio.memory, plan)
        self.show()

    def _take(self, plan: Plan) -> None:
        self._keep_all(plan, 0)
        fields.put(self.channels, str(plan.input[0]))
        fields.put(self.side, str(plan.input[1]))
        fields.put(self.name, plan.name)

    def _keep_all(self, plan: Plan, focus: int) -> None:
        self.plan = plan
        nets.put(self.context.studio.memory, plan)
        self._list(focus)

    def _add(self, layer: Layer) -> None:
        self._keep_all(*nets.inserted(self.plan, layer))

    def _move(self, index: int, by: int) -> None:
        self._keep_all(nets.moved(self.plan, index, by), max(0, index + by))

    def _remove(self, index: int) -> None:
        self._keep_all(nets.removed(self.plan, index), index)

    def _size(self, *, channels: int | None = None, side: int | None = None) -> None:
        old = self.plan.input
        square = old[1] if side is None else min(MOST_SIDE, max(1, side))
        self._keep(replace(self.plan, input=(channels or old[0], square, square)))

    def _rename(self, name: str) -> None:
        self._keep(replace(self.plan, name=name))

    def _download(self) -> None:
        text = json.dumps(self.plan.to_dict(), ensure_ascii=False, indent=2) + "\n"
        ui.download.content(text, f"{self.plan.name}.json", "application/json")

    def _train(self) -> None:
        self.context.choose(model=nets.save(self.context.studio.workspace, self.plan))
        self.context.go("/parameters" if self.context.choices.data else "/data")


def typed(layer: Layer, name: str, text: object) -> object:
    """What was typed, as the setting's own kind. Raises LayerError (through the layer) for anything else."""
    if name == "activation":
        return str(text)
    if text in ("", None):
        return None
    try:
        number = float(str(text))
    except ValueError:
        return str(text)[:20]
    whole = isinstance(layer.RANGES[name][0], int)
    return int(number) if whole and number.is_integer() else number


def setting_words() -> dict[str, str]:
    """The settings' names for people."""
    return {
        "channels": tr("channels"),
        "kernel": tr("window"),
        "stride": tr("stride"),
        "padding": tr("padding"),
        "activation": tr("activation"),
        "share": tr("share"),
        "units": tr("units"),
    }


def about(layer: Layer) -> str:
    """One sentence on what a layer does."""
    return {
        "conv2d": tr("Kernels slide over all maps and look for patterns; one map per kernel comes out."),
        "max_pool": tr("Of every window the largest value stays: smaller maps, small shifts forgiven."),
        "avg_pool": tr("Of every window the mean stays."),
        "global_avg_pool": tr("Of every map one number stays, its mean: the shortest way to the last layer."),
        "batch_norm": tr("Keeps all channels in the same range, so that training goes faster."),
        "dropout": tr("Forgets a share of the values while training, so that no single one is relied on."),
        "relu": tr("What is below 0 becomes 0."),
        "flatten": tr("Maps become one list of numbers; a Linear does it by itself."),
        "linear": tr("Every unit weighs every number that comes in."),
        "residual": tr("Two convolutions whose result is added to what came in: deep networks still learn."),
        "inception": tr("Kernels of 1×1, 3×3 and 5×5 and a pooling look at the same place side by side."),
        "softmax": tr("Turns the last numbers into probabilities; only at the very end."),
    }[layer.KIND]


def build(context: Context) -> None:
    """Fill the page."""
    begin(
        tr("Build a network"),
        tr(
            "Put layers together, change their order and their numbers. What fits, how many weights there "
            "are and how much work it is, you see at once; then train it like any other."
        ),
    )
    Builder(context).build()
