"""``imago flash``: a Raspberry Pi OS image in, an SD card that boots into the running service out."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.deploy.flash.card import Card, Wifi
    from imago.deploy.flash.disks import Disk

IMAGE = "raspios-trixie-arm64-lite.img.xz"
EXAMPLES = (
    "imago flash --list                                             # which cards are here",
    f"imago flash {IMAGE} --bundle insects.imago --kit kit/ \\",
    "    --hostname trap1 --ssh-key ~/.ssh/id_ed25519.pub --device /dev/sdb",
    f"imago flash {IMAGE} --bundle insects.imago --kit kit/ --user ada \\",
    "    --wifi Classroom --country GB --timezone Europe/London --output card.img",
    f"imago flash {IMAGE} --bundle x.imago --kit kit/ --password-stdin --output card.img <password.txt",
)
WIFI_VARIABLE = "IMAGO_WIFI_PASSWORD"


def parser() -> Parser:
    """The argument parser."""
    p = Parser(
        "flash",
        "Make an SD card that boots into the running service, without internet and without root.",
        EXAMPLES,
    )
    p.add_argument(
        "image", nargs="?", type=Path, metavar="IMAGE",
        help=tr("Raspberry Pi OS Lite (64-bit), as it was downloaded: .img, .img.xz or .zip"),
    )  # fmt: skip
    p.add_argument("--list", action="store_true", help=tr("list the disks that are here, and end"))
    p.add_argument("--bundle", type=Path, metavar="FILE", help=tr("what to run, from imago bundle (x.imago)"))
    p.add_argument(
        "--kit",
        type=Path,
        metavar="FOLDER",
        help=tr("wheels for the board, from imago kit: with it the first boot needs no internet"),
    )
    p.add_argument(
        "--trust",
        type=Path,
        metavar="FILE",
        help=tr("public key: from now on the board takes only bundles that are signed with it"),
    )
    p.add_argument("--sha256", default="", metavar="HEX", help=tr("the image's published checksum"))
    _target_flags(p)
    _board_flags(p)
    add_json(p)
    return p


def _target_flags(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group(tr("where it goes"))
    group.add_argument("--device", type=Path, metavar="/dev/…", help=tr("the card: all on it is lost"))
    group.add_argument("--output", type=Path, metavar="FILE", help=tr("an image file instead of a card"))
    group.add_argument("--force", action="store_true", help=tr("replace FILE where it exists"))
    group.add_argument("--yes", action="store_true", help=tr("do not ask before the card is overwritten"))
    group.add_argument(
        "--work", type=Path, metavar="FOLDER", help=tr("where the image is unpacked (beside the image)")
    )


def _board_flags(p: argparse.ArgumentParser) -> None:
    from imago.deploy.flash.card import Card

    default = Card()
    group = p.add_argument_group(tr("the board"))
    group.add_argument(
        "--hostname",
        default=default.hostname,
        help=tr("its name in the network ({name})", name=default.hostname),
    )
    group.add_argument("--user", default=default.user, help=tr("who logs in ({name})", name=default.user))
    group.add_argument(
        "--ssh-key",
        type=Path,
        metavar="FILE",
        help=tr("public key to log in with; passwords are then refused"),
    )
    group.add_argument(
        "--password-stdin",
        action="store_true",
        help=tr("read the login password from the first line of standard input"),
    )
    group.add_argument(
        "--no-login", action="store_true", help=tr("nobody logs in; the card cannot be updated")
    )
    group.add_argument(
        "--wifi",
        metavar="NAME",
        help=tr("Wi-Fi to join; its password is asked for, or read from {variable}", variable=WIFI_VARIABLE),
    )
    group.add_argument("--wifi-open", action="store_true", help=tr("it has no password"))
    group.add_argument("--wifi-hidden", action="store_true", help=tr("it does not show its name"))
    group.add_argument("--country", default="", metavar="XX", help=tr("two letters; Wi-Fi needs it"))
    group.add_argument("--timezone", default="", metavar="ZONE", help=tr("such as Asia/Shanghai"))


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    if args.list:
        return _list(out)
    if None in (args.image, args.bundle, args.kit):
        raise InputError(
            "give the image, --bundle FILE.imago (from imago bundle) and --kit FOLDER (from imago kit)"
        )
    from imago.deploy.flash.make import FlashOptions, flash

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill ends as Ctrl-C does: tidy
    options = FlashOptions(
        image=args.image,
        bundle=args.bundle,
        kit=args.kit,
        card=_card(args),
        trust=args.trust,
        sha256=args.sha256.strip().lower(),
        device=args.device,
        output=args.output,
        work=args.work,
        force=args.force,
    )
    made = flash(options, out.say, lambda disk: _agree(disk, yes=args.yes))
    for line in _summary(options.card, made.target):
        out.say(line)
    out.result({**asdict(made), "hostname": options.card.hostname})
    return 0


def _card(args: argparse.Namespace) -> Card:
    from imago.deploy.flash.card import Card, read_ssh_keys
    from imago.deploy.flash.hashes import login_hash

    keys = read_ssh_keys(args.ssh_key) if args.ssh_key else ()
    password = ""
    if args.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise InputError("standard input gave no password; its first line must be the login password")
    elif not keys and not args.no_login:
        password = _ask(
            tr("Password for {user} on the board: ", user=args.user),
            tr("--ssh-key FILE, --password-stdin or --no-login"),
        )
    hashed = login_hash(password) if password else ""
    return Card(args.hostname, args.user, hashed, keys, _wifi(args), args.country, args.timezone)


def _wifi(args: argparse.Namespace) -> Wifi | None:
    from imago.deploy.flash.card import Wifi, read_wifi_password

    if args.wifi is None:
        return None
    Wifi(args.wifi)  # the name is looked at before a password is asked for
    if args.wifi_open:
        return Wifi(args.wifi, hidden=args.wifi_hidden)
    password = os.environ.get(WIFI_VARIABLE) or _ask(
        tr("Password for the Wi-Fi {name}: ", name=args.wifi),
        tr("{variable} in the environment, or --wifi-open", variable=WIFI_VARIABLE),
    )
    return Wifi(args.wifi, read_wifi_password(password, args.wifi), args.wifi_hidden)


def _ask(question: str, otherwise: str) -> str:
    """A password from the keyboard, not shown. otherwise: what to give where there is no keyboard."""
    if not sys.stdin.isatty():
        raise InputError("a password is needed, and nobody can be asked here; give {flags}", flags=otherwise)
    password = getpass.getpass(question)
    if not password:
        raise InputError("no password was typed; give {flags}", flags=otherwise)
    return password


def _agree(disk: Disk, *, yes: bool) -> None:
    if yes:
        return
    text = tr("{device}, {model}, {size:.1f} GB", device=disk.device, model=disk.model, size=disk.size / 1e9)
    if not sys.stdin.isatty():
        raise InputError("everything on {disk} would be lost; say --yes if that is right", disk=text)
    question = tr(
        "Everything on {disk} will be lost. Type {device} to go on: ", disk=text, device=disk.device
    )
    if input(question).strip() != disk.device:
        raise InputError("{device} was not typed; nothing was written", device=disk.device)


def _list(out: Output) -> int:
    from imago.deploy.flash.disks import disks

    found = list(disks())
    rows = []
    for disk in found:
        try:
            disk.refuse(0)
            verdict = tr("can be used")
        except InputError as error:
            verdict = str(error)
        rows.append({"device": disk.device, "model": disk.model, "bytes": disk.size, "verdict": verdict})
        out.say(f"{disk.device:<14}{disk.size / 1e9:>8.1f} GB  {disk.model}: {verdict}")
    if not found:
        out.say(tr("no disk that could be a card is here"))
    out.result({"disks": rows})
    return 0


def _summary(card: Card, target: str) -> list[str]:
    lines = [tr("{target} is ready. Put it into the board and switch it on.", target=target)]
    lines.append(tr("It installs itself at the first boot, without internet, which takes some minutes."))
    if card.has_login:
        lines.append(tr("Then: ssh {user}@{host}.local", user=card.user, host=card.hostname))
    else:
        lines.append(tr("Nobody can log in to it: it runs what is on it now, for good."))
    lines.append(
        tr("If it does not come up: the card's own folder imago/ has firstboot.log, to read on any PC.")
    )
    return lines
