# SPDX-License-Identifier: MIT
"""What nobody should do to it. Each test requires that the others go on, not only that no error comes."""

import contextlib
import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest
import serial
from crowd import Watch, starved
from rig import Peer, Progress, kill_host, long
from torture import CLOCK_TICK, Bystander, Shell, check_memory, cpu_ticks, files, inventory, settled

IDLE_SECONDS = float(os.environ.get("AURIGA_IDLE_SECONDS", 10))

ECHO, KEEP, SEGV, ABORT, ILL, FPE, DEEP, HANG = range(16, 24)  # t-echo


pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def attach(rig, driver, *params, name=None, address="virtual"):
    args = ["attach", "--driver", driver]
    for param in params:
        args += ["--param", param]
    if name:
        args += ["--name", name]
    return rig.auriga(*args, address).stdout.strip()


def one_line(text):
    """What goes wrong is said in one line."""
    lines = text.splitlines()
    assert len(lines) == 1 and len(lines[0]) > 20, text
    return lines[0]


# ------------------------------------------------------------------- clients that die

@pytest.mark.parametrize("count", [pytest.param(20, marks=pytest.mark.timeout(120)),
                                   pytest.param(500, marks=long(1200))])
def test_clients_killed_under_load(rig, count):
    """kill -9 of clients: the others go on, nothing is left."""
    manager = rig.manager("--idle", "0")
    raw = attach(rig, "t-echo", "units=2")
    other = attach(rig, "t-echo")
    bystanders = [Bystander(rig, u) for u in (f"{raw}.0", f"{raw}.1", other)]
    rng = random.Random(1)
    before, kills, i, progress = None, 0, 0, Progress()
    while kills < count:
        # the first ones warm it up
        if not before and kills >= 10:
            before = inventory(rig, manager)
        victims = [Shell(rig, f"{raw}.{i % 2}", depth=32) for _ in range(1 + i % 3)]
        for v in victims:
            if i % 4 == 1:
                v.submit(KEEP, 16)
            v.tell("load", 16, 256)
        time.sleep(rng.uniform(0, 0.03))
        for v in victims:
            v.kill()
        kills += len(victims)
        i += 1
        for b in bystanders:
            b.check()
        progress.say(f"{kills} of {count} clients killed")
    after = settled(rig, manager, before)
    print(f"{kills} kills: {check_memory(before, after, raw)}, longest gaps "
          f"{[b.load['gap_ms'] for b in bystanders]} ms")
    for b in bystanders:
        b.end()
    assert rig.row(f"{raw}.0")["restarts"] == 0


def test_who_never_polls_holds_nobody_up(rig):
    """A client that has nothing outstanding, and does not look: the next host does not wait for it."""
    rig.manager()
    name = attach(rig, "t-echo")
    idle, other = Shell(rig, name), Bystander(rig, name)
    idle.submit(ECHO, 8)
    assert idle.wait(5)["outstanding"] == 0
    time.sleep(0.5)  # the host takes note of that at leisure
    for kills in range(1, 4):
        kill_host(rig, name)
        rig.wait_for(lambda least=kills: len(rig.info(name)["recoveries"]) == least, 10, "recovery")
        other.check(downs=None)
    waits = [r["serving_us"] - r["driver_us"] for r in rig.info(name)["recoveries"]]
    assert max(waits) < 500_000, waits
    # It is served all the same when it does look.
    idle.ask("forget")
    idle.submit(ECHO, 8)
    assert statuses(idle.wait(5)) == [0] * 8
    other.end()
    assert idle.end() == 0


# ------------------------------------------------------------------------ poison

def statuses(answer):
    return [r["status"] for r in answer["requests"]]


def check_poison(answer, poisonous):
    """Exactly those failed, with -EIO; the others are complete and right."""
    assert answer["outstanding"] == 0, answer
    for i, r in enumerate(answer["requests"]):
        if i in poisonous:
            assert r["status"] == -errno.EIO, (i, r)
        else:
            assert r["status"] == 0 and r["right"], (i, r)


@pytest.mark.parametrize("delay,hold,poisonous,count", [
    (0, 0, [13], 32), (5, 2, [0], 32), (5, 2, [31], 32), (5, 50, [13], 32), (0, 50, [13], 32),
    (50, 250, [5], 8)])
def test_poison_fails_alone(rig, delay, hold, poisonous, count):
    """One poison request at depth 32: exactly one error, whether others are with the driver or not."""
    rig.manager()
    name = attach(rig, "t-poison", f"delay={delay}", f"hold={hold}")
    client = Shell(rig, name)
    for i in range(count):
        client.submit(ECHO, arg=666 if i in poisonous else i)
    began = time.monotonic()
    answer = client.wait(20)
    check_poison(answer, poisonous)
    row = rig.row(name)
    print(f"delay {delay} hold {hold}: {time.monotonic() - began:.2f} s, {row['restarts']} restarts")
    assert row["state"] == "running" and row["restarts"] == answer["restarts"]
    client.ask("forget")
    client.submit(ECHO, 32)
    assert statuses(client.wait(5)) == [0] * 32
    assert client.end() == 0


def test_two_poison_requests(rig):
    rig.manager()
    name = attach(rig, "t-poison", "delay=2", "hold=2")
    client = Shell(rig, name)
    for i in range(32):
        client.submit(ECHO, arg=666 if i in (7, 20) else i)
    check_poison(client.wait(20), [7, 20])
    assert rig.row(name)["state"] == "running"
    assert client.end() == 0


def test_poison_of_one_client_is_nothing_to_another(rig):
    rig.manager()
    name, other = attach(rig, "t-poison", "delay=2", "hold=2"), attach(rig, "t-echo")
    elsewhere = Bystander(rig, other)
    clients = [Shell(rig, name), Shell(rig, name)]
    for c in clients:
        c.submit(ECHO, 16)
    clients[0].submit(ECHO, 1, arg=666)
    for c in clients:
        c.submit(ECHO, 15)
    check_poison(clients[0].wait(20), [16])
    check_poison(clients[1].wait(20), [])
    for c in clients:
        c.ask("forget")
        c.submit(ECHO, 32)
        check_poison(c.wait(5), [])
        assert c.end() == 0
    elsewhere.check()
    elsewhere.end()
    assert rig.row(name)["state"] == "running"


SEND, RECV, SET_MODEM, SET_BREAK, GET_MODEM = 1, 2, 5, 7, 6  # auriga/serial.h
RTSCTS, DTR, RTS = 1, 1, 2


@pytest.mark.parametrize("deadly", [("line", 666, 0), ("submit", SET_BREAK, 1, 0, 1),
                                    ("submit", SET_MODEM, 1, 0, DTR)],
                         ids=["line", "break", "modem"])
