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
from crowd import Watch
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
        watch = Watch()
        out = lab.ctl("up", "--device", "pci-serial", "--device", "pci-serial-2x,id=two")
        times.append(watch.took())
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


def test_a_four_port_card_shares_one_line(rundir):
    chardevs = sum((["--chardev", LINE.format(f"c{i}")] for i in range(4)), [])
    device = "pci-serial-4x," + ",".join(f"chardev{i + 1}=c{i}" for i in range(4))
    with Lab(rundir, *chardevs, "--device", device) as lab, lab.vfu("pci-serial-4x0") as v:
        assert v.region_info(0) == (3, 32)
        v.enable()
        lines = [lab.chardev(f"c{i}.sock") for i in range(4)]
        irq = Irq()
        v.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[irq.fd])
        for i in range(4):
            write_text(v, f"port {i}\n".encode(), 8 * i)
            assert recv_exactly(lines[i], 7) == f"port {i}\n".encode()
            v.w8(0, 8 * i + IER, 1)
        for _ in range(20):  # two ports at a time: served one by one, the second must interrupt again
            a, b = random.sample(range(4), 2)
            lines[a].sendall(b"a")
            lines[b].sendall(b"b")
            got = set()
            while len(got) < 2:
                assert irq.wait() >= 1
                for i in range(4):
                    if v.r8(0, 8 * i + LSR) & 1:
                        assert v.r8(0, 8 * i + RBR) in b"ab"
                        got.add(i)
                        break
                v.set_irqs(vfu.DATA_NONE | vfu.UNMASK)
            assert got == {a, b}


