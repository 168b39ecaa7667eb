# SPDX-License-Identifier: MIT
"""The lab: memory, message interrupts and hot-plug."""

import errno
import fcntl
import json
import mmap
import os
import random
import signal
import struct
import subprocess
import time

import pytest

import vfu
from crowd import Watch
from vfu import CONFIG, Irq, Lab, gone, wait_until

# Half a minute, and drivers that use all of it have tests of their own: for the long form.
pytestmark = pytest.mark.sanitize_long

INTX, MSI, MSIX = 0, 1, 2
MIB = 1 << 20

NVME = ["--blockdev", "driver=memory,node-name=disk,size=16M", "--device",
        "nvme,id=nvme0,serial=lab,drive=disk"]
EDU = ["--device", "edu,id=edu0"]

# F_SEAL_*
ADD_SEALS, SEALS = 1033, 1 | 2 | 4


class Memory:
    """A memfd of the client's, sealed as the manager seals its own."""

    def __init__(self, size, sealed=True):
        self.size = size
        self.fd = os.memfd_create("client", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        if sealed:
            fcntl.fcntl(self.fd, ADD_SEALS, SEALS)
        self.map = mmap.mmap(self.fd, size)

    def __getitem__(self, where):
        return self.map[where]

    def __setitem__(self, where, data):
        self.map[where] = data

    def close(self):
        self.map.close()
        os.close(self.fd)

    def mapped_by(self, pid):
        """How often a process has it mapped."""
        inode = os.fstat(self.fd).st_ino
        with open(f"/proc/{pid}/maps", encoding="ascii") as f:
            return sum("memfd:client" in line and int(line.split()[4]) == inode for line in f)


class Queue:
    """A submission and a completion queue, one page each."""

    def __init__(self, nvme, number, off):
        self.nvme, self.number, self.off = nvme, number, off
        self.tail = self.head = 0
        self.phase = 1
        nvme.mem[off:off + 8192] = bytes(8192)

    def submit(self, opcode, nsid=0, prp1=0, cdw10=0, cdw11=0, cdw12=0, prp2=0):
        at = self.off + 64 * self.tail
        self.nvme.mem[at:at + 64] = struct.pack("<IIQQQQIIIIII", opcode | self.tail << 16, nsid, 0,
                                                0, prp1, prp2, cdw10, cdw11, cdw12, 0, 0, 0)
        self.tail = (self.tail + 1) % 16
        self.nvme.v.w32(0, 0x1000 + 8 * self.number, self.tail)

    def reap(self, timeout=2.0):
        """The next completion's status, None when there is none in time."""
        at = self.off + 4096 + 16 * self.head
        end = time.monotonic() + timeout
        while True:
            status, = struct.unpack("<H", self.nvme.mem[at + 14:at + 16])
            if status & 1 == self.phase:
                break
            if time.monotonic() > end:
                return None
        self.head = (self.head + 1) % 16
        if self.head == 0:
            self.phase ^= 1
        self.nvme.v.w32(0, 0x1004 + 8 * self.number, self.head)
        return status >> 1

    def do(self, *a, **kw):
        self.submit(*a, **kw)
        return self.reap()


class Nvme:
    """Just enough of a driver: the queues and data are at the beginning of one map."""

    DATA = 0x8000

    def __init__(self, v, mem, iova, irqs=False):
        self.v, self.mem, self.iova = v, mem, iova
        v.enable(0x6)
        v.w32(0, 0x14, 0)
        wait_until(lambda: v.r32(0, 0x1C) & 1 == 0)
        self.irqs = [Irq() for _ in range(2)] if irqs else []
        if irqs:
            v.connect_irqs(MSIX, [i.fd for i in self.irqs])
        self.admin = Queue(self, 0, 0)
        self.io = Queue(self, 1, 0x2000)
        v.w32(0, 0x24, 0x000F000F)
        v.w64(0, 0x28, iova)
        v.w64(0, 0x30, iova + 0x1000)
        v.w32(0, 0x14, 0x00460001)
        wait_until(lambda: v.r32(0, 0x1C) & 1)

    def create_io(self):
        flags = 1 | (2 | 1 << 16 if self.irqs else 0)
        assert self.admin.do(5, prp1=self.iova + 0x3000, cdw10=15 << 16 | 1, cdw11=flags) == 0
        assert self.admin.do(1, prp1=self.iova + 0x2000, cdw10=15 << 16 | 1, cdw11=1 << 16 | 1) == 0

    def identify(self, prp=None):
        return self.admin.do(6, prp1=self.iova + self.DATA if prp is None else prp, cdw10=1)

    def rw(self, opcode, lba, prp=None):
        return self.io.do(opcode, 1, self.iova + self.DATA if prp is None else prp, lba, 0, 7)

    def write(self, lba, data):
        self.mem[self.DATA:self.DATA + 4096] = data
        return self.rw(1, lba)

    def read(self, lba):
        self.mem[self.DATA:self.DATA + 4096] = bytes(4096)
        assert self.rw(2, lba) == 0
        return self.mem[self.DATA:self.DATA + 4096]


class Edu:
    """QEMU's teaching device: a buffer of 4096 bytes at 0x40000 and DMA from and to it."""

    FROM_DEVICE, IRQ = 2, 4

    def __init__(self, v):
        self.v = v
        v.enable(0x6)

    def dma(self, src, dst, count, flags=0):
        v = self.v
        v.w64(0, 0x80, src)
        v.w64(0, 0x88, dst)
        v.w64(0, 0x90, count)
        v.w64(0, 0x98, 1 | flags)

    def wait(self):
        wait_until(lambda: not self.v.r32(0, 0x98) & 1)

    def put(self, src, count, flags=0):
        self.dma(src, 0x40000, count, flags)

    def get(self, dst, count, flags=0):
        self.dma(0x40000, dst, count, flags | self.FROM_DEVICE)


def mem_of(size=MIB, **kw):
    return Memory(size, **kw)


@pytest.mark.parametrize("sealed", [True, False])
def test_nvme_through_rings_in_mapped_memory(rundir, sealed):
    with Lab(rundir, *NVME) as lab, lab.vfu("nvme0") as v:
        assert v.caps["max_dma_maps"] >= 64
        assert v.irq_info(MSIX) == (1, 65)
        assert v.irq_info(MSI) == (0, 0)
        mem = mem_of(sealed=sealed)
        v.dma_map(mem.fd, 0x10000000, mem.size)
        assert lab.function("nvme0")["dma_maps"] == 1
        assert lab.function("nvme0")["dma_bytes"] == MIB
        n = Nvme(v, mem, 0x10000000, irqs=True)
        n.admin.submit(6, prp1=n.iova + n.DATA, cdw10=1)
        assert n.irqs[0].wait() == 1, "the completion comes with an interrupt"
        assert n.admin.reap(0) == 0
        assert mem[n.DATA + 4:n.DATA + 7] == b"lab"
        n.create_io()
        rng = random.Random(1)
        blocks = {lba: rng.randbytes(4096) for lba in rng.sample(range(0, 32768, 8), 50)}
        n.irqs[1].wait(0)
        for lba, data in blocks.items():
            assert n.write(lba, data) == 0
            assert n.irqs[1].wait() >= 1
        for lba, data in blocks.items():
            assert n.read(lba) == data
            assert n.irqs[1].wait() >= 1
        assert lab.function("nvme0")["dma_faults"] == 0
        # without bus mastering there is no DMA: the command is not even fetched
        v.enable(0x2)
        n.admin.submit(6, prp1=n.iova + n.DATA, cdw10=1)
        assert n.admin.reap(0.2) is None


def test_edu_moves_bytes_both_ways_with_msi(rundir):
    with Lab(rundir, *EDU) as lab, lab.vfu("edu0") as v:
        assert v.irq_info(MSI) == (1, 1)
        mem = mem_of()
        v.dma_map(mem.fd, 0x4000000, mem.size)  # the device has 28 bits
        irq = Irq()
        v.connect_irqs(MSI, [irq.fd])
        e = Edu(v)
        data = random.Random(2).randbytes(4000)
        mem[0x1000:0x1000 + 4000] = data
        e.put(0x4001000, 4000, e.IRQ)
        assert irq.wait() == 1
        v.w32(0, 0x64, v.r32(0, 0x24))
        e.get(0x4005000, 4000, e.IRQ)
        assert irq.wait() == 1
        v.w32(0, 0x64, v.r32(0, 0x24))
        assert mem[0x5000:0x5000 + 4000] == data
        assert mem[0x5000 + 4000:0x6000] == bytes(96)
        assert lab.function("edu0")["dma_faults"] == 0
        v.disable_irqs(MSI)
        v.w32(0, 0x60, 1)
        assert irq.wait(0.1) == 0


def test_message_interrupts_are_set_as_with_vfio_pci(rundir):
    with Lab(rundir, *NVME, *EDU) as lab, lab.vfu("nvme0") as v, lab.vfu("edu0") as e:
        irqs = [Irq() for _ in range(65)]
        intx = Irq()

        def fails(what, **kw):
            with pytest.raises(vfu.Error) as err:
                v.set_irqs(what, **kw)
            assert err.value.errno == errno.EINVAL

        eventfd, trigger = vfu.DATA_EVENTFD | vfu.TRIGGER, vfu.DATA_NONE | vfu.TRIGGER
        fails(eventfd, index=MSIX, start=65, fds=[intx.fd])
        fails(eventfd, index=MSIX, start=60, count=6, fds=[intx.fd] * 6)
        fails(eventfd, index=MSIX, start=0, count=2, fds=[intx.fd])
        fails(eventfd, index=MSIX, start=0xFFFFFFFF, count=2, fds=[intx.fd] * 2)
        fails(eventfd, index=MSI, fds=[intx.fd])
        fails(trigger, index=MSIX)
        fails(vfu.DATA_EVENTFD | vfu.MASK, index=MSIX, fds=[intx.fd])
        v.disable_irqs(MSIX)  # as clients do

        msix = v.caps_list()[0x11]
        v.connect_irqs(MSIX, [i.fd for i in irqs])
        assert v.r16(CONFIG, msix + 2) & 0x8000, "it shows that they are on"
        fails(eventfd, index=INTX, fds=[intx.fd])
        v.set_irqs(trigger, MSIX, 3, 2)
        assert [bool(i.wait(0)) for i in irqs[2:6]] == [False, True, True, False]
        v.set_irqs(vfu.DATA_BOOL | vfu.TRIGGER, MSIX, 0, 3, data=b"\1\0\1")
        assert [bool(i.wait(0)) for i in irqs[:3]] == [True, False, True]
        fails(vfu.DATA_BOOL | vfu.TRIGGER, index=MSIX, start=0, count=3, data=b"\1")

        # the table is not the client's
        v.enable(0x6)
        v.write(0, 0x2000, bytes(64))
        assert v.read(0, 0x2000, 64) == b"\xff" * 64
        mem = mem_of()
        v.dma_map(mem.fd, 0, mem.size)
        n = Nvme(v, mem, 0)
        n.admin.submit(6, prp1=n.DATA, cdw10=1)
        assert irqs[0].wait() == 1
        assert n.admin.reap(0) == 0

        # a reset leaves them connected
        v.call(vfu.RESET)
        n = Nvme(v, mem, 0)
        n.admin.submit(6, prp1=n.DATA, cdw10=1)
        assert irqs[0].wait() == 1
        assert n.admin.reap(0) == 0

        # one is disconnected: it is masked, and what came meanwhile arrives with the next
        v.set_irqs(eventfd, MSIX, 0, 1)
        n.admin.submit(6, prp1=n.DATA, cdw10=1)
        assert n.admin.reap() == 0
        assert irqs[0].wait(0.1) == 0
        v.set_irqs(eventfd, MSIX, 0, 1, [irqs[0].fd])
        assert irqs[0].wait() == 1

        v.disable_irqs(MSIX)
        assert v.r16(CONFIG, msix + 2) & 0x8000 == 0
        n.admin.submit(6, prp1=n.DATA, cdw10=1)
        assert n.admin.reap() == 0
        assert irqs[0].wait(0.1) == 0
        v.set_irqs(eventfd, INTX, fds=[intx.fd])
        fails(eventfd, index=MSIX, fds=[irqs[0].fd])

        # the MSI capability is the client's to write, without effect
        cap = e.caps_list()[0x05]
        irq = Irq()
        e.connect_irqs(MSI, [irq.fd])
        assert e.read(CONFIG, cap + 2, 12) == bytes([0x81]) + bytes(11), "on, and nothing else"
        e.w32(CONFIG, cap + 4, 0x12345677)
        e.write(CONFIG, cap + 8, b"\xaa\xbb\xcc\xdd\xee\xff")
        e.w16(CONFIG, cap + 2, 0x70)
        assert e.read(CONFIG, cap + 2, 12) == bytes.fromhex("f1 00 74563412 aabbccdd eeff")
        e.enable(0x6)
        e.w32(0, 0x60, 1)
        assert irq.wait() == 1
        e.w32(0, 0x64, 1)
        e.enable(0x2)
        e.w32(0, 0x60, 1)
        assert irq.wait(0.1) == 0, "a message is a write, and the function may not"


def test_functions_do_not_see_each_others_memory(rundir):
    """The same addresses, different memory."""
    with Lab(rundir, "--device", "edu,id=a", "--device", "edu,id=b") as lab, \
            lab.vfu("a") as va, lab.vfu("b") as vb:
        ma, mb = mem_of(), mem_of()
        va.dma_map(ma.fd, 0x100000, MIB)
        vb.dma_map(mb.fd, 0x100000, MIB)
        ma[0:5], mb[0:5] = b"alpha", b"bravo"
        a, b = Edu(va), Edu(vb)
        a.put(0x100000, 5)
        b.put(0x100000, 5)
        a.wait()
        b.wait()
        a.get(0x100100, 5)
        b.get(0x100100, 5)
        a.wait()
        b.wait()
        assert (ma[0x100:0x105], mb[0x100:0x105]) == (b"alpha", b"bravo")
        # what one unmaps the other still has
        va.dma_unmap(0x100000, MIB)
        b.get(0x100200, 5)
        b.wait()
        assert mb[0x200:0x205] == b"bravo"
        assert lab.function("b")["dma_faults"] == 0
        a.get(0x100200, 5)
        a.wait()
        wait_until(lambda: lab.function("a")["dma_faults"] == 1)
        assert ma[0x200:0x205] == bytes(5)
        assert lab.function("b")["dma_faults"] == 0


def test_stray_dma_is_stopped_and_reported(rundir):
    with Lab(rundir, *NVME, "--log", str(rundir / "log")) as lab, lab.vfu("nvme0") as v:
        mem, read_only, unmapped = mem_of(), mem_of(), mem_of()
        v.dma_map(mem.fd, 0x10000000, MIB)
        v.dma_map(read_only.fd, 0x20000000, MIB, flags=1)
        n = Nvme(v, mem, 0x10000000)
        assert n.identify() == 0
        assert lab.function("nvme0")["dma_faults"] == 0
        n.identify(0x55550000)  # QEMU's device does not notice
        wait_until(lambda: lab.function("nvme0")["dma_faults"] == 1)
        n.identify(0x20000000)
        wait_until(lambda: lab.function("nvme0")["dma_faults"] == 2)
        assert read_only[:] == bytes(MIB)
        v.dma_map(unmapped.fd, 0x30000000, MIB)
        assert n.identify(0x30001000) == 0
        assert unmapped[0x1004:0x1007] == b"lab"
        unmapped[:] = bytes(MIB)
        v.dma_unmap(0x30000000, MIB)
        n.identify(0x30001000)
        wait_until(lambda: lab.function("nvme0")["dma_faults"] == 3)
        assert unmapped[:] == bytes(MIB)
        for i in range(40):  # a storm fills no log
            n.identify(0x66660000)
            wait_until(lambda i=i: lab.function("nvme0")["dma_faults"] >= 4 + i)
        lines = [l for l in lab.log_text().splitlines() if "stray DMA stopped" in l]
        assert "nvme0" in lines[0] and "write 0x55550000" in lines[0]
        assert "write 0x20000000" in lines[1]
        assert len(lines) < 30
        with open(f"{rundir}/log", encoding="ascii") as f:
            assert " nvme0 dma-fault write 0x55550000\n" in f.read()
        assert "stray-dma=" in lab.ctl("ls").stdout
        assert n.identify() == 0


def test_maps_are_checked(rundir):
    with Lab(rundir, *EDU) as lab, lab.vfu("edu0") as v:
        mem = mem_of()
        v.dma_map(mem.fd, 0x100000, 0x10000)

        def refused(*args, call=v.dma_map, **kw):
            with pytest.raises(vfu.Error) as e:
                call(*args, **kw)
            return e.value.errno

        assert refused(mem.fd, 0x100000, 0x10000) == errno.EEXIST
        assert refused(mem.fd, 0x10F000, 0x1000) == errno.EEXIST
        assert refused(mem.fd, 0x0FF000, 0x2000) == errno.EEXIST
        assert refused(mem.fd, 0x0, 0x100000 * 16) == errno.EEXIST
        for iova, size, offset in ((0x200001, 0x1000, 0), (0x200000, 0x1001, 0), (0x200000, 0, 0),
                                   (0x200000, 0x1000, 1), (0x200000, 0x1000, MIB),
                                   (0x200000, MIB + 0x1000, 0), (0xFEE00000, 0x1000, 0),
                                   (0xFED00000, 0x400000, 0), (0xFEF00000, 0x1000, 0),
                                   (1 << 48, 0x1000, 0), ((1 << 48) - 0x1000, 0x2000, 0),
                                   ((1 << 64) - 0x1000, 0x1000, 0), (0x200000, (1 << 64) - 0x1000, 0),
                                   (0x200000, 0x1000, (1 << 64) - 0x1000)):
            assert refused(mem.fd, iova, size, offset) == errno.EINVAL, (iova, size, offset)
        for flags in (0, 4, 0xFFFFFFFF):
            assert refused(mem.fd, 0x200000, 0x1000, flags=flags) == errno.EINVAL
        read_end, write_end = os.pipe()
        assert refused(read_end, 0x200000, 0x1000) == errno.EACCES
        assert refused(os.eventfd(0), 0x200000, 0x1000) == errno.EINVAL
        os.close(read_end)
        os.close(write_end)
        read_only = os.open(f"/proc/self/fd/{mem.fd}", os.O_RDONLY)
        assert refused(read_only, 0x200000, 0x1000, flags=1) == errno.EACCES
        os.close(read_only)
        huge = os.memfd_create("huge")
        os.ftruncate(huge, 1 << 40)
        assert refused(huge, 0x200000, 0x1000) == errno.ENOSPC
        os.close(huge)
        # exactly as it was mapped
        for iova, size in ((0x100000, 0x1000), (0x101000, 0xF000), (0, 0x200000), (0x100000, 0x20000)):
            assert refused(iova, size, call=v.dma_unmap) == errno.EINVAL
        assert refused(0x100000, 0x10000, 1, call=v.dma_unmap) == errno.EINVAL
        assert lab.function("edu0")["dma_maps"] == 1
        # pieces of one file, its end first
        for i in range(15, 0, -1):
            v.dma_map(mem.fd, 0x200000 + 0x2000 * i, 0x1000, 0x10000 * i)
        assert mem.mapped_by(lab.pids["qemu"]) == 1
        e = Edu(v)
        for i in range(1, 16):
            mem[0x10000 * i:0x10000 * i + 4] = b"%04d" % i
        e.put(0x200000 + 0x2000 * 7, 4)
        e.wait()
        e.get(0x200000 + 0x2000 * 3, 4)
        e.wait()
        assert mem[0x30000:0x30004] == b"0007"
        v.dma_unmap(0x200000 + 0x2000 * 3, 0x1000)
        v.dma_map(mem.fd, 0x200000 + 0x2000 * 3, 0x1000, 0x30000)
        v.dma_unmap_all()
        assert lab.function("edu0")["dma_maps"] == 0
        assert lab.function("edu0")["dma_bytes"] == 0
        assert lab.function("edu0")["dma_faults"] == 0


def test_as_many_maps_as_promised_and_not_one_more(rundir):
    with Lab(rundir, *EDU) as lab, lab.vfu("edu0") as v:
        most = v.caps["max_dma_maps"]
        mem = mem_of(most * 4096 + 4096)
        for i in range(most):
            v.dma_map(mem.fd, i << 30, 4096, i * 4096)  # a table of its own for each
        with pytest.raises(vfu.Error) as e:
            v.dma_map(mem.fd, most << 30, 4096)
        assert e.value.errno == errno.ENOSPC
        v.dma_unmap_all()
        # and as many files
        files = []
        with pytest.raises(vfu.Error) as e:
            for i in range(200):
                files.append(mem_of(4096))
                v.dma_map(files[-1].fd, i << 12, 4096)
        assert e.value.errno == errno.ENOSPC and len(files) > 100
        v.dma_unmap_all()
        for f in files:
            assert f.mapped_by(lab.pids["qemu"]) == 0
        # tables and slots are free again, and large ones work
        big = mem_of(64 * MIB)
        v.dma_map(big.fd, 0x8000000, 64 * MIB)
        dev = Edu(v)
        big[3 * MIB:3 * MIB + 3] = b"big"
        dev.put(0x8000000 + 3 * MIB, 3)
        dev.wait()
        dev.get(0x8000000 + 64 * MIB - 3, 3)
        dev.wait()
        assert big[64 * MIB - 3:] == b"big"
        assert lab.function("edu0")["dma_faults"] == 0


def test_unmap_while_queues_are_live(rundir):
    """A read is under way for half a second: the answer waits for it, and nothing comes later."""
    slow = ["--blockdev", "driver=null-co,node-name=disk,size=16777216,latency-ns=500000000,read-zeroes=on"]
    with Lab(rundir, *slow, *NVME[2:]) as lab, lab.vfu("nvme0") as v:
        mem, data = mem_of(), mem_of()
        v.dma_map(mem.fd, 0x10000000, MIB)
        v.dma_map(data.fd, 0x20000000, MIB)
        n = Nvme(v, mem, 0x10000000)
        n.create_io()
        data[0:4096] = b"\xaa" * 4096
        n.io.submit(2, 1, 0x20000000, 0, 0, 7)
        time.sleep(0.05)  # the device has fetched it
        start = time.monotonic()
        v.dma_unmap(0x20000000, MIB)
        assert time.monotonic() - start > 0.3
        assert data.mapped_by(lab.pids["qemu"]) == 0
        data[0:4096] = b"\xbb" * 4096
        n.io.reap()
        assert data[0:4096] == b"\xbb" * 4096
        # and the queues themselves
        v.dma_unmap(0x10000000, MIB)
        mem[0:0x4000] = bytes(0x4000)
        n.admin.submit(6, prp1=n.iova + n.DATA, cdw10=1)
        wait_until(lambda: lab.function("nvme0")["dma_faults"] > 0)
        assert mem[0x1000:0x2000] == bytes(4096)
        # the device is usable after a reset
        v.call(vfu.RESET)
        v.dma_map(mem.fd, 0x10000000, MIB)
        assert Nvme(v, mem, 0x10000000).identify() == 0


CLIENT = """
import os, sys, time
sys.path.insert(0, {here!r})
import test_lab_dma as t, vfu
v = vfu.Vfu({address!r})
mem = t.mem_of()
v.dma_map(mem.fd, 0x10000000, mem.size)
n = t.Nvme(v, mem, 0x10000000, irqs=True)
n.create_io()
print("ready", flush=True)
while True:
    n.rw(2, 0)
"""


@pytest.mark.parametrize("rounds", [5])
def test_a_killed_clients_memory_is_let_go_before_the_next_comes(rundir, rounds):
    with Lab(rundir, *NVME) as lab:
        fds = os.listdir(f"/proc/{lab.pids['bridge']}/fd")
        for i in range(rounds):
            script = CLIENT.format(here=os.path.dirname(os.path.abspath(__file__)),
                                   address=lab.address("nvme0"))
            with subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE,
                                  text=True) as p:
                assert p.stdout.readline() == "ready\n"
                time.sleep(0.01 * i)
                p.kill()
            with lab.vfu("nvme0") as v:
                with open(f"/proc/{lab.pids['qemu']}/maps", encoding="ascii") as f:
                    assert "memfd:client" not in f.read()
                assert lab.function("nvme0")["dma_maps"] == 0
                v.enable(0)
                v.call(vfu.RESET)
                mem = mem_of()
                v.dma_map(mem.fd, 0x10000000, MIB)  # the same address
                n = Nvme(v, mem, 0x10000000, irqs=True)
                n.create_io()
                assert n.write(8, b"%04096d" % i) == 0
                assert n.read(8) == b"%04096d" % i
                assert n.irqs[1].wait() >= 1
                v.dma_unmap_all()
        wait_until(lambda: len(os.listdir(f"/proc/{lab.pids['bridge']}/fd")) == len(fds))


