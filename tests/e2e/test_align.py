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
    assert align_gaps(data, data[:300] + data[312:], [(300, 14)]) == 12


def test_align_refuses_what_was_not():
    data = os.urandom(1000)
    for received, intervals in ((data[:100] + data[110:], []),
                                (data[:100] + data[117:], [(100, 16)]),
                                (data[:110] + data[100:], [(100, 10)]),  # came twice
                                (data[:-1], [])):
        with pytest.raises(Mismatch):
            align(data, received, intervals)
    with pytest.raises(Mismatch):
        align_gaps(data, data[:300] + data[320:], [(300, 14)])