def test_functions_that_share_a_line_lose_no_interrupt(rundir):
    """Slots 1 and 5 are on one interrupt line; each client serves only its own function."""
    rounds = 150
    with Lab(rundir, *serial_args(5)) as lab:
        assert [f["bdf"] for f in lab.info["functions"]][::4] == ["00:01.0", "00:05.0"]
        failed = []

        def client(n):
            try:
                line = lab.chardev(f"c{n}.sock")
                with lab.vfu(f"pci-serial{n}") as v:
                    v.enable()
                    irq = Irq()
                    v.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[irq.fd])
                    v.w8(0, IER, 1)
                    for i in range(rounds):
                        line.sendall(bytes([i]))
                        assert irq.wait() >= 1, f"function {n}, round {i}"
                        assert v.r8(0, RBR) == i
                        v.set_irqs(vfu.DATA_NONE | vfu.UNMASK)
            except Exception as e:  # pylint: disable=broad-except
                failed.append(repr(e))

        threads = [threading.Thread(target=client, args=(n,)) for n in (0, 4, 1)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failed


@pytest.mark.parametrize("both", [64 << 10, pytest.param(1 << 20, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
def test_bytes_both_ways_arrive_unchanged(lab, uart, both):
    line = lab.chardev("c0.sock", timeout=None)
    out, back = random.randbytes(both), random.randbytes(both)
    received = hashlib.sha256()

    def peer_reads():
        left = both
        while left:
            data = line.recv(min(left, 65536))
            received.update(data)
            left -= len(data)

    threads = [threading.Thread(target=peer_reads, daemon=True),
               threading.Thread(target=line.sendall, args=(back,), daemon=True)]
    uart.w8(0, FCR, 0xC1)
    for t in threads:
        t.start()
    got, sent = bytearray(), 0
    end = time.monotonic() + 30 + both / 2000
    while len(got) < both or sent < both:
        assert time.monotonic() < end, f"{sent} sent, {len(got)} received"
        pairs = uart.read_many([(0, LSR, 1), (0, RBR, 1)] * 8)
        if not pairs[0][0] & 1 and not pairs[0][0] & 0x20:
            continue
        for lsr, rbr in zip(pairs[::2], pairs[1::2]):
            if lsr[0] & 1:
                got += rbr
        if sent < both and pairs[-2][0] & 0x20:
            chunk = out[sent:sent + 16]
            uart.write_multi([(0, THR, bytes([c])) for c in chunk])
            sent += len(chunk)
    for t in threads:
        t.join()
    assert hashlib.sha256(back).digest() == hashlib.sha256(got).digest()
    assert hashlib.sha256(out).digest() == received.digest()


def test_posted_and_multiple_writes(uart):
    uart.write(0, SCR, b"\x01", no_reply=True)
    assert uart.r8(0, SCR) == 1
    uart.write_multi([(0, SCR, bytes([i])) for i in range(200)])
    assert uart.r8(0, SCR) == 199
    with pytest.raises(vfu.Error) as e:  # all or nothing
        uart.write_multi([(0, SCR, b"\x42"), (0, 8, b"\0")])
    assert e.value.errno == errno.EINVAL
    assert uart.r8(0, SCR) == 199
    got = uart.read_many([(0, SCR, 1), (CONFIG, 0, 2)] * 50)
    assert got == [b"\xc7", b"\x36\x1b"] * 50


def test_a_wider_access_is_the_registers_side_by_side(uart):
    uart.w8(0, LCR, 0x03)
    uart.w8(0, SCR, 0x77)
    assert uart.read(0, LCR, 5) == bytes(uart.r8(0, r) for r in range(LCR, SCR + 1))
    uart.w8(0, LCR, 0x83)
    uart.write(0, DLL, b"\x0c\x01")
    assert (uart.r8(0, DLL), uart.r8(0, DLM)) == (0x0C, 0x01)


@pytest.mark.parametrize("region, off, count", [
    (0, 8, 1), (0, 7, 2), (0, 0, 0), (0, 1 << 63, 1), (0, (1 << 64) - 1, 2), (CONFIG, 256, 1),
    (CONFIG, 255, 2), (1, 0, 1), (8, 0, 1), (9, 0, 1), (0xFFFFFFFF, 0, 1), (0, 0, 0xFFFFFFFF)])
def test_accesses_outside_are_refused_and_the_session_goes_on(uart, region, off, count):
    payload = struct.pack("<QII", off, region, count)
    for cmd, data in ((vfu.REGION_READ, b""), (vfu.REGION_WRITE, bytes(min(count, 64)))):
        with pytest.raises(vfu.Error) as e:
            uart.call(cmd, payload + data)
        assert e.value.errno == errno.EINVAL
    uart.w8(0, SCR, 9)
    assert uart.r8(0, SCR) == 9


def test_what_the_lab_does_not_do_is_an_error_not_an_end(uart):
    def refused(cmd, payload=b"", fds=()):
        with pytest.raises(vfu.Error) as e:
            uart.call(cmd, payload, fds)
        return e.value.errno

    # memory without a descriptor would have to be asked for by messages
    assert refused(vfu.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0, 4096)) == errno.ENOTSUP
    assert refused(vfu.DMA_UNMAP, struct.pack("<IIQQ", 24, 0, 0, 4096)) == errno.EINVAL
    assert refused(vfu.GET_REGION_IO_FDS, bytes(16)) == errno.ENOTSUP
    assert refused(vfu.RESET) == errno.ENOTSUP
    assert refused(0) == errno.ENOSYS
    assert refused(14) == errno.ENOSYS
    assert refused(60000) == errno.ENOSYS
    for cmd in (vfu.VERSION, vfu.DMA_MAP, vfu.GET_INFO, vfu.GET_REGION_INFO, vfu.GET_IRQ_INFO,
                vfu.SET_IRQS, vfu.REGION_READ, vfu.REGION_WRITE, vfu.WRITE_MULTI):
        assert refused(cmd) == errno.EINVAL
    for irqs in (dict(count=2), dict(start=1), dict(index=1), dict(index=5),
                 dict(flags=vfu.DATA_NONE | vfu.UNMASK), dict(flags=0), dict(flags=0x3F)):
        with pytest.raises(vfu.Error) as e:
            uart.set_irqs(**{"flags": vfu.DATA_NONE | vfu.TRIGGER, **irqs})
        assert e.value.errno == errno.EINVAL
    assert uart.r8(0, LSR) == 0x60


def test_a_second_client_is_refused(lab, uart):
    uart.w8(0, SCR, 0x31)
    for _ in range(40):
        with pytest.raises(vfu.Error) as e:
            lab.vfu("pci-serial0")
        assert e.value.errno == errno.EBUSY
    silent = [lab.vfu("pci-serial0", version=False) for _ in range(50)]
    assert uart.r8(0, SCR) == 0x31
    for s in silent:
        s.close()
    text = lab.log_text()
    assert f"refused a second client, pid {os.getpid()}" in text
    uart.close()
    with lab.vfu("pci-serial0") as v:
        assert v.r8(0, SCR) == 0x31, "the device keeps its state"


def test_the_next_client_comes_in_at_once(lab):
    for i in range(300):
        v = lab.vfu("pci-serial0")
        if i % 3 == 0:
            v.send(v.message(vfu.REGION_READ, struct.pack("<QII", 0, 0, 8)) * 100)
        if i % 3 == 1:
            v.sock.shutdown(socket.SHUT_RDWR)
        v.close()


def test_the_end_of_a_session_ends_its_interrupts(lab):
    line = lab.chardev("c0.sock")
    irq = Irq()
    with lab.vfu("pci-serial0") as v:
        v.enable()
        v.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[irq.fd])
        v.w8(0, IER, 1)
        v.send(v.message(vfu.REGION_WRITE, struct.pack("<QII", SCR, 0, 1) + b"\x66"))
        # half a message: it dies with the session
        v.send(v.message(vfu.REGION_WRITE, struct.pack("<QII", SCR, 0, 1) + b"\x77")[:-1])
    with lab.vfu("pci-serial0") as v:
        line.sendall(b"x")
        wait_until(lambda: v.r8(0, LSR) & 1)
        assert irq.wait(0.1) == 0
        assert v.r8(0, SCR) == 0x66
        assert v.r16(CONFIG, 4) == 3  # Bus Master is off again, as with the kernel
        new = Irq()
        v.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[new.fd])
        assert new.wait() == 1
        assert irq.wait(0) == 0


def test_a_client_that_does_not_read_holds_up_nobody(rundir):
    with Lab(rundir, *serial_args(2)) as lab, lab.vfu("pci-serial0") as deaf, \
            lab.vfu("pci-serial1") as v:
        deaf.sock.setblocking(False)
        burst = deaf.message(vfu.REGION_READ, struct.pack("<QII", 0, CONFIG, 256)) * 100
        with pytest.raises(BlockingIOError):
            for _ in range(20000):
                deaf.send(burst)
        v.enable()
        watch = Watch()
        for i in range(200):
            v.w8(0, SCR, i)
            assert v.r8(0, SCR) == i
        assert watch.took() < 5
        with open(f"/proc/{lab.pids['bridge']}/statm", encoding="ascii") as f:
            assert int(f.read().split()[1]) * 4096 < 64 << 20
    with Lab(rundir, *serial_args(1)) as lab, lab.vfu("pci-serial0") as v:
        assert v.r8(CONFIG, 0) == 0x36


def test_frozen_then_thawed_then_killed(lab, uart):
    uart.w8(0, SCR, 0x2A)
    lab.fault("freeze")
    assert json.loads(lab.ctl("ls", "--json").stdout)[0]["state"] == "frozen"
    uart.sock.settimeout(0.3)
    uart.send(uart.message(vfu.REGION_READ, struct.pack("<QII", SCR, 0, 1)))
    with pytest.raises(socket.timeout):
        uart.reply()
    uart.sock.settimeout(5)
    lab.fault("thaw")
    assert uart.reply()[2][16:] == b"\x2a"
    lab.fault("freeze")
    uart.send(uart.message(vfu.REGION_READ, struct.pack("<QII", SCR, 0, 1)))
    lab.fault("kill")
    assert uart.reply()[2][16:] == b"\xff"
    assert json.loads(lab.ctl("ls", "--json").stdout)[0]["state"] == "dead"
    out = lab.ctl("fault", "lab0", "freeze", check=False)
    assert out.returncode == 1 and "dead" in out.stderr


def test_a_killed_qemu_is_a_dead_device(lab, uart):
    irq = Irq()
    uart.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[irq.fd])
    os.kill(lab.pids["qemu"], signal.SIGKILL)
    wait_until(lambda: uart.r8(0, LSR) == 0xFF)
    assert uart.read(0, 0, 8) == b"\xff" * 8
    assert uart.read(CONFIG, 0, 64) == b"\xff" * 64
    uart.w8(0, SCR, 1)
    uart.write_multi([(0, SCR, b"1"), (CONFIG, 4, b"\7\0")])
    assert uart.region_info(0) == (3, 8)
    uart.set_irqs(vfu.DATA_NONE | vfu.UNMASK)
    uart.close()
    with lab.vfu("pci-serial0") as v:
        assert v.read(0, 0, 8) == b"\xff" * 8
    wait_until(lambda: gone(lab.pids["qemu"]))
    lab.ctl("down")
    assert os.listdir(os.path.dirname(lab.dir)) == []


