# SPDX-License-Identifier: MIT
"""The verifier from outside: whose driver breaks a rule is ended and named, and faults that are injected
are survived, with the data right."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from disk import bench
from torture import Bystander, Shell

ECHO = 16
NVME_FAULTS = "rules,irq-lost:50,irq-spurious:5,irq-storm:100,late:2,reorder,delay:50"

pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def attach(rig, driver, *params, verify, address="virtual", check=True):
    options = [word for text in params for word in ("--param", text)]
    return rig.auriga("attach", address, "--driver", driver, "--name", "dev0", *options,
                      "--policy", f"verify={verify}", check=check)


def log(rig):
    return (rig.rundir / "aurigad.log").read_text(errors="replace")


def well(answer, count):
    """So many requests are complete, with the right data."""
    assert answer["outstanding"] == 0, answer
    assert [r["status"] for r in answer["requests"]] == [0] * count, answer
    return True


# ---------------------------------------------------------------------------------- rules


@pytest.mark.parametrize("rule", ["double-completion", "request-changed", "sleep-in-callback", "power-reference"])
def test_a_broken_rule_ends_the_host(rig, rule):
    rig.manager()
    attach(rig, "t-rules", f"break={rule}", "after=50", verify="rules")
    shell = Shell(rig, "dev0.0", depth=64)
    shell.submit(ECHO, 49)
    assert well(shell.wait(5), 49)
    shell.submit(ECHO, 20)
    # The next host has its own fifty.
    assert well(shell.wait(20), 69)
    crash = json.loads(rig.auriga("crash", "--json", "dev0").stdout)
    assert crash["verdict"] == "crash" and crash["signal_name"] == "SIGABRT" and crash["own_fault"], crash
    assert any(r["point"] == "violation" for r in crash["records"])
    assert f"dev0: rule {rule} broken by the driver: " in log(rig)
    assert rig.info("dev0")["generation"] == 2
    shell.end()


def test_without_the_verifier_it_is_told(rig):
    """The mistake is made harmless, and named; nothing else happens."""
    rig.manager()
    attach(rig, "t-rules", "break=double-completion", "after=5", verify="no")
    shell = Shell(rig, "dev0.0", depth=64)
    shell.submit(ECHO, 20)
    assert well(shell.wait(5), 20)
    rig.wait_for(lambda: "rule double-completion broken" in log(rig), 5, "the line that names it")
    assert rig.info("dev0")["generation"] == 1
    shell.end()


@pytest.mark.parametrize("form", ["", ",poll=app"])
def test_in_an_application_it_is_told(rig, form):
    words = "open inproc:t-rules,break=request-changed,after=5,verify=rules" + form
    done = subprocess.run([rig.build / "tests/raw_shell"], capture_output=True, text=True, timeout=20, check=False,
                          input=f"{words}\nsubmit {ECHO} 20 64 0\nwait 3000\nclose\n")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["rc"] == 0 and well(lines[2], 20)
    assert done.stderr.count("rule request-changed broken by the driver") == 1


def test_the_text_is_checked(rig):
    rig.manager()
    for text, says in [("rulez", "'rulez' is unknown"), ("late:0", "from 1 to 1000"), ("rules,seed=x", "use a number")]:
        done = attach(rig, "echo", verify=text, check=False)
        assert done.returncode == 1 and says in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        done = rig.auriga("bench", "block", f"inproc:null,verify={text.replace(',', '+')}", check=False)
        assert done.returncode != 0 and says in done.stderr


# --------------------------------------------------------------------------------- faults


@pytest.mark.sanitize
def test_completions_late_and_in_any_order(rig):
    rig.manager()
    attach(rig, "echo", verify="rules,late:5,reorder,delay:50,seed=3")
    one, other = Bystander(rig, "dev0"), Bystander(rig, "dev0", depth=32)
    for _ in range(3):
        rig.wait_for(lambda: other.load["completed"] > other.seen + 500, 20, "requests")
        one.check()
        other.check()
    one.end()
    other.end()
    assert rig.info("dev0")["generation"] == 1


@pytest.mark.parametrize("driver", ["null", "ram", "echo", "serial-loop"])
def test_memory_fails_once_for_each_call_stack(rig, driver):
    """In a host: a start that fails is told as such, whatever it was that failed; and in the end none does."""
    rig.manager()
    for number in range(1, 60):
        done = attach(rig, driver, verify=f"alloc:{number}", check=False)
        started = done.returncode == 0
        if started:
            # What a handle needs is not there, or all is.
            shell = Shell(rig)
            opened = shell.ask("open", "dev0", 4)["rc"] == 0
            if not opened:
                assert shell.ask("open", "dev0", 4)["rc"] == 0, "it fails once"
            shell.end()
            rig.auriga("detach", "dev0")
        else:
            assert len(done.stderr.splitlines()) == 1, done.stderr
            rig.auriga("detach", "dev0", check=False)
        if f"injected: call stack {number} gets no memory" not in log(rig):
            assert started and opened and number > 3
            break
        # Where it was a handle's, the client may have asked again.
        assert "annot allocate memory" in log(rig) or "error 12" in log(rig)
    else:
        raise AssertionError("there is no end to it")


@pytest.mark.sanitize
def test_a_disk_survives_its_interrupts(rig, start):
    controller = start("--size", "32M")
    rig.manager()
    attach(rig, "nvme", "timeout-ms=500", verify=NVME_FAULTS, address=f"vfio-user:{controller.path}")
    result = bench(rig, "dev0", "--verify", "--qd", "8", "--count", "3000")
    assert result["errors"] == 0 and result["mismatches"] == 0 and result["ios"] == 3000
    assert rig.info("dev0")["generation"] == 1
    assert controller.stats()["io"]["write"] > 500


def test_registers_of_all_ones(rig, start):
    """It is gone without a word: found out, and everything ends."""
    controller = start("--size", "32M")
    target = f"inproc:nvme,address=vfio-user:{controller.path},shadow=0,verify=all-ones:3000"
    done = rig.auriga("bench", "block", "--time", "5", "--qd", "4", target, check=False, timeout=30)
    assert "injected: from register access 3000 on all is all-ones" in done.stderr
    assert "the device is gone" in done.stderr
    # and the next to come finds it well
    result = bench(rig, f"inproc:nvme,address=vfio-user:{controller.path}", "--verify", "--count", "500")
    assert result["errors"] == 0


@pytest.mark.parametrize("step", range(1, 15))
def test_pulled_out_at_a_step(rig, start, step):
    controller = start("--size", "32M")
    target = f"inproc:nvme,address=vfio-user:{controller.path},verify=rules+surprise:{step}"
    done = rig.auriga("bench", "block", "--count", "200", "--qd", "4", target, check=False, timeout=30)
    assert f"injected: the device is gone at step {step}, " in done.stderr
    assert not re.search("rule .* broken", done.stderr), done.stderr


def test_the_page_has_them_all():
    root = Path(__file__).parents[2]
    done = subprocess.run([root / "scripts/check-rules"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout
