"""``imago predict``: what is on these pictures?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import add_model, open_classifier, positive
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import language, tr

if TYPE_CHECKING:
    from imago.edge_runtime.classifier import Classifier

EXAMPLES = (
    "imago predict insects.onnx photo.jpg",
    "imago predict insects.onnx photos/ --top 3 --json -",
    "imago predict mnist-8.onnx digit.png --labels 10 --input-color gray",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("predict", "Say what is on pictures.", EXAMPLES)
    add_model(p)
    p.add_argument(
        "images", metavar="IMAGE", nargs="+", type=Path, help=tr("pictures, or folders of pictures")
    )
    p.add_argument(
        "--top", type=positive, default=1, metavar="K", help=tr("show the K likeliest classes (1)")
    )
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command; 2 where a picture could not be read (the others are answered)."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    paths = _pictures(args.images)
    results: list[dict[str, Any]] = []
    with open_classifier(args) as classifier:
        for path in paths:
            results.append(_one(classifier, path, args.top, out))
        errors = sum("error" in result for result in results)
        out.result(
            {
                "model": args.model.name,
                "name": classifier.spec.name,
                "n": len(results) - errors,
                "errors": errors,
                "predictions": results,
            }
        )
    return 2 if errors else 0


def _pictures(images: Sequence[Path]) -> list[Path]:
    from imago.edge_runtime.cameras.folder import pictures

    found: list[Path] = []
    for image in images:
        inside = pictures(image)
        if not inside:
            raise InputError("there is no picture in {path} (JPEG, PNG, BMP, GIF, WebP, TIFF)", path=image)
        found += inside
    return found


def _one(classifier: Classifier, path: Path, top: int, out: Output) -> dict[str, Any]:
    from imago.edge_runtime.sinks import printable

    shown = printable(str(path))
    try:
        prediction = classifier(path)
    except InputError as error:
        sys.stderr.write(f"imago: {printable(str(error))}\n")
        return {"path": shown, "error": printable(str(error))}
    scores = prediction.top(top)
    names = (f"{classifier.spec.display(s.index, language())} {100 * s.confidence:.1f} %" for s in scores)
    out.say(printable(f"{shown}: {', '.join(names)}"))
    return {
        "path": shown,
        "label": prediction.label,
        "index": prediction.index,
        "confidence": round(prediction.confidence, 6),
        "top": [{"label": s.label, "index": s.index, "confidence": round(s.confidence, 6)} for s in scores],
    }
