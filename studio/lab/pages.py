"""The laboratory's pages, in the order of the lesson."""

from __future__ import annotations

from imago.studio.registry import Page

_HOME = "imago.studio.lab"

PAGES: tuple[Page, ...] = (
    Page("lesson", "The lesson", "Station by station, with the group work.", f"{_HOME}.lesson_page"),
    Page("pixels", "Pixels", "A picture as the numbers that it is.", f"{_HOME}.pixels_page"),
    Page("weights", "Counting weights", "Fully connected against convolution.", f"{_HOME}.counting_page"),
    Page("convolution", "Convolution", "A kernel slides over your picture.", f"{_HOME}.kernels_page"),
    Page("lenet", "Feature maps", "What every layer makes of a picture.", f"{_HOME}.lenet_page"),
    Page("builder", "Builder", "Put a network together, layer by layer.", f"{_HOME}.builder_page"),
    Page(
        "baselines", "Before networks", "What older methods make of your pictures.", f"{_HOME}.baselines_page"
    ),
)