def test_down_while_frozen(lab):
    lab.fault("freeze")
    watch = Watch()
    lab.ctl("down")
    assert watch.took() < 2
    assert all(gone(p) for p in lab.pids.values())
    assert not os.path.exists(lab.dir)


def kill_at_once(pids):
    """Kill all of a lab, with nobody left for a moment to tidy up after the others."""
    for sig in (signal.SIGSTOP, signal.SIGKILL):
        for who in ("guardian", "bridge", "qemu"):
            try:
                os.kill(pids[who], sig)
            except ProcessLookupError:  # QEMU goes with its parent
                assert who == "qemu"


@pytest.mark.parametrize("victim", ["guardian", "bridge", "all"])
@pytest.mark.parametrize("frozen", [False, True])
def test_nothing_is_left_after_a_kill(rundir, victim, frozen):
    before = set(os.listdir("/dev/shm"))
    with Lab(rundir, *serial_args(2)) as lab, lab.vfu("pci-serial0") as v:
        v.enable()
        if frozen:
            lab.fault("freeze")
        pids = lab.pids
        if victim == "all":
            kill_at_once(pids)
        else:
            os.kill(pids[victim], signal.SIGKILL)
        wait_until(lambda: all(gone(p) for p in pids.values()))
        if victim == "all":  # nobody was left to tidy up: the next command does
            assert json.loads(lab.ctl("ls", "--json").stdout)[0]["state"] == "killed"
            out = lab.ctl("fault", "lab0", "thaw", check=False)
            assert out.returncode == 1 and "killed" in out.stderr
            lab.ctl("down")
        wait_until(lambda: not os.path.exists(lab.dir))
        with pytest.raises(vfu.Closed):
            v.r8(0, LSR)
    assert set(os.listdir("/dev/shm")) == before


