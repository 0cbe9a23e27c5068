"""Step: model."""

from __future__ import annotations

from imago.edge_runtime.messages import tr
from imago.studio.context import Context
from imago.studio.parts import Tag, box, button, title
from imago.studio.steps.common import next_step
from imago.train.models.catalogue import MODELS, ModelInfo


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("Which network?"),
        tr(
            "LeNet-5 is small enough to follow every step and trains in a minute. For photos on a board, "
            "MobileNetV3-Small is the first choice."
        ),
    )
    words = _families()
    for family in dict.fromkeys(info.family for info in MODELS.values()):
        with box("family"):
            Tag("h2", family)
            Tag("p", words.get(family, ""), "muted small")
            with box("tiles"):
                for info in MODELS.values():
                    if info.family == family:
                        _tile(context, info)
    next_step(context, "/data", tr("On to the data"), ready=bool(context.choices.model))


def _tile(context: Context, info: ModelInfo) -> None:
    chosen = context.choices.model == info.name

    async def choose() -> None:
        context.choose(model=info.name)
        await context.again()

    made = button("", choose, aria_pressed=str(chosen).lower(), data_model=info.name)
    made.classes("tile", remove="button plain")
    with made:
        Tag("strong", info.name)
        Tag("span", tr(info.description), "about")
        with box("row", "span"):
            Tag("span", f"{info.width}×{info.height}×{info.channels}", "tag")
            if info.pretrained:
                Tag("span", tr("pretrained weights"), "tag")
            if info.name == "lenet5":
                Tag("span", tr("in the lesson"), "tag good")
            if info.name == "mobilenet_v3_small":
                Tag("span", tr("first choice for boards"), "tag good")


def _families() -> dict[str, str]:
    """Two sentences on what each family is about."""
    return {
        "LeNet": tr(
            "Convolution, pooling, convolution, pooling, then three fully connected layers: the first "
            "network that read handwritten digits. Its 61,706 weights fit into a file smaller than a photo."
        ),
        "MobileNet": tr(
            "Each convolution is split into one that looks around and one that mixes channels, which costs a "
            "ninth of the work. Made for phones, and therefore right for small boards."
        ),
        "ShuffleNet": tr(
            "Works on groups of channels and shuffles them in between, so that memory traffic stays small. "
            "As accurate as a MobileNet of its size."
        ),
        "SqueezeNet": tr(
            "Squeezes channels with 1×1 kernels before it expands them with 3×3 ones. An old network, but a "
            "very small file."
        ),
        "EfficientNet": tr(
            "Depth, width and picture size grow together in fixed proportion, found by search. Accurate "
            "for its size, slower than a MobileNet on boards."
        ),
        "ResNet": tr(
            "Residual connections carry each block's input past it, so that even very deep networks learn. "
            "ResNet-18 is the usual yardstick; ResNet-50 is heavy for a board."
        ),
        "Inception": tr(
            "Kernels of several sizes look at the same place in parallel, and 1×1 kernels keep the work "
            "small. Good with subjects of very different sizes."
        ),
        "AlexNet": tr(
            "The network that won the ImageNet contest in 2012 and started the present wave. Sixty million "
            "weights, most of them in its fully connected layers."
        ),
    }
