# SPDX-License-Identifier: MIT
"""Exporters of disks and what goes wrong around them: clients, devices, mounts."""

import os
import random
import signal
import subprocess
import threading

import pytest

import nbd_client as nbd
from crowd import Watch
from disk import Mounted, attach, need, tool

MIB = 1 << 20


pytestmark = pytest.mark.usefixtures("drivers_of_tests")


@pytest.fixture(autouse=True)
def complete():
    """Nothing is skipped: a machine that cannot do this cannot say that it works."""
    need("nbdkit", "fusermount3")


def export(rig, target):
    """auriga export TARGET nbd: its process, and its socket."""
    path = rig.rundir / "nbd"
    child = rig.start("auriga", "export", target, "nbd", "--socket", path, ready=True, stderr=subprocess.DEVNULL)
    return child, path


def taken(rig):
    """How many requests the host has taken in so far."""
    return sum(c["requests"] for c in rig.info("disk0")["host"]["channels"])


class Neighbour:
    """A connection that writes and reads all the time: whatever others do, it goes on."""

    def __init__(self, path):
        self.client = nbd.Client(path).go()
        self.turns = 0

    def check(self):
        for _ in range(8):
            data, offset = os.urandom(4096), self.turns % 64 * 4096
            assert self.client.write(offset, data) == 0
            assert self.client.read(offset, 4096) == data
            self.turns += 1


# ------------------------------------------------------------------------------------- NBD

def rubbish(rng):
    """What no client should send, after the greeting or after the start."""
    huge = (1 << 32) - 4096
    yield False, rng.randbytes(500)
    yield False, b"\0\0\0\3" + rng.randbytes(500)
    yield False, b"\0\0\0\3IHAVEOPT" + b"\0\0\0\7\xff\xff\xff\xff" + rng.randbytes(100)
    yield False, b"\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\4nope"
    yield True, rng.randbytes(28)
    yield True, rng.randbytes(1000)
    head = nbd.struct.Struct(">IHHQQI")
    for kind in (nbd.READ, nbd.WRITE, nbd.TRIM, nbd.ZEROES, 77):
        yield True, head.pack(nbd.MAGIC, 0, kind, 1, 0, huge)
        yield True, head.pack(nbd.MAGIC, 0xffff, kind, 1, 0, 4096)
        yield True, head.pack(nbd.MAGIC, 0, kind, 1, (1 << 64) - 4096, 4096)
        yield True, head.pack(nbd.MAGIC, 0, kind, 1, 16 * MIB - 512, 1024)
        yield True, head.pack(nbd.MAGIC, 0, kind, 1, 7, 100)
    # Half a write, and half a head.
    yield True, head.pack(nbd.MAGIC, 0, nbd.WRITE, 1, MIB, MIB) + bytes(4096)
    yield True, head.pack(nbd.MAGIC, 0, nbd.WRITE, 1, MIB, MIB)[:10]


def test_rubbish_costs_its_sender_only(rig):
    rig.manager()
    attach(rig, size_mib=16)
    child, path = export(rig, "disk0")
    good = Neighbour(path)
    rng = random.Random(3)
    for started, data in rubbish(rng):
        with nbd.Client(path) as client:
            if started:
                client.go()
            try:
                client.send(data)
                client.sock.shutdown(nbd.socket.SHUT_WR)
                # Refused, or the end: it is not left waiting.
                while client.sock.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
        good.check()
    assert rig.row("disk0")["restarts"] == 0
    with nbd.Client(path) as client:
        assert client.go().size == 16 * MIB
    rig.stop(child)
    assert child.returncode == 0


def test_wrong_requests_are_answered(rig):
    """Not whole blocks, behind the end, unknown: an error each, and the connection goes on."""
    rig.manager()
    attach(rig, driver="t-disk", size_mib=16, block_size=4096)
    _, path = export(rig, "disk0")
    with nbd.Client(path) as client:
        client.go()
        for kind, offset, length in ((nbd.READ, 512, 4096), (nbd.READ, 0, 100), (nbd.READ, 16 * MIB, 4096),
                                     (nbd.TRIM, 16 * MIB - 4096, 8192), (nbd.ZEROES, 1 << 62, 4096), (77, 0, 4096)):
            handle = client.ask(kind, offset, length)
            got, error, _ = client.answer()
            assert got == handle and error != 0, (kind, offset, length)
            assert client.read(8192, 4096) == bytes(4096)


