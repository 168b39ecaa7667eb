# SPDX-License-Identifier: MIT
"""A small NVMe driver on the vfio-user client, and the lab's controller to use it with."""

import ctypes
import fcntl
import json
import mmap
import os
import socket
import struct
import subprocess
import time

import vfu

PAGE = 4096
F_ADD_SEALS, SEAL_SHRINK_GROW = 1033, 0x2 | 0x4
INTX, MSIX = 0, 2

CAP, VS, INTMS, INTMC, CC, CSTS, AQA, ASQ, ACQ = 0, 8, 0xC, 0x10, 0x14, 0x1C, 0x24, 0x28, 0x30
DOORBELLS = 0x1000
RDY, CFS = 1, 2
CC_ENABLE = 1 | 6 << 16 | 4 << 20

DELETE_SQ, CREATE_SQ, GET_LOG, DELETE_CQ, CREATE_CQ, IDENTIFY = 0, 1, 2, 4, 5, 6
ABORT, SET_FEATURES, GET_FEATURES, ASYNC_EVENT, DBBUF = 8, 9, 10, 12, 0x7C
FLUSH, WRITE, READ, COMPARE, WRITE_ZEROES, DSM = 0, 1, 2, 5, 8, 9

FIRST, SECOND, SGL = 1, 2, 0x40  # flags

DATA_TRANSFER, LBA_RANGE, PRP_OFFSET = 0x04, 0x80, 0x13
FUSED_FAILED, FUSED_MISSING, COMPARE_FAILURE = 0x09, 0x0A, 0x285
DNR = 0x4000

CQE = struct.Struct("<IIHHHH")


class Status(Exception):
    """A command ended with an error; .code says which, without Do Not Retry."""

    def __init__(self, status):
        super().__init__(f"status {status:#x}")
        self.status = status
        self.code = status & ~DNR


