"""The short program that is written beside an exported model."""

from __future__ import annotations

TEMPLATE = '''"""Say what is on pictures, with the model beside this file.

    python predict.py photo.jpg more.jpg

Needs on this machine: pip install imago-edge
"""

import sys
from pathlib import Path

from imago.edge_runtime import Classifier

MODEL = Path(__file__).with_name(@MODEL@)

if len(sys.argv) < 2:
    sys.exit("usage: python predict.py PICTURE ...")

classifier = Classifier(MODEL)
for picture in sys.argv[1:]:
    prediction = classifier(picture)
    best = ", ".join(f"{score.label} {score.confidence:.1%}" for score in prediction.top(3))
    print(f"{picture}: {best}")
'''


def predict_script(model_name: str) -> str:
    """The program for a model file of this name; the name enters as a Python string literal, as data."""
    return TEMPLATE.replace("@MODEL@", ascii(model_name))
