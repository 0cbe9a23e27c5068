"""Parameters that every class talks about, with what each does in two sentences."""

from __future__ import annotations

from imago.edge_runtime.messages import tr
from imago.studio.parameter import Parameter
from imago.train import config as choices


def basic() -> tuple[Parameter, ...]:
    """What every class talks about."""
    return (
        Parameter(
            "epochs",
            "whole",
            tr("Epochs"),
            tr(
                "How often the network sees every training picture. More epochs learn more until the "
                "validation curve stops rising; after that they only cost time."
            ),
            1,
            1000,
            1,
        ),
        Parameter(
            "lr",
            "number",
            tr("Learning rate"),
            tr(
                "How far the weights move at each step. Too large and the loss jumps about or explodes, too "
                "small and learning takes for ever; empty means a value that fits the optimiser."
            ),
            1e-6,
            10,
            empty=tr("fits the optimiser"),
        ),
        Parameter(
            "batch_size",
            "whole",
            tr("Batch size"),
            tr(
                "How many pictures the network looks at before it changes its weights once. Large batches "
                "are steadier and faster per picture, small ones need less memory and often learn better."
            ),
            2,
            1024,
            1,
        ),
        Parameter(
            "optimizer",
            "choice",
            tr("Optimiser"),
            tr(
                "The rule that turns slopes into steps: SGD walks straight down, momentum keeps rolling, "
                "RMSprop and Adam give every weight a step of its own. AdamW is a good first choice."
            ),
            options=choices.OPTIMIZERS,
        ),
        Parameter(
            "weight_decay",
            "number",
            tr("Weight decay"),
            tr(
                "Pulls all weights a little towards zero at each step. That keeps the network simple, so "
                "that it learns the subject and not single pictures; empty means a value that fits the "
                "optimiser."
            ),
            0,
            1,
            empty=tr("fits the optimiser"),
        ),
        Parameter(
            "augment",
            "choice",
            tr("Augmentation"),
            tr(
                "Random changes of every training picture: turned, shifted, lighter, darker. The network "
                "sees more variety than you photographed; overhead also turns pictures to any side, as "
                "insects sit."
            ),
            options=choices.AUGMENTATIONS,
        ),
        Parameter(
            "pretrained",
            "switch",
            tr("Pretrained weights"),
            tr(
                "Start from a network that has seen a million photos (ImageNet), so that few pictures of "
                "your own are enough. The weights are downloaded once; LeNet-5 has none."
            ),
        ),
        Parameter(
            "freeze",
            "choice",
            tr("Frozen layers"),
            tr(
                "Which layers keep the weights they start with. backbone trains only the last layer, which "
                "is quick and suits pretrained networks; none lets everything learn."
            ),
            options=("none", "backbone", "1", "2", "3", "4", "5", "6", "7", "8"),
        ),
        Parameter(
            "seed",
            "whole",
            tr("Seed"),
            tr(
                "The number that all chance comes from: first weights, order of pictures, augmentation. "
                "The same seed gives the same network again; another seed shows how much was luck."
            ),
            0,
            2**31 - 1,
            1,
        ),
        Parameter(
            "device",
            "choice",
            tr("Device"),
            tr(
                "Where to compute: cpu works everywhere, cuda is an NVIDIA graphics card, mps an Apple "
                "one. auto takes the fastest that is there."
            ),
            options=choices.DEVICES,
        ),
    )
