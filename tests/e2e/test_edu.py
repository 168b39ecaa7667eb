# SPDX-License-Identifier: MIT
"""A device with addresses of 28 bits, QEMU's edu: a client's own data reach it, wherever they are."""

import errno
import json

import pytest


FORMS = ["process", "thread", "app"]
MASK = 1 << 28


pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def target(rig, form):
    address = rig.run("auriga-lab", "up", "--name", "edu0", "--device", "edu").stdout.split()[0]
    rig.labs.append("edu0")
    if form == "process":
        rig.manager()
        rig.auriga("attach", address, "--driver", "t-edu", "--name", "edu0")
        return "edu0"
    return f"inproc:t-edu,address={address}" + (",poll=app" if form == "app" else "")


def dma_faults(rig):
    (lab,) = json.loads(rig.run("auriga-lab", "ls", "--json").stdout)
    return sum(function["dma_faults"] for function in lab["functions"])


def client(rig, *args):
    return rig.run("../tests/edu_client", *args, check=False)


@pytest.mark.parametrize("form", FORMS)
def test_a_clients_data_land_below_the_mask(rig, form):
    """From memory above the mask, unaligned, by way of a buffer; from the handle's buffers as they
    are; and from elsewhere while these are the application's."""
    done = client(rig, target(rig, form))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["high"] == 1, "the application's memory is where the device cannot look"
    where = [said[key] for key in ("own", "after", "first", "second", "bounced")]
    assert all(0 < address < MASK for address in where), said
    # What lies in the handle's buffers is used where it is; what does not, in the last one of them.
    assert said["second"] == said["first"] + 4096 and said["pool"] == 3 * 16384
    assert said["bounced"] == said["first"] + said["pool"] and said["nobody_else"] == 1
    assert dma_faults(rig) == 0


@pytest.mark.parametrize("form", FORMS)
def test_one_error_for_what_is_too_long(rig, form):
    """More than the device's buffer, and more than the handle's: one error each, and it goes on."""
    done = client(rig, target(rig, form))
    said = json.loads(done.stdout)
    assert said["too_long"] == -errno.EINVAL and said["longer_than_a_buffer"] == -errno.EMSGSIZE
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "longer than the handle's buffers" in lines[1], lines
    assert 0 < said["after"] < MASK


@pytest.mark.parametrize("form", FORMS)
def test_buffers_that_it_cannot_reach(rig, form):
    """More of them than 28 bits reach, or than a client may have: one clear reason, and a smaller wish
    is granted."""
    unit = target(rig, form)
    done = client(rig, unit, "512", "1048576")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].count("buffers") >= 1, done.stderr
    assert "28-bit addresses): use fewer, or smaller ones" in done.stderr or form == "process"
    assert client(rig, unit).returncode == 0
