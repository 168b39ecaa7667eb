# SPDX-License-Identifier: MIT
"""auriga verify: every driver of the tree passes, each mistake is found and named, and a step repeats."""

import json
import os
import shlex

import pytest

from conftest import ROOT
from rig import long

MACHINES = ROOT / "lab/machines"
TARGETS = {
    "ram": ["ram"],
    "null": ["null", "--no-data"],
    "echo": ["echo"],
    "serial-loop": ["serial-loop"],
    "uart16550": ["uart16550", "--machine", MACHINES / "serial.conf"],
    "uart16550-2x": ["uart16550", "--machine", MACHINES / "serial.conf", "--function", "duart"],
    "nvme": ["nvme", "--machine", MACHINES / "nvme.conf"],
    "virtio-blk": ["virtio-blk", "--machine", MACHINES / "virtio.conf"],
}
# Of each driver one placement in every run of the tests, of all drivers all of them in the soak.
ALWAYS = {"ram": "inproc", "serial-loop": "process", "uart16550": "process", "nvme": "app"}


def verify(rig, *args, seconds=180, status=0):
    """A run's report."""
    done = rig.auriga("verify", "--json", *args, check=False, timeout=seconds)
    assert done.returncode == status, done.stderr[-6000:]
    return json.loads(done.stdout)


def kinds(report, placement):
    (place,) = [p for p in report["placements"] if p["placement"] == placement]
    return {step["kind"] for step in place["steps"]}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver,placement", ALWAYS.items())
def test_a_driver_of_the_tree_passes_in_a_placement(rig, driver, placement):
    report = verify(rig, "--quick", "--placement", placement, *TARGETS[driver], seconds=160)
    assert report["passed"] and not report["failed"]
    assert [p["placement"] for p in report["placements"]] == [placement]
    assert report["requests"] > 300


@pytest.mark.parametrize("driver", [pytest.param(d, marks=long(600)) for d in TARGETS])
def test_a_driver_of_the_tree_passes(rig, driver):
    report = verify(rig, "--quick", *TARGETS[driver], seconds=580)
    assert report["passed"] and not report["failed"]
    assert [p["placement"] for p in report["placements"]] == ["process", "inproc", "app"]
    assert kinds(report, "process") >= {"io", "restart", "kill", "stop", "manager", "client-kill",
                                        "cancel", "detach", "unload", "cancel-kill", "cycle", "idle",
                                        "suspend", "alloc", "late", "delay"}
    assert kinds(report, "inproc") >= {"io", "cancel", "die", "reopen", "freeze", "alloc", "surprise"}
    if "--machine" in TARGETS[driver]:
        assert all(kinds(report, p) >= {"remove", "eject", "irqs", "irq-lost", "all-ones"}
                   for p in ("process", "inproc", "app"))
    assert report["requests"] > 1000


@pytest.mark.sanitize_long
@pytest.mark.parametrize("driver", [
    pytest.param(d, marks=long(2400)) for d in ("uart16550", "nvme", "ram", "serial-loop")])
def test_half_an_hour(rig, driver):
    minutes = os.environ.get("AURIGA_VERIFY_TIME", "30m")
    report = verify(rig, "--full", "--time", minutes, *TARGETS[driver], seconds=2300)
    assert report["passed"]
    print(f"{report['steps']} steps, {report['requests']} requests")


@pytest.mark.usefixtures("drivers_of_tests")
@pytest.mark.parametrize("bad,only,placement,test", [
    (1, "io", "inproc", "wrong-data"),
    pytest.param(1, "io", "process", "wrong-data", marks=long(180)),
    pytest.param(2, "io", "process", "rule double-completion", marks=long(180)),
    (2, "io", "inproc", "rule double-completion"),
    pytest.param(3, "cancel", "app", "lost-request no-progress", marks=long(180)),
    pytest.param(4, "cancel", "process", "error-seen", marks=long(180)),
    (5, "restart", "process", "crash"),
    pytest.param(5, "reopen", "inproc", "crash", marks=long(180)),
    pytest.param(6, "restart", "process", "rule request-leaked", marks=long(180)),
    (7, "kill", "process", "wrong-data"),
    pytest.param(8, "kill", "process", "no-progress", marks=long(180))])
