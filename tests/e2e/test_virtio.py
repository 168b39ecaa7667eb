# SPDX-License-Identifier: MIT
"""virtio disks: one driver, on a PCI function and over vhost-user, which it cannot tell apart."""

import json
import random

import pytest
import serial

from chaos import Chaos, gap_limit
from disk import bench
from rig import kill_host
from virtio import MIB, UserDisk, disk, info, random_source, target

KINDS = ["lab-split", "lab-packed", "user"]
FORMS = ["process", "thread", "app"]
PAGE = 4096


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", KINDS)
def test_data_are_where_they_belong(rig, which, form):
    """What is written is in the image; what is in the image is read."""
    device, path = disk(rig, which)
    unit = target(rig, device.address, form)
    seen = info(rig, unit)
    assert seen["bytes"] == 64 * MIB and seen["block_size"] == 512
    assert {"cache", "discard", "write-zeroes"} <= set(seen["flags"])
    data = random.Random(which).randbytes(3 * MIB + 512)
    rig.auriga("block", "write", "--offset", 7 * MIB + 512, unit, text=False, input=data)
    image = path.read_bytes()
    assert image[7 * MIB + 512:][:len(data)] == data
    assert not any(image[:7 * MIB + 512]) and not any(image[7 * MIB + 512 + len(data):])
    done = rig.auriga("block", "read", "--offset", 8 * MIB, "--length", MIB, unit, text=False)
    assert done.stdout == image[8 * MIB:9 * MIB]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", KINDS)
def test_each_read_is_the_last_write(rig, which, form):
    device, _ = disk(rig, which)
    unit = target(rig, device.address, form)
    for depth in (1, 64):
        result = bench(rig, unit, "--verify", "--qd", depth, "--count", 500)
        assert result["errors"] == 0 and result["mismatches"] == 0 and result["ios"] >= 500


@pytest.mark.parametrize("which", KINDS)
def test_hosts_that_die(rig, which):
    """Under load, with its host killed and replaced: no error, no older data, and it goes on."""
    device, _ = disk(rig, which)
    unit = target(rig, device.address, "process")
    with Chaos(rig, unit, {"kill", "stop", "restart"}) as chaos:
        done = rig.auriga("bench", "block", "--verify", "--json", "--qd", 16, "--time", 4, unit, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout)
    assert result["errors"] == 0 and result["mismatches"] == 0 and result["ios"] > 300
    assert sum(chaos.done.values()) >= 3, chaos.done
    assert result["lat_us"]["max"] < gap_limit() * 1e6


@pytest.mark.parametrize("which", ["lab-split", "lab-packed"])
def test_one_that_is_silent_for_too_long(rig, which):
    """Requests that are late cost a reset of the device, and nobody an error."""
    device, _ = disk(rig, which)
    unit = target(rig, device.address, "process", "timeout-ms=200")
    with Chaos(rig, unit, {"freeze"}, lab=device.name):
        result = bench(rig, unit, "--verify", "--qd", 8, "--time", 4)
    assert result["errors"] == 0 and result["mismatches"] == 0 and result["ios"] > 100


def test_read_only(rig):
    device, _ = disk(rig, "user", writable=False)
    unit = target(rig, device.address, "thread")
    assert "read-only" in info(rig, unit)["flags"]
    done = rig.auriga("block", "write", unit, text=False, input=bytes(PAGE), check=False)
    assert done.returncode != 0 and done.stderr.endswith(b"is read-only\n")


@pytest.mark.parametrize("which", KINDS)
def test_without_interrupts(rig, which):
    device, _ = disk(rig, which)
    result = bench(rig, target(rig, device.address, "process", "polled=1"), "--verify", "--qd", 4, "--count", 500)
    assert result["errors"] == 0 and result["mismatches"] == 0 and result["ios"] >= 500


@pytest.mark.parametrize("form", FORMS)
def test_a_back_end_that_goes(rig, form):
    """Whoever waits for it is told in one line; nothing else falls."""
    device, path = disk(rig, "user")
    unit = target(rig, device.address, form)
    rig.auriga("block", "write", unit, text=False, input=b"x" * PAGE)
    load = rig.start("auriga", "bench", "block", "--qd", "8", "--time", "30", "--json", unit)
    rig.wait_for(lambda: load.poll() is None and path.stat().st_size, 5, "the load")
    device.kill()
    rig.wait_for(lambda: load.poll() is not None, 10, "the end of the load")
    assert load.returncode != 0


def test_dma_that_no_iommu_sees(rig):
    """It would reach for whatever is at those addresses in the host: it is not used at all."""
    device, _ = disk(rig, "lab-split", iommu="off")
    done = rig.auriga("block", "info", target(rig, device.address, "app"), check=False)
    assert done.returncode != 0 and "does not go through an IOMMU" in done.stderr


def test_nobody_there(rig):
    done = rig.auriga("block", "info", f"inproc:virtio-blk,address=vhost-user:{rig.rundir}/none", check=False)
    assert done.returncode != 0 and done.stderr.count("\n") == 1, done.stderr


def test_a_second_host_finds_it_as_it_was_left(rig):
    """Back-ends serve one front-end at a time; the next one begins anew."""
    device, _ = disk(rig, "user")
    for i in range(3):
        unit = target(rig, device.address, "app")
        data = bytes([i]) * PAGE
        rig.auriga("block", "write", "--offset", i * PAGE, unit, text=False, input=data)
        done = rig.auriga("block", "read", "--length", (i + 1) * PAGE, unit, text=False)
        assert done.stdout[-PAGE:] == data and done.stdout[:PAGE] == bytes(PAGE)
    assert isinstance(device, UserDisk)


@pytest.mark.parametrize("packed", [False, True])
def test_random_bytes(rig, packed):
    """As many as are read, none of them twice, and a host that dies does not end it."""
    rig.manager()
    name = rig.auriga("attach", random_source(rig, packed)).stdout.strip()
    rig.start("auriga", "export", name, "pty", "--link", rig.rundir / "tty", ready=True)
    with serial.Serial(str(rig.rundir / "tty"), timeout=20) as port:
        data = port.read(8192)
        kill_host(rig, name)
        data += port.read(56 * 1024)
    assert len(data) == 64 * 1024
    assert all(abs(data.count(bytes([value])) - 256) < 128 for value in range(256))
    pieces = [data[i:i + 16] for i in range(0, len(data), 16)]
    assert len(set(pieces)) == len(pieces)
