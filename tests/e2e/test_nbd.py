# SPDX-License-Identifier: MIT
"""Disks over NBD, with the programs that people use, and a driver that is killed meanwhile."""

import json
import os
import socket
import stat
import struct
import subprocess
import time

import pytest

from disk import Killer, attach, need, tool

MIB = 1 << 20


pytestmark = pytest.mark.usefixtures("drivers_of_tests")


@pytest.fixture(autouse=True)
def complete():
    """Nothing is skipped: a machine that cannot do this cannot say that it works."""
    need("nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "fio")


class Export:
    """auriga export NAME nbd: where it is, and that nothing is left of it."""

    def __init__(self, rig, target, *words):
        self.rig = rig
        self.socket = rig.rundir / "nbd"
        self.errors = open(rig.rundir / "nbd.err", "w+", encoding="utf-8")
        self.child = rig.start("auriga", "export", target, "nbd", *words, "--socket", self.socket,
                               ready=True, stderr=self.errors)
        assert self.child.first_line == f"{self.socket} is {target}\n"
        self.uri = f"nbd+unix:///?socket={self.socket}"

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.rig.stop(self.child)
        assert self.child.returncode == 0
        assert not self.socket.exists()
        self.errors.close()


def info(export):
    return json.loads(tool("nbdinfo", "--json", export.uri))["exports"][0]


@pytest.mark.parametrize("target", ["process", "inproc:t-disk,size-mib=16", "inproc:t-disk,size-mib=16,poll=app"])
def test_nbdinfo(rig, target):
    if target == "process":
        rig.manager()
        target = attach(rig, driver="t-disk", size_mib=16)
    with Export(rig, target) as export:
        said = info(export)
        assert said["export-size"] == 16 * MIB
        assert said["block_size_minimum"] == 512 and said["block_size_preferred"] == 4096
        for word in ("can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero", "can_multi_conn"):
            assert said[word], word
        assert not said["is_read_only"] and not said["is_rotational"]
        assert not export.said()


def test_read_only(rig):
    rig.manager()
    attach(rig, driver="t-disk", read_only=1, ranges=0, block_size=4096)
    with Export(rig, "disk0") as export:
        said = info(export)
        assert said["is_read_only"] and not said["can_trim"] and said["block_size_minimum"] == 4096
    attach(rig, "disk1", "ram")
    with Export(rig, "disk1", "--read-only") as export:
        assert info(export)["is_read_only"]


def test_copy_and_compare(rig):
    """nbdcopy and qemu-img, there and back; holes as discards."""
    rig.manager()
    attach(rig, size_mib=64)
    image, back, qcow = (rig.rundir / n for n in ("image", "back", "qcow"))
    data = os.urandom(20 * MIB) + bytes(20 * MIB) + os.urandom(24 * MIB)
    image.write_bytes(data)
    with Export(rig, "disk0") as export:
        tool("nbdcopy", image, export.uri)
        tool("nbdcopy", export.uri, back)
        assert back.read_bytes() == data
        tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", export.uri, qcow)
        tool("qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow, export.uri)
        tool("qemu-io", "-f", "raw", "-c", "discard 0 1M", "-c", "write -z 2M 1M", "-c", "write -P 7 -f 4M 64k",
             "-c", "flush", export.uri)
        tool("nbdcopy", export.uri, back)
        want = bytes(MIB) + data[MIB:2 * MIB] + bytes(MIB) + data[3 * MIB:4 * MIB] + b"\7" * 65536
        assert back.read_bytes() == want + data[len(want):]
        # The same that everybody else sees.
        done = rig.auriga("block", "read", "disk0", text=False)
        assert done.stdout == back.read_bytes()
        assert not export.said()


def test_large_requests_and_small_limits(rig):
    """One request of 32 MiB, on a disk that takes 64 KiB at a time, four at once."""
    rig.manager()
    attach(rig, driver="t-disk", size_mib=64, max_transfer=65536, depth=4)
    with Export(rig, "disk0") as export:
        tool("qemu-io", "-f", "raw", "-c", "write -P 90 0 32M", "-c", "read -P 90 0 32M", export.uri)
        tool("nbdcopy", "--request-size=33554432", "--requests=16", export.uri, "null:")


def test_errors_arrive(rig):
    """A bad medium is EIO, once, and what is good stays so."""
    rig.manager()
    attach(rig, driver="t-disk", bad_from=65536)
    with Export(rig, "disk0") as export:
        done = subprocess.run(["qemu-io", "-f", "raw", "-c", "read 0 64k", "-c", "read 64k 4k", "-c", "read 0 64k",
                               export.uri], capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout.count("read 65536/65536") == 2
        assert (done.stdout + done.stderr).count("Input/output error") == 1
        assert export.said().count("Input/output error") == 1


def test_a_new_size_is_seen(rig):
    rig.manager()
    attach(rig, driver="t-disk", size_mib=16, resize=1)
    with Export(rig, "disk0") as export:
        assert info(export)["export-size"] == 16 * MIB
        tool("qemu-io", "-f", "raw", "-c", "flush", export.uri)
        assert info(export)["export-size"] in (8 * MIB, 16 * MIB)
        sizes = set()
        for _ in range(4):
            sizes.add(info(export)["export-size"])
            rig.auriga("block", "write", "disk0", input="")
        assert sizes == {8 * MIB, 16 * MIB}


def test_refusals_and_leftovers(rig, build):
    rig.manager()
    attach(rig)
    rig.auriga("attach", "virtual", "--driver", "t-echo", "--name", "echo0")
    path = rig.rundir / "nbd"

    def refused(*words, env=None):
        done = rig.auriga("export", *words, check=False, env=env)
        assert done.returncode != 0
        return done.stderr

    assert "nobody" in refused("nobody", "nbd", "--socket", path)
    assert "disks" in refused("echo0", "nbd", "--socket", path)
    assert not path.exists()
    assert "usage" in refused("disk0", "nbd")
    path.write_text("precious")
    assert "exists" in refused("disk0", "nbd", "--socket", path)
    assert path.read_text() == "precious"
    path.unlink()
    line = refused("disk0", "nbd", "--socket", path, env={**os.environ, "PATH": "/nowhere"})
    assert "apt-get install nbdkit" in line and line.count("\n") == 1
    # What an earlier run left behind is in nobody's way; what runs is.
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with Export(rig, "disk0"):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert "in use" in refused("disk0", "nbd", "--socket", path)


def test_tcp(rig):
    rig.manager()
    attach(rig)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = rig.start("auriga", "export", "disk0", "nbd", "--port", port, ready=True)
    assert child.first_line == f"127.0.0.1:{port} is disk0\n"
    assert json.loads(tool("nbdinfo", "--json", f"nbd://127.0.0.1:{port}"))["exports"][0]["export-size"]
    rig.stop(child)


def test_client_that_hangs_up(rig):
    """Half a request, then nothing: the next client is served."""
    rig.manager()
    attach(rig)
    with Export(rig, "disk0") as export:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(export.socket))
                s.recv(18, socket.MSG_WAITALL)
                s.sendall(struct.pack(">I", 1) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
                assert len(s.recv(10 + 124, socket.MSG_WAITALL)) == 134, export.said()
                # A write of 1 MiB of which 4 KiB come.
                s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, MIB) + bytes(4096))
        assert info(export)["export-size"] == 64 * MIB


def test_a_device_that_comes_back(rig):
    """Gone under a client: an error, once; the next connection gets the next one of that name."""
    rig.manager()
    attach(rig, size_mib=16)
    with Export(rig, "disk0") as export:
        assert info(export)["export-size"] == 16 * MIB
        rig.auriga("detach", "--force", "disk0")

        def refused():
            return subprocess.run(["nbdinfo", "--size", export.uri], capture_output=True, timeout=30,
                                  check=False).returncode != 0
        rig.wait_for(refused, 5, "the end of the old one")
        attach(rig, size_mib=32)
        assert info(export)["export-size"] == 32 * MIB
        tool("nbdcopy", export.uri, "null:")


def fio(export, seconds, *more):
    out = tool("fio", "--name=v", "--ioengine=nbd", f"--uri={export.uri}", "--rw=randrw", "--bs=4k-64k",
               "--iodepth=32", "--size=48M", "--verify=crc32c", "--verify_fatal=1", "--time_based=1",
               f"--runtime={seconds}", "--verify_backlog=256", "--randseed=5", "--verify_state_save=0", "--output-format=json", *more,
               seconds=seconds * 3 + 60)
    return json.loads(out[out.index("{"):])["jobs"][0]


def check_fio(rig, seconds, interval):
    rig.manager()
    attach(rig)
    with Export(rig, "disk0") as export:
        with Killer(rig, "disk0", interval) as killer:
            job = fio(export, seconds)
        assert job["error"] == 0
        assert job["write"]["total_ios"] > 100 * seconds and job["read"]["total_ios"] > 100 * seconds
        # No second without progress.
        assert max(job[w]["clat_ns"]["max"] for w in ("read", "write")) < 1e9
        assert killer.kills > seconds / interval / 4
        assert not export.said()
        print(f"{killer.kills} kills, {job['write']['total_ios']} writes, {job['read']['total_ios']} reads")


def test_fio_with_kills(rig):
    check_fio(rig, 5, 0.3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fio_with_kills_for_long(rig):
    check_fio(rig, 1800, 0.5)


def test_one_killed_export_leaves_nothing(rig):
    """nbdkit ends with the one who started it, even if that was killed."""
    rig.manager()
    attach(rig)
    child = rig.start("auriga", "export", "disk0", "nbd", "--socket", rig.rundir / "nbd", ready=True)
    child.kill()
    child.wait()

    def silent():
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(rig.rundir / "nbd")) != 0
    rig.wait_for(silent, 10, "the end of nbdkit")
    time.sleep(0.1)
    with Export(rig, "disk0") as export:
        assert info(export)["export-size"] == 64 * MIB
