# SPDX-License-Identifier: MIT
"""The lab's software NVMe controller, driven by a few lines of Python."""

import errno
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

import nvme_host as nvme
import vfu
from nvme_host import PAGE, Host, Memory, Status
from vfu import CONFIG, DATA_EVENTFD, DATA_NONE, TRIGGER, UNMASK, Irq, Vfu, wait_until

pytestmark = pytest.mark.sanitize_long

BLOCK = 512
ALL = 0xFFFFFFFF


@pytest.fixture
def ctl(start):
    return start("--size", "64M", "--namespaces", "2")


@pytest.fixture
def host(ctl):
    with Host(ctl.path) as up:
        yield up


def read(host, pair, lba, blocks=1, at=None):
    at = at or host.memory.alloc((blocks * BLOCK + PAGE - 1) // PAGE)
    host.rw(pair, nvme.READ, lba, at, blocks)
    return host.memory[at:at + blocks * BLOCK]


def write(host, pair, lba, data):
    at = host.memory.alloc((len(data) + PAGE - 1) // PAGE)
    host.memory[at:at + len(data)] = data
    host.rw(pair, nvme.WRITE, lba, at, len(data) // BLOCK)


def code(call, *args, **kw):
    """The status that a command must end with."""
    with pytest.raises(Status) as e:
        call(*args, **kw)
    return e.value.code


# ------------------------------------------------------------------ bring-up

def test_bring_up(host):
    cap = int.from_bytes(host.vfu.read(0, nvme.CAP, 8), "little")
    assert cap & 0xFFFF == 1023 and cap >> 16 & 1 and cap >> 37 & 1 and cap >> 32 & 0xF == 0
    assert host.r32(nvme.VS) == 0x10400
    assert host.r32(nvme.CSTS) == nvme.RDY
    who = host.identify(1)
    assert who[24:64].strip() == b"Auriga lab NVMe" and who[77] == 5
    assert struct.unpack_from("<H", who, 256)[0] & 0x100, "doorbell buffers"
    assert who[512:514] == b"\x66\x44" and who[516] == 2
    assert struct.unpack_from("<4I", host.identify(2)) == (1, 2, 0, 0)
    assert struct.unpack_from("<4I", host.identify(2, nsid=1)) == (2, 0, 0, 0)
    space = host.identify(0, nsid=1)
    assert struct.unpack_from("<3Q", space) == ((64 << 20) // BLOCK,) * 3 and space[130] == 9
    assert host.identify(3, nsid=2)[:2] == b"\x02\x10"
    assert code(host.identify, 0, nsid=3) == 0x0B
    assert code(host.identify, 77) == 0x02
    host.disable()
    assert host.enable() == nvme.RDY
    host.identify(1)
    host.w32(nvme.CC, nvme.CC_ENABLE | 1 << 14)
    assert host.r32(nvme.CSTS) == nvme.RDY | 2 << 2, "shut down"


def test_configuration_space(host):
    v = host.vfu
    caps = v.caps_list()
    assert set(caps) == {0x01, 0x10, 0x11}
    assert v.r16(CONFIG, 0x0A) == 0x0108 and v.r8(CONFIG, 0x09) == 0x02
    v.w32(CONFIG, 0x10, ALL)
    assert v.r32(CONFIG, 0x10) == 0xFFFFC004
    assert v.r16(CONFIG, caps[0x11] + 2) == 8, "vectors less one"
    assert v.r32(CONFIG, caps[0x10] + 4) & 1 << 28
    v.w16(CONFIG, caps[0x10] + 8, 0x8000)
    assert host.r32(nvme.CSTS) == 0 and host.r32(nvme.CC) == 0, "function level reset"
    v.w16(CONFIG, 4, 4)
    assert host.r32(nvme.CSTS) == ALL, "no decoding"


def test_wrong_admin_queue(host):
    host.disable()
    host.w64(nvme.ASQ, 0x1001)
    host.w32(nvme.CC, nvme.CC_ENABLE)
    assert host.r32(nvme.CSTS) == nvme.CFS
    host.disable()
    assert host.enable() == nvme.RDY


def test_features(host):
    call = host.admin.call
    assert call(nvme.SET_FEATURES, dwords=(7, 200 << 16 | 3)) == 7 << 16 | 3
    assert call(nvme.GET_FEATURES, dwords=(7,)) == 7 << 16 | 3
    assert call(nvme.GET_FEATURES, dwords=(6,)) == 1
    call(nvme.SET_FEATURES, dwords=(6, 0))
    assert call(nvme.GET_FEATURES, dwords=(6,)) == 0
    assert call(nvme.GET_FEATURES, dwords=(6 | 1 << 8,)) == 1, "the default"
    assert code(call, nvme.GET_FEATURES, dwords=(0x77,)) == 0x02
    assert code(call, nvme.SET_FEATURES, dwords=(6 | 1 << 31, 0)) == 0x10D
    host.queue()
    assert code(call, nvme.SET_FEATURES, dwords=(7, 0)) == 0x0C


def test_queue_rules(host):
    call, at = host.admin.call, host.memory.alloc(2)
    assert code(call, nvme.CREATE_SQ, prp1=at, dwords=(15 << 16 | 1, 1 << 16 | 1)) == 0x100
    assert code(call, nvme.CREATE_CQ, prp1=at, dwords=(15 << 16 | 9, 1)) == 0x101
    assert code(call, nvme.CREATE_CQ, prp1=at, dwords=(1024 << 16 | 1, 1)) == 0x102
    assert code(call, nvme.CREATE_CQ, prp1=at, dwords=(0 << 16 | 1, 1)) == 0x102
    assert code(call, nvme.CREATE_CQ, prp1=at, dwords=(15 << 16 | 1, 0)) == 0x02
    assert code(call, nvme.CREATE_CQ, prp1=at, dwords=(15 << 16 | 1, 9 << 16 | 3)) == 0x108
    assert code(call, nvme.CREATE_CQ, prp1=at + 64, dwords=(15 << 16 | 1, 1)) == 0x13
    pair = host.queue()
    assert code(call, nvme.CREATE_CQ, prp1=at, dwords=(15 << 16 | 1, 1)) == 0x101
    assert code(call, nvme.DELETE_CQ, dwords=(1,)) == 0x10C
    call(nvme.DELETE_SQ, dwords=(1,))
    call(nvme.DELETE_CQ, dwords=(1,))
    assert code(call, nvme.DELETE_SQ, dwords=(1,)) == 0x101
    pair.put(nvme.FLUSH, nsid=1)
    assert pair.take(timeout=0.1) is None
    host.queue().call(nvme.FLUSH, nsid=1)


# ---------------------------------------------------------------------- data

@pytest.mark.parametrize("offset,blocks", [(0, 1), (0, 8), (512, 8), (2048, 4), (0, 16),
                                           (3584, 17), (4, 64), (0, 256), (1024, 256)])
def test_data(host, offset, blocks):
    pair, size = host.queue(), blocks * BLOCK
    there, back = host.memory.alloc(40) + offset, host.memory.alloc(40) + 4
    data = random.Random(size + offset).randbytes(size)
    host.memory[there:there + size] = data
    host.rw(pair, nvme.WRITE, 1000, there, blocks)
    host.rw(pair, nvme.READ, 1000, back, blocks)
    assert host.memory[back:back + size] == data
    assert host.memory[back + size:back + size + 8] == bytes(8), "and not more"
    host.rw(pair, nvme.COMPARE, 1000, there, blocks)
    assert read(host, pair, 999) == bytes(BLOCK) == read(host, pair, 1000 + blocks)


def test_chained_list(host):
    """A list that begins two entries before a page's end: one page, then the next list."""
    pair, at, back = host.queue(), host.memory.alloc(8), host.memory.alloc(8)
    lists = [host.memory.alloc(), host.memory.alloc()]
    data = random.Random(1).randbytes(8 * PAGE)
    host.memory[at:at + 8 * PAGE] = data
    host.memory[lists[0] + PAGE - 16:lists[0] + PAGE] = struct.pack("<QQ", at + PAGE, lists[1])
    host.memory[lists[1]:lists[1] + 48] = struct.pack(
        "<6Q", *(at + i * PAGE for i in range(2, 8)))
    pair.call(nvme.WRITE, nsid=1, prp1=at, prp2=lists[0] + PAGE - 16, dwords=(0, 0, 63))
    host.rw(pair, nvme.READ, 0, back, 64)
    assert host.memory[back:back + 8 * PAGE] == data
    # The last slot is an entry when nothing is behind it.
    host.memory[lists[0] + PAGE - 8:lists[0] + PAGE] = struct.pack("<Q", at)
    pair.call(nvme.WRITE, nsid=1, prp1=at + PAGE, prp2=lists[0] + PAGE - 16, dwords=(0, 0, 23))
    assert read(host, pair, 16, 8) == data[:PAGE]
    host.memory[lists[1] + 8:lists[1] + 16] = struct.pack("<Q", at + 8)
    for wrong in (lists[0] + PAGE - 12, lists[1] + 4, lists[1]):
        assert code(pair.call, nvme.READ, nsid=1, prp1=at, prp2=wrong,
                    dwords=(0, 0, 63)) == nvme.PRP_OFFSET


def test_other_commands(host):
    pair, at = host.queue(), host.memory.alloc()
    write(host, pair, 0, b"x" * 32 * BLOCK)
    pair.call(nvme.FLUSH, nsid=1)
    pair.call(nvme.FLUSH, nsid=ALL)
    pair.call(nvme.WRITE_ZEROES, nsid=1, dwords=(1, 0, 18))
    assert read(host, pair, 0, 32) == b"x" * BLOCK + bytes(19 * BLOCK) + b"x" * 12 * BLOCK
    host.memory[at:at + 32] = struct.pack("<IIQIIQ", 0, 2, 22, 0, 1, 30)
    pair.call(nvme.DSM, nsid=1, prp1=at, dwords=(1, 4))
    assert read(host, pair, 20, 12) == (b"x" * 2 * BLOCK + bytes(2 * BLOCK) + b"x" * 6 * BLOCK +
                                        bytes(BLOCK) + b"x" * BLOCK)
    assert code(host.rw, pair, nvme.COMPARE, 0, at, 1) == 0x285
    host.rw(pair, nvme.READ, 0, at, 1, nsid=2)
    assert host.memory[at:at + BLOCK] == bytes(BLOCK), "the other namespace"


def compare_and_write(host, pair, lba, expected, new, flags=(nvme.FIRST, nvme.SECOND), **kw):
    """Both halves behind one another, with one doorbell: their statuses."""
    at, size = host.memory.alloc(4), len(expected)
    host.memory[at:at + size] = expected
    host.memory[at + 2 * PAGE:at + 2 * PAGE + size] = new
    dwords = (lba, 0, size // BLOCK - 1)
    one = pair.put(nvme.COMPARE, ring=False, nsid=1, prp1=at, prp2=at + PAGE, dwords=dwords, flags=flags[0])
    second = {"nsid": 1, "prp1": at + 2 * PAGE, "prp2": at + 3 * PAGE, "dwords": dwords, "flags": flags[1], **kw}
    two = pair.put(nvme.WRITE, **second)
    done = [pair.take(), pair.take()]
    assert [d[3] for d in done] == [one, two]
    return [d[4] & ~nvme.DNR for d in done]


def test_fused(host):
    """Compare and write: written if it was so, and otherwise not; sixteen blocks are not too many."""
    pair, old, new = host.queue(entries=5), b"o" * BLOCK, b"n" * BLOCK
    assert host.identify(1)[522] & 1 and host.identify(1)[532] == 15
    write(host, pair, 7, old)
    for _ in range(7):  # around the ring, and across its end
        assert compare_and_write(host, pair, 7, old, new) == [0, 0]
        assert read(host, pair, 7) == new
        assert compare_and_write(host, pair, 7, old, old) == [nvme.COMPARE_FAILURE, nvme.FUSED_FAILED]
        assert compare_and_write(host, pair, 7, new, old) == [0, 0]
    assert compare_and_write(host, pair, 64, bytes(16 * BLOCK), new * 16) == [0, 0]
    assert read(host, pair, 64, 16) == new * 16
    assert compare_and_write(host, pair, 128, bytes(17 * BLOCK), new * 17) == [0x02, nvme.FUSED_FAILED]


def test_fused_wrongly(host):
    """A half that is missing, or of something else: both end, nothing is written, the queue goes on."""
    pair, zero, new = host.queue(), bytes(BLOCK), b"n" * BLOCK
    at = host.memory.alloc()
    assert compare_and_write(host, pair, 7, zero, new, dwords=(8, 0, 0)) == [0x02, nvme.FUSED_FAILED]
    assert compare_and_write(host, pair, 7, zero, new, nsid=2) == [0x02, nvme.FUSED_FAILED]
    assert compare_and_write(host, pair, 7, zero, new, flags=(3, 2)) == [0x02, nvme.FUSED_MISSING]
    assert code(pair.call, nvme.WRITE, nsid=1, prp1=at, dwords=(7,), flags=nvme.SECOND) == nvme.FUSED_MISSING
    assert read(host, pair, 7, 2) == bytes(2 * BLOCK)
    # The first half waits for the next command, whatever that is.
    alone = pair.put(nvme.COMPARE, nsid=1, prp1=at, dwords=(7,), flags=nvme.FIRST)
    assert pair.take(timeout=0.05) is None
    other = pair.put(nvme.FLUSH, nsid=1)
    done = [pair.take(), pair.take()]
    assert [(d[3], d[4] & ~nvme.DNR) for d in done] == [(alone, nvme.FUSED_MISSING), (other, 0)]
    assert code(host.admin.call, nvme.IDENTIFY, prp1=at, dwords=(1,), flags=nvme.FIRST) == 0x02


def test_neither_fused_nor_sgl(start):
    """An older controller: it says so, and refuses both."""
    with Host(start("--without", "fused", "--without", "sgl").path) as host:
        pair, at, what = host.queue(), host.memory.alloc(), host.identify(1)
        assert what[522] == 0 and what[536:540] == bytes(4)
        assert compare_and_write(host, pair, 7, bytes(BLOCK), b"n" * BLOCK) == [0x02, 0x02]
        assert code(pair.call, nvme.READ, nsid=1, prp1=at, prp2=BLOCK, flags=nvme.SGL) == 0x02


def sgl(kind, at, size):
    return struct.pack("<QI3xB", at, size, kind << 4)


def sgl_call(host, pair, opcode, lba, blocks, descriptor):
    prp1, prp2 = struct.unpack("<QQ", descriptor)
    pair.call(opcode, nsid=1, prp1=prp1, prp2=prp2, dwords=(lba, 0, blocks - 1), flags=nvme.SGL)


def test_sgl(host):
    """One piece of any alignment; pieces in a segment; segments that lead to others."""
    pair, at, back = host.queue(), host.memory.alloc(20), host.memory.alloc(20)
    data = random.Random(2).randbytes(64 * BLOCK)
    host.memory[at + 3:at + 3 + len(data)] = data
    sgl_call(host, pair, nvme.WRITE, 0, 64, sgl(0, at + 3, len(data)))
    assert read(host, pair, 0, 64) == data
    lists = [host.memory.alloc(), host.memory.alloc()]
    cuts = [0, 1, 700, 701, 5000, 20001, len(data)]
    pieces = [sgl(0, back + 5 + cut + i * 64, to - cut) for i, (cut, to) in enumerate(zip(cuts, cuts[1:]))]
    first = b"".join(pieces[:3]) + sgl(3, lists[1] + 8, 16 * len(pieces[3:]))
    host.memory[lists[0]:lists[0] + len(first)] = first
    rest = b"".join(pieces[3:])
    host.memory[lists[1] + 8:lists[1] + 8 + len(rest)] = rest
    sgl_call(host, pair, nvme.READ, 0, 64, sgl(2, lists[0], len(first)))
    for i, (cut, to) in enumerate(zip(cuts, cuts[1:])):
        where = back + 5 + cut + i * 64
        assert host.memory[where:where + to - cut] == data[cut:to]


def test_sgl_wrongly(ctl, host):
    """Too short, of a type that there is not, a circle, nowhere: each ends, nothing is moved."""
    pair, at, there = host.queue(), host.memory.alloc(), host.memory.alloc()
    circle = sgl(2, there, 16)
    host.memory[there:there + 16] = circle
    for descriptor, status in ((sgl(0, at, 100), 0x0F), (sgl(1, at, BLOCK), 0x11), (sgl(15, at, BLOCK), 0x11),
                               (sgl(3, there, 20), 0x0D), (sgl(2, there, 0), 0x0D), (circle, 0x0E),
                               (sgl(3, there, 16), 0x11), (struct.pack("<QI3xB", at, BLOCK, 1), 0x11)):
        assert code(sgl_call, host, pair, nvme.READ, 0, 1, descriptor) == status, descriptor
    assert ctl.stats()["stray_dma"] == 0
    assert code(sgl_call, host, pair, nvme.READ, 0, 1, sgl(0, 0x66660000, BLOCK)) == nvme.DATA_TRANSFER
    assert code(sgl_call, host, pair, nvme.READ, 0, 1, sgl(3, 0x66660000, 64)) == nvme.DATA_TRANSFER
    assert ctl.stats()["stray_dma"] == 2
    assert code(host.admin.call, nvme.IDENTIFY, prp1=at, prp2=PAGE, dwords=(1,), flags=nvme.SGL) == 0x02


def test_errors(ctl, host):
    pair, at, end = host.queue(), host.memory.alloc(), (64 << 20) // BLOCK
    read(host, pair, end - 1)
    for lba, blocks in ((end, 1), (end - 1, 2), (1 << 63, 1), ((1 << 64) - 1, 1)):
        assert code(host.rw, pair, nvme.READ, lba, at, blocks) == nvme.LBA_RANGE
    assert code(pair.call, nvme.WRITE_ZEROES, nsid=1, dwords=(end - 1, 0, 1)) == nvme.LBA_RANGE
    assert code(pair.call, nvme.READ, nsid=1, prp1=at, dwords=(0, 0, 256)) == 0x02, "MDTS"
    assert code(pair.call, nvme.READ, nsid=3, prp1=at) == 0x0B
    assert code(pair.call, nvme.READ, nsid=0, prp1=at) == 0x0B
    assert code(pair.call, 0x44, nsid=1) == 0x01
    assert code(host.admin.call, 0x44) == 0x01
    assert code(pair.call, nvme.READ, nsid=1, prp1=at + 2) == nvme.PRP_OFFSET
    assert code(pair.call, nvme.READ, nsid=1, prp1=at, prp2=at + 8,
                dwords=(0, 0, 15)) == nvme.PRP_OFFSET
    log = host.log(1)
    count, sqid, _, status = struct.unpack_from("<QHHH", log)
    assert (count, sqid, status >> 1 & 0x3FF) == (12, 1, nvme.PRP_OFFSET)
    assert ctl.stats()["stray_dma"] == 0


def test_backing_file(start, rundir):
    file = rundir / "disk"
    file.write_bytes(bytes(1 << 20))
    ctl = start("--backing", str(file), "--block-size", "4096")
    with Host(ctl.path) as host:
        pair, at = host.queue(), host.memory.alloc()
        host.memory[at:at + 4] = b"here"
        host.rw(pair, nvme.WRITE, 3, at, 1, block=4096)
        assert host.identify(0, nsid=1)[130] == 12
        assert file.read_bytes()[3 * 4096:3 * 4096 + 5] == b"here\0"
        pair.call(nvme.WRITE_ZEROES, nsid=1, dwords=(3, 0, 0))
    assert file.read_bytes() == bytes(1 << 20)


def test_null_backing(start):
    with Host(start("--backing", "null", "--size", "1T").path) as host:
        pair, at = host.queue(), host.memory.alloc()
        host.memory[at:at + 4] = b"same"
        host.rw(pair, nvme.READ, (1 << 31) - 8, at, 8)
        host.rw(pair, nvme.WRITE, 0, at, 8)
        pair.call(nvme.WRITE_ZEROES, nsid=1, dwords=(0, 0, 0xFFFF))
        assert host.memory[at:at + 4] == b"same"
        assert code(host.rw, pair, nvme.READ, 1 << 31, at, 1) == nvme.LBA_RANGE


# -------------------------------------------------------------------- queues

@pytest.mark.parametrize("mapped", [True, False])
def test_wrap(start, mapped):
    ctl = start("--doorbells", "mapped" if mapped else "message")
    with Host(ctl.path, mapped=mapped) as host:
        pair, sent, seen = host.queue(entries=5), [], []
        at = host.memory.alloc()
        while len(seen) < 301:
            while len(sent) - len(seen) < 4:
                sent.append(pair.put(nvme.READ, ring=False, nsid=1, prp1=at))
            pair.ring()
            done = pair.take()
            assert done and done[4] == 0
            seen.append(done[3])
        assert seen == sent[:301]
        messages = ctl.stats()["doorbell_messages"]
        assert messages == 0 if mapped else messages > 400


def test_full_completion_queue(host):
    pair = host.queue(entries=4)
    for _ in range(3):
        pair.put(nvme.FLUSH, nsid=1)
    for _ in range(3):
        assert pair.take(ack=False)[4] == 0
    cids = [pair.put(nvme.FLUSH, nsid=1) for _ in range(3)]
    assert pair.take(timeout=0.2) is None, "there is no room"
    pair.ack()
    assert [pair.take()[3] for _ in range(3)] == cids


def test_msix(host):
    irq, other = Irq(), Irq()
    host.vfu.set_irqs(DATA_EVENTFD | TRIGGER, index=nvme.MSIX, start=2, count=2,
                      fds=[irq.fd, other.fd])
    loud, quiet = host.queue(1, vector=2), host.queue(2, vector=3, loud=False)
    loud.call(nvme.FLUSH, nsid=1)
    assert irq.wait() == 1
    quiet.call(nvme.FLUSH, nsid=1)
    assert irq.wait(0.1) == 0 and other.wait(0) == 0
    host.vfu.set_irqs(DATA_NONE | TRIGGER, index=nvme.MSIX, start=3, count=1)
    assert other.wait() == 1, "by request"
    host.vfu.set_irqs(DATA_NONE | TRIGGER, index=nvme.MSIX, count=0)
    loud.call(nvme.FLUSH, nsid=1)
    assert irq.wait(0.1) == 0
    assert host.vfu.irq_info(nvme.MSIX)[1] == 9


def test_intx(host):
    irq = Irq()
    host.vfu.set_irqs(DATA_EVENTFD | TRIGGER, index=nvme.INTX, fds=[irq.fd])
    pair = host.queue(vector=0)
    host.vfu.set_irqs(DATA_NONE | UNMASK, index=nvme.INTX)
    irq.wait(0)
    pair.put(nvme.FLUSH, nsid=1)
    assert irq.wait() == 1
    assert host.vfu.r16(CONFIG, 6) & 8
    host.vfu.set_irqs(DATA_NONE | UNMASK, index=nvme.INTX)
    assert irq.wait() == 1, "nobody has taken the completion"
    assert pair.take()
    host.vfu.set_irqs(DATA_NONE | UNMASK, index=nvme.INTX)
    assert irq.wait(0.1) == 0
    host.w32(nvme.INTMS, 1)
    pair.put(nvme.FLUSH, nsid=1)
    assert irq.wait(0.1) == 0
    host.w32(nvme.INTMC, 1)
    assert irq.wait() == 1


def test_shadow_doorbells(ctl, host):
    pair, page, index = host.queue(), host.memory.alloc(), host.memory.alloc()
    pair.call(nvme.FLUSH, nsid=1)
    host.memory[page + 8:page + 16] = struct.pack("<II", pair.tail, pair.head)
    assert code(host.admin.call, nvme.DBBUF, prp1=page, prp2=index + 8) == 0x02
    assert code(host.admin.call, nvme.DBBUF, prp1=page, prp2=0x7000) == nvme.DATA_TRANSFER
    host.admin.call(nvme.DBBUF, prp1=page, prp2=index)
    host.shadow = page
    for _ in range(100):
        pair.call(nvme.FLUSH, nsid=1)
    # When it rests, it wants to be woken from where it is, and still looks.
    wait_until(lambda: struct.unpack("<I", host.memory[index + 8:index + 12])[0] == pair.tail)
    pair.call(nvme.FLUSH, nsid=1)
    host.identify(1)
    assert struct.unpack("<I", host.memory[index:index + 4])[0] == host.admin.tail
    host.disable()
    host.shadow = None
    host.enable()
    host.queue().call(nvme.FLUSH, nsid=1)


@pytest.mark.idle
def test_rests(ctl, host):
    """After a second without work it hardly uses the processor, and is there when work comes."""
    def ticks():
        with open(f"/proc/{ctl.process.pid}/stat", encoding="ascii") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
    pair = host.queue()
    pair.call(nvme.FLUSH, nsid=1)
    time.sleep(1.3)
    before = ticks()
    time.sleep(1)
    assert ticks() - before < 30, "of 100"
    pair.call(nvme.FLUSH, nsid=1)


# -------------------------------------------------------------------- faults

def test_status(ctl, host):
    pair = host.queue()
    ctl.fault("read-status=0x281,every=3")
    codes = []
    for _ in range(9):
        try:
            read(host, pair, 0)
            codes.append(0)
        except Status as e:
            codes.append(e.status)
    assert codes == [0, 0, 0x281] * 3
    ctl.fault("clear")
    ctl.fault("status=0x4280,lba=100-199,count=2,after=1")
    write(host, pair, 0, bytes(BLOCK))
    assert read(host, pair, 92, 9), "skipped"
    assert [code(read, host, pair, lba) for lba in (199, 100)] == [0x280] * 2
    assert read(host, pair, 150)
    assert ctl.stats()["faults"] == {"status": 5}
    ctl.fault("identify-status=6,count=1")
    assert code(host.identify, 1) == 6
    host.identify(1)


def test_timeout_and_abort(ctl, host):
    pair = host.queue()
    ctl.fault("read-timeout,count=1")
    lost = pair.put(nvme.READ, nsid=1, prp1=host.memory.alloc())
    assert pair.take(timeout=0.2) is None
    assert host.admin.call(nvme.ABORT, dwords=(77 << 16 | 1,)) == 1, "not found"
    assert host.admin.call(nvme.ABORT, dwords=(lost << 16 | 1,)) == 0
    done = pair.take()
    assert done[3:] == (lost, 0x07)
    ctl.fault("timeout,count=1")
    lost = pair.put(nvme.FLUSH, nsid=1)
    wait_until(lambda: ctl.stats()["held"] == 1)
    host.admin.call(nvme.DELETE_SQ, dwords=(1,))
    assert pair.take()[3:] == (lost, 0x08)


def test_lost_interrupt(ctl, host):
    irq = Irq()
    host.vfu.set_irqs(DATA_EVENTFD | TRIGGER, index=nvme.MSIX, start=1, fds=[irq.fd])
    pair = host.queue(vector=1)
    ctl.fault("lost-interrupt,count=1")
    pair.call(nvme.FLUSH, nsid=1)
    assert irq.wait(0.2) == 0
    pair.call(nvme.FLUSH, nsid=1)
    assert irq.wait() == 1


def test_bad_completions(ctl, host):
    pair = host.queue()
    ctl.fault("wrong-cid,count=1")
    cid = pair.put(nvme.FLUSH, nsid=1)
    assert pair.take()[3] == cid ^ 0xFFFF
    ctl.fault("duplicate,count=1")
    cid = pair.put(nvme.FLUSH, nsid=1)
    assert [pair.take()[3], pair.take()[3]] == [cid, cid]
    ctl.fault("wrong-phase,count=1")
    pair.put(nvme.FLUSH, nsid=1)
    assert pair.take(timeout=0.2) is None
    pair.head += 1
    pair.call(nvme.FLUSH, nsid=1)


def test_reorder(ctl, host):
    pair = host.queue(entries=128)
    ctl.fault("reorder=16")
    at = host.memory.alloc()
    for lba in range(64):
        write(host, pair, lba, bytes([lba]) * BLOCK)
    orders = set()
    for _ in range(2):
        cids = [pair.put(nvme.READ, ring=False, nsid=1, prp1=at, dwords=(i,)) for i in range(64)]
        pair.ring()
        seen = [pair.take()[3] for _ in cids]
        assert seen != cids and sorted(seen) == cids
        orders.add(tuple(cid - cids[0] for cid in seen))
    assert len(orders) == 2
    alone = pair.put(nvme.FLUSH, nsid=1)
    assert pair.take()[3] == alone, "one alone is not kept for ever"


def test_late(ctl, host):
    pair, at = host.queue(), host.memory.alloc()
    write(host, pair, 5, b"late" * 128)
    ctl.fault("read-late=200")
    began = time.monotonic()
    cid = pair.put(nvme.READ, nsid=1, prp1=at, dwords=(5,))
    pair.call(nvme.FLUSH, nsid=1)
    assert host.memory[at:at + 4] == bytes(4)
    assert pair.take()[3:] == (cid, 0)
    assert time.monotonic() - began >= 0.2
    assert host.memory[at:at + 4] == b"late"


def test_late_after_unmap(ctl, host):
    """What was lent when the command came, and is not when it is due, is not touched."""
    pair, other = host.queue(), Memory(size=1 << 16, iova=0x90000000)
    write(host, pair, 0, b"late" * 128)
    host.lend(other)
    at = other.alloc(2)
    ctl.fault("read-late=100,after=1")
    host.rw(pair, nvme.READ, 0, at + PAGE, 1)
    cid = pair.put(nvme.READ, nsid=1, prp1=at)
    host.take_back(other)
    assert pair.take()[3:] == (cid, nvme.DATA_TRANSFER)
    assert other[at:at + PAGE] == bytes(PAGE)
    assert ctl.stats()["late_suppressed"] == 1 and ctl.stats()["stray_dma"] == 0
    pair.put(nvme.READ, nsid=1, prp1=host.memory.alloc())
    host.disable()
    assert ctl.stats()["late_suppressed"] == 2 and ctl.stats()["held"] == 0


def test_fatal(ctl, host):
    pair = host.queue()
    ctl.fault("cfs")
    assert host.r32(nvme.CSTS) == nvme.RDY | nvme.CFS
    pair.put(nvme.FLUSH, nsid=1)
    assert pair.take(timeout=0.2) is None
    host.disable()
    assert host.enable() == nvme.RDY
    host.queue().call(nvme.FLUSH, nsid=1)


def test_all_ones(ctl, host):
    pair = host.queue()
    ctl.fault("all-ones,config=1")
    assert host.r32(nvme.CSTS) == ALL and host.vfu.r16(CONFIG, 0) == 0x4155
    ctl.fault("all-ones")
    assert host.vfu.r32(CONFIG, 0) == ALL
    pair.put(nvme.FLUSH, nsid=1)
    assert pair.take(timeout=0.2) is None
    ctl.fault("clear")
    assert host.r32(nvme.CSTS) == ALL, "it has forgotten that it decodes"
    host.vfu.enable(0x6)
    assert host.r32(nvme.CSTS) == 0
    assert host.enable() == nvme.RDY
    host.queue().call(nvme.FLUSH, nsid=1)


def test_never_ready(start):
    ctl = start("--fault", "never-ready")
    with Host(ctl.path) as host:
        assert host.r32(nvme.CSTS) == 0
        host.admin.put(nvme.IDENTIFY, prp1=host.memory.alloc(), dwords=(1,))
        assert host.admin.take(timeout=0.2) is None
        ctl.fault("clear")
        assert host.r32(nvme.CSTS) == nvme.RDY
        assert host.admin.take()[4] == 0


def test_namespaces_come_and_go(ctl, host):
    pair, event = host.queue(), host.events()
    ctl.fault("resize=1M,nsid=1")
    assert host.admin.take()[:4:3] == (2 | 4 << 16, event), "notice, changed list"
    host.admin.put(nvme.ASYNC_EVENT)
    ctl.fault("remove=2")
    assert host.admin.take(timeout=0.2) is None, "not before the log was read"
    assert struct.unpack_from("<3I", host.log(4, 4096, flags=1 << 15)) == (1, 2, 0), "retained"
    log = host.memory.alloc()
    cid = host.admin.put(nvme.GET_LOG, prp1=log, dwords=(1023 << 16 | 4,))
    done = {host.admin.take()[3]: None, host.admin.take()[3]: None}
    assert cid in done and len(done) == 2, "the log, and the second event"
    assert struct.unpack_from("<2I", host.memory[log:log + 8]) == (1, 2)
    assert struct.unpack_from("<Q", host.identify(0, nsid=1))[0] == 2048
    assert code(read, host, pair, 2048) == nvme.LBA_RANGE
    assert struct.unpack_from("<2I", host.identify(2)) == (1, 0)
    assert code(host.rw, pair, nvme.READ, 0, log, 1, nsid=2) == 0x0B
    ctl.fault("add=2")
    host.rw(pair, nvme.READ, 0, log, 1, nsid=2)
    ctl.fault("resize=128M,nsid=1")
    write(host, pair, (128 << 20) // BLOCK - 1, b"end!" * 128)
    assert ctl.ask("add=2", check=False).returncode == 1


def test_health(ctl, host):
    event = host.events()
    ctl.fault("health=1")
    done = host.admin.take()
    assert (done[3], done[0] & 0xFF, done[0] >> 16) == (event, 1, 2)
    assert host.log(2)[0] == 1


def test_bad_specs(ctl):
    for spec in ("", "nonsense", "status=0", "status=x", "status,every", "status,every=x",
                 "status,what=1", "status,lba=9-1", "status,lba=1-", "late=9999999999", "reorder=1",
                 "frob-status=1", "remove=9", "resize=0", "read-cfs", "x" * 300):
        out = ctl.ask(spec, check=False)
        assert out.returncode == 1 and out.stderr.startswith("auriga-lab: ") and \
            out.stderr.count("\n") == 1, spec
    for _ in range(32):
        ctl.fault("duplicate,qid=99")
    assert "too many" in ctl.ask("timeout", check=False).stderr
    ctl.fault("clear")
    ctl.fault("timeout")


@pytest.mark.parametrize("args", [[], ["--socket"], ["--block-size", "513"], ["--queues", "0"],
                                  ["--size", "3"], ["--fault", "x"], ["--mdts", "9"], ["more"],
                                  ["--poll", "x"], ["--namespaces", "2", "--backing", "/etc/f"]])
def test_bad_arguments(rundir, args):
    if args:
        args = ["--socket", str(rundir / "s"), *args]
    out = subprocess.run([vfu.program("auriga-lab"), "nvme", *args], capture_output=True,
                         text=True, check=False, timeout=20)
    assert out.returncode == 2 and "auriga-lab" in out.stderr and out.stderr.count("\n") == 1
    assert out.stdout == ""


def test_socket_paths(start, rundir):
    """A socket that is in use, or a file, is left alone; one that is left over is not."""
    def fails(path):
        out = subprocess.run([vfu.program("auriga-lab"), "nvme", "--socket", path],
                             capture_output=True, text=True, check=False, timeout=20)
        return out.returncode == 1 and out.stderr.count("\n") == 1 and path in out.stderr
    file = rundir / "file"
    file.write_text("precious")
    assert fails(str(file)) and file.read_text() == "precious"
    ctl = start()
    assert fails(ctl.path)
    with Host(ctl.path) as host:
        host.identify(1)
    ctl.process.kill()
    ctl.process.wait()
    assert os.path.exists(ctl.path)
    ctl.__enter__()
    with Host(ctl.path) as host:
        host.identify(1)


# --------------------------------------------------------- clients, hostile too

CLIENT = """
import sys, time, nvme_host as nvme
host = nvme.Host(sys.argv[1])
pair = host.queue()
at = host.memory.alloc()
host.memory[at:at + 4] = b"kept"
host.rw(pair, nvme.WRITE, 7, at, 1)
print("up", flush=True)
while True:
    host.rw(pair, nvme.READ, 7, at, 1)
"""


def test_killed_client(ctl):
    ctl.fault("read-late=5,every=3")
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", CLIENT, ctl.path], stdout=subprocess.PIPE,
                              text=True, cwd=os.path.dirname(__file__)) as child:
            assert child.stdout.readline() == "up\n"
            with pytest.raises(vfu.Error) as e:
                Vfu(ctl.path)
            assert e.value.errno == errno.EBUSY
            child.send_signal(signal.SIGKILL)
        wait_until(lambda: ctl.stats()["dma_maps"] == 0)
    with Host(ctl.path) as host:
        ctl.fault("clear")
        assert read(host, host.queue(), 7)[:4] == b"kept"
    stats = ctl.stats()
    assert stats["clients"] == 6 and stats["refused"] == 5 and stats["held"] == 0
    assert ctl.messages().count("refused a second client") == 5


@pytest.mark.parametrize("half", [False, True])
def test_client_that_takes_no_answers(ctl, half):
    """It is not waited for, neither while it is there nor when it has gone, or half gone."""
    with Vfu(ctl.path, timeout=0.2) as v:
        read_all = v.message(vfu.REGION_READ, struct.pack("<QII", 0, CONFIG, 4096))
        with pytest.raises(TimeoutError):
            while True:
                v.send(read_all * 100)
        assert ctl.stats()["clients"] == 1
        if half:
            v.sock.shutdown(socket.SHUT_WR)
        else:
            v.close()
        with Host(ctl.path) as host:
            host.identify(1)


def test_next_client_has_other_doorbells(ctl):
    memory = Memory()
    first = Host(ctl.path, memory)
    pair = first.queue()
    first.close()
    with Host(ctl.path) as host:
        mine = host.queue()
        pair.put(nvme.FLUSH, nsid=1)
        assert host.page[2] == 0
        mine.call(nvme.FLUSH, nsid=1)
        assert ctl.stats()["io"] == {"flush": 1}


def test_stray_dma(ctl, host):
    pair, at = host.queue(), host.memory.alloc(2)
    end = host.memory.iova + host.memory.size
    for prp1, prp2, blocks in ((0, 0, 1), (end, 0, 1), (end - PAGE, end, 16), (at, 0x5000, 64),
                               (1 << 63, 0, 8), (at, end - 8, 64)):
        assert code(pair.call, nvme.READ, nsid=1, prp1=prp1, prp2=prp2,
                    dwords=(0, 0, blocks - 1)) == nvme.DATA_TRANSFER
    assert ctl.stats()["stray_dma"] == 6
    part = Memory(size=PAGE, iova=0x80000000)
    host.lend(part, flags=1)
    host.rw(pair, nvme.WRITE, 0, part.iova, 1)
    assert code(host.rw, pair, nvme.READ, 0, part.iova, 1) == nvme.DATA_TRANSFER, "read-only"
    read(host, pair, 0)


def test_queue_taken_away(ctl, host):
    pair = host.queue()
    host.take_back(host.memory)
    pair.put(nvme.FLUSH, nsid=1)
    wait_until(lambda: host.r32(nvme.CSTS) & nvme.CFS)
    assert ctl.stats()["stray_dma"] == 1
    host.lend(host.memory)
    host.disable()
    host.enable()
    host.queue().call(nvme.FLUSH, nsid=1)


def test_bus_mastering_off(host):
    pair = host.queue()
    host.vfu.enable(0x2)
    cid = pair.put(nvme.FLUSH, nsid=1)
    assert pair.take(timeout=0.2) is None
    host.vfu.enable(0x6)
    assert pair.take()[3] == cid


def test_map_rules(host):
    other = Memory(size=PAGE * 4, iova=host.memory.iova + host.memory.size - PAGE)
    for memory, flags, want in ((other, 3, errno.EEXIST),
                                (Memory(PAGE, 0x1000, sealed=False), 3, errno.EPERM),
                                (Memory(PAGE, 0x1800), 3, errno.EINVAL),
                                (Memory(PAGE, 0x1000), 4, errno.EINVAL)):
        with pytest.raises(vfu.Error) as e:
            host.lend(memory, flags)
        assert e.value.errno == want
    other.iova += PAGE
    host.lend(other)
    other.size -= PAGE
    with pytest.raises(vfu.Error) as e:
        host.take_back(other)
    assert e.value.errno == errno.ENOENT
    with pytest.raises(vfu.Error):
        host.vfu.call(vfu.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0x1000, PAGE))
    host.identify(1)


def test_hostile_doorbells(ctl, host):
    pair, event = host.queue(), host.events()
    host.page[2] = 64
    done = host.admin.take()
    assert (done[3], done[0]) == (event, 0 | 1 << 8 | 1 << 16), "invalid doorbell value"
    host.log(1)
    random.seed(5)
    for _ in range(20000):
        host.page[random.randrange(2, 1024)] = random.choice((0, 1, 63, 64, 65535, ALL, 1 << 31))
    assert host.r32(nvme.CSTS) in (nvme.RDY, nvme.RDY | nvme.CFS)
    host.disable()
    host.enable()
    host.queue().call(nvme.FLUSH, nsid=1)
    assert pair and ctl.process.poll() is None


def test_doorbell_of_no_queue(start):
    with Host(start().path, mapped=False) as host:
        event = host.events()
        host.w32(nvme.DOORBELLS + 8 * 5, 1)
        done = host.admin.take()
        assert (done[3], done[0]) == (event, 1 << 16), "invalid doorbell register"


def test_hostile_messages(ctl):
    rng = random.Random(3)
    for _ in range(60):
        v = Vfu(ctl.path)
        try:
            for _ in range(40):
                v.send(v.message(rng.randrange(0, 20), rng.randbytes(rng.randrange(0, 64)),
                                 rng.choice((0, vfu.NO_REPLY))))
            v.send(rng.randbytes(50))
        except vfu.Closed:
            pass
        v.close()
    with Host(ctl.path) as host:
        host.queue().call(nvme.FLUSH, nsid=1)


def test_stats_are_json(ctl, host):
    host.queue().call(nvme.FLUSH, nsid=1)
    stats = json.loads(ctl.ask("stats").stdout)
    assert stats["io"] == {"flush": 1} and stats["admin"] == {"create-cq": 1, "create-sq": 1}
