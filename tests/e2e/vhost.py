# SPDX-License-Identifier: MIT
"""A vhost-user back-end for a disk, written from the specification, that can be told to lie."""

import array
import mmap
import os
import select
import socket
import struct
import threading

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
VRING_NUM, VRING_ADDR, VRING_BASE, GET_VRING_BASE, VRING_KICK, VRING_CALL = 8, 9, 10, 11, 12, 13
GET_PROTOCOL, SET_PROTOCOL, QUEUE_NUM, VRING_ENABLE, GET_CONFIG = 15, 16, 17, 18, 24

VERSION_1, F_PROTOCOL, BLK_SIZE, FLUSH = 1 << 32, 1 << 30, 1 << 6, 1 << 9
MQ, REPLY_ACK, CONFIG = 1 << 0, 1 << 3, 1 << 9
NEXT, WRITE = 1, 2
REPLY, NEED_REPLY = 4, 8
HEADER = struct.Struct("<III")


class Backend:
    """with Backend(path, lie): serves one front-end after another; lie(what, value) changes what it says.

    lie gets ("reply", (request, flags, payload)) before each answer and may return another tuple, None to
    say nothing, False to hang up, or b"..." to send just that; and ("used", (id, length, status)) before a buffer is given
    back, and may return a list of such to give back instead.
    """

    def __init__(self, path, lie=lambda what, value: value, size=1 << 20):
        self.path, self.lie = str(path), lie
        self.disk = bytearray(size)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(4)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.served = 0

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(10)
        self.listener.close()

    def run(self):
        while not self.over.is_set():
            if select.select([self.listener], [], [], 0.05)[0]:
                with self.listener.accept()[0] as sock:
                    try:
                        self.serve(sock)
                    except (ConnectionError, EOFError):
                        pass

    def serve(self, sock):
        self.regions, self.ring, self.kick, self.call = [], {}, None, None
        while not self.over.is_set():
            waiting = [sock] + ([self.kick] if self.kick is not None else [])
            for ready in select.select(waiting, [], [], 0.05)[0]:
                if ready is sock:
                    self.message(sock)
                else:
                    os.read(self.kick, 8)
                    self.work()

    # ------------------------------------------------------------------ messages

    def message(self, sock):
        head, fds = b"", array.array("i")
        head, control, _, _ = sock.recvmsg(HEADER.size, socket.CMSG_SPACE(64))
        for _, _, data in control:
            fds.frombytes(data)
        if len(head) < HEADER.size:
            raise EOFError
        request, flags, size = HEADER.unpack(head)
        payload = b""
        while len(payload) < size:
            piece = sock.recv(size - len(payload))
            if not piece:
                raise EOFError
            payload += piece
        answer = self.handle(request, payload, fds)
        if answer is None and flags & NEED_REPLY:
            answer = struct.pack("<Q", 0)
        if answer is not None:
            said = self.lie("reply", (request, 1 | REPLY, answer))
            if isinstance(said, bytes):
                sock.sendall(said)
            elif said:
                sock.sendall(HEADER.pack(said[0], said[1], len(said[2])) + said[2])
            else:
                if said is None:
                    self.over.wait(30)
                raise EOFError

    def handle(self, request, payload, fds):
        """The answer, or None."""
        if request == GET_FEATURES:
            return struct.pack("<Q", VERSION_1 | F_PROTOCOL | BLK_SIZE | FLUSH)
        if request == GET_PROTOCOL:
            return struct.pack("<Q", MQ | REPLY_ACK | CONFIG)
        if request == QUEUE_NUM:
            return struct.pack("<Q", 1)
        if request == GET_CONFIG:
            config = struct.pack("<QIIIIQII", len(self.disk) // 512, 0, 126, 0, 512, 0, 0, 0)
            asked, = struct.unpack_from("<I", payload, 4)
            return payload[:12] + config.ljust(60, b"\0")[:asked]
        if request == SET_MEM_TABLE:
            for i, fd in enumerate(fds):
                _, size, user, offset = struct.unpack_from("<QQQQ", payload, 8 + 32 * i)
                self.regions.append((user, size, mmap.mmap(fd, size, offset=offset)))
                os.close(fd)
        elif request == VRING_NUM:
            self.ring["num"] = struct.unpack("<II", payload)[1]
        elif request == VRING_ADDR:
            self.ring.update(zip(("desc", "used", "avail"), struct.unpack_from("<QQQ", payload, 8)))
            self.ring["next"] = self.ring["done"] = 0
        elif request == VRING_KICK:
            self.kick = fds[0]
        elif request == VRING_CALL:
            self.call = fds[0]
        elif request == GET_VRING_BASE:
            return payload
        return None

    # --------------------------------------------------------------------- queue

    def at(self, address, size):
        for user, length, memory in self.regions:
            if user <= address and address + size <= user + length:
                return memory, address - user
        raise ConnectionError(f"{address:#x} is in no region")

    def get(self, address, fmt):
        memory, at = self.at(address, struct.calcsize(fmt))
        return struct.unpack_from(fmt, memory, at)

    def put(self, address, data):
        memory, at = self.at(address, len(data))
        memory[at:at + len(data)] = data

    def chain(self, head):
        pieces = []
        while True:
            address, length, flags, following = self.get(self.ring["desc"] + 16 * head, "<QIHH")
            pieces.append((address, length, flags & WRITE))
            if not flags & NEXT:
                return pieces
            head = following

    def work(self):
        ring = self.ring
        while ring["next"] != self.get(ring["avail"] + 2, "<H")[0]:
            head, = self.get(ring["avail"] + 4 + 2 * (ring["next"] % ring["num"]), "<H")
            ring["next"] = (ring["next"] + 1) & 0xFFFF
            pieces = self.chain(head)
            kind, _, sector = self.get(pieces[0][0], "<IIQ")
            written, at = 1, sector * 512
            for address, length, _ in pieces[1:-1]:
                if kind == 0:
                    self.put(address, bytes(self.disk[at:at + length]))
                    written += length
                elif kind == 1:
                    memory, start = self.at(address, length)
                    self.disk[at:at + length] = memory[start:start + length]
                at += length
            self.served += 1
            for index, length, status in self.lie("used", [(head, written, 0)]):
                if status is not None:
                    self.put(pieces[-1][0], bytes([status]))
                self.put(ring["used"] + 4 + 8 * (ring["done"] % ring["num"]), struct.pack("<II", index, length))
                ring["done"] = (ring["done"] + 1) & 0xFFFF
            self.put(ring["used"] + 2, struct.pack("<H", ring["done"] + getattr(self, "ahead", 0) & 0xFFFF))
            os.write(self.call, struct.pack("<Q", 1))
