# SPDX-License-Identifier: MIT
"""The NVMe driver: on the lab's software controller in each placement, faults, dying hosts; and on
QEMU's model."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from disk import Killer, bench, load

MIB = 1 << 20
MACHINE = Path(__file__).parents[2] / "lab/machines/nvme.conf"
# The placements share all but the way to the driver: two of them are for the long form.
FORMS = ["process", "thread", "app"]


def target(rig, form, address, name="disk0", **params):
    """What to open for a controller in that placement; unit 0 of it."""
    words = [f"{key.replace('_', '-')}={value}" for key, value in params.items()]
    if form == "process":
        rig.manager()
        options = [word for text in words for word in ("--param", text)]
        rig.auriga("attach", address, "--name", name, *options)
        return name
    return ",".join(["inproc:nvme", f"address={address}", *words] + (["poll=app"] if form == "app" else []))


def disk(rig, form, controller, **params):
    return target(rig, form, f"vfio-user:{controller.path}", **params)


def info(rig, unit):
    return json.loads(rig.auriga("block", "info", "--json", unit).stdout)


def moved(controller):
    """Reads and writes that the controller was sent."""
    stats = controller.stats()
    return stats["io"].get("read", 0) + stats["io"].get("write", 0)


def check(result, count=None):
    assert result["errors"] == 0 and result["mismatches"] == 0, result
    assert result["ios"] > 0 and (count is None or result["ios"] == count)


def refused(rig, *args, data=b""):
    done = rig.auriga("block", *args, check=False, text=False, input=data)
    assert done.returncode != 0, args
    return done.stderr.decode()


# --------------------------------------------------------------------- it works


@pytest.mark.parametrize("form", FORMS)
def test_info(rig, start, form):
    unit = disk(rig, form, start("--size", "64M", "--block-size", "4096"))
    what = info(rig, unit)
    assert what["bytes"] == 64 * MIB and what["block_size"] == 4096
    assert what["model"] == "Auriga lab NVMe" and what["serial"] == "LAB0"
    assert what["flags"] == ["cache", "discard", "write-zeroes", "compare-write", "verify"]
    assert what["max_compare"] == 16 * 4096
    assert what["max_transfer"] == 131072 and what["depth"] == 255


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("params", [{}, {"polled": 1}, {"shadow": 0}, {"depth": 3}],
                         ids=["plain", "polled", "bells", "shallow"])
def test_verified(rig, start, form, params):
    unit = disk(rig, form, start("--size", "16M"), **params)
    check(bench(rig, unit, "--verify", "--count", "40000"), 40000)


@pytest.mark.parametrize("args", [("--doorbells", "message"), ("--entries", "2"), ("--entries", "100"),
                                  ("--mdts", "1"), ("--mdts", "8")])
def test_controllers_of_all_kinds(rig, start, args):
    unit = disk(rig, "thread", start("--size", "16M", *args))
    check(bench(rig, unit, "--verify", "--count", "5000"), 5000)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", ["512", "8k", "12k", "128k"])
@pytest.mark.parametrize("sgl", [True, False], ids=["sgl", "prp"])
def test_sizes(rig, start, form, size, sgl):
    """One page, two, and more: a descriptor, or a list of them."""
    unit = disk(rig, form, start("--size", "64M", *(() if sgl else ("--without", "sgl"))))
    check(bench(rig, unit, "--verify", "--bs", size, "--count", "4000"), 4000)


def test_what_is_written_is_read(rig, start):
    """More than a command moves, at an odd block; zeroes, and what is behind the end."""
    unit = disk(rig, "process", start("--size", "8M"))
    data = os.urandom(3 * MIB + 512)
    source, sink = rig.rundir / "source", rig.rundir / "sink"
    source.write_bytes(data)
    rig.auriga("block", "write", "--offset", "1536", "--file", source, unit)
    rig.auriga("block", "read", "--offset", "1k", "--length", str(len(data) + 1024), "--file", sink, unit)
    assert sink.read_bytes() == bytes(512) + data + bytes(512)
    assert "behind its end" in refused(rig, "read", "--offset", str(16 * MIB), unit)


def test_namespaces_are_units(rig, start):
    """The second one is another disk."""
    disk(rig, "process", start("--size", "8M", "--namespaces", "2"))
    rig.auriga("block", "write", "disk0.0", input="x" * 512)
    rig.auriga("block", "write", "disk0.1", input="y" * 512)
    for unit, text in (("disk0.0", "x"), ("disk0.1", "y")):
        assert rig.auriga("block", "read", "--length", "512", unit).stdout == text * 512


def test_many_namespaces_share_the_slots(rig, start):
    """Two units that want more than the device takes at once."""
    disk(rig, "process", start("--size", "8M", "--namespaces", "2"), depth=4)
    args = ["auriga", "bench", "block", "--verify", "--json", "--qd", "32", "--count", "20000"]
    other = rig.start(*args, "disk0.1", ready=True)
    check(bench(rig, "disk0.0", "--verify", "--qd", "32", "--count", "20000"), 20000)
    other.wait(30)
    check(json.loads(other.first_line + other.stdout.read()), 20000)


# ------------------------------------------------------------ compare and write


def added(rig, ctl, unit, seconds, kill=None):
    """Two clients add one to a number by compare-and-write: their sums, and the number at last."""
    children = [load(rig, unit, "add", seconds, 4) for _ in range(2)]
    with Killer(rig, unit, kill or 1000) as killer:
        assert all(child.wait(40) == 0 for child in children)
    results = [json.loads(child.stdout.read()) for child in children]
    print(killer.kills, results)
    for result in results:
        assert result["completed"] == result["submitted"] and result["left"] == result["twice"] == 0
    assert ctl.stats()["stray_dma"] == 0 and ctl.stats()["io"]["compare"] > 100
    total = {key: sum(r[key] for r in results) for key in ("added", "differed", "unknown")}
    return total, max(r["number"] for r in results), killer.kills


def test_nobody_adds_twice(rig, start):
    ctl = start("--size", "8M")
    total, number, _ = added(rig, ctl, disk(rig, "process", ctl), 1)
    assert number == total["added"] > 100 and total["differed"] > 10 and total["unknown"] == 0


def test_unknown_and_never_twice(rig, start):
    """The host dies all the time, and the device is slow: nothing that was acknowledged is missing,
    and nothing is there twice."""
    ctl = start("--size", "8M", "--fault", "compare-late=3")
    total, number, kills = added(rig, ctl, disk(rig, "process", ctl), 3, kill=0.2)
    assert kills > 3 and total["unknown"] > 0
    assert 100 < total["added"] <= number <= total["added"] + total["unknown"]


@pytest.mark.parametrize("fault", ["compare-timeout,every=300", "write-timeout,every=300", "wrong-cid,every=1000",
                                   "compare-status=0x007,every=100"])
def test_no_answer_to_a_comparison(rig, start, fault):
    """Aborted, or forgotten with its queue or by a reset: it is not sent again."""
    ctl = start("--size", "8M")
    unit = disk(rig, "process", ctl, timeout_ms=50)
    ctl.fault(fault)
    total, number, _ = added(rig, ctl, unit, 2)
    assert sum(ctl.stats()["faults"].values()) > 1
    assert 100 < total["added"] <= number <= total["added"] + total["unknown"]


# ----------------------------------------------------------------------- faults


@pytest.mark.parametrize("form", FORMS)
def test_media_error_once(rig, start, form):
    """An error of the medium reaches who asked, with its errno; what is beside it is well."""
    ctl = start("--size", "8M")
    unit = disk(rig, form, ctl)
    ctl.fault("read-status=0x281,lba=8")
    assert "Input/output error" in refused(rig, "read", "--offset", "4096", "--length", "512", unit)
    rig.auriga("block", "read", "--offset", "4608", "--length", "512", unit)


# What befalls some of the commands, and what of it the controller counts: faults, and the admin commands that
# they cost. Several at a time: together. A queue that is made says that what was lost is sent again: what comes
# next would else be lost beside it, and be forgotten with it before its own turn comes.
SURVIVED = [
    (["status=0x006,every=50"], {"status": 20}),                # an internal error: sent again
    (["write-status=0x004,every=20"], {"status": 20}),          # its data did not arrive
    (["reorder,every=3"], {"reorder": 50}),
    (["late=20,every=100"], {"late": 20}),
    (["lost-interrupt,every=7"], {"lost-interrupt": 20}),
    (["duplicate,every=300"], {"duplicate": 3, "create-sq": 3}),  # each of these costs a reset
    (["wrong-cid,every=300"], {"wrong-cid": 3, "create-sq": 3}),
    (["wrong-phase,every=300,count=2"], {"wrong-phase": 2, "create-sq": 2}),  # nobody sees it: late
    (["timeout,every=300,count=2"], {"timeout": 2, "abort": 2}),  # an Abort helps
    (["abort-status=0x006,count=1", "timeout,count=1"],
     {"timeout": 1, "status": 1, "delete-sq": 1, "create-sq": 1}),  # new queues
    (["abort-timeout,count=1", "timeout,count=1"], {"timeout": 2, "identify": 1, "create-sq": 1}),  # a reset
    (["delete-sq-status=0x006,count=1", "abort-status=0x006", "timeout,count=1"],
     {"timeout": 1, "status": 2, "delete-sq": 1, "identify": 1, "create-sq": 1}),  # queues that cannot be: a reset
    (["cfs"], {"identify": 1, "create-sq": 1}),
]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_wrong_is_survived(rig, start, form):
    """Each request ends well, with the right data, whatever becomes of the commands."""
    ctl = start("--size", "16M")
    unit = disk(rig, form, ctl, timeout_ms=50)
    child = subprocess.Popen([rig.build / "bin/auriga", "bench", "block", "--verify", "--json", "--time", "60", unit],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rig.children.append(child)
    rig.wait_for(lambda: moved(ctl) > 1000, 5, "progress")

    def counted():
        stats = ctl.stats()
        return Counter(stats["faults"]) + Counter(stats["admin"])
    for faults, counts in SURVIVED:
        before = counted()
        for fault in faults:
            ctl.fault(fault)

        def met(want=counts, old=before):
            now = counted()
            return all(now[kind] - old[kind] >= count for kind, count in want.items())
        rig.wait_for(met, 10, f"what {faults} do")
        ctl.fault("clear")
        rig.wait_for(lambda least=moved(ctl) + 1000: moved(ctl) > least, 10, f"progress after {faults}")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    check(json.loads(out))
    assert child.returncode == 0 and ctl.stats()["stray_dma"] == 0, err


@pytest.mark.parametrize("form", FORMS)
def test_never_an_answer(rig, start, form):
    """A block that is never answered for: an error at last, and the others go on."""
    ctl = start("--size", "8M")
    unit = disk(rig, form, ctl, timeout_ms=100)
    ctl.fault("read-timeout,lba=8")
    assert "timed out" in refused(rig, "read", "--offset", "4096", "--length", "512", unit)
    rig.auriga("block", "read", "--offset", "8192", "--length", "4096", unit)


def test_clients_die_with_dma_in_flight(rig, start):
    """What is late for a client that was killed never reaches another's memory; nobody else notices.

    A disk's blocks are read into the victim's buffers 100 ms after it is dead, and no Abort helps.
    Whoever comes next, and would get its buffers' addresses, looks at all that it writes and reads.
    """
    ctl = start("--size", "16M", "--namespaces", "2")
    disk(rig, "process", ctl)
    bench_of = [rig.build / "bin/auriga", "bench", "block", "--json", "--qd", "16"]
    other = subprocess.Popen([*bench_of, "--verify", "--time", "3", "disk0.1"], stdout=subprocess.PIPE, text=True)
    for _ in range(4):
        ctl.fault("abort-status=0x006")
        ctl.fault("read-late=100,every=8,nsid=1")
        late = ctl.stats()["faults"].get("late", 0)
        victim = subprocess.Popen([*bench_of, "--rw", "randread", "--time", "60", "disk0.0"], stdout=subprocess.DEVNULL)
        rig.wait_for(lambda least=late + 30: ctl.stats()["faults"].get("late", 0) > least, 5, "late reads")
        victim.kill()
        victim.wait()
        ctl.fault("clear")  # what is late stays so
        ctl.fault("abort-status=0x006")
        check(bench(rig, "disk0.0", "--verify", "--qd", "16", "--time", "0.3"))
    out, _ = other.communicate(timeout=30)
    check(json.loads(out))
    stats = ctl.stats()
    assert stats["stray_dma"] == 0 and stats["late_suppressed"] == 0 and stats["admin"]["abort"] > 0, stats
    assert rig.info("disk0.0")["generation"] == 1


@pytest.mark.parametrize("form", FORMS)
def test_all_ones(rig, start, form):
    """Pulled out under I/O: an error for who waits, and the device is gone."""
    ctl = start("--size", "16M")
    unit = disk(rig, form, ctl)
    child = rig.start("auriga", "bench", "block", "--time", "20", unit, stderr=open(
        rig.rundir / "bench", "w", encoding="utf-8"))
    rig.wait_for(lambda: moved(ctl) > 1000, 5, "progress")
    ctl.fault("all-ones")
    assert child.wait(15) != 0
    assert "No such device" in (rig.rundir / "bench").read_text()
    if form == "process":
        rig.wait_for(lambda: rig.row(unit)["state"] == "gone", 10, "gone")


def test_gives_up_and_comes_back(rig, start):
    """A reset that fails: the driver ends, another one begins when the device is well, nobody notices."""
    ctl = start("--size", "16M")
    unit = disk(rig, "process", ctl)
    child = subprocess.Popen([rig.build / "bin/auriga", "bench", "block", "--verify", "--json", "--time", "8", unit],
                             stdout=subprocess.PIPE, text=True)
    rig.wait_for(lambda: moved(ctl) > 1000, 5, "progress")
    first = rig.info(unit)["generation"]
    ctl.fault("never-ready")
    ctl.fault("cfs")
    rig.wait_for(lambda: "the driver gives up" in (rig.rundir / "aurigad.log").read_text(), 10, "a verdict")
    ctl.fault("clear")
    out, _ = child.communicate(timeout=30)
    check(json.loads(out))
    assert rig.info(unit)["generation"] > first and ctl.stats()["stray_dma"] == 0


def test_never_ready(rig, start):
    """A controller that does not get ready: one clear reason."""
    ctl = start("--size", "8M")
    ctl.fault("never-ready")
    done = rig.auriga("block", "info", disk(rig, "thread", ctl), check=False)
    assert done.returncode != 0 and "not done within" in done.stderr


def test_events(rig, start):
    """Namespaces come, go and change their size; a warning is told."""
    ctl = start("--size", "8M", "--namespaces", "2")
    disk(rig, "process", ctl)
    assert info(rig, "disk0.1")["bytes"] == 8 * MIB
    ctl.fault("resize=16M,nsid=2")
    rig.wait_for(lambda: info(rig, "disk0.1")["bytes"] == 16 * MIB, 5, "the new size")
    ctl.fault("remove=2")
    rig.wait_for(lambda: rig.auriga("block", "info", "disk0.1", check=False).returncode != 0, 5, "a removal")
    assert info(rig, "disk0.0")["bytes"] == 8 * MIB
    ctl.fault("add=2")
    rig.wait_for(lambda: rig.auriga("block", "info", "disk0.1", check=False).returncode == 0, 5, "it back")
    ctl.fault("health=4")
    rig.wait_for(lambda: "critical warning 0x04" in (rig.rundir / "aurigad.log").read_text(), 5, "health")


def loaded(child):
    """What an application under load counted: each request ended, once."""
    assert child.wait(40) == 0
    result = json.loads(child.stdout.read())
    print(result)
    assert result["left"] == result["twice"] == 0 and result["completed"] == result["submitted"]
    return result


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode,error", [("write", "ENOSPC"), ("read", "EINVAL")])
def test_shrinks_under_load(rig, start, form, mode, error):
    """Half of the requests are behind the end, for a while: one error each, an event each time, and
    nobody is restarted."""
    ctl = start("--size", "8M")
    child = load(rig, disk(rig, form, ctl), mode, 2, 8)
    ctl.fault("resize=2M")
    time.sleep(0.5)
    ctl.fault("resize=8M")
    time.sleep(0.2)
    seen = moved(ctl)
    result = loaded(child)
    assert set(result["status"]) == {"ok", error} and min(result["status"].values()) > 100
    assert result["resized"] == 2 and result["downs"] == 0 and result["gone"] == 0
    assert moved(ctl) > seen and ctl.stats()["stray_dma"] == 0


def test_namespace_goes_under_load(rig, start):
    """Who has it open gets ENODEV once, and hears why; its neighbour goes on; it comes back as it was."""
    ctl = start("--size", "8M", "--namespaces", "3")
    ctl.fault("remove=3")
    disk(rig, "process", ctl)
    rig.auriga("block", "write", "disk0.1", input="kept" * 128)
    neighbour, victim = load(rig, "disk0.0", "write", 3, 8), load(rig, "disk0.1", "read", 3, 8)
    ctl.fault("remove=2")
    result = loaded(victim)
    assert set(result["status"]) == {"ok", "ENODEV"} and result["status"]["ENODEV"] <= 8 and result["gone"] >= 1
    assert rig.auriga("block", "info", "disk0.1", check=False).returncode != 0
    ctl.fault("add=2")
    rig.wait_for(lambda: rig.auriga("block", "info", "disk0.1", check=False).returncode == 0, 5, "it back")
    assert rig.auriga("block", "read", "--length", "512", "disk0.1").stdout == "kept" * 128
    # One that was never there before is a new unit.
    assert rig.auriga("block", "info", "disk0.2", check=False).returncode != 0
    ctl.fault("add=3")
    rig.wait_for(lambda: rig.auriga("block", "info", "disk0.2", check=False).returncode == 0, 5, "another")
    check(bench(rig, "disk0.2", "--verify", "--count", "2000"), 2000)
    result = loaded(neighbour)
    assert list(result["status"]) == ["ok"] and result["max_gap_ms"] < 1000


# -------------------------------------------------------------- the ladder, rung by rung

LADDER = {
    "abort": (["read-timeout,count=1"], {"abort": 1, "delete-sq": 0}, []),
    "queues": (["read-timeout,count=1", "abort-status=0x006"], {"abort": 1, "delete-sq": 1}, ["new I/O queues"]),
    "reset": (["read-timeout,count=1", "abort-status=0x006", "delete-sq-timeout,count=1"],
              {"abort": 1, "delete-sq": 1}, ["new I/O queues", "controller reset 1"]),
}


def read_one(rig, unit):
    """One block: the command, and what was logged meanwhile, wherever the driver runs."""
    log = rig.rundir / "aurigad.log"
    before = len(log.read_text()) if log.exists() else 0
    done = rig.auriga("block", "read", "--length", "512", unit, check=False)
    return done, done.stderr + (log.read_text()[before:] if log.exists() else "")


@pytest.mark.parametrize("form", ["process", "thread"])
@pytest.mark.parametrize("rung", LADDER)
def test_rung(rig, start, form, rung):
    """A command that is never answered: each rung is what helps when the one below did not, the command
    ends well, and no rung above is climbed."""
    faults, sent, said = LADDER[rung]
    ctl = start("--size", "8M")
    unit = disk(rig, form, ctl, timeout_ms=100)
    rig.auriga("block", "read", "--length", "512", unit)
    before = ctl.stats()["admin"]
    for fault in faults:
        ctl.fault(fault)
    done, log = read_one(rig, unit)
    assert done.returncode == 0, done.stderr
    ctl.fault("clear")
    # A driver within the application comes and goes with it, and deletes its queues in the end.
    ends = form == "thread"
    now = ctl.stats()["admin"]
    assert {name: now.get(name, 0) - before.get(name, 0) for name in sent} == {
        name: count + (ends and name == "delete-sq") for name, count in sent.items()}, log
    for text in ("new I/O queues", "controller reset", "gives up"):
        assert (text in log) == any(text in line for line in said), (text, log)
    assert all(line in log for line in said) and ctl.stats()["stray_dma"] == 0


def test_rung_restart(rig, start):
    """A controller that cannot be reset: the driver gives up, and the next one finds it behind a function
    reset, which a new session begins with; nobody notices."""
    ctl = start("--size", "8M")
    unit = disk(rig, "process", ctl, timeout_ms=100)
    first, before = rig.info(unit)["generation"], ctl.stats()
    child = load(rig, unit, "write", 3, 8)
    ctl.fault("never-ready")
    ctl.fault("cfs")
    rig.wait_for(lambda: "the driver gives up" in (rig.rundir / "aurigad.log").read_text() or
                 "cannot be reset" in (rig.rundir / "aurigad.log").read_text(), 10, "a verdict")
    ctl.fault("clear")
    result = loaded(child)
    assert list(result["status"]) == ["ok"] and result["restarts"] >= 1
    now = ctl.stats()
    assert rig.info(unit)["generation"] == first + 1 and now["clients"] == before["clients"] + 1
    # The one that does not end, the disabling by the driver that leaves, and the function reset between the
    # sessions. The next driver may be there already when the verdict is read: so from the start.
    assert now["resets"] == before["resets"] + 3 and now["stray_dma"] == 0, now


@pytest.mark.parametrize("form", ["thread", "app"])
def test_rung_restart_inproc(rig, start, form):
    """Where nobody can begin anew the device is gone: each request ends, once; who opens it again finds it
    behind a function reset."""
    ctl = start("--size", "8M")
    unit = disk(rig, form, ctl, timeout_ms=100)
    child = load(rig, unit, "write", 8, 8)
    ctl.fault("never-ready")
    ctl.fault("cfs")
    result = loaded(child)
    assert set(result["status"]) <= {"ok", "ENODEV"} and result["status"]["ENODEV"] <= 8 and result["gone"] >= 1
    ctl.fault("clear")
    check(bench(rig, unit, "--verify", "--count", "2000"), 2000)


@pytest.mark.parametrize("form", ["thread", "app"])
def test_all_ones_inproc(rig, start, form):
    """Pulled out under I/O: each request ends, once, and the application hears of it."""
    ctl = start("--size", "8M")
    child = load(rig, disk(rig, form, ctl), "write", 15, 8)
    rig.wait_for(lambda: moved(ctl) > 1000, 5, "progress")
    ctl.fault("all-ones")
    result = loaded(child)
    assert set(result["status"]) == {"ok", "ENODEV"} and result["status"]["ENODEV"] <= 8 and result["gone"] >= 1


def test_health(rig, start):
    """What the controller says of itself, with a warning and without; and when it does not answer."""
    ctl = start("--size", "8M")
    unit = disk(rig, "process", ctl)
    report = rig.info(unit)["report"]
    assert report["critical_warning"] == 0 and report["critical_warnings"] == "none"
    assert report["temperature_celsius"] == 30 and report["spare_percent"] == 100
    assert report["used_percent"] == 0 and report["power_cycles"] == 1 and report["media_errors"] == 0
    assert {"data_units_read", "data_units_written", "power_on_hours", "unsafe_shutdowns"} <= set(report)
    reads = report["host_reads"]
    rig.auriga("block", "read", "--length", "512", unit)
    assert rig.info(unit)["report"]["host_reads"] > reads
    ctl.fault("health=6")
    rig.wait_for(lambda: rig.info(unit)["report"]["critical_warning"] == 6, 5, "the warning")
    assert rig.info(unit)["report"]["critical_warnings"] == "temperature reliability"
    assert (rig.rundir / "aurigad.log").read_text().count("critical warning 0x06") == 1
    ctl.fault("get-log-timeout")
    assert "does not answer within" in rig.info(unit)["report_error"]
    ctl.fault("clear")
    # What was lost is asked for once more, behind the reset that it cost.
    rig.wait_for(lambda: rig.info(unit).get("report", {}).get("controller_resets") == 1, 10, "an answer")


# ---------------------------------------------------------------- QEMU's model


@pytest.fixture
def qemu(rig):
    """Addresses of QEMU's controllers, by name: see the machine's file."""
    out = rig.run("auriga-lab", "up", "--name", "nvme0", "--machine", MACHINE).stdout
    rig.labs.append("nvme0")
    return {line.split("/")[-1].split(".")[0]: line.split()[0] for line in out.splitlines()}


def dma_faults(rig):
    (lab,) = json.loads(rig.run("auriga-lab", "ls", "--json").stdout)
    return sum(function["dma_faults"] for function in lab["functions"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("params", [{}, {"polled": 1}, {"shadow": 0}], ids=["plain", "polled", "bells"])
def test_qemu(rig, qemu, form, params):
    unit = target(rig, form, qemu["ram"], **params)
    assert info(rig, unit)["model"] == "QEMU NVMe Ctrl"
    # It can compare, but not fuse that with a write: then it would not be atomic.
    assert "verify" in info(rig, unit)["flags"] and "compare-write" not in info(rig, unit)["flags"]
    for size in "4k", "12k", "512k":
        check(bench(rig, unit, "--verify", "--bs", size, "--qd", "8", "--count", "1000"), 1000)
    assert dma_faults(rig) == 0


def test_qemu_health(rig, qemu):
    report = rig.info(target(rig, "process", qemu["ram"]))["report"]
    assert report["critical_warning"] == 0 and 0 < report["temperature_celsius"] < 100
    assert report["media_errors"] == 0 and report["controller_resets"] == 0


FLAKY = """
[machine]
name = flaky

