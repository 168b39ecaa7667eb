# SPDX-License-Identifier: MIT
"""What a hostile driver can do: nothing, in either door; and what each layer alone is good for.

Every attempt is known to succeed without the layer that is to stop it: with no layer at all, or
with all but that one.
"""

import ctypes
import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import sys
import time
from pathlib import Path

import pytest

from mini import PATIENCE, UID, Mini, is_root, layers

TRY, CONSTRUCTOR, DESCRIPTORS, NAMES = range(16, 20)
ALL = ["pid-ns", "cgroup", "descriptors", "mount-ns", "net-ns", "ipc-ns", "uts-ns", "cgroup-ns",
       "root", "rlimits", "capabilities", "uid", "no-new-privs", "dumpable", "landlock", "seccomp"]
needs_root = pytest.mark.skipif(not is_root(), reason="needs root")
# These would hurt the machine if the layer under test failed: only tried with all layers on.
DANGEROUS = {"kill_all", "umount", "pivot_root", "leave_root", "hostname"}


def only(*wanted):
    """The option that leaves out all layers but these."""
    return ",".join(name for name in ALL if name not in wanted)


class Escape:
    """Attempts of t-escape, in hosts that are started again whenever one has died of one."""

    def __init__(self, build, folder, **options):
        self.build, self.folder, self.options = build, Path(folder), options
        self.mini = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.mini:
            self.mini.__exit__()
            self.mini = None

    def start(self, module=None):
        self.mini = Mini(self.build, "t-escape", module=module, **self.options)
        self.mini.send("start")
        self.mini.wait("spawned")
        return self.mini.wait("ready", "failed", "died")

    def names(self):
        if not self.mini:
            assert self.start()["event"] == "ready"
            self.mini.open()
        answer = self.mini.ask(NAMES, bytes(4000))
        return bytes.fromhex(answer["data"])[:answer["result"]].decode().split()

    @staticmethod
    def died(event):
        """What a host that died of an attempt leaves behind must say why."""
        assert event["signal"] == signal.SIGSYS, event
        assert event["crash"]["signal"] == signal.SIGSYS and event["crash"]["address"] > 0, event
        return "SIGSYS"

    def request(self, name, arg=""):
        """An attempt while serving: "out", the name of an errno, or "SIGSYS"."""
        if not self.mini:
            assert self.start()["event"] == "ready"
            self.mini.open()
        self.mini.io(TRY, f"{name} {arg}".encode() + b"\0")
        event = self.mini.wait("io", "died")
        if event["event"] == "died":
            self.mini = self.mini.__exit__()
            return self.died(event)
        assert event["status"] == 0 and event["result"] != errno.ENOTSUP, event
        return errno.errorcode[event["result"]] if event["result"] else "out"

    def module(self, name, arg=""):
        """A module that makes an attempt in its constructor."""
        module = self.folder / "t-escape.so"
        data = bytearray((self.build / "tests/t-escape.so").read_bytes())
        at = data.index(b"ESCAPE-CONFIG:") + 16
        attempt = f"{name} {arg}".encode() + b"\0"
        assert len(attempt) <= 112
        data[at:at + len(attempt)] = attempt
        module.write_bytes(data)
        module.chmod(0o755)
        return module

    def constructor(self, name, arg=""):
        """The same between the doors."""
        self.stop()
        module = self.module(name, arg)
        try:
            event = self.start(module)
            if event["event"] == "died":
                return self.died(event)
            if event["event"] == "failed":
                return event["text"]
            self.mini.open()
            result = self.mini.ask(CONSTRUCTOR)["result"]
            assert result not in (errno.ENOTSUP,), name
            return errno.errorcode[result] if result else "out"
        finally:
            self.stop()


@pytest.fixture
def folder(tmp_path):
    """A directory that everybody may look into."""
    above = Path(tempfile.gettempdir())
    for path in [tmp_path, *(p for p in tmp_path.parents if above in p.parents)]:
        path.chmod(path.stat().st_mode | 0o755)
    return tmp_path


