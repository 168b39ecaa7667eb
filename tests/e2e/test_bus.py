# SPDX-License-Identifier: MIT
"""The bus: a UART of the lab through the vfio-user client, without a driver."""

import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

from crowd import Watch
from vfu import Lab, program, wait_until

pytestmark = pytest.mark.sanitize

POKE = os.path.join(os.path.dirname(os.path.dirname(program("auriga-lab"))), "tests", "bus_poke")


def poke(address, *args, **env):
    return subprocess.run([POKE, address, *args], capture_output=True, text=True, timeout=30,
                          check=False, env={**os.environ, **env})


@pytest.fixture
def lab(rundir):
    with Lab(rundir, "--device", "pci-serial", "--device", "pci-serial-4x,id=quad",
             "--device", "nvme,id=disk,serial=1") as up:
        yield up


@pytest.fixture
def watcher(lab):
    """A client that holds the UART and waits for its end."""
    with subprocess.Popen([POKE, lab.address("pci-serial0"), "watch"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        assert p.stdout.readline() == "watching\n"
        yield p
        if p.poll() is None:
            p.kill()


def test_what_is_there(lab):
    found = {}
    for ident in ("pci-serial0", "quad", "disk"):
        out = poke(lab.address(ident), "info")
        assert out.returncode == 0, out.stderr
        found[ident] = json.loads(out.stdout)
    uart, quad, disk = found["pci-serial0"], found["quad"], found["disk"]
    assert (uart["vendor"], uart["device"], uart["class"]) == (0x1B36, 0x0002, 0x070002)
    assert uart["bars"][0] == {"size": 8, "io": True, "mapped": False}
    assert [b["size"] for b in uart["bars"][1:]] == [0] * 5
    assert quad["bars"][0] == {"size": 32, "io": True, "mapped": False}
    assert disk["bars"][0]["size"] == 16384 and not disk["bars"][0]["io"]
    assert disk["express"] == 0x80 and uart["express"] == 0


def test_loopback_with_interrupts(lab):
    for _ in range(2):  # the second session finds what the first one left
        out = poke(lab.address("pci-serial0"), "loopback")
        assert (out.returncode, out.stdout) == (0, "50 rounds of 16 bytes\n"), out.stderr


def test_pipelining_pays(lab):
    out = poke(lab.address("pci-serial0"), "measure", "300")
    assert out.returncode == 0, out.stderr
    cost = {name: median for name, (median, _) in json.loads(out.stdout).items()}
    assert cost["read_rep14"] < cost["read"] * 14 * 0.7
    assert cost["write_rep16"] < cost["write"] * 16 * 0.3
    assert cost["post_flush"] < cost["write"]


def test_second_client_is_refused(lab, watcher):
    watch = Watch()
    out = poke(lab.address("pci-serial0"), "info")
    assert watch.took() < 1
    assert out.returncode == 1
    assert len(out.stderr.splitlines()) == 1 and "pci-serial0.sock" in out.stderr
    assert watcher.poll() is None
    assert poke(lab.address("quad"), "info").returncode == 0


def test_server_goes_while_idle(lab, watcher):
    lab.ctl("down", lab.name)
    out, err = watcher.communicate(timeout=30)
    assert (watcher.returncode, out) == (0, "the vfio-user server closed the connection\n"), err


def test_server_is_killed(lab, watcher):
    for pid in lab.pids.values():
        with contextlib.suppress(ProcessLookupError):  # the others follow the first
            os.kill(pid, signal.SIGKILL)
    out, _ = watcher.communicate(timeout=30)
    assert (watcher.returncode, out) == (0, "the vfio-user server closed the connection\n")


def test_nobody_is_there(rundir):
    out = poke(f"vfio-user:{rundir}/none.sock", "info")
    assert out.returncode == 1
    assert out.stderr == (f"bus_poke: {rundir}/none.sock: no such socket: "
                          "is its server running?\n")


def test_frozen_device(lab):
    address = lab.address("pci-serial0")
    with subprocess.Popen([POKE, address, "measure", "1000000"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, "BUS_TIMEOUT_MS": "300"}) as p:
        time.sleep(0.3)
        assert p.poll() is None
        watch = Watch()
        lab.fault("freeze")
        # every access of the million fails at once from then on
        _, err = p.communicate(timeout=20)
        assert p.returncode == 1
        assert "the vfio-user server did not answer within 300 ms" in err
        assert watch.took() < 10
    watch = Watch()
    out = poke(address, "info")
    assert out.returncode == 1 and "did not answer within 1000 ms" in out.stderr, out.stderr
    assert watch.took() < 3
    lab.fault("thaw")
    wait_until(lambda: poke(address, "info").returncode == 0)
    assert poke(address, "loopback").returncode == 0
