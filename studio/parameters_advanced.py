"""Parameters to turn when the first run works, with what each does in two sentences."""

from __future__ import annotations

from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import FITS
from imago.studio.parameter import Parameter
from imago.train import config as choices


def advanced() -> tuple[Parameter, ...]:
    """What one turns when the first run works."""
    return (
        Parameter(
            "init",
            "run",
            tr("Start from a run"),
            tr(
                "Takes the network and the weights of a training of yours that has ended, and goes on "
                "learning from there. So you can add pictures or lower the learning rate without beginning "
                "again."
            ),
            empty=tr("from nothing"),
        ),
        Parameter(
            "teacher",
            "run",
            tr("Teacher"),
            tr(
                "A training of yours whose answers the network learns from as well, besides the true "
                "classes. A small network gets better with a large teacher; both must know the same classes."
            ),
            empty=tr("none"),
        ),
        Parameter(
            "distill_weight",
            "number",
            tr("Share of the teacher"),
            tr(
                "How much of the loss compares with the teacher's answers; the rest compares with the true "
                "classes. 0.9 listens mostly to the teacher, and without one the field has no effect."
            ),
            0,
            1,
        ),
        Parameter(
            "distill_temperature",
            "number",
            tr("Softness of the teacher"),
            tr(
                "The teacher's scores are divided by it, so that its second and third guesses count too. "
                "1 leaves them as they are, more is softer; without a teacher the field has no effect."
            ),
            0.1,
            20,
        ),
        Parameter(
            "mixup",
            "number",
            tr("Mixup"),
            tr(
                "How strongly two pictures are blended into one, of which the network then has to say both "
                "classes in proportion. It helps large networks that have few pictures; 0 switches it off, "
                "0.2 is usual."
            ),
            0,
            10,
        ),
        Parameter(
            "cutmix",
            "number",
            tr("CutMix"),
            tr(
                "How strongly pictures get a piece of another one pasted in, of which the network then has "
                "to say both classes by area. It learns to recognise parts; 0 switches it off, 1 is usual."
            ),
            0,
            10,
        ),
        Parameter(
            "grow",
            "number",
            tr("Growing pictures"),
            tr(
                "The share of the training over which pictures grow from half their side to the whole. "
                "Small pictures are quick, so that the first epochs cost a quarter; 0 shows whole ones from "
                "the start."
            ),
            0,
            1,
        ),
        Parameter(
            "size",
            "whole",
            tr("Picture size"),
            tr(
                "The side of the square that the network looks at, in pixels; 0 is the network's own size. "
                "Twice the side shows finer details and costs four times the work."
            ),
            0,
            1024,
            1,
        ),
        Parameter(
            "width_mult",
            "number",
            tr("Network width"),
            tr(
                "A factor on the number of channels of every layer, for networks that have one. 0.5 makes a "
                "MobileNet about four times cheaper; empty means 1."
            ),
            0.1,
            4,
            empty="1",
        ),
        Parameter(
            "stem",
            "whole",
            tr("Halvings left out"),
            tr(
                "How many of the first shrinking layers are skipped, for small pictures. Each makes the "
                "feature maps twice as fine and the work four times as much; empty decides by the picture "
                "size."
            ),
            0,
            2,
            1,
            empty=tr("by the picture size"),
        ),
        Parameter(
            "fit",
            "choice",
            tr("How a photo becomes a square"),
            tr(
                "center-crop cuts the sides off, letterbox adds bars, stretch squeezes. The board does "
                "exactly the same with what its camera sees."
            ),
            options=FITS,
        ),
        Parameter(
            "schedule",
            "choice",
            tr("Learning rate over time"),
            tr(
                "How the learning rate changes during the run. onecycle and cosine rise and then fall "
                "smoothly, step drops in stairs, constant stays."
            ),
            options=choices.SCHEDULES,
        ),
        Parameter(
            "warmup",
            "number",
            tr("Warm-up"),
            tr(
                "The share of the run in which the learning rate rises from almost nothing. It keeps the "
                "first, clueless steps small."
            ),
            0,
            0.9,
        ),
        Parameter(
            "momentum",
            "number",
            tr("Momentum"),
            tr(
                "How much of the last step is carried into the next one, for momentum and RMSprop. It rolls "
                "through small dents of the loss; 0.9 is usual."
            ),
            0,
            0.9999,
        ),
        Parameter(
            "label_smoothing",
            "number",
            tr("Label smoothing"),
            tr(
                "Asks the network to be nearly sure instead of absolutely sure. That makes its confidences "
                "more honest; 0 switches it off."
            ),
            0,
            0.9,
        ),
        Parameter(
            "ema",
            "number",
            tr("Weight average"),
            tr(
                "The network that is kept is a moving average of the last weights, which is steadier than "
                "any of them. Closer to 1 averages longer; 0 switches it off."
            ),
            0,
            0.99999,
        ),
        Parameter(
            "class_weights",
            "choice",
            tr("Weights for rare classes"),
            tr(
                "Mistakes on classes with few pictures count more. auto does so where the largest class "
                "has at least three times as many pictures as the smallest."
            ),
            options=choices.CLASS_WEIGHTS,
        ),
        Parameter(
            "patience",
            "whole",
            tr("Patience"),
            tr(
                "Ends the run after so many epochs without a better validation accuracy. It saves time "
                "when a run has learnt what it can; 0 never ends early."
            ),
            0,
            1000,
            1,
        ),
        Parameter(
            "unfreeze_every",
            "whole",
            tr("Thaw every"),
            tr(
                "Every so many epochs one more frozen block starts to learn, from the output towards the "
                "input. That is a gentle way of fine-tuning; 0 keeps them frozen."
            ),
            0,
            1000,
            1,
        ),
        Parameter(
            "precision",
            "choice",
            tr("Precision"),
            tr(
                "The kind of numbers used while training. bf16 is faster on newer graphics cards, fp32 is "
                "exact everywhere; auto chooses."
            ),
            options=choices.PRECISIONS,
        ),
        Parameter(
            "threads",
            "whole",
            tr("CPU threads"),
            tr(
                "How many of the processor's cores the training uses; 0 means all. Fewer leave more for "
                "other programs."
            ),
            0,
            256,
            1,
        ),
        Parameter(
            "data.val_fraction",
            "number",
            tr("Share for validation"),
            tr(
                "The part of the training pictures that is held back to choose the best epoch. It is used "
                "where the data set has no validation pictures of its own."
            ),
            0.01,
            0.5,
        ),
        Parameter(
            "data.test_fraction",
            "number",
            tr("Share for the test"),
            tr(
                "The part that is held back until the very end, for one honest measurement. It is used "
                "where the data set has no test pictures of its own."
            ),
            0.01,
            0.5,
        ),
        Parameter(
            "data.split_seed",
            "whole",
            tr("Seed of the split"),
            tr(
                "The number that decides which pictures are held back. Keep it when you compare runs, or "
                "they are judged by different pictures."
            ),
            0,
            2**31 - 1,
            1,
        ),
    )