def test_poison_settings_fail_alone(rig, deadly):
    """A setting that kills the driver each time is one -EIO, and not the end of the device."""
    rig.manager()
    name = attach(rig, "t-line")
    client, other = Shell(rig, name), Shell(rig, name)
    # A send that the driver owns at each death, and a receive that waits for it.
    assert client.ask("line", 9600, RTSCTS)["rc"] == 0
    assert statuses(client.wait(5)) == [0]
    client.ask("forget")
    if deadly[0] == "submit" and deadly[1] == SET_MODEM:
        other.submit(RECV, length=64, arg=64)
    else:
        client.submit(SET_MODEM, length=0, arg=RTS)
        assert statuses(client.wait(5)) == [0]
        client.ask("forget")
        other.submit(SEND, length=64)
        other.submit(RECV, length=64, arg=64)
    assert client.ask(*deadly)["rc"] == 0
    answer = client.wait(20)
    assert statuses(answer) == [-errno.EIO], answer
    assert answer["restarts"] == 3, answer
    row = rig.row(name)
    assert row["state"] == "running" and row["restarts"] == 3, row
    # Nobody else has lost anything, and what was in force still is.
    client.ask("forget")
    assert client.ask("line", 9600, 0)["rc"] == 0
    if deadly[0] == "submit" and deadly[1] == SET_MODEM:
        other.submit(SEND, length=64)
    client.submit(GET_MODEM, length=0)
    answer = client.wait(5)
    assert statuses(answer) == [0, 0], answer
    outputs = DTR | RTS if deadly[:2] == ("submit", SET_MODEM) else DTR
    assert answer["requests"][1]["result"] & (DTR | RTS) == outputs
    assert statuses(other.wait(5)) == [0, 0]
    assert client.end() == 0 and other.end() == 0


def test_poison_among_requests_that_are_held_for_ever(rig):
    rig.manager()
    name = attach(rig, "t-echo")
    client = Shell(rig, name)
    client.submit(KEEP, 2)
    client.submit(SEGV)
    client.submit(KEEP)
    client.submit(ECHO)
    answer = client.wait(5)
    assert statuses(answer) == [-errno.EINPROGRESS, -errno.EINPROGRESS, -errno.EIO,
                                -errno.EINPROGRESS, 0], answer
    for i in (0, 1, 3):
        client.ask("cancel", i)
    assert statuses(client.wait(5)) == [-errno.ECANCELED, -errno.ECANCELED, -errno.EIO,
                                        -errno.ECANCELED, 0]
    assert rig.row(name)["state"] == "running"
    assert client.end() == 0


def test_kill_never_makes_poison(rig):
    """The same 32 requests outstanding over ten kills: none fails."""
    rig.manager()
    name = attach(rig, "t-hold")
    client = Shell(rig, name, depth=64)
    client.submit(16, 32, arg=5)
    for i in range(10):
        generation = rig.row(name)["generation"]
        client.submit(18)  # progress, or the restarts would come later and later
        assert client.wait(0.1)["outstanding"] == 32
        kill_host(rig, name)
        rig.wait_for(lambda: rig.row(name)["generation"] > generation and
                     rig.row(name)["state"] == "running", 10, "restart")
    assert client.wait(0.3)["outstanding"] == 32
    client.submit(19, length=0)
    answer = client.wait(10)
    assert answer["outstanding"] == 0 and statuses(answer) == [0] * 43, answer
    assert all(r["right"] for r in answer["requests"][:42])
    assert answer["requests"][42]["result"] == 32
    assert answer["restarts"] == 10
    assert client.end() == 0
    info = rig.info(name)
    assert info["deaths"]["killed"] == 10 and info["budget"]["tokens"] == info["budget"]["of"]


# ------------------------------------------------------------ drivers that crash, always

def test_crash_in_d0_entry_is_quarantined_with_evidence(rig, monkeypatch):
    """Others have traffic all the while; the module mended, a restart brings it back."""
    drivers = rig.rundir / "drivers"
    drivers.mkdir()
    monkeypatch.setenv("AURIGA_DRIVER_PATH", f"{drivers}:{rig.build}/tests")
    shutil.copy(rig.build / "tests/t-frail.so", drivers)
    rig.manager()
    other = Bystander(rig, attach(rig, "t-echo"))
    name = attach(rig, "t-frail", name="frail0")
    client = Shell(rig, name, depth=64)
    client.submit(ECHO, 32)
    assert statuses(client.wait(5)) == [0] * 32
    # from now on it crashes at each start
    shutil.copy(rig.build / "tests/t-frail-broken.twin", drivers / "new")
    (drivers / "new").rename(drivers / "t-frail.so")
    client.ask("forget")
    kill_host(rig, name)
    began = time.monotonic()
    client.submit(ECHO, 32)
    assert statuses(client.wait(60)) == [-errno.EIO] * 32
    print(f"quarantined after {time.monotonic() - began:.1f} s")
    row = rig.row(name)
    assert row["state"] == "quarantined" and row["pid"] is None
    assert "quarantined" in rig.auriga("restart", name, check=False).stderr
    crash = json.loads(rig.auriga("crash", "--json", name).stdout)
    assert crash["signal_name"] == "SIGSEGV" and crash["verdict"] == "crash"
    symbols = [f["symbol"] for f in crash["frames"]]
    assert any(s.startswith("frail_d0_entry+") for s in symbols), symbols
    text = rig.auriga("crash", name).stdout
    assert "SIGSEGV" in text and "frail_d0_entry" in text and "Segmentation fault" in text
    refused = Shell(rig).ask("open", name)
    assert refused["rc"] == -errno.EIO and "quarantined" in refused["text"], refused
    other.check()
    # mended
    shutil.copy(rig.build / "tests/t-frail.so", drivers / "new")
    (drivers / "new").rename(drivers / "t-frail.so")
    rig.auriga("restart", name)
    assert rig.row(name)["state"] == "running"
    client = Shell(rig, name)
    client.submit(ECHO, 32)
    assert statuses(client.wait(5)) == [0] * 32
    other.check()
    other.end()


@pytest.mark.parametrize("where", [1, 2])
def test_a_driver_that_never_starts_is_quarantined(rig, where):
    rig.manager()
    other = Bystander(rig, attach(rig, "t-echo"))
    done = rig.auriga("attach", "--driver", "t-crash", "--param", f"in={where}", "--name", "bad0",
                      "virtual", check=False)
    assert done.returncode == 1 and one_line(done.stderr) and "auriga crash bad0" in done.stderr
    assert rig.row("bad0")["state"] == "quarantined"
    assert re.search(r"#\d+ +crash_\w+\+", rig.auriga("crash", "bad0").stdout)
    # mended by another parameter
    rig.auriga("detach", "bad0")
    attach(rig, "t-crash", name="bad0")
    good = Shell(rig, "bad0")
    good.submit(ECHO, 8)
    assert statuses(good.wait(5)) == [0] * 8
    assert good.end() == 0
    other.check()
    other.end()


