"""How imago's charts look: one style, colour-blind safe, with a font for every name that can be drawn.

Figures are made without pyplot: no global state, no window, safe in a server. SVG keeps text as text,
so a browser draws any script; PNG needs a font on this machine, and writes ``#3`` for a class name
that none of them has.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from imago.edge_runtime.files import replacing, write_text
from imago.edge_runtime.messages import tr

# Okabe and Ito (2008): told apart with any colour vision. Ink, muted and line become CSS variables in a page.
BLUE, RED = "#0072b2", "#d55e00"
INK, MUTED, LINE = "#1d2733", "#667080", "#dfe3e8"
LATIN = "DejaVu Sans"  # ships with matplotlib
WIDE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Noto Sans CJK JP",
    "Malgun Gothic",
    "Arial Unicode MS",
)
FILES = (
    "notosanscjk",
    "notosanssc",
    "sourcehansans",
    "msyh",
    "pingfang",
    "hiragino",
    "wqy",
    "simhei",
    "malgun",
)
DPI = 160
LONGEST = 24

STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.linewidth": 1.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.unicode_minus": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Pen:
    """What text may be drawn. families: fonts in order of preference. covered: the code points that
    they have, or None where the viewer brings fonts of its own. indices: class name → index.
    """

    families: tuple[str, ...] = (LATIN,)
    covered: frozenset[int] | None = None
    indices: dict[str, int] = field(default_factory=dict)

    def can(self, text: str) -> bool:
        """Whether every character has a glyph."""
        return self.covered is None or all(ord(c) in self.covered for c in text)

    def name(self, label: str) -> str:
        """A class name as it can be drawn: shortened, and its index where no font has it."""
        plain = " ".join(label.split()) or "?"
        if not self.can(plain):
            return f"#{self.indices.get(label, '?')}"
        if len(plain) <= LONGEST:
            return plain
        return f"{plain[: LONGEST - 10]}…{plain[-9:]}"  # names of species differ at either end

    def words(self, template: str) -> str:
        """Text of the chart in the user's language; English where no font has it."""
        text = tr(template)
        return text if self.can(text) else template


def pens(labels: Sequence[str]) -> tuple[Pen, Pen]:
    """``(for PNG, for SVG)``: what can be drawn here, and everything."""
    families, covered = fonts_for(frozenset("".join(labels) + tr("accuracy")))
    indices = {label: index for index, label in enumerate(labels)}
    return Pen(families, covered, indices), Pen(families, None, indices)


@cache
def fonts_for(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[int]]:
    """Families that draw ``characters`` as far as this machine has them, and all code points they have."""
    families, covered = [LATIN], set(_charmap(font_manager.findfont(LATIN)))
    for family, path in _wide_fonts():
        wanted = {ord(c) for c in characters if not c.isspace()} - covered
        if not wanted:
            break
        charmap = _charmap(path)
        if wanted & charmap:
            families.append(family)
            covered |= charmap
    return tuple(families), frozenset(covered | {ord(" ")})


def _wide_fonts() -> Iterator[tuple[str, str]]:
    """Chinese, Japanese and Korean fonts on this machine: those matplotlib knows, then a look at the disk."""
    known = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
    found = False
    for family in WIDE_FONTS:
        if family in known and Path(known[family]).exists():
            found = True
            yield family, known[family]
    if found:
        return
    for path in sorted(font_manager.findSystemFonts()):  # installed after matplotlib made its list
        plain = Path(path).stem.lower().replace("-", "").replace("_", "")
        if plain.startswith(FILES):
            font_manager.fontManager.addfont(path)
            yield font_manager.FontProperties(fname=path).get_name(), path


@cache
def _charmap(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())


@contextmanager
def drawing(pen: Pen) -> Iterator[None]:
    """Everything that is drawn inside uses the style and the pen's fonts."""
    # a Chinese font without a "normal" weight is as good as any: nobody need be told
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with mpl.rc_context({**STYLE, "font.family": list(pen.families)}), warnings.catch_warnings():
        if pen.covered is None:  # measuring text for SVG: the viewer's fonts will have the glyph
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def write_chart(target: Path, labels: Iterable[str], draw: Callable[[Pen], Figure]) -> str:
    """Draw to ``target`` with ``.png`` and ``.svg``; returns the SVG (text as text, transparent ground).

    labels: the class names that may occur. Raises StorageError.
    """
    png, svg = pens(tuple(labels))
    with drawing(png), replacing(target.with_suffix(".png")) as temporary:
        draw(png).savefig(temporary, dpi=DPI)
    text = io.StringIO()
    with drawing(svg), mpl.rc_context({"svg.hashsalt": target.stem}):
        draw(svg).savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    write_text(target.with_suffix(".svg"), text.getvalue())
    return text.getvalue()