[blockdev slow]
type = null-co
size = 67108864
read-zeroes = on
latency-ns = 30000000

[blockdev bad]
type = blkdebug
image = slow
inject-error.0.event = none
inject-error.0.iotype = read
inject-error.0.sector = 4096
inject-error.0.errno = 5
inject-error.1.event = none
inject-error.1.iotype = write
inject-error.1.sector = 8192
inject-error.1.errno = 28
inject-error.1.once = on

[device flaky]
type = nvme
serial = flaky
drive = bad
"""


@pytest.mark.parametrize("form", FORMS)
def test_qemu_media_errors(rig, form):
    """A slow disk with two bad blocks: the right error, once for each time, and nothing else fails."""
    conf = rig.rundir / "flaky.conf"
    conf.write_text(FLAKY)
    out = rig.run("auriga-lab", "up", "--name", "flaky", "--machine", conf).stdout
    rig.labs.append("flaky")
    unit = target(rig, form, out.split()[0])
    done = rig.auriga("bench", "block", "--json", "--rw", "read", "--count", "600", unit, check=False)
    result = json.loads(done.stdout)
    assert result["errors"] == 1 and result["ios"] == 600 and result["lat_us"]["p50"] > 25000, done.stdout
    assert "read at 2097152: Input/output error" in done.stderr
    assert "Input/output error" in refused(rig, "read", "--offset", "2M", "--length", "512", unit)
    rig.auriga("block", "read", "--offset", str(2 * MIB + 512), "--length", "512", unit)
    assert "Input/output error" in refused(rig, "write", "--offset", "4M", unit, data=bytes(512))
    rig.auriga("block", "write", "--offset", "4M", unit, input="x" * 512)


def test_qemu_and_dying_hosts(rig, qemu):
    unit = target(rig, "process", qemu["ram"])
    with Killer(rig, unit, 0.5) as killer:
        result = bench(rig, unit, "--verify", "--qd", "8", "--time", "6")
    check(result)
    assert killer.kills > 3 and result["lat_us"]["max"] < 3e6
    assert dma_faults(rig) == 0


# ------------------------------------------------------------------ dying hosts


def check_kills(rig, controller, seconds, interval, **params):
    unit = disk(rig, "process", controller, **params)
    with Killer(rig, unit, interval) as killer:
        result = bench(rig, unit, "--verify", "--qd", "32", "--time", str(seconds), seconds=seconds + 60)
    check(result)
    assert killer.kills > seconds / interval / 4, killer.kills
    assert result["lat_us"]["max"] < 2e6 and result["ios"] > 1000 * seconds
    assert controller.stats()["stray_dma"] == 0
    print(f"{killer.kills} kills, {result['ios']} requests, longest {result['lat_us']['max']:.0f} us")


@pytest.mark.parametrize("params", [{}, {"shadow": 0, "polled": 1}],
                         ids=["plain", "polled"])
def test_no_write_gets_older(rig, start, params):
    """The host dies every 0.3 s for 4 s: no error, and each block as it was acknowledged."""
    check_kills(rig, start("--size", "64M"), 4, 0.3, **params)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_write_gets_older_for_long(rig, start):
    check_kills(rig, start("--size", "64M"), 1800, 0.3)
