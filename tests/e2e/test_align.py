# SPDX-License-Identifier: MIT
"""The checker of the kill tests can fail."""

import os

import pytest
from align import Mismatch, align, align_gaps


def test_align_accepts_what_was_reported():
    data = os.urandom(1000)
    assert align(data, data, []) == 0
    assert align(data, data[:100] + data[110:], [(100, 10)]) == 10
    assert align(data, data[:105] + data[110:], [(100, 10)]) == 5
    assert align(data, data, [(100, 16)]) == 0
    assert align(data, data[:105] + data[110:120] + data[128:], [(120, 8), (100, 10)]) == 13
    assert align_gaps(data, data[:300] + data[312:], [(300, 14)]) == 12
    assert align_gaps(data, data[:300] + data[312:320] + data[325:], [(300, 14), (308, 9)]) == 17


def test_align_finds_the_way_where_several_look_right():
    """The first interval can be passed in many ways, and only the second says which was right."""
    data = os.urandom(100) + bytes(200) + os.urandom(100)
    assert align(data, data[:102] + data[110:200] + data[203:], [(100, 10), (200, 3)]) == 11
    assert align_gaps(data, data[:102] + data[110:200] + data[203:], [(102, 10), (192, 3)]) == 11


def test_align_refuses_what_was_not():
    data = os.urandom(1000)
    for received, intervals in ((data[:100] + data[110:], []),
                                (data[:100] + data[117:], [(100, 16)]),
                                (data[:110] + data[100:], [(100, 10)]),  # came twice
                                (data[:100] + data[105:120] + data[126:], [(100, 8), (120, 5)]),
                                (data + data[-1:], []),
                                (data[:-1], [])):
        with pytest.raises(Mismatch):
            align(data, received, intervals)
    with pytest.raises(Mismatch):
        align_gaps(data, data[:300] + data[320:], [(300, 14)])
    with pytest.raises(Mismatch):
        align_gaps(data, data + b"more", [])
