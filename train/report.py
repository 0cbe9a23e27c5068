"""``report.html``: one file that tells a run, with nothing to fetch and nothing to run.

Charts are inlined as SVG whose ink, lines and ground follow the reader's light or dark setting;
they also stand beside it as PNG and SVG. Every name that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import io
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.types import U8
from imago.train.metrics import EvalResult
from imago.train.report_style import CSS

REPORT = "report.html"
TILE = 128  # pictures of mistakes are at most so large in the page


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer. image: uint8 ``(H, W, 1 or 3)`` rgb. true, predicted: class names. confidence: 0..1."""

    image: U8
    true: str
    predicted: str
    confidence: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A table of its own that a caller adds: plain text, escaped here. svg: a drawing from ``inline_svg``."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    text: str = ""
    svg: str = ""


def write_report(
    run_dir: Path,
    *,
    title: str,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    result: EvalResult,
    classes: Sequence[str],
    mistakes: Sequence[Mistake],
    generated: bool,
    extra_sections: Sequence[Section] = (),
) -> Path:
    """Write ``report.html`` and its pictures (PNG and SVG) into ``run_dir``; returns the page's path.

    config: what was asked for, shown as a table. rows: of ``metrics.jsonl``. result: the headline.
    generated: the pictures were made by a program, which the page then says beside the accuracy.
    Raises StorageError.
    """
    charts = _charts(run_dir, rows, result, mistakes)
    parts = [
        _headline(title, result, generated),
        _figure(tr("How it learned"), charts.get("curves"), tr("Each point is one pass over the pictures.")),
        _figure(
            tr("What it confuses"),
            charts["confusion"],
            tr("One row per true class. Blue: named rightly. Orange: taken for another class."),
            kind="square",
        ),
        _figure(tr("Class by class"), charts["per_class"], _classes_note(result)) + _class_table(result),
        _gallery(mistakes, result),
        *map(_section, extra_sections),
        _commands(run_dir),
        _configuration(config),
    ]
    body = "\n".join(part for part in parts if part)
    lang = "zh-Hans" if language() == "zh" else "en"
    page = PAGE.format(lang=lang, title=escape(title), policy=POLICY, css=CSS, body=body)
    write_text(run_dir / REPORT, page)
    return run_dir / REPORT


POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing runs, nothing is fetched
PAGE = """<!DOCTYPE html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _charts(
    run_dir: Path, rows: Sequence[Mapping[str, Any]], result: EvalResult, mistakes: Sequence[Mistake]
) -> dict[str, str]:
    from imago.train import plots
    from imago.train.charts import write_chart

    names = result.labels
    charts = {
        "confusion": write_chart(run_dir / "confusion", names, lambda pen: plots.confusion(result, pen)),
        "per_class": write_chart(run_dir / "per_class", names, lambda pen: plots.per_class(result, pen)),
    }
    if rows:
        charts["curves"] = write_chart(run_dir / "curves", (), lambda pen: plots.curves(rows, pen))
    if mistakes:
        write_chart(run_dir / "mistakes", names, lambda pen: plots.mistakes_sheet(mistakes, pen))
    return {name: inline_svg(text, name) for name, text in charts.items()}


def inline_svg(text: str, prefix: str) -> str:
    """An SVG file's drawing for use inside a page: ids made unique, colours that follow the page's."""
    from imago.train.charts import BLUE, INK, LATIN, LINE, MUTED, RED

    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(\sid="|url\(#|xlink:href="#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="([0-9.]+)pt"', r'\1 style="max-width:\2pt"', text, count=1)
    for color, variable in ((INK, "currentColor"), (MUTED, "var(--muted)"), (LINE, "var(--line)")):
        text = text.replace(color, variable)
    # lines and words get the page's lighter blue and red on dark ground; filled cells keep theirs
    for color, variable in ((BLUE, "var(--blue)"), (RED, "var(--red)")):
        text = text.replace(f"stroke: {color}", f"stroke: {variable}")
        text = re.sub(rf"(<text[^>]*?fill: ){color}", rf"\g<1>{variable}", text)
    return text.replace(f"'{LATIN}'", "var(--font)").replace("<svg", '<svg role="img"', 1)


def percent(value: float | None) -> str:
    """``0.98765`` → ``98.8 %``."""
    return "–" if value is None else f"{100 * value:.1f} %"


def _headline(title: str, result: EvalResult, generated: bool) -> str:
    low, high = result.interval
    badge = (
        f'<p class="badge">{escape(tr("generated data: says nothing about real photos"))}</p>'
        if generated
        else ""
    )
    facts = [
        (tr("95 % interval"), f"{100 * low:.1f}–{100 * high:.1f} %"),
        (tr("pictures judged"), f"{result.n}"),
        (tr("classes"), f"{len(result.labels)}"),
    ]
    if len(result.labels) >= 10:
        facts.append((tr("right among its first five"), percent(result.top5)))
    cells = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return (
        f'<header><h1>{escape(title)}</h1>{badge}<div class="lead"><p class="big">{100 * result.accuracy:.2f}'
        f"<small>%</small></p><p>{escape(tr('of the pictures it had not seen are named rightly'))}</p></div>"
        f"<dl>{cells}</dl></header>"
    )


def _figure(title: str, svg: str | None, note: str, kind: str = "wide") -> str:
    if svg is None:
        return ""
    figure = f'<figure class="{kind}">{svg}</figure>'
    return f"<section><h2>{escape(title)}</h2><p>{escape(note)}</p>{figure}</section>"


def _classes_note(result: EvalResult) -> str:
    found = [entry for entry in result.per_class if entry.recall is not None]
    if not found:
        return ""
    worst = min(found, key=lambda entry: entry.recall or 0.0)
    return tr(
        "Hardest class: {label}; {found} of its {n} pictures are recognised.",
        label=worst.label,
        found=round((worst.recall or 0.0) * worst.n),
        n=worst.n,
    )


def _class_table(result: EvalResult) -> str:
    head = (tr("class"), tr("pictures"), tr("found (recall)"), tr("right (precision)"), "F1")
    body = [
        (e.label, str(e.n), percent(e.recall), percent(e.precision), percent(e.f1)) for e in result.per_class
    ]
    table = table_html(body, head)
    return f"<details><summary>{escape(tr('as a table'))}</summary>{table}</details>"


def table_html(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """A table of plain texts, escaped here."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    thead = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{thead}<tbody>{lines}</tbody></table></div>'


