# SPDX-License-Identifier: MIT
"""A small vfio-user client, and the lab to use it with."""

import array
import json
import os
import select
import socket
import struct
import subprocess
import time

from crowd import wait_for

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_REGION_IO_FDS, GET_IRQ_INFO = range(1, 8)
SET_IRQS, REGION_READ, REGION_WRITE = 8, 9, 10
RESET, WRITE_MULTI = 13, 15

NO_REPLY = 1 << 4
ERROR = 1 << 5

DATA_NONE, DATA_BOOL, DATA_EVENTFD, MASK, UNMASK, TRIGGER = (1 << i for i in range(6))

CONFIG = 7

HEADER = struct.Struct("<HHIII")


def build_dir():
    return os.path.abspath(os.environ.get("AURIGA_BUILD", "build"))


def program(name):
    return os.path.join(build_dir(), "bin", name)


class Error(Exception):
    """The server answered with an error; .errno says which."""

    def __init__(self, errno):
        super().__init__(os.strerror(errno))
        self.errno = errno


class Closed(Exception):
    """The server has closed the connection."""


class Vfu:
    """One session. Methods are calls: they wait for the answer."""

    def __init__(self, path, version=True, timeout=5):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path.removeprefix("vfio-user:"))
        self.buf = b""
        self.msg_id = 0
        self.caps = None
        if version:
            self.caps = self.version()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def message(self, cmd, payload=b"", flags=0):
        self.msg_id = (self.msg_id + 1) & 0xFFFF
        return HEADER.pack(self.msg_id, cmd, HEADER.size + len(payload), flags, 0) + payload

    def send(self, data, fds=()):
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            sent = self.sock.sendmsg([data], anc)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed from e

    def _take(self, n):
        while len(self.buf) < n:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError as e:
                raise Closed from e
            if not more:
                raise Closed
            self.buf += more
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def reply(self):
        """The next answer: (message id, command, payload)."""
        msg_id, cmd, size, flags, errno = HEADER.unpack(self._take(HEADER.size))
        payload = self._take(size - HEADER.size)
        assert flags & 0xF == 1
        if flags & ERROR:
            raise Error(errno)
        return msg_id, cmd, payload

    def call(self, cmd, payload=b"", fds=()):
        self.send(self.message(cmd, payload), fds)
        msg_id, rcmd, reply = self.reply()
        assert (msg_id, rcmd) == (self.msg_id, cmd)
        return reply

    def version(self, major=0, minor=1, caps='{"capabilities":{"write_multiple":true}}'):
        r = self.call(VERSION, struct.pack("<HH", major, minor) + caps.encode() + b"\0")
        assert struct.unpack_from("<HH", r) <= (major, minor)
        assert r.endswith(b"\0")
        return json.loads(r[4:-1])["capabilities"]

    def info(self):
        return struct.unpack("<IIII", self.call(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)))[1:]

    def region_info(self, index):
        r = self.call(GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
        _, flags, idx, _, size, _ = struct.unpack("<IIIIQQ", r)
        assert idx == index
        return flags, size

    def irq_info(self, index):
        r = self.call(GET_IRQ_INFO, struct.pack("<IIII", 16, 0, index, 0))
        return struct.unpack("<IIII", r)[1::2]

    def set_irqs(self, flags, index=0, start=0, count=1, fds=(), data=b""):
        n = 20 + len(data)
        self.call(SET_IRQS, struct.pack("<IIIII", n, flags, index, start, count) + data, fds)

    def dma_map(self, fd, iova, size, offset=0, flags=3):
        """Map what @fd holds; flags: 1 the device may read it, 2 it may write it."""
        self.call(DMA_MAP, struct.pack("<IIQQQ", 32, flags, offset, iova, size), [fd])

    def dma_unmap(self, iova, size, flags=0):
        """Return when the device can do nothing any more with the memory."""
        payload = struct.pack("<IIQQ", 24, flags, iova, size)
        assert self.call(DMA_UNMAP, payload) == payload

    def dma_unmap_all(self):
        self.dma_unmap(0, 0, 2)

    def connect_irqs(self, index, fds, start=0):
        """Connect eventfds to vectors, in as many messages as the server wants."""
        step = self.caps["max_msg_fds"]
        for i in range(0, len(fds), step):
            part = fds[i:i + step]
            self.set_irqs(DATA_EVENTFD | TRIGGER, index, start + i, len(part), part)

    def disable_irqs(self, index):
        self.set_irqs(DATA_NONE | TRIGGER, index, count=0)

    def read(self, region, off, count):
        r = self.call(REGION_READ, struct.pack("<QII", off, region, count))
        assert struct.unpack_from("<QII", r) == (off, region, count)
        return r[16:]

    def write(self, region, off, data, no_reply=False):
        payload = struct.pack("<QII", off, region, len(data)) + data
        if no_reply:
            self.send(self.message(REGION_WRITE, payload, NO_REPLY))
        else:
            assert self.call(REGION_WRITE, payload) == payload[:16]

    def write_multi(self, writes):
        """writes: (region, offset, bytes of at most 8)."""
        payload = struct.pack("<Q", len(writes)) + b"".join(
            struct.pack("<QII8s", off, region, len(data), data) for region, off, data in writes)
        assert struct.unpack("<Q", self.call(WRITE_MULTI, payload)) == (len(writes),)

    def read_many(self, reads):
        """Pipelined reads of (region, offset, count): all are sent before the first answer."""
        self.send(b"".join(self.message(REGION_READ, struct.pack("<QII", off, region, count))
                           for region, off, count in reads))
        return [self.reply()[2][16:] for _ in reads]

    def r64(self, region, off):
        return int.from_bytes(self.read(region, off, 8), "little")

    def w64(self, region, off, value):
        self.write(region, off, value.to_bytes(8, "little"))

    def r8(self, region, off):
        return self.read(region, off, 1)[0]

    def w8(self, region, off, value):
        self.write(region, off, bytes([value]))

    def r16(self, region, off):
        return int.from_bytes(self.read(region, off, 2), "little")

    def r32(self, region, off):
        return int.from_bytes(self.read(region, off, 4), "little")

    def w16(self, region, off, value):
        self.write(region, off, value.to_bytes(2, "little"))

    def w32(self, region, off, value):
        self.write(region, off, value.to_bytes(4, "little"))

    def enable(self, command=0x7):
        self.w16(CONFIG, 4, command)

    def caps_list(self):
        """{capability id: position}"""
        found, pos = {}, self.r8(CONFIG, 0x34)
        while pos:
            cap, nxt = self.read(CONFIG, pos, 2)
            found[cap] = pos
            pos = nxt
        return found


class Irq:
    """An eventfd as interrupt."""

    def __init__(self):
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def wait(self, timeout=2.0):
        """How many times it was signalled, 0 on timeout."""
        if not select.select([self.fd], [], [], timeout)[0]:
            return 0
        return os.eventfd_read(self.fd)

    def close(self):
        os.close(self.fd)


class Lab:
    """A lab of its own runtime directory, taken down at the end."""

    def __init__(self, root, *args, name="lab0"):
        self.root = str(root)
        self.name = name
        self.args = args
        self.info = None

    def ctl(self, *args, check=True):
        return subprocess.run([program("auriga-lab"), args[0], "--runtime-dir", self.root,
                               *args[1:]], check=check, capture_output=True, text=True,
                              timeout=30)

    def __enter__(self):
        out = self.ctl("up", "--name", self.name, "--json", *self.args, check=False)
        assert out.returncode == 0, out.stderr
        self.info = json.loads(out.stdout)
        return self

    def __exit__(self, *exc):
        self.ctl("down", self.name, check=False)

    @property
    def dir(self):
        return os.path.join(self.root, "lab", self.name)

    @property
    def pids(self):
        return self.info["pids"]

    def address(self, ident):
        return next(f["address"] for f in self.info["functions"] if f["id"] == ident)

    def vfu(self, ident, **kw):
        return Vfu(self.address(ident), **kw)

    def chardev(self, name, timeout=5):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(os.path.join(self.dir, name))
        return s

    def fault(self, *what):
        self.ctl("fault", self.name, *what)

    def function(self, ident):
        """What `ls` says of a function now."""
        labs = json.loads(self.ctl("ls", "--json").stdout)
        lab = next(l for l in labs if l["name"] == self.name)
        return next(f for f in lab["functions"] if f["id"] == ident)

    def log_text(self):
        with open(os.path.join(self.dir, "lab.log"), encoding="utf-8") as f:
            return f.read()


def recv_exactly(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        assert more, f"end after {len(data)} of {n} bytes"
        data += more
    return data


def gone(pid):
    """Whether a process has ended (a zombie has)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(what, timeout=5.0):
    wait_for(what, timeout, "it did not come true", pause=0.005)
