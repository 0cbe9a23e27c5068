"""Step: deploy. A bundle for boards, pushed over ssh or written into an SD card image.

The work is that of ``imago bundle``, ``imago deploy`` and ``imago flash``, called as a user would; where a
command is not part of this installation the page says so, and shows what can be done by hand.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.jobs.job import LIVE, LOG, Job
from imago.studio.parts import Tag, box, button, card, link, note, title
from imago.studio.steps.common import follow, job_line, model_or_hint
from imago.studio.training import RunView

KEY = "/deploy"
DEFAULTS = {"target": "", "source": "picamera", "image": "", "hostname": "imago", "ssh_key": ""}
TARGET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9\[][A-Za-z0-9.:\]-]*")
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
SOURCES = ("picamera", "0")
TAIL = 4000  # characters of a log that are shown


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("Onto the board"),
        tr("The network looks through the board's camera, without this computer and without internet."),
    )
    found = model_or_hint(context)
    if found is None:
        return
    shown, model = found
    with box("columns"):
        with box("stack"):
            _push(context, shown, model)
            _card(context, shown, model)
        with box("stack"):
            _by_hand(model)
            _log(context, shown)


def present(command: str) -> bool:
    """Whether this installation has ``imago COMMAND``."""
    return find_spec(f"imago.cli.{command}_cmd") is not None


def absent(command: str) -> None:
    """Said instead of a form."""
    note(
        tr(
            "imago {command} is not part of this installation yet; the steps by hand work already.",
            command=command,
        ),
        "warn",
    )


def _settings(context: Context) -> dict[str, str]:
    kept = context.choices.notes.get(KEY, {})
    return {**DEFAULTS, **{k: str(v) for k, v in (kept if isinstance(kept, dict) else {}).items()}}


def _keep(context: Context, name: str) -> fields.Change:
    return lambda value: context.studio.memory.note(KEY, {**_settings(context), name: str(value)})


def _push(context: Context, shown: RunView, model: str) -> None:
    now = _settings(context)
    with card(tr("Push to a board")):
        if not (present("bundle") and present("deploy")):
            absent("deploy")
            return
        with box("fields"):
            fields.text(
                "target",
                tr("Board"),
                now["target"],
                _keep(context, "target"),
                placeholder="pi@raspberrypi.local",
                explanation=tr("User and name or address; your ssh must be able to log in there."),
            )
            fields.choice(
                "source",
                tr("Camera"),
                now["source"],
                [("picamera", tr("Raspberry Pi camera")), ("0", tr("USB camera"))],
                _keep(context, "source"),
            )
        button(tr("Push"), lambda: _deploy(context, shown, model), kind="main", id="push")
        _progress(context, shown, "deploy")


async def _deploy(context: Context, shown: RunView, model: str) -> None:
    now = _settings(context)
    target = now["target"].strip()
    if not TARGET.fullmatch(target):
        raise InputError(
            "'{text}' is no board; expected USER@HOST, such as pi@raspberrypi.local", text=target
        )
    bundle = _bundle(context, shown, model, now)
    _ask(context, shown, "deploy", [*_bundling(bundle, context, model, now), ["deploy", target, str(bundle)]])
    await context.again()


def _bundle(context: Context, shown: RunView, model: str, now: dict[str, str]) -> Path:
    return shown.folder / "deploy" / f"{Path(model).stem}.imago"


def _bundling(bundle: Path, context: Context, model: str, now: dict[str, str]) -> list[list[str]]:
    source = now["source"] if now["source"] in SOURCES else SOURCES[0]
    bundle.parent.mkdir(exist_ok=True)
    bundle.unlink(missing_ok=True)
    path = context.studio.workspace.root / model
    return [["bundle", str(path), "-o", str(bundle), "--source", source, "--records"]]


def _ask(context: Context, shown: RunView, what: str, lines: list[list[str]]) -> None:
    arguments = {"run": str(shown.folder), "what": what, "lines": lines}
    context.studio.jobs.add("commands", f"{shown.name} · {what}", arguments, lane="side")


def _card(context: Context, shown: RunView, model: str) -> None:
    now = _settings(context)
    with card(tr("Make an SD card image")):
        if not (present("bundle") and present("flash")):
            absent("flash")
            return
        if not context.studio.local:
            note(tr("Only at this very computer, since it reads and writes files here."))
            return
        with box("fields"):
            fields.text(
                "image",
                tr("Raspberry Pi OS image"),
                now["image"],
                _keep(context, "image"),
                placeholder="/home/class/raspios-lite.img.xz",
                explanation=tr("The whole path of the file as it was downloaded, 64-bit Lite."),
            )
            fields.text("hostname", tr("Name of the board"), now["hostname"], _keep(context, "hostname"))
            fields.text(
                "ssh-key",
                tr("Public ssh key"),
                now["ssh_key"],
                _keep(context, "ssh_key"),
                placeholder="~/.ssh/id_ed25519.pub",
                explanation=tr(
                    "Who has the key may log in; empty: nobody can, and the card cannot be updated."
                ),
            )
        button(tr("Make the image"), lambda: _flash(context, shown, model), kind="main", id="flash")
        _progress(context, shown, "flash")


async def _flash(context: Context, shown: RunView, model: str) -> None:
    now = _settings(context)
    image = Path(now["image"].strip()).expanduser()
    if not image.is_absolute() or not image.is_file():
        raise InputError("give the whole path of an image of Raspberry Pi OS, from its root on")
    if not HOST.fullmatch(now["hostname"].strip()):
        raise InputError("'{text}' is no name; use letters, digits and spaces", text=now["hostname"])
    key = now["ssh_key"].strip()
    login = ["--ssh-key", str(Path(key).expanduser())] if key else ["--no-login"]
    bundle = _bundle(context, shown, model, now)
    out = bundle.with_name("card.img")
    words = ["flash", str(image), "--bundle", str(bundle), "--output", str(out), "--force"]
    words += ["--hostname", now["hostname"].strip(), *login]
    _ask(context, shown, "flash", [*_bundling(bundle, context, model, now), words])
    await context.again()


def _progress(context: Context, shown: RunView, what: str) -> None:
    job = context.studio.jobs.find("commands", run=str(shown.folder), what=what)
    if job is None:
        return
    place = box("stack", aria_live="polite")
    with place:
        if job.status in LIVE:
            job_line(context, job.number, lambda ended: _ended(context))
        elif job.status == "done":
            note(str(job.report.result.get("last", "")) or tr("done"), "good")
        elif job.status == "failed":
            note(job.failure, "bad")


async def _ended(context: Context) -> None:
    await context.again()


def _log(context: Context, shown: RunView) -> None:
    """What the command says, the board's self-test included."""
    job = context.studio.jobs.find("commands", run=str(shown.folder))
    if job is None:
        return
    with card(tr("What happens")):
        text = Tag("pre", "", "log", tabindex="0", aria_label=tr("What happens"))

        def look() -> None:
            text.say(tail(job))

        look()
        follow(context, look)


def tail(job: Job) -> str:
    """The end of a job's log."""
    try:
        return (job.folder / LOG).read_text(encoding="utf-8", errors="replace")[-TAIL:]
    except OSError:
        return ""


def _by_hand(model: str) -> None:
    name = model.rsplit("/", 1)[-1]
    lines: tuple[tuple[Any, str], ...] = (
        (
            tr("On the board, once:"),
            "python3 -m venv --system-site-packages ~/imago && . ~/imago/bin/activate",
        ),
        ("", "pip install imago-edge"),
        (tr("Save the model here, and copy it to the board:"), f"scp {name} pi@raspberrypi.local:"),
        (tr("Does it answer there as it does here?"), f"imago doctor && imago bench {name}"),
        (tr("Look through the camera:"), f"imago run {name} --source picamera --web 0.0.0.0:8080"),
    )
    with card(tr("By hand")):
        link(tr("Save {name}", name=name), f"/api/download/{quote(model)}", "button", download="")
        with box("byhand"):
            for words, line in lines:
                if words:
                    Tag("p", str(words), "small")
                with box(tag="pre"):
                    Tag("code", line)