def _gallery(mistakes: Sequence[Mistake], result: EvalResult) -> str:
    wrong = result.n - round(result.accuracy * result.n)
    title = escape(tr("Worst mistakes"))
    note = tr("The {count} surest of {wrong} wrong answers.", count=len(mistakes), wrong=wrong)
    if not mistakes:
        note = (
            tr("None: every picture was named rightly.") if not wrong else tr("Wrong answers: {n}.", n=wrong)
        )
    tiles = "".join(map(_tile, mistakes))
    return f'<section><h2>{title}</h2><p>{escape(note)}</p><div class="tiles">{tiles}</div></section>'


def _tile(mistake: Mistake) -> str:
    said = f"{mistake.predicted} {100 * mistake.confidence:.0f} %"
    small = ' class="pixels"' if max(mistake.image.shape[:2]) < TILE // 2 else ""
    return (
        f'<figure><img{small} src="data:image/png;base64,{png_base64(mistake.image)}" '
        f'alt="{escape(mistake.true)}" title="{escape(mistake.name)}">'
        f"<figcaption>{escape(mistake.true)}<br><span>→ {escape(said)}</span></figcaption></figure>"
    )


def png_base64(image: U8) -> str:
    """A small PNG of a uint8 picture ``(H, W, 1 or 3)``, as base64."""
    from PIL import Image

    plain = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    picture = Image.fromarray(np.ascontiguousarray(plain))
    picture.thumbnail((TILE, TILE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _section(section: Section) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    figure = f'<figure class="wide">{section.svg}</figure>' if section.svg else ""
    return f"<section><h2>{escape(section.title)}</h2>{text}{table_html(section.rows)}{figure}</section>"


def _commands(run_dir: Path) -> str:
    run = shlex.quote(str(run_dir))
    model = shlex.quote(str(run_dir / f"{run_dir.name}.onnx"))
    lines = (
        (f"imago export {run}", tr("one file that carries all a board needs")),
        (f"imago quantize {model} --calibrate DATA", tr("a smaller int8 version, if it is worth having")),
        (f"imago predict {model} photo.jpg", tr("what is on this picture?")),
        (f"imago run {model} --source 0", tr("look through the camera")),
    )
    items = "".join(
        f"<li><code>{escape(line)}</code><span>{escape(text)}</span></li>" for line, text in lines
    )
    return f'<section><h2>{escape(tr("How to go on"))}</h2><ul class="commands">{items}</ul></section>'


def _configuration(config: Mapping[str, Any]) -> str:
    pairs = "".join(
        f"<div><dt>{escape(key)}</dt><dd>{escape(_value(value))}</dd></div>" for key, value in _flat(config)
    )
    return f'<section><h2>{escape(tr("Settings"))}</h2><dl class="settings">{pairs}</dl></section>'


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    return f"{value:g}" if isinstance(value, float) else str(value)
