"""The demo's page: what was drawn, what was trained, what was measured, what the camera saw."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.cameras.base import open_source
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.files import replacing, write_text
from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.plot import bench_svg

if TYPE_CHECKING:
    from PIL.Image import Image

    from imago.edge_runtime.types import Frame, Prediction
    from imago.quantize.session import QuantiseReport
    from imago.workflow.demo import Row

STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { padding: .3rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left }
tr + tr { border-top: 1px solid #8884 }
img { max-width: 100%; border-radius: 6px }
.note { background: #fc03; padding: .5rem 1rem; border-radius: 6px }
a.button { padding: .4rem .8rem; border: 1px solid #8888; border-radius: 6px }
"""
COLUMNS, THUMB = 4, 300


def write_page(
    out: Path,
    film: Path,
    truth: list[dict[str, Any]],
    rows: list[Row],
    quantised: list[QuantiseReport],
) -> Path:
    """Write ``index.html``, ``photos.jpg``, ``live.jpg`` and a latency picture per model file."""
    _save(photo_sheet(out / "photos" / "train"), out / "photos.jpg")
    best = rows[-1] if quantised[-1].recommended else rows[-2]
    _save(live_sheet(film, truth, best.path), out / "live.jpg")
    for row in rows:
        write_text(out / f"{row.path.stem}-latency.svg", bench_svg(row.report))
    page = out / "index.html"
    write_text(page, _html(out, rows, quantised))
    return page


def photo_sheet(folder: Path, columns: int = 8) -> Image:
    """A sheet of generated photos: one row per class."""
    from PIL import Image

    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    sheet = Image.new("RGB", (columns * 96, len(classes) * 96), "white")
    for y, name in enumerate(classes):
        for x, path in enumerate(sorted(name.iterdir())[:columns]):
            with Image.open(path) as picture:
                sheet.paste(picture.resize((96, 96)), (x * 96, y * 96))
    return sheet


def live_sheet(film: Path, truth: list[dict[str, Any]], model: Path) -> Image:
    """Frames from the middle of each visit, with what the model says written on them."""
    from PIL import Image

    wanted = [(t["start_s"] + t["end_s"]) / 2 for t in truth][:8]
    shown: list[Any] = []
    fps = frame_rate(film)
    source = open_source(str(film))
    with Classifier(model) as classifier:
        for frame in source:
            if len(shown) < len(wanted) and frame.index >= wanted[len(shown)] * fps:
                names = [classifier.spec.display(i, language()) for i in range(len(classifier.spec.labels))]
                shown.append(_labelled(frame, classifier.predict(frame), names))
    source.close()
    height = THUMB * 3 // 4
    sheet = Image.new("RGB", (COLUMNS * THUMB, -(-max(1, len(shown)) // COLUMNS) * height), "white")
    for k, picture in enumerate(shown):
        sheet.paste(picture, (k % COLUMNS * THUMB, k // COLUMNS * height))
    return sheet


def frame_rate(film: Path) -> float:
    """Frames per second of a video file."""
    import cv2

    capture = cv2.VideoCapture(str(film))
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return fps


def _labelled(frame: Frame, prediction: Prediction, names: list[str]) -> Image:
    from PIL import Image, ImageDraw

    pixels = frame.image[:, :, ::-1] if frame.color == "bgr" else frame.image
    picture = Image.fromarray(pixels.copy()).convert("RGB").resize((THUMB, THUMB * 3 // 4))
    draw = ImageDraw.Draw(picture)
    width = int((THUMB - 16) * prediction.confidence)
    draw.rectangle((0, 0, THUMB, 34), fill=(20, 20, 20))
    draw.text((8, 4), f"{prediction.label}  {prediction.confidence:.0%}", fill="white", font_size=16)
    draw.rectangle((8, 26, 8 + width, 30), fill=(90, 180, 250))
    return picture


def _save(picture: Image, path: Path) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, quality=88)


def _inline(path: Path) -> str:
    kind = "svg+xml" if path.suffix == ".svg" else "jpeg"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(path.stem)}" src="data:image/{kind};base64,{data}">'


def _html(out: Path, rows: list[Row], quantised: list[QuantiseReport]) -> str:
    page = io.StringIO()
    title = tr("imago demo: generated insects, from photo to live prediction")
    page.write(
        f'<!doctype html><html lang="{language()}"><meta charset="utf-8"><title>{escape(title)}</title>'
    )
    page.write('<meta name="viewport" content="width=device-width, initial-scale=1">')
    page.write(f"<style>{STYLE}</style><h1>{escape(title)}</h1>")
    note = tr(
        "All pictures here are drawn by imago's own generator. The accuracies say that every step works; "
        "they say nothing about real insects."
    )
    page.write(f'<p class="note">{escape(note)}</p>')
    page.write(f"<h2>{escape(tr('What it learned from'))}</h2>{_inline(out / 'photos.jpg')}")
    page.write(f"<h2>{escape(tr('Model files, measured on this machine'))}</h2>{_rows(rows)}")
    for report in quantised:
        page.write(f"<p><b>{escape(report.target.stem)}</b>: {escape(report.reason())}</p>")
    page.write(f"<h2>{escape(tr('What the camera stand-in saw'))}</h2>{_inline(out / 'live.jpg')}")
    page.write(f"<h2>{escape(tr('Latency'))}</h2>")
    for row in rows:
        page.write(_inline(out / f"{row.path.stem}-latency.svg"))
    page.write(f"<h2>{escape(tr('Training reports'))}</h2>")
    for name in dict.fromkeys(row.name for row in rows):
        page.write(f'<a class="button" href="{escape(name)}/report.html">{escape(name)}</a>')
    page.write("</html>\n")
    return page.getvalue()


def _rows(rows: list[Row]) -> str:
    heads = (
        tr("model"),
        tr("precision"),
        tr("accuracy (generated test pictures)"),
        "n",
        tr("size, kB"),
        tr("p50, µs"),
        tr("p99, µs"),
        tr("peak memory, MB"),
    )
    lines = ["<table><tr>" + "".join(f"<th>{escape(h)}</th>" for h in heads) + "</tr>"]
    for row in rows:
        d = row.to_dict()
        memory = "–" if d["peak_rss_mb"] is None else f"{d['peak_rss_mb']:.0f}"
        cells = (
            row.name,
            row.precision,
            f"{row.accuracy:.1%}",
            str(row.n),
            f"{d['bytes'] / 1000:.0f}",
            f"{d['p50_us']:.0f}",
            f"{d['p99_us']:.0f}",
            memory,
        )
        lines.append("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    return "".join([*lines, "</table>"])