# ------------------------------------------------------------------------ drivers that hang

def hang_and_time(rig, manager, client, name):
    """The time from now to the verdict, the answer, and how long the manager was kept from working."""
    began, waited = time.monotonic(), starved(manager.pid)
    pid = rig.row(name)["pid"]
    rig.wait_for(lambda: rig.row(name)["pid"] != pid, 5, "a verdict")
    verdict = time.monotonic() - began
    client.submit(ECHO)
    answer = client.wait(20)
    return verdict, answer, starved(manager.pid) - waited


def test_hang_in_a_callback(rig):
    """A busy loop: a verdict within 1 s, serving within 2 s; the request that does it every time fails."""
    manager = rig.manager()
    name, other = attach(rig, "t-echo"), attach(rig, "t-echo")
    elsewhere = Bystander(rig, other)
    client = Shell(rig, name)
    client.submit(ECHO)
    assert statuses(client.wait(5)) == [0]
    theirs = starved(elsewhere.pid, rig.row(other)["pid"])
    client.submit(HANG)
    verdict, answer, waited = hang_and_time(rig, manager, client, name)
    assert answer["outstanding"] == 0 and statuses(answer) == [0, -errno.EIO, 0], answer
    print(f"verdict after {verdict:.2f} s; recoveries: {rig.info(name)['recoveries']}")
    assert verdict < 1.1 + waited, waited
    for r in rig.info(name)["recoveries"]:
        assert r["verdict"] == "hang" and r["silent_us"] < 1000000 + waited * 1e6
        assert r["silent_us"] + r["serving_us"] < 2000000 + waited * 1e6
    theirs = starved(elsewhere.pid, rig.row(other)["pid"]) - theirs
    elsewhere.check(gap_ms=1000 * (1 + theirs))
    elsewhere.end()
    crash = rig.auriga("crash", name).stdout
    assert "hang" in crash and "no sign of life" in crash


def test_deadlock_in_a_callback(rig):
    """The lane sleeps for ever, in the kernel."""
    manager = rig.manager()
    name = attach(rig, "t-stuck")
    client = Shell(rig, name)
    client.submit(17)
    verdict, answer, waited = hang_and_time(rig, manager, client, name)
    assert answer["outstanding"] == 0 and statuses(answer) == [-errno.EIO, 0], answer
    assert verdict < 1.1 + waited, waited
    for r in rig.info(name)["recoveries"]:
        assert r["verdict"] == "hang"
        assert r["silent_us"] + r["serving_us"] < 2000000 + waited * 1e6
    assert client.end() == 0


def hog(processor):
    """Take a processor away from everybody, for 2 s of its time: the kernel sees to the end."""
    resource.setrlimit(resource.RLIMIT_RTTIME, (2_000_000, 2_000_000))
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))


@pytest.mark.soak
def test_a_host_without_a_processor_is_not_hung(rig):
    """Something else has its processor for seconds: that is no fault of the driver's."""
    rig.manager()
    name = attach(rig, "t-echo")
    pid = rig.row(name)["pid"]
    last = os.cpu_count() - 1
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {last})
    with subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=lambda: hog(last)) as child:
        child.wait(30)
    time.sleep(1)
    row = rig.row(name)
    assert (row["pid"], row["restarts"]) == (pid, 0), rig.log()


def test_request_held_after_cancel(rig):
    """The lane is alive, but one request never comes back: overdue after the cancel, and a verdict."""
    rig.manager()
    name = attach(rig, "t-hold")
    client = Shell(rig, name)
    client.submit(17)
    client.submit(18)
    rig.wait_for(lambda: client.wait(0.1)["outstanding"] == 1, 5, "the one that is not held")
    pid = rig.row(name)["pid"]
    client.ask("cancel", 0)
    watch = Watch()
    answer = client.wait(15)
    took = watch.took()
    assert answer["outstanding"] == 0 and statuses(answer) == [-errno.ECANCELED, 0], answer
    row = rig.row(name)
    # The next host is offered it once more, if that one is there before the cancel's grace ends.
    assert row["pid"] != pid and row["restarts"] in (1, 2), rig.log()
    print(f"given back {took:.2f} s after the cancel")
    assert took < 3
    assert "held a cancelled request" in rig.auriga("crash", name).stdout
    assert client.end() == 0


# ------------------------------------------------------------------------ bad input

def refused(rig, *args, program="auriga", status=1, says=()):
    """It ends with a status and says why in one line."""
    done = rig.run(program, *args, check=False)
    assert done.returncode == status, (args, done)
    line = one_line(done.stderr)
    for text in [says] if isinstance(says, str) else says:
        assert text in line, line
    return line


def test_wrong_commands(rig):
    rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo", name="e0"))
    nowhere = rig.rundir / "nowhere.sock"
    before = rig.auriga("ls", "--json").stdout
    for args, says in [
            (["attach", "--driver", "nonesuch", "virtual"], "no driver 'nonesuch': looked in"),
            (["attach", "--driver", "../t-echo", "virtual"], "by name"),
            (["attach", "--driver", "t-echo", "--param", "units=9", "virtual"], "from 1 to 4"),
            (["attach", "--driver", "t-echo", "--param", "nope=1", "virtual"],
             "no parameter 'nope': 'auriga drivers t-echo' lists them"),
            (["attach", "--driver", "t-echo", "--param", "units", "virtual"], "write key=value"),
            (["attach", "--driver", "t-echo", "--name", "e0", "virtual"], "choose another name"),
            (["attach", "--driver", "t-echo", "--name", "A B", "virtual"], "use a letter or digit"),
            (["attach", "--driver", "t-echo", "--name", "x" * 28, "virtual"], "at most 27"),
            (["attach", f"vfio-user:{nowhere}"], "no such socket: is its server running?"),
            (["attach", f"vfio-user:{rig.rundir}/control.sock"], ""),
            (["attach", "vfio-user:"], "write the socket after the colon"),
            (["attach", "vfio-user:/" + "x" * 110], ""),
            (["attach", "x" * 5000], ""),
            (["attach", "usb:1"], "not an address: write vfio-user:PATH"),
            (["attach", "virtual"], "a virtual device needs a driver"),
            (["attach", "--driver", "uart16550", "virtual"], "needs hardware"),
            (["attach", "--driver", "serial-loop", f"vfio-user:{nowhere}"], "its address is virtual"),
            (["detach", "nonesuch"], "'auriga ls' lists what there is"),
            (["restart", "nonesuch"], "no device 'nonesuch'"),
            (["info", "nonesuch"], "no device 'nonesuch'"),
            (["hold", "nonesuch"], "no device 'nonesuch'"),
            (["crash", "nonesuch"], "no device 'nonesuch'"),
            (["crash", "e0"], "has not died"),
            (["detach", "e0"], "is open by 1 client"),
            (["why", f"vfio-user:{nowhere}"], "no such socket"),
            (["why", "vfio-user:a\nb"], ""),
            (["drivers", "/etc/passwd"], "not an ELF file"),
            (["drivers", "nonesuch"], "no driver 'nonesuch'"),
            (["export", "nonesuch", "pty", "--link", rig.rundir / "tty"], "no such unit"),
            (["--runtime-dir", rig.rundir / "none", "ls"], "is aurigad running?"),
            (["--runtime-dir", "/" + "x" * 120, "ls"], "too long for a socket's path"),
            (["--runtime-dir", "/" + "x" * 5000, "ls"], "too long"),
    ]:
        refused(rig, *args, says=says)
    refused(rig, "export", "e0", "pty", "--link", rig.rundir / "tty", status=2, says="takes serial units")
    refused(rig, "frobnicate", status=2, says="no command 'frobnicate'")
    for args in (["ls", "--nope"], ["info"], ["attach"], ["export", "e0", "nope"], ["ls", "e0"], []):
        done = rig.auriga(*args, check=False)
        assert done.returncode == 2 and "usage: auriga" in done.stderr, (args, done)
    assert rig.auriga("ls", "--json").stdout == before
    assert not (rig.rundir / "tty").exists()
    bystander.check()
    bystander.end()


