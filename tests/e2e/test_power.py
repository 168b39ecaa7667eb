# SPDX-License-Identifier: MIT
"""Power: devices that go to D3 and come back, and the system that is suspended and resumed."""

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter

import pytest

from crowd import Watch
from disk import bench, load
from rig import Progress, kill_host, long
from torture import Shell

pytestmark = pytest.mark.usefixtures("drivers_of_tests")

ECHO, KEEP, HANG = 16, 17, 23
STUBBORN, RELEASE = 17, 19  # of t-hold
SLOW_EXIT, SLOW_ENTRY, FAIL_ENTRY, CRASH_ENTRY, CRASH_EXIT, COUNT = range(17, 23)  # of t-sleepy
BUDGET = 2.0  # seconds that a device has for its way down


@pytest.fixture(name="managed")
def fixture_managed(rig):
    rig.manager("--idle", "30")
    return rig


def attach(rig, driver="t-echo", name="raw0", *options):
    rig.auriga("attach", "virtual", "--driver", driver, "--name", name, *options)
    return name


def power(rig, name):
    return json.loads(rig.auriga("power", "--json", name).stdout)


def system(rig, what):
    """Suspend or resume: what became of each device, by name; and the seconds that it took, by the
    manager's clock, which is to be at most so many on a machine that has time."""
    watch = Watch()
    report = json.loads(rig.auriga("power", "--json", what).stdout)
    crowd = time.monotonic() - watch.began - watch.took()
    assert report["suspended"] == (what == "suspend")
    assert report["took_ms"] / 1000 < BUDGET + 1.5 + crowd, report
    return {d["name"]: d for d in report["devices"]}, report["took_ms"] / 1000


def said(rig, *args):
    """The one line with which it is refused."""
    done = rig.auriga(*args, check=False)
    assert done.returncode != 0 and done.stderr.count("\n") == 1, done
    return done.stderr


# ------------------------------------------------------------------- one device


@pytest.mark.sanitize
def test_down_and_up_again_with_the_next_request(managed):
    name = attach(managed)
    fresh = power(managed, name)
    assert fresh["state"] == "d0" and fresh["idle"] == 0 and fresh["ups"] == fresh["downs"] == 0
    shell = Shell(managed, name)
    for i in range(1, 6):
        managed.auriga("power", name, "d3")
        down = power(managed, name)
        assert (down["state"], down["downs"], down["ups"]) == ("d3", i, i - 1)
        assert managed.row(name)["power"] == "d3" and managed.row(name)["state"] == "running"
        shell.submit(ECHO)
        answer = shell.wait(5)
        assert answer["outstanding"] == 0
        assert all(r["status"] == 0 and r["right"] for r in answer["requests"])
        up = power(managed, name)
        assert (up["state"], up["downs"], up["ups"]) == ("d0", i, i)
    assert answer["generation"] == 1 and managed.row(name)["restarts"] == 0
    managed.auriga("power", name, "cycle")
    assert power(managed, name)["ups"] == 6
    managed.auriga("power", name, "d3")
    managed.auriga("power", name, "d0")
    assert power(managed, name)["state"] == "d0"
    states = " ".join(managed.info(name)["host"]["history"])
    assert "d3" in states


def test_idle_time(managed):
    name = attach(managed, "t-echo", "raw0", "--policy", "power_idle=200ms")
    assert power(managed, name)["idle"] == 0.2
    client = load_raw(managed, name, 1.0)
    client.wait(20)
    busy = power(managed, name)
    managed.wait_for(lambda: power(managed, name)["state"] == "d3", 5, "D3")
    assert busy["downs"] <= 1, "not while it had something to do"
    # Said at run time; what a new manager finds is what was said last.
    managed.auriga("power", name, "--idle", "off")
    assert power(managed, name)["idle"] == 0
    managed.wait_for(lambda: power(managed, name)["state"] == "d0", 5, "D0")
    managed.auriga("power", name, "--idle", "100ms")
    managed.wait_for(lambda: power(managed, name)["state"] == "d3", 5, "D3 again")
    pid = managed.row(name)["pid"]
    managed.stop(managed.managers[-1], signal.SIGKILL)
    managed.manager("--idle", "30")
    managed.wait_for(lambda: managed.row(name)["state"] == "running", 10, "adoption")
    assert managed.row(name)["pid"] == pid
    taken = power(managed, name)
    assert taken["idle"] == 0.1 and taken["state"] == "d3"
    # The next host is told, too.
    os.kill(pid, signal.SIGKILL)
    managed.wait_for(lambda: managed.row(name)["pid"] not in (None, pid), 10, "a new host")
    managed.wait_for(lambda: power(managed, name)["state"] == "d3", 10, "D3 in the next host")
    assert power(managed, name)["downs"] > taken["downs"], "counted over all hosts"


