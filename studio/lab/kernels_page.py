"""Laboratory: convolution and pooling. A kernel slides over the pupil's own picture."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import F32, U8
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.explain import data_url, enlarge, png
from imago.studio.lab import kernels
from imago.studio.lab.drawing import grid_svg, svg_url
from imago.studio.lab.looks import begin
from imago.studio.lab.pixels import numbers
from imago.studio.lab.source import current, picture_bar
from imago.studio.parts import Tag, box, button, card, picture

WHOLE, SMALL = 64, 10  # sides of the picture that is filtered, and of the one shown as numbers
SHOWN = 320


def preset_names() -> dict[str, str]:
    """What the presets are called."""
    return {
        "vertical edges": tr("vertical edges"),
        "horizontal edges": tr("horizontal edges"),
        "all edges": tr("all edges"),
        "blur": tr("blur"),
        "sharpen": tr("sharpen"),
        "emboss": tr("emboss"),
        "nothing": tr("change nothing"),
    }


class Bench:
    """The kernel, its place, and what comes of it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.kernel = kernels.as_kernel(kernels.PRESETS["vertical edges"])
        self.row = self.column = 2
        self.pooling, self.window = "max", 2
        self.cells: list[Tag] = []

    def build(self) -> None:
        """Picture, kernel, the whole result; then one place of it, number by number."""
        picture_bar(self.context, self.draw)
        with box("columns wide-left"):
            with card(tr("What comes out")):
                with box("lab-three"):
                    self.before = self._figure(tr("the picture, {n}×{n} grey", n=WHOLE))
                    self.after = self._figure(
                        tr("after the convolution: grey is 0, white positive, black negative")
                    )
                    self.positive = self._figure(tr("after ReLU: what was negative is 0"))
                    self.pooled = self._figure(tr("after pooling"))
                with box("fields"):
                    kinds = [
                        ("max", tr("the largest of each window")),
                        ("mean", tr("the mean of each window")),
                    ]
                    fields.choice("pooling", tr("Pooling keeps"), self.pooling, kinds, self._set_pooling)
                    fields.number(
                        "window", tr("Window"), self.window, self._set_window, low=1, high=16, step=1
                    )
                self.sizes = Tag("p", "", "muted", role="status")
            with card(tr("The kernel")):
                with box("row"):
                    for key, name in preset_names().items():
                        button(name, lambda key=key: self._preset(key), data_preset=key)
                self.grid = box("kernel", role="group", aria_label=tr("The kernel"))
                self._inputs()
                Tag("p", tr("Change any number and see what the kernel finds."), "muted small")
        with card(tr("One place, number by number")):
            with box("fields"):
                self.down = fields.number("row", tr("Row"), self.row, self._set_row, low=0, high=7, step=1)
                self.right = fields.number(
                    "column", tr("Column"), self.column, self._set_column, low=0, high=7, step=1
                )
            with box("row"):
                for text, label, move in (
                    ("←", tr("one to the left"), (0, -1)),
                    ("→", tr("one to the right"), (0, 1)),
                    ("↑", tr("one up"), (-1, 0)),
                    ("↓", tr("one down"), (1, 0)),
                ):
                    button(text, lambda move=move: self._move(*move), aria_label=label)
            with box("lab-three"):
                self.pixels = self._figure(tr("{n}×{n} pixels of the picture; the window is marked", n=SMALL))
                self.weights = self._figure(tr("the kernel's weights"))
                self.made = self._figure(tr("all sums; this one is marked"))
            self.sum = Tag("p", "", "lab-sum", role="status", id="sum")
        self.draw()

    def draw(self) -> None:
        """Everything anew."""
        frame = current(self.context.studio.workspace.root)
        whole = numbers(frame, WHOLE, "gray")
        made = kernels.convolve(whole, self.kernel)
        positive = kernels.relu(made)
        pooled = kernels.pool(positive, min(self.window, *positive.shape), self.pooling)
        for tag, pixels in (
            (self.before, whole),
            (self.after, kernels.shown(made)),
            (self.positive, kernels.shown(positive)),
            (self.pooled, kernels.shown(pooled)),
        ):
            tag.set("src", data_url(png(enlarge(pixels, SHOWN))))
        self.sizes.say(
            tr(
                "{a}×{a} → convolution → {b}×{b} → pooling → {c}×{c}: {times} times fewer numbers",
                a=WHOLE,
                b=made.shape[0],
                c=pooled.shape[0],
                times=f"{whole.size / pooled.size:.1f}",
            )
        )
        self._draw_place(numbers(frame, SMALL, "gray"))

    def _draw_place(self, small: U8) -> None:
        side = len(self.kernel)
        last = SMALL - side
        self.row, self.column = min(self.row, last), min(self.column, last)
        fields.put(self.down, str(self.row))
        fields.put(self.right, str(self.column))
        sums = kernels.convolve(small, self.kernel)
        self.pixels.set("src", svg_url(grid_svg(small, box=(self.row, self.column, side))))
        self.weights.set("src", svg_url(grid_svg(self.kernel, colours=kernels.shown(self.kernel))))
        self.made.set(
            "src", svg_url(grid_svg(sums, colours=kernels.shown(sums), box=(self.row, self.column, 1)))
        )
        self.sum.say(kernels.step(small, self.kernel, self.row, self.column).text())

    def _figure(self, words: str) -> Tag:
        with box(tag="figure"):
            made = picture("", words, "lab-map")
            Tag("figcaption", words)
        return made

    def _inputs(self) -> None:
        self.grid.style(f"grid-template-columns: repeat({len(self.kernel)}, auto)")
        with self.grid:
            for y, row in enumerate(self.kernel):
                for x, value in enumerate(row):
                    label = tr("weight in row {row}, column {column}", row=y + 1, column=x + 1)
                    shown = f"{value:.4g}"
                    cell = Tag("input", "", type="number", step="any", defaultValue=shown, aria_label=label)
                    fields.listen(cell, partial(self._weight, y, x))
                    self.cells.append(cell)

    def _weight(self, y: int, x: int, text: object) -> None:
        try:
            value = float(str(text))
        except ValueError:
            value = 0.0
        fields.put(self.cells[y * len(self.kernel) + x], f"{value:.4g}")
        rows: F32 = self.kernel.copy()
        rows[y, x] = value if math.isfinite(value) else 0.0
        self.kernel = kernels.as_kernel(np.clip(rows, -kernels.LARGEST, kernels.LARGEST))
        self.draw()

    def _preset(self, key: str) -> None:
        self.kernel = kernels.as_kernel(kernels.PRESETS[key])
        for cell, value in zip(self.cells, self.kernel.ravel(), strict=True):
            fields.put(cell, f"{value:.4g}")
        self.draw()

    def _set_pooling(self, kind: str) -> None:
        self.pooling = kind
        self.draw()

    def _set_window(self, value: float | None) -> None:
        self.window = int(min(16, max(1, value or 2)))
        self.draw()

    def _set_row(self, value: float | None) -> None:
        self._move(int(value or 0) - self.row, 0)

    def _set_column(self, value: float | None) -> None:
        self._move(0, int(value or 0) - self.column)

    def _move(self, down: int, right: int) -> None:
        last = SMALL - len(self.kernel)
        self.row = min(last, max(0, self.row + down))
        self.column = min(last, max(0, self.column + right))
        self._draw_place(numbers(current(self.context.studio.workspace.root), SMALL, "gray"))


def build(context: Context) -> None:
    """Fill the page."""
    begin(
        tr("Convolution and pooling"),
        tr(
            "A kernel is a small table of weights. It slides over the picture; at every place pixels times "
            "weights are added up. Pooling then keeps one number of every window."
        ),
    )
    Bench(context).build()
