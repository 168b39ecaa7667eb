# SPDX-License-Identifier: MIT
"""Disks as files, by FUSE, and file systems on them, with a driver that is killed meanwhile."""

import concurrent.futures
import hashlib
import mmap
import os
import shutil
import signal
import time

import pytest

from disk import Killer, Loop, Mounted, attach, need, tool

MIB = 1 << 20


pytestmark = pytest.mark.usefixtures("drivers_of_tests")


@pytest.fixture(autouse=True)
def complete():
    """Nothing is skipped: a machine that cannot do this cannot say that it works."""
    need("fusermount3", "losetup", "mkfs.ext4", "fsck.ext4")
    assert os.path.exists("/dev/fuse"), "/dev/fuse is missing: modprobe fuse"
    assert os.path.exists("/dev/loop-control"), "/dev/loop-control is missing: modprobe loop"
    assert os.geteuid() == 0, "loop devices and mounts take root"


@pytest.fixture
def where(rundir):
    return rundir / "disks"


def test_a_file_of_the_disks_size(rig, where):
    rig.manager()
    attach(rig, size_mib=16)
    with Mounted(rig, "disk0", where) as disk:
        assert disk.child.first_line == f"{where}/disk0 is disk0\n"
        assert os.listdir(where) == ["disk0"]
        assert disk.path.stat().st_size == 16 * MIB
        data = os.urandom(3 * MIB)
        with open(disk.path, "r+b", buffering=0) as f:
            assert f.write(data) == len(data)
            os.fsync(f.fileno())
            # Reads and writes at any byte, nothing behind the end.
            f.seek(777)
            assert f.read(100_000) == data[777:100_777]
            piece = os.urandom(3000)
            assert os.pwrite(f.fileno(), piece, MIB + 5) == 3000
            data = data[:MIB + 5] + piece + data[MIB + 3005:]
            with pytest.raises(OSError, match="No space"):
                os.pwrite(f.fileno(), bytes(512), 16 * MIB)
            assert os.pread(f.fileno(), 4096, 16 * MIB - 512) == bytes(512)
            assert os.pread(f.fileno(), 4096, 16 * MIB) == b""
        for name in ("other", "disk0/x"):
            with pytest.raises(OSError):
                open(where / name, "rb")
        # The same that everybody else sees.
        done = rig.auriga("block", "read", "--length", "3m", "disk0", text=False)
        assert done.stdout == data


@pytest.mark.parametrize("target", ["inproc:t-disk,size-mib=4", "inproc:t-disk,size-mib=4,poll=app"])
def test_in_this_process(rig, where, target):
    where.mkdir()
    child = rig.start("auriga", "export", target, "fuse", "--mount", where, ready=True)
    path = where / os.listdir(where)[0]
    data = os.urandom(4 * MIB)
    with open(path, "r+b", buffering=0) as f:
        f.write(data)
        f.seek(0)
        assert f.read(4 * MIB) == data
    rig.stop(child)
    assert not os.path.ismount(where) and child.returncode == 0


def test_holes_and_zeroes(rig, where):
    rig.manager()
    attach(rig, size_mib=8)
    with Mounted(rig, "disk0", where) as disk:
        disk_fill = os.urandom(8 * MIB)
        with open(disk.path, "r+b", buffering=0) as f:
            f.write(disk_fill)
        tool("fallocate", "--punch-hole", "--offset", MIB, "--length", MIB, disk.path)
        tool("fallocate", "--zero-range", "--keep-size", "--offset", 3 * MIB, "--length", 4096, disk.path)
        want = bytearray(disk_fill)
        want[MIB:2 * MIB] = bytes(MIB)
        want[3 * MIB:3 * MIB + 4096] = bytes(4096)
        with open(disk.path, "rb", buffering=0) as f:
            assert f.read() == want
        with Loop(disk.path) as device:
            tool("blkdiscard", "--offset", 4 * MIB, "--length", MIB, device)
            want[4 * MIB:5 * MIB] = bytes(MIB)
        with open(disk.path, "rb", buffering=0) as f:
            assert f.read() == want


def test_read_only_and_a_new_size(rig, where):
    rig.manager()
    attach(rig, driver="t-disk", read_only=1)
    with Mounted(rig, "disk0", where) as disk:
        with pytest.raises(OSError, match="Read-only"):
            open(disk.path, "r+b")
    attach(rig, "disk1", "t-disk", size_mib=16, resize=1)
    with Mounted(rig, "disk1", where) as disk:
        assert disk.path.stat().st_size == 16 * MIB
        with open(disk.path, "r+b", buffering=0) as f:
            os.fsync(f.fileno())
        rig.wait_for(lambda: disk.path.stat().st_size == 8 * MIB, 5, "the new size")


