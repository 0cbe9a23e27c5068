"""The whole story in Python: photos in folders → a model file → a prediction.

    python examples/whole_story.py photos/ runs/story photo.jpg

photos/ holds one folder of pictures per class (`imago data generate photos/` draws some).
"""

import sys
from pathlib import Path

from imago.edge_runtime import Classifier
from imago.quantize.session import QuantiseOptions, quantise_file
from imago.train.config import TrainConfig
from imago.train.session import train
from imago.workflow.steps import export_run


def main(photos: Path, out: Path, picture: Path) -> None:
    config = TrainConfig(model="lenet5", epochs=30, augment="overhead")
    outcome = train(photos, config, out, say=print)
    model = export_run(out).model
    report = quantise_file(model, photos, out / "int8.onnx", QuantiseOptions(max_drop=1.0))
    print(report.reason())
    chosen = report.target if report.recommended else model
    with Classifier(chosen) as classifier:
        prediction = classifier(picture)
    print(f"{chosen.name}: {picture.name} is {prediction.label} ({prediction.confidence:.0%})")
    if outcome.test is not None:
        print(f"test accuracy of the network: {outcome.test.accuracy:.1%} of {outcome.test.n}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