def test_a_function_is_pulled_out_and_put_back(rundir):
    with Lab(rundir, *NVME, *EDU) as lab, lab.vfu("edu0") as other:
        mem = mem_of()
        for _ in range(3):
            v = lab.vfu("nvme0")
            v.dma_map(mem.fd, 0x10000000, MIB)
            n = Nvme(v, mem, 0x10000000, irqs=True)
            assert n.identify() == 0
            assert v.r32(0, 8) == 0x10400
            with subprocess.Popen([vfu.program("auriga-lab"), "fault", "--runtime-dir", lab.root,
                                   "remove", "nvme0"]) as p:
                wait_until(lambda: v.r32(0, 8) == 0xFFFFFFFF)
                assert v.read(CONFIG, 0, 64) == b"\xff" * 64
                assert v.read(0, 0, 64) == b"\xff" * 64
                v.w32(CONFIG, 4, 6)
                n.admin.submit(6, prp1=n.iova + n.DATA, cdw10=1)
                with pytest.raises(vfu.Error) as e:
                    v.dma_map(mem.fd, 0x20000000, MIB)
                assert e.value.errno == errno.ENODEV
                with pytest.raises(vfu.Closed):
                    while True:
                        v.r32(0, 8)
                assert p.wait(5) == 0
            assert mem.mapped_by(lab.pids["qemu"]) == 0
            assert lab.function("nvme0")["removed"] and " nvme removed\n" in lab.ctl("ls").stdout
            with pytest.raises(FileNotFoundError):
                lab.vfu("nvme0")
            out = lab.ctl("fault", "lab0", "remove", "nvme0", check=False)
            assert out.returncode == 1 and "is removed already" in out.stderr
            other.enable()
            assert other.r32(0, 0) == 0x010000ED
            lab.fault("add", "nvme0")
            assert not lab.function("nvme0")["removed"]
            with lab.vfu("nvme0") as v:
                assert v.r16(CONFIG, 4) == 0
                v.enable(0x6)
                assert v.r32(0, 0x14) == 0, "as after power-on"
                v.dma_map(mem.fd, 0x10000000, MIB)
                assert Nvme(v, mem, 0x10000000, irqs=True).identify() == 0
        for args, why in ((("add", "nvme0"), "is not removed"), (("remove", "nobody"), "no function"),
                          (("remove", 'x"y'), "no function's name"), (("remove",), "fault wants")):
            out = lab.ctl("fault", "lab0", *args, check=False)
            assert out.returncode and why in out.stderr and len(out.stderr.splitlines()) == 1


