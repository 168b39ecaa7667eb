# SPDX-License-Identifier: MIT
"""Devices with several lanes: NVMe with a pair of queues for each, in both placements, with faults on
one of them, dying hosts, and a lane that hangs."""

import json
import subprocess
from pathlib import Path

import pytest

from disk import Killer, attach, bench
from torture import Shell

MACHINE = Path(__file__).parents[2] / "lab/machines/nvme.conf"
FORMS = ["process", "thread"]


pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def disk(rig, form, address, **params):
    """What to open for an NVMe controller, in that placement."""
    words = [f"{key.replace('_', '-')}={value}" for key, value in params.items()]
    if form == "thread":
        return ",".join(["inproc:nvme", f"address={address}", *words])
    rig.manager()
    rig.auriga("attach", address, "--name", "disk0", *[w for text in words for w in ("--param", text)])
    return "disk0"


def check(result):
    assert result["errors"] == 0 and result["mismatches"] == 0 and result["ios"] > 0, result


def completed(rig, name="disk0"):
    """What each lane has completed."""
    return [lane["completed"] for lane in rig.info(name)["host"]["lanes"]]


def test_said(rig):
    """How many there are is a parameter of drivers that can, and of no other."""
    rig.manager()
    attach(rig, "ram0", "ram", lanes=3)
    attach(rig, "ram1", "ram")
    bench(rig, "ram0", "--count", "10"), bench(rig, "ram1", "--count", "10")
    assert rig.info("ram0")["lanes"] == 3 and len(completed(rig, "ram0")) == 3
    assert rig.info("ram1")["lanes"] == 1 and len(completed(rig, "ram1")) == 1
    for driver, lanes, says in [("ram", 9, "must be a number from 1 to 8"), ("ram", 0, "from 1 to 8"),
                                ("serial-loop", 2, "no parameter 'lanes'")]:
        done = rig.auriga("attach", "virtual", "--driver", driver, "--param", f"lanes={lanes}", check=False)
        assert done.returncode != 0 and says in done.stderr
    done = rig.auriga("bench", "block", "inproc:ram,lanes=2,poll=app", check=False)
    assert done.returncode != 0 and "leave out lanes=" in done.stderr
    done = rig.auriga("bench", "block", "--lanes", "2", "--count", "100", "ram1")
    assert "2 threads share the one lane of ram1" in done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_each_has_its_queues(rig, start, form):
    ctl = start("--size", "16M")
    unit = disk(rig, form, f"vfio-user:{ctl.path}", lanes=2)
    check(bench(rig, unit, "--lanes", "2", "--verify", "--count", "20000"))
    assert ctl.stats()["admin"]["create-sq"] == 2
    if form == "process":
        assert min(completed(rig)) > 9000
    assert ctl.stats()["stray_dma"] == 0


def test_bench_asks_for_them(rig, start):
    """In this process, as many as there are threads."""
    ctl = start("--size", "16M")
    check(bench(rig, disk(rig, "thread", f"vfio-user:{ctl.path}"), "--lanes", "3", "--verify", "--count", "9000"))
    assert ctl.stats()["admin"]["create-sq"] == 3


@pytest.mark.parametrize("form", FORMS)
def test_fewer_queues(rig, start, form):
    """Lanes that the controller has no queues for are not used."""
    ctl = start("--size", "16M", "--queues", "2")
    unit = disk(rig, form, f"vfio-user:{ctl.path}", lanes=4)
    check(bench(rig, unit, "--lanes", "4", "--verify", "--count", "8000"))
    assert ctl.stats()["admin"]["create-sq"] == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fault", ["lost-interrupt,every=7,qid=2", "timeout,count=1,qid=2", "wrong-cid,count=1,qid=2"])
def test_faults_of_one(rig, start, form, fault):
    """A lost interrupt, a command that is late, and a wrong answer on one lane: all goes well on both."""
    ctl = start("--size", "16M")
    unit = disk(rig, form, f"vfio-user:{ctl.path}", lanes=2, timeout_ms=300)
    child = subprocess.Popen([rig.build / "bin/auriga", "bench", "block", "--json", "--verify", "--lanes", "2",
                              "--time", "5", unit], stdout=subprocess.PIPE, text=True)
    rig.wait_for(lambda: ctl.stats()["io"].get("read", 0) > 200, 10, "progress")
    ctl.fault(fault)
    out, _ = child.communicate(timeout=60)
    check(json.loads(out))
    stats = ctl.stats()
    assert sum(stats["faults"].values()) > 0 and stats["stray_dma"] == 0
    if fault.startswith("timeout"):
        # An Abort, which helps; the other pair is left alone.
        assert stats["admin"]["abort"] > 0 and stats["admin"]["create-sq"] <= 3
    if fault.startswith("wrong"):
        assert stats["admin"]["create-sq"] == 4 # both pairs anew, after a reset


