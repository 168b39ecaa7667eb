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
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "linux-image-cloud-amd64"
MODULES = ["vfio_iommu_type1", "vfio-pci", "virtio_pci", "virtio_net"]
PROGRAMS = ["bin/auriga", "bin/aurigad", "bin/auriga-host", "tests/bus_poke", "tests/serial_pump",
            "tests/raw_shell", "tests/unit_load", "tests/disk_rules", "tests/vfio_meddle",
            "examples/serial-say"]

# The machine; the guest's script knows the addresses. The second NVMe controller has a disk with
# faults, where reading the block at 2 MiB always fails, and so does the first write to the one at 4
# MiB; and one that is slow on request.
DEVICES = [
    "-device", "pcie-root-port,id=rp0,slot=1,addr=2",
    "-drive", "if=none,id=d0,format=raw,discard=unmap,file={disk}",
    "-device", "nvme,id=nv0,bus=rp0,serial=guest,drive=d0",
    "-device", "pci-serial,addr=4,chardev=far",
    "-device", "edu,id=edu0,addr=5,dma_mask=0xfffffff",
    "-device", "virtio-net-pci,addr=6",
    "-device", "pcie-root-port,id=rp1,slot=2,addr=3",
    "-device", "pcie-pci-bridge,id=br0,bus=rp1",
    "-device", "edu,bus=br0,addr=1",
    "-device", "virtio-net-pci,bus=br0,addr=2",
    "-device", "e1000e,addr=7",
    "-object", "throttle-group,id=limit",
    "-blockdev", "driver=file,node-name=file1,filename={disk}1",
    "-blockdev", "driver=blkdebug,node-name=bad,image=file1,inject-error.0.event=none,"
    "inject-error.0.iotype=read,inject-error.0.sector=4096,inject-error.0.errno=5,"
    "inject-error.1.event=none,inject-error.1.iotype=write,inject-error.1.sector=8192,"
    "inject-error.1.errno=28,inject-error.1.once=on",
    "-blockdev", "driver=file,node-name=file2,filename={disk}2",
    "-blockdev", "driver=throttle,node-name=slow,throttle-group=limit,file=file2",
    "-device", "nvme,id=nvf,serial=faults,addr=8",
    "-device", "nvme-ns,bus=nvf,drive=bad,nsid=1",
    "-device", "nvme-ns,bus=nvf,drive=slow,nsid=2",
    "-device", "pcie-root-port,id=rp2,slot=3,addr=9",
    "-device", "virtio-rng-pci,id=aer0,bus=rp2,aer=on,disable-legacy=on",
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

    def ask(self, command, **arguments):
        """Return: None, or the error."""
        if not self.stream:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(10)
            sock.connect(str(self.path))
            self.stream = sock.makefile("rw")
            self.stream.readline()
            self.ask("qmp_capabilities")
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while "return" not in (answer := json.loads(self.stream.readline())):
            if "error" in answer:
                return answer["error"]["desc"]
        return None

    def line(self, text):
        """ "monitor COMMAND KEY=VALUE..." or "hmp COMMAND...". Return: what is to be noted, or None."""
        kind, _, rest = text.partition(" ")
        if kind == "hmp":
            return self.ask("human-monitor-command", **{"command-line": rest})
        name, *words = rest.split()
        arguments = dict(word.split("=", 1) for word in words)
        for key, value in arguments.items():
            if value.startswith("{"):
                arguments[key] = json.loads(value)
        # A device that was unplugged has its disk a little longer.
        for _ in range(300):
            error = self.ask(name, **arguments)
            if not error or "in use" not in error:
                break
            time.sleep(0.1)
        return error


class Guest(threading.Thread):
    """The guest, booted and run to its end, with what it says as it says it."""

    def __init__(self, build, folder, seconds, names=()):
        super().__init__(daemon=True)
        self.build, self.folder, self.seconds, self.names = build, folder, seconds, names
        self.lines = []
        self.news = threading.Condition()
        self.over = None  # why there is nothing more to come
        self.qemu = None
        self.start()

    def note(self, line):
        with self.news:
            self.lines.append(line)
            self.news.notify_all()

    def command(self):
        cache = self.build / "guest"
        cache.mkdir(exist_ok=True)
        image, vmlinuz = initramfs(self.build, cache)
        disk = self.folder / "disk"
        for name in ("disk", "disk1", "disk2"):
            with open(self.folder / name, "wb") as out:
                out.truncate(16 << 20)
        FarEnd(self.folder / "far")
        return [
            "qemu-system-x86_64", "-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi",
            "-cpu", "max", "-smp", "2", "-m", "768", "-device",
            "intel-iommu,intremap=on,device-iotlb=on", "-nodefaults", "-display", "none",
            "-no-reboot", "-serial", "stdio", "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off",
            "-qmp", f"unix:{self.folder}/qmp2,server=on,wait=off",
            "-chardev", f"socket,id=far,path={self.folder}/far", "-kernel", vmlinuz, "-initrd",
            image, "-append", "console=ttyS0 quiet intel_iommu=on iommu.passthrough=0 panic=-1 "
            "tests=" + ",".join(self.names),
            *[d.format(disk=disk) for d in DEVICES]]

    def follow(self):
        """Start QEMU and read its console."""
        monitor = Monitor(self.folder / "qmp")
        command = [str(c) for c in self.command()]
        with open(self.folder / "qemu.err", "wb") as errors, \
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=errors) as self.qemu:
            timer = threading.Timer(self.seconds, self.give_up)
            timer.start()
            try:
                for raw in self.qemu.stdout:
                    line = raw.decode(errors="replace").rstrip()
                    self.note(line)
                    if line.startswith(("monitor ", "hmp ")) and (error := monitor.line(line)):
                        self.note(f"# {line}: {error}")
            finally:
                self.qemu.kill()
                timer.cancel()
        errors = (self.folder / "qemu.err").read_text(encoding="utf-8", errors="replace")
        return "the guest has ended" + (f"; QEMU: {errors[-2000:]}" if errors else "")

    def give_up(self):
        """Out of time: say who hangs, the guest or QEMU."""
        try:
            error = Monitor(self.folder / "qmp2").ask("query-status")
        except OSError as hung:
            error = hung
        self.note(f"# out of time; QEMU {'does not answer: ' + str(error) if error else 'answers'}")
        self.qemu.kill()

    def run(self):
        began = time.monotonic()
        try:
            why = self.follow()
        except Exception as error:  # pylint: disable=broad-exception-caught
            why = f"{type(error).__name__}: {error}"
        if time.monotonic() - began > self.seconds:
            why = f"it took more than {self.seconds} s; " + why
        with self.news:
            self.over = why
            self.news.notify_all()
        (self.build / "guest/console.log").write_text("\n".join(self.lines + [why, ""]),
                                                      encoding="utf-8")

    def wait_for(self, pattern):
        """Return: how many lines there are up to one that matches, or None: it never comes."""
        seen = 0
        with self.news:
            while True:
                for i in range(seen, len(self.lines)):
                    if re.fullmatch(pattern, self.lines[i]):
                        return i + 1
                seen = len(self.lines)
                if self.over:
                    return None
                self.news.wait()

    def stop(self):
        if self.qemu:
            self.qemu.kill()
        self.join(30)