def load_raw(rig, name, seconds, depth=4):
    child = subprocess.Popen([rig.build / "tests/unit_load", name, "load", str(seconds), str(depth)],
                             stdout=subprocess.PIPE, text=True)
    rig.children.append(child)
    assert child.stdout.readline() == "open\n"
    return child


def test_what_is_refused(managed):
    name = attach(managed)
    assert "d0, d3 or cycle" in said(managed, "power", name, "d4")
    assert "2s" in said(managed, "power", name, "--idle", "soon")
    assert "no device" in said(managed, "power", "raw9", "d3")
    attach(managed, "t-echo", "broken", "--policy", "idle=0.1")
    shell = Shell(managed, "broken")
    shell.end()
    managed.wait_for(lambda: managed.row("broken")["state"] == "idle", 10, "unloaded")
    assert "only a device that runs" in said(managed, "power", "broken", "d3")
    assert power(managed, "broken")["state"] == "off"
    assert "cannot need itself" in said(managed, "attach", "--driver", "t-echo", "--name", "a",
                                        "--needs", "b,a", "virtual")
    attach(managed, "t-echo", "a", "--needs", "b")
    attach(managed, "t-echo", "b", "--needs", "c")
    assert "c needs a" in said(managed, "attach", "--driver", "t-echo", "--name", "c",
                               "--needs", "a", "virtual")
    assert managed.auriga("power", "suspend", "now", check=False).returncode == 2
    assert managed.auriga("power", check=False).returncode == 2


def test_an_open_serial_port_stays_up(managed):
    name = attach(managed, "serial-loop", "serial0")
    managed.auriga("power", name, "--idle", "100ms")
    managed.wait_for(lambda: power(managed, name)["state"] == "d3", 5, "D3")
    shell = Shell(managed, name)
    managed.wait_for(lambda: power(managed, name)["state"] == "d0", 5, "D0")
    time.sleep(0.5)
    open_now = power(managed, name)
    assert open_now["state"] == "d0" and open_now["ups"] == 1
    assert {"tag": "open", "count": 1} in open_now["references"] and "open" in open_now["why"]
    assert "kept in D0" in said(managed, "power", name, "d3")
    # The system's sleep asks nobody.
    assert system(managed, "suspend")[0][name]["result"] == "suspended"
    assert system(managed, "resume")[0][name]["state"] == "d0"
    shell.end()
    managed.wait_for(lambda: power(managed, name)["state"] == "d3", 5, "D3 again")


def test_metrics(managed):
    name = attach(managed)
    managed.auriga("power", name, "cycle")
    managed.auriga("power", name, "d3")
    text = subprocess.run(["curl", "-s", "--unix-socket", managed.rundir / "control.sock",
                           "http://auriga/metrics"], check=True, capture_output=True, text=True,
                          timeout=10).stdout
    for line in ('auriga_device_d0{device="raw0",driver="t-echo"} 0',
                 'auriga_power_ups_total{device="raw0",driver="t-echo"} 1',
                 'auriga_power_downs_total{device="raw0",driver="t-echo"} 2',
                 "auriga_system_suspended 0"):
        assert line + "\n" in text


# -------------------------------------------------------------------- the system


@pytest.mark.sanitize
def test_suspend_and_resume_keep_requests(managed):
    """What is outstanding and what comes meanwhile ends after resume, in the same host."""
    name = attach(managed)
    shell = Shell(managed, name)
    for _ in range(5):
        devices, _ = system(managed, "suspend")
        assert devices[name]["result"] == "suspended" and devices[name]["state"] == "suspended"
        assert managed.row(name)["state"] == "suspended"
        shell.submit(ECHO, 8)
        assert shell.wait(0.3)["outstanding"] == 8
        assert "power resume" in said(managed, "power", name, "d0")
        devices, _ = system(managed, "resume")
        assert devices[name]["result"] == "resumed"
        answer = shell.wait(5)
        assert answer["outstanding"] == 0
        assert all(r["status"] == 0 and r["right"] for r in answer["requests"])
        shell.ask("forget")
    assert answer["generation"] == 1 and answer["downs"] == 0
    # Once more than needed is no mistake.
    system(managed, "resume")
    system(managed, "suspend")
    assert system(managed, "suspend")[0][name]["result"] == "suspended"
    system(managed, "resume")


