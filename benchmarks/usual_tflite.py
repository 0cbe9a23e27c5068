"""Runs in the converter's environment: ai-edge-quantizer's ``static_wi8_ai8`` recipe with its defaults.

python usual_tflite.py SOURCE.tflite PICTURES.npy TARGET.tflite
"""

import sys

import numpy as np
from ai_edge_quantizer import quantizer, recipe


def main() -> None:
    source, pictures, target = sys.argv[1:]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(source)
    key, signature = next(iter(interpreter.get_signature_list().items()))
    images = np.load(pictures, allow_pickle=False)
    data = {key: [{signature["inputs"][0]: image[None]} for image in images]}
    q = quantizer.Quantizer(source)
    q.load_quantization_recipe(recipe.static_wi8_ai8())
    q.quantize(q.calibrate(data)).export_model(target)


if __name__ == "__main__":
    main()
