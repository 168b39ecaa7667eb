# SPDX-License-Identifier: MIT
"""The manager against those whom it serves: nobody makes it wait, and nobody takes it down."""

import json
import os
import signal
import socket
import struct
import subprocess
import time

import pytest
from crowd import Watch, wait_for
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
    watch = Watch()
    report = manager.client("raw0", "load", 0.3, 4).report()
    assert watch.took() < 4
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
    assert manager.process.wait(15) == 0, manager.log()
    connection.close()
    silent.close()


def refusal(client):
    """The error that the manager answers, or None."""
    data = client.recv(4096)
    return data[20:].split(b"\0")[0].decode() if struct.unpack_from("<IHH", data)[2] == 4 else None


def test_pools_are_bounded_by_client_and_by_device(manager):
    manager.attach()
    # 513 becomes 1024: twice what it seems to be.
    client = connect(manager, "raw0")
    client.send(hello(depth=513, buffer_size=130048))
    assert "64 MiB" in refusal(client)
    greedy = [connect(manager, "raw0") for _ in range(5)]
    for client in greedy:
        client.send(hello(depth=64, buffer_size=1 << 20))
    answers = [refusal(client) for client in greedy]
    assert answers[:4] == [None] * 4 and "256 MiB" in answers[4]
    for client in greedy:
        client.close()
    # They count until the host has let go of them.
    wait_for(lambda: manager.client("raw0", "load", 0.2, 4).report().get("errors") == 0, 5,
             "room for others")


ASK = """
import http.client, json, socket, sys
connection = http.client.HTTPConnection("auriga")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("POST", "/v1/devices", sys.argv[2])
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_only_the_managers_user_weakens_a_sandbox(manager):
    path = manager.rundir / "control.sock"
    manager.rundir.chmod(0o755)
    path.chmod(0o666)  # as for a group that may attach devices
    body = {"driver": "t-echo", "address": "virtual"}

    def ask(**more):
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               "/usr/bin/python3", "-c", ASK, path, json.dumps({**body, **more})],
                              capture_output=True, text=True, check=True, timeout=30)
        return done.stdout
    answer = ask(sandbox={"seccomp": "no"})
    assert answer.startswith("403") and "sandbox" in answer
    assert ask().startswith("201")


def manager_ms(manager):
    fields = open(f"/proc/{manager.process.pid}/stat", encoding="ascii").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["units", "answers", "log"])
def test_a_host_that_floods_the_manager(manager, kind):
    """What it says is read at a rate that leaves the manager to the others."""
    manager.attach("t-flood", name="flood")
    manager.attach()
    client = manager.client("raw0", "load", 3, 4)
    before = manager_ms(manager)
    begin = time.monotonic()
    flooding = manager.client("flood", "op", kind, 12)  # 200 ms each
    worst = 0
    while flooding.poll() is None:
        asked = Watch()
        assert manager.row("raw0")["state"] == "running"
        worst = max(worst, asked.took())
        time.sleep(0.05)
    took = time.monotonic() - begin
    spent = manager_ms(manager) - before
    print(f"{spent} ms of manager in {took:.1f} s, at worst {worst * 1000:.0f} ms for a row")
    assert flooding.report()["errors"] == 0 and took > 2.3
    assert spent < 60 * took and worst < 0.3
    # What it said is heard in the end, and others have noticed nothing.
    wait_for(lambda: "host" in manager.info("flood"), 20, "an answer")
    assert manager.info("flood")["deaths"]["protocol"] == 0
    report = client.report()
    assert report["errors"] == 0 and report["restarts"] == 0 and report["completed"] > 1000
    assert manager.log().count("a line") < 200


TAKE = """
import socket, sys
path, kind, count, hello = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
kept, refused, text = [], 0, b""
for _ in range(count):
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(5)
    s.connect(path)
    try:
        s.send(hello)
    except BrokenPipeError:  # why has been said already
        pass
    said, fds, _, _ = socket.recv_fds(s, 4096, 4)
    if b"user" in said or not said:
        refused, text = refused + 1, max(text, said)
    kept.append(s)
print(len(kept) - refused, "taken,", refused, "refused", text, flush=True)
sys.stdin.read()
"""


def take(path, uid, kind, count, message):
    child = subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                              "/usr/bin/python3", "-c", TAKE, path, str(int(kind)), str(count),
                              message.hex()],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return child, child.stdout.readline()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
def test_no_user_takes_all_there_is(manager):
    """Half is the most that one gets, then half of the rest for the next: always room for others."""
    manager.attach(policy={"mode": "0666"})
    manager.rundir.chmod(0o755)
    path = manager.rundir / "dev/raw0"
    one, said = take(path, 65534, socket.SOCK_SEQPACKET, 130, hello())
    assert said.startswith("100 taken, 30 refused") and "this user has as many" in said, said
    env = ["env", f"AURIGA_RUNTIME_DIR={manager.rundir}"]
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *env,
                           manager.build / "tests/unit_load", "raw0", "open", "1"], text=True,
                          capture_output=True, timeout=20, check=False)
    if done.returncode not in (126, 127):  # nobody may not be able to reach the build
        assert "this user has as many" in done.stdout, done
    two, said = take(path, 65533, socket.SOCK_SEQPACKET, 60, hello())
    assert said.startswith("50 taken, 10 refused"), said
    assert manager.client("raw0", "load", 0.3, 4).report()["errors"] == 0
    for child in (one, two):
        child.communicate("")
    wait_for(lambda: manager.info("raw0")["clients"] == 0, 5, "room again")
    # buffers: 32 MiB each
    one, said = take(path, 65534, socket.SOCK_SEQPACKET, 6, hello(depth=32, buffer_size=1 << 20))
    assert said.startswith("4 taken, 2 refused") and "one user" in said, said
    two, said = take(path, 65533, socket.SOCK_SEQPACKET, 1, hello(depth=32, buffer_size=1 << 20))
    assert said.startswith("1 taken"), said
    for child in (one, two):
        child.communicate("")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
def test_no_user_takes_all_of_the_control_socket(manager):
    manager.rundir.chmod(0o755)
    path = manager.rundir / "control.sock"
    path.chmod(0o666)  # as for a group that may attach devices
    request = b"GET /v1/devices HTTP/1.1\r\nHost: x\r\n\r\n"
    one, said = take(path, 65534, socket.SOCK_STREAM, 60, request)
    assert said.startswith("32 taken, 28 refused") and "this user has as many" in said, said
    watch = Watch()
    assert manager.get("/v1/devices") == []
    assert watch.took() < 2
    one.communicate("")
    one, said = take(path, 65534, socket.SOCK_STREAM, 20, request)
    assert said.startswith("20 taken, 0 refused"), said
    one.communicate("")