def test_in_the_order_of_needs(managed):
    """c needs b, which needs a; d stands alone."""
    attach(managed, "t-echo", "c", "--needs", "b")
    attach(managed, "t-echo", "a")
    attach(managed, "t-echo", "b", "--needs", "a, nobody")
    attach(managed, "t-hold", "d")
    # What takes longest is on the way of nobody else.
    shell = Shell(managed, "d")
    shell.submit(STUBBORN)
    shell.wait(0.2)
    devices, _ = system(managed, "suspend")
    assert devices["c"]["ended_ms"] <= devices["b"]["began_ms"]
    assert devices["b"]["ended_ms"] <= devices["a"]["began_ms"]
    assert devices["a"]["ended_ms"] < BUDGET * 1000 <= devices["d"]["ended_ms"]
    devices, _ = system(managed, "resume")
    assert devices["a"]["ended_ms"] <= devices["b"]["began_ms"]
    assert devices["b"]["ended_ms"] <= devices["c"]["began_ms"]


def stubborn(rig, name):
    """A driver that does not let go of what it has."""
    attach(rig, "t-hold", name)
    shell = Shell(rig, name)
    shell.submit(STUBBORN, 3)
    shell.wait(0.2)
    return shell


@pytest.mark.sanitize
def test_a_driver_that_does_not_answer_holds_nothing_up(managed):
    good, shell = attach(managed), stubborn(managed, "stuck")
    devices, _ = system(managed, "suspend")
    assert devices[good]["result"] == "suspended"
    assert devices["stuck"]["result"].startswith("killed: it did not suspend within 2000 ms")
    row = managed.row("stuck")
    assert row["state"] == "waiting" and row["pid"] is None
    assert managed.row(good)["restarts"] == 0
    answer = shell.wait(0.3)
    assert answer["outstanding"] == 3 and answer["downs"] == 1
    # Back at resume, with the requests that it had; and charged as a hang.
    devices, _ = system(managed, "resume")
    assert devices["stuck"]["result"] == "started", devices
    shell.submit(RELEASE)
    answer = shell.wait(10)
    assert answer["outstanding"] == 0 and answer["generation"] == 2
    assert [r["status"] for r in answer["requests"]] == [0, 0, 0, 0]
    info = managed.info("stuck")
    assert info["deaths"]["hang"] == 1 and info["restarts"] == 1 and info["budget"]["tokens"] == 4


@pytest.mark.parametrize("how", ["hang", "stop"])
def test_a_host_that_is_dead_in_all_but_name(managed, how):
    good, bad = attach(managed), attach(managed, "t-echo", "bad")
    shell = Shell(managed, bad)
    if how == "hang":
        shell.submit(HANG)
        shell.wait(0.1)
    else:
        os.kill(managed.row(bad)["pid"], signal.SIGSTOP)
    devices, _ = system(managed, "suspend")
    assert devices[good]["result"] == "suspended" and devices[bad]["result"].startswith("killed")
    system(managed, "resume")
    managed.wait_for(lambda: managed.row(bad)["state"] == "running", 10, "service")
    shell.submit(ECHO)
    answer = shell.wait(15)
    assert answer["outstanding"] == 0 and answer["requests"][-1]["status"] == 0


def sleepy(rig, *ops):
    attach(rig, "t-sleepy", "sleepy")
    shell = Shell(rig, "sleepy")
    for op, arg in ops:
        shell.submit(op, 1, 0, arg)
    assert shell.wait(5)["outstanding"] == 0
    shell.ask("forget")
    return shell


def echoes(shell, count=4):
    """It is served, and rightly."""
    shell.submit(ECHO, count)
    answer = shell.wait(15)
    assert answer["outstanding"] == 0
    assert all(r["status"] == 0 and r["right"] for r in answer["requests"])
    shell.ask("forget")
    return answer


