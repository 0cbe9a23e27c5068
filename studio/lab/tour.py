"""The lesson as a tour: its stations in order, which of them are done, and a bar that leads on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nicegui import ui

from imago.edge_runtime.messages import tr
from imago.studio.context import Studio
from imago.studio.parts import Tag, box, link

NOTE = "/lab/lesson"  # under which the memory keeps which stations were visited
HOME = "/lab/lesson"


@dataclass(frozen=True, slots=True)
class Station:
    """path: where it happens. part: heading that it stands under. title, task: in the visitor's
    language. done: whether its work is done; None: done when it was visited.
    """

    path: str
    part: str
    title: str
    task: str
    done: Callable[[Studio], bool] | None = None


def stations() -> tuple[Station, ...]:
    """All of them, in the order of the lesson."""
    seeing, one = tr("How a computer sees"), tr("Group work 1: choose and set")
    two, three, more = (
        tr("Group work 2: code and training"),
        tr("Group work 3: the ONNX file"),
        tr("Further"),
    )
    return (
        Station(
            "/lab/pixels",
            seeing,
            tr("Pixels"),
            tr("Find a pixel that is nearly white and one that is nearly black; then look at the colours."),
        ),
        Station(
            "/lab/weights",
            seeing,
            tr("Counting weights"),
            tr("How many weights does a picture of 100×100 need, fully connected? And with a convolution?"),
        ),
        Station(
            "/lab/convolution",
            seeing,
            tr("Convolution"),
            tr("Find vertical edges, then horizontal ones. Invent a kernel of your own."),
        ),
        Station("/task", one, tr("Task"), tr("Choose image classification."), lambda s: bool(s.choices.task)),
        Station("/model", one, tr("Model"), tr("Choose LeNet-5."), lambda s: bool(s.choices.model)),
        Station(
            "/data",
            one,
            tr("Data"),
            tr("Choose the insects or add pictures of your own. Are all classes of the same size?"),
            lambda s: bool(s.choices.data),
        ),
        Station(
            "/parameters",
            one,
            tr("Parameters"),
            tr("For the first run the defaults are right. Read what epochs and learning rate mean."),
        ),
        Station(
            "/code",
            two,
            tr("Code"),
            tr("Read the program that imago wrote. Where are your choices in it?"),
        ),
        Station(
            "/train",
            two,
            tr("Train"),
            tr("Start, and watch loss and accuracy. How long does it take?"),
            has_run,
        ),
        Station(
            "/lab/lenet",
            two,
            tr("Feature maps"),
            tr("Follow a picture through all layers of your network."),
        ),
        Station(
            "/understand",
            two,
            tr("Understand"),
            tr("Which classes are mixed up? Is the network fair to all of them?"),
        ),
        Station(
            "/try",
            three,
            tr("Try"),
            tr("Show the ONNX file pictures it has never seen, and take it home with predict.py."),
        ),
        Station(
            "/lab/builder",
            more,
            tr("Builder"),
            tr("Take a layer out of LeNet-5 or put one in, train it, and compare."),
        ),
        Station(
            "/compress",
            more,
            tr("Compress"),
            tr("How much smaller can the network be and still be right?"),
        ),
        Station("/deploy", more, tr("Deploy"), tr("Bring it onto a board with a camera.")),
    )


def has_run(studio: Studio) -> bool:
    """Whether any training has ended."""
    from imago.studio.training import chosen_run

    return chosen_run(studio) is not None


def visited(studio: Studio) -> list[str]:
    """Addresses of the stations that were opened."""
    kept = studio.choices.notes.get(NOTE, [])
    return [path for path in kept if isinstance(path, str)] if isinstance(kept, list) else []


def visit(studio: Studio, path: str) -> None:
    """Note that a station was opened."""
    seen = visited(studio)
    if path not in seen and any(path == one.path for one in stations()):
        studio.memory.note(NOTE, [*seen, path])


def is_done(studio: Studio, station: Station) -> bool:
    """Whether a station can be ticked off."""
    return station.done(studio) if station.done is not None else station.path in visited(studio)


class Guide:
    """The bar above every page while the lesson is on; laid over a page it would hide parts of it."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        with box("tour", "aside", aria_label=tr("The lesson"), id="tour"):
            self._said = Tag("p", "", "said", role="status")
            self._all = link(tr("all stations"), HOME)
            self._next = link("", HOME, "button")
        router = ui.context.client.sub_pages_router
        router.on_path_changed(self.show)
        self.show(router.current_path)

    def show(self, path: str) -> None:
        """Say where one is and where it goes on."""
        here = path.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
        here = "/task" if here in ("", "/") else here
        visit(self._studio, here)
        order = stations()
        at = next((number for number, one in enumerate(order) if one.path == here), None)
        if at is None:
            self._said.say(tr("The lesson has {n} stations.", n=len(order)))
            following = next((one for one in order if not is_done(self._studio, one)), order[-1])
        else:
            self._said.say(f"{at + 1}/{len(order)} · {order[at].title}: {order[at].task}")
            following = order[min(at + 1, len(order) - 1)]
        self._next.say(tr("On to: {title}", title=following.title))
        self._next.set("href", following.path)


def guide(studio: Studio) -> None:
    """Show the bar where the lesson was asked for."""
    if studio.lesson:
        Tag("link", rel="stylesheet", href="/static/lab.css")
        Guide(studio)