def test_stale_mounts_and_refusals(rig, where):
    rig.manager()
    attach(rig)
    rig.auriga("attach", "virtual", "--driver", "t-echo", "--name", "echo0")
    where.mkdir()
    for words, said in ((["nobody", "fuse", "--mount", where], "nobody"), (["echo0", "fuse", "--mount", where], "disks"),
                        (["disk0", "fuse", "--mount", rig.rundir / "none"], "No such file"),
                        (["disk0", "fuse"], "usage")):
        done = rig.auriga("export", *words, check=False)
        assert done.returncode != 0 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
    child = rig.start("auriga", "export", "disk0", "fuse", "--mount", where, ready=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with pytest.raises(OSError):
        os.listdir(where)
    with Mounted(rig, "disk0", where):
        assert os.listdir(where) == ["disk0"]
    # Unmounted by somebody else: the exporter ends.
    child = rig.start("auriga", "export", "disk0", "fuse", "--mount", where, ready=True)
    tool("fusermount3", "-u", where)
    assert child.wait(10) == 0


def stamp(worker, turn, offset):
    """4 MiB that nothing else looks like."""
    seed = hashlib.sha256(f"{worker} {turn} {offset}".encode()).digest()
    return (seed * (4 * MIB // len(seed) // 64 + 1))[:4 * MIB // 64] * 64


def hammer(device, worker, workers, size, seconds):
    """Writes of 4 MiB with O_DIRECT to this worker's part of the device, each read back: a count."""
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 4 * MIB)
    end, turn = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end or turn == 0:
            offset = (worker + workers * (turn % (size // workers // (4 * MIB)))) * 4 * MIB
            data = stamp(worker, turn, offset)
            page[:] = data
            assert os.pwrite(fd, page, offset) == 4 * MIB
            page[:] = bytes(4 * MIB)
            assert os.preadv(fd, [page], offset) == 4 * MIB
            assert page[:] == data, f"worker {worker}, turn {turn}, offset {offset}"
            turn += 1
    finally:
        os.close(fd)
        page.close()
    return turn


def check_large_writes(rig, where, seconds):
    rig.manager()
    attach(rig, size_mib=256)
    with Mounted(rig, "disk0", where) as disk, Loop(disk.path) as device:
        with Killer(rig, "disk0", 0.5) as killer, concurrent.futures.ProcessPoolExecutor(8) as pool:
            jobs = [pool.submit(hammer, device, i, 8, 256 * MIB, seconds) for i in range(8)]
            turns = [job.result() for job in jobs]
        assert min(turns) > 2 and killer.kills > 1
        print(f"{sum(turns)} writes of 4 MiB, {killer.kills} kills")


def test_concurrent_large_writes_through_a_direct_loop(rig, where):
    """Eight at once, each read back: no byte of one in another. The host dies meanwhile."""
    check_large_writes(rig, where, 4)


def check_file_system(rig, where, tmp_path, rounds, size_mib=256):
    rig.manager()
    attach(rig, size_mib=size_mib)
    tree = rig.rundir / "tree"
    for i in range(40):
        (tree / f"d{i % 7}").mkdir(parents=True, exist_ok=True)
        (tree / f"d{i % 7}" / f"f{i}").write_bytes(os.urandom(1000 * i * i))
    mount = rig.rundir / "mnt"
    mount.mkdir()
    with Mounted(rig, "disk0", where) as disk, Loop(disk.path) as device:
        with Killer(rig, "disk0", 0.3) as killer:
            tool("mkfs.ext4", "-q", device)
            while rounds > 0 or killer.kills < 4:
                rounds -= 1
                tool("mount", device, mount)
                try:
                    shutil.rmtree(mount / "tree", ignore_errors=True)
                    shutil.copytree(tree, mount / "tree")
                    tool("sync", "-f", mount)
                finally:
                    tool("umount", mount)
                tool("mount", device, mount)
                try:
                    tool("diff", "-r", tree, mount / "tree")
                finally:
                    tool("umount", mount)
                tool("fsck.ext4", "-f", "-n", device)
        print(f"{killer.kills} kills")


def test_file_system_with_kills(rig, where, tmp_path):
    check_file_system(rig, where, tmp_path, 3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_file_system_with_kills_for_long(rig, where, tmp_path):
    check_file_system(rig, where, tmp_path, 600)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_concurrent_large_writes_for_long(rig, where):
    check_large_writes(rig, where, 900)
