"""The report: whole, self-contained, and safe with names that somebody else chose."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from imago.train.metrics import evaluate_probabilities
from imago.train.report import Mistake, Section, write_report

EVIL = '<script>alert("x")</script>'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags, text and attributes of a page; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def write(
    folder: Path,
    names: tuple[str, ...] = ("ant", "bee", "wasp"),
    *,
    generated: bool = False,
    mistakes: int = 2,
    rows: int = 3,
) -> tuple[str, Page]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(names)), 10)
    scores = rng.random((len(labels), len(names))).astype(np.float32)
    scores[np.arange(len(labels)), labels] += 0.7
    images = rng.integers(0, 256, (mistakes, 32, 32, 3), np.uint8)
    path = write_report(
        folder,
        title=f"lenet5 on {names[0]}",
        config={"model": "lenet5", "lr": None, "pretrained": False, "data": {"split_file": EVIL}},
        rows=[{"epoch": i + 1, "train_loss": 1 / (i + 1), "val_accuracy": 0.5} for i in range(rows)],
        result=evaluate_probabilities(scores, labels, names),
        classes=names,
        mistakes=[Mistake(image, names[0], names[1], 0.9, EVIL) for image in images],
        generated=generated,
        extra_sections=[Section(EVIL, (("k", EVIL),), EVIL)],
    )
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def report(folder: Path) -> tuple[str, Page]:
    """One report for all who only read."""
    return write(folder)


def test_the_report_tells_the_run(report: tuple[str, Page], folder: Path) -> None:
    text, page = report
    assert text.startswith("<!DOCTYPE html>")
    words = " ".join(page.words)
    for expected in ("30", "95 % interval", "imago export", "lenet5", "90 %", "split_file"):
        assert expected in words
    assert page.tags.count("svg") == 3
    for name in ("curves", "confusion", "per_class", "mistakes"):
        assert (folder / f"{name}.png").stat().st_size > 1000
        assert (folder / f"{name}.svg").stat().st_size > 1000
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_generated_data_are_labelled(report: tuple[str, Page], tmp_path: Path) -> None:
    assert "generated data" not in report[0]
    assert "generated data" in write(tmp_path, generated=True)[0]


def test_nothing_is_fetched_and_nothing_runs(report: tuple[str, Page]) -> None:
    _, page = report
    assert not {"script", "link", "iframe", "object", "foreignobject"} & {tag.lower() for tag in page.tags}
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/png;base64,", "#")), value
        assert "url(http" not in value


NAMES = (EVIL, 'a" onload="x', "]]>--><svg onload=x>", "{title}", "$\\frac$", "'&amp;", "蚂蚁")


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    text, page = write(tmp_path, NAMES)
    assert "<script" not in text.lower()
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name in NAMES:
        assert any(name in word for word in page.words), name


def test_ids_are_unique_and_references_resolve(report: tuple[str, Page]) -> None:
    _, page = report
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for name, value in page.attributes if name == "xlink:href"}
    used |= set(re.findall(r"url\(#([^)]+)\)", " ".join(value for _, value in page.attributes)))
    assert used
    assert used <= set(ids)


def test_ink_follows_the_readers_light_or_dark(report: tuple[str, Page]) -> None:
    text, _ = report
    assert "prefers-color-scheme:dark" in text
    charts = " ".join(re.findall(r"<svg.*?</svg>", text, flags=re.S))
    assert "currentColor" in charts
    assert "#1d2733" not in charts
    assert "#ffffff" not in charts.replace("fill: #ffffff", "")  # only numbers on dark cells are white


def test_a_run_without_mistakes_or_epochs(tmp_path: Path) -> None:
    _, page = write(tmp_path, mistakes=0, rows=0)
    assert page.tags.count("svg") == 2
    assert not (tmp_path / "curves.png").exists()


def test_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_LANG", "zh")
    text, page = write(tmp_path, ("蚂蚁", "蜜蜂"))
    assert '<html lang="zh-Hans">' in text
    assert "容易混淆的类别" in page.words


def test_folder_names_are_quoted_in_commands(tmp_path: Path) -> None:
    folder = tmp_path / "my run's"
    _, page = write(folder)
    assert any("export '" in word for word in page.words)