def test_a_slow_driver_has_its_time(managed):
    shell = sleepy(managed, (SLOW_EXIT, 1000), (SLOW_ENTRY, 1000))
    devices, seconds = system(managed, "suspend")
    assert devices["sleepy"]["result"] == "suspended" and seconds >= 1
    assert power(managed, "sleepy")["exit_us"] >= 1000000
    devices, seconds = system(managed, "resume")
    assert devices["sleepy"]["result"] == "resumed" and seconds >= 1
    assert power(managed, "sleepy")["entry_us"] >= 1000000
    assert echoes(shell)["generation"] == 1
    shell.submit(COUNT)
    assert shell.wait(5)["requests"][0]["result"] == 1


def test_a_driver_that_is_too_slow_to_suspend(managed):
    shell = sleepy(managed, (SLOW_EXIT, 10000))
    devices, seconds = system(managed, "suspend")
    assert devices["sleepy"]["result"].startswith("killed") and seconds >= BUDGET
    assert system(managed, "resume")[0]["sleepy"]["result"] == "started"
    assert echoes(shell)["generation"] == 2


def test_a_driver_that_is_too_slow_to_resume(managed):
    shell = sleepy(managed, (SLOW_ENTRY, 20000))
    system(managed, "suspend")
    devices, seconds = system(managed, "resume")
    assert "not up within" in devices["sleepy"]["result"]
    assert seconds >= BUDGET
    assert echoes(shell)["generation"] == 2
    assert managed.info("sleepy")["deaths"]["hang"] == 1


@pytest.mark.parametrize("op, death", [(FAIL_ENTRY, "exit"), (CRASH_ENTRY, "crash")])
@pytest.mark.parametrize("by", ["resume", "request"])
def test_a_driver_that_does_not_wake_up(managed, op, death, by):
    """It has a new life, and its clients' requests with it."""
    shell = sleepy(managed, (op, 0))
    if by == "resume":
        system(managed, "suspend")
        shell.submit(ECHO, 4)
        assert system(managed, "resume")[0]["sleepy"]["result"] == "started"
        answer = shell.wait(15)
        assert answer["outstanding"] == 0 and all(r["right"] for r in answer["requests"])
    else:
        managed.auriga("power", "sleepy", "d3")
        answer = echoes(shell)
    assert answer["generation"] == 2
    assert managed.info("sleepy")["deaths"][death] == 1


def test_a_driver_that_crashes_on_its_way_down(managed):
    good, shell = attach(managed), sleepy(managed, (CRASH_EXIT, 0))
    devices, seconds = system(managed, "suspend")
    assert devices["sleepy"]["result"] == "its host ended" and seconds < BUDGET
    assert devices[good]["result"] == "suspended"
    assert managed.row("sleepy")["state"] == "waiting"
    system(managed, "resume")
    assert echoes(shell)["generation"] == 2
    # By command: the command fails, and says why; the device goes on.
    shell.submit(CRASH_EXIT, 1, 0)
    shell.wait(5)
    assert "crashed" in said(managed, "power", "sleepy", "d3")
    shell.ask("forget")
    assert echoes(shell)["generation"] == 3


@pytest.mark.sanitize
def test_whatever_is_to_be_started_waits_for_resume(managed):
    unloaded = attach(managed, "t-echo", "unloaded", "--policy", "idle=0.1")
    Shell(managed, unloaded).end()
    managed.wait_for(lambda: managed.row(unloaded)["state"] == "idle", 10, "unloaded")
    victim = attach(managed, "t-echo", "victim")
    held = Shell(managed, victim)
    system(managed, "suspend")
    opened = Shell(managed)
    opened.tell("open", unloaded)
    comes = managed.start("auriga", "attach", "virtual", "--driver", "t-echo", "--name", "comes")
    restarted = managed.start("auriga", "restart", attach_later(managed))
    held.submit(ECHO, 3)
    kill_host(managed, victim)
    for name in (unloaded, "comes", victim):
        managed.wait_for(lambda name=name: managed.row(name)["state"] == "waiting", 5, name)
        assert managed.row(name)["pid"] is None
    time.sleep(0.5)
    assert comes.poll() is None and restarted.poll() is None
    assert managed.row(victim)["state"] == "waiting"
    devices, _ = system(managed, "resume")
    assert {devices[n]["result"] for n in (unloaded, "comes", victim)} == {"started"}
    assert json.loads(opened.process.stdout.readline())["rc"] == 0
    assert comes.wait(20) == 0 and restarted.wait(20) == 0
    answer = held.wait(10)
    assert answer["outstanding"] == 0 and [r["status"] for r in answer["requests"]] == [0, 0, 0]
    assert answer["generation"] == 2


