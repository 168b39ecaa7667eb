# SPDX-License-Identifier: MIT
"""libauriga from outside: cancellation through a host, the same string everywhere, and claims."""

import subprocess

import pytest



pytestmark = pytest.mark.usefixtures("drivers_of_tests")


FORMS = pytest.mark.parametrize("target", ["storm0", "inproc:t-cancel", "inproc:t-cancel,poll=app"])


def storm(rig, target, requests, seconds):
    """Submit and cancel from many threads. Through a host, the same one is there afterwards."""
    if target == "storm0":
        rig.manager()
        rig.auriga("attach", "virtual", "--driver", "t-cancel", "--name", target)
    done = subprocess.run([rig.build / "tests/cancel_storm", target, str(requests)], check=False,
                          capture_output=True, text=True, timeout=seconds)
    print(f"{target}: {done.stdout.strip()}")
    assert done.returncode == 0, done.stderr + done.stdout
    if target == "storm0":
        assert rig.row(target)["restarts"] == 0
        assert rig.row(target)["state"] == "running"


def test_cancel_storm_through_a_host(rig):
    storm(rig, "storm0", 200_000, 50)


@FORMS
@pytest.mark.soak
@pytest.mark.timeout(3700)
def test_cancel_storm_of_ten_million(rig, target):
    storm(rig, target, 10_000_000, 3600)


@FORMS
@pytest.mark.soak
@pytest.mark.tsan
@pytest.mark.timeout(1900)
def test_cancel_storm_of_a_million(rig, target):
    """For the build with ThreadSanitizer: a race ends the client, or the host, which is seen here."""
    storm(rig, target, 1_000_000, 1800)


def test_one_device_one_place(rig, build):
    address, _ = rig.lab()
    rig.manager()
    rig.auriga("attach", address, "--name", "port0")
    target = f"inproc:uart16550,address={address}"
    refused = rig.auriga("export", target, "pty", "--link", rig.rundir / "tty", check=False)
    assert refused.returncode != 0
    # One line, with the holder in it.
    assert refused.stderr.count("\n") == 1
    assert "auriga-host" in refused.stderr and "pid" in refused.stderr, refused.stderr
    rig.auriga("detach", "port0")
    child = rig.start("auriga", "export", target, "pty", "--link", rig.rundir / "tty", ready=True)
    refused = rig.auriga("attach", address, "--name", "port0", check=False)
    assert refused.returncode != 0 and str(child.pid) in refused.stderr, refused.stderr
    rig.stop(child)
    rig.auriga("attach", address, "--name", "port0")


def test_a_flood_leaves_room_for_others(rig, build):
    """The 99th percentile of one request at a time stays within ten times its quiet value."""
    rig.manager()
    rig.auriga("attach", "virtual", "--driver", "echo", "--name", "echo0")
    for _ in range(3):  # the machine has other things to do, too
        done = subprocess.run([build / "bench/fairness", "echo0", "2"], check=False,
                              capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return
    raise AssertionError(done.stdout + done.stderr)
