# SPDX-License-Identifier: MIT
"""Devices that are pulled out and come back, under clients that keep their handles."""

import errno
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import serial
from rig import Peer, Progress, kill_host, long
from test_torture import ECHO, KEEP, attach, one_line, statuses
from torture import CLOCK_TICK, Bystander, Shell, check_memory, cpu_ticks, inventory, settled

GONE = 24  # t-echo
BLOCK, SPAN = 4096, 256
SIZE = BLOCK * SPAN

pytestmark = pytest.mark.usefixtures("drivers_of_tests")


class Disk:
    """An NVMe controller that is plugged in at a place, and pulled out. Each block says which disk it is."""

    def __init__(self, rig, number=1, socket=None, *args, medium=True):
        self.rig = rig
        self.number = number
        self.socket = Path(socket or rig.rundir / "slot.sock")
        self.file = rig.rundir / f"disk{number}.img"
        if medium and not self.file.exists():
            self.file.write_bytes(number.to_bytes(8, "little").ljust(BLOCK, b"\0") * SPAN)
        self.control = self.socket.with_suffix(f".{number}.ctl")
        self.process = rig.start("auriga-lab", "nvme", "--socket", self.socket, "--control", self.control,
                                 "--backing", self.file if medium else "ram", "--size", SIZE, *args, ready=True)

    def pull(self):
        """At once, without a word."""
        self.rig.stop(self.process, signal.SIGKILL)

    def fault(self, spec):
        self.rig.run("auriga-lab", "nvme-fault", self.control, spec)

    def strangers(self):
        """Blocks that say that they are of another disk."""
        data = self.file.read_bytes()
        assert len(data) == SIZE
        mine = self.number.to_bytes(8, "little")
        return [i for i in range(SPAN) if data[i * BLOCK:i * BLOCK + 8] != mine]

    def written(self):
        """Blocks that were written since it was plugged in."""
        data = self.file.read_bytes()
        return sum(data[i * BLOCK + 8] == 0x5A for i in range(SPAN))


