# SPDX-License-Identifier: MIT
"""Talking to tests/tools/mini_manager.c: one host, its clients, and everything they say."""

import json
import os
import select
import subprocess
import time

# Ids that no account has, and no other test at the same time: processes are counted by uid.
UID = 1000000000 + os.getpid()
# A little more under sanitizers and on a busy machine.
PATIENCE = 20

RAW = 16
(ECHO, KEEP, SEGV, ABORT, ILL, FPE, DEEP, HANG, GONE, LOG, CALL_NULL, ADD,
 REMOVE, OVERFLOW) = range(RAW, RAW + 14)


def is_root():
    return os.geteuid() == 0


class Mini:
    """A mini_manager. Keyword arguments are its options; a list of values repeats one."""

    def __init__(self, build, driver="t-echo", module=None, user=None, **options):
        module = module or build / f"tests/{driver}.so"
        options.setdefault("timeout", 60)
        if is_root() and user is None:
            options.setdefault("uid", UID)
            options.setdefault("gid", UID)
        words = [str(build / "tests/mini_manager"), str(build / "bin/auriga-host"), str(module),
                 driver]
        for key, values in options.items():
            for value in values if isinstance(values, list) else [values]:
                words.append(f"{key}={value}")
        extra = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        **extra)
        self.buffer = b""
        self.events = []  # not yet waited for
        self.seen = []  # all of them

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.process.stdout.close()

    def send(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    def pump(self, timeout):
        """Read what is there, waiting for it for at most timeout seconds."""
        if not select.select([self.process.stdout], [], [], max(timeout, 0))[0]:
            return False
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise EOFError(f"mini_manager has ended, after {self.seen[-3:]}")
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            self.events.append(event)
            self.seen.append(event)
        return True

    def wait(self, *kinds, timeout=PATIENCE):
        """The next event of one of these kinds; those before it stay."""
        deadline = time.monotonic() + timeout
        while True:
            for i, event in enumerate(self.events):
                if event["event"] in kinds:
                    return self.events.pop(i)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {kinds} within {timeout} s, only {self.seen[-5:]}")
            self.pump(left)

    def none(self, *kinds, seconds=0.3):
        """Nothing of these kinds comes for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.pump(deadline - time.monotonic())
        assert not [e for e in self.events if e["event"] in kinds]

    def start(self):
        """A host, up: its AU_HM_READY with its process id."""
        self.send("start")
        pid = self.wait("spawned")["pid"]
        event = self.wait("ready", "failed", "died")
        assert event["event"] == "ready", event
        return {"pid": pid, "us": event["us"], **event["body"]}

    def open(self, channel=1, unit=0, depth=8, size=4096):
        self.send("open", channel, unit, depth, size)

    def io(self, op, data=b"", channel=1, arg=0):
        """A request, started."""
        self.send("io", channel, op, arg, data.hex() or "-")

    def ask(self, op, data=b"", channel=1, arg=0):
        """A request, complete."""
        self.io(op, data, channel, arg)
        return self.wait("io")

    def alive(self, channel=1):
        """The host serves."""
        answer = self.ask(ECHO, b"\x0f\xf0", channel)
        assert answer["status"] == 0 and answer["data"] == "f00f", answer

    def query(self):
        self.send("query")
        return self.wait("answer")["body"]


def layers(ready):
    """The layers of a READY or an ANSWER by name."""
    return {layer["name"]: layer for layer in ready["layers"]}
