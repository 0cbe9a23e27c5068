"""Step: try. Pictures, a folder or the webcam; the answer as bars; and the files to take away."""

from __future__ import annotations

from urllib.parse import quote

from imago.edge_runtime.messages import tr
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.parts import Tag, box, button, card, link, title
from imago.studio.steps.common import kilobytes, model_or_hint, next_step
from imago.studio.training import RunView
from imago.studio.zone import zone


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("Try it"),
        tr("Show it pictures that it has never seen. It answers here exactly as it will on the board."),
    )
    found = model_or_hint(context)
    if found is None:
        return
    shown, model = found
    _files(context, shown, model)
    with box("columns"):
        with card(tr("Pictures")):
            zone("try", tr("Drop pictures or a folder here"), model=model)
            box("tried", id="tried", aria_live="polite")
        _webcam(model)
    next_step(context, "/deploy", tr("On to the board"))


def _files(context: Context, shown: RunView, model: str) -> None:
    root = context.studio.workspace.root
    names = [path.relative_to(root).as_posix() for path in shown.models]

    async def choose(name: str) -> None:
        context.choose(model_file=name)
        await context.again()

    with card(classes="model-files"):
        with box("row apart end"):
            options = [(name, _shown_name(context, name)) for name in names]
            fields.choice("model-file", tr("Model file"), model, options, choose)
            with box("row"):
                suffix = model.rsplit(".", 1)[-1]
                name = {"onnx": "ONNX", "tflite": "TFLite"}[suffix]
                link(tr("Save {name}", name=name), _address(model), "button", download="", id="save-model")
                script = (root / model).with_name("predict.py")
                if not script.is_file():
                    script = shown.folder / "predict.py"
                if script.is_file():
                    path = script.relative_to(root).as_posix()
                    link(tr("Save {name}", name="predict.py"), _address(path), "button", download="")
        Tag(
            "p",
            tr(
                "The model file carries its labels, its preprocessing and a self-test; predict.py beside "
                "it names any picture from the command line."
            ),
            "muted small",
        )


def _shown_name(context: Context, name: str) -> str:
    size = (context.studio.workspace.root / name).stat().st_size
    return f"{name.rsplit('/', 1)[-1]} · {kilobytes(size)}"


def _address(path: str) -> str:
    return f"/api/download/{quote(path)}"


def _webcam(model: str) -> None:
    panel = card(
        tr("Webcam"),
        "camera",
        data_model=model,
        data_insecure=tr("The browser gives the camera only to pages of this very computer, or over https."),
        data_refused=tr("There is no camera, or the browser was not allowed to use it."),
    )
    with panel:
        Tag("video", "", hidden=True, muted=True, playsinline=True)
        Tag("p", "", "camera-said small", role="status")
        box("bars", "ol")
        with box("row"):
            start = button(tr("Look through the webcam"), id="look")
            start.on("click", js_handler="(event) => imagoLook(event.currentTarget.closest('.camera'))")
            stop = button(tr("Stop"), kind="quiet")
            stop.on("click", js_handler="(event) => imagoCameraStop(event.currentTarget.closest('.camera'))")
        Tag("p", tr("No picture is kept, and none leaves this computer."), "muted small")