def bad_modules(build, where):
    """Files that are no drivers. Yields name and what is said about it."""
    good = (build / "tests/t-echo.so").read_bytes()
    note = good.index(b"abi 1\n")

    def module(name, data, says):
        (where / f"{name}.so").write_bytes(data)
        return name, says

    yield module("t-text", b"hello\n", "not an ELF file")
    yield module("t-empty", b"", "not an ELF file")
    yield module("t-head", good[:40], "not an ELF file")
    yield module("t-short", good[:3000], "cut off")
    yield module("t-abi", good[:note + 4] + b"9" + good[note + 5:], "made for driver ABI 9")
    yield module("t-arch", good[:18] + b"\xb7" + good[19:], "another kind of machine")
    yield module("t-exec", (build / "bin/auriga").read_bytes(), "no Auriga note")
    yield module("t-library", next(build.glob("src/framework/*.so.0")).read_bytes(), "no Auriga note")
    yield module("t-notit", good, "calls itself 't-echo': rename")
    (where / "t-dir.so").mkdir()
    yield "t-dir", "not a regular file"
    os.mkfifo(where / "t-fifo.so")
    yield "t-fifo", "not a regular file"
    (where / "t-zero.so").symlink_to("/dev/zero")
    yield "t-zero", "not a regular file"
    (where / "t-gone.so").symlink_to("/nonexistent/x.so")
    yield "t-gone", "no driver 't-gone'"


def test_modules_that_are_no_drivers(rig, build, monkeypatch):
    where = rig.rundir / "drivers"
    where.mkdir()
    monkeypatch.setenv("AURIGA_DRIVER_PATH", f"{where}:{build}/tests")
    rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo", name="e0"))
    before = rig.auriga("ls", "--json").stdout
    for name, says in bad_modules(build, where):
        refused(rig, "attach", "--driver", name, "virtual", says=says)
        inside = Shell(rig).ask("open", f"inproc:{name}")
        assert inside["rc"] < 0 and says in inside["text"], inside
    # noise: whatever becomes of it, it is one line, or a quarantine with evidence
    good = bytearray((build / "tests/t-echo.so").read_bytes())
    rng = random.Random(7)
    for i in range(20):
        noise = bytearray(good)
        for _ in range(3 if i % 2 else 300):
            noise[rng.randrange(len(noise))] = rng.randrange(256)
        (where / "t-echo.so").write_bytes(noise)
        done = rig.auriga("attach", "--driver", "t-echo", "--name", "noise0", "virtual", check=False)
        if done.returncode:
            one_line(done.stderr)
        rig.auriga("detach", "noise0", check=False)
    (where / "t-echo.so").unlink()
    assert rig.auriga("ls", "--json").stdout == before
    listing = rig.auriga("drivers").stdout
    assert "cut off" in listing and "t-echo" in listing
    bystander.check()
    bystander.end()


CONFIGS = {
    "good": "[device]\ndriver = t-echo\naddress = virtual\n",
    "nosection": "driver = t-echo\n",
    "badkey": "[device]\ndriver = t-echo\nfoo = 1\naddress = virtual\n",
    "badparam": "[device]\ndriver = t-echo\naddress = virtual\n[params]\nunits = 99\n",
    "noparam": "[device]\ndriver = t-echo\naddress = virtual\n[params]\nnope = 99\n",
    "baddriver": "[device]\ndriver = nonesuch\naddress = virtual\n",
    "syntax": "[device\ndriver t-echo\n",
    "empty": "",
    "samename": "[device]\nname = good\ndriver = t-echo\naddress = virtual\n",
    "policy": "[device]\ndriver = t-echo\naddress = virtual\n[policy]\nmode = 9\n",
    "sandbox": "[device]\ndriver = t-echo\naddress = virtual\n[sandbox]\nmoat = no\n",
    "section": "[devices]\ndriver = t-echo\naddress = virtual\n",
    "nul": "[device]\ndri\0ver = t-echo\naddress = virtual\n",
    "long": "a" * 100000,
    "line": "[device]\ndriver = " + "x" * 20000 + "\naddress = virtual\n",
    "Bad Name": "[device]\ndriver = t-echo\naddress = virtual\n",
}


def test_malformed_device_configuration(rig):
    """Each bad file is one line of the log; the good ones are served all the same."""
    where = rig.rundir / "etc/devices.d"
    where.mkdir(parents=True)
    for name, text in CONFIGS.items():
        (where / f"{name}.conf").write_text(text)
    (where / "noise.conf").write_bytes(random.Random(3).randbytes(5000))
    (where / "dir.conf").mkdir()
    (where / "dangling.conf").symlink_to("/nonexistent")
    # two devices at one address: neither there, but only the first is tried
    for name in ("twin1", "twin2"):
        (where / f"{name}.conf").write_text(f"[device]\naddress = vfio-user:{rig.rundir}/none.sock\n")
    rig.manager("--config", rig.rundir / "etc")
    bystander = Bystander(rig, "good")
    log = (rig.rundir / "aurigad.log").read_text().splitlines()
    bad = [name for name in (*CONFIGS, "noise", "dir", "dangling", "twin2") if name != "good"]
    for name in bad:
        lines = [line for line in log if f"/{name}.conf" in line]
        assert len(lines) == 1 and "this device is left out" in lines[0], (name, lines)
    rows = {row["name"]: row["state"] for row in json.loads(rig.auriga("ls", "--json").stdout)}
    assert rows == {"good": "running", "twin1": "configured"}
    bystander.check()
    bystander.end()