def test_removal_of_a_dead_machines_function(rundir):
    with Lab(rundir, *NVME) as lab, lab.vfu("nvme0") as v:
        mem = mem_of()
        v.dma_map(mem.fd, 0, MIB)
        os.kill(lab.pids["qemu"], signal.SIGKILL)
        wait_until(lambda: v.r32(CONFIG, 0) == 0xFFFFFFFF)
        v.dma_unmap(0, MIB)
        with pytest.raises(vfu.Error) as e:
            v.dma_map(mem.fd, 0, MIB)
        assert e.value.errno == errno.ENODEV
        lab.fault("remove", "nvme0")
        out = lab.ctl("fault", "lab0", "add", "nvme0", check=False)
        assert out.returncode == 1 and "dead" in out.stderr


@pytest.mark.parametrize("victim", ["bridge", "guardian"])
def test_a_killed_lab_leaves_no_memory_mapped(rundir, victim):
    with Lab(rundir, *NVME) as lab, lab.vfu("nvme0") as v:
        mem = mem_of()
        v.dma_map(mem.fd, 0, MIB)
        os.kill(lab.pids[victim], signal.SIGKILL)
        wait_until(lambda: all(gone(p) for p in lab.pids.values()))
        wait_until(lambda: not os.path.exists(lab.dir))