@pytest.fixture
def target():
    """A process of the test's own that something can be done to, with an address to read."""
    code = ("import ctypes, signal, sys; signal.signal(signal.SIGUSR1, lambda *a: None)\n"
            "b = ctypes.create_string_buffer(b'secret'); print(hex(ctypes.addressof(b)), flush=True)\n"
            "sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        process.address = process.stdout.readline().strip()
        yield process
        process.stdin.close()
        process.wait(PATIENCE)


@pytest.fixture
def arguments(folder, target, build):
    """What each attempt is aimed at, all of it real."""
    private = folder / "private"
    private.write_text("secret")
    private.chmod(0o600)
    public = folder / "public"
    public.write_text("known")
    name = f"auriga-test-{os.getpid()}"
    tcp = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\0" + name)
    abstract.listen()
    path = folder / "sock"
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(path))
    unix.listen()
    path.chmod(0o777)
    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x41550000 | (os.getpid() & 0xffff)
    shm = libc.shmget(key, 4096, 0o1666)
    assert shm >= 0
    suid = folder / "who"
    shutil.copy(build / "tests/who", suid)
    suid.chmod(0o4755 if is_root() else 0o755)
    yield {
        "open_file": public, "open_private": private, "connect_unix": path,
        "connect_abstract": name, "connect_tcp": tcp.getsockname()[1], "kill": target.pid,
        "ptrace": target.pid, "vm_read": f"{target.pid} {target.address}", "pidfd": target.pid,
        "shm": hex(key), "suid": suid, "hostname": socket.gethostname(), "fork_many": 20,
        "leave_root": "etc/passwd",
    }
    libc.shmctl(shm, 0, None)
    for s in (tcp, abstract, unix):
        s.close()
    Path("/escaped").unlink(missing_ok=True)


def attempt(escape, name, arguments):
    """Try it while serving. open_private is open_file of a file of root's."""
    real = "open_file" if name == "open_private" else name
    return escape.request(real, arguments.get(name, ""))


# ------------------------------------------------------------------------- everything on


def everything(escape, door, arguments):
    names = escape.names()
    assert len(names) > 50
    results = {name: getattr(escape, door)(name, arguments.get(name, "")) for name in names}
    assert not [name for name, result in results.items() if result == "out"], results
    return results


@pytest.mark.timeout(120)
@pytest.mark.parametrize("door", ["constructor", "request"])
def test_nothing_succeeds(build, folder, arguments, door):
    """All layers that there are: no attempt succeeds, the worst of them end the host."""
    with Escape(build, folder) as escape:
        results = everything(escape, door, arguments)
    for name in ("socket_inet", "fork", "ptrace", "execve", "mount", "bpf", "io_uring", "memfd",
                 "map_wx", "keyctl", "unshare", "vm_read", "kill", "setuid_root", "dumpable"):
        assert results[name] == "SIGSYS", (name, results[name])


@needs_root
@pytest.mark.timeout(120)
@pytest.mark.parametrize("door", ["constructor", "request"])
@pytest.mark.parametrize("options", [{}, {"without": "pid-ns"}], ids=["user-ns", "no-user-ns"])
def test_nothing_succeeds_unprivileged(build, folder, arguments, door, options):
    """Without root, with user namespaces and without them."""
    with Escape(build, folder, user=UID, **options) as escape:
        everything(escape, door, {**arguments, "kill": os.getpid()})


@needs_root
def test_unprivileged_layers(build):
    """What needs no root is kept; what is missing says why."""
    with Mini(build, user=UID) as m:
        found = layers(m.start())
    missing = {name for name, layer in found.items() if not layer["in_force"]}
    if "user namespace" in found["pid-ns"]["detail"]:
        assert missing == {"cgroup", "uid"}
    with Mini(build, user=UID, without="pid-ns") as m:
        found = layers(m.start())
    missing = {name for name, layer in found.items() if not layer["in_force"]}
    assert missing == {"cgroup", "uid", "pid-ns", "root", "mount-ns", "net-ns", "ipc-ns", "uts-ns",
                       "cgroup-ns"}
    assert all(found[name]["detail"] for name in missing)


