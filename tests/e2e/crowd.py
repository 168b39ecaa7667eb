# SPDX-License-Identifier: MIT
"""Limits that hold on a machine of one's own, and give way as far as others take its processors."""

import time
from pathlib import Path

STRETCH = 5  # a limit grows to so many times itself at most


def crowded():
    """Seconds in which somebody on this machine has waited for a processor so far."""
    try:
        waited = int(Path("/proc/pressure/cpu").read_text().split("total=")[1].split()[0]) / 1e6
    except (OSError, IndexError):
        return 0.0  # this kernel does not say
    with open("/proc/stat", encoding="ascii") as f:
        return waited + int(f.readline().split()[8]) / 100 / 2  # and what the hypervisor took away


def starved(*pids):
    """Seconds that these processes have waited for a processor so far.

    What has a limit may take so much longer: that they idle then is the machine's doing.
    """
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total / 1e9


class Watch:
    """How long something takes, without the time in which the machine was crowded."""

    def __init__(self):
        self.began, self.before = time.monotonic(), crowded()

    def took(self):
        elapsed = time.monotonic() - self.began
        return max(elapsed - (crowded() - self.before), elapsed / STRETCH)


def wait_for(what, seconds, label, pause=0.02):
    """Until it is so, for so many seconds of a machine that has time."""
    watch = Watch()
    while True:
        late = watch.took() >= seconds
        if what():
            return
        assert not late, f"{label}: not within {seconds} s"
        time.sleep(pause)