def attach_later(rig):
    """One that is suspended like all others."""
    row = next(r for r in json.loads(rig.auriga("ls", "--json").stdout) if r["state"] == "suspended")
    return row["name"]


def test_one_that_is_removed_while_suspended(managed):
    name = attach(managed)
    system(managed, "suspend")
    managed.auriga("detach", name)
    system(managed, "resume")
    assert json.loads(managed.auriga("ls", "--json").stdout) == []


def test_the_managers_death_while_suspended(managed):
    name, shell = attach(managed), None
    pid = managed.row(name)["pid"]
    shell = Shell(managed, name)
    system(managed, "suspend")
    shell.submit(ECHO, 4)
    managed.stop(managed.managers[-1], signal.SIGKILL)
    managed.manager("--idle", "30")
    managed.wait_for(lambda: managed.row(name)["state"] == "suspended", 10, "still suspended")
    assert managed.row(name)["pid"] == pid
    assert shell.wait(0.5)["outstanding"] == 4
    devices, _ = system(managed, "resume")
    assert devices[name]["result"] == "resumed"
    answer = shell.wait(5)
    assert answer["outstanding"] == 0 and answer["generation"] == 1
    assert all(r["status"] == 0 and r["right"] for r in answer["requests"])
    # And not any more after that.
    managed.stop(managed.managers[-1], signal.SIGKILL)
    managed.manager("--idle", "30")
    managed.wait_for(lambda: managed.row(name)["state"] == "running", 10, "running")
    assert power(managed, name)["state"] == "d0"


@pytest.mark.sanitize
def test_the_managers_death_on_the_way_down(managed):
    """One device is down, the other is not: the next manager goes on with it."""
    name, shell = attach(managed), stubborn(managed, "stuck")
    pid = managed.row("stuck")["pid"]
    asked = managed.start("auriga", "power", "suspend", stderr=subprocess.DEVNULL)
    managed.wait_for(lambda: power(managed, name)["state"] == "suspended", 5, "one of them")
    managed.stop(managed.managers[-1], signal.SIGKILL)
    asked.wait(10)
    managed.manager("--idle", "30")
    managed.wait_for(lambda: managed.row(name)["state"] == "suspended", 10, "still suspended")
    managed.wait_for(lambda: managed.row("stuck")["state"] == "waiting", 10, "the other one")
    assert managed.row("stuck")["pid"] != pid
    system(managed, "resume")
    managed.wait_for(lambda: managed.row("stuck")["state"] == "running", 10, "service")
    shell.submit(RELEASE)
    answer = shell.wait(10)
    assert answer["outstanding"] == 0 and {r["status"] for r in answer["requests"]} == {0}
    assert power(managed, name)["state"] == "d0"


def test_resume_in_the_middle_of_suspend(managed):
    name, shell = attach(managed), stubborn(managed, "stuck")
    asked = managed.start("auriga", "power", "suspend", stderr=subprocess.PIPE)
    managed.wait_for(lambda: power(managed, name)["state"] == "suspended", 5, "one of them")
    devices, _ = system(managed, "resume")
    assert devices[name]["result"] == "resumed" and devices["stuck"]["result"] == "started"
    assert asked.wait(10) == 1 and "resumed meanwhile" in asked.stderr.read()
    asked.stderr.close()
    shell.submit(RELEASE)
    assert shell.wait(10)["outstanding"] == 0