# ------------------------------------------------------------------------------ inventory


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def check_process(pid):
    """What holds in both doors: who it is, what it may, what it sees."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        s = status(f"{pid}/task/{tid}")
        assert s["Uid"].split() == [str(UID)] * 4 and s["Gid"].split() == [str(UID)] * 4
        assert s["Groups"].strip() == ""
        for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(s[cap], 16) == 0, cap
        assert s["NoNewPrivs"] == "1" and s["Seccomp"] == "2"
        assert tid != str(pid) or s["NSpid"].split() == [tid, "1"]
    assert s["Threads"] == "2"
    for ns in ("mnt", "net", "pid", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{ns}") != os.readlink(f"/proc/self/ns/{ns}"), ns
    root = Path(f"/proc/{pid}/root")
    assert list(root.iterdir()) == [] and os.statvfs(root).f_flag & os.ST_RDONLY
    with open(f"/proc/{pid}/mountinfo", encoding="ascii") as file:
        mounts = file.readlines()
    assert len(mounts) == 1 and "tmpfs" in mounts[0]
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0  # not dumpable
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
    for limit, value in (("Max file size", "0"), ("Max core file size", "0"),
                         ("Max locked memory", "0"), ("Max processes", "2"),
                         ("Max open files", "1024"), ("Max msgqueue size", "0")):
        assert limits[limit] == [value, value], limit
    with open(f"/proc/{pid}/environ", "rb") as file:
        names = {v.split(b"=")[0] for v in file.read().split(b"\0") if v}
    assert names <= {b"AURIGA_LOG", b"ASAN_OPTIONS", b"UBSAN_OPTIONS"}
    assert os.getsid(pid) == pid


def descriptors(pid):
    """Kinds of what is open, in order."""
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return sorted(link.split(":")[0].split(" ")[0] for link in links)


@needs_root
def test_inventory(build):
    """What a running host is and has, as the kernel sees it."""
    with Mini(build, "t-escape", cgroup=1) as m:
        pid = m.start()["pid"]
        m.open()
        # Given: null three times, control, status and state, the channel's doorbell. Its own:
        # wake-ups and what the lane waits on. Nothing of a file system.
        answer = m.ask(DESCRIPTORS, bytes(4000))
        inside = bytes.fromhex(answer["data"])[:answer["result"]].decode().split()
        assert sorted(inside) == sorted(os.listdir(f"/proc/{pid}/fd"))
        kinds = descriptors(pid)
        assert kinds.count("/dev/null") == 3 and kinds.count("/memfd") == 2
        assert kinds.count("socket") == 2
        assert set(kinds) == {"/dev/null", "/memfd", "socket", "anon_inode"}
        check_process(pid)
        for tid in os.listdir(f"/proc/{pid}/task"):
            assert status(f"{pid}/task/{tid}")["Seccomp_filters"] == "2"
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        if layers(m.query())["cgroup"]["in_force"]:  # not every container lets us make one
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                assert "auriga-test0" in file.read()


@needs_root
def test_inventory_between_the_doors(build, folder):
    """The same while the driver's constructors run."""
    with Escape(build, folder) as escape:
        module = escape.module("wait", 2000)
        with Mini(build, "t-escape", module=module) as m:
            m.send("start")
            pid = m.wait("spawned")["pid"]
            deadline = time.monotonic() + PATIENCE
            while True:  # it is there once the constructor runs: only the module is looked at
                with open(f"/proc/{pid}/maps", encoding="ascii") as file:
                    if "t-escape.so" in file.read():
                        break
                assert time.monotonic() < deadline
            check_process(pid)
            kinds = descriptors(pid)
            assert kinds.count("/dev/null") == 3 and kinds.count("socket") == 1
            # What dlopen() has open of the module is closed before its constructors run.
            assert set(kinds) == {"/dev/null", "/memfd", "socket", "anon_inode", str(module), "/"}
            m.wait("ready")


