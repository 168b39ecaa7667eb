# SPDX-License-Identifier: MIT
"""Disks from outside: the class' rules in each placement, the command line, and dying hosts."""

import json
import os
import time

import pytest

from crowd import crowded
from disk import Killer, attach, bench, load

MIB = 1 << 20
FORMS = ["process", "thread", "app"]


pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def disk(rig, form, driver="ram", **params):
    """A target of that placement."""
    if form == "process":
        rig.manager()
        return attach(rig, "disk0", driver, **params)
    words = [f"{key.replace('_', '-')}={value}" for key, value in params.items()]
    return ",".join([f"inproc:{driver}", *words] + (["poll=app"] if form == "app" else []))


def refused(rig, *args, data=b""):
    """The one line that a command is refused with."""
    done = rig.auriga("block", *args, check=False, text=False, input=data)
    assert done.returncode != 0, args
    assert done.stderr.count(b"\n") == 1, done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("form", FORMS)
def test_info_says_what_it_is(rig, form):
    target = disk(rig, form, "t-disk", size_mib=3, block_size=4096, max_transfer=65536, read_only="yes")
    info = json.loads(rig.auriga("block", "info", "--json", target).stdout)
    assert info["bytes"] == 3 * MIB and info["block_size"] == 4096
    assert info["max_transfer"] == 65536 and info["max_range"] == MIB
    assert info["model"] == "Auriga test disk"
    assert info["flags"] == ["read-only", "cache", "discard", "write-zeroes", "discarded-reads-zero"]
    assert info["max_compare"] == 0


@pytest.mark.parametrize("form", FORMS)
def test_class_rules(rig, form):
    """Bad sizes, behind the end, read-only: one clear line, and the disk goes on."""
    target = disk(rig, form, "t-disk", size_mib=1, block_size=4096)
    assert "multiples" in refused(rig, "read", "--offset", "512", "--length", "4096", target)
    assert "multiples" in refused(rig, "read", "--length", "100", target)
    assert "behind its end" in refused(rig, "read", "--offset", str(2 * MIB), target)
    assert "behind its end" in refused(rig, "read", "--length", str(2 * MIB), target)
    assert "No space" in refused(rig, "write", "--offset", str(MIB - 4096), target, data=bytes(8192))
    assert "do not fill" in refused(rig, "write", target, data=bytes(4097))
    assert "too early" in refused(rig, "write", "--length", "8192", target, data=bytes(4096))
    done = rig.auriga("block", "read", target, text=False)
    assert len(done.stdout) == MIB


@pytest.mark.parametrize("form", FORMS)
def test_read_only(rig, form):
    target = disk(rig, form, "t-disk", size_mib=1, read_only="yes")
    assert "read-only" in refused(rig, "write", target, data=bytes(512))
    done = rig.auriga("bench", "block", "--rw", "randwrite", "--time", "0.2", target, check=False)
    assert done.returncode == 1 and "read-only" in done.stderr
    assert bench(rig, target, "--count", "1000")["ios"] == 1000


def test_what_is_written_is_read(rig):
    """More than a request holds, through max_transfer; and the neighbours stay as they are."""
    target = disk(rig, "process", "t-disk", size_mib=8, max_transfer=65536)
    data = os.urandom(3 * MIB + 512)
    source, sink = rig.rundir / "source", rig.rundir / "sink"
    source.write_bytes(data)
    rig.auriga("block", "write", "--offset", "1536", "--file", source, target)
    rig.auriga("block", "read", "--offset", "1k", "--length", str(len(data) + 1024), "--file", sink, target)
    assert sink.read_bytes() == bytes(512) + data + bytes(512)
    piped = rig.auriga("block", "read", "--offset", "1536", "--length", "512", target, text=False)
    assert piped.stdout == data[:512]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rw", ["randread", "randwrite", "read", "write", "mixed"])
def test_bench_moves(rig, form, rw):
    target = disk(rig, form, size_mib=16)
    result = bench(rig, target, "--rw", rw, "--count", "5000", "--qd", "8")
    assert result["iops"] > 100 and result["errors"] == 0 and result["ios"] == 5000
    lat = result["lat_us"]
    assert 0 < lat["p50"] <= lat["p99"] <= lat["p999"] <= lat["max"]
    assert abs(result["bytes_per_s"] - result["iops"] * 4096) < 4096
    assert result["cycles_per_io"] > 0


@pytest.mark.parametrize("form", FORMS)
def test_bench_of_several_lanes(rig, form):
    result = bench(rig, disk(rig, form), "--verify", "--lanes", "3", "--count", "30000")
    assert result["ios"] == 30000 and result["mismatches"] == 0 and result["errors"] == 0


