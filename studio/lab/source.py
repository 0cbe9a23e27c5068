"""The picture that the laboratory plays with: drawn, taken from a set, or the pupil's own.

A picture of one's own is made small in the browser and comes as PNG bytes; one small file in the workspace
keeps it, so that every page of the laboratory shows the same one.
"""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.types import U8, Frame
from imago.studio.context import Context
from imago.studio.explain import data_url, png
from imago.studio.parts import Tag, box, button, card, picture

FILE = "lab-picture.png"
LONGEST = 320  # pixels of the longer side that is kept
MOST_BYTES = 900_000  # of the picture as the browser sends it
START = "ladybird"
SIDE, SEED = 192, 7

# Makes the chosen file small and sends it as a data URL; "" for what is no picture.
SEND = f"""(event) => {{
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  createImageBitmap(file).then((bitmap) => {{
    const scale = Math.min(1, {LONGEST} / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    emit(canvas.toDataURL("image/png"));
  }}).catch(() => emit(""));
}}"""


def drawn(kind: str, seed: int = SEED) -> U8:
    """A drawn insect, the same for the same seed: uint8 ``(SIDE, SIDE, 3)``."""
    from imago.train.generate.photo import draw_photo

    return draw_photo(kind, np.random.default_rng(seed), SIDE)


def current(folder: Path) -> Frame:
    """The picture of the workspace ``folder``; a drawn ladybird where there is none (yet)."""
    try:
        return read_image(folder / FILE, max_pixels=LONGEST * LONGEST)
    except ImagoError:
        return Frame(drawn(START), "rgb")


def keep(folder: Path, pixels: U8) -> None:
    """Make uint8 ``(h, w, 3)`` or ``(h, w)`` the picture from now on."""
    from PIL import Image

    with replacing(folder / FILE) as temporary:
        Image.fromarray(pixels).save(temporary)


def received(text: object) -> U8:
    """Pixels of what the browser sent. Raises InputError for anything but a small PNG."""
    head = "data:image/png;base64,"
    if not isinstance(text, str) or not text.startswith(head) or len(text) > MOST_BYTES:
        raise InputError("this is no picture that the browser can open; choose a JPEG or PNG")
    try:
        data = base64.b64decode(text[len(head) :], validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError("this is no picture that the browser can open; choose a JPEG or PNG") from error
    return read_image(data, max_pixels=LONGEST * LONGEST).image


def picture_bar(context: Context, changed: Callable[[], Any]) -> None:
    """The picture, and ways to another one; ``changed`` is called when there is another."""
    folder = context.studio.workspace.root

    def take(pixels: U8) -> Any:
        keep(folder, pixels)
        shown.set("src", _url(current(folder)))
        return changed()

    with card(classes="lab-source"), box("row"):
        shown = picture(_url(current(folder)), tr("the picture in use"), "lab-thumb")
        with box("stack slim"):
            Tag("p", tr("Play with a picture of your own, or with one of these."), "small muted")
            with box("row"):
                with box("button main", "label"):
                    Tag("span", tr("My picture"))
                    own = Tag("input", "", "sr", type="file", accept="image/*", id="lab-file")
                own.on("change", lambda event: take(received(event.args)), js_handler=SEND)
                for kind, name in _insects():
                    button(name, lambda kind=kind: take(drawn(kind)), data_insect=kind)
                if context.choices.data:
                    button(tr("From my set"), lambda: take(_of_set(context)), id="lab-set")


def _url(frame: Frame) -> str:
    return data_url(png(frame.image))


def _insects() -> list[tuple[str, str]]:
    from imago.train.generate.insects import CLASSES, DISPLAY_NAMES_ZH

    shown = ("ladybird", "butterfly", "ant")
    return [
        (kind, DISPLAY_NAMES_ZH[kind] if language() == "zh" else kind) for kind in CLASSES if kind in shown
    ]


def _of_set(context: Context) -> U8:
    """Any picture of the chosen set. Raises InputError where it has none."""
    from imago.edge_runtime.resample import resize
    from imago.studio.datasets import census, find_set, frame

    found = find_set(context.studio.workspace, context.choices.data)
    samples = [place for places in census(found, shown=12).samples.values() for place in places]
    if not samples:
        raise InputError("there are no pictures in this set yet")
    image = frame(found, *random.choice(samples)).image
    scale = min(1.0, LONGEST / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.ascontiguousarray(resize(image, *size))
