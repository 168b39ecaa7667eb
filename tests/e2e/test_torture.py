# SPDX-License-Identifier: MIT
"""What nobody should do to it. Each test requires that the others go on, not only that no error comes."""

import errno
import json
import os
import random
import re
import shutil
import time

import pytest
from rig import Rig, kill_host
from torture import Bystander, Inventory, Shell, files, rss_kib, settled

CLIENT_KILLS = int(os.environ.get("AURIGA_CLIENT_KILLS", 20))
CYCLES = int(os.environ.get("AURIGA_CYCLES", 100))

ECHO, KEEP, SEGV, ABORT, ILL, FPE, DEEP, HANG = range(16, 24)  # t-echo


@pytest.fixture
def rig(build, rundir, monkeypatch):
    monkeypatch.setenv("AURIGA_DRIVER_PATH", f"{build}/tests:{build}/drivers")
    r = Rig(build, rundir)
    yield r
    r.close()


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

def test_clients_killed_under_load(rig):
    """kill -9 of clients: the others go on, nothing is left."""
    manager = rig.manager("--idle", "0")
    raw = attach(rig, "t-echo", "units=2")
    other = attach(rig, "t-echo")
    bystanders = [Bystander(rig, u) for u in (f"{raw}.0", f"{raw}.1", other)]
    rng = random.Random(1)
    before, kills, i = None, 0, 0
    while kills < CLIENT_KILLS:
        # the first ones warm it up
        if not before and kills >= min(10, CLIENT_KILLS // 2):
            before = settled(rig, manager, Inventory(rig, manager))
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
    after = settled(rig, manager, before)
    host_before, host_after = before.hosts[raw]["rss"], after.hosts[raw]["rss"]
    print(f"{kills} kills: manager {before.rss} -> {after.rss} KiB, host {host_before} -> "
          f"{host_after} KiB, longest gaps {[b.load['gap_ms'] for b in bystanders]} ms")
    assert after.rss < before.rss + 1024 and host_after < host_before + 1024
    for b in bystanders:
        b.end()
    assert rig.row(f"{raw}.0")["restarts"] == 0


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


@pytest.mark.parametrize("delay,hold,poisonous", [
    (0, 0, [13]), (5, 2, [0]), (5, 2, [31]), (5, 50, [13]), (0, 50, [13]), (50, 250, [5])])
def test_poison_fails_alone(rig, delay, hold, poisonous):
    """One poison request at depth 32: exactly one error, whether others are with the driver or not."""
    rig.manager()
    name = attach(rig, "t-poison", f"delay={delay}", f"hold={hold}")
    client = Shell(rig, name)
    for i in range(32):
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

def hang_and_time(rig, client, name):
    """The time from now to the verdict, and to service."""
    began = time.monotonic()
    pid = rig.row(name)["pid"]
    rig.wait_for(lambda: rig.row(name)["pid"] != pid, 5, "a verdict")
    verdict = time.monotonic() - began
    client.submit(ECHO)
    answer = client.wait(10)
    return verdict, time.monotonic() - began, answer


def test_hang_in_a_callback(rig):
    """A busy loop: a verdict within 1 s, serving within 2 s; the request that does it every time fails."""
    rig.manager()
    name, other = attach(rig, "t-echo"), attach(rig, "t-echo")
    elsewhere = Bystander(rig, other)
    client = Shell(rig, name)
    client.submit(ECHO)
    assert statuses(client.wait(5)) == [0]
    client.submit(HANG)
    verdict, _, answer = hang_and_time(rig, client, name)
    assert answer["outstanding"] == 0 and statuses(answer) == [0, -errno.EIO, 0], answer
    print(f"verdict after {verdict:.2f} s; recoveries: {rig.info(name)['recoveries']}")
    assert verdict < 1.1
    for r in rig.info(name)["recoveries"]:
        assert r["verdict"] == "hang" and r["silent_us"] < 1000000
        assert r["silent_us"] + r["serving_us"] < 2000000
    elsewhere.check(gap_ms=1000)
    elsewhere.end()
    crash = rig.auriga("crash", name).stdout
    assert "hang" in crash and "no sign of life" in crash


def test_deadlock_in_a_callback(rig):
    """The lane sleeps for ever, in the kernel."""
    rig.manager()
    name = attach(rig, "t-stuck")
    client = Shell(rig, name)
    client.submit(17)
    verdict, _, answer = hang_and_time(rig, client, name)
    assert answer["outstanding"] == 0 and statuses(answer) == [-errno.EIO, 0], answer
    assert verdict < 1.1
    for r in rig.info(name)["recoveries"]:
        assert r["verdict"] == "hang" and r["silent_us"] + r["serving_us"] < 2000000
    assert client.end() == 0


def test_request_held_after_cancel(rig):
    """The lane is alive, but one request never comes back: overdue after the cancel, and a verdict."""
    rig.manager()
    name = attach(rig, "t-hold")
    client = Shell(rig, name)
    client.submit(17)
    client.submit(18)
    assert client.wait(0.3)["outstanding"] == 1
    pid = rig.row(name)["pid"]
    client.ask("cancel", 0)
    began = time.monotonic()
    answer = client.wait(10)
    took = time.monotonic() - began
    assert answer["outstanding"] == 0 and statuses(answer) == [-errno.ECANCELED, 0], answer
    row = rig.row(name)
    assert row["pid"] != pid and row["restarts"] == 1
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
    yield module("t-half", good[:len(good) // 2], "cut off")
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
