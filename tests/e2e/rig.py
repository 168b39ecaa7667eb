# SPDX-License-Identifier: MIT
"""A rig for end-to-end tests: a lab, a manager, exporters, and the peer at the UART's other end."""

import json
import os
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

from crowd import Watch, wait_for


def long(seconds):
    """Marks of a long form: only in the soak, and with so much time."""
    return [pytest.mark.soak, pytest.mark.timeout(seconds)]


class Rig:
    """Everything runs in one private runtime directory and is gone after close()."""

    def __init__(self, build, rundir):
        self.build = build
        self.rundir = rundir
        self.children = []
        self.managers = []
        self.labs = []

    def run(self, *args, check=True, **options):
        """A command to its end."""
        options = {"capture_output": True, "text": True, "timeout": 60, **options}
        done = subprocess.run([self.build / "bin" / args[0], *map(str, args[1:])], check=False, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{args}: {done.returncode}: {done.stderr}{done.stdout}{self.why()}")
        return done

    def auriga(self, *args, **options):
        return self.run("auriga", *args, **options)

    def start(self, *args, ready=None, **options):
        """A program that stays. ready: wait for the first line on its stdout."""
        child = subprocess.Popen([self.build / "bin" / args[0], *map(str, args[1:])], text=True,
                                 stdout=subprocess.PIPE if ready else None, **options)
        self.children.append(child)
        if ready:
            child.first_line = child.stdout.readline()
            assert child.first_line, f"{args[0]} ended before it was ready"
        return child

    def manager(self, *args):
        log = open(self.rundir / "aurigad.log", "a", encoding="utf-8")
        child = self.start("aurigad", "--foreground", *args, stderr=log)
        log.close()
        self.wait_for(lambda: child.poll() is not None or (self.rundir / "control.sock").exists() and
                      self.auriga("ls", check=False).returncode == 0, 30, "aurigad")
        assert child.poll() is None, f"aurigad ended with {child.returncode}: {self.log()}"
        self.managers.append(child)
        return child

    def log(self, lines=20):
        """The end of the manager's log."""
        path = self.rundir / "aurigad.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def why(self):
        """For a command that failed: the managers that have ended, and how."""
        dead = [f"aurigad ({m.pid}) ended with {m.returncode}: {self.log()}" for m in self.managers
                if m.poll() is not None]
        return "\n".join(["", *dead])

    def lab(self, device="pci-serial", ports=1, name="lab0", log=None):
        """A UART of the lab. Returns its address and the paths of the sockets at the far end."""
        args = ["auriga-lab", "up", "--name", name]
        peers = [self.rundir / f"{name}.{i}" for i in range(ports)]
        props = "".join(f",chardev{i + 1 if ports > 1 else ''}=c{i}" for i in range(ports))
        for i, peer in enumerate(peers):
            args += ["--chardev", f"socket,id=c{i},path={peer},server=on,wait=off"]
        args += ["--device", device + props]
        if log:
            args += ["--log", log]
        out = self.run(*args).stdout
        self.labs.append(name)
        return out.split()[0], peers

    def row(self, name):
        """The unit's row of `auriga ls`."""
        for row in json.loads(self.auriga("ls", "--json").stdout):
            if row["name"] == name:
                return row
        raise AssertionError(f"{name} is not in auriga ls")

    def info(self, name):
        return json.loads(self.auriga("info", "--json", name).stdout)

    @staticmethod
    def wait_for(what, seconds, label):
        wait_for(what, seconds, label)

    def stop(self, child, sig=signal.SIGTERM):
        if child.poll() is None:
            child.send_signal(sig)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child.stdout:
            child.stdout.close()
        for known in (self.children, self.managers):
            if child in known:
                known.remove(child)

    def close(self):
        for child in reversed(list(self.children)):
            self.stop(child)
        for name in self.labs:
            self.run("auriga-lab", "down", name, check=False)


class Progress:
    """For tests that take minutes: a line now and then, which scripts/test --soak shows."""

    def __init__(self, every=30):
        self.every = every
        self.began = self.last = time.monotonic()

    def say(self, text):
        """Say it, if the last time was long enough ago."""
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            print(f"    {now - self.began:.0f} s: {text}", flush=True)


class Peer(threading.Thread):
    """The far end of a UART: always drains, sends what it is given as fast as the UART takes it."""

    def __init__(self, path, send=b"", rate=None):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.pending = bytearray(send)
        self.received = bytearray()
        self.rate = rate  # bytes per second
        self.done = False
        self.lock = threading.Lock()
        self.start()

    def send(self, data):
        with self.lock:
            self.pending += data

    def send_after(self, length, data, seconds=20):
        """Send once so much has come: the port at the other end is open then."""
        self.wait(length, seconds)
        self.send(data)

    def run(self):
        self.socket.setblocking(False)
        next_send = 0.0
        while not self.done:
            now = time.monotonic()
            can_send = self.pending and now >= next_send
            r, w, _ = select.select([self.socket], [self.socket] if can_send else [], [],
                                    0.005 if self.rate else 0.05)
            if r:
                try:
                    data = self.socket.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                self.received += data
            if w:
                with self.lock:
                    chunk = self.pending[:64 if self.rate else 4096]
                    try:
                        n = self.socket.send(chunk)
                    except BlockingIOError:
                        n = 0
                    except OSError:
                        return
                    del self.pending[:n]
                    if self.rate:
                        next_send = max(next_send, now - 0.1) + n / self.rate

    def wait(self, length, seconds):
        watch = Watch()
        while len(self.received) < length and watch.took() < seconds:
            time.sleep(0.02)
        return bytes(self.received)

    def close(self):
        self.done = True
        self.join(2)
        self.socket.close()


def kill_host(rig, name):
    """SIGKILL the process that runs a unit's driver. Returns its pid."""
    pid = rig.row(name)["pid"]
    if pid:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return pid
