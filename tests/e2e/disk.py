# SPDX-License-Identifier: MIT
"""What the tests of disks have in common: attach one, and kill its host all the time."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

from rig import kill_host


def attach(rig, name="disk0", driver="ram", policy=None, **params):
    """A virtual disk of that name."""
    options = [word for key, value in params.items()
               for word in ("--param", f"{key.replace('_', '-')}={value}")]
    options += [word for key, value in (policy or {}).items() for word in ("--policy", f"{key}={value}")]
    rig.auriga("attach", "virtual", "--driver", driver, "--name", name, *options)
    return name


def bench(rig, target, *args, seconds=60):
    """auriga bench block: its figures."""
    done = rig.auriga("bench", "block", "--json", *args, target, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def load(rig, target, mode, seconds, depth):
    """An application that counts what became of each of its requests; it has the disk open."""
    child = subprocess.Popen([rig.build / "tests/block_load", target, mode, str(seconds), str(depth)],
                             stdout=subprocess.PIPE, text=True)
    rig.children.append(child)
    assert child.stdout.readline() == "open\n"
    return child


def need(*programs):
    """What a test stands on: without it, it fails."""
    for program in programs:
        assert shutil.which(program), f"{program} is missing: scripts/install-deps test"


def tool(*args, seconds=60, **options):
    """A program to its good end: its output."""
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=seconds,
                          check=False, **options)
    assert done.returncode == 0, f"{args}: {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


class Killer:
    """with Killer(rig, "disk0", 0.2): the host dies that often, counted when a new one was there."""

    def __init__(self, rig, name, interval):
        self.rig, self.name, self.interval = rig, name, interval
        self.pids = set()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stop.wait(self.interval):
            pid = kill_host(self.rig, self.name)
            if pid:
                self.pids.add(pid)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(20)

    @property
    def kills(self):
        return len(self.pids)


class Mounted:
    """An exporter of files at a directory; gone at the end, whatever happens meanwhile."""

    def __init__(self, rig, name, directory):
        self.rig = rig
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory)
        self.directory = directory
        self.child = rig.start("auriga", "export", name, "fuse", "--mount", directory, ready=True)
        self.path = directory / name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.rig.stop(self.child)
        assert not os.path.ismount(self.directory)


class Loop:
    """A loop device with direct I/O on a file."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.device = tool("losetup", "--direct-io=on", "--find", "--show", self.path).strip()
        assert tool("losetup", "--noheadings", "--output", "DIO", self.device).strip() == "1"
        return self.device

    def __exit__(self, *_):
        for _ in range(50):
            if subprocess.run(["losetup", "--detach", self.device], check=False).returncode == 0:
                break
            time.sleep(0.1)