class Memory:
    """Memory that can be lent to the controller, and what is free of it."""

    def __init__(self, size=4 << 20, iova=0x10000000, sealed=True):
        self.fd = os.memfd_create("arena", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        if sealed:
            fcntl.fcntl(self.fd, F_ADD_SEALS, SEAL_SHRINK_GROW)
        self.map = mmap.mmap(self.fd, size)
        self.size, self.iova, self.used = size, iova, 0

    def alloc(self, pages=1):
        """The address, for the controller, of whole pages."""
        at = self.iova + self.used
        self.used += pages * PAGE
        assert self.used <= self.size
        self[at:at + pages * PAGE] = bytes(pages * PAGE)
        return at

    def __getitem__(self, part):
        return self.map[part.start - self.iova:part.stop - self.iova]

    def __setitem__(self, part, data):
        self.map[part.start - self.iova:part.stop - self.iova] = data


def sqe(opcode, cid, nsid=0, prp1=0, prp2=0, dwords=(), flags=0):
    """dwords: from dword 10 on"""
    dwords = tuple(dwords) + (0,) * (6 - len(dwords))
    return struct.pack("<BBHIQQQQ6I", opcode, flags, cid, nsid, 0, 0, prp1, prp2, *dwords)


class Pair:
    """A submission and a completion queue."""

    def __init__(self, host, qid, entries, cq=None):
        self.host, self.qid, self.entries = host, qid, entries
        self.sq, self.tail = host.memory.alloc((entries * 64 + PAGE - 1) // PAGE), 0
        self.cq, self.head, self.phase = host.memory.alloc(
            (entries * 16 + PAGE - 1) // PAGE), 0, 1
        self.cid = 0

    def put(self, opcode, ring=True, **kw):
        """Submit; returns the command's number."""
        self.cid = (self.cid + 1) & 0xFFF
        at = self.sq + 64 * self.tail
        self.host.memory[at:at + 64] = sqe(opcode, self.cid, **kw)
        self.tail = (self.tail + 1) % self.entries
        if ring:
            self.ring()
        return self.cid

    def ring(self):
        self.host.doorbell(2 * self.qid, self.tail)

    def peek(self):
        """The next completion, (dw0, sq head, sq, cid, status), or None."""
        at = self.cq + 16 * self.head
        dw0, _, head, sqid, cid, status = CQE.unpack(self.host.memory[at:at + 16])
        if status & 1 != self.phase:
            return None
        self.head += 1
        if self.head == self.entries:
            self.head, self.phase = 0, 1 - self.phase
        return dw0, head, sqid, cid, status >> 1

    def take(self, timeout=2.0, ack=True):
        """The next completion, waited for; None after the timeout."""
        end = time.monotonic() + timeout
        while True:
            done = self.peek()
            if done:
                if ack:
                    self.ack()
                return done
            if time.monotonic() > end:
                return None

    def ack(self):
        self.host.doorbell(2 * self.qid + 1, self.head)

    def call(self, opcode, **kw):
        """Submit and wait: dword 0."""
        cid = self.put(opcode, **kw)
        done = self.take()
        assert done, "no completion"
        assert done[3] == cid and done[2] == self.qid
        if done[4]:
            raise Status(done[4])
        return done[0]


class Host:
    """A client that drives the controller at @path."""

    def __init__(self, path, memory=None, mapped=True, up=True):
        self.vfu = vfu.Vfu(path)
        self.memory = memory or Memory()
        self.page = self.map_doorbells() if mapped else None
        self.vfu.enable(0x6)
        self.lend(self.memory)
        self.shadow = None
        self.admin = None
        if up:
            self.enable()

    def close(self):
        self.vfu.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # memory and doorbells

    def lend(self, memory, flags=3):
        self.vfu.dma_map(memory.fd, memory.iova, memory.size, flags=flags)

    def take_back(self, memory):
        self.vfu.dma_unmap(memory.iova, memory.size)

    def map_doorbells(self):
        """By the descriptor and the area that come with the region's description."""
        v = self.vfu
        v.send(v.message(vfu.GET_REGION_INFO, struct.pack("<IIIIQQ", 1024, 0, 0, 0, 0, 0)))
        data, fds, _, _ = socket.recv_fds(v.sock, 4096, 4)
        info = struct.unpack_from("<IIIIQQ", data, 16)
        assert info[1] & 0xC == 0xC and info[3], "no mmap, no capability"
        areas, = struct.unpack_from("<I", data, 16 + info[3] + 8)
        offset, size = struct.unpack_from("<QQ", data, 16 + info[3] + 16)
        assert areas == 1 and offset == DOORBELLS and len(fds) == 1
        page = mmap.mmap(fds[0], size, offset=info[5] + offset)
        os.close(fds[0])
        return (ctypes.c_uint32 * (size // 4)).from_buffer(page)

    def doorbell(self, slot, value):
        if self.shadow and slot >= 2:
            at = self.shadow + 4 * slot
            self.memory[at:at + 4] = struct.pack("<I", value)
        elif self.page:
            self.page[slot] = value
        else:
            self.vfu.w32(0, DOORBELLS + 4 * slot, value)

    # registers

    def r32(self, off):
        return self.vfu.r32(0, off)

    def w32(self, off, value):
        self.vfu.w32(0, off, value)

    def w64(self, off, value):
        self.vfu.write(0, off, struct.pack("<Q", value))

    def enable(self, entries=32, cc=CC_ENABLE):
        self.admin = Pair(self, 0, entries)
        self.w32(AQA, (entries - 1) << 16 | (entries - 1))
        self.w64(ASQ, self.admin.sq)
        self.w64(ACQ, self.admin.cq)
        self.w32(CC, cc)
        return self.r32(CSTS)

    def disable(self):
        self.w32(CC, 0)
        assert self.r32(CSTS) == 0

    # commands

    def queue(self, qid=1, entries=64, vector=None, loud=True):
        pair = Pair(self, qid, entries)
        flags = 1 if vector is None else 1 | loud << 1 | vector << 16
        self.admin.call(CREATE_CQ, prp1=pair.cq, dwords=((entries - 1) << 16 | qid, flags))
        self.admin.call(CREATE_SQ, prp1=pair.sq, dwords=((entries - 1) << 16 | qid, qid << 16 | 1))
        return pair

    def identify(self, cns, nsid=0):
        at = self.memory.alloc()
        self.admin.call(IDENTIFY, nsid=nsid, prp1=at, dwords=(cns,))
        return self.memory[at:at + PAGE]

    def log(self, page, size=512, flags=0):
        at = self.memory.alloc()
        self.admin.call(GET_LOG, prp1=at, dwords=((size // 4 - 1) << 16 | flags | page,))
        return self.memory[at:at + size]

    def events(self):
        """Ask for notices of namespaces and of health; returns the command's number."""
        self.admin.call(SET_FEATURES, dwords=(0x0B, 0x1FF))
        return self.admin.put(ASYNC_EVENT)

    def prps(self, address, size):
        """PRP1 and PRP2 for memory that is in one piece, with lists as needed."""
        first = PAGE - address % PAGE
        pages = list(range(address + first, address + size, PAGE))
        if not pages:
            return address, 0
        if len(pages) == 1:
            return address, pages[0]
        head = None
        rest = pages
        fill = None
        while rest:
            at = self.memory.alloc()
            head = head or at
            if fill:
                self.memory[fill:fill + 8] = struct.pack("<Q", at)
            n = len(rest) if len(rest) <= 512 else 511
            self.memory[at:at + 8 * n] = struct.pack(f"<{n}Q", *rest[:n])
            fill, rest = at + 8 * n, rest[n:]
        return address, head

    def rw(self, pair, opcode, lba, address, blocks, block=512, nsid=1):
        prp1, prp2 = self.prps(address, blocks * block)
        return pair.call(opcode, nsid=nsid, prp1=prp1, prp2=prp2,
                         dwords=(lba & 0xFFFFFFFF, lba >> 32, blocks - 1))


class Controller:
    """auriga-lab nvme, as a process."""

    def __init__(self, folder, *args):
        self.path = os.path.join(str(folder), "nvme.sock")
        self.control = os.path.join(str(folder), "nvme.ctl")
        self.errors = os.path.join(str(folder), "nvme.err")
        self.args = args
        self.process = None

    def __enter__(self):
        with open(self.errors, "w", encoding="utf-8") as err:
            self.process = subprocess.Popen(
                [vfu.program("auriga-lab"), "nvme", "--socket", self.path, "--control",
                 self.control, *self.args], stdout=subprocess.PIPE, stderr=err, text=True)
        assert self.process.stdout.readline() == "ready\n", self.messages()
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        status = self.process.wait(timeout=10)
        self.process.stdout.close()
        assert status == 0, self.messages()
        assert not os.path.exists(self.path) and not os.path.exists(self.control)

    def messages(self):
        with open(self.errors, encoding="utf-8") as f:
            return f.read()

    def ask(self, line, check=True):
        return subprocess.run([vfu.program("auriga-lab"), "nvme-fault", self.control, line],
                              check=check, capture_output=True, text=True, timeout=30)

    def fault(self, spec):
        self.ask(spec)

    def stats(self):
        return json.loads(self.ask("stats").stdout)
