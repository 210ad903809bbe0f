"""Limits on unpacking."""

import pytest

from gpucnn.data.files import check_packing
from gpucnn.errors import DataError

LARGE = 1 << 28


@pytest.mark.parametrize(
    ("unpacked", "packed", "most"),
    [
        (1032 * 1000, 1000, None),  # as far as deflate goes
        (1032 * 1000 + 1, 1000, 1032 * 1000),
        (LARGE, LARGE // 1032 + 1, None),
        (LARGE + 1, LARGE // 1032 + 1, 200 * (LARGE // 1032 + 1)),
        (LARGE + 1, LARGE // 200 + 1, None),
        (400 * LARGE, 2 * LARGE, None),
        (400 * LARGE + 1, 2 * LARGE, 400 * LARGE),
    ],
)
def test_the_ratio_of_unpacked_to_packed_bytes(unpacked, packed, most):
    if most is None:
        check_packing("FILE", unpacked, packed)
        return
    with pytest.raises(DataError) as caught:
        check_packing("FILE", unpacked, packed)
    assert str(caught.value) == (
        f"FILE declares {unpacked} unpacked bytes, but {packed} packed bytes hold at most {most}:"
        " the file is damaged"
    )
