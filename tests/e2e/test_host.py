# SPDX-License-Identifier: MIT
"""auriga-host, started by a manager that only does as it is told."""

import os
import random
import signal
import subprocess
import time

import pytest

from crowd import Watch, wait_for
from mini import (ABORT, ADD, CALL_NULL, DEEP, ECHO, FPE, GONE, HANG, ILL, KEEP, LOG, OVERFLOW,
                  PATIENCE, REMOVE, SEGV, Mini, layers)

pytestmark = pytest.mark.sanitize


def test_serves(build):
    """Start, open, echo with data checked, query, stop: exit status 0."""
    with Mini(build) as m:
        ready = m.start()
        assert ready["units"] == [{"index": 0, "class": "raw"}]
        times = ready["times_us"]
        assert 0 < times["loaded"] < times["sandboxed"] < times["started"]
        m.wait("serving")
        m.open()
        m.alive()
        m.send("flood", 1, 20000, 64)
        flood = m.wait("flood")
        assert (flood["done"], flood["bad"]) == (20000, 0)
        answer = m.query()
        assert answer["state"] == "d0" and answer["lane_answers"]
        assert answer["history"][-1].endswith("-> d0")
        assert answer["channels"][0]["requests"] == 20001 == answer["completed"]
        m.send("stop")
        assert m.wait("ended")["reason"] == 0
        assert m.wait("died")["exit"] == 0


def test_killed_and_replayed(build):
    """Killed again and again under load: each request completes once, with the right data."""
    with Mini(build) as m:
        m.start()
        m.open(1, depth=32)
        m.open(2, depth=8)
        m.wait("serving")
        m.send("flood", 1, 60000, 512)
        m.send("flood", 2, 20000, 64)
        for _ in range(10):
            time.sleep(random.uniform(0, 0.03))
            m.send("kill", 9)
            died = m.wait("died")
            assert died["signal"] == signal.SIGKILL and died["crash"] is None
            m.start()
        floods = {f["channel"]: f for f in (m.wait("flood"), m.wait("flood"))}
        assert (floods[1]["done"], floods[1]["bad"]) == (60000, 0)
        assert (floods[2]["done"], floods[2]["bad"]) == (20000, 0)
        replayed = sum(c["replayed"] for c in m.query()["channels"])
        assert m.wait("serving") and replayed >= 0
        m.alive(2)


def test_outstanding_is_replayed(build):
    """A request that the driver held when it was killed is held by the next one."""
    with Mini(build) as m:
        m.start()
        m.open()
        m.io(KEEP)
        m.alive()
        m.wait("serving")
        m.send("kill", 9)
        m.wait("died")
        m.start()
        m.wait("serving")
        m.alive()
        channel = m.query()["channels"][0]
        assert channel["replayed"] == 1 and channel["requests"] == 2
        m.none("io")


def die_with_one_frozen(m):
    """A host that dies with two channels, one of which will not replay."""
    m.start()
    m.open(1)
    m.open(2)
    m.alive(1)
    m.send("freeze", 2)
    m.send("kill", 9)
    m.wait("died")


def test_gate_opens_without_a_replay(build):
    """A client that never says that it has replayed holds the others up for a second at most."""
    with Mini(build) as m:
        die_with_one_frozen(m)
        begin, watch = time.monotonic(), Watch()
        m.start()
        m.alive(1)
        assert time.monotonic() - begin > 0.5 and watch.took() < 5
        m.wait("serving")


@pytest.mark.parametrize("op, sig", [(SEGV, signal.SIGSEGV), (ABORT, signal.SIGABRT),
                                     (ILL, signal.SIGILL), (FPE, signal.SIGFPE),
                                     (CALL_NULL, signal.SIGSEGV)])