@pytest.mark.parametrize("text,says", [
    ("[lab\n", "m:1:"), ("x = 1\n", "before the first section"), ("[lab]\n", "is not known"),
    ("[device]\n", "is not known"), ("[device u0]\nmodel = nonesuch\n", ""),
    ("[device u0]\nnonsense\n", "m:2:"), ("", "there is no PCI function"),
    ("x" * 5000, "m:1:"), ("\0" * 100, "")], ids=lambda text: text[:20])
def test_malformed_machine_file(rig, text, says):
    (rig.rundir / "m").write_text(text)
    refused(rig, "up", "--machine", rig.rundir / "m", program="auriga-lab", says=says)
    assert files(rig.rundir / "lab") == []


def test_runtime_directories_that_cannot_be(rig, tmp_path):
    def manager_refuses(path, says):
        refused(rig, "--foreground", "--runtime-dir", path, program="aurigad", says=says)

    rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    manager_refuses(open_to_all, "others can write to it")
    refused(rig, "--runtime-dir", open_to_all, "ls", says="others can write to it")
    inside = Shell(rig)
    inside.process.terminate()
    long = tmp_path / ("x" * 100)
    manager_refuses(long, "too long for a socket's path")
    assert not long.exists()
    refused(rig, "up", "--runtime-dir", long, "--device", "pci-serial", program="auriga-lab",
            says="too long for a socket's path")
    assert not long.exists()
    (tmp_path / "file").write_text("")
    manager_refuses(tmp_path / "file", "not a directory")
    (tmp_path / "link").symlink_to(tmp_path)
    manager_refuses(tmp_path / "link", "not a directory")
    manager_refuses(tmp_path / "a/b", "cannot be made")
    manager_refuses("/proc/none", "cannot be made")
    manager_refuses(rig.rundir, "served by another aurigad already")
    bystander.check()
    bystander.end()


@pytest.mark.parametrize("target,says", [
    ("inproc:", "write inproc:DRIVER"), ("inproc:,", "write inproc:DRIVER"),
    ("inproc:address=virtual", "write inproc:DRIVER"), ("inproc:nonesuch", "no driver 'nonesuch'"),
    ("inproc:../t-echo", "no driver's name"), ("inproc:/t-echo", "no driver's name"),
    ("inproc:uart16550", "drives hardware: add address="),
    ("inproc:uart16550,address=", "not an address"), ("inproc:uart16550,address=x", "not an address"),
    ("inproc:uart16550,address=vfio-user:/none", "no such socket"),
    ("inproc:t-echo,units", "'units' has no value"), ("inproc:t-echo,nope=1", "no parameter 'nope'"),
    ("inproc:t-echo,units=9", "from 1 to 4"), ("inproc:t-echo,unit=99", "from 0 to 15"),
    ("inproc:t-echo,unit=x", "from 0 to 15"), ("inproc:t-echo,unit=3", "it has no unit 3"),
    ("inproc:t-echo,poll=never", "poll=app is all there is"),
    ("inproc:t-echo,units=2,units=3", "twice"), ("inproc:t-echo,address=virtual,address=virtual", "twice"),
    ("inproc:t-echo,,units=2", "write inproc:DRIVER"),
    ("inproc:" + "x" * 400, "too long"), ("inproc:t-echo," + "x" * 400, "has no value"), ("inproc:" + "x" * 5000, "too long"),
    ("e0.7", "no such unit"), ("../control", "not a unit's name"), ("x" * 100, "not a unit's name"),
    ("", "open")], ids=lambda text: text[:40])
def test_targets_that_cannot_be(rig, target, says):
    rig.manager()
    attach(rig, "t-echo", name="e0")
    answer = Shell(rig).ask("open", target)
    assert answer["rc"] < 0 and (says in answer["text"] or target == ""), answer


# ------------------------------------------------------------- garbage on the sockets

def message(kind, body=b"", magic=0x41525541, length=None):
    length = 16 + len(body) if length is None else length
    return struct.pack("<IHHII", magic, 1, kind, length, 0) + body


def hello(depth=32, size=4096, token=(0, 0), low=1, high=1, **head):
    return message(1, struct.pack("<HHIQIIQQII", low, high, 0, 0, depth, size, *token, 0, 0), **head)


def connect(path, kind=socket.SOCK_SEQPACKET, seconds=5):
    s = socket.socket(socket.AF_UNIX, kind)
    s.connect(str(path))  # waits while the backlog is full
    s.settimeout(seconds)
    return s


def answer_of(s):
    """What the manager says to a client: a message's type and, if it is an error, its text."""
    try:
        data = s.recv(65536)
    except ConnectionResetError:
        return 0, ""
    if not data:
        return 0, ""
    kind = struct.unpack_from("<IHH", data)[2]
    return kind, data[20:].rstrip(b"\0").decode() if kind == 4 else ""


@pytest.mark.sanitize
def test_garbage_on_a_device_socket(rig):
    manager = rig.manager("--idle", "0")
    name, other = attach(rig, "t-echo", "units=2"), attach(rig, "t-echo")
    bystanders = [Bystander(rig, f"{name}.0"), Bystander(rig, other)]
    path = rig.rundir / f"dev/{name}.0"
    before = inventory(rig, manager)
    rng = random.Random(5)
    bad = [b"x", message(1), message(99), b"A" * 30000, hello(magic=1), hello(length=5),
           hello(length=1 << 31), hello(low=7, high=9), hello(depth=0), hello(depth=1 << 31),
           hello(size=0), hello(size=1 << 31), hello(depth=1024, size=1 << 20), hello(token=(1, 2)),
           hello()[:40], hello() + b"x"] + [rng.randbytes(rng.randrange(1, 200)) for _ in range(50)]
    for data in bad:
        with connect(path) as s:
            s.send(data)
            kind, text = answer_of(s)
            assert kind == 4 and len(text) > 10, (data[:60], kind, text)
    for count in (1, 16, 17, 250):  # descriptors attached
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
        for data in (hello(token=(1, 2)), b"garbage"):
            with connect(path) as s:
                socket.send_fds(s, [data], fds)
                assert answer_of(s)[0] == 4
        for fd in fds:
            os.close(fd)
    unsealed = os.memfd_create("pool", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 1 << 20)
    with connect(path) as s:
        socket.send_fds(s, [hello(token=(1, 2))], [unsealed])
        assert answer_of(s) == (4, "its pool is not sealed, or too small")
    os.close(unsealed)
    with connect(path) as s:  # a buffer of no whole cache lines is rounded up; a second hello is not
        s.send(hello(size=100))
        data, fds, _, _ = socket.recv_fds(s, 4096, 16)
        assert struct.unpack_from("<IHH", data)[2] == 2 and len(fds) == 3
        s.send(hello())
        assert answer_of(s)[0] == 4
        for fd in fds:
            os.close(fd)
    for b in bystanders:
        b.check()
    settled(rig, manager, before)
    for b in bystanders:
        b.end()


