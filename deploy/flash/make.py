"""``flash``: an image, a bundle and a card's settings in; a file or a written card out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.flash.card import Card
from imago.deploy.flash.disks import Disk, System, disk_at
from imago.deploy.flash.examine import Image, check_head, examine
from imago.deploy.flash.mechanisms import MECHANISMS
from imago.deploy.flash.payload import Payload, gather, put
from imago.deploy.flash.tools import need_tools
from imago.deploy.flash.writing import write_card
from imago.deploy.image_file import MEGABYTE, Source, file_digest, in_megabytes, open_source, unpack
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress

TOOL_CHARACTERS = ("@@", "?")  # mean something to mtools and debugfs


@dataclass(frozen=True, slots=True)
class FlashOptions:
    """One card. Exactly one of device and output. trust: minisign key that the board will ask for.

    sha256: of the image file, or of what is packed in it.
    work: folder for the unpacked image where a device is written.
    """

    image: Path
    bundle: Path
    kit: Path
    card: Card
    trust: Path | None = None
    sha256: str = ""
    device: Path | None = None
    output: Path | None = None
    work: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Flashed:
    """What was made."""

    target: str
    release: str
    reference: str
    mechanism: str
    size: int
    payload: int


def flash(
    options: FlashOptions,
    say: Callable[[str], None],
    agree: Callable[[Disk], None],
    system: System = System(),  # noqa: B008
) -> Flashed:
    """Make the card. agree: asked before a disk is overwritten; raises where the user says no.

    Raises InputError, BundleError, StorageError, MissingDependency; a file that was there before stays as
    it was, and a card is either whole or without a partition table.
    """
    need_tools()
    source = open_source(options.image)
    disk = _target(options, source, system)
    _check_digest(options)
    payload = gather(options.bundle, options.kit, options.trust)
    if options.output is not None:
        with replacing(options.output) as work:
            return _make(options, source, payload, work, say)
    assert disk is not None and options.device is not None  # noqa: S101  _target saw to it
    agree(disk)
    with _workplace(options) as work:
        made = _make(options, source, payload, work, say)
        disk_at(options.device, system).refuse(made.size)  # a minute has passed
        with _bar(2 * made.size, tr("card")) as tick:
            write_card(work, options.device, tick)
    return made


def _target(options: FlashOptions, source: Source, system: System) -> Disk | None:
    """Raise InputError where the target cannot be written; the disk where it is one."""
    if (options.device is None) == (options.output is None):
        raise InputError(
            "where to? give --device /dev/… (imago flash --list shows the cards) or --output FILE.img"
        )
    if options.device is not None:
        disk = disk_at(options.device, system)
        disk.refuse(source.size)
        return disk
    assert options.output is not None  # noqa: S101  one of the two is
    if options.output.exists() and not options.force:
        raise InputError("{path} is there already; choose another name, or --force", path=options.output)
    if options.output.is_block_device() or options.output.is_dir():
        raise InputError("{path} is not a file; a card is written with --device", path=options.output)
    if any(word in options.output.name for word in TOOL_CHARACTERS):
        raise InputError("{path}: choose a name without @@ and ?", path=options.output)
    return None


def _check_digest(options: FlashOptions) -> None:
    """The published checksum is mostly the packed file's; that of the image is checked on unpacking."""
    if options.sha256 and (len(options.sha256) != 64 or set(options.sha256) - set("0123456789abcdef")):
        raise InputError("'{text}' is no SHA-256; expected 64 hexadecimal digits", text=options.sha256)


def _make(
    options: FlashOptions, source: Source, payload: Payload, work: Path, say: Callable[[str], None]
) -> Flashed:
    """The finished image at ``work``."""
    wanted = options.sha256
    if wanted and source.packing:
        with _bar(source.path.stat().st_size, tr("checksum")) as tick:
            packed = file_digest(source.path, tick)
        wanted = "" if packed == wanted else wanted
    with _bar(source.size, tr("unpacking")) as tick:
        plain = unpack(source, work, lambda head: check_head(head, source.path), tick, digest=bool(wanted))
    if wanted and plain != wanted:
        raise InputError(
            "{path} does not have the checksum {wanted}; it is damaged or another file: download it again",
            path=source.path,
            wanted=wanted,
        )
    work.chmod(0o600)  # it will hold hashed passwords
    image = examine(work, source.path)
    say(
        tr(
            "{name}: {release}, set up by {mechanism}",
            name=source.path.name,
            release=_named(image),
            mechanism=image.mechanism,
        )
    )
    payload.check_system(image.release)
    total = sum(size for _, size in payload.sizes())
    with _bar(total, tr("bundle and kit")) as tick:
        put(payload, image.boot, source.path, tick)
    _set_up(image, options.card)
    target = str(options.output or options.device)
    return Flashed(target, image.release, image.reference, image.mechanism, work.stat().st_size, total)


def _set_up(image: Image, card: Card) -> None:
    for name, content in MECHANISMS[image.mechanism](card, image.boot.read).items():
        image.boot.write(name, content)


def _named(image: Image) -> str:
    return f"{image.release}, {image.reference}"


@contextmanager
def _workplace(options: FlashOptions) -> Iterator[Path]:
    """A file name in a folder of its own that is gone afterwards; beside the image where nothing was said."""
    base = options.work or options.image.resolve().parent
    if options.work is None and not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=".imago-flash-", dir=base))
    try:
        yield folder / "card.img"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _bar(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """A bar in megabytes that is told of bytes."""
    with Progress(total // MEGABYTE, label) as bar:
        yield in_megabytes(lambda whole: bar.advance(whole, "MB"))