def test_crash_record(build, op, sig):
    """A driver's death by its own fault: signal, frames, modules with build-ids."""
    with Mini(build) as m:
        m.start()
        m.open()
        m.io(op)
        died = m.wait("died")
        assert died["signal"] == sig
        crash = died["crash"]
        assert crash["signal"] == sig and crash["lane"] == 0
        assert any(f.endswith("t-echo.so") for f in crash["frames"][:2])
        assert crash["modules"][0]["path"].endswith("t-echo.so")
        named = [x["path"] for x in crash["modules"]]
        assert any("libauriga-framework" in x for x in named)
        assert any(x.endswith("/auriga-host") for x in named)
        assert all(x["build_id_size"] == 20 for x in crash["modules"][:3])
        # It is the request's fault, and it comes again: alone it would be found out.
        m.send("start")
        assert m.wait("died")["signal"] == sig


def test_crash_depth(build):
    """The walk goes through the frames of the driver, and down to the thread that ran it."""
    with Mini(build) as m:
        m.start()
        m.open()
        m.io(DEEP)
        crash = m.wait("died")["crash"]
        assert crash["address"] == 8
        frames = [f.rsplit("/", 1)[-1] for f in crash["frames"]]
        assert frames.count("t-echo.so") >= 4
        below = frames[len(frames) - frames[::-1].index("t-echo.so"):]
        assert sum("libauriga-framework" in f for f in below) >= 4, below


def test_crash_of_the_stack(build):
    """A stack that is used up: the handler has one of its own."""
    with Mini(build) as m:
        m.start()
        m.open()
        m.io(OVERFLOW)
        crash = m.wait("died")["crash"]
        assert crash["signal"] == signal.SIGSEGV and crash["lane"] == 0
        assert crash["frames"][0].endswith("t-echo.so")


@pytest.mark.parametrize("sig", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGSYS])
def test_signal_from_outside(build, sig):
    """A signal that was sent is noted as itself, with no address."""
    with Mini(build) as m:
        m.start()
        m.send("kill", int(sig))
        died = m.wait("died")
        assert died["signal"] == sig
        assert died["crash"]["signal"] == sig and died["crash"]["address"] == 0


@pytest.mark.parametrize("fail, stage, word", [(1, "prepare", "Input/output error"),
                                               (2, "d0-entry", "No such device or address")])
def test_start_fails(build, fail, stage, word):
    """A driver that does not start: which step, why, and an exit status."""
    with Mini(build, param=f"fail={fail}") as m:
        m.send("start")
        failed = m.wait("failed")
        assert failed["stage"] == stage and word in failed["text"] and "t-echo" in failed["text"]
        assert m.wait("died")["exit"] == 1


def test_start_crashes(build):
    with Mini(build, param="fail=3") as m:
        m.send("start")
        died = m.wait("died")
        assert died["signal"] == signal.SIGSEGV and died["crash"]["lane"] == 0


def test_bad_parameter(build):
    with Mini(build, param="fail=77") as m:
        m.send("start")
        failed = m.wait("failed")
        assert failed["stage"] == "device" and "fail" in failed["text"]


@pytest.mark.parametrize("content, word", [(b"not a driver", "ELF"), (b"", "ELF"),
                                           (b"\x7fELF" + b"\0" * 200, "")])
def test_not_a_driver(build, tmp_path, content, word):
    module = tmp_path / "t-echo.so"
    module.write_bytes(content)
    with Mini(build, module=module) as m:
        m.send("start")
        failed = m.wait("failed")
        assert failed["stage"] == "load" and word in failed["text"]
        assert "\n" not in failed["text"]


def test_units(build):
    with Mini(build, param="units=3") as m:
        assert [u["index"] for u in m.start()["units"]] == [0, 1, 2]
        m.open(1, unit=2)
        m.alive()
        m.open(2, unit=3)
        ended = m.wait("ended")
        assert ended["channel"] == 2 and "unit 3" in ended["text"]
        m.alive()