def test_a_name_is_taken_once_and_free_again_after_a_kill(rundir):
    with Lab(rundir, *serial_args()) as lab:
        out = lab.ctl("up", "--device", "pci-serial", check=False)
        assert out.returncode == 1
        assert len(out.stderr.splitlines()) == 1 and "is up already" in out.stderr
        with lab.vfu("pci-serial0") as v:
            assert v.r8(CONFIG, 0) == 0x36
        kill_at_once(lab.pids)
        wait_until(lambda: all(gone(p) for p in lab.pids.values()))
        lab.ctl("up", "--device", "pci-serial")
        with lab.vfu("pci-serial0") as v:
            assert v.r8(CONFIG, 0) == 0x36


def test_several_labs_and_down_all(rundir):
    with Lab(rundir, "--device", "edu", name="a") as a, Lab(rundir, "--device", "edu", name="b"):
        names = [l.split()[0] for l in a.ctl("ls").stdout.splitlines() if not l.startswith(" ")]
        assert names == ["a", "b"]
        a.ctl("down", "--all")
        assert a.ctl("ls", "--json").stdout == "[]\n"


def test_foreground_ends_with_ctrl_c(rundir):
    with subprocess.Popen([vfu.program("auriga-lab"), "up", "--foreground", "--runtime-dir",
                           str(rundir), "--device", "pci-serial"], stdout=subprocess.PIPE,
                          text=True, start_new_session=True) as p:
        address = p.stdout.readline().split()[0]
        with Vfu(address) as v:
            assert v.r8(CONFIG, 0) == 0x36
        os.killpg(p.pid, signal.SIGINT)
        assert p.wait(5) == 0
    assert os.listdir(f"{rundir}/lab") == []


