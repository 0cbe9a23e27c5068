"""Step: understand. How good it is, for whom it is not, where it errs, and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.studio.context import Context
from imago.studio.fairness import remarks
from imago.studio.jobs.examine import FOLDER, examined
from imago.studio.parts import Tag, box, card, figures, link, note, picture, title
from imago.studio.steps.common import kilobytes, next_step, percent, run_or_hint
from imago.studio.steps.compare import compare
from imago.studio.steps.inside import inside
from imago.studio.training import RunView
from imago.studio.weights import parameter_count

MAX_MATRIX = 30


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("What has it learnt?"),
        tr("A number says how often it is right. The pictures below say on what, and why not."),
    )
    shown = run_or_hint(context)
    if shown is None:
        return
    _figures(shown)
    found = examined(shown.folder)
    if shown.result:
        with box("columns"):
            _classes(shown, found.get("trained", {}))
            _matrix(shown)
    _mistakes(shown, found)
    inside(context, shown)
    compare(context, shown)
    next_step(context, "/compress", tr("On to a smaller version"))


def _figures(shown: RunView) -> None:
    result = shown.result
    low, high = result.get("interval_95", (None, None))
    model = shown.model
    with card(shown.name):
        figures(
            [
                (tr("accuracy"), percent(result.get("accuracy"))),
                (tr("surely between"), f"{percent(low, 0)} – {percent(high, 0)}"),
                (_split_name(shown.split), str(result.get("n", "–"))),
                (tr("weights"), f"{parameter_count(shown.folder):,}".replace(",", " ")),
                (tr("model file"), "–" if model is None else kilobytes(model.stat().st_size)),
                (tr("learnt for"), duration(float(shown.figures.get("seconds", 0)))),
            ]
        )
        if shown.run.data.get("generated"):
            note(tr("The pictures were drawn by the computer: the figures say nothing about photographs."))
        with box("row"):
            path = f"/api/download/runs/{quote(shown.name)}/report.html?show=1"
            link(tr("The whole report"), path, "button", target="_blank")


def _split_name(split: str) -> str:
    return tr("test pictures") if split == "test" else tr("validation pictures")


def _classes(shown: RunView, trained: dict[str, int]) -> None:
    """Recall of each class, the worst first, and what follows from it."""
    rows = sorted(shown.result["per_class"], key=lambda row: (row["recall"] is None, row["recall"]))
    with card(tr("Class by class")):
        Tag("p", tr("How many of each class's pictures it recognises (recall)."), "muted small")
        with box("recalls", "ul"):
            for row in rows:
                with box(tag="li"):
                    with box("row apart"):
                        Tag("strong", row["label"])
                        n = row["n"]
                        hits = round((row["recall"] or 0) * n)
                        Tag("span", f"{percent(row['recall'], 0)} · {hits}/{n}", "muted small")
                    with box("bar", aria_hidden="true"):
                        weak = "fill weak" if (row["recall"] or 0) < 0.5 else "fill"
                        box(weak).style(f"width:{100 * (row['recall'] or 0):.1f}%")
        for tone, text in remarks(shown.result["per_class"], trained):
            note(text, tone)


def _matrix(shown: RunView) -> None:
    labels = [row["label"] for row in shown.result["per_class"]]
    with card(tr("What it takes for what")):
        if len(labels) > MAX_MATRIX:
            Tag("p", tr("There are too many classes for a table here; the report has it."), "muted")
            return
        Tag(
            "p",
            tr("Each row is a true class, each column what was said; the diagonal is right."),
            "muted small",
        )
        _matrix_table(labels, shown.result["confusion"])


def _matrix_table(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    caption = tr("Confusion matrix")
    with box("scroll", tabindex="0", role="region", aria_label=caption), box("matrix", "table"):
        Tag("caption", caption, "sr")
        with box(tag="thead"), box(tag="tr"):
            Tag("td", "")
            for label in labels:
                with box(tag="th", scope="col"):
                    Tag("span", label)
        with box(tag="tbody"):
            for row, (label, values) in enumerate(zip(labels, counts, strict=True)):
                with box(tag="tr"):
                    Tag("th", label, scope="row")
                    for column, value in enumerate(values):
                        _cell(value, value / max(1, sum(values)), right=row == column)


def _cell(value: int, share: float, *, right: bool) -> None:
    """Both scales end in middle tones, on which the same dark text stays readable."""
    made = Tag("td", str(value) if value else "·", "right" if right else "")
    if value:
        colour = "70 160 135" if right else "236 152 72"
        made.style(f"background:rgb({colour} / {round(15 + 85 * share)}%)")


def _mistakes(shown: RunView, found: dict[str, object]) -> None:
    rows = found.get("mistakes")
    if not isinstance(rows, list):
        return
    with card(tr("Its surest mistakes")):
        if not rows:
            Tag("p", tr("None: every picture was named rightly."), "muted")
        with box("gallery"):
            for row in rows:
                with box(tag="figure"):
                    path = f"/api/download/runs/{quote(shown.name)}/{FOLDER}/pictures/{row['picture']}?show=1"
                    picture(path, row["true"])
                    with box(tag="figcaption"):
                        Tag("strong", row["true"])
                        Tag("span", f"→ {row['said']} {percent(row['confidence'], 0)}", "wrong")
