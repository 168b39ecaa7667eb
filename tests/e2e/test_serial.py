# SPDX-License-Identifier: MIT
"""Serial units end to end: real UART models, pyserial, both placements, and hosts that are killed."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import serial
from align import align, align_gaps
from crowd import Watch
from rig import Peer, Progress, kill_host, long
from torture import Shell

KIB = 1024
AMOUNTS = pytest.mark.parametrize(
    "amount", [pytest.param(64 * KIB, id="64K"),
               pytest.param(1024 * KIB, id="1M", marks=long(900))])
TX_UNCERTAIN, RX_UNCERTAIN = 0x8110, 0x8111
FIFO = 16
RATE = 5000  # bytes per second, each way, while hosts are killed


def uart(rig, placement, log=None):
    """A UART in the lab, in either placement. Returns the unit's name and the far end's path."""
    address, peers = rig.lab(log=log)
    if placement == "inproc":
        return f"inproc:uart16550,address={address}", peers[0]
    rig.manager()
    name = rig.auriga("attach", address).stdout.strip()
    return name, peers[0]


def duplex(port, peer, amount):
    """Random bytes both ways at once; both ends must end up with equal ones."""
    out, back = os.urandom(amount), os.urandom(amount)
    got = bytearray()

    def reader():
        while len(got) < amount:
            data = port.read(4096)
            if not data:
                return
            got.extend(data)

    thread = threading.Thread(target=reader)
    thread.start()
    # The far end starts when it hears something: what came before the open is discarded by it.
    answer = threading.Thread(target=peer.send_after, args=(1, back))
    answer.start()
    for i in range(0, amount, 4096):
        port.write(out[i:i + 4096])
    port.flush()
    thread.join(600)
    assert peer.wait(amount, 60) == out
    assert bytes(got) == back


@AMOUNTS
@pytest.mark.parametrize("placement", ["process", "inproc"])
def test_pty_carries_bytes_both_ways(rig, placement, amount):
    target, far = uart(rig, placement)
    rig.start("auriga", "export", target, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(far)
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=20) as port:
        duplex(port, peer, amount)
    peer.close()


@AMOUNTS
@pytest.mark.parametrize("placement", ["process", "inproc"])
def test_rfc2217_carries_bytes_both_ways(rig, placement, amount):
    target, far = uart(rig, placement)
    child = rig.start("auriga", "export", target, "rfc2217", "--listen", "127.0.0.1:0", ready=True)
    peer = Peer(far)
    with serial.serial_for_url(child.first_line.split()[0], 115200, timeout=20) as port:
        duplex(port, peer, amount)
    peer.close()


@AMOUNTS
@pytest.mark.parametrize("placement", ["process", "inproc"])
def test_loop_driver_returns_what_is_sent(rig, placement, amount):
    target = "inproc:serial-loop"
    if placement == "process":
        rig.manager()
        target = rig.auriga("attach", "--driver", "serial-loop", "virtual").stdout.strip()
    rig.start("auriga", "export", target, "pty", "--link", rig.rundir / "tty", ready=True)
    data = os.urandom(amount)
    got = bytearray()
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=20) as port:
        def writer():
            for i in range(0, len(data), 1000):
                port.write(data[i:i + 1000])
        thread = threading.Thread(target=writer)
        thread.start()
        while len(got) < len(data):
            piece = port.read(min(4096, len(data) - len(got)))
            assert piece, f"silence after {len(got)} bytes"
            got += piece
        thread.join(10)
    assert bytes(got) == data


def pump(rig, target, data, receive, idle_ms=5000, rate=0):
    """Start tests/tools/serial_pump. Returns the process; pump_result() collects."""
    source, sink = rig.rundir / "pump.in", rig.rundir / "pump.out"
    source.write_bytes(data)
    # To a file: what it says of ten minutes of kills is more than a pipe holds that nobody reads.
    with open(rig.rundir / "pump.json", "w", encoding="utf-8") as said:
        child = subprocess.Popen([rig.build / "tests/serial_pump", target, "--in", source, "--out", sink,
                                  "--receive", str(receive), "--idle-ms", str(idle_ms), "--rate", str(rate)],
                                 stdout=said)
    rig.children.append(child)
    return child


def pump_result(rig, child, seconds):
    child.wait(timeout=seconds)
    rig.children.remove(child)
    report = json.loads((rig.rundir / "pump.json").read_text())
    report["data"] = (rig.rundir / "pump.out").read_bytes()
    return report


def check_streams(report, out, back, far):
    """Every discrepancy lies in a reported interval of at most one FIFO."""
    tx = [(e["at"] - report["tx_base"], e["count"]) for e in report["events"]
          if e["kind"] == TX_UNCERTAIN]
    rx = [(e["at"] - report["rx_base"], e["count"]) for e in report["events"]
          if e["kind"] == RX_UNCERTAIN]
    assert all(count <= FIFO for _, count in tx + rx)
    assert sum(c for _, c in tx) == report["tx_uncertain"]
    assert sum(c for _, c in rx) == report["rx_uncertain"]
    assert report["rx_lost"] == 0 and report["overrun"] == 0
    missing = align(out, far, tx)
    lost = align_gaps(back, report["data"], rx)
    return missing, lost


@AMOUNTS
def test_control_run_without_kills_loses_nothing(rig, amount):
    target, far = uart(rig, "process")
    out, back = os.urandom(amount), os.urandom(amount)
    peer = Peer(far)
    child = pump(rig, target, out, amount)
    peer.send_after(1, back)
    report = pump_result(rig, child, 600)
    assert report["error"] == 0
    assert report["data"] == back
    assert peer.wait(amount, 20) == out
    assert not [e for e in report["events"] if e["kind"] in (TX_UNCERTAIN, RX_UNCERTAIN)]
    peer.close()


@pytest.mark.parametrize(
    "seconds", [pytest.param(30, marks=pytest.mark.timeout(180)),
                pytest.param(600, marks=long(900))])
def test_host_killed_every_200_ms(rig, seconds):
    """No error at the client, progress throughout, every discrepancy inside a reported interval."""
    target, far = uart(rig, "process")
    amount = RATE * seconds
    out, back = random.Random(1).randbytes(amount), random.Random(2).randbytes(amount)
    peer = Peer(far, rate=RATE)
    child = pump(rig, target, out, amount, idle_ms=4000, rate=RATE)
    peer.send_after(1, back)
    sink, progress, kills = rig.rundir / "pump.out", Progress(), 0
    began, moved, last = time.monotonic(), Watch(), 0
    while time.monotonic() < began + seconds and child.poll() is None:
        time.sleep(0.2)
        # On a busy machine it may not be back: who dies again and again before it serves waits longer.
        if rig.row(target)["state"] == "running" and kill_host(rig, target):
            kills += 1
        done = len(peer.received) + (sink.stat().st_size if sink.exists() else 0)
        if done > last:
            last, moved = done, Watch()
        assert moved.took() < 5, f"no progress after {kills} kills and {done} bytes"
        progress.say(f"{kills} kills, {len(peer.received)} bytes sent, {done} in all")
    report = pump_result(rig, child, 120)
    far_bytes = peer.wait(amount, 5)
    peer.close()
    uncertain = [e for e in report["events"] if e["kind"] in (TX_UNCERTAIN, RX_UNCERTAIN)]
    print(f"{kills} kills in {time.monotonic() - began:.0f} s, generation {report['generation']}, "
          f"{len(uncertain)} intervals, longest gap {report['longest_gap_ms']} ms; " +
          ", ".join(f"{k} {report[k]}" for k in ("error", "sent", "received", "tx_uncertain",
                                                "rx_uncertain", "rx_lost", "overrun")))
    assert report["error"] == 0
    assert report["sent"] == amount
    assert kills >= seconds  # it was killed again and again, not once
    missing, lost = check_streams(report, out, back, far_bytes)
    print(f"{missing} bytes not sent of {report['tx_uncertain']} uncertain, {lost} lost of "
          f"{report['rx_uncertain']} uncertain")
    assert len(report["data"]) + lost == amount


def test_host_killed_while_its_device_is_opened(rig):
    """It dies before it has a device, several times: there is one host afterwards, and it serves."""
    address, peers = rig.lab()
    manager = rig.manager()
    target = rig.auriga("attach", address).stdout.strip()
    rig.run("auriga-lab", "fault", "lab0", "freeze")
    killed = set()
    for _ in range(5):
        rig.wait_for(lambda: rig.row(target)["pid"] not in (None, *killed), 10, "a host")
        killed.add(kill_host(rig, target))
    rig.wait_for(lambda: rig.row(target)["pid"] not in killed, 10, "its end")
    rig.run("auriga-lab", "fault", "lab0", "thaw")
    rig.wait_for(lambda: rig.row(target)["state"] == "running", 20, "service")
    time.sleep(1)  # whatever was put off is due by now
    assert manager.poll() is None, rig.log()
    row = rig.row(target)
    assert row["state"] == "running" and row["restarts"] == row["generation"] - 1 == len(killed), row
    hosts = Path(f"/proc/{manager.pid}/task/{manager.pid}/children").read_text().split()
    assert len(hosts) <= 2 and str(row["pid"]) in hosts, "its own, and one that stands by"
    peer = Peer(peers[0], b"answer")
    assert rig.run("../examples/serial-say", target, "question").stdout.strip() == "answer"
    peer.close()


def test_settings_come_back_without_a_dtr_glitch(rig):
    """After a kill the line settings are as before, and DTR and RTS never fall."""
    log = rig.rundir / "registers.log"
    target, far = uart(rig, "process", log=log)
    child = rig.start("auriga", "export", target, "rfc2217", "--listen", "127.0.0.1:0", ready=True)
    peer = Peer(far)
    with serial.serial_for_url(child.first_line.split()[0], 9600, bytesize=7, parity="E",
                               timeout=10) as port:
        port.write(b"before")
        assert peer.wait(6, 10) == b"before"
        mark = len(log.read_text().splitlines())
        for i in range(5):
            generation = rig.row(target)["generation"]
            kill_host(rig, target)
            rig.wait_for(lambda: rig.row(target)["generation"] > generation and
                         rig.row(target)["state"] == "running", 10, "restart")
            port.write(b"after%d" % i)
            assert peer.wait(6 + 6 * (i + 1), 10).endswith(b"after%d" % i)
        lines = [line.split() for line in log.read_text().splitlines()[mark:]]
    writes = [(int(l[4], 0), int(l[6], 0)) for l in lines if l[2] == "w" and l[3] in ("0", "bar0")]
    mcr = [value for offset, value in writes if offset == 4]
    lcr = [value for offset, value in writes if offset == 3]
    assert len(mcr) >= 5, "each new driver programs the modem outputs"
    assert all(value & 3 == 3 for value in mcr), f"DTR or RTS fell: {mcr}"
    assert lcr[-1] == 0x1a, "7 data bits, even parity"
    divisors = [value for (offset, value), (before, latch) in zip(writes[1:], writes) if offset == 0
                and before == 3 and latch & 0x80]
    assert divisors[-1] == 12, "9600 baud"
    peer.close()


def test_no_dtr_glitch_with_nothing_outstanding(rig):
    """Who has the port open and does not look keeps the outputs up all the same."""
    log = rig.rundir / "registers.log"
    target, far = uart(rig, "process", log=log)
    peer = Peer(far)
    idle = Shell(rig, target)
    assert idle.ask("line", 9600, 0)["rc"] == 0 and idle.wait(5)["outstanding"] == 0
    mark = len(log.read_text().splitlines())
    for generation in range(2, 5):
        kill_host(rig, target)
        rig.wait_for(lambda least=generation: rig.row(target)["generation"] == least and
                     rig.row(target)["state"] == "running", 10, "restart")
    idle.ask("forget")
    assert idle.ask("line", 19200, 0)["rc"] == 0 and idle.wait(5)["outstanding"] == 0
    lines = [line.split() for line in log.read_text().splitlines()[mark:]]
    mcr = [int(l[6], 0) for l in lines if l[2] == "w" and l[3] in ("0", "bar0") and int(l[4], 0) == 4]
    assert len(mcr) >= 3 and all(value & 3 == 3 for value in mcr), f"DTR or RTS fell: {mcr}"
    assert idle.end() == 0
    peer.close()


def test_restart_on_request_keeps_what_is_in_the_device(rig):
    """It is not a first start: neither do the FIFOs lose what is in them, nor does DTR fall."""
    log = rig.rundir / "registers.log"
    target, far = uart(rig, "process", log=log)
    rig.start("auriga", "export", target, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(far)
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=10) as port:
        port.write(b"before")
        assert peer.wait(6, 10) == b"before"
        mark = len(log.read_text().splitlines())
        rig.auriga("restart", target)
        port.write(b"after")
        assert peer.wait(11, 10) == b"beforeafter"
        lines = [line.split() for line in log.read_text().splitlines()[mark:]]
    writes = [(int(l[4], 0), int(l[6], 0)) for l in lines if l[2] == "w" and l[3] == "bar0"]
    fcr = [value for offset, value in writes if offset == 2]
    mcr = [value for offset, value in writes if offset == 4]
    assert fcr and all(value & 6 == 0 for value in fcr), f"a FIFO was cleared: {fcr}"
    assert mcr and all(value & 3 == 3 for value in mcr), f"DTR or RTS fell: {mcr}"
    peer.close()


def test_stopped_host_is_replaced_within_two_seconds(rig):
    target, far = uart(rig, "process")
    rig.start("auriga", "export", target, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(far)
    with serial.Serial(str(rig.rundir / "tty"), 115200, timeout=10) as port:
        port.write(b"one")
        assert peer.wait(3, 10) == b"one"
        os.kill(rig.row(target)["pid"], signal.SIGSTOP)
        watch = Watch()
        port.write(b"two")
        assert peer.wait(6, 10) == b"onetwo"
        assert watch.took() < 2.0
    assert rig.row(target)["restarts"] == 1
    peer.close()


def test_manager_dies_under_traffic(rig):
    """kill -9 of the manager stops nothing; a new one lists and still recovers everything."""
    address, peers = rig.lab()
    manager = rig.manager()
    target = rig.auriga("attach", address).stdout.strip()
    amount = 60000
    out, back = os.urandom(amount), os.urandom(amount)
    peer = Peer(peers[0], rate=10000)
    child = pump(rig, target, out, amount, idle_ms=8000)
    peer.send_after(1, back)
    rig.wait_for(lambda: len(peer.received) > 2000, 10, "traffic")
    pid = rig.row(target)["pid"]
    rig.stop(manager, signal.SIGKILL)
    before = len(peer.received)
    rig.wait_for(lambda: len(peer.received) > before or len(peer.received) == amount, 2,
                 "traffic without a manager")
    rig.manager()
    rig.wait_for(lambda: rig.row(target)["pid"] == pid, 5, "re-adoption of the same process")
    time.sleep(0.7)
    kill_host(rig, target)
    report = pump_result(rig, child, 60)
    assert report["error"] == 0
    check_streams(report, out, back, peer.wait(amount, 5))
    assert report["generation"] == 2
    peer.close()


@pytest.mark.parametrize("device,ports", [("pci-serial-2x", 2), ("pci-serial-4x", 4)])
def test_ports_of_one_device_are_units(rig, device, ports):
    address, peers = rig.lab(device, ports)
    rig.manager()
    name = rig.auriga("attach", address).stdout.strip()
    for i, path in enumerate(peers):
        peer = Peer(path, b"peer %d" % i)
        done = rig.run("../examples/serial-say", f"{name}.{i}", f"unit {i}")
        assert done.stdout.strip() == f"peer {i}"
        assert peer.wait(6, 5) == b"unit %d" % i
        peer.close()


def test_picocom_talks_through_the_pty(rig):
    target, far = uart(rig, "process")
    rig.start("auriga", "export", target, "pty", "--link", rig.rundir / "tty", ready=True)
    peer = Peer(far)
    child = subprocess.Popen(["picocom", "-q", "-b", "57600", "-t", "question", "-x", "3000",
                              rig.rundir / "tty"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peer.send_after(8, b"answer")
    out, err = child.communicate(timeout=20)
    assert "answer" in out, err
    assert peer.received == b"question"
    peer.close()


def test_modem_lines_and_break_over_rfc2217(rig):
    rig.manager()
    target = rig.auriga("attach", "--driver", "serial-loop", "virtual").stdout.strip()
    child = rig.start("auriga", "export", target, "rfc2217", "--listen", "127.0.0.1:0", ready=True)
    with serial.serial_for_url(child.first_line.split()[0], 19200, timeout=5) as port:
        port.dtr, port.rts = True, True
        rig.wait_for(lambda: port.cts and port.dsr and port.cd, 5, "lines up")
        port.rts = False
        rig.wait_for(lambda: not port.cts and port.dsr, 5, "CTS follows RTS")
        port.dtr = False
        rig.wait_for(lambda: not port.dsr and not port.cd, 5, "DSR follows DTR")
        port.break_condition = True
        port.break_condition = False
        port.rts = True
        port.write(b"still there")
        assert port.read(11) == b"still there"


@pytest.mark.parametrize("door", [["pty", "--link", "tty"], ["rfc2217", "--listen", "127.0.0.1:0"]],
                         ids=["pty", "rfc2217"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order(rig, door, sig):
    """Also with a driver's thread in the process, which is not to take it."""
    child = rig.start("auriga", "export", "inproc:serial-loop", *door, ready=True, cwd=rig.rundir)
    link = rig.rundir / "tty"
    assert link.is_symlink() == (door[0] == "pty")
    child.send_signal(sig)
    assert child.wait(20) == 0
    assert not link.is_symlink()