def test_units_come_and_go(build):
    """A unit that the driver adds or removes while it runs: told, and opened or closed."""
    with Mini(build) as m:
        m.start()
        m.open(1)
        assert m.ask(ADD)["status"] == 0
        assert [u["index"] for u in m.wait("units")["body"]["units"]] == [0, 1]
        m.open(2, unit=1)
        m.alive(2)
        m.io(KEEP, channel=2)
        m.io(REMOVE, channel=2)
        ended = {m.wait("io")["op"] for _ in range(2)}
        assert ended == {KEEP, REMOVE}
        assert [u["index"] for u in m.wait("units")["body"]["units"]] == [0]
        m.open(3, unit=1)
        assert "unit 1" in m.wait("ended")["text"]
        m.alive(1)
        assert [u["index"] for u in m.query()["units"]] == [0]


def test_gate_opens_when_the_last_replayer_goes(build):
    """A client that dies while others wait for its replay is not waited for."""
    with Mini(build) as m:
        die_with_one_frozen(m)
        m.start()
        watch = Watch()
        m.send("close", 2)
        m.alive(1)
        assert watch.took() < 0.5
        assert m.wait("ended")["channel"] == 2


def test_clients_come_and_go(build):
    """A client that closes, one that dies, one whose channel is closed under it."""
    with Mini(build) as m:
        pid = m.start()["pid"]
        m.open(9)
        m.alive(9)
        fds = len(os.listdir(f"/proc/{pid}/fd"))
        for i in range(10):
            m.open(1)
            m.open(2, depth=64)
            m.io(KEEP, channel=1)
            m.alive(2)
            m.send("vanish", 1)
            assert m.wait("ended")["channel"] == 1
            m.send("close", 2)
            assert m.wait("ended")["channel"] == 2
            m.send("vanish", 2)  # what mini_manager itself holds of it
        m.alive(9)
        assert len(m.query()["channels"]) == 1
        assert len(os.listdir(f"/proc/{pid}/fd")) == fds


def test_surprise(build):
    """The device goes: requests end, the host stays until it is told to stop."""
    with Mini(build) as m:
        m.start()
        m.open()
        m.ask(GONE)
        m.wait("gone")
        assert m.ask(ECHO)["status"] == -19
        assert m.query()["gone"]
        m.send("stop")
        assert m.wait("died")["exit"] == 0


def test_log(build):
    with Mini(build) as m:
        m.start()
        m.open()
        m.ask(LOG)
        text = m.wait("log")["text"]
        assert "as told" in text and "test0" in text


def test_hang(build):
    """A lane that hangs: no beat; the host still answers, without what only the lane knows."""
    with Mini(build) as m:
        m.start()
        m.open()

        def beat():
            m.send("status")
            return m.wait("status")["beat"]
        m.send("beat", 5)
        wait_for(lambda: beat() == 5, 3, "a sign of life")
        m.io(HANG)
        wait_for(lambda: not m.query()["lane_answers"], 5, "the hang")
        m.send("beat", 6)
        answer = m.query()
        assert not answer["lane_answers"] and answer["state"] == "d0"
        assert beat() == 5
        m.send("kill", 9)
        m.wait("died")


