"""The steps of the path, in their order."""

from __future__ import annotations

from imago.studio.registry import Page

_HOME = "imago.studio.steps"

STEPS: tuple[Page, ...] = (
    Page("task", "Task", "What the network is to do.", f"{_HOME}.task"),
    Page("model", "Model", "Which network is to learn it.", f"{_HOME}.model"),
    Page("data", "Data", "Which pictures it learns from.", f"{_HOME}.data"),
    Page("parameters", "Parameters", "How it learns.", f"{_HOME}.parameters"),
    Page("code", "Code", "The same as a Python program.", f"{_HOME}.code"),
    Page("train", "Train", "Watch it learn.", f"{_HOME}.train"),
    Page("understand", "Understand", "What it knows, and where it errs.", f"{_HOME}.understand"),
    Page("compress", "Compress", "Smaller and faster, as accurate.", f"{_HOME}.compress"),
    Page("try", "Try", "Show it pictures it has never seen.", f"{_HOME}.attempt"),
    Page("deploy", "Deploy", "Onto a board with a camera.", f"{_HOME}.deploy"),
)