def test_the_hook_of_systemd_sleep(managed, tmp_path):
    name = attach(managed)
    hook = (managed.build / "data/auriga").read_text(encoding="utf-8")
    assert "/bin/auriga power suspend" in hook and "/bin/auriga power resume" in hook
    path = tmp_path / "hook"
    path.write_text(re.sub(r"exec \S+/auriga", f"exec {managed.build}/bin/auriga", hook),
                    encoding="utf-8")
    for when, what in (("pre", "suspended"), ("post", "running"), ("nonsense", "running")):
        subprocess.run(["sh", path, when, "suspend"], check=True, capture_output=True, timeout=20)
        assert managed.row(name)["state"] == what
    # Where no manager is, nothing is to be done.
    managed.stop(managed.managers[-1])
    done = subprocess.run(["sh", path, "pre", "suspend"], check=True, capture_output=True,
                          timeout=20)
    assert not done.stderr


# ------------------------------------------------------------------- hardware


@pytest.fixture(name="nvme")
def fixture_nvme(managed, start):
    """The rig, with a disk on the lab's controller."""
    controller = start("--size", "16M")
    managed.auriga("attach", f"vfio-user:{controller.path}", "--name", "disk0")
    return managed


def check(result):
    assert result["errors"] == 0 and result["mismatches"] == 0 and result["ios"] > 0, result


def cycles(rig, over, change):
    """change() again and again until over is set: how often."""
    count = 0
    while not over.is_set():
        change()
        count += 1
    return count


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=long(240))])
@pytest.mark.parametrize("what", ["cycle", "suspend"])
def test_cycles_under_io(nvme, what, seconds):
    """A disk that is read and written all the time, each block checked."""
    over, counted = threading.Event(), []

    def change():
        if what == "cycle":
            nvme.auriga("power", "disk0", "cycle")
        else:
            assert system(nvme, "suspend")[0]["disk0"]["result"] == "suspended"
            assert system(nvme, "resume")[0]["disk0"]["result"] == "resumed"
        time.sleep(0.02)
    thread = threading.Thread(target=lambda: counted.append(cycles(nvme, over, change)))
    thread.start()
    try:
        result = bench(nvme, "disk0", "--rw", "mixed", "--verify", "--qd", "16", "--time", seconds,
                       seconds=seconds + 40)
    finally:
        over.set()
        thread.join(30)
    check(result)
    assert counted and counted[0] >= seconds, "it went up and down all the time"
    info = power(nvme, "disk0")
    assert info["ups"] >= counted[0] and info["downs"] >= counted[0]
    assert nvme.row("disk0")["restarts"] == 0, nvme.log()


def test_sleep_at_short_notice(managed, start):
    """With a millisecond for it: suspended or killed, the data are right."""
    controller = start("--size", "16M")
    managed.auriga("attach", f"vfio-user:{controller.path}", "--name", "disk0", "--policy",
                   "suspend_timeout=1")
    over, results = threading.Event(), []

    def change():
        results.append(system(managed, "suspend")[0]["disk0"]["result"])
        system(managed, "resume")
        managed.wait_for(lambda: managed.row("disk0")["state"] == "running", 20, "service")
        time.sleep(1.5)  # the budget is earned by service
    thread = threading.Thread(target=lambda: cycles(managed, over, change))
    thread.start()
    try:
        result = bench(managed, "disk0", "--rw", "mixed", "--verify", "--qd", "16", "--time", "6",
                       seconds=60)
    finally:
        over.set()
        thread.join(40)
    check(result)
    assert len(results) >= 3


@pytest.mark.parametrize("seconds", [8, pytest.param(120, marks=long(400))])
def test_sleep_among_everything_else(nvme, seconds):
    """Suspend, resume, restart, power by hand, kill, attach and detach, in any order, under I/O."""
    seed = int(os.environ.get("AURIGA_SEED", time.time()))
    rng = random.Random(seed)
    print(f"AURIGA_SEED={seed}")
    over, done = threading.Event(), Counter()
    steps = {
        "suspend": lambda: nvme.auriga("power", "suspend", check=False),
        "resume": lambda: nvme.auriga("power", "resume", check=False),
        "cycle": lambda: nvme.auriga("power", "disk0", "cycle", check=False),
        "d3": lambda: nvme.auriga("power", "disk0", "d3", check=False),
        "attach": lambda: nvme.auriga("attach", "virtual", "--driver", "ram", "--name", "other",
                                      "--needs", "disk0", check=False, timeout=60),
        "detach": lambda: nvme.auriga("detach", "other", check=False),
        "kill": lambda: kill_host(nvme, "disk0"),
        "restart": lambda: nvme.auriga("restart", "disk0", check=False, timeout=60),
    }
    # These wait for resume: only where there is none to wait for.
    waiting = ("attach", "restart")

    def change():
        name = rng.choice(list(steps))
        if name in waiting:
            nvme.auriga("power", "resume")
        steps[name]()
        done[name] += 1
        time.sleep(rng.random() * 0.2)

    def play():
        cycles(nvme, over, change)
        nvme.auriga("power", "resume")
    thread = threading.Thread(target=play)
    thread.start()
    try:
        result = bench(nvme, "disk0", "--rw", "mixed", "--verify", "--qd", "16", "--time", seconds,
                       seconds=seconds + 60)
    finally:
        over.set()
        thread.join(60)
    check(result)
    assert sum(done.values()) >= seconds and not thread.is_alive(), done
    nvme.wait_for(lambda: nvme.row("disk0")["state"] == "running", 20, "service")
    deaths = nvme.info("disk0")["deaths"]
    assert deaths["crash"] == deaths["protocol"] == deaths["start"] == 0, nvme.log()


