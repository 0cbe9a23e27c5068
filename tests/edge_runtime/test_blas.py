"""One BLAS thread inside the block, what was before after it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from imago.edge_runtime.blas import _openblas, one_blas_thread


def test_threads_are_set_and_given_back() -> None:
    control = _openblas()
    if control is None:
        pytest.skip("this numpy brings no OpenBLAS")
    get, put = control
    before = get()
    put(2)
    try:
        with one_blas_thread():
            assert get() == 1
            a = np.arange(90_000, dtype=np.float32).reshape(300, 300) % 7
            np.testing.assert_array_equal(a @ np.eye(300, dtype=np.float32), a)
        assert get() == 2
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            raise ZeroDivisionError
        assert get() == 2
    finally:
        put(before)


@pytest.mark.skipif(sys.platform != "linux", reason="numpy's wheels for Linux bring OpenBLAS")
def test_it_is_found_in_the_wheel() -> None:
    assert _openblas() is not None
