# SPDX-License-Identifier: MIT
"""virtio devices to drive: QEMU's as PCI functions in the lab, and back-ends over vhost-user."""

import json
import os
import subprocess

from crowd import wait_for
from disk import need

MIB = 1 << 20


def blockdev(path):
    """The node d0 over an image. What the machine's own disk does is not waited for."""
    return ("driver=raw,node-name=d0,discard=unmap,cache.no-flush=on,"
            f"file.driver=file,file.filename={path},file.cache.no-flush=on")


class LabDisk:
    """QEMU's virtio-blk-pci over an image."""

    def __init__(self, rig, image, packed, queues=1, iommu="on"):
        self.rig, self.name = rig, "virtio0"
        words = {"disable-legacy": "on", "iommu_platform": iommu, "packed": "on" if packed else "off",
                 "num-queues": queues}
        out = rig.run("auriga-lab", "up", "--name", self.name,
                      "--blockdev", blockdev(image),
                      "--device", "virtio-blk-pci,drive=d0,id=disk," + ",".join(f"{k}={v}" for k, v in words.items()))
        rig.labs.append(self.name)
        self.address = out.stdout.split()[0]

    def freeze(self):
        self.rig.run("auriga-lab", "fault", self.name, "freeze")

    def thaw(self):
        self.rig.run("auriga-lab", "fault", self.name, "thaw")


def console(rig, packed):
    """QEMU's virtconsole: its address, and the socket at its far end."""
    far = rig.rundir / "console"
    modern = "disable-legacy=on,iommu_platform=on"
    out = rig.run("auriga-lab", "up", "--name", "console0",
                  "--chardev", f"socket,id=c0,path={far},server=on,wait=off",
                  "--device", f"virtio-serial-pci,id=vs,{modern},packed={'on' if packed else 'off'}",
                  "--device", "virtconsole,chardev=c0")
    rig.labs.append("console0")
    return out.stdout.split()[0], far


def random_source(rig, packed):
    """QEMU's virtio-rng: its address."""
    out = rig.run("auriga-lab", "up", "--name", "random0", "--object", "rng-builtin,id=r0", "--device",
                  f"virtio-rng-pci,rng=r0,id=rng,disable-legacy=on,iommu_platform=on,packed={'on' if packed else 'off'}")
    rig.labs.append("random0")
    return out.stdout.split()[0]


class UserDisk:
    """qemu-storage-daemon's vhost-user-blk over an image."""

    def __init__(self, rig, image, packed=False, queues=1, writable=True):
        assert not packed, "this back-end has split queues only"
        need("qemu-storage-daemon")
        self.rig, self.image, self.queues, self.writable = rig, image, queues, writable
        self.path = rig.rundir / "vhost.sock"
        self.address = f"vhost-user:{self.path}"
        self.child = None
        self.start()

    def start(self):
        """Start the back-end, which there is one of at a time."""
        if self.path.exists():
            os.unlink(self.path)
        self.child = subprocess.Popen(
            ["qemu-storage-daemon",
             "--blockdev", blockdev(self.image),
             "--export", f"vhost-user-blk,id=e,node-name=d0,addr.type=unix,addr.path={self.path},"
                         f"num-queues={self.queues},writable={'on' if self.writable else 'off'}"],
            stdin=subprocess.DEVNULL)
        self.rig.children.append(self.child)
        wait_for(self.path.exists, 10, "the back-end's socket")

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.rig.children.remove(self.child)


def image(rig, size=64 * MIB):
    """An empty image in the runtime directory."""
    path = rig.rundir / "disk.img"
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def disk(rig, which, **options):
    """A disk of that kind: "lab-split", "lab-packed", "user"; and its image."""
    path = image(rig)
    if which == "user":
        return UserDisk(rig, path, **options), path
    return LabDisk(rig, path, which == "lab-packed", **options), path


def target(rig, address, form, *params):
    """How a client names it in that placement."""
    if form == "process":
        rig.manager()
        words = [word for param in params for word in ("--param", param)]
        rig.auriga("attach", address, "--name", "disk0", *words)
        return "disk0"
    return ",".join(["inproc:virtio-blk", f"address={address}", *params] + (["poll=app"] if form == "app" else []))


def info(rig, unit):
    return json.loads(rig.auriga("block", "info", "--json", unit).stdout)
