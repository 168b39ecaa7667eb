# SPDX-License-Identifier: MIT
"""What befalls a disk while somebody uses it: deaths, stops, silence, resets, one after the other."""

import os
import random
import signal
import threading
import time
from collections import Counter

from crowd import STRETCH
from rig import kill_host


def gap_limit():
    """Seconds without progress that are too many: one, where nobody else has wanted the processors."""
    return 1.0 if os.getloadavg()[0] < 3 * os.cpu_count() else float(STRETCH)


class Chaos:
    """with Chaos(rig, unit, {"kill", "stop"}): one of them every 0.1 to 1 s. done: how often each came.

    kill     SIGKILL of the host
    stop     SIGSTOP of the host, until the manager has replaced it
    timeout  a command that is never answered        (the software controller)
    reset    CSTS.CFS, which takes a controller reset (the software controller)
    freeze   no answers to anything for a while       (QEMU)
    restart  a new host on request
    """

    def __init__(self, rig, unit, kinds, controller=None, lab=None, seed=None):
        self.rig, self.unit, self.kinds = rig, unit, sorted(kinds)
        self.controller, self.lab = controller, lab
        self.random = random.Random(seed)
        self.done = Counter()
        self.pids = set()
        self.trouble = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def kill(self):
        pid = kill_host(self.rig, self.unit)
        if pid in self.pids or not pid:
            return False
        self.pids.add(pid)
        return True

    def running(self):
        """The row of a unit that is served, or None."""
        row = self.rig.row(self.unit)
        return row if row["state"] == "running" and row["pid"] else None

    def stop(self):
        row = self.running()
        if not row:
            return False
        try:
            os.kill(row["pid"], signal.SIGSTOP)
        except ProcessLookupError:
            return False

        def replaced():
            now = self.running()
            return now and now["generation"] > row["generation"]
        self.rig.wait_for(replaced, 10, "another host in the place of a stopped one")
        return True

    def timeout(self):
        self.controller.fault("clear")
        self.controller.fault("timeout,count=1")
        return True

    def reset(self):
        self.controller.fault("cfs")
        return True

    def freeze(self):
        self.rig.run("auriga-lab", "fault", self.lab, "freeze")
        time.sleep(self.random.uniform(0.02, 0.3))
        self.rig.run("auriga-lab", "fault", self.lab, "thaw")
        return True

    def restart(self):
        return self.rig.auriga("restart", self.unit, check=False).returncode == 0

    def run(self):
        try:
            while not self.over.wait(self.random.uniform(0.1, 1)):
                kind = self.random.choice(self.kinds)
                self.done[kind] += getattr(self, kind)()
        except Exception as reason:  # the test fails, not only this thread
            self.trouble = reason

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)
        if self.controller:
            self.controller.fault("clear")

    def check(self, seconds):
        """It came as often as it should have."""
        assert not self.trouble, self.trouble
        # Less than one a second on average only where each takes its time.
        assert sum(self.done.values()) > seconds / 2, self.done
        assert all(self.done[kind] for kind in self.kinds), self.done
