# SPDX-License-Identifier: MIT
"""What the torture tests have in common: bystanders whose data must go on, and counts of what leaks."""

import functools
import json
import os
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

CLOCK_TICK = os.sysconf("SC_CLK_TCK")


class Shell:
    """tests/tools/raw_shell: an application that does what it is told."""

    def __init__(self, rig, unit=None, depth=32, size=4096):
        self.rig = rig
        self.process = subprocess.Popen([rig.build / "tests/raw_shell"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        rig.children.append(self.process)
        self.load = {}
        self.thread = None
        if unit:
            answer = self.ask("open", unit, depth, size)
            assert answer["rc"] == 0, answer["text"]

    @property
    def pid(self):
        return self.process.pid

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        self.tell(*words)
        line = self.process.stdout.readline()
        assert line, f"raw_shell ended at {words}"
        return json.loads(line)

    def submit(self, op, count=1, length=64, arg=0, timeout_ms=0):
        answer = self.ask("submit", op, count, length, arg, timeout_ms)
        assert answer["rc"] == 0, answer["text"]

    def wait(self, seconds):
        return self.ask("wait", int(seconds * 1000))

    def end(self):
        """Its end in order. Returns its status."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(10)
        self.process.stdout.close()
        if self.process in self.rig.children:
            self.rig.children.remove(self.process)
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.end()


class Bystander(Shell):
    """Echoes all the time and checks the data. check() wants progress since the last time."""

    def __init__(self, rig, unit, depth=8, length=256):
        super().__init__(rig, unit, depth)
        self.tell("load", depth, length)
        self.seen = 0
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        rig.wait_for(lambda: self.load.get("completed", 0) > 0, 10, f"traffic on {unit}")

    def read(self):
        for line in self.process.stdout:
            self.load = json.loads(line)

    def check(self, gap_ms=None, downs=0):
        """It has gone on, nothing was wrong; by default its driver never went away either."""
        self.rig.wait_for(lambda: self.load["completed"] > self.seen, 5, "a bystander's progress")
        self.seen = self.load["completed"]
        assert self.load["errors"] == 0 and self.load["bad"] == 0, self.load
        if downs is not None:
            assert self.load["downs"] == downs, self.load
        if gap_ms:
            assert self.load["gap_ms"] < gap_ms, self.load

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)
        if self.thread:
            self.thread.join(5)
        assert self.load["outstanding"] == 0, self.load
        return super().end()


# ------------------------------------------------------------------------------ counting

def stat_fields(pid):
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2:].split()


def cpu_ticks(pid):
    """utime + stime of a process, all its threads."""
    fields = stat_fields(pid)
    return int(fields[11]) + int(fields[12])


def rss_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors(pid):
    """What its descriptors are, without what differs from one time to the next."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}").split(":[")[0])
        except FileNotFoundError:
            pass
    return sorted(found)


def maps(pid):
    return len(Path(f"/proc/{pid}/maps").read_text().splitlines())


def descendants(pid):
    """Its children and theirs, zombies too."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents.setdefault(int(stat_fields(entry)[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def files(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def cgroups(rundir):
    """How many there are of hosts of this runtime directory, whose hash is in their names."""
    number = 5381
    for c in str(rundir).encode():
        number = (number * 33 + c) & 0xffffffff
    # os.walk() does not mind those of others that go meanwhile
    return sum(1 for _, names, _ in os.walk("/sys/fs/cgroup") for name in names
               if name.startswith("auriga") and f"{number:08x}" in name)


@functools.cache
def sanitized(program):
    """Whether it is built with AddressSanitizer, as a library or linked in."""
    return b"__asan_init" in program.read_bytes()


def difference(what, before, after):
    if isinstance(before, list) and isinstance(after, list):
        more, less = Counter(after) - Counter(before), Counter(before) - Counter(after)
        return f"{what}: more: {dict(more)}, less: {dict(less)}"
    return f"{what}: {before} became {after}"


CLOSERS = 8  # CLOSER_THREADS in src/manager/closer.c


class Inventory:
    """What a manager and its hosts have now."""

    def __init__(self, rig, manager, skip=("aurigad.log", "log")):
        self.manager = manager.pid
        self.descriptors = descriptors(self.manager)
        self.threads = threads(self.manager)
        self.processes = len(descendants(self.manager))
        self.files = [f for f in files(rig.rundir) if f not in skip]
        self.cgroups = cgroups(rig.rundir)
        self.shm = sorted(os.listdir("/dev/shm"))
        self.rss = rss_kib(self.manager)
        # A sanitizer's allocator keeps what it was given for a while.
        self.sanitized = sanitized(rig.build / "bin/aurigad")
        self.hosts = {}
        self.channels = {}
        for row in json.loads(rig.auriga("ls", "--json").stdout):
            pid = row["pid"]
            if not pid or row["device"] in self.hosts:
                continue
            self.hosts[row["device"]] = {"descriptors": descriptors(pid), "maps": maps(pid),
                                         "threads": threads(pid), "rss": rss_kib(pid)}
            host = rig.info(row["device"])["host"]
            self.channels[row["device"]] = len(host["channels"])

    def same(self, other):
        """The differences to a later one, without memory, which is never quite the same."""
        mine, its = ({k: v for k, v in vars(x).items() if k not in ("rss", "hosts", "shm", "threads")}
                     for x in (self, other))
        wrong = [difference(k, mine[k], its[k]) for k in mine if mine[k] != its[k]]
        # The manager's own one, and as many that close foreign descriptors as were ever needed.
        if other.threads > 1 + CLOSERS:
            wrong.append(difference("threads", self.threads, other.threads))
        wrong += [f"/dev/shm: {name}" for name in other.shm if name not in self.shm
                  and "auriga" in name]
        for name, host in self.hosts.items():
            now = other.hosts.get(name, {})
            wrong += [difference(f"{name}'s host: {k}", host[k], now.get(k))
                      for k in ("descriptors", "maps", "threads") if host[k] != now.get(k) and
                      not (k == "maps" and self.sanitized)]
        return wrong


def inventory(rig, manager, seconds=10):
    """What there is when nothing is under way: the same several times in a row."""
    end, same, last = time.monotonic() + seconds, 0, Inventory(rig, manager)
    while same < 3:
        assert time.monotonic() < end, "it does not settle"
        time.sleep(0.1)
        now = Inventory(rig, manager)
        same = 0 if last.same(now) else same + 1
        last = now
    return last


def check_memory(before, after, *names):
    """Neither the manager nor these hosts have grown by much. Returns it in words."""
    sizes = [("manager", before.rss, after.rss)]
    sizes += [(n, before.hosts[n]["rss"], after.hosts[n]["rss"]) for n in names]
    for name, old, new in sizes:
        assert before.sanitized or new < old + 1024, f"{name}: {old} KiB became {new} KiB"
    return ", ".join(f"{name} {old} -> {new} KiB" for name, old, new in sizes)


def settled(rig, manager, before, seconds=10):
    """Wait until nothing is left of what came and went. Returns the inventory then."""
    end = time.monotonic() + seconds
    while True:
        now = Inventory(rig, manager)
        wrong = before.same(now)
        if not wrong:
            return now
        assert time.monotonic() < end, "left behind: " + "; ".join(wrong)
        time.sleep(0.1)
