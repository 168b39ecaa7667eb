# SPDX-License-Identifier: MIT
"""Disks under chaos: no error, no wrong byte, no write that gets older, and no second without progress."""

import json
from pathlib import Path

import pytest

from chaos import Chaos, gap_limit
from disk import need, tool
from rig import long
from test_nbd import Export

MACHINE = Path(__file__).parents[2] / "lab/machines/nvme.conf"
WHOLE = pytest.mark.timeout(300)  # a minute, in each run of the tests
MINUTE = [pytest.mark.minute, pytest.mark.soak, WHOLE]
SOFTWARE = {"kill", "stop", "timeout", "reset", "restart"}
QEMU = {"kill", "stop", "freeze", "restart"}


class Disk:
    """An NVMe disk: the lab's own controller, or QEMU's; in a host, or in who uses it."""

    def __init__(self, rig, start, which, form):
        self.controller = self.lab = None
        self.rig, self.which = rig, which
        if which == "software":
            self.controller = start("--size", "64M")
            address = f"vfio-user:{self.controller.path}"
        else:
            self.lab = "nvme0"
            out = rig.run("auriga-lab", "up", "--name", self.lab, "--machine", MACHINE).stdout
            rig.labs.append(self.lab)
            address = next(line.split()[0] for line in out.splitlines() if "/ram." in line)
        if form == "process":
            rig.manager()
            rig.auriga("attach", address, "--name", "disk0", "--param", "timeout-ms=100")
            self.unit = "disk0"
        else:
            self.unit = f"inproc:nvme,address={address},timeout-ms=100" + (",poll=app" if form == "app" else "")

    def chaos(self, kinds):
        return Chaos(self.rig, self.unit, kinds, self.controller, self.lab)

    def check_dma(self):
        """Nothing has reached for memory that was not lent to it."""
        if self.controller:
            assert self.controller.stats()["stray_dma"] == 0
        else:
            (lab,) = json.loads(self.rig.run("auriga-lab", "ls", "--json").stdout)
            assert sum(function["dma_faults"] for function in lab["functions"]) == 0


def longest_gap(log, began_ms, ended_ms):
    """Seconds between two looks at which fio had got on, in its log of I/O per tenth of a second."""
    times = sorted(int(line.split(",")[0]) for line in log.read_text().splitlines())
    times = [began_ms, *times, ended_ms]
    return max(b - a for a, b in zip(times, times[1:])) / 1000


def fio(rig, export, seconds):
    """fio's figures, and the longest time without progress."""
    log = rig.rundir / "fio"
    out = tool("fio", "--name=v", "--ioengine=nbd", f"--uri={export.uri}", "--rw=randrw", "--bs=4k-64k",
               "--iodepth=32", "--size=48M", "--verify=crc32c", "--verify_fatal=1", "--time_based=1",
               f"--runtime={seconds}", "--verify_backlog=256", "--verify_state_save=0",
               f"--write_iops_log={log}", "--log_avg_msec=100", "--output-format=json",
               seconds=seconds * 3 + 60, cwd=rig.rundir)
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return job, longest_gap(Path(f"{log}_iops.1.log"), 0, seconds * 1000)


@pytest.mark.parametrize("which,kinds,seconds", [
    pytest.param("software", {"kill"}, 60, marks=WHOLE, id="software-kill-60"),
    pytest.param("software", SOFTWARE, 60, marks=WHOLE, id="software-mixed-60"),
    pytest.param("qemu", {"kill"}, 60, marks=MINUTE, id="qemu-kill-60"),
    pytest.param("qemu", QEMU, 60, marks=MINUTE, id="qemu-mixed-60"),
    pytest.param("software", {"kill"}, 1800, marks=long(6000), id="software-kill-1800"),
    pytest.param("software", SOFTWARE, 1800, marks=long(6000), id="software-mixed-1800")])
def test_fio_over_nbd(rig, start, which, kinds, seconds):
    """fio with checksums over NBD, while anything may happen to the disk behind it."""
    need("nbdkit", "fio")
    disk = Disk(rig, start, which, "process")
    with Export(rig, disk.unit) as export:
        with disk.chaos(kinds) as chaos:
            job, gap = fio(rig, export, seconds)
        said = export.said()
    reads, writes = job["read"]["total_ios"], job["write"]["total_ios"]
    print(f"{dict(chaos.done)}; {reads} reads, {writes} writes, longest gap {gap:.2f} s")
    chaos.check(seconds)
    assert job["error"] == 0 and not said
    assert reads > 10 * seconds and writes > 10 * seconds
    assert gap < gap_limit()
    disk.check_dma()


def applies(which, form, kinds):
    """A host can be killed only where there is one."""
    return kinds if form == "process" else kinds & {"timeout", "reset", "freeze"}


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=MINUTE)])
@pytest.mark.parametrize("form", ["process", "thread", "app"])
@pytest.mark.parametrize("which,kinds", [("software", SOFTWARE), ("qemu", QEMU)], ids=["software", "qemu"])
def test_no_write_gets_older(rig, start, which, form, kinds, seconds):
    """libauriga itself: what is read is the last write that was acknowledged."""
    disk = Disk(rig, start, which, form)
    with disk.chaos(applies(which, form, kinds)) as chaos:
        done = rig.auriga("bench", "block", "--verify", "--json", "--qd", "32" if which == "software" else "8",
                          "--time", seconds, disk.unit, timeout=seconds + 120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout)
    print(f"{dict(chaos.done)}; {result['ios']} requests, longest {result['lat_us']['max'] / 1e6:.2f} s")
    assert result["errors"] == 0 and result["mismatches"] == 0
    assert result["ios"] > 100 * seconds
    # Who always has as many outstanding has never waited for longer than its slowest request.
    assert result["lat_us"]["max"] < gap_limit() * 1e6
    if seconds >= 60:
        chaos.check(seconds)
    disk.check_dma()
