# SPDX-License-Identifier: MIT
"""The lab: QEMU's device models as vfio-user devices."""

import errno
import hashlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import vfu
from vfu import CONFIG, Irq, Lab, Vfu, gone, recv_exactly, wait_until

pytestmark = pytest.mark.sanitize

# 16550 registers (PC16550D, 8.0) at BAR 0
RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7

LINE = "socket,id={0},path=%d/{0}.sock,server=on,wait=off"


def serial_args(n=1):
    args = []
    for i in range(n):
        args += ["--chardev", LINE.format(f"c{i}"), "--device", f"pci-serial,chardev=c{i}"]
    return args


@pytest.fixture
def lab(rundir):
    with Lab(rundir, *serial_args(), "--log", str(rundir / "access.log")) as up:
        yield up


@pytest.fixture
def uart(lab):
    with lab.vfu("pci-serial0") as v:
        v.enable()
        yield v


def write_text(v, text, base=0):
    """Send with a full FIFO at a time, as a driver does."""
    v.w8(0, base + FCR, 0x01)
    for i in range(0, len(text), 16):
        while not v.r8(0, base + LSR) & 0x20:
            pass
        v.write_multi([(0, base + THR, text[k:k + 1]) for k in range(i, min(i + 16, len(text)))])


def test_up_is_quick_and_says_what_is_there(rundir):
    lab = Lab(rundir)
    times = []
    for _ in range(5):
        start = time.monotonic()
        out = lab.ctl("up", "--device", "pci-serial", "--device", "pci-serial-2x,id=two")
        times.append(time.monotonic() - start)
        assert out.stdout.splitlines() == [
            f"vfio-user:{lab.dir}/pci-serial0.sock 1b36:0002 pci-serial",
            f"vfio-user:{lab.dir}/two.sock 1b36:0003 pci-serial-2x"]
        listed = json.loads(lab.ctl("ls", "--json").stdout)
        assert [(l["name"], l["state"]) for l in listed] == [("lab0", "running")]
        with Vfu(f"{lab.dir}/two.sock") as v:
            assert v.r32(CONFIG, 0) == 0x00031B36
        lab.ctl("down")
        assert os.listdir(f"{rundir}/lab") == []
    assert min(times) < 1.0


def test_version_and_information(lab):
    with lab.vfu("pci-serial0") as v:
        assert v.caps["write_multiple"] is True
        assert v.caps["max_msg_fds"] >= 1
        assert v.caps["max_data_xfer_size"] >= 4096
        assert v.info() == (2, 9, 5)  # PCI, no reset
        assert v.region_info(0) == (3, 8)
        assert v.region_info(CONFIG) == (3, 256)
        for index in (1, 2, 3, 4, 5, 6, 8):
            assert v.region_info(index) == (0, 0)
        assert v.irq_info(0) == (7, 1)
        for index in (1, 2, 3, 4):
            assert v.irq_info(index) == (0, 0)
        for bad in (lambda: v.region_info(9), lambda: v.irq_info(5)):
            with pytest.raises(vfu.Error) as e:
                bad()
            assert e.value.errno == errno.EINVAL


def test_bar_registers_are_virtual(lab):
    with lab.vfu("pci-serial0") as v:
        assert v.r32(CONFIG, 0x10) == 1  # not placed by the client yet
        v.w32(CONFIG, 0x10, 0xFFFFFFFF)
        assert v.r32(CONFIG, 0x10) == 0xFFFFFFF9
        v.w32(CONFIG, 0x10, 0x12345678)
        assert v.r32(CONFIG, 0x10) == 0x12345679
        v.write(CONFIG, 0x11, b"\xab")  # a byte of it
        assert v.r32(CONFIG, 0x10) == 0x1234AB79
        v.w32(CONFIG, 0x14, 0xFFFFFFFF)
        assert v.r32(CONFIG, 0x14) == 0
        v.w32(CONFIG, 0x30, 0xFFFFFFFF)
        assert v.r32(CONFIG, 0x30) == 0
        # and the device still answers where the lab has put it
        v.enable()
        v.w8(0, SCR, 0x5A)
        assert v.r8(0, SCR) == 0x5A


def test_all_of_config_in_one_read(uart):
    whole = uart.read(CONFIG, 0, 256)
    assert whole[0:4] == bytes.fromhex("361b0200")
    assert whole[0x3D] == 1
    assert b"".join(uart.read(CONFIG, i, 1) for i in range(256)) == whole
    assert uart.read(CONFIG, 1, 7) == whole[1:8]


def test_reads_are_all_ones_while_decoding_is_off(lab):
    with lab.vfu("pci-serial0") as v:
        v.enable(0)
        assert v.read(0, 0, 8) == b"\xff" * 8
        v.w8(0, SCR, 0x11)
        v.enable(0x2)  # memory only, and this is an I/O BAR
        assert v.r8(0, SCR) == 0xFF
        v.enable(0x1)
        v.w8(0, SCR, 0x22)
        assert v.r8(0, SCR) == 0x22
        v.enable(0)
        v.w8(0, SCR, 0x33)
        assert v.r8(0, SCR) == 0xFF
        v.enable(0x1)
        assert v.r8(0, SCR) == 0x22


def test_uart_sends_and_receives_with_interrupts(lab, uart):
    line = lab.chardev("c0.sock")
    irq = Irq()
    uart.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[irq.fd])
    write_text(uart, b"hello, lab\n")
    assert recv_exactly(line, 11) == b"hello, lab\n"

    uart.w8(0, IER, 0x01)
    assert irq.wait(0.1) == 0
    line.sendall(b"Y")
    assert irq.wait() == 1
    line.sendall(b"Z")
    assert irq.wait(0.1) == 0, "it is masked until the client unmasks it"
    assert uart.r8(0, LSR) & 1
    assert uart.r8(0, RBR) == ord("Y")
    uart.set_irqs(vfu.DATA_NONE | vfu.UNMASK)
    assert irq.wait() == 1, "it is still asserted"
    assert uart.r8(0, RBR) == ord("Z")
    uart.set_irqs(vfu.DATA_NONE | vfu.UNMASK)
    assert irq.wait(0.1) == 0

    uart.set_irqs(vfu.DATA_NONE | vfu.MASK)
    line.sendall(b"1")
    assert irq.wait(0.1) == 0
    uart.set_irqs(vfu.DATA_BOOL | vfu.UNMASK, data=b"\1")
    assert irq.wait() == 1
    uart.r8(0, RBR)
    uart.set_irqs(vfu.DATA_NONE | vfu.UNMASK)

    uart.enable(0x407)  # interrupts off in the command register
    assert uart.r16(CONFIG, 4) & 0x400
    line.sendall(b"2")
    assert irq.wait(0.1) == 0
    assert uart.r16(CONFIG, 6) & 0x8, "the status bit says that it would"
    uart.enable(0x7)
    assert irq.wait() == 1
    assert uart.r16(CONFIG, 4) == 0x7, "masking is not visible in the command register"

    uart.set_irqs(vfu.DATA_NONE | vfu.TRIGGER)  # as a test of the way
    assert irq.wait() == 1
    uart.r8(0, RBR)
    uart.set_irqs(vfu.DATA_NONE | vfu.UNMASK)
    uart.set_irqs(vfu.DATA_NONE | vfu.TRIGGER, count=0)
    line.sendall(b"3")
    assert irq.wait(0.1) == 0