def test_adoption(build, rundir):
    """The manager dies: the host serves on, lets a new one in, and one only."""
    with Mini(build, listen=rundir / "host") as m:
        m.start()
        m.open()
        m.alive()
        m.send("abandon")
        m.alive()
        m.send("connect")
        m.send("adopt")
        adopted = m.wait("adopted")
        assert adopted["fds"] == 2
        body = adopted["body"]
        assert body["driver"] == "t-echo" and body["generation"] == 1 and body["serving"]
        assert body["channels"][0]["token"].endswith("0001") and body["units"]
        m.alive()
        # A second one does not get in, whoever it is; the first is still there.
        with subprocess.Popen(["/usr/bin/python3", "-c", f"""
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(5)
s.connect("{rundir}/host")
assert s.recv(100) == b""
"""]) as other:
            assert other.wait(PATIENCE) == 0
        assert m.query()["channels"]
        m.send("stop")
        assert m.wait("died")["exit"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_adoption_by_another_user(build, rundir):
    """Whoever is neither root nor the first manager is turned away."""
    os.chmod(rundir, 0o755)
    with Mini(build, listen=rundir / "host") as m:
        m.start()
        os.chmod(rundir / "host", 0o777)
        m.send("abandon")
        with subprocess.Popen(["/usr/bin/python3", "-c", f"""
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(5)
s.connect("{rundir}/host")
assert s.recv(100) == b""
"""], user=12345) as other:
            assert other.wait(PATIENCE) == 0
        m.send("connect")
        m.send("adopt")
        m.wait("adopted")


def test_orphan_ends(build):
    """Without a manager and without a way to find a new one, it goes."""
    with Mini(build) as m:
        m.start()
        m.send("abandon")
        assert m.wait("died")["exit"] == 0


def test_terminated(build):
    """SIGTERM, as at a shutdown, is an order to stop."""
    with Mini(build) as m:
        m.start()
        m.open()
        m.alive()
        m.send("kill", int(signal.SIGTERM))
        assert m.wait("ended")["channel"] == 1
        assert m.wait("died")["exit"] == 0


def head(kind, length, magic=0x41525541, version=1):
    return (magic.to_bytes(4, "little") + version.to_bytes(2, "little") +
            kind.to_bytes(2, "little") + length.to_bytes(4, "little") + bytes(4))


def test_garbage_from_the_manager(build):
    """Nonsense on the control socket is noted, and changes nothing."""
    rng = random.Random(7)
    with Mini(build) as m:
        m.start()
        m.open()
        for _ in range(300):
            m.send("raw", rng.randbytes(rng.randint(1, 200)).hex())
        for _ in range(300):
            kind = rng.choice([32, 33, 34, 35, 37, 38, 64, 99, 0, 65535])
            body = rng.randbytes(rng.choice([0, 1, 8, 16, 44, 48, 128, 132, 136, 500]))
            m.send("message", kind, body.hex() or "zz")
        m.send("raw", head(35, 99).hex())
        m.send("raw", head(35, 16, version=0).hex())
        m.alive()
        m.send("stop")
        assert m.wait("died")["exit"] == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\"x\"", "{}", "{\"name\": 1}",
                                  "{\"name\":\"a\",\"driver\":\"../x\",\"address\":\"virtual\","
                                  "\"generation\":1}",
                                  "{\"name\":\"a\",\"driver\":\"x\",\"address\":\"virtual\","
                                  "\"generation\":-1}",
                                  "{\"name\":\"a\",\"driver\":\"x\",\"address\":\"virtual\","
                                  "\"generation\":1,\"fds\":{\"module\":7}}",
                                  "{\"name\":\"a\",\"name\":\"b\"}", "[" * 5000])
def test_bad_start(build, text):
    """A start message that is none: one line, and an end."""
    with Mini(build) as m:
        m.send("spawn")
        m.send("message", 32, text.encode().hex() or "zz")
        failed = m.wait("failed")
        assert failed["stage"] == "start" and failed["text"] and "\n" not in failed["text"]
        assert m.wait("died")["exit"] == 1


def test_no_start(build):
    with Mini(build) as m:
        m.send("spawn")
        m.send("message", 35, "0" * 16)
        assert m.wait("failed")["stage"] == "start"
        m.wait("died")
        m.send("spawn")
        m.send("abandon")
        assert m.wait("died")["exit"] == 1


def test_layers_are_reported(build):
    with Mini(build) as m:
        assert set(layers(m.start())) == {
            "pid-ns", "cgroup", "descriptors", "mount-ns", "net-ns", "ipc-ns", "uts-ns",
            "cgroup-ns", "root", "rlimits", "capabilities", "uid", "no-new-privs", "dumpable",
            "landlock", "seccomp"}


def test_usage(build):
    done = subprocess.run([build / "bin/auriga-host"], capture_output=True, text=True,
                          close_fds=True, check=False)
    assert done.returncode == 2 and "aurigad" in done.stderr
    done = subprocess.run([build / "bin/auriga-host", "--help"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0 and "aurigad" in done.stdout
