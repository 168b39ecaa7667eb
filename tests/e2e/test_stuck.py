# SPDX-License-Identifier: MIT
"""`auriga why-stuck`: what keeps a device, whoever still answers."""

import json
import os
import re
import signal
import time

import pytest

pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def attach(rig, driver, *args):
    rig.manager()
    rig.auriga("attach", "--name", "x", "--driver", driver, *args, "virtual")


def load(rig, *words):
    """A client that waits for what it has asked."""
    return rig.start("../tests/unit_load", "x", *words, ready=True)


def stuck(rig):
    return json.loads(rig.auriga("why-stuck", "--json", "x").stdout)


def said(rig, pattern, seconds=10):
    """The answer in which one of the reasons is this."""
    found = []

    def look():
        found[:] = [stuck(rig)]
        return any(re.search(pattern, line) for line in found[0]["because"])
    try:
        rig.wait_for(look, seconds, pattern)
    except AssertionError:
        raise AssertionError(f"'{pattern}' is not in {found[0]}") from None
    return found[0]


def test_nobody_waits(rig):
    attach(rig, "t-hold")
    answer = said(rig, "^no request is outstanding: nobody waits for it$")
    assert answer["answers"] == "lane" and answer["host"]["device"]["state"] == "d0"
    assert any("created, start -> prepare" in line for line in answer["host"]["history"])
    out = rig.auriga("why-stuck", "x").stdout
    assert out.startswith("no request is outstanding"), out


def test_the_driver_holds_a_request(rig):
    attach(rig, "t-hold")
    load(rig, "op", "1", "3")
    rig.wait_for(lambda: stuck(rig)["host"]["device"]["owned"] == 3, 10, "the driver has them")
    out = rig.auriga("why-stuck", "x").stdout
    assert out.startswith("the oldest of 3 requests, "), out
    answer = said(rig, r"^the oldest of 3 requests, 'operation 17' of unit 0, waits for at least "
                       r"[1-9]\d*\.\d s: the driver has it$")
    oldest = answer["host"]["requests"][0]
    assert oldest["owner"] == "driver" and oldest["age_ms"] >= 950
    assert answer["host"]["queues"][0]["owned"] == 3
    time.sleep(1)
    assert stuck(rig)["host"]["requests"][0]["age_ms"] >= oldest["age_ms"] + 1000


def test_a_cancelled_request_that_is_held(rig):
    attach(rig, "t-hold", "--policy", "request_timeout=60")
    client = load(rig, "op", "1", "1")
    rig.wait_for(lambda: stuck(rig)["host"]["device"]["owned"] == 1, 10, "the driver has it")
    client.kill()
    answer = said(rig, "and it was cancelled$")
    assert answer["host"]["requests"][0]["cancel_asked"]
    rig.wait_for(lambda: stuck(rig)["host"]["requests"][0]["overdue_ms"] >= 1000, 10, "overdue")


def test_a_lane_that_does_not_come_back(rig):
    """Its driver waits for itself, in the middle of a request; nothing ends it."""
    attach(rig, "t-stuck", "--policy", "hold=yes")
    load(rig, "op", "1", "1")
    answer = said(rig, r"^the driver does not come back to its lane; the device is in state 'd0'")
    assert answer["answers"] == "host" and answer["state_seen"] == "d0"
    assert any(r["point"] == "handle_open" for r in answer["records"])
    answer = said(rig, r"^lane 0 has not shown a sign of life for \d")
    assert not answer["lanes"][0]["alive"]
    assert any("hold" in line for line in answer["because"])


def test_a_host_that_is_stopped(rig):
    attach(rig, "t-hold", "--policy", "hold=yes")
    pid = rig.row("x")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = said(rig, rf"^its process {pid} is stopped")
        assert answer["answers"] == "nobody"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_start_that_does_not_end(rig):
    rig.manager()
    rig.start("auriga", "attach", "--name", "x", "--driver", "t-stuck", "--param", "in=2", "virtual")
    rig.wait_for(lambda: rig.auriga("why-stuck", "x", check=False).returncode == 0, 10, "x is there")
    answer = said(rig, r"^its host, process \d+, is on its way up: in 'd0-entry' since \d")
    assert answer["answers"] == "nobody" and answer["state"] == "starting"


def test_a_device_that_is_suspended(rig):
    attach(rig, "t-hold")
    rig.auriga("power", "suspend")
    load(rig, "op", "2", "1")
    answer = said(rig, r"^1 requests wait in queue 0 of unit 0, lane 0: the device is not in D0$")
    assert any("'auriga power resume'" in line for line in answer["because"])
    assert any(line.startswith("power: suspended") for line in answer["because"])
    rig.auriga("power", "resume")


def test_one_in_quarantine(rig):
    rig.manager()
    rig.auriga("attach", "--name", "x", "--driver", "t-crash", "virtual")
    for _ in range(8):
        if rig.row("x")["state"] == "quarantined":
            break
        rig.run("../tests/unit_load", "x", "op", "1", "1", check=False, timeout=30)
    answer = said(rig, "^it is quarantined for ")
    assert any("'auriga restart x'" in line for line in answer["because"])


def test_nonsense_is_refused(rig):
    rig.manager()
    for args, says in ((("nobody",), "no device 'nobody'"), ((), "usage: auriga why-stuck")):
        done = rig.auriga("why-stuck", *args, check=False)
        assert done.returncode and says in done.stderr, done
