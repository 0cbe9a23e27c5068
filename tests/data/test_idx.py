"""The idx reader: what was written comes back, and no header is believed."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imago.edge_runtime.errors import DataError
from imago.train.data.idx import MAX_BYTES, find_idx, read_idx, read_pair

from picture_support import idx_bytes, idx_set


@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), packed=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, shape: tuple[int, int, int], packed: bool) -> None:
    array = np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path, 3), array)


def header(*shape: int, magic: bytes = b"\x00\x00\x08\x03") -> bytes:
    return magic + struct.pack(f">{len(shape)}I", *shape)


HOSTILE = {
    "nothing": b"",
    "half a header": header(2, 2, 2)[:9],
    "not idx": b"\x89PNG\r\n\x1a\n" + bytes(30),
    "floats": header(2, 2, 2, magic=b"\x00\x00\x0d\x03") + bytes(32),
    "two dimensions": header(2, 4, magic=b"\x00\x00\x08\x02") + bytes(8),
    "too short": header(2, 2, 2) + bytes(7),
    "too long": header(2, 2, 2) + bytes(9),
    "no pictures": header(0, 2, 2),
    "no width": header(2, 2, 0),
    "huge": header(0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(8),
    "overflowing to a fitting size": header(1 << 31, 1 << 31, 4) + bytes(8),
    "wide": header(1, 1, 5000) + bytes(5000),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("packed", [False, True])
def test_hostile_headers(tmp_path: Path, data: bytes, packed: bool) -> None:
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match="is not a sound idx file"):
        read_idx(path, 3)


@pytest.mark.parametrize("cut", [5, 30, -1])
def test_cut_gzip(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.gz"
    whole = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, (4, 9, 9), dtype=np.uint8)))
    path.write_bytes(whole[:cut])
    with pytest.raises(DataError, match="is not a sound idx file"):
        read_idx(path, 3)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A header that promises little, followed by far more: only what was promised is unpacked."""
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(header(2, 2, 2) + bytes(50_000_000)))
    with pytest.raises(DataError, match="more than 8 bytes"):
        read_idx(path, 3)
    path.write_bytes(gzip.compress(header(MAX_BYTES // 4096 + 1, 64, 64)))
    with pytest.raises(DataError, match="is not a sound idx file"):
        read_idx(path, 3)


def test_half_a_pair_and_two_sets(tmp_path: Path) -> None:
    root = idx_set(tmp_path / "a", {"train": 9})
    (root / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="has no partner"):
        find_idx(root)
    both = idx_set(tmp_path / "b", {"train": 9, "emnist-letters-train": 9})
    with pytest.raises(DataError, match="holds two idx sets"):
        find_idx(both)


def test_counts_must_agree(tmp_path: Path) -> None:
    root = idx_set(tmp_path, {"train": 9}, packed=False)
    (root / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(8, np.uint8)))
    with pytest.raises(DataError, match=r"holds 9 pictures and .* 8 labels"):
        read_pair(find_idx(root)["train"])


def test_packed_and_unpacked_side_by_side_are_one_set(tmp_path: Path) -> None:
    idx_set(tmp_path, {"train": 9})
    idx_set(tmp_path, {"train": 9}, packed=False)
    assert find_idx(tmp_path)["train"].images.suffix == ""


def test_the_raw_folder_of_torchvision(tmp_path: Path) -> None:
    idx_set(tmp_path / "raw", {"train": 9, "t10k": 3})
    assert set(find_idx(tmp_path)) == {"train", "test"}
