"""How an image wants to be set up at its first boot: one function per mechanism, chosen by the image itself.

A mechanism is a function of what the user chose and of the boot partition's own files; it gives back the
files to write, and touches nothing. All end in the same step: imago's own ``firstboot.py enable``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imago.deploy.flash.card import Card
from imago.deploy.flash.mechanisms import cloud_init, firstrun, preseed

Mechanism = Callable[[Card, Callable[[str], bytes | None]], Mapping[str, bytes]]

MECHANISMS: Mapping[str, Mechanism] = {
    "rpi-preseed": preseed.files,
    "cloud-init": cloud_init.files,
    "firstrun": firstrun.files,
}
