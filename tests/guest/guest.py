# SPDX-License-Identifier: MIT
"""A guest with an IOMMU, vfio-pci and our programs: its kernel, its file system, its run.

The kernel is Debian's cloud kernel, unpacked below the build directory; the file system is an
initramfs. The guest is QEMU without KVM, so that it runs anywhere and the IOMMU is always the
emulated one.
"""

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "linux-image-cloud-amd64"
MODULES = ["vfio_iommu_type1", "vfio-pci", "virtio_pci", "virtio_net"]
PROGRAMS = ["bin/auriga", "bin/aurigad", "bin/auriga-host", "tests/bus_poke", "tests/serial_pump",
            "tests/raw_shell", "tests/unit_load", "examples/serial-say"]

# Functions of the machine, by the addresses that the tests know them by.
SERIAL, EDU, NVME, NET = "0000:00:04.0", "0000:00:05.0", "0000:01:00.0", "0000:00:06.0"
SHARED_EDU, SHARED_NET = "0000:03:01.0", "0000:03:02.0"
DEVICES = [
    "-device", "pcie-root-port,id=rp0,slot=1,addr=2",
    "-drive", "if=none,id=d0,format=raw,file={disk}",
    "-device", "nvme,id=nv0,bus=rp0,serial=guest,drive=d0",
    "-device", "pci-serial,addr=4,chardev=far",
    "-device", "edu,id=edu0,addr=5,dma_mask=0xfffffff",
    "-device", "virtio-net-pci,addr=6",
    "-device", "pcie-root-port,id=rp1,slot=2,addr=3",
    "-device", "pcie-pci-bridge,id=br0,bus=rp1",
    "-device", "edu,bus=br0,addr=1",
    "-device", "virtio-net-pci,bus=br0,addr=2",
    "-device", "e1000e,addr=7",
]


def run(*command, **options):
    """A command to its end, which must be a good one."""
    options = {"check": True, "capture_output": True, "text": True, **options}
    try:
        return subprocess.run([str(c) for c in command], **options)
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"{command}: {error.stderr}{error.stdout}") from error


def kernel(cache):
    """The unpacked kernel package below cache: fetched when it is not there."""
    where = cache / "kernel"
    if not (where / "complete").exists():
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        depends = run("apt-cache", "depends", "--important", PACKAGE).stdout
        package = re.search(r"Depends: (linux-image-\S+)", depends)
        assert package, f"apt knows no {PACKAGE}: run scripts/install-deps test"
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package[1], cwd=where,
            timeout=60)
        run("dpkg-deb", "-x", next(where.glob("*.deb")), where)
        next(where.glob("*.deb")).unlink()
        (where / "complete").touch()
    version = next((where / "lib/modules").iterdir()).name
    return where, version


def modules(where, version, root):
    """Copy the modules that the tests want, and what these want."""
    if not (where / "lib/modules" / version / "modules.dep").exists():
        run("depmod", "-b", where, version)
    for module in MODULES:
        out = run("modprobe", "-d", where, "-S", version, "--show-depends", module).stdout
        for path in re.findall(r"^insmod (\S+)", out, re.M):
            to = root / Path(path).relative_to(where)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(where / "lib/modules" / version / name, root / "lib/modules" / version)
    run("depmod", "-b", root, version)
    (root / "modules").write_text("\n".join(MODULES) + "\n", encoding="ascii")


def libraries(program):
    """The libraries that a program or module is linked with, as they are called."""
    out = run("ldd", program).stdout
    return re.findall(r"(?:=> )?(/\S+) \(0x", out)


def initramfs(build, cache):
    """Make the initramfs. Returns its path and the kernel's."""
    where, version = kernel(cache)
    root = cache / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys", "tmp", "build"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    modules(where, version, root)
    drivers = [p.relative_to(build) for d in ("drivers", "tests") for p in (build / d).glob("*.so")]
    wanted = set()
    for name in [Path(p) for p in PROGRAMS] + drivers:
        if not (build / name).exists():
            continue
        (root / "build" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(build / name, root / "build" / name)
        wanted.update(libraries(build / name))
    for library in sorted(wanted):
        # Ours are found relative to the program, the others where they are here.
        path = Path(library)
        if path.is_relative_to(build):
            to = root / "build" / path.relative_to(build)
        else:
            to = root / path.relative_to("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    for script in ("init", "tests"):
        shutil.copy(HERE / script, root / script)
    (root / "init").chmod(0o755)
    image = cache / "initramfs"
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    with open(image, "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(),
                       stdout=out, check=True)
    return image, next((where / "boot").glob("vmlinuz-*"))


class FarEnd(threading.Thread):
    """The other end of the serial port: sends everything back, in capitals."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.start()

    def run(self):
        peer, _ = self.listener.accept()
        while data := peer.recv(4096):
            peer.sendall(data.upper())


class Monitor:
    """QEMU's, for what happens to hardware."""

    def __init__(self, path):
        self.path = path
        self.stream = None

    def __call__(self, command, **arguments):
        if not self.stream:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(self.path))
            self.stream = sock.makefile("rw")
            self.stream.readline()
            self("qmp_capabilities")
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while "return" not in (answer := json.loads(self.stream.readline())):
            assert "error" not in answer, answer


def boot(build, folder, seconds):
    """Boot the guest and let it run its tests. Returns the lines of its console."""
    cache = build / "guest"
    cache.mkdir(exist_ok=True)
    image, vmlinuz = initramfs(build, cache)
    disk = folder / "disk"
    with open(disk, "wb") as out:
        out.truncate(64 << 20)
    FarEnd(folder / "far")
    monitor = Monitor(folder / "qmp")
    command = [
        "qemu-system-x86_64", "-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi",
        "-cpu", "max", "-smp", "2", "-m", "768", "-device",
        "intel-iommu,intremap=on,device-iotlb=on", "-nodefaults", "-display", "none", "-no-reboot",
        "-serial", "stdio", "-qmp", f"unix:{folder}/qmp,server=on,wait=off", "-chardev",
        f"socket,id=far,path={folder}/far", "-kernel", vmlinuz, "-initrd", image, "-append",
        "console=ttyS0 quiet intel_iommu=on iommu.passthrough=0 panic=-1",
        *[d.format(disk=disk) for d in DEVICES]]
    lines = []
    with open(folder / "qemu.err", "wb") as errors, \
            subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=errors) as qemu:
        timer = threading.Timer(seconds, qemu.kill)
        timer.start()
        for raw in qemu.stdout:
            line = raw.decode(errors="replace").rstrip()
            lines.append(line)
            # "monitor COMMAND ARGUMENT=VALUE...": what only the hardware's side can do.
            if line.startswith("monitor "):
                _, name, *rest = line.split()
                monitor(name, **dict(r.split("=", 1) for r in rest))
        qemu.wait()
        timer.cancel()
    return lines
