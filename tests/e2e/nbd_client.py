# SPDX-License-Identifier: MIT
"""A client of NBD that does what it is told, also what nobody should."""

import socket
import struct

READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
FUA, NO_HOLE = 1, 2
EIO, ESHUTDOWN = 5, 108
MAGIC, REPLY = 0x25609513, 0x67446698


class Client:
    """One connection, past the greeting; NBD_OPT_GO is go()."""

    def __init__(self, path, seconds=20):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(seconds)
        self.sock.connect(str(path))
        assert self.take(8) == b"NBDMAGIC" and self.take(8) == b"IHAVEOPT"
        self.take(2)
        self.size = self.flags = None
        self.handle = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def take(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def send(self, data):
        self.sock.sendall(data)

    def go(self):
        """The export of no name, in the old way: size and flags, without padding."""
        self.send(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
        self.size, self.flags = struct.unpack(">QH", self.take(10))
        return self

    def ask(self, kind, offset=0, length=0, data=b"", flags=0):
        """A request, sent. Returns its handle."""
        self.handle += 1
        self.send(struct.pack(">IHHQQI", MAGIC, flags, kind, self.handle, offset, length) + data)
        return self.handle

    def answer(self, length=0):
        """(handle, error, data) of the next reply; length: bytes of data that follow a good one."""
        magic, error, handle = struct.unpack(">IIQ", self.take(16))
        assert magic == REPLY
        return handle, error, self.take(length) if not error else b""

    def read(self, offset, length):
        handle = self.ask(READ, offset, length)
        got, error, data = self.answer(length)
        assert got == handle and error == 0, error
        return data

    def write(self, offset, data, flags=0):
        handle = self.ask(WRITE, offset, len(data), data, flags)
        got, error, _ = self.answer()
        assert got == handle
        return error
