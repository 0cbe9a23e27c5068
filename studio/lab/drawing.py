"""Pictures of numbers as SVG, handed to the page as data URLs.

Only numbers go into the SVG, never what somebody typed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.types import U8
from imago.studio.explain import data_url

CELL = 30
INK, PAPER, MARK = "#17231e", "#fffefb", "#b4500b"
LINES = ("#0d5c4d", "#b4500b", "#1d5f8a")  # the same weight has the same colour
DARK = 140  # greys below it carry light digits


def svg_url(text: str) -> str:
    """An SVG document as an image's address."""
    return data_url(text.encode("utf-8"), "image/svg+xml")


def grid_svg(
    values: npt.NDArray[np.generic],
    *,
    colours: U8 | None = None,
    box: tuple[int, int, int] | None = None,
    size: int = CELL,
) -> str:
    """Numbers in cells that have the colour they stand for.

    values: ``(h, w)`` numbers, or ``(h, w, 3)`` triples, set below each other. colours: uint8 ``(h, w)`` or
    ``(h, w, 3)``, by default ``values``. box: ``(row, column, side)`` of a window to mark.
    """
    height, width = values.shape[:2]
    ground = np.asarray(values if colours is None else colours)
    cells = []
    for y in range(height):
        for x in range(width):
            cells.append(_cell(values[y, x], ground[y, x], x * size, y * size, size))
    if box is not None:
        row, column, side = box
        cells.append(
            f'<rect x="{column * size}" y="{row * size}" width="{side * size}" height="{side * size}" '
            f'fill="none" stroke="{MARK}" stroke-width="4"/>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {width * size + 4} {height * size + 4}" '
        'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" text-anchor="middle">'
        f"{''.join(cells)}</svg>"
    )


def _cell(value: npt.NDArray[np.generic], ground: npt.NDArray[np.generic], x: int, y: int, size: int) -> str:
    r, g, b = (int(v) for v in np.broadcast_to(ground, 3))
    ink = PAPER if 0.299 * r + 0.587 * g + 0.114 * b < DARK else INK
    rect = f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="rgb({r},{g},{b})" stroke="#8b8a7c"/>'
    lines = [number_text(float(v)) for v in np.ravel(value)]
    font = size * (0.42 if len(lines) == 1 and max(map(len, lines)) < 4 else 0.3)
    pitch = size / (len(lines) + 0.35)
    texts = [
        f'<text x="{x + size / 2}" y="{y + pitch * (k + 0.75) + (size * 0.02):.1f}" font-size="{font:.1f}" '
        f'fill="{ink}">{line}</text>'
        for k, line in enumerate(lines)
    ]
    return rect + "".join(texts)


def number_text(value: float) -> str:
    """Short: whole numbers as such, others with one decimal."""
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 or abs(value) >= 100 else f"{value:.1f}"


def connections_svg(side: int, *, dense: bool, hidden: int = 4, kernel: int = 3) -> str:
    """A row of ``side`` inputs and ``hidden`` neurons, with a line for every weight: all to all, or each
    neuron to its own few neighbours."""
    gap, top, bottom = 34, 24, 150
    width = max(side, hidden) * gap + 20
    xs = [width / 2 + (i - (side - 1) / 2) * gap for i in range(side)]
    hs = [width / 2 + (i - (hidden - 1) / 2) * gap for i in range(hidden)]
    lines = []
    for j, hx in enumerate(hs):
        first = round(j * (side - kernel) / max(1, hidden - 1)) if not dense else 0
        seen = range(side) if dense else range(first, min(side, first + kernel))
        lines += [
            f'<line x1="{xs[i]:.1f}" y1="{top}" x2="{hx:.1f}" y2="{bottom}" '
            f'stroke="{LINES[0 if dense else (i - first) % len(LINES)]}" stroke-width="1.8"/>'
            for i in seen
        ]
    dots = [_dot(x, top, "#f6f4ee") for x in xs] + [_dot(x, bottom, "#e1efe9") for x in hs]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 24}">'
        f"{''.join(lines)}{''.join(dots)}</svg>"
    )


def _dot(x: float, y: float, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="11" fill="{fill}" stroke="{INK}" stroke-width="1.5"/>'