# ---------------------------------------------------------------------- one layer at a time


WITHOUT_ANY = ["open_passwd", "open_file", "open_private", "open_proc", "create", "socket_inet",
               "socket_unix", "connect_unix", "connect_abstract", "connect_tcp", "kill", "ptrace",
               "vm_read", "pidfd", "fork", "clone3", "thread", "mount", "chroot", "setuid_root",
               "setgroups", "unshare", "userfaultfd", "memfd", "map_wx", "map_exec",
               "protect_exec", "io_uring", "keyctl", "shm", "shm_create", "dumpable",
               "personality", "rlimit", "sigsys", "mlock", "big_map", "big_file", "priority",
               "inotify", "by_handle"]


@needs_root
def test_without_a_sandbox(build, folder, arguments):
    """The attempts are real: without any layer they succeed."""
    with Escape(build, folder, without=only()) as escape:
        results = {name: attempt(escape, name, arguments) for name in WITHOUT_ANY}
        assert {n: r for n, r in results.items() if r != "out"} == {}
    with Escape(build, folder, without=only()) as escape:
        for name in ("open_passwd", "socket_inet", "fork", "mount", "unshare", "memfd", "map_wx"):
            assert escape.constructor(name) == "out", name


ALONE = {
    "pid-ns": ["kill", "ptrace", "vm_read", "pidfd"],
    "root": ["open_passwd", "open_file", "open_private", "open_proc", "create", "execve",
             "connect_unix", "leave_root"],
    "landlock": ["open_passwd", "open_file", "open_private", "open_proc", "openat2", "create",
                 "connect_abstract", "connect_tcp", "kill", "ptrace", "vm_read", "execve"],
    "net-ns": ["connect_abstract", "connect_tcp"],
    "ipc-ns": ["shm"],
    "capabilities": ["mount", "chroot", "setuid_other", "setgroups", "unshare", "priority",
                     "by_handle"],
    "uid": ["open_private", "kill", "ptrace", "vm_read", "mount", "chroot", "setuid_root",
            "setgroups", "unshare", "priority", "by_handle"],
    "rlimits": ["big_map", "big_file"],
}


@needs_root
@pytest.mark.parametrize("layer", ALONE)
def test_layer_alone(build, folder, arguments, layer):
    """Each layer stops what it is there for when all others are off."""
    needed = {"root": ["mount-ns"]}.get(layer, [])
    with Escape(build, folder, without=only(layer, *needed)) as escape:
        for name in ALONE[layer]:
            result = attempt(escape, name, arguments)
            assert result not in ("out", "SIGSYS"), name


@needs_root
@pytest.mark.timeout(120)
def test_seccomp_alone(build, folder, arguments):
    """Seccomp alone stops all of them, and leaves a record of which call it was."""
    with Escape(build, folder, without=only("seccomp")) as escape:
        names = set(escape.names()) - DANGEROUS - {"big_map"}  # which rlimits are for
        results = {name: attempt(escape, name, arguments) for name in sorted(names)}
    assert not [n for n, r in results.items() if r == "out"], results


@needs_root
@pytest.mark.parametrize("name, layer", [("fork", "rlimits"), ("mlock", "rlimits"),
                                         ("suid", "no-new-privs")])
def test_layer_with_uid(build, folder, arguments, name, layer):
    """Some only count for who is not root: the uid is on in both halves."""
    with Escape(build, folder, without=only("uid")) as escape:
        assert attempt(escape, name, arguments) == "out"
    with Escape(build, folder, without=only("uid", layer)) as escape:
        assert attempt(escape, name, arguments) not in ("out", "SIGSYS")


@needs_root
def test_uts_alone(build, folder):
    """It may call itself what it likes: nobody else hears."""
    before = socket.gethostname()
    try:
        with Escape(build, folder, without=only("uts-ns")) as escape:
            assert escape.request("hostname", "escaped") == "out"
            assert socket.gethostname() == before
    finally:
        if socket.gethostname() != before:
            socket.sethostname(before)