def test_a_thousand_connections(rig):
    manager = rig.manager("--idle", "0")
    name, other = attach(rig, "t-echo", "units=2"), attach(rig, "t-echo")
    bystanders = [Bystander(rig, f"{name}.0"), Bystander(rig, other)]
    before = inventory(rig, manager)
    held = []
    for _ in range(1000):
        held.append(connect(rig.rundir / f"dev/{name}.1"))
    for b in bystanders:
        b.check()
    assert rig.row(f"{name}.0")["state"] == "running"
    client = Shell(rig, other)  # another device is not affected at all
    client.submit(ECHO)
    assert statuses(client.wait(5)) == [0]
    assert client.end() == 0
    # those that say nothing are shown the door; then there is room
    kinds = {answer_of(s)[0] for s in held[-20:]}
    assert kinds <= {0, 4}
    for s in held:
        s.close()
    settled(rig, manager, before)
    client = Shell(rig, f"{name}.1")
    client.submit(ECHO)
    assert statuses(client.wait(5)) == [0]
    for b in bystanders:
        b.check()
        b.end()


def http(rig, data, seconds=5):
    """Send anything to the control socket. Returns the status, 0 for none, and the body."""
    with connect(rig.rundir / "control.sock", socket.SOCK_STREAM, seconds) as s:
        got = b""
        try:
            s.sendall(data)
            while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < int(
                    re.search(rb"Content-Length: (\d+)", got).group(1)):
                piece = s.recv(65536)
                if not piece:
                    break
                got += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        except socket.timeout:
            return -1, b""
    found = re.match(rb"HTTP/1.1 (\d+)", got)
    return int(found.group(1)) if found else 0, got.split(b"\r\n\r\n", 1)[-1]


def request(rig, method, path, body=b""):
    return http(rig, b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        method.encode(), path.encode(), len(body), body))


@pytest.mark.sanitize
def test_garbage_on_the_control_socket(rig):
    manager = rig.manager("--idle", "0")
    bystander = Bystander(rig, attach(rig, "t-echo", name="e0"))
    before = inventory(rig, manager)
    rng = random.Random(9)
    for data in (b"garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n", rng.randbytes(3000) + b"\r\n\r\n"):
        status, _ = http(rig, data, 2)
        assert status in (-1, 0, 400, 414, 431, 505), (data[:40], status)
    virtual = b'{"address":"virtual","driver":"t-echo"%s}'
    for body in (b"", b"{", b"[]", b"1", b"null", b"\xff\xfe", b"{}", b'{"address":1}', b'{"address":null}',
                 b'{"address":{}}', b'{"address":"virtual","driver":[]}', virtual % b',"params":1',
                 virtual % b',"params":[1]', virtual % b',"params":{"units":{}}', virtual % b',"foo":1',
                 virtual % b',"params":["units=1","units=2"]', virtual % b',"address":"virtual"',
                 b'{"address":"virtual\\u0000x","driver":"t-echo"}', virtual % b',"policy":{"idle":"-1"}',
                 virtual % b',"policy":{"idle":"1.5x"}', virtual % b',"policy":[]', b"[" * 60000,
                 b'{"a":' * 12000, virtual % b',"sandbox":{"moat":"no"}',
                 b'{"name":"' + b"x" * 50000 + b'"}'):
        status, text = request(rig, "POST", "/v1/devices", body)
        said = json.loads(text)["error"]
        assert status == 400 and len(said) > 15 and "\n" not in said, (body[:60], status, text)
    assert request(rig, "POST", "/v1/devices", b"x" * 1000000)[0] in (0, 413)
    for method, path, body, want in (
            ("PUT", "/v1/devices/e0", b"", 405), ("GET", "/v1/devices/e0/x", b"", 405),
            ("POST", "/v1/devices/e0/restart", b'{"crash":1}', 400),
            ("POST", "/v1/devices/e0/hold", b'{"on":"x"}', 400), ("DELETE", "/v1/devices/", b"", 404),
            ("GET", "/v1/devices/%00", b"", 404), ("GET", "/v1/devices/../../etc", b"", 404),
            ("GET", "/v1/why", b"", 400), ("GET", "/v1/why?address=" + "x" * 500, b"", 400),
            ("GET", "/v1/why?address=vfio-user:%0a", b"", 400), ("BREW", "/", b"", 404)):
        assert request(rig, method, path, body)[0] == want, (method, path)
    # half requests take what connections there are, for a while
    half = []
    for _ in range(60):
        half.append(connect(rig.rundir / "control.sock", socket.SOCK_STREAM))
        half[-1].sendall(b"GET /v1/dev")
    bystander.check()
    watch = Watch()
    assert rig.row("e0")["state"] == "running"
    assert watch.took() < 20
    for s in half:
        s.close()
    settled(rig, manager, before)
    bystander.check()
    bystander.end()


@pytest.mark.sanitize
@pytest.mark.parametrize("what", ["entries", "almost", "reuse", "control", "noise", "head", "doorbell",
                                  "shrink", "deaf"])
def test_garbage_in_a_ring(rig, what):
    """Whoever breaks the rules of the rings loses its own channel, and nobody else notices."""
    manager = rig.manager("--idle", "0")
    name = attach(rig, "t-echo", "units=2")
    bystanders = [Bystander(rig, f"{name}.0"), Bystander(rig, f"{name}.1")]
    before = inventory(rig, manager)
    for _ in range(3):
        done = rig.run("../tests/ring_vandal", rig.rundir / f"dev/{name}.0", what, 400)
        report = json.loads(done.stdout)
        assert report["text"] != "truncated"
        if what in ("entries", "reuse", "control", "noise", "head", "almost"):
            assert report["ended"] and report["error"] < 0 and len(report["text"]) > 10, report
        for b in bystanders:
            b.check(gap_ms=1000)
    row = rig.row(f"{name}.0")
    assert row["restarts"] == 0 and row["generation"] == 1
    settled(rig, manager, before)
    for b in bystanders:
        b.end()


# ---------------------------------------------------------------- one device, one holder

def test_one_device_has_one_holder(rig):
    address, _ = rig.lab()
    rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    name = rig.auriga("attach", address).stdout.strip()
    inside = Shell(rig)
    answer = inside.ask("open", f"inproc:uart16550,address={address}")
    assert answer["rc"] == -errno.EBUSY and f"auriga-host {name}" in answer["text"], answer
    refused(rig, "attach", address, says=f"is {name} already")
    rig.auriga("detach", name)
    assert inside.ask("open", f"inproc:uart16550,address={address}")["rc"] == 0
    for args in (["attach", address], ["why", address]):
        refused(rig, *args, says=f"is run by pid {inside.pid} (raw_shell, inproc:uart16550)")
    second = Shell(rig).ask("open", f"inproc:uart16550,address={address}")
    assert second["rc"] == -errno.EBUSY and str(inside.pid) in second["text"]
    inside.kill()  # its claim ends with it
    assert rig.auriga("attach", address).stdout.strip() == name
    bystander.check()
    bystander.end()


