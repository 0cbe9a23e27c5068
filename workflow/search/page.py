"""``report.html`` of a search: the winner and why, the picture, every trial, the final test."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import language, tr
from imago.train.charts import write_chart
from imago.train.report import PAGE, POLICY, REPORT, inline_svg, table_html
from imago.train.report_style import CSS
from imago.workflow.search.figure import search_figure
from imago.workflow.search.outcome import Row, Winner, pareto

PICTURE = "pareto"
LEGEND = (
    "Each circle is a trial, the larger the longer it was trained; hollow ones were stopped early. Blue: no "
    "other is both faster and more accurate. The star is the winner after its final training. The numbers "
    "are those of the table."
)


def write_page(
    folder: Path,
    *,
    title: str,
    rows: Sequence[Row],
    winner: Winner,
    max_latency_us: float,
    paragraph: str,
    generated: bool,
) -> Path:
    """Write ``report.html``, ``pareto.png`` and ``pareto.svg`` into ``folder``; returns the page's path."""
    svg = write_chart(folder / PICTURE, (), lambda pen: search_figure(rows, winner, max_latency_us, pen))
    badge = tr("generated data: says nothing about real photos") if generated else ""
    body = "\n".join(
        (
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="badge">{escape(badge)}</p>' if badge else "",
            f"<p>{escape(paragraph)}</p></header>",
            f"<section><h2>{escape(tr('Accuracy against latency'))}</h2>",
            f"<p>{escape(tr(LEGEND))}</p>",
            f'<figure class="wide">{inline_svg(svg, PICTURE)}</figure></section>',
            _trials(rows, winner),
        )
    )
    lang = "zh-Hans" if language() == "zh" else "en"
    page = PAGE.format(lang=lang, title=escape(title), policy=POLICY, css=CSS, body=body)
    write_text(folder / REPORT, page)
    return folder / REPORT


def _trials(rows: Sequence[Row], winner: Winner) -> str:
    head = (
        "",
        tr("network"),
        tr("training"),
        tr("validation accuracy"),
        tr("p50 (ms)"),
        tr("epochs"),
        tr("outcome"),
    )
    order = sorted(rows, key=lambda r: -(r.entry.accuracy or 0.0))
    on_front = {r.entry.number for r in pareto(rows)}
    table = table_html([_row(r, winner, on_front) for r in order], head)
    note = tr(
        "A trial that trains on continues with the weights of an earlier one; the folders of those on the "
        "front are kept and can be exported."
    )
    return f"<section><h2>{escape(tr('All trials'))}</h2><p>{escape(note)}</p>{table}</section>"


def _row(row: Row, winner: Winner, on_front: set[int]) -> tuple[str, ...]:
    e, c = row.entry, row.config
    network = f"{row.title}, stem {c.stem}" if c.stem is not None else row.title
    training = f"{c.optimizer} {c.lr:g}, {c.batch_size}, {c.augment}"
    if c.pretrained or c.weights is not None:
        training += ", " + (tr("pretrained, frozen") if c.freeze != "none" else tr("pretrained"))
    return (
        str(e.number),
        network,
        training,
        "–" if e.accuracy is None else f"{e.accuracy:.1%}",
        f"{e.p50_us / 1000:.3f}" if e.p50_us else "–",
        str(row.epochs or "–"),
        _outcome(row, winner, on_front),
    )


def _outcome(row: Row, winner: Winner, on_front: set[int]) -> str:
    e = row.entry
    if e.number == winner.row.entry.number:
        return tr("chosen")
    if e.state == "stopped":
        return {"slow": tr("too slow"), "late": tr("out of time")}.get(row.note, tr("fell behind"))
    if e.state == "failed":
        return tr("given up: {reason}", reason=row.note)
    text = tr("on the front") if e.number in on_front else ""
    if e.parent is not None:
        text += (", " if text else "") + tr("went on from {number}", number=e.parent)
    return text