def test_a_mistake_is_found(rig, bad, only, placement, test):
    """And only with the mistake: the same steps pass without."""
    args = ["--seed", 1, "--only", only, "--placement", placement]
    good = verify(rig, *args, "t-bad")
    assert good["passed"] and good["steps"] == 1
    report = verify(rig, *args, f"t-bad,bad={bad}", status=1)
    assert not report["passed"], report
    assert any(t in test for t in report["failed_tests"]), report


@pytest.mark.usefixtures("drivers_of_tests")
def test_a_failed_step_says_how_to_repeat_it(rig, tmp_path):
    file = tmp_path / "report.json"
    report = verify(rig, "--seed", 5, "--placement", "inproc", "--report", file, "t-bad,bad=1", status=1)
    assert json.loads(file.read_text()) == report
    failed = [s for p in report["placements"] for s in p["steps"] if s["result"] == "failed"]
    step = next(s for s in failed if s["kind"] != "begin")
    words = shlex.split(step["failures"][0]["repeat"])
    assert words[:2] == ["auriga", "verify"] and "--seed" in words
    again = verify(rig, *words[2:], status=1)
    (place,) = again["placements"]
    (same,) = [s for s in place["steps"] if s["step"] == step["step"]]
    assert (same["kind"], same["what"], same["result"]) == (step["kind"], step["what"], "failed")


def test_a_seed_is_a_plan(rig):
    """Two runs with one seed do the same; another seed does something else."""
    def plan(seed):
        report = verify(rig, "--seed", seed, "--only", "io,cancel,freeze,die", "--placement", "app", "ram")
        return [(s["step"], s["kind"], s["what"]) for s in report["placements"][0]["steps"]]
    first = plan(3)
    assert len(first) == 4
    assert plan(3) == first and plan(4) != first


def test_a_unit_that_somebody_runs(rig):
    rig.manager()
    rig.auriga("attach", "virtual", "--driver", "serial-loop", "--name", "port")
    report = verify(rig, "--only", "io,kill,restart,client-kill", "port")
    assert report["passed"] and [p["placement"] for p in report["placements"]] == ["process"]
    row = rig.row("port")
    assert row["state"] == "running" and row["restarts"] > 0


def test_what_is_on_a_disk_is_not_overwritten(rig, tmp_path):
    rig.manager()
    rig.auriga("attach", "virtual", "--driver", "ram", "--name", "disk")
    data = tmp_path / "data"
    data.write_bytes(b"mine" * 1024)
    rig.auriga("block", "write", "--offset", 8192, "--file", data, "disk")
    report = verify(rig, "--only", "io", "disk", status=1)
    assert report["failed_tests"] == {"refused": 1}
    assert rig.auriga("block", "read", "--offset", 8192, "--length", 4096, "disk", text=False).stdout == data.read_bytes()
    assert verify(rig, "--only", "io", "--overwrite", "disk")["passed"]
    # What it has left itself may be overwritten.
    assert verify(rig, "--only", "io", "disk")["passed"]


def test_a_file_from_elsewhere(rig, build, tmp_path):
    """Nothing but its .so, in whatever directory."""
    (tmp_path / "some-name.so").write_bytes((build / "drivers/echo.so").read_bytes())
    report = verify(rig, "--only", "io,kill", tmp_path / "some-name.so")
    assert report["passed"] and report["driver"] == "echo" and len(report["placements"]) == 3


@pytest.mark.parametrize("args,text", [
    (["no-such-driver"], "no-such-driver"),
    (["/no/such.so"], "/no/such.so"),
    (["--placement", "kernel", "ram"], "usage"),
    (["--seed", "x", "ram"], "usage"),
    (["--time", "5y", "ram"], "usage"),
    (["--steps", "4-2", "ram"], "usage"),
    (["ram", "echo"], "usage"),
    (["--machine", "/no/such.conf", "nvme"], "/no/such.conf"),
    (["--peer", "/no/peer", "serial-loop"], "/no/peer")])
def test_what_makes_no_sense_is_said(rig, args, text):
    done = rig.auriga("verify", *args, check=False)
    assert done.returncode in (1, 2) and text in done.stderr, (done.returncode, done.stderr)


@pytest.mark.idle
def test_nothing_is_left(rig):
    """No process, no directory."""
    before = set(os.listdir("/tmp"))
    verify(rig, "--only", "io", "echo")
    assert not [f for f in set(os.listdir("/tmp")) - before if f.startswith("auriga-")]