def test_bench_finds_what_is_wrong(rig):
    """A disk that keeps nothing, and a medium that is bad."""
    done = rig.auriga("bench", "block", "--verify", "--json", "--time", "0.3", "inproc:null,size-mib=1", check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["mismatches"] > 0
    assert "was acknowledged" in done.stderr
    done = rig.auriga("bench", "block", "--json", "--count", "2000", "inproc:t-disk,bad-from=65536", check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["errors"] > 0
    assert "Input/output error" in done.stderr


@pytest.mark.parametrize("words", [["--bs", "100"], ["--bs", "2m"], ["--qd", "0"], ["--lanes", "x"],
                                   ["--rw", "sideways"], ["--time", "-1"], ["--verify", "--rw", "read"], []])
def test_bench_refuses(rig, words):
    done = rig.auriga("bench", "block", *words, *(["inproc:ram"] if words else []), check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def check_kills(rig, seconds, interval):
    target = disk(rig, "process")
    before = crowded()
    with Killer(rig, target, interval) as killer:
        result = bench(rig, target, "--verify", "--time", str(seconds), seconds=seconds + 60)
    assert result["errors"] == 0 and result["mismatches"] == 0
    assert killer.kills > seconds / interval / 4, killer.kills
    # Progress all the time: nobody waited for longer than a recovery.
    assert result["lat_us"]["max"] < (2 + crowded() - before) * 1e6 and result["ios"] > 1000 * seconds
    print(f"{killer.kills} kills, {result['ios']} requests, longest {result['lat_us']['max']:.0f} us")


def test_no_write_gets_older(rig):
    """The host dies every 0.2 s for 4 s: no error, and each block as it was acknowledged."""
    check_kills(rig, 4, 0.2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_write_gets_older_for_long(rig):
    check_kills(rig, 1800, 0.3)


# ------------------------------------------------------------------ policies of recovery

def under_kills(rig, policy, mode="write", seconds=2):
    """A slow disk whose host dies all the time, under load: what became of each request."""
    rig.manager()
    target = attach(rig, "disk0", "t-disk", policy={"recovery": policy}, slow_ms=20, depth=64)
    child = load(rig, target, mode, seconds, 32)
    with Killer(rig, target, 0.3) as killer:
        assert child.wait(30) == 0
    result = json.loads(child.stdout.read())
    print(policy, killer.kills, result)
    assert killer.kills >= 3 and result["downs"] >= 3
    assert result["left"] == 0 and result["twice"] == 0
    assert result["completed"] == result["submitted"] == sum(result["status"].values())
    assert result["status"]["ok"] > 200 and result["max_gap_ms"] < 2000
    return result, killer.kills


@pytest.mark.parametrize("mode", ["read", "write"])
def test_reissue_fails_nothing(rig, mode):
    result, _ = under_kills(rig, "reissue", mode)
    assert list(result["status"]) == ["ok"]
    assert rig.info("disk0")["policy"]["recovery"] == "reissue"


def test_abort_ends_what_the_driver_had(rig):
    """Each that the driver had ends with EOWNERDEAD, some at each death, and nothing else fails."""
    result, kills = under_kills(rig, "abort")
    assert set(result["status"]) == {"ok", "EOWNERDEAD"}
    assert kills <= result["status"]["EOWNERDEAD"] <= 32 * (kills + 1)


def test_fail_ends_everything(rig):
    result, kills = under_kills(rig, "fail")
    assert set(result["status"]) == {"ok", "EIO"}
    assert result["status"]["EIO"] >= kills


def test_fail_does_not_wait(rig):
    """While there is no host at all: errors soon, and no waiting; afterwards it goes on."""
    rig.manager()
    target = attach(rig, "disk0", "t-disk", policy={"recovery": "fail"}, slow_ms=5, depth=64)
    child = load(rig, target, "write", 3, 8)
    for _ in range(12):  # until it is given up, or waits for long
        rig.auriga("restart", "--crash", target, check=False)
    assert child.wait(30) == 0
    result = json.loads(child.stdout.read())
    assert result["left"] == 0 and result["completed"] == result["submitted"]
    assert set(result["status"]) == {"ok", "EIO"} and result["max_gap_ms"] < 1000


def test_policy_outlives_managers(rig):
    """It is what was asked for, in the next host and with the next manager."""
    manager = rig.manager()
    target = attach(rig, "disk0", "t-disk", policy={"recovery": "abort"}, slow_ms=20, depth=64)
    child = load(rig, target, "write", 3, 16)
    time.sleep(0.2)
    manager.kill()
    manager.wait()
    rig.manager()
    assert rig.info(target)["policy"]["recovery"] == "abort"
    with Killer(rig, target, 0.5) as killer:
        assert child.wait(30) == 0
    result = json.loads(child.stdout.read())
    assert killer.kills > 1 and set(result["status"]) == {"ok", "EOWNERDEAD"}
    assert result["completed"] == result["submitted"] and result["twice"] == 0


def test_policy_is_checked(rig):
    rig.manager()
    done = rig.auriga("attach", "virtual", "--driver", "ram", "--policy", "recovery=maybe", check=False)
    assert done.returncode == 1 and "use reissue, abort or fail" in done.stderr
    done = rig.auriga("attach", "virtual", "--driver", "serial-loop", "--policy", "recovery=fail", check=False)
    assert done.returncode == 1 and "serial port" in done.stderr


# ------------------------------------------------------------------ compare and write

def added(rig, clients, depth, target, seconds=2, kill=None):
    """Several clients add one to a number by compare-and-write: what became of it, in sum."""
    children = [load(rig, target, "add", seconds, depth) for _ in range(clients)]
    with Killer(rig, target, kill or 1000) as killer:
        assert all(child.wait(40) == 0 for child in children)
    results = [json.loads(child.stdout.read()) for child in children]
    print(killer.kills, results)
    for result in results:
        assert result["completed"] == result["submitted"] and result["left"] == result["twice"] == 0
    total = {key: sum(r[key] for r in results) for key in ("added", "differed", "unknown")}
    last = [r["number"] for r in results if r["submitted"]]
    return total, max(last), killer.kills


@pytest.mark.parametrize("params", [{}, {"driver": "t-disk", "compare": 1, "slow_ms": 1}], ids=["ram", "slow"])
def test_nobody_adds_twice(rig, params):
    """Clients that race: the number is what was added, no more and no less."""
    rig.manager()
    total, number, _ = added(rig, 3, 4, attach(rig, **params))
    assert number == total["added"] > 100 and total["differed"] > 10 and total["unknown"] == 0


@pytest.mark.parametrize("driver", [{}, {"driver": "t-disk", "compare": 1, "slow_ms": 2}], ids=["ram", "slow"])
def test_unknown_and_never_twice(rig, driver):
    """The host dies all the time: what was acknowledged is there, and nothing was added twice; the
    difference is among those of which nobody knows."""
    rig.manager()
    total, number, kills = added(rig, 2, 8, attach(rig, **driver), 3, kill=0.2)
    assert kills > 3 and total["added"] > 100
    assert total["added"] <= number <= total["added"] + total["unknown"]
    assert "slow_ms" not in driver or total["unknown"] >= kills / 2


def test_compare_where_there_is_none(rig):
    """A disk that cannot: each ends with that, and nothing is written."""
    rig.manager()
    child = load(rig, attach(rig, driver="t-disk"), "add", 0.2, 1)
    assert child.wait(30) == 0
    result = json.loads(child.stdout.read())
    assert result["status"]["EOPNOTSUPP"] > 10 and result["number"] == 0


# ------------------------------------------------------------------ reports

@pytest.mark.parametrize("kind", [1, 2])
def test_report(rig, kind):
    """At once, or later: what the driver says, and nothing that moves a terminal."""
    rig.manager()
    target = attach(rig, driver="t-disk", size_mib=2, report=kind)
    assert rig.info(target)["report"] == {"bytes": 2 * MIB, "below_zero": -1, "text": "a?b"}
    assert "report_error" not in rig.info(target) and "report" not in rig.info(target)["host"]
    text = rig.auriga("info", target).stdout
    assert "report:\n  bytes: 2097152\n  below_zero: -1\n" in text


def test_report_that_never_comes(rig):
    """A line says so, soon, each time; and the disk works all the while."""
    rig.manager()
    target = attach(rig, driver="t-disk", report=3)
    for _ in range(3):
        began = time.monotonic()
        info = rig.info(target)
        assert "does not answer within 150 ms" in info["report_error"] and "report" not in info
        assert time.monotonic() - began < 1.5 and info["host"]["lane_answers"]
    assert bench(rig, target, "--count", "1000")["ios"] == 1000
    rig.auriga("restart", target)
    assert "does not answer" in rig.info(target)["report_error"]


def test_report_of_too_much(rig):
    """What is too long is cut, what is too many left out, and no key is what it must not be."""
    rig.manager()
    report = rig.info(attach(rig, driver="t-disk", report=4))["report"]
    assert 10 < len(report) <= 48 and all(len(str(value)) < 80 for value in report.values())
    assert "Bad key" not in report and "" not in report


def test_no_report(rig):
    """A driver that has nothing to say."""
    rig.manager()
    info = rig.info(attach(rig))
    assert "report" not in info and "report_error" not in info
