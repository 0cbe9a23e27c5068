"""Laboratory: feature maps. What every layer of a trained network makes of the pupil's picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.types import F32, U8
from imago.studio.context import Context
from imago.studio.explain import Layer, data_url, enlarge, png
from imago.studio.lab.features import Stage, Walk, walk
from imago.studio.lab.looks import begin
from imago.studio.lab.source import current, picture_bar
from imago.studio.language import in_thread
from imago.studio.parts import Tag, box, card, link, note, picture
from imago.studio.steps.common import follow_once, percent, run_or_hint
from imago.train.models.rows import shape_text

BARS = 12  # answers that are shown
WHAT = ("Conv", "MaxPool", "AveragePool", "Gemm", "Softmax", "Add", "Concat", "GlobalAveragePool")


def lenet_words() -> tuple[tuple[str, str, str], ...]:
    """The paper's names of LeNet-5's layers and what each does, in order."""
    return (
        ("C1", "Conv", tr("Convolution: 6 kernels of 5×5 look for simple patterns, such as edges.")),
        ("S2", "MaxPool", tr("Pooling: of every 2×2 square the largest value stays.")),
        ("C3", "Conv", tr("Convolution: 16 kernels put the six maps together into larger patterns.")),
        ("S4", "MaxPool", tr("Pooling again: small shifts of the subject no longer matter.")),
        ("C5", "Conv", tr("Convolution over the whole rest: 120 maps of a single number each.")),
        ("F6", "Gemm", tr("Fully connected: 84 neurons weigh all 120 numbers.")),
        ("OUT", "Gemm", tr("Fully connected: one number per class; softmax turns them into probabilities.")),
    )


class Gallery:
    """The stages of one picture's way, drawn anew for another picture."""

    def __init__(self, context: Context, model: Path, network: str) -> None:
        self.context, self.model, self.network = context, model, network

    def build(self) -> None:
        """Picture on top, stages below."""
        picture_bar(self.context, self.draw)
        self.place = box("stack", aria_live="polite", id="stages")
        follow_once(self.draw)

    async def draw(self) -> None:
        """Ask the model, in a thread: the page stays alive."""
        frame = current(self.context.studio.workspace.root)
        found = await in_thread(walk, self.model, frame)
        self.place.clear()
        with self.place:
            self._show(found)

    def _show(self, found: Walk) -> None:
        with card(tr("Layer by layer")), box("lab-stages"):
            with box("lab-stage"):
                with box():
                    Tag("h3", tr("input"))
                    Tag("p", f"{found.spec.input.width}×{found.spec.input.height}", "muted")
                with box(tag="figure"):
                    small = data_url(png(enlarge(found.input, 160)))
                    picture(small, tr("what the network is given"), "lab-map").style("max-width: 10rem")
            for name, words, stage in captions(found, self.network):
                with box("lab-stage"):
                    with box():
                        Tag("h3", name)
                        Tag("p", shape_text(stage.shape), "muted")
                        if words:
                            Tag("p", words, "muted small")
                    with box(tag="figure"):
                        picture(_sheet(stage), f"{name} {shape_text(stage.shape)}", "lab-map")
        with card(tr("The answer")):
            order = found.probabilities.argsort()[::-1][:BARS]
            for index in order:
                share = float(found.probabilities[index])
                with box("row apart"):
                    Tag("span", found.spec.display(int(index), language()))
                    Tag("strong", percent(share))


def captions(found: Walk, network: str) -> list[tuple[str, str, Stage]]:
    """The stages that are shown, with names: the paper's for LeNet-5, the operator's for others."""
    stages = [stage for stage in found.stages if stage.kind in WHAT]
    words = lenet_words()
    fitting = [stage for stage in stages if stage.kind != "Softmax"]
    if network == "lenet5" and [stage.kind for stage in fitting] == [kind for _, kind, _ in words]:
        return [(name, text, stage) for (name, _, text), stage in zip(words, fitting, strict=True)]
    return [(f"{number}  {stage.kind}", "", stage) for number, stage in enumerate(stages, 1)]


def _sheet(stage: Stage) -> str:
    """Maps side by side; lists of numbers as one row of grey squares."""
    values = stage.values
    if values.ndim == 3 and min(values.shape[1:]) > 1:
        return data_url(Layer("", stage.kind, values).sheet())
    return data_url(png(strip(values)))


def strip(values: F32) -> U8:
    """Numbers as grey squares, 30 in a row; white is the largest, black the smallest."""
    flat = values.ravel()
    low, spread = float(flat.min()), float(flat.max() - flat.min()) or 1.0
    columns = min(30, flat.size)
    sheet = np.full(-(-flat.size // columns) * columns, 255, np.uint8)
    sheet[: flat.size] = np.round(255 * (flat - low) / spread)
    return enlarge(sheet.reshape(-1, columns), 17 * max(columns, len(sheet) // columns))


def build(context: Context) -> None:
    """Fill the page."""
    begin(
        tr("What every layer sees"),
        tr(
            "The maps of a network that you trained, for one picture. Dark green is little, pale yellow is "
            "much of what a kernel looks for."
        ),
    )
    shown = run_or_hint(context)
    if shown is None:
        return
    if shown.model is None:
        note(tr("This run has no ONNX file yet: imago export {run}", run=shown.name), "warn")
        return
    link(tr("The same with what the network looks at: Understand"), "/understand", "small")
    Gallery(context, shown.model, shown.run.config.model).build()