class Load:
    """tests/tools/generation_load."""

    def __init__(self, rig, unit, seconds=3600, depth=16):
        self.process = subprocess.Popen([rig.build / "tests/generation_load", unit, str(seconds), str(depth)],
                                        stdout=subprocess.PIPE, text=True)
        rig.children.append(self.process)
        self.rig = rig
        self.expect("open")

    def expect(self, word):
        line = self.process.stdout.readline()
        assert line.startswith(word), (word, line)

    def end(self):
        """What it has seen: each request ended, once."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        out = self.process.stdout.read()
        self.process.stdout.close()
        self.rig.children.remove(self.process)
        result = json.loads(out.splitlines()[-1])
        print(result)
        assert result["completed"] == result["submitted"] and result["left"] == 0, result
        assert result["twice"] == 0 and result["late"] == 0 and result["error"] == 0, result
        return result


def slot(rig):
    return f"vfio-user:{rig.rundir}/slot.sock"


def state(rig, name, wanted, seconds=10):
    rig.wait_for(lambda: rig.row(name)["state"] == wanted, seconds, wanted)


# ------------------------------------------------------------------- a handle lives on

def told(rig, client, what, count):
    """The client has heard of so many of these, and of no more."""
    answer = {}

    def heard():
        answer.update(client.wait(0))
        return answer[what] >= count
    rig.wait_for(heard, 5, f"{what} {count}")
    assert answer[what] == count, answer
    return answer


def test_handle_outlives_removal(rig):
    """What is outstanding ends once, what comes is refused, and the same handle serves the next device."""
    rig.manager()
    name = attach(rig, "t-echo")
    clients = [Shell(rig, name), Shell(rig, name)]
    for times in (1, 2):
        for c in clients:
            c.ask("forget")
            c.submit(KEEP, 8)
        clients[1].submit(GONE)
        for c in clients:
            answer = c.wait(5)
            assert answer["outstanding"] == 0
            assert statuses(answer)[:8] == [-errno.ENODEV] * 8
            told(rig, c, "gone", times)
        state(rig, name, "gone")
        info = rig.info(name)
        assert info["clients"] == 2 and info["removals"] == times and info["pid"] is None
        clients[0].wait(0)  # it hears of it as it polls
        refused = clients[0].ask("submit", ECHO, 1, 64, 0, 0)
        assert refused["rc"] == -errno.ENODEV and "removed" in refused["text"], refused
        rig.auriga("restart", name)
        for c in clients:
            answer = told(rig, c, "back", times)
            assert answer["gone"] == times and answer["generation"] == 1 + times, answer
            assert answer["restarts"] == 0, answer
            c.ask("forget")
            c.submit(ECHO, 32)
            answer = c.wait(5)
            assert statuses(answer) == [0] * 32 and all(r["right"] for r in answer["requests"])
    # And a death of the next one's host is as it was: they wait, and go on.
    kill_host(rig, name)
    for c in clients:
        c.ask("forget")
        c.submit(ECHO, 8)
        assert statuses(c.wait(10)) == [0] * 8
        assert c.wait(0)["restarts"] == 1
        assert c.end() == 0


def test_a_new_client_looks_for_it(rig):
    """Whoever opens it while it is away is told at once, and those who wait are not disturbed."""
    rig.manager()
    disk = Disk(rig)
    name = rig.auriga("attach", slot(rig)).stdout.strip()
    load = Load(rig, name)
    disk.pull()
    load.expect("gone")
    state(rig, name, "gone")
    began = time.monotonic()
    refused = rig.auriga("block", "info", name, check=False)
    assert refused.returncode == 1 and time.monotonic() - began < 5
    assert "slot.sock" in one_line(refused.stderr)
    assert rig.row(name)["state"] == "gone" and rig.info(name)["clients"] == 1
    Disk(rig, 2)
    load.expect("back")
    result = load.end()
    assert result["gone"] == result["back"] == 1


@pytest.mark.parametrize("cycles", [pytest.param(12, marks=pytest.mark.timeout(120)),
                                    pytest.param(500, marks=long(1800))])
def test_rapid_eject_and_insert(rig, cycles):
    """No request of one disk ever reaches the next: neither is one found on it, nor read from it."""
    manager = rig.manager()
    disk = Disk(rig)
    name = rig.auriga("attach", slot(rig)).stdout.strip()
    loads = [Load(rig, name), Load(rig, name, depth=64)]
    progress, used = Progress(), 0
    for n in range(2, cycles + 2):
        # All the time that there is, or none at all.
        if n % 4:
            rig.wait_for(lambda d=disk: d.written() > 8, 10, "writes")
        disk.pull()
        for load in loads:
            load.expect("gone")
        old, disk = disk, Disk(rig, n)
        for load in loads:
            load.expect("back")
        assert old.strangers() == [], f"disk {old.number} has blocks of another"
        used += old.written() > 0
        old.file.unlink()
        progress.say(f"{n - 1} of {cycles} removals")
    rig.wait_for(lambda: disk.written() > 8, 10, "writes")
    for load in loads:
        result = load.end()
        assert result["gone"] == result["back"] == cycles and result["foreign"] == 0, result
        assert result["errors"] == 0 and result["lost"] > 0 and result["of_this"] > 0, result
        print(f"{cycles} removals, at most {result['longest_ms']} ms from gone to back")
    assert disk.strangers() == [] and used > cycles / 2
    assert rig.info(name)["removals"] == cycles and rig.info(name)["restarts"] == 0
    assert manager.poll() is None


def test_lab_function_is_pulled_and_put_back(rig):
    """A UART, as QEMU has it: its client hears of both; another one talks through it."""
    manager = rig.manager()
    address, peers = rig.lab()
    name = rig.auriga("attach", address).stdout.strip()
    watch = rig.start("../tests/unit_load", name, "open", "60", ready=True)
    rig.run("auriga-lab", "fault", "lab0", "remove", lab_function(rig))
    assert watch.stdout.readline() == "gone: reason 0\n"
    state(rig, name, "gone")
    ticks = cpu_ticks(manager.pid)
    time.sleep(1)
    assert cpu_ticks(manager.pid) - ticks < 0.3 * CLOCK_TICK
    rig.run("auriga-lab", "fault", "lab0", "add", lab_function(rig))
    assert watch.stdout.readline() == "back: generation 2\n"
    assert rig.row(name)["state"] == "running"
    rig.start("auriga", "export", name, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(peers[0])
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=10) as port:
        port.write(b"again")
        assert peer.wait(5, 10) == b"again"
        peer.send(b"back")
        assert port.read(4) == b"back"
    peer.close()


def lab_function(rig):
    return json.loads(rig.run("auriga-lab", "ls", "--json").stdout)[0]["functions"][0]["id"]


def test_namespace_comes_back(rig):
    """The same for a unit: its neighbour does not notice."""
    rig.manager()
    disk = Disk(rig, 1, None, "--namespaces", "2", medium=False)
    name = rig.auriga("attach", slot(rig)).stdout.strip()
    loads = [Load(rig, f"{name}.{i}") for i in range(2)]
    disk.fault("remove=2")
    loads[1].expect("gone")
    disk.fault("add=2")
    loads[1].expect("back")
    time.sleep(0.3)
    result = loads[1].end()
    assert result["gone"] == result["back"] == 1 and result["of_this"] > 0 and result["errors"] == 0
    result = loads[0].end()
    assert result["gone"] == 0 and result["lost"] == result["errors"] == 0 and result["of_this"] > 0
    assert rig.row(f"{name}.0")["generation"] == 1


def test_another_kind_of_device(rig):
    """A disk was pulled out, a serial port is there: the name is the port's, and the disk's client is told."""
    rig.manager()
    disk = Disk(rig, 1, rig.rundir / "nvme.sock")
    place = rig.rundir / "slot.sock"
    place.symlink_to(disk.socket)
    name = rig.auriga("attach", "--name", "slot0", f"vfio-user:{place}").stdout.strip()
    load = Load(rig, name)
    disk.pull()
    load.expect("gone")
    place.unlink()
    address, _ = rig.lab()
    place.symlink_to(address.split(":", 1)[1])
    state(rig, name, "running")
    assert rig.row(name)["class"] == "serial" and rig.row(name)["driver"] == "uart16550"
    assert load.process.wait(10) == 0
    result = json.loads(load.process.stdout.read().splitlines()[-1])
    load.process.stdout.close()
    rig.children.remove(load.process)
    assert result["error"] == -errno.ENODEV and result["back"] == 0 and result["left"] == 0


# ------------------------------------------------------------------------ insertion

def test_configured_device_comes(rig):
    """A file describes it, and it is not there, nor is the directory: it is started when it is."""
    place = rig.rundir / "later/on/slot.sock"
    config = rig.rundir / "etc/devices.d"
    config.mkdir(parents=True)
    (config / "later.conf").write_text(f"[device]\nname = later0\naddress = vfio-user:{place}\n")
    manager = rig.manager("--config", rig.rundir / "etc")
    state(rig, "later0", "configured")
    ticks = cpu_ticks(manager.pid)
    time.sleep(1)
    assert cpu_ticks(manager.pid) - ticks < 0.3 * CLOCK_TICK
    place.parent.mkdir(parents=True)
    Disk(rig, 1, place)
    began = time.monotonic()
    state(rig, "later0", "running", 5)
    print(f"running {1e3 * (time.monotonic() - began):.0f} ms after it was plugged in")
    assert rig.row("later0")["driver"] == "nvme"
    load = Load(rig, "later0")
    time.sleep(0.2)
    assert load.end()["foreign"] == 0


# ---------------------------------------------------------------- the manager's own death

def test_manager_dies_while_it_is_away(rig):
    """The next one goes on looking for it, and its clients find it."""
    manager = rig.manager()
    disk = Disk(rig)
    name = rig.auriga("attach", slot(rig)).stdout.strip()
    load = Load(rig, name)
    disk.pull()
    load.expect("gone")
    state(rig, name, "gone")
    rig.stop(manager, signal.SIGKILL)
    rig.manager()
    assert rig.row(name)["state"] == "gone" and rig.info(name)["removals"] == 1
    disk = Disk(rig, 2)
    load.expect("back")
    rig.wait_for(lambda: disk.written() > 8, 10, "writes")
    result = load.end()
    assert result["gone"] == result["back"] == 1 and result["foreign"] == 0, result
    assert disk.strangers() == []


def test_pulled_out_while_there_is_no_manager(rig):
    """Another disk is there when the next one comes: what was meant for the first does not reach it."""
    manager = rig.manager()
    disk = Disk(rig)
    name = rig.auriga("attach", slot(rig)).stdout.strip()
    load = Load(rig, name)
    rig.wait_for(lambda: disk.written() > 8, 10, "writes")
    rig.stop(manager, signal.SIGKILL)
    disk.pull()
    old, disk = disk, Disk(rig, 2)
    time.sleep(0.3)
    rig.manager()
    load.expect("gone")
    load.expect("back")
    rig.wait_for(lambda: disk.written() > 8, 10, "writes")
    result = load.end()
    assert result["foreign"] == 0 and result["errors"] == 0, result
    assert disk.strangers() == [] and old.strangers() == []


# ------------------------------------------------------------------- orderly removal

def test_detach_is_vetoed_by_who_has_it_open(rig):
    rig.manager()
    name = attach(rig, "t-echo")
    client = Shell(rig, name)
    client.submit(KEEP, 4)
    said = one_line(rig.auriga("detach", name, check=False).stderr)
    assert f"open by 1 client, raw_shell ({client.pid})" in said and "--force" in said, said
    assert client.wait(0.1)["outstanding"] == 4 and rig.row(name)["state"] == "running"
    client.ask("cancel", 0)
    rig.auriga("detach", "--force", name)
    assert statuses(client.wait(5))[1:] == [-errno.ENODEV] * 3
    assert client.end() == 0


def test_detach_drains(rig):
    """What was submitted ends as it would have, what comes meanwhile is refused, and then it is detached."""
    rig.manager()
    name = attach(rig, "t-poison", "delay=1", "hold=700")
    client, late = Shell(rig, name), Shell(rig, name)
    client.submit(ECHO, 8)
    began = time.monotonic()
    detach = rig.start("auriga", "detach", "--drain=20", name)
    rig.wait_for(lambda: "is being detached" in rig.log(), 5, "the drain")
    late.ask("submit", ECHO, 1, 64, 0, 0)
    assert statuses(late.wait(5)) == [-errno.ENODEV]
    assert time.monotonic() - began < 0.6, "before the others have ended"
    opened = rig.run("../tests/unit_load", name, "open", "1", check=False)
    assert opened.returncode == 1 and "being detached" in opened.stdout
    answer = client.wait(10)
    assert statuses(answer) == [0] * 8 and all(r["right"] for r in answer["requests"])
    assert detach.wait(10) == 0 and time.monotonic() - began < 5
    assert name not in rig.auriga("ls").stdout
    assert client.end() == 0 and late.end() == 0


def test_detach_drains_for_so_long(rig):
    """What does not end in time ends with the device."""
    rig.manager()
    name = attach(rig, "t-echo")
    client = Shell(rig, name)
    client.submit(KEEP, 4)
    began = time.monotonic()
    rig.auriga("detach", "--drain=0.5", name)
    assert 0.4 < time.monotonic() - began < 5
    assert statuses(client.wait(5)) == [-errno.ENODEV] * 4
    assert rig.auriga("detach", "--drain=x", "any", check=False).returncode == 2
    assert "from 0 to 40" in one_line(rig.auriga("detach", "--drain=41", attach(rig, "t-echo"), check=False).stderr)
    assert client.end() == 0


def test_detached_while_it_is_away(rig):
    """Who waits for it hears that it will not come back."""
    rig.manager()
    name = attach(rig, "t-echo")
    client, other = Shell(rig, name), Shell(rig, name)
    other.submit(GONE)
    other.wait(5)
    told(rig, client, "gone", 1)
    state(rig, name, "gone")
    client.tell("quiet")
    rig.auriga("detach", "--force", name)
    answer = json.loads(client.process.stdout.readline())
    assert answer["rc"] == -errno.ENODEV and "detached" in answer["text"], answer
    assert client.end() == 0 and other.end() == 0


# ------------------------------------------------------------------------ rebalance

@pytest.mark.parametrize("change", ["same", "other"])
def test_restart_with_other_resources(rig, change):
    """Stopped and started with what is there then: its clients wait a moment, and notice nothing else."""
    rig.manager()
    disk = Disk(rig, 1, rig.rundir / "a.sock", "--queues", "4")
    place = rig.rundir / "slot.sock"
    place.symlink_to(disk.socket)
    name = rig.auriga("attach", "--name", "disk0", f"vfio-user:{place}", "--param", "lanes=2").stdout.strip()
    load = Load(rig, name, depth=32)
    for n in range(4):
        if change == "other":
            # As many interrupts and doorbells, then fewer, then more; over the same medium.
            other = Disk(rig, 1, rig.rundir / f"b{n}.sock", "--queues", str(1 + n % 3 * 2))
            new = rig.rundir / "new"
            new.symlink_to(other.socket)
            os.rename(new, place)
        rig.auriga("restart", name)
        done = load_count(rig, name)
        rig.wait_for(lambda d=done: load_count(rig, name) > d + 200, 10, "progress")
    result = load.end()
    assert result["restarts"] == 4 and result["gone"] == result["lost"] == result["errors"] == 0, result
    assert result["foreign"] == 0 and disk.strangers() == []


def load_count(rig, name):
    return rig.info(name)["completed"]


def test_restart_that_fails(rig):
    """It was well, and cannot be started again as it is: its clients hear ENODEV, once; when it can, it is back."""
    rig.manager()
    disk = Disk(rig)
    name = rig.auriga("attach", slot(rig), "--param", "timeout-ms=100").stdout.strip()
    load = Load(rig, name)
    disk.fault("never-ready")
    rig.auriga("restart", name, check=False)
    load.expect("gone")
    assert rig.row(name)["state"] in ("gone", "starting")
    disk.fault("clear")
    load.expect("back")
    time.sleep(0.3)
    result = load.end()
    assert result["gone"] == result["back"] == 1 and result["errors"] == 0 and result["of_this"] > 0, result


# ------------------------------------------------------------------------ what is left

@pytest.mark.parametrize("cycles", [pytest.param(60, marks=pytest.mark.timeout(240)),
                                    pytest.param(1000, marks=long(2400))])
def test_load_and_unload_leave_nothing(rig, cycles):
    """A driver that is unloaded when nobody has it open, and loaded by the next open."""
    manager = rig.manager("--no-standby")
    bystander = Bystander(rig, attach(rig, "t-echo"))
    name = rig.auriga("attach", "--driver", "t-echo", "--policy", "idle=0.02", "virtual").stdout.strip()
    progress = Progress()

    def cycle():
        client = Shell(rig, name)
        client.submit(ECHO, 8)
        assert statuses(client.wait(5)) == [0] * 8
        assert client.end() == 0
        rig.wait_for(lambda: rig.row(name)["state"] == "idle", 5, "unloaded")

    for _ in range(10):
        cycle()
    before = inventory(rig, manager)
    for i in range(cycles):
        cycle()
        progress.say(f"{i} of {cycles} cycles")
    after = settled(rig, manager, before)
    print(f"{cycles} cycles: {check_memory(before, after)}")
    assert rig.row(name)["generation"] >= cycles + 10 and rig.row(name)["restarts"] == 0
    bystander.check()
    bystander.end()


@pytest.mark.parametrize("seconds", [pytest.param(4, marks=pytest.mark.timeout(90)),
                                     pytest.param(120, marks=long(400))])
def test_opens_while_it_comes_and_goes(rig, seconds):
    """Opens and closes all the time, while it is restarted, pulled out, detached and attached."""
    manager = rig.manager()
    bystander = Bystander(rig, attach(rig, "t-echo"))
    attach(rig, "t-echo", name="door")
    before = inventory(rig, manager)
    script = 'while :; do "$0" door op 0 4 >/dev/null 2>&1; done'
    storms = [subprocess.Popen(["bash", "-c", script, rig.build / "tests/unit_load"], start_new_session=True)
              for _ in range(3)]
    served, end, i = 0, time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            if i % 3 == 0:
                rig.auriga("restart", "door", check=False)
            elif i % 3 == 1:
                rig.run("../tests/unit_load", "door", "op", str(GONE - ECHO), "1", check=False)
            else:
                rig.auriga("detach", "--force", "door", check=False)
                attach(rig, "t-echo", name="door")
            done = rig.run("../tests/unit_load", "door", "op", "0", "4", check=False)
            served += done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["completed"] == 4
            i += 1
    finally:
        for storm in storms:
            os.killpg(storm.pid, signal.SIGKILL)
            storm.wait()
    print(f"{i} changes, {served} times served in between")
    assert i > seconds and served > i / 2
    rig.auriga("detach", "--force", "door")
    attach(rig, "t-echo", name="door")
    settled(rig, manager, before)
    bystander.check()
    bystander.end()
