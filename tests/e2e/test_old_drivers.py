# SPDX-License-Identifier: MIT
"""Driver modules that were frozen by scripts/freeze-drivers load and work, in both placements."""

import json
import subprocess

import pytest
from conftest import ROOT
from rig import Peer, Rig

FROZEN = sorted(p for p in (ROOT / "tests/old-drivers").glob("*") if p.is_dir())


def test_something_is_frozen():
    assert FROZEN


@pytest.fixture(params=FROZEN, ids=lambda p: p.name)
def rig(request, build, rundir, monkeypatch):
    monkeypatch.setenv("AURIGA_DRIVER_PATH", str(request.param))
    r = Rig(build, rundir)
    r.frozen = request.param
    yield r
    r.close()


def test_notes_are_read(rig):
    for module in rig.frozen.glob("*.so"):
        note = json.loads(rig.auriga("drivers", "--json", module).stdout)
        assert note["name"] == module.stem and note["abi"] == 1


@pytest.mark.parametrize("placement", ["inproc", "process"])
def test_serial_loop(rig, placement):
    target = "inproc:serial-loop"
    if placement == "process":
        rig.manager()
        target = rig.auriga("attach", "--driver", "serial-loop", "virtual").stdout.strip()
    assert rig.run("../examples/serial-say", target, "as ever").stdout.strip() == "as ever"


@pytest.mark.parametrize("placement", ["inproc", "process"])
def test_uart16550(rig, placement):
    address, peers = rig.lab()
    target = f"inproc:uart16550,address={address}"
    if placement == "process":
        rig.manager()
        target = rig.auriga("attach", address).stdout.strip()
    peer = Peer(peers[0])
    sender = subprocess.Popen([rig.build / "examples/serial-say", target, "question"],
                              stdout=subprocess.PIPE, text=True)
    peer.send_after(8, b"answer")
    assert sender.communicate(timeout=20)[0].strip() == "answer"
    assert peer.received == b"question"
    peer.close()


def test_echo(rig):
    done = subprocess.run([rig.build / "tests/raw_shell"], text=True, timeout=20, check=False,
                          input="open inproc:echo\nsubmit 16 4 8 1\nwait 2000\nclose\n",
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"result": 8') == 4, done.stdout