@needs_root
def test_cgroup_alone(build, folder):
    """A fork bomb ends at the limit. The PID namespace is there to clean up after it."""
    with Escape(build, folder, without=only("pid-ns")) as escape:
        assert escape.request("fork_many", 20) == "out"
    with Escape(build, folder, without=only("pid-ns", "cgroup"), cgroup=1) as escape:
        escape.names()
        found = layers(escape.mini.query())["cgroup"]
        if not found["in_force"]:
            pytest.skip(found["detail"])
        assert escape.request("fork_many", 20) == "EAGAIN"
    for path in Path("/sys/fs/cgroup").rglob("auriga-test0"):
        pytest.fail(f"{path} is left")


@needs_root
def test_dumpable_alone(build):
    """Another process of the same uid cannot take the host over."""
    def traced(without):
        with Mini(build, user=UID, without=without) as m:
            pid = m.start()["pid"]
            code = (f"import ctypes; l = ctypes.CDLL(None)\n"
                    f"import sys; sys.exit(l.ptrace(0x4206, {pid}, None, None) != 0)")
            return subprocess.run([sys.executable, "-c", code], user=UID, group=UID,
                                  extra_groups=[], check=False).returncode == 0
    assert traced(only())
    assert not traced(only("dumpable"))


@needs_root
def test_library_is_gone(build, folder):
    """The module's file is reachable between the doors, and not after the second."""
    with Escape(build, folder, without="landlock,seccomp") as escape:
        assert escape.constructor("open_file", "./t-escape.so") == "out"
        assert escape.request("open_file", "./t-escape.so") == "ENOENT"
        assert escape.request("open_file", "/t-escape.so") == "ENOENT"
        assert escape.constructor("create_here") == "EROFS"
        assert escape.constructor("unlink_here") == "EROFS"


@needs_root
def test_module_needs_no_permission(build, folder):
    """The module's file can be root's alone: what is loaded is a copy."""
    module = folder / "t-echo.so"
    shutil.copy(build / "tests/t-echo.so", module)
    module.chmod(stat.S_IRUSR)
    with Mini(build, module=module) as m:
        m.start()
        m.open()
        module.write_bytes(b"")
        m.alive()


@pytest.mark.parametrize("options", [
    {}, {"without": "root"},
    pytest.param({"user": UID}, marks=needs_root),
    pytest.param({"user": UID, "without": "pid-ns"}, marks=needs_root)])
def test_driver_with_a_library(build, options):
    """A driver may need a library that the host does not have; it is loaded between the doors."""
    with Mini(build, "t-maths", **options) as m:
        ready = m.start()
        pid = ready["pid"]
        assert layers(ready)["root"]["in_force"] == ("without" not in options)
        m.open()
        assert m.ask(16, arg=27)["result"] == 3
        if is_root():
            with open(f"/proc/{pid}/maps", encoding="ascii") as file:
                assert "libm.so.6" in file.read()
            assert not any("/libm" in os.readlink(f"/proc/{pid}/fd/{fd}")
                           for fd in os.listdir(f"/proc/{pid}/fd"))


def test_library_is_missing(build, folder):
    """A library that is nowhere: its name is in the line that says so."""
    module = folder / "t-maths.so"
    data = (build / "tests/t-maths.so").read_bytes()
    assert b"libm.so.6\0" in data
    module.write_bytes(data.replace(b"libm.so.6\0", b"libq.so.6\0"))
    with Mini(build, "t-maths", module=module) as m:
        m.send("start")
        failed = m.wait("failed")
        assert failed["stage"] == "load" and "libq.so.6" in failed["text"]


def test_unknown_layer_is_refused(build):
    with Mini(build) as m:
        m.send("spawn")
        m.send("message", 32, b'{"sandbox":{"moat":false}}'.hex())
        assert m.wait("failed")["stage"] == "start"
