"""Keeping numpy's matrix products on the calling thread.

The resize multiplies small matrices. OpenBLAS, which numpy's wheels bring along, spreads such a product
over all cores and lets them spin while they wait; beside an engine, a camera thread or other decoding
threads that made decoding photos ten times *slower* (measured: 14.7 against 1.1 s of processor time for
221 photos on two busy cores). ``OPENBLAS_NUM_THREADS=1`` does the same, but only before numpy is loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

PREFIXES, SUFFIXES = ("scipy_openblas", "openblas"), ("64_", "")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Matrix products of numpy run on one thread inside the block, for the whole process.

    Does nothing where numpy uses another library (Accelerate on macOS needs no such care).
    """
    control = _openblas()
    if control is None:
        yield
        return
    get, put = control
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)


@cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Getter and setter of the OpenBLAS inside numpy's wheel, which is already loaded with it."""
    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for prefix in PREFIXES:
                for suffix in SUFFIXES:
                    get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
                    put = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
                    if get is not None and put is not None:
                        return get, put
    return None