def test_memory_bars_and_function_level_reset(rundir):
    with Lab(rundir, "--qemu-arg=-drive", "--qemu-arg=if=none,id=d,driver=null-co,size=1G",
             "--device", "nvme,serial=abc,drive=d", "--device", "edu") as lab, \
            lab.vfu("nvme0") as v:
        assert v.info()[0] == 3  # PCI, and RESET
        assert v.region_info(0) == (3, 16384)
        assert v.region_info(CONFIG) == (3, 4096)
        assert v.r32(CONFIG, 0x10) & 0xF == 4  # 64-bit memory
        v.w32(CONFIG, 0x10, 0xFFFFFFFF)
        v.w32(CONFIG, 0x14, 0xFFFFFFFF)
        assert (v.r32(CONFIG, 0x10), v.r32(CONFIG, 0x14)) == (0xFFFFC004, 0xFFFFFFFF)
        v.w32(CONFIG, 0x10, 0xABCD0000)
        assert v.r32(0, 0x1C) == 0xFFFFFFFF
        v.enable(0x6)
        assert v.read(0, 8, 4) == (0x10400).to_bytes(4, "little")  # VS: 1.4
        pcie = v.caps_list()[0x10]

        def start():
            v.w32(0, 0x24, 0x000F000F)  # AQA, ASQ, ACQ, CC.EN
            v.write(0, 0x28, struct.pack("<QQ", 0x100000, 0x101000))
            v.w32(0, 0x14, 0x00460001)
            assert v.r32(0, 0x1C) & 1, "CSTS.RDY"

        for reset in (lambda: v.call(vfu.RESET),
                      lambda: v.w16(CONFIG, pcie + 8, v.r16(CONFIG, pcie + 8) | 0x8000)):
            start()
            devctl = v.r16(CONFIG, pcie + 8)
            v.w8(CONFIG, 0x3C, 7)
            reset()
            assert (v.r32(0, 0x14), v.r32(0, 0x1C)) == (0, 0), "the device has forgotten"
            assert v.r16(CONFIG, 4) == 6, "the configuration has not"
            assert v.r16(CONFIG, pcie + 8) == devctl
            assert v.r8(CONFIG, 0x3C) == 7
            assert v.r32(CONFIG, 0x10) == 0xABCD0004

        # what is sent behind a reset waits for it
        start()
        v.send(v.message(vfu.RESET) + v.message(vfu.REGION_READ, struct.pack("<QII", 0x14, 0, 4)))
        assert v.reply()[1] == vfu.RESET
        assert v.reply()[2][16:] == bytes(4)

        # message interrupts are shown, and turned on by SET_IRQS only
        msix = v.caps_list()[0x11]
        v.w16(CONFIG, msix + 2, 0x8000)
        assert v.r16(CONFIG, msix + 2) & 0x8000 == 0

        # asleep, a function does not answer
        pm = v.caps_list()[0x01]
        v.w16(CONFIG, pm + 4, 3)
        assert v.r32(0, 8) == 0xFFFFFFFF
        v.w16(CONFIG, pm + 4, 0)
        assert v.r32(0, 8) == 0x10400

        with lab.vfu("edu0") as edu:  # INTx of a memory-mapped device, 64-bit registers
            edu.enable()
            irq = Irq()
            edu.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[irq.fd])
            edu.w32(0, 0x60, 0x5)
            assert irq.wait() == 1
            assert edu.r32(0, 0x24) == 0x5
            edu.w32(0, 0x64, 0x5)
            edu.set_irqs(vfu.DATA_NONE | vfu.UNMASK)
            assert irq.wait(0.1) == 0
            edu.write(0, 0x80, (0x1122334455667788).to_bytes(8, "little"))
            assert edu.read(0, 0x80, 8) == (0x1122334455667788).to_bytes(8, "little")
        v.call(vfu.RESET)
        os.kill(lab.pids["qemu"], signal.SIGKILL)
        wait_until(lambda: v.r32(0, 8) == 0xFFFFFFFF)
        with pytest.raises(vfu.Error) as e:
            v.call(vfu.RESET)
        assert e.value.errno == errno.ENODEV


