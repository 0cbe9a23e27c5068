"""Laboratory: pixels. A picture as the numbers that it is."""

from __future__ import annotations

import numpy as np

from imago.edge_runtime.messages import tr
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.lab.drawing import grid_svg, svg_url
from imago.studio.lab.looks import begin
from imago.studio.lab.pixels import Mode, limit, numbers, text_lines
from imago.studio.lab.source import current, picture_bar
from imago.studio.parts import Tag, box, card, picture

SIDE, RGB_SIDE, LARGEST = 25, 12, 32
RGB_CELL = 54


class PixelView:
    """The numbers of the laboratory's picture, redrawn at every change."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.mode: Mode = "gray"
        self.side = SIDE
        self.threshold: int | None = None

    def build(self) -> None:
        """Controls on top, the grid below, the same as text for those who cannot see it."""
        picture_bar(self.context, self.draw)
        with card(tr("The numbers")):
            with box("fields"):
                options = [
                    ("gray", tr("grey: 0 is black, 255 is white")),
                    ("rgb", tr("colour: red, green, blue")),
                    ("bw", tr("black and white: 0 and 1")),
                ]
                fields.choice("mode", tr("What a pixel is"), self.mode, options, self._set_mode)
                self.field = fields.number(
                    "side", tr("Pixels each way"), self.side, self._set_side, low=4, high=LARGEST, step=1
                )
                fields.number(
                    "threshold",
                    tr("White from"),
                    None,
                    self._set_threshold,
                    low=0,
                    high=255,
                    step=1,
                    placeholder=tr("the picture's mean"),
                    explanation=tr("Only for black and white: the grey from which a pixel becomes white."),
                )
            self.about = Tag("p", "", "muted", role="status")
            self.shown = picture("", "", "lab-grid")
            with box("details", "details"):
                Tag("summary", tr("The same as text"))
                with box("code", "pre", tabindex="0", role="region", aria_label=tr("pixel values")):
                    self.text = Tag("code", "", id="pixel-text")
        self.draw()

    def draw(self) -> None:
        """Show the picture as it is now."""
        frame = current(self.context.studio.workspace.root)
        values = numbers(frame, self.side, self.mode, self.threshold)
        colours = values * np.uint8(255) if self.mode == "bw" else values
        size = RGB_CELL if self.mode == "rgb" else 30
        self.shown.set("src", svg_url(grid_svg(values, colours=colours, size=size)))
        self.shown.set("alt", tr("a grid of {n} by {n} pixels with their values", n=self.side))
        self.text.say("\n".join(text_lines(values)))
        self.about.say(self._words(values))

    def _words(self, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
        n = self.side
        if self.mode == "rgb":
            return tr(
                "{n}×{n} pixels with 3 numbers each make {all} numbers. [255 255 255] is white, three equal "
                "numbers are grey.",
                n=n,
                all=f"{3 * n * n:,}",
            )
        if self.mode == "bw":
            grey = numbers(current(self.context.studio.workspace.root), n, "gray")
            return tr(
                "{white} of {all} pixels are white (1), the others black (0); white begins at {limit}.",
                white=int(values.sum()),
                all=n * n,
                limit=round(limit(grey, self.threshold)),
            )
        return tr(
            "{n}×{n} pixels make {all} numbers. The darkest here is {low}, the lightest {high}.",
            n=n,
            all=f"{n * n:,}",
            low=int(values.min()),
            high=int(values.max()),
        )

    def _set_mode(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "rgb":
            self.side = min(self.side, RGB_SIDE)
            fields.put(self.field, str(self.side))
        self.draw()

    def _set_side(self, value: float | None) -> None:
        most = RGB_SIDE if self.mode == "rgb" else LARGEST
        self.side = int(min(most, max(4, value or SIDE)))
        fields.put(self.field, str(self.side))
        self.draw()

    def _set_threshold(self, value: float | None) -> None:
        self.threshold = None if value is None else int(min(255, max(0, value)))
        self.draw()


def build(context: Context) -> None:
    """Fill the page."""
    begin(
        tr("A picture is numbers"),
        tr(
            "For a computer a picture is a table of numbers. Here are those of yours, made as small as a "
            "network likes it."
        ),
    )
    PixelView(context).build()