def test_hung_up_in_the_middle_of_writes(rig):
    """Whole writes are kept, halves do no harm, and nobody's place is lost."""
    rig.manager()
    attach(rig, driver="t-disk", size_mib=16, slow_ms=5)
    _, path = export(rig, "disk0")
    good = Neighbour(path)
    for i in range(150):  # more than there are places
        with nbd.Client(path) as client:
            client.go()
            client.ask(nbd.WRITE, 4 * MIB, 65536, b"\x55" * 65536)
            client.ask(nbd.WRITE, 5 * MIB, 65536, b"\x66" * (i * 400))
        if i % 30 == 0:
            good.check()
    good.check()
    assert good.client.read(4 * MIB, 65536) == b"\x55" * 65536
    assert set(good.client.read(5 * MIB, 65536)) <= {0, 0x66}


def test_a_host_that_is_stopped(rig):
    """Requests take longer, all of them, and are right."""
    rig.manager()
    attach(rig, size_mib=16)
    _, path = export(rig, "disk0")
    with nbd.Client(path) as client:
        client.go()
        for i in range(16):
            assert client.write(i * 4096, bytes([i]) * 4096) == 0
        os.kill(rig.row("disk0")["pid"], signal.SIGSTOP)
        watch = Watch()
        handles = {client.ask(nbd.READ, i * 4096, 4096): i for i in range(16)}
        for _ in range(16):
            handle, error, data = client.answer(4096)
            assert error == 0 and data == bytes([handles.pop(handle)]) * 4096
        assert watch.took() < 5
    assert rig.row("disk0")["restarts"] == 1


def test_a_device_that_goes_under_requests(rig):
    """Those who wait are told at once, later ones too; what is there next serves the next connection."""
    rig.manager()
    attach(rig, driver="t-disk", size_mib=16, slow_ms=10000)
    child, path = export(rig, "disk0")
    with nbd.Client(path) as client:
        client.go()
        before = taken(rig)
        handles = {client.ask(nbd.READ, i * 4096, 4096) for i in range(12)}
        rig.wait_for(lambda: taken(rig) >= before + 12, 5, "requests in the driver")
        watch = Watch()
        rig.auriga("detach", "--force", "disk0")
        for _ in range(12):
            handle, error, _ = client.answer(4096)
            assert error == nbd.ESHUTDOWN, error
            handles.remove(handle)
        assert watch.took() < 5
        client.ask(nbd.WRITE, 0, 4096, bytes(4096))
        assert client.answer()[1] == nbd.ESHUTDOWN
        attach(rig, size_mib=32)

        def size():
            with nbd.Client(path) as other:
                return other.go().size
        rig.wait_for(lambda: size() == 32 * MIB, 5, "the next device")
        client.ask(nbd.READ, 0, 4096)
        assert client.answer(4096)[1] == nbd.ESHUTDOWN, "the old connection is the old device's"
    with nbd.Client(path) as client:
        assert client.go().write(31 * MIB, b"\7" * 4096) == 0
        assert client.read(31 * MIB, 4096) == b"\7" * 4096
    assert child.poll() is None


def test_what_is_promised_is_what_there_is(rig):
    """Flags: 1 known, 2 read-only, 4 flush, 8 FUA, 32 trim, 64 zeroes, 256 several connections, 2048 fast."""
    def flags(name, **params):
        attach(rig, name, "t-disk", **params)
        child = rig.start("auriga", "export", name, "nbd", "--socket", rig.rundir / name, ready=True)
        with nbd.Client(rig.rundir / name) as client:
            said = client.go().flags
        rig.stop(child)
        return {bit for bit in (1, 2, 4, 8, 32, 64, 256, 2048) if said & bit}
    rig.manager()
    assert flags("all") == {1, 4, 8, 32, 64, 256, 2048}
    # Zeroes can always be written; where they have to be sent, that is not fast.
    assert flags("plain", ranges=0) == {1, 4, 8, 64, 256}
    assert flags("fixed", read_only=1) <= {1, 2, 4, 256}


