#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""host_start.py [--json] [--hosts N]: from the spawn of a host to its AU_HM_READY.

Alternates, in one run, hosts with the whole sandbox and hosts without any of it, both with the
echo driver, and kills each. Microseconds; the build directory is $AURIGA_BUILD, default build.
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

from mini import Mini  # noqa: E402

LAYERS = ("pid-ns,cgroup,descriptors,mount-ns,net-ns,ipc-ns,uts-ns,cgroup-ns,root,rlimits,"
          "capabilities,uid,no-new-privs,dumpable,landlock,seccomp")


def one(manager):
    manager.send("start")
    manager.wait("spawned")
    ready = manager.wait("ready")
    manager.send("kill", 9)
    manager.wait("died")
    return {"ready": ready["us"], **ready["body"]["times_us"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hosts", type=int, default=100)
    arguments = parser.parse_args()
    build = Path(os.environ.get("AURIGA_BUILD", ROOT / "build")).resolve()
    module = build / "drivers/echo.so"
    samples = {"sandbox": [], "none": []}
    with Mini(build, "echo", module) as whole, Mini(build, "echo", module, without=LAYERS) as none:
        for _ in range(arguments.hosts):
            samples["sandbox"].append(one(whole))
            samples["none"].append(one(none))
    report = {}
    for name, list_ in samples.items():
        report[name] = {}
        for key in ("loaded", "sandboxed", "started", "ready"):
            values = sorted(s[key] for s in list_)
            report[name][key] = {"min": values[0], "p50": values[len(values) // 2],
                                 "p99": values[len(values) * 99 // 100]}
    if arguments.json:
        print(json.dumps(report))
        return
    print("us since main(); ready: since the spawn, at the manager")
    for name, figures in report.items():
        for key, f in figures.items():
            print(f"{name:8} {key:10} min {f['min']:6}  p50 {f['p50']:6}  p99 {f['p99']:6}")


main()