@pytest.mark.parametrize("listen", ["99999", "127.0.0.1:65536", "127.0.0.1:", "", "000000"])
def test_a_port_that_is_none(build, listen):
    done = subprocess.run([build / "bin/auriga", "export", "inproc:serial-loop", "rfc2217", "--listen",
                           listen], capture_output=True, text=True, timeout=10, check=False,
                          env={**os.environ, "AURIGA_DRIVER_PATH": str(build / "drivers")})
    assert done.returncode == 2 and "65535" in done.stderr and done.stderr.count("\n") == 1, done


@pytest.mark.parametrize("times", [10, pytest.param(300, marks=long(600))])
def test_nothing_is_lost_while_the_system_sleeps(rig, times):
    """Bytes both ways at a steady rate, as the port goes to D3 in the middle of them, again and again.
    The model's FIFO takes what comes when nobody is there to receive it, and holds the far end."""
    target, far = uart(rig, "process")
    seconds = 4 + times * 0.4
    out, back = os.urandom(int(RATE * seconds)), os.urandom(int(RATE * seconds))
    child = pump(rig, target, out, len(back), idle_ms=20000, rate=RATE)
    peer = Peer(far, rate=RATE)
    peer.send_after(1, back)
    for _ in range(times):
        for what, state in (("suspend", "suspended"), ("resume", "d0")):
            time.sleep(0.1)
            rig.auriga("power", what)
            assert json.loads(rig.auriga("power", "--json", target).stdout)["state"] == state
    report = pump_result(rig, child, 120 + 4 * seconds)
    assert peer.wait(len(out), 60) == out
    assert report["data"] == back
    row = rig.row(target)
    assert row["restarts"] == 0
    peer.close()


@pytest.mark.parametrize("kills", [pytest.param(200, marks=long(900))])
def test_recoveries_are_quick(rig, kills):
    """A second apart, on an otherwise idle machine: at most 50 ms until the client is served again."""
    target, far = uart(rig, "process")
    peer = Peer(far)
    report = json.loads(rig.auriga("bench", "recovery", "--json", "--count", kills, target,
                                   timeout=800).stdout)
    peer.close()
    print(json.dumps(report))
    assert report["rounds"] == kills and rig.row(target)["restarts"] == kills
    parts = [part for part in report.values() if isinstance(part, dict) and "p99" in part]
    assert len(parts) == 6 and len(report["steps"]) == 5 and all(part["p99"] < 50_000 for part in parts), report