def test_every_access_is_in_the_log(lab, uart, rundir):
    def accesses():
        with open(f"{rundir}/access.log", encoding="ascii") as f:
            return [tuple(line.split()[1:]) for line in f]

    uart.w8(0, MCR, 0x0B)
    uart.r8(0, MSR)
    assert accesses()[-2:] == [("pci-serial0", "w", "bar0", "0x4", "1", "0xb"),
                               ("pci-serial0", "r", "bar0", "0x6", "1", "0xb0")]
    uart.write_multi([(0, SCR, bytes([i])) for i in range(5)])
    assert accesses()[-5:] == [("pci-serial0", "w", "bar0", "0x7", "1", hex(i)) for i in range(5)]
    uart.w32(CONFIG, 0x10, 0xFFFFFFFF)
    uart.r32(CONFIG, 0x10)
    uart.enable(0x5)
    assert accesses()[-3:] == [("pci-serial0", "w", "config", "0x10", "4", "0xffffffff"),
                               ("pci-serial0", "r", "config", "0x10", "4", "0xfffffff9"),
                               ("pci-serial0", "w", "config", "0x4", "2", "0x5")]
    uart.close()
    wait_until(lambda: accesses()[-1] == ("pci-serial0", "close"))
    with open(f"{rundir}/access.log", encoding="ascii") as f:
        stamps = [int(line.split()[0]) for line in f]
    assert stamps == sorted(stamps)


VALID = [(vfu.VERSION, struct.pack("<HH", 0, 1) + b"{}\0"), (vfu.GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)),
         (vfu.GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 0, 0, 0, 0)),
         (vfu.GET_IRQ_INFO, struct.pack("<IIII", 16, 0, 0, 0)),
         (vfu.SET_IRQS, struct.pack("<IIIII", 20, 0x21, 0, 0, 0)),
         (vfu.REGION_READ, struct.pack("<QII", 0, 0, 1)), (vfu.REGION_READ, struct.pack("<QII", 0, 7, 256)),
         (vfu.REGION_WRITE, struct.pack("<QII", 7, 0, 1) + b"x"),
         (vfu.WRITE_MULTI, struct.pack("<QQII8s", 1, 7, 0, 1, b"y")), (vfu.RESET, b""),
         (vfu.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0, 4096))]


