"""``report.html`` of a compression: what to use and why, the picture, every candidate, the final test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import language, tr
from imago.train.charts import write_chart
from imago.train.report import PAGE, POLICY, REPORT, inline_svg, table_html
from imago.train.report_style import CSS
from imago.workflow.compress.choose import Choice, Gates, Measured
from imago.workflow.compress.figure import by_latency, pareto_figure

PICTURE = "pareto"


def write_page(
    folder: Path,
    *,
    title: str,
    candidates: Sequence[Measured],
    choice: Choice,
    gates: Gates,
    paragraph: str,
    final: Sequence[Mapping[str, Any]],
    generated: bool,
) -> Path:
    """Write ``report.html``, ``pareto.png`` and ``pareto.svg`` into ``folder``; returns the page's path.

    final: figures on the test split, as in ``CompressReport.final``; empty where there is none.
    Raises StorageError.
    """
    svg = write_chart(folder / PICTURE, (), lambda pen: pareto_figure(candidates, choice, gates, pen))
    badge = tr("generated data: says nothing about real photos") if generated else ""
    body = "\n".join(
        (
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="badge">{escape(badge)}</p>' if badge else "",
            f"<p>{escape(paragraph)}</p></header>",
            f"<section><h2>{escape(tr('Accuracy against latency'))}</h2>",
            f"<p>{escape(tr(LEGEND))}</p>",
            f'<figure class="wide">{inline_svg(svg, PICTURE)}</figure></section>',
            _candidates(candidates, choice, gates),
            _final(final),
        )
    )
    lang = "zh-Hans" if language() == "zh" else "en"
    page = PAGE.format(lang=lang, title=escape(title), policy=POLICY, css=CSS, body=body)
    write_text(folder / REPORT, page)
    return folder / REPORT


LEGEND = (
    "Each circle is a model file, its area the file's size. Filled: inside the gates. Orange: chosen. "
    "The line is the best accuracy to be had within a latency. The numbers are those of the table."
)


def _candidates(candidates: Sequence[Measured], choice: Choice, gates: Gates) -> str:
    head = (
        "",
        tr("candidate"),
        tr("top-1"),
        tr("drop, points (95 % interval)"),
        tr("p50 (ms)"),
        tr("size (kB)"),
        tr("verdict"),
    )
    rows = [(str(k), *_row(c, choice, gates)) for k, c in enumerate(by_latency(candidates), 1)]
    n = candidates[0].drop.n
    note = tr("Accuracy on {n} validation pictures, each file through the board's preprocessing.", n=n)
    return (
        f"<section><h2>{escape(tr('All candidates'))}</h2><p>{escape(note)}</p>"
        f"{table_html(rows, head)}</section>"
    )


def _row(c: Measured, choice: Choice, gates: Gates) -> tuple[str, ...]:
    low, high = c.drop.interval
    failures = gates.failures(c)
    verdict = "; ".join(failures) or (tr("on the front") if c in choice.front else tr("inside the gates"))
    if c is choice.best:
        verdict = tr("chosen")
    drop = "–" if c.recipe.plain else f"{c.drop.drop:+.2f}\u00a0({low:+.2f}\u00a0…\u00a0{high:+.2f})"
    return (
        c.recipe.name,
        f"{100 * c.accuracy:.2f}\u00a0%",
        drop,
        f"{c.p50_us / 1000:.3f}",
        f"{c.bytes / 1000:.1f}",
        verdict,
    )


def _final(final: Sequence[Mapping[str, Any]]) -> str:
    if not final:
        return ""
    rows = [(str(f["name"]), f"{100 * f['accuracy']:.2f}\u00a0%", str(f["n"])) for f in final]
    head = (tr("model"), tr("accuracy"), tr("pictures"))
    note = tr("The test split is used once, here: nothing was chosen by it.")
    return (
        f"<section><h2>{escape(tr('On the test split'))}</h2><p>{escape(note)}</p>"
        f"{table_html(rows, head)}</section>"
    )