def test_one_is_closed_while_the_other_works(rig, start):
    ctl = start("--size", "16M")
    unit = disk(rig, "process", f"vfio-user:{ctl.path}", lanes=2)
    command = [rig.build / "bin/auriga", "bench", "block", "--json"]
    other = subprocess.Popen([*command, "--verify", "--time", "6", unit], stdout=subprocess.PIPE, text=True)
    for end in ["kill", "terminate", "kill", "terminate"]:
        before = completed(rig)
        victim = subprocess.Popen([*command, "--rw", "randread", "--time", "60", unit], stdout=subprocess.DEVNULL)
        rig.wait_for(lambda b=before: all(n > a for a, n in zip(b, completed(rig))), 10, "progress on both lanes")
        getattr(victim, end)()
        victim.wait()
    out, _ = other.communicate(timeout=60)
    check(json.loads(out))
    assert rig.info(unit)["generation"] == 1 and ctl.stats()["stray_dma"] == 0


def test_dying_hosts(rig, start):
    """Both lanes' clients go on in the next host, each on a lane of its own again."""
    ctl = start("--size", "16M")
    unit = disk(rig, "process", f"vfio-user:{ctl.path}", lanes=2)
    with Killer(rig, unit, 0.5) as killer:
        check(bench(rig, unit, "--lanes", "2", "--verify", "--time", "5"))
    assert killer.kills > 3
    rig.wait_for(lambda: rig.info(unit)["state"] == "running", 10, "the last host")
    check(bench(rig, unit, "--lanes", "2", "--verify", "--count", "8000"))
    assert min(completed(rig)) > 0 and ctl.stats()["stray_dma"] == 0


def test_memory_is_kept(rig):
    rig.manager()
    unit = attach(rig, "ram0", "ram", lanes=4)
    with Killer(rig, unit, 0.3) as killer:
        check(bench(rig, unit, "--lanes", "4", "--verify", "--time", "4"))
    assert killer.kills > 3


def test_one_hangs(rig):
    """A lane that gives no sign of life, though the others do, is the end of its host."""
    rig.manager()
    rig.auriga("attach", "virtual", "--driver", "t-lanes", "--name", "l", "--param", "lanes=3")
    shells = [Shell(rig, "l") for _ in range(3)]
    for number, shell in enumerate(shells):
        shell.submit(16, length=0)
        assert [r["result"] & 0xff for r in shell.wait(5)["requests"]] == [number]
        shell.ask("forget")
    shells[1].submit(19, length=0)
    # Not by `auriga info`: lane 0 would wait for the others, to look at what is theirs.
    rig.wait_for(lambda: rig.row("l")["restarts"] > 0, 10, "the verdict")
    assert "its lane 1 gave no sign of life" in rig.log(100)
    shells[1].process.kill()
    rig.wait_for(lambda: rig.row("l")["state"] == "running", 20, "the next host")
    shells[2].submit(16, length=0)
    assert [r["status"] for r in shells[2].wait(10)["requests"]] == [0]


def test_storm(rig):
    """Submissions, cancellations, handles that are closed, and resets of all lanes, through a host."""
    rig.manager()
    rig.auriga("attach", "virtual", "--driver", "t-lanes", "--name", "l", "--param", "lanes=3")
    storm = subprocess.run([rig.build / "tests/lanes_storm", "l", "60000"], capture_output=True, text=True,
                           timeout=120, check=False)
    assert storm.returncode == 0, storm.stdout + storm.stderr


@pytest.fixture
def qemu(rig):
    out = rig.run("auriga-lab", "up", "--name", "nvme0", "--machine", MACHINE).stdout
    rig.labs.append("nvme0")
    return {line.split("/")[-1].split(".")[0]: line.split()[0] for line in out.splitlines()}


@pytest.mark.parametrize("form", FORMS)
def test_qemu(rig, qemu, form):
    unit = disk(rig, form, qemu["ram"], lanes=2)
    check(bench(rig, unit, "--lanes", "2", "--verify", "--qd", "8", "--count", "4000"))
    if form == "process":
        assert min(completed(rig)) > 1000


def test_qemu_and_dying_hosts(rig, qemu):
    unit = disk(rig, "process", qemu["ram"], lanes=2)
    with Killer(rig, unit, 0.7) as killer:
        check(bench(rig, unit, "--lanes", "2", "--verify", "--qd", "8", "--time", "5"))
    assert killer.kills > 2
