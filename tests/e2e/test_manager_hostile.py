# SPDX-License-Identifier: MIT
"""The manager against those whom it serves: nobody makes it wait, and nobody takes it down."""

import os
import signal
import socket
import struct
import time

import pytest
from test_manager import Connection, connect, hello
from test_manager import make, manager  # noqa: F401  fixtures

SO_PASSRIGHTS = 83


def lingering(seconds):
    """A TCP socket whose last close() waits so long: its peer takes nothing. Returns both."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    ours.setblocking(False)
    try:
        while True:
            ours.send(b"x" * 65536)
    except BlockingIOError:
        pass
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
    return ours, peer


@pytest.mark.parametrize("message, count", [(b"x", 1), (hello(), 1), (hello(), 250)])
def test_descriptors_that_take_long_to_close(manager, message, count):
    """What a client sends is closed in its own time, not in the manager's."""
    manager.attach()
    ours, peer = lingering(8)
    client = connect(manager, "raw0")
    # So that the manager's is the last one.
    os.kill(manager.process.pid, signal.SIGSTOP)
    socket.send_fds(client, [message], [ours.fileno()] * count)
    ours.close()
    os.kill(manager.process.pid, signal.SIGCONT)
    time.sleep(0.2)
    begin = time.monotonic()
    report = manager.client("raw0", "load", 0.3, 4).report()
    assert time.monotonic() - begin < 4
    assert report["errors"] == 0 and report["restarts"] == 0
    client.close()
    peer.close()


def test_doorbells_carry_no_descriptors(manager):
    """A host would have to close what comes with a byte, in the time of its other clients."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS)
        except OSError:
            pytest.skip("this kernel cannot refuse descriptors")
    manager.attach()
    client = connect(manager, "raw0")
    client.send(hello())
    _, fds, _, _ = socket.recv_fds(client, 4096, 4)
    assert len(fds) == 3
    doorbell = socket.socket(fileno=fds[1])
    with pytest.raises(PermissionError):
        socket.send_fds(doorbell, [b"x"], [0])
    for fd in (fds[0], fds[2]):
        os.close(fd)
    doorbell.close()
    client.close()


def test_down_while_somebody_waits(manager, tmp_path):
    """A question that nobody has answered yet does not keep the manager from leaving."""
    silent = socket.socket(socket.AF_UNIX)
    path = manager.rundir / "silent"
    silent.bind(str(path))
    silent.listen(4)
    connection = Connection(manager.rundir / "control.sock")
    connection.request("GET", f"/v1/why?address=vfio-user:{path}")
    time.sleep(0.3)
    manager.process.terminate()
    assert manager.process.wait(10) == 0, manager.log()
    connection.close()
    silent.close()