def test_a_frozen_machine_maps_when_it_is_thawed(rundir):
    with Lab(rundir, *EDU) as lab, lab.vfu("edu0") as v:
        mem = mem_of()
        lab.fault("freeze")
        v.send(v.message(vfu.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0x100000, MIB)), [mem.fd])
        v.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            v.reply()
        v.close()  # and its end comes in the middle of that
        lab.fault("thaw")
        with lab.vfu("edu0") as v:
            assert mem.mapped_by(lab.pids["qemu"]) == 0
            v.dma_map(mem.fd, 0x100000, MIB)
            assert mem.mapped_by(lab.pids["qemu"]) == 1


def test_many_maps_from_many_clients_at_once(rundir):
    devices = sum((["--device", f"edu,id=e{i}"] for i in range(4)), [])
    with Lab(rundir, *devices) as lab:
        shared = mem_of()
        rng = random.Random(3)
        for _ in range(6):
            clients = [lab.vfu(f"e{i}") for i in range(4)]
            own = [mem_of() for _ in clients]
            for v, mem in zip(clients, own):  # pipelined: nobody waits for an answer
                for k, m in enumerate((mem, shared)):
                    v.send(v.message(vfu.DMA_MAP,
                                     struct.pack("<IIQQQ", 32, 3, 0, (1 + k) << 24, MIB)), [m.fd])
            for v in clients:
                assert [v.reply()[1] for _ in range(2)] == [vfu.DMA_MAP] * 2
            devices = [Edu(v) for v in clients]
            for i, (e, mem) in enumerate(zip(devices, own)):
                mem[0:4] = b"%04d" % i
                e.put(1 << 24, 4)
            for i, e in enumerate(devices):
                e.wait()
                e.get((2 << 24) + 0x1000 * i, 4)
            for i, e in enumerate(devices):
                e.wait()
                assert shared[0x1000 * i:0x1000 * i + 4] == b"%04d" % i
            for v in rng.sample(clients, 4):
                if rng.random() < 0.5:
                    v.send(v.message(vfu.DMA_UNMAP, struct.pack("<IIQQ", 24, 2, 0, 0)))
                v.close()
        for i in range(4):
            lab.vfu(f"e{i}").close()
        wait_until(lambda: all(lab.function(f"e{i}")["dma_maps"] == 0 for i in range(4)))
        wait_until(lambda: shared.mapped_by(lab.pids["qemu"]) == 0)


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.idle
def test_an_idle_lab_with_maps_uses_no_cpu(rundir):
    with Lab(rundir, *NVME, *EDU) as lab, lab.vfu("nvme0") as v:
        mem = mem_of()
        v.dma_map(mem.fd, 0x10000000, MIB)
        n = Nvme(v, mem, 0x10000000, irqs=True)
        n.create_io()
        assert n.write(0, bytes(4096)) == 0
        time.sleep(1)
        before = {who: cpu_ticks(pid) for who, pid in lab.pids.items()}
        time.sleep(5)
        assert {who: cpu_ticks(pid) - before[who] <= 1 for who, pid in lab.pids.items()} == \
            {"guardian": True, "bridge": True, "qemu": True}


