# SPDX-License-Identifier: MIT
"""The tests of the serial class, as they are, on a controller that is no UART.

What is about the lines beside the data (modem, framing, break) has nothing to look at here. QEMU's console
drops what its far end has no room for, which is a matter of the number of writes: hence large buffers.
"""

import pytest

import test_serial
from test_serial import (  # noqa: F401, pylint: disable=unused-import
    test_control_run_without_kills_loses_nothing, test_host_killed_every_200_ms,
    test_picocom_talks_through_the_pty, test_pty_carries_bytes_both_ways,
    test_rfc2217_carries_bytes_both_ways, test_stopped_host_is_replaced_within_two_seconds)
from virtio import console


def pytest_generate_tests(metafunc):
    """Both kinds of queues; what takes half a minute is for the soak."""
    marks = [pytest.mark.soak] if "killed" in metafunc.function.__name__ else []
    metafunc.parametrize("device", [pytest.param(k, marks=marks) for k in ("split", "packed")], indirect=True)


@pytest.fixture(autouse=True)
def device(request, monkeypatch):
    """Where those tests ask for a UART they get a console."""
    def instead(rig, placement, log=None):
        address, far = console(rig, request.param == "packed")
        if placement == "inproc":
            return f"inproc:virtio-console,address={address}", far
        rig.manager()
        return rig.auriga("attach", address).stdout.strip(), far
    monkeypatch.setattr(test_serial, "uart", instead)
    monkeypatch.setattr(test_serial, "FIFO", 256)
