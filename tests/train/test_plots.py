"""Charts: they draw what they are given, for any class count and script, without a word of warning."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.train import plots
from imago.train.charts import LATIN, Pen, drawing, fonts_for, pens, write_chart
from imago.train.metrics import EvalResult, evaluate_probabilities
from imago.train.report import Mistake

from support import ROOT


def result_of(classes: int, names: list[str] | None = None, per: int = 6) -> EvalResult:
    rng = np.random.default_rng(classes)
    labels = np.repeat(np.arange(classes), per)
    scores = rng.random((len(labels), classes)).astype(np.float32)
    scores[np.arange(len(labels)), labels] += 0.6
    return evaluate_probabilities(scores, labels, names or [f"class {i}" for i in range(classes)])


def rows_of(n: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": i + 1,
            "train_loss": 2 / (i + 1),
            "val_loss": 2.2 / (i + 1),
            "train_accuracy": 1 - 0.8 / (i + 1),
            "val_accuracy": 1 - 0.9 / (i + 1),
        }
        for i in range(n)
    ]


def texts(svg: str) -> list[str]:
    tree = ET.fromstring(svg)  # noqa: S314 - our own drawing
    return ["".join(node.itertext()) for node in tree.iter() if node.tag.endswith("}text")]


@pytest.mark.parametrize("classes", [2, 6, 31, 100])
def test_confusion_and_bars_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    result = result_of(classes)
    svg = write_chart(tmp_path / "c", result.labels, lambda pen: plots.confusion(result, pen))
    shown = texts(svg)
    assert all(shown.count(label) == 2 for label in result.labels)
    counts = [t for t in shown if t.isdigit()]
    expected = [str(v) for v in result.confusion.ravel() if v] if classes <= 30 else []
    assert sorted(counts) == sorted(expected)
    with Image.open(tmp_path / "c.png") as picture:
        assert min(picture.size) > 300
        assert max(picture.size) < 3000
    svg = write_chart(tmp_path / "p", result.labels, lambda pen: plots.per_class(result, pen))
    assert sum("(6)" in t for t in texts(svg)) == min(classes, plots.MOST_BARS)


def test_bars_of_many_classes_are_the_weakest(tmp_path: Path) -> None:
    labels = np.arange(60)
    wrong = labels.copy()
    wrong[50:] = 0
    result = evaluate_probabilities(
        np.eye(60, dtype=np.float32)[wrong], labels, [f"c{i:02}" for i in range(60)]
    )
    shown = " ".join(
        texts(write_chart(tmp_path / "p", result.labels, lambda pen: plots.per_class(result, pen)))
    )
    assert all(f"c{i}" in shown for i in range(50, 60))


def test_curves_have_the_points_they_were_given() -> None:
    rows = rows_of(12)
    with drawing(Pen()):
        figure = plots.curves(rows, Pen())
    loss, accuracy = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [row["train_loss"] for row in rows]
    assert accuracy.lines[2].get_ydata().tolist() == pytest.approx(
        [100 * row["val_accuracy"] for row in rows]
    )
    assert [t.get_text() for t in loss.texts] == ["training", "validation"]
    assert loss.get_ylim()[0] == 0


@pytest.mark.parametrize(
    "rows",
    [
        [],
        rows_of(1),
        [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2}],
        [{"train_loss": float("nan"), "val_accuracy": None}, {"train_loss": 0.5}],
    ],
)
def test_curves_with_gaps(tmp_path: Path, rows: list[dict[str, float]]) -> None:
    write_chart(tmp_path / "c", (), lambda pen: plots.curves(rows, pen))
    assert (tmp_path / "c.png").exists()


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 48, 3)])
@pytest.mark.parametrize("count", [1, 7])
def test_sheet_of_mistakes(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    image = np.zeros(shape, np.uint8)
    mistakes = [Mistake(image, "ant", "bee", 0.87)] * count
    svg = write_chart(tmp_path / "m", ("ant", "bee"), lambda pen: plots.mistakes_sheet(mistakes, pen))
    assert texts(svg).count("ant") == texts(svg).count("→ bee 87%") == count


NAMES = ["蚂蚁", "ねこ", "$x^2$ & <b>", "--><script>", "муха", "🐝 bee", "\U00010380\U00010381", "a" * 40]


def test_any_name_is_drawn_without_a_warning(tmp_path: Path) -> None:
    result = result_of(len(NAMES), NAMES)
    svg = write_chart(tmp_path / "c", result.labels, lambda pen: plots.confusion(result, pen))
    shown = texts(svg)
    assert all(name in shown for name in NAMES[:-1])  # a viewer brings its own fonts
    assert "a" * 14 + "…" + "a" * 9 in shown
    assert "<script>" not in svg


def test_a_name_without_a_font_becomes_its_index() -> None:
    png, svg = pens(("ant", "\U00010380\U00010381"))  # Ugaritic
    assert png.name("ant") == "ant"
    assert png.name("\U00010380\U00010381") in ("#1", "\U00010380\U00010381")
    assert svg.name("\U00010380\U00010381") == "\U00010380\U00010381"
    latin = Pen((LATIN,), fonts_for(frozenset("a"))[1], {"蚂蚁": 3})
    assert latin.name("蚂蚁") == "#3"


def test_chart_words_fall_back_to_english_without_a_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_LANG", "zh")
    assert Pen().words("validation") == "验证"
    assert Pen(covered=frozenset(map(ord, "abc"))).words("validation") == "validation"


def test_same_data_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_chart(tmp_path / name / "c", (), lambda pen: plots.curves(rows_of(5), pen))
    assert (tmp_path / "a" / "c.svg").read_bytes() == (tmp_path / "b" / "c.svg").read_bytes()
    assert (tmp_path / "a" / "c.png").read_bytes() == (tmp_path / "b" / "c.png").read_bytes()


def test_drawing_leaves_no_trace_in_matplotlib_and_needs_no_pyplot() -> None:
    code = (
        "import sys, matplotlib as m\n"
        "def now(): return {k: m.rcParams[k] for k in m.rcParams if k != 'backend'}\n"
        "before = now()\n"
        "from imago.train import plots; from imago.train.charts import Pen, drawing\n"
        "with drawing(Pen()): plots.curves([{'train_loss': 1.0}], Pen())\n"
        "assert now() == before and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    )