def test_up_is_quick_with_everything(rundir):
    args = [*NVME, *EDU] + sum((["--device", f"edu,id=e{i}"] for i in range(4)), [])
    lab = Lab(rundir)
    times = []
    for _ in range(3):
        watch = Watch()
        lab.ctl("up", *args)
        times.append(watch.took())
        lab.ctl("down")
    assert min(times) < 1.0


MACHINES = os.path.join(os.path.dirname(__file__), "../../lab/machines")


def test_the_nvme_machine_has_faults(rundir):
    with Lab(rundir, "--machine", f"{MACHINES}/nvme.conf", name="nvme") as lab:
        assert [f["id"] for f in lab.info["functions"]] == ["ram", "null", "flaky"]
        for ident in ("ram", "null", "flaky"):
            with lab.vfu(ident) as v:
                mem = mem_of()
                v.dma_map(mem.fd, 0x10000000, MIB)
                n = Nvme(v, mem, 0x10000000)
                n.create_io()
                assert n.write(0, b"x" * 4096) == 0
                if ident != "null":
                    assert n.read(0) == b"x" * 4096
                if ident == "flaky":
                    assert n.rw(2, 4096) == 0x281, "an unrecovered read error"
                    assert n.rw(2, 4096) == 0x281
                    assert n.rw(1, 8192) & 0xFF, "the first write there fails"
                    assert n.rw(1, 8192) == 0