# ------------------------------------------------------------- clients: fork, descriptors

@pytest.mark.sanitize
@pytest.mark.parametrize("target", ["raw", "inproc:t-echo", "inproc:t-echo,poll=app"])
def test_handles_after_fork(rig, target):
    rig.manager()
    if target == "raw":
        target = attach(rig, "t-echo")
    client = Shell(rig, target)
    client.submit(ECHO, 4)
    assert statuses(client.wait(5)) == [0] * 4
    client.ask("forget")
    child = client.ask("fork")
    bad = {k: v for k, v in child.items() if v != -errno.EBADF and k not in ("generation", "arm")}
    assert not bad and child["generation"] == 0 and child["arm"] == 0, child
    assert json.loads(client.process.stdout.readline())["rc"] == 0  # it ended in order
    client.submit(ECHO, 16)  # the parent's handle is as good as before
    assert statuses(client.wait(5)) == [0] * 16
    assert client.end() == 0


@pytest.mark.sanitize
@pytest.mark.parametrize("target", ["raw", "inproc:t-echo", "inproc:t-echo,poll=app"])
def test_no_descriptors_for_a_client(rig, target):
    """Too few for au_open(): an answer, each time another; nothing crashes, nothing leaks."""
    rig.manager("--idle", "0")
    if target == "raw":
        target = attach(rig, "t-echo")
    client = Shell(rig)
    before = len(os.listdir(f"/proc/{client.pid}/fd"))
    enough = None
    for spare in range(24):
        assert client.ask("nofile", spare)["rc"] == 0
        answer = client.ask("open", target)
        if answer["rc"] == 0:
            enough = spare
            break
        assert len(answer["text"]) > 10 and "\n" not in answer["text"], answer
        assert len(os.listdir(f"/proc/{client.pid}/fd")) == before, (spare, answer)
    assert enough and enough > 2
    client.submit(ECHO, 8)
    assert statuses(client.wait(5)) == [0] * 8
    client.ask("nofile", 100)  # a sanitizer wants some for its report
    assert client.end() == 0


def test_no_descriptors_for_the_manager(rig):
    """A manager with few descriptors refuses what it cannot do, and goes on with what it has."""
    log = open(rig.rundir / "aurigad.log", "a", encoding="utf-8")
    manager = rig.start("aurigad", "--foreground", "--idle", "0", stderr=log,
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    rig.wait_for(lambda: rig.auriga("ls", check=False).returncode == 0, 10, "aurigad")
    name = attach(rig, "t-echo")
    bystander = Bystander(rig, name)
    # devices until there is no room
    names = []
    while len(names) < 30:
        done = rig.auriga("attach", "--driver", "t-echo", "virtual", check=False)
        if done.returncode:
            one_line(done.stderr)
            break
        names.append(done.stdout.strip())
    assert 0 < len(names) < 30
    bystander.check()
    # clients until there is no room
    held = [connect(rig.rundir / f"dev/{name}", seconds=1) for _ in range(20)]
    bystander.check()
    ticks = cpu_ticks(manager.pid)
    time.sleep(1)
    assert cpu_ticks(manager.pid) - ticks < 0.3 * CLOCK_TICK, "it spins"
    for s in held:
        s.close()
    for n in names:
        rig.auriga("detach", n)
    kill_host(rig, name)
    bystander.check(downs=None)
    assert manager.poll() is None
    client = Shell(rig, name)
    client.submit(ECHO, 8)
    assert statuses(client.wait(5)) == [0] * 8
    bystander.end()


# ------------------------------------------------------------------- attach and detach

@pytest.mark.parametrize("cycles", [pytest.param(50, marks=pytest.mark.timeout(240)),
                                    pytest.param(1000, marks=long(2400))])
def test_attach_and_detach_leave_nothing(rig, cycles):
    manager = rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    address, _ = rig.lab()

    def cycle(i):
        if i % 10 == 9:
            rig.auriga("detach", rig.auriga("attach", address).stdout.strip())
            return
        name = attach(rig, "t-echo", f"units={1 + i % 4}")
        if i % 5 == 0:
            client = Shell(rig, f"{name}.0")
            client.submit(KEEP, 8)
            rig.auriga("detach", "--force", name)
            assert statuses(client.wait(5)) == [-errno.ENODEV] * 8
            assert client.end() == 0
        else:
            rig.auriga("detach", name)

    for i in range(20):
        cycle(i)
    before = inventory(rig, manager)
    progress = Progress()
    for i in range(cycles):
        cycle(i)
        progress.say(f"{i} of {cycles} cycles")
    after = settled(rig, manager, before)
    print(f"{cycles} cycles: {check_memory(before, after)}")
    bystander.check()
    bystander.end()


# ------------------------------------------------------------------------ a failing lab

def lab_fault(rig, what, name="lab0"):
    rig.run("auriga-lab", "fault", name, what)


def uart(rig, **options):
    address, peers = rig.lab(**options)
    return rig.auriga("attach", address).stdout.strip(), address, peers[0]


def test_a_frozen_device_goes_on_when_it_thaws(rig):
    rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    name, _, far = uart(rig)
    rig.start("auriga", "export", name, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(far)
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=15) as port:
        port.write(b"one")
        assert peer.wait(3, 10) == b"one"
        for seconds in (0.3, 3):
            lab_fault(rig, "freeze")
            port.write(b"more")
            time.sleep(seconds)
            count = len(peer.received)
            lab_fault(rig, "thaw")
            assert peer.wait(count + 4, 15).endswith(b"more")
            peer.send(b"back")
            assert port.read(4) == b"back"
            bystander.check()
    assert rig.row(name)["state"] == "running"
    peer.close()
    bystander.end()


def test_sessions_are_closed_aside(rig, monkeypatch):
    """Letting go of a device takes long: the manager answers all the same."""
    address, _ = rig.lab()
    socket_dir = os.path.dirname(address.split(":", 1)[1])
    monkeypatch.setenv("LD_PRELOAD", str(rig.build / "tests/slow_close.so"))
    monkeypatch.setenv("SLOW_CLOSE", socket_dir)
    rig.manager()
    monkeypatch.delenv("LD_PRELOAD")
    child = rig.start("auriga", "attach", address, ready=False)
    longest = 0
    while not os.path.exists(f"{socket_dir}/closed"):
        began = time.monotonic()
        rig.auriga("ls")
        longest = max(longest, time.monotonic() - began)
    assert child.wait(10) == 0 and longest < 1, longest


@pytest.mark.parametrize("how", ["kill", "down", "kill -9"])
def test_a_dead_device_is_gone_and_comes_back(rig, how):
    """Clients are told, the manager says gone, nothing spins; a new lab there, and it works again."""
    manager = rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    name, _, far = uart(rig)
    export = rig.start("auriga", "export", name, "pty", "--link", rig.rundir / "tty", ready=True,
                       stderr=subprocess.PIPE)
    peer = Peer(far)
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=10) as port:
        port.write(b"one")
        assert peer.wait(3, 10) == b"one"
        if how == "kill":
            lab_fault(rig, "kill")
            port.write(b"two")
        elif how == "down":
            rig.run("auriga-lab", "down", "lab0")
        else:
            pids = json.loads(rig.run("auriga-lab", "ls", "--json").stdout)[0]["pids"]
            for pid in pids.values():
                with contextlib.suppress(ProcessLookupError):  # they do not outlive one another
                    os.kill(pid, signal.SIGKILL)
        rig.wait_for(lambda: rig.row(name)["state"] == "gone", 10, "gone")
    assert export.wait(10) == 1
    said = one_line(export.stderr.read())
    assert name in said and "removed" in said, said
    assert rig.row(name)["pid"] is None and not (rig.rundir / "tty").is_symlink()
    ticks = cpu_ticks(manager.pid)
    time.sleep(1)
    assert cpu_ticks(manager.pid) - ticks < 0.3 * CLOCK_TICK
    bystander.check()
    done = rig.auriga("restart", name, check=False)  # nothing there yet
    assert done.returncode == 1
    one_line(done.stderr)
    peer.close()
    rig.run("auriga-lab", "down", "lab0", check=False)
    _, peers = rig.lab()
    rig.auriga("restart", name)
    rig.start("auriga", "export", name, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(peers[0])
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=10) as port:
        port.write(b"again")
        assert peer.wait(5, 10) == b"again"
        peer.send(b"back")
        assert port.read(4) == b"back"
    peer.close()
    bystander.check()
    bystander.end()


