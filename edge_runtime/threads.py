"""Thread settings that must be made before numpy and torch are loaded; nothing is imported here."""

from __future__ import annotations

import os


def calm_threads() -> None:
    """Keep idle threads from burning the cores that others need. What the user has set stays.

    OpenBLAS: the products of the resize are small; spread over all cores they spin (``blas.py``).
    libgomp (torch): after each parallel region its threads spin for milliseconds, on exactly the core that
    decodes or warps the next pictures. A short spin costs nothing and gives the core back: measured on two
    cores, a LeNet-5 step takes 4.4 instead of 6.1 ms, a MobileNetV3-Small step 18 % less, and half as
    many pictures more are delivered per second. Not spinning at all is slower again.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