def test_the_edu_machine_works(rundir):
    with Lab(rundir, "--machine", f"{MACHINES}/edu.conf", name="edu") as lab, lab.vfu("edu0") as v:
        mem = mem_of()
        v.dma_map(mem.fd, 0, MIB)
        e = Edu(v)
        mem[0:3] = b"edu"
        e.put(0, 3)
        e.wait()
        e.get(16, 3)
        e.wait()
        assert mem[16:19] == b"edu"


def test_a_disk_of_a_file(rundir):
    disk = rundir / "disk.img"
    disk.write_bytes(b"\x11" * 4096 + bytes(MIB - 4096))
    args = ["--blockdev", f"driver=file,node-name=d,filename={disk}", "--device",
            "nvme,id=nvme0,serial=f,drive=d"]
    with Lab(rundir, *args) as lab, lab.vfu("nvme0") as v:
        mem = mem_of()
        v.dma_map(mem.fd, 0, MIB)
        n = Nvme(v, mem, 0)
        n.create_io()
        assert n.read(0) == b"\x11" * 4096
        assert n.write(8, b"\x22" * 4096) == 0
        assert disk.read_bytes()[4096:8192] == b"\x22" * 4096


@pytest.mark.parametrize("spec, why", [
    ("driver=memory,size=1M", "node-name"), ("driver=memory,node-name=a", "needs a size"),
    ("driver=memory,node-name=a,size=0", "needs a size"), ("driver=memory,node-name=a,size=1X", "needs a size"),
    ("driver=memory,node-name=a,size=-1", "needs a size"), ("driver=memory,node-name=a,size=1T1", "needs a size"),
    ("driver=memory,node-name=a,size=99999999T", "needs a size"), ("driver=nothing,node-name=a", "nothing")])
def test_a_disk_that_cannot_be_is_one_line(rundir, spec, why):
    out = Lab(rundir).ctl("up", "--blockdev", spec, "--device", "edu", check=False)
    assert out.returncode == 1
    assert len(out.stderr.splitlines()) == 1 and why in out.stderr