def test_a_device_that_stays_away_is_waited_for(rig):
    """Host and lab die together: nothing is broken, and who has it open goes on when it is back."""
    manager = rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    name, _, far = uart(rig)
    export = rig.start("auriga", "export", name, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(far)
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=20) as port:
        port.write(b"one")
        assert peer.wait(3, 10) == b"one"
        host = rig.row(name)["pid"]
        pids = json.loads(rig.run("auriga-lab", "ls", "--json").stdout)[0]["pids"]
        os.kill(host, signal.SIGSTOP)  # so that it does not say that the device has gone
        for pid in (*pids.values(), host):
            with contextlib.suppress(ProcessLookupError):  # they do not outlive one another
                os.kill(pid, signal.SIGKILL)
        peer.close()
        rig.wait_for(lambda: rig.row(name)["state"] == "waiting", 3, "waiting")
        port.write(b"two")
        # longer than five attempts take
        rig.wait_for(lambda: rig.info(name)["budget"]["streak"] >= 6, 15, "another attempt")
        before, info = rig.row(name), rig.info(name)
        assert before["state"] == info["state"] == "waiting" and before["pid"] is None
        assert re.search(r"waited for: .*\.sock: (nobody listens|no such socket)", info["reason"])
        assert info["budget"]["tokens"] == 5 and info["budget"]["streak"] >= 6
        assert sum(h["reason"].startswith("its device") for h in info["history"]) <= 2
        ticks = cpu_ticks(manager.pid)
        rig.run("auriga-lab", "down", "lab0", check=False)
        time.sleep(1)
        assert cpu_ticks(manager.pid) - ticks < 0.3 * CLOCK_TICK
        assert export.poll() is None
        _, peers = rig.lab()
        rig.wait_for(lambda: rig.row(name)["state"] == "running", 15, "running")
        assert rig.row(name)["restarts"] == before["restarts"]
        peer = Peer(peers[0])
        peer.send(b"back")
        assert port.read(4) == b"back"
        port.write(b"three")
        rig.wait_for(lambda: peer.received.endswith(b"three"), 10, "three")
    peer.close()
    bystander.check()
    bystander.end()


@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_a_device_that_vanishes_while_attaching(rig, fault):
    """At any moment of the way up: one line, a status, and the address can be used again."""
    rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    seen = set()
    for i, delay in enumerate((0, 0.006, 0.012)):
        address, _ = rig.lab(name=f"lab{i}")
        attaching = subprocess.Popen([rig.build / "bin/auriga", "attach", address], text=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay)
        lab_fault(rig, fault, f"lab{i}")
        out, err = attaching.communicate(timeout=40)
        seen.add(attaching.returncode)
        if attaching.returncode:
            one_line(err)
            lab_fault(rig, "thaw", f"lab{i}") if fault == "freeze" else None
        else:
            lab_fault(rig, "thaw", f"lab{i}") if fault == "freeze" else None
            rig.auriga("detach", out.strip(), check=False)
        if fault == "freeze":  # thawed, it is a device like any other
            rig.wait_for(lambda a=address: rig.auriga("attach", a, check=False).returncode == 0, 10,
                         "attach")
        bystander.check()
    print(f"{fault}: statuses {seen}")
    bystander.end()


# --------------------------------------------------------------------------------- idle

@pytest.mark.idle
def test_an_idle_device_costs_nothing(rig):
    """Attached, open, quiet: at most one clock tick in ten seconds for each process."""
    manager = rig.manager()
    raw = attach(rig, "t-echo")
    name, _, far = uart(rig)
    client, port_client = Shell(rig, raw), Shell(rig, name)
    for c in (client, port_client):
        c.tell("quiet")
    export = rig.start("auriga", "export", name, "pty", "--link", rig.rundir / "tty", ready=True)
    pids = json.loads(rig.run("auriga-lab", "ls", "--json").stdout)[0]["pids"]
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=10) as port:
        peer = Peer(far)
        port.write(b"one")
        assert peer.wait(3, 10) == b"one"
        watched = {"manager": manager.pid, "raw host": rig.row(raw)["pid"],
                   "uart host": rig.row(name)["pid"], "raw client": client.pid,
                   "serial client": port_client.pid, "pty exporter": export.pid,
                   **{f"lab {k}": v for k, v in pids.items()}}
        time.sleep(1)
        before = {k: cpu_ticks(v) for k, v in watched.items()}
        time.sleep(IDLE_SECONDS)
        spent = {k: cpu_ticks(v) - before[k] for k, v in watched.items()}
        print(f"ticks in {IDLE_SECONDS} s: {spent}")
        assert all(ticks <= 1 for ticks in spent.values()), spent
        # and it was not asleep for good
        port.write(b"two")
        assert peer.wait(6, 10) == b"onetwo"
        peer.done = True
        peer.join(2)
        peer.socket.close()
