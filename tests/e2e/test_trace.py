# SPDX-License-Identifier: MIT
"""What a driver did: the flight recorder, live and after deaths, and the probes of the same names."""

import json
import re
import subprocess

import pytest

from conftest import ROOT
from rig import kill_host

pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def points():
    """The names of the table of trace points."""
    text = (ROOT / "src/base/trace.h").read_text(encoding="utf-8")
    return re.findall(r"^\tX\(\d+, (\w+), ", text, re.M)


def attach(rig, driver="t-echo", name="x"):
    rig.manager()
    rig.auriga("attach", "--name", name, "--driver", driver, "virtual")


def load(rig, *words):
    return rig.run("../tests/unit_load", "x", *words, check=False, timeout=30)


def trace(rig):
    return json.loads(rig.auriga("trace", "--json", "x").stdout)


def test_states_are_told_by_name(rig):
    attach(rig)
    assert load(rig, "load", "0.2", "4").returncode == 0
    out = rig.auriga("trace", "x").stdout
    assert re.search(r"^-- generation 1, process \d+$", out, re.M), out
    line = r"^\d\d:\d\d:\d\d\.\d{6}  lane0  device_state  step=%s$"
    for step in ("created: start -> prepare", "prepare: done -> d0-entry", "io-start: done -> d0"):
        assert re.search(line % step, out, re.M), (step, out)
    assert re.search(r"handle_open +unit=0 depth=\d+$", out, re.M), out
    times = [r["time_ns"] for r in trace(rig)]
    assert times == sorted(times)


def test_it_outlives_a_death(rig):
    """Both hosts' records, the dead one's first; each says whose it is."""
    attach(rig)
    kill_host(rig, "x")
    rig.wait_for(lambda: rig.row("x")["generation"] == 2 and rig.row("x")["state"] == "running", 10,
                 "the next host")
    out = rig.auriga("trace", "x").stdout
    assert re.search(r"^-- generation 1, process \d+, which has ended$.*^-- generation 2, process \d+$",
                     out, re.M | re.S), out
    records = trace(rig)
    steps = {g: [r["args"]["step"] for r in records
                 if r["generation"] == g and r["point"] == "device_state"] for g in (1, 2)}
    assert steps[1][-1] == steps[2][-1] == "io-start: done -> d0", steps


def test_what_is_left_when_the_manager_dies_too(rig):
    attach(rig)
    manager = rig.managers[0]
    kill_host(rig, "x")
    rig.wait_for(lambda: rig.row("x")["generation"] == 2 and rig.row("x")["state"] == "running", 10,
                 "the next host")
    rig.stop(manager, 9)
    rig.manager()
    rig.wait_for(lambda: rig.row("x")["state"] == "running", 10, "the host is adopted")
    assert {r["generation"] for r in trace(rig)} == {1, 2}


def test_following(rig):
    """It goes on across a death, and nothing comes twice."""
    attach(rig)
    follow = rig.start("auriga", "trace", "--follow", "--json", "x", ready=True)
    kill_host(rig, "x")
    rig.wait_for(lambda: rig.row("x")["generation"] == 2 and rig.row("x")["state"] == "running", 10,
                 "the next host")
    assert load(rig, "op", "0", "1").returncode == 0
    seen = [json.loads(follow.first_line)]
    while (seen[-1]["generation"], seen[-1]["point"]) != (2, "handle_close"):
        seen.append(json.loads(follow.stdout.readline()))
    rig.stop(follow)
    keys = [json.dumps(r, sort_keys=True) for r in seen]
    assert len(set(keys)) == len(keys)
    assert {r["generation"] for r in seen} == {1, 2}


def test_nonsense_is_refused(rig):
    attach(rig)
    for args, says in ((("nobody",), "no device 'nobody'"), (("--wrong", "x"), "unrecognized"),
                       ((), "usage: auriga trace")):
        done = rig.auriga("trace", *args, check=False)
        assert done.returncode and says in done.stderr, done


def test_probes_have_the_names_of_the_points(build):
    """Each point of the table is a USDT probe, where the header for that was there."""
    header = subprocess.run(["cc", "-E", "-include", "sys/sdt.h", "-xc", "/dev/null"], check=False,
                            capture_output=True, timeout=30)
    if header.returncode:
        pytest.skip("no sys/sdt.h here: systemtap-sdt-dev")
    notes = subprocess.run(["readelf", "-n", build / "src/framework/libauriga-framework.so"],
                           check=True, capture_output=True, text=True, timeout=30).stdout
    found = set(re.findall(r"Provider: auriga\n\s+Name: (\w+)", notes))
    assert found == set(points()) - {"log"}