# ------------------------------------------------------------------------------------ FUSE

def test_unmounted_while_in_use(rig):
    """Refused while a file is open; if it is done all the same, the exporter ends with the last of them."""
    rig.manager()
    attach(rig, size_mib=16)
    where = rig.rundir / "disks"
    where.mkdir()
    child = rig.start("auriga", "export", "disk0", "fuse", "--mount", where, ready=True)
    with open(where / "disk0", "r+b", buffering=0) as f:
        done = subprocess.run(["fusermount3", "-u", where], capture_output=True, text=True, check=False)
        assert done.returncode != 0 and "busy" in done.stderr
        assert os.pwrite(f.fileno(), b"\1" * 4096, 0) == 4096
        tool("fusermount3", "-u", "-z", where)
        assert not os.path.ismount(where)
        assert os.pread(f.fileno(), 4096, 0) == b"\1" * 4096
        assert child.poll() is None
    assert child.wait(10) == 0


def test_ended_while_in_use(rig):
    """SIGTERM: what is outstanding is answered first, and the mount is gone, whoever has a file open."""
    rig.manager()
    attach(rig, driver="t-disk", size_mib=16, slow_ms=1000)
    where = rig.rundir / "disks"
    where.mkdir()
    child = rig.start("auriga", "export", "disk0", "fuse", "--mount", where, ready=True)
    with open(where / "disk0", "r+b", buffering=0) as f:
        result, before = [], taken(rig)

        def write():
            result.append(os.pwrite(f.fileno(), b"\1" * 4096, 0))
        thread = threading.Thread(target=write)
        thread.start()
        rig.wait_for(lambda: taken(rig) > before, 5, "a write in the driver")
        child.send_signal(signal.SIGTERM)
        thread.join(15)
        assert result == [4096]
        assert child.wait(10) == 0 and not os.path.ismount(where)
        with pytest.raises(OSError):
            os.pread(f.fileno(), 4096, 0)


def test_the_device_goes_under_a_file(rig):
    """Who reads is told, and the exporter says why it ends; no mount is left."""
    rig.manager()
    attach(rig, driver="t-disk", size_mib=16, slow_ms=10000)
    where = rig.rundir / "disks"
    where.mkdir()
    child = rig.start("auriga", "export", "disk0", "fuse", "--mount", where, ready=True, stderr=subprocess.PIPE)
    with open(where / "disk0", "rb", buffering=0) as f:
        result, before = [], taken(rig)

        def read():
            try:
                result.append(os.pread(f.fileno(), 4096, 0))
            except OSError as error:
                result.append(error)
        thread = threading.Thread(target=read)
        thread.start()
        rig.wait_for(lambda: taken(rig) > before, 5, "a read in the driver")
        rig.auriga("detach", "--force", "disk0")
        thread.join(10)
        assert isinstance(result[0], OSError), result
    assert child.wait(10) != 0 and not os.path.ismount(where)
    said = child.stderr.read()
    assert "disk0" in said and "unmounting" in said and said.count("\n") == 1, said


def test_mount_points_that_are_none(rig):
    """Not empty, a file, missing, not ours: one line, and nothing is hidden under a mount."""
    rig.manager()
    attach(rig)
    full, plain = rig.rundir / "full", rig.rundir / "plain"
    full.mkdir()
    (full / "precious").write_text("x")
    plain.write_text("x")
    for directory, said in ((full, "not empty"), (plain, "no directory"), (rig.rundir / "none", "No such")):
        done = rig.auriga("export", "disk0", "fuse", "--mount", directory, check=False)
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert (full / "precious").read_text() == "x"
    with Mounted(rig, "disk0", rig.rundir / "good"):
        done = rig.auriga("export", "disk0", "fuse", "--mount", rig.rundir / "good", check=False)
        assert done.returncode == 1 and "not empty" in done.stderr
