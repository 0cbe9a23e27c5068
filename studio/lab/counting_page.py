"""Laboratory: counting weights. Why networks that look at pictures are not fully connected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from imago.edge_runtime.messages import tr
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.lab.counting import LESSON_SIDES, Comparison, megabytes
from imago.studio.lab.drawing import connections_svg, svg_url
from imago.studio.lab.looks import begin
from imago.studio.parts import Tag, box, card, picture, table

RANGES = {
    "side": (1, 1024),
    "channels": (1, 3),
    "units": (1, 1_000_000),
    "kernels": (1, 1024),
    "kernel": (1, 31),
}


class Counter:
    """Five numbers, two results, redone at every change."""

    def __init__(self) -> None:
        self.now = Comparison(100)

    def build(self) -> None:
        """Fields left, results right."""
        with box("columns"):
            with card(tr("The picture and the layers")), box("fields"):
                self._number("side", tr("Picture, pixels each way"))
                self._number("channels", tr("Numbers per pixel"), tr("1 for grey, 3 for colour."))
                self._number(
                    "units",
                    tr("Neurons of the fully connected layer"),
                    tr("Empty: as many as there are inputs."),
                )
                self._number("kernels", tr("Kernels of the convolution"))
                self._number("kernel", tr("Side of a kernel"))
            with box("stack"):
                with card(tr("Fully connected")):
                    self.dense = Tag("p", "", "lab-number", id="dense")
                    self.dense_words = Tag("p", "", "muted")
                with card(tr("Convolution")):
                    self.conv = Tag("p", "", "lab-number", id="conv")
                    self.conv_words = Tag("p", "", "muted")
                self.verdict = Tag("p", "", "note good", role="status")
        with box("columns"):
            for dense, heading, words in (
                (True, tr("Every input with every neuron"), tr("Six inputs and four neurons: 24 weights.")),
                (
                    False,
                    tr("Every neuron with its neighbourhood"),
                    tr("Each neuron sees three inputs; the same three weights serve all."),
                ),
            ):
                with card(heading):
                    picture(svg_url(connections_svg(6, dense=dense)), words, "lab-wires")
                    Tag("p", words, "muted")
        with card(tr("How it grows")):
            self.growth = box("stack")
        self.show()

    def show(self) -> None:
        """Count again."""
        one = self.now
        self.dense.say(f"{one.dense_weights:,}")
        self.dense_words.say(
            tr(
                "{inputs} inputs × {neurons} neurons, {room} of memory; {bias} biases more",
                inputs=f"{one.inputs:,}",
                neurons=f"{one.neurons:,}",
                room=megabytes(one.dense_weights),
                bias=f"{one.neurons:,}",
            )
        )
        self.conv.say(f"{one.conv_weights:,}")
        self.conv_words.say(
            tr(
                "{kernels} kernels of {channels}×{kernel}×{kernel}, {room} of memory; {bias} biases more",
                kernels=one.kernels,
                channels=one.channels,
                kernel=one.kernel,
                room=megabytes(one.conv_weights),
                bias=one.kernels,
            )
        )
        words = tr("The fully connected layer has {times} times as many.", times=f"{one.ratio:,.0f}")
        if not one.fits:
            words = tr("A kernel of this size does not fit into the picture.")
        self.verdict.say(words)
        self.growth.clear()
        with self.growth:
            table(
                (tr("picture"), tr("inputs"), tr("fully connected"), tr("convolution")),
                [_row(replace(one, side=side)) for side in LESSON_SIDES],
                tr("weights by size of the picture"),
            )

    def _number(self, name: str, label: str, explanation: str = "") -> None:
        low, high = RANGES[name]

        def change(value: float | None) -> None:
            if value is None and name != "units":
                return
            number = None if value is None else int(min(high, max(low, value)))
            given: dict[str, Any] = {name: 3 if name == "channels" and number == 2 else number}
            self.now = replace(self.now, **given)
            self.show()

        value = getattr(self.now, name)
        fields.number(name, label, value, change, low=low, high=high, step=1, explanation=explanation)


def _row(one: Comparison) -> tuple[str, str, str, str]:
    return f"{one.side}×{one.side}", f"{one.inputs:,}", f"{one.dense_weights:,}", f"{one.conv_weights:,}"


def build(context: Context) -> None:
    """Fill the page."""
    begin(
        tr("Counting weights"),
        tr(
            "Connect every pixel with every neuron and the number of weights explodes. A convolution looks "
            "at a small region at a time and uses the same few weights everywhere."
        ),
    )
    Counter().build()
