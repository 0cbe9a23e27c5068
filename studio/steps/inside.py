"""Step: understand: what the network looks at on one picture, and what each layer makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.messages import language, tr
from imago.studio.context import KEPT, Context
from imago.studio.explain import Layer, Occlusion, data_url, enlarge, feature_maps, occlusion, png, spread
from imago.studio.incoming import MAX_PIXELS, kept
from imago.studio.jobs.examine import FOLDER, examined
from imago.studio.language import in_thread
from imago.studio.parts import Tag, box, button, card, note, picture
from imago.studio.steps.common import follow_once, percent
from imago.studio.training import RunView
from imago.studio.zone import zone

SHOWN_LAYERS = 12


@dataclass(frozen=True, slots=True)
class Insight:
    """All that is shown of one picture."""

    occlusion: Occlusion
    layers: list[Layer]
    display: str


def look_into(model: Path, body: bytes) -> Insight:
    """Runs in a thread. Raises InputError, ModelError."""
    with Classifier(model) as classifier:
        frame = read_image(body, classifier.spec.input, max_pixels=MAX_PIXELS)
        seen = occlusion(classifier, frame)
        tensor = np.array(classifier.prepare(frame))
        display = classifier.spec.display(seen.index, language())
    return Insight(seen, spread(feature_maps(model, tensor), SHOWN_LAYERS), display)


def inside(context: Context, shown: RunView) -> None:
    """The card; it looks at one of the run's own mistakes until another picture is given."""
    if shown.model is not None:
        _Inside(context, shown, shown.model)


class _Inside:
    def __init__(self, context: Context, shown: RunView, model: Path) -> None:
        self._context, self._model = context, model
        self._pictures = shown.folder / FOLDER / "pictures"
        self._mistakes = examined(shown.folder).get("mistakes") or []
        with card(tr("What does it look at?"), id="inside"):
            Tag(
                "p",
                tr(
                    "A grey square wanders over the picture. Where hiding a place makes the network less "
                    "sure, it was looking there; the rest is faded."
                ),
                "muted small",
            )
            zone("look", tr("Drop any picture here"), folder=False)
            context.listeners[KEPT] = self._arrived
            if self._mistakes:
                button(tr("A picture it has mistaken"), self._own, id="own-picture")
            self._place = box("stack", aria_live="polite")
        if self._mistakes:
            follow_once(self._own)

    async def _own(self) -> None:
        """The surest mistake of this run."""
        await self._show((self._pictures / str(self._mistakes[0]["picture"])).read_bytes())

    async def _arrived(self, name: Any) -> None:
        await self._show(kept(self._context.studio.workspace, str(name)))

    async def _show(self, body: bytes) -> None:
        self._place.clear()
        with self._place:
            waiting = Tag("p", tr("looking"), "muted")
        try:
            found = await in_thread(look_into, self._model, body)
        finally:
            outrun = waiting.is_deleted  # by another picture
            if not outrun:
                waiting.delete()
        if outrun:
            return
        with self._place:
            _insight(found)


def _insight(found: Insight) -> None:
    seen = found.occlusion
    with box("insight"):
        with box(tag="figure"):
            picture(data_url(png(enlarge(seen.picture, 320))), tr("what the network is given"))
            Tag("figcaption", tr("what the network is given"), "small muted")
        with box(tag="figure"):
            picture(data_url(seen.overlay()), tr("where it looks"), id="occlusion")
            Tag("figcaption", tr("where it looks"), "small muted")
        with box("verdict"):
            Tag("p", tr("It says"), "muted small")
            Tag("strong", found.display, "verdict-word")
            Tag("p", percent(seen.confidence))
    if not found.layers:
        note(tr("This file shows no inner layers."))
        return
    Tag("h3", tr("Layer by layer"))
    Tag(
        "p",
        tr("Early layers see edges and colours; later ones see parts, in ever coarser maps."),
        "muted small",
    )
    with box("layers"):
        for number, layer in enumerate(found.layers, 1):
            with box(tag="figure"):
                picture(data_url(layer.sheet()), f"{layer.kind} {layer.shape}")
                with box(tag="figcaption"):
                    Tag("strong", f"{number}  {layer.kind}")
                    Tag("span", layer.shape, "muted")