def race(rig, name, count, idle_us, spread_us, seed):
    child = subprocess.Popen([rig.build / "tests/power_race", name, str(count), str(idle_us),
                              str(spread_us), str(seed)], stdout=subprocess.PIPE, text=True)
    rig.children.append(child)
    assert child.stdout.readline() == "open\n"
    return child


@pytest.mark.parametrize("count", [400, pytest.param(10000, marks=long(2400))])
def test_requests_that_come_as_the_device_goes_to_sleep(nvme, count):
    """Each within a millisecond of when the device goes down, which with an idle time of 2 ms is 3 to
    4 ms after the last one: none is lost, and each that finds the device down brings it up once."""
    nvme.auriga("power", "disk0", "--idle", "2ms")
    progress = Progress()
    child = race(nvme, "disk0", count, 3500, 1000, 7)
    while child.poll() is None:
        info = power(nvme, "disk0")
        progress.say(f"{info['ups']} times up")
        time.sleep(0.5)
    result = json.loads(child.stdout.read())
    assert result["requests"] == count and result["errors"] == 0 and result["mismatches"] == 0
    nvme.wait_for(lambda: power(nvme, "disk0")["state"] == "d3", 5, "D3 in the end")
    info = power(nvme, "disk0")
    assert info["downs"] == info["ups"] + 1, "each way down but the last has its way up"
    assert count / 20 < info["ups"] <= count + 64, "no more ups than requests"
    assert result["generation"] == 1 and nvme.row("disk0")["restarts"] == 0


def test_each_request_to_a_device_that_sleeps_brings_it_up_once(nvme):
    """Exactly as many as there were: nothing comes up by itself."""
    child = race(nvme, "disk0", 10, 600000, 1000, 3)
    nvme.auriga("power", "disk0", "--idle", "100ms")
    before = power(nvme, "disk0")
    assert child.wait(30) == 0
    result = json.loads(child.stdout.read())
    assert result["errors"] == 0 and result["mismatches"] == 0
    ups = power(nvme, "disk0")["ups"] - before["ups"]
    assert 9 <= ups <= 10


def test_a_killed_host_in_d3(nvme):
    """The next host starts in D0, with the same disk."""
    result = bench(nvme, "disk0", "--rw", "write", "--verify", "--count", "2000")
    check(result)
    nvme.auriga("power", "disk0", "d3")
    pid = kill_host(nvme, "disk0")
    nvme.wait_for(lambda: nvme.row("disk0")["pid"] not in (None, pid) and
                  nvme.row("disk0")["state"] == "running", 10, "a new host")
    assert power(nvme, "disk0")["state"] == "d0"
    check(bench(nvme, "disk0", "--rw", "mixed", "--verify", "--count", "2000"))


def test_an_exported_disk_over_suspend(nvme):
    """An application that counts each of its requests sees latency."""
    child = load(nvme, "disk0", "read", 4, 16)
    for _ in range(3):
        time.sleep(0.5)
        system(nvme, "suspend")
        time.sleep(0.3)
        system(nvme, "resume")
    result = json.loads(child.communicate(timeout=40)[0])
    assert result["twice"] == result["left"] == result["downs"] == 0
    assert list(result["status"]) == ["ok"] and result["completed"] == result["submitted"] > 100
    assert result["max_gap_ms"] >= 300
