# SPDX-License-Identifier: MIT
"""Back-ends over vhost-user that break the protocol, or the rings: refused in one line, and survived."""

import struct

import pytest

import vhost
from vhost import Backend

PAGE = 4096
pytestmark = pytest.mark.sanitize


def read(rig, backend, *params, length=PAGE):
    """Read what a disk has, from within the program."""
    unit = ",".join([f"inproc:virtio-blk,address=vhost-user:{backend.path}", *params])
    return rig.auriga("block", "read", "--length", length, unit, text=False, check=False)


def refused(done):
    """It ended in order, and said so in one line at the end."""
    assert done.returncode == 1, (done.returncode, done.stderr)
    last = done.stderr.decode().strip().splitlines()[-1]
    assert last.startswith("auriga: "), done.stderr
    return done.stderr.decode()


def test_an_honest_one(rig):
    with Backend(rig.rundir / "b") as backend:
        backend.disk[:PAGE] = b"y" * PAGE
        for _ in range(3):
            done = read(rig, backend)
            assert done.returncode == 0 and done.stdout == b"y" * PAGE, done.stderr
        assert backend.served == 3


def answering(which, answer):
    """A lie: to this request, that answer."""
    return lambda what, value: answer(value) if what == "reply" and value[0] == which else value


@pytest.mark.parametrize("name,lie,says", [
    ("hangs up", answering(vhost.GET_FEATURES, lambda v: False), "closed the connection"),
    ("is older", answering(vhost.GET_FEATURES, lambda v: (*v[:2], struct.pack("<Q", vhost.F_PROTOCOL))),
     "does not offer virtio 1.0"),
    ("answers what was not asked", answering(vhost.GET_FEATURES, lambda v: (77, *v[1:])), "broke the protocol"),
    ("answers too much", answering(vhost.GET_FEATURES, lambda v: (*v[:2], bytes(4096))), "broke the protocol"),
    ("answers without end", answering(vhost.GET_FEATURES, lambda v: vhost.HEADER.pack(1, 5, 0xFFFFFFFF)),
     "broke the protocol"),
    ("asks instead of answering", answering(vhost.GET_FEATURES, lambda v: (v[0], 1, v[2])), "broke the protocol"),
    ("is of another version", answering(vhost.GET_FEATURES, lambda v: (v[0], 6, v[2])), "broke the protocol"),
    ("has no queues", answering(vhost.QUEUE_NUM, lambda v: (*v[:2], struct.pack("<Q", 0))), "has no queues"),
    ("says too much", answering(vhost.QUEUE_NUM, lambda v: vhost.HEADER.pack(*v[:2], 8) + v[2] + v[2]),
     "broke the protocol"),
    ("has no configuration", answering(vhost.GET_CONFIG, lambda v: (*v[:2], b"")), "configuration"),
    ("refuses memory", answering(vhost.SET_MEM_TABLE, lambda v: (*v[:2], struct.pack("<Q", 1))), "refused"),
    ("half acknowledges", answering(vhost.VRING_NUM, lambda v: (*v[:2], b"\0")), "acknowledgement"),
], ids=lambda v: v.replace(" ", "-") if isinstance(v, str) else "")
def test_the_protocol_broken(rig, name, lie, says):
    with Backend(rig.rundir / "b", lie) as backend:
        assert says in refused(read(rig, backend)), name


def test_queues_without_number(rig):
    """2^63 of them are as good as those that are used."""
    lie = answering(vhost.QUEUE_NUM, lambda v: (*v[:2], struct.pack("<Q", 1 << 63)))
    with Backend(rig.rundir / "b", lie) as backend:
        assert read(rig, backend).returncode == 0


def test_sizes_that_make_no_sense(rig):
    """A disk of 2^64 - 1 sectors has none; blocks of 3 bytes are refused."""
    def config(capacity, block):
        def lie(v):
            body = v[2][:12] + struct.pack("<QIIII", capacity, 0, 126, 0, block) + v[2][36:]
            return (*v[:2], body[:len(v[2])])
        return answering(vhost.GET_CONFIG, lie)

    with Backend(rig.rundir / "b", config((1 << 64) - 1, 512)) as backend:
        refused(read(rig, backend))
    with Backend(rig.rundir / "c", config(2048, 3)) as backend:
        assert "blocks of 3 bytes" in refused(read(rig, backend))


class Once:
    """A lie about the first buffer only; what comes after a reset is true."""

    def __init__(self, what, change, times=1):
        self.what, self.change, self.left = what, change, times

    def __call__(self, what, value):
        if what != self.what or not self.left:
            return value
        self.left -= 1
        return self.change(value)


LIES = {
    "an index that is not": lambda used: [(9999, used[0][1], 0)],
    "a buffer it does not have": lambda used: [((used[0][0] + 1) % 256, used[0][1], 0)],
    "one buffer twice": lambda used: used + used,
    "more than there was room for": lambda used: [(used[0][0], 0x7FFFFFFF, 0)],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=[k.replace(" ", "-") for k in LIES])
def test_rings_that_lie_once(rig, lie):
    """The device is reset, and asked again: the data are right, and nobody hears of it."""
    with Backend(rig.rundir / "b", Once("used", lie)) as backend:
        backend.disk[:PAGE] = b"z" * PAGE
        done = read(rig, backend)
        assert done.returncode == 0 and done.stdout == b"z" * PAGE, done.stderr
        # What was given back twice had been good the first time.
        assert b"device reset" in done.stderr or lie is LIES["one buffer twice"], done.stderr


@pytest.mark.parametrize("lie", [LIES["an index that is not"], LIES["more than there was room for"]])
def test_rings_that_lie_always(rig, lie):
    with Backend(rig.rundir / "b", Once("used", lie, 1 << 30)) as backend:
        assert "resets do not help" in refused(read(rig, backend))


def test_counters_that_run_ahead(rig):
    with Backend(rig.rundir / "b") as backend:
        backend.ahead = 300
        assert "resets do not help" in refused(read(rig, backend))


@pytest.mark.parametrize("status,says", [(1, "Input/output error"), (2, "not supported"), (77, "Input/output error"),
                                         (None, "Input/output error")])
def test_a_request_that_fails(rig, status, says):
    lie = Once("used", lambda used: [(*used[0][:2], status)], 1 << 30)
    with Backend(rig.rundir / "b", lie) as backend:
        assert says in refused(read(rig, backend))


def test_one_that_is_silent(rig):
    """Asked a question that it never answers, it is gone; who asked waits no longer than that."""
    with Backend(rig.rundir / "b", answering(vhost.VRING_NUM, lambda v: None)) as backend:
        said = refused(read(rig, backend))
        assert "did not answer within" in said
        backend.over.set()