def hostile(rng, v):
    """One piece of input as no client should send it."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 300))
    if kind == 1:  # impossible sizes
        return vfu.HEADER.pack(1, rng.randrange(20), rng.choice([0, 1, 15, 65569, 1 << 20, 0xFFFFFFFF]),
                               0, 0) + rng.randbytes(32)
    cmd, payload = rng.choice(VALID)
    message = bytearray(v.message(cmd, payload, rng.choice([0, 0, vfu.NO_REPLY])))
    if kind == 2:  # bits
        for _ in range(rng.randrange(1, 4)):
            message[rng.randrange(len(message))] ^= 1 << rng.randrange(8)
    elif kind == 3:  # a wrong length, consistently
        payload = payload[:rng.randrange(len(payload) + 1)] + rng.randbytes(rng.randrange(9))
        message = v.message(cmd, payload)
    else:  # whole words
        at = 16 + 4 * rng.randrange(max(1, len(payload) // 4))
        message[at:at + 4] = struct.pack("<I", rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
    return bytes(message)


@pytest.mark.parametrize("seed", range(4))
def test_garbage_costs_its_sender_only(rundir, seed):
    rng = random.Random(seed)
    with Lab(rundir, *serial_args(2)) as lab, lab.vfu("pci-serial1") as other:
        other.enable()
        fds = len(os.listdir(f"/proc/{lab.pids['bridge']}/fd"))
        for i in range(150):
            v = lab.vfu("pci-serial0", version=rng.random() < 0.9)
            extra = [os.eventfd(0) for _ in range(rng.choice([0, 0, 0, 1, 3, 20]))]
            try:
                v.sock.settimeout(0.02)
                for _ in range(rng.randrange(1, 6)):
                    v.send(hostile(rng, v), extra)
                    v.sock.recv(65536)
            except (OSError, vfu.Closed):
                pass
            finally:
                v.close()
                for fd in extra:
                    os.close(fd)
            other.w8(0, SCR, i)
            assert other.r8(0, SCR) == i
        with lab.vfu("pci-serial0") as v:
            v.enable()
            v.w8(0, LCR, 3)
            v.w8(0, SCR, 0x5C)
            assert v.r8(0, SCR) == 0x5C
        wait_until(lambda: len(os.listdir(f"/proc/{lab.pids['bridge']}/fd")) == fds)
        assert all(line.startswith("auriga-lab: ") for line in lab.log_text().splitlines())


def test_misbehaviour_is_named(lab):
    v = lab.vfu("pci-serial0", version=False)
    v.send(v.message(vfu.GET_INFO, bytes(16)))
    with pytest.raises(vfu.Closed):
        v.reply()
    with lab.vfu("pci-serial0") as v:
        v.send(vfu.HEADER.pack(1, 4, 8, 0, 0))
        with pytest.raises(vfu.Closed):
            v.reply()
    with lab.vfu("pci-serial0") as v:
        v.send(vfu.HEADER.pack(1, 4, 16, 1, 0))
        with pytest.raises(vfu.Closed):
            v.reply()
    for bad in ({"major": 1}, {"caps": "[]"}, {"caps": "{"}, {"caps": '{"capabilities":7}'}):
        v = lab.vfu("pci-serial0", version=False)
        with pytest.raises(vfu.Error) as e:
            v.version(**bad)
        assert e.value.errno == errno.EINVAL
        with pytest.raises(vfu.Closed):
            v.reply()
    text = lab.log_text().splitlines()
    for what in ("first message is not VERSION", "impossible size", "a reply that nothing asked for"):
        assert sum(what in line for line in text) == 1
    with lab.vfu("pci-serial0") as v:
        assert v.caps


MACHINE_ERRORS = [
    ("[device x]\n", 1, "no type"),
    ("[device x]\nchardev=c\n\n[device y]\ntype=pci-serial\n", 1, "no type"),
    ("# a\nkey=value\n", 2, "before the first section"),
    ("[machine]\nname=a b\n", 2, "cannot be a name"),
    ("[machine]\ncolour=red\n", 2, "not known"),
    ("[machine]\nname=a\nname=b\n", 3, "already"),
    ("[plane x]\ntype=a\n", 1, "not known"),
    ("[device a/b]\ntype=pci-serial\n", 1, "cannot be a name"),
    ("[device x]\ntype=pci-serial\n[device x]\ntype=edu\n", 3, "already"),
    ("[device x]\ntype=pci-serial\nid=z\n", 3, "section's name"),
    ("[device x]\ntype=pci,serial\n", 2, "cannot be a type"),
    ("[device x]\ntype=pci-serial\nnonsense\n", 3, "key=value"),
    ("[device x\ntype=pci-serial\n", 1, ""),
    ("[machine]\nlog=" + "x" * 300 + "\n", 2, "over"),
]


@pytest.mark.parametrize("content, line, why", MACHINE_ERRORS)
def test_a_malformed_machine_file_is_one_line(rundir, content, line, why):
    path = rundir / "m.conf"
    path.write_text(content, encoding="utf-8")
    out = Lab(rundir).ctl("up", "--machine", str(path), check=False)
    assert out.returncode == 1
    assert len(out.stderr.splitlines()) == 1
    assert f"m.conf:{line}: " in out.stderr and why in out.stderr
    assert not (rundir / "lab").exists()


def test_the_example_machine_works(rundir):
    path = os.path.join(os.path.dirname(__file__), "../../lab/machines/serial.conf")
    with Lab(rundir, "--machine", path, name="serial") as lab:
        assert [f["model"] for f in lab.info["functions"]] == \
            ["pci-serial", "pci-serial-2x", "pci-serial-4x"]
        for ident, base, line in (("uart", 0, "uart-line"), ("duart", 8, "duart-line1"),
                                  ("quart", 24, "quart-line3")):
            with lab.vfu(ident) as v:
                v.enable()
                peer = lab.chardev(f"{line}.sock")
                write_text(v, line.encode(), base)
                assert recv_exactly(peer, len(line)) == line.encode()


def test_what_cannot_start_says_so_in_one_line(rundir):
    lab = Lab(rundir)
    deep = rundir / ("d" * 60)
    deep.mkdir()
    for args, why in (
            (["--device", "pci-cereal"], "pci-cereal"),
            (["--device", "pci-serial,colour=red"], "colour"),
            (["--device", "pci-serial,id=a/b"], "id"),
            (["--device", "pci-serial,chardev=none"], "none"),
            ([], "no PCI function"),
            (["--name", "../x", "--device", "edu"], "name"),
            (["--machine", "/nonexistent"], "/nonexistent"),
            (["--log", "/nonexistent/x", "--device", "edu"], "/nonexistent/x"),
            (["--runtime-dir", f"{deep}", "--device", "edu,id=" + "e" * 50], "too long"),
            (["--runtime-dir", "/proc/none", "--device", "edu"], "/proc/none"),
            (["--frobnicate"], "frobnicate"), (["edu"], "edu")):
        out = lab.ctl("up", *args, check=False)
        assert out.returncode != 0, args
        assert len(out.stderr.splitlines()) == 1 and why in out.stderr, (args, out.stderr)
        assert not os.path.exists(lab.dir)
    os.chmod(deep, 0o777)
    out = lab.ctl("up", "--runtime-dir", str(deep), "--device", "edu", check=False)
    assert out.returncode == 1 and "others can write" in out.stderr
    for args in (["down"], ["down", "nobody"], ["fault", "nobody", "kill"], ["fault", "lab0"],
                 ["fault", "lab0", "tickle"], ["dance"], ["ls", "x"]):
        out = lab.ctl(*args, check=False)
        assert out.returncode != 0 and len(out.stderr.splitlines()) == 1, args


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.idle
def test_an_idle_lab_uses_no_cpu(lab, uart):
    irq = Irq()
    uart.set_irqs(vfu.DATA_EVENTFD | vfu.TRIGGER, fds=[irq.fd])
    uart.w8(0, IER, 1)
    time.sleep(0.5)
    before = {who: cpu_ticks(pid) for who, pid in lab.pids.items()}
    time.sleep(10)
    assert {who: cpu_ticks(pid) - before[who] <= 1 for who, pid in lab.pids.items()} == \
        {"guardian": True, "bridge": True, "qemu": True}


@pytest.mark.idle
def test_a_dead_machine_uses_no_cpu_either(lab, uart):
    lab.fault("kill")
    wait_until(lambda: uart.r8(0, LSR) == 0xFF)
    whom = ("guardian", "bridge")
    before = [cpu_ticks(lab.pids[who]) for who in whom]
    time.sleep(2)
    assert all(cpu_ticks(lab.pids[who]) - was <= 1 for who, was in zip(whom, before))


def test_an_interrupted_start_leaves_nothing(rundir):
    lab = Lab(rundir)
    for delay in (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08):
        with subprocess.Popen([vfu.program("auriga-lab"), "up", "--runtime-dir", str(rundir),
                               "--device", "pci-serial"], stdout=subprocess.DEVNULL) as up:
            time.sleep(delay)
            up.kill()

        def settled():
            labs = json.loads(lab.ctl("ls", "--json").stdout)
            # killed: before there was a guardian, when nobody could tidy up yet
            return not labs or labs[0]["state"] in ("running", "killed")

        wait_until(settled)
        lab.ctl("down", "--all")
        assert not os.path.isdir(f"{rundir}/lab") or os.listdir(f"{rundir}/lab") == []
