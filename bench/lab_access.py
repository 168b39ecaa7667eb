#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab_access.py [--json]: what a register access costs in the lab, in microseconds.

Rounds of all kinds are interleaved in one run, against a UART whose line goes nowhere. AURIGA_BUILD
is the build directory.
"""

import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/e2e"))

from vfu import Lab  # pylint: disable=wrong-import-position

ROUNDS = 2000
SCRATCH = 7


def main():
    with tempfile.TemporaryDirectory(prefix="au-") as root, \
            Lab(root, "--chardev", "null,id=c0", "--device", "pci-serial,chardev=c0") as lab, \
            lab.vfu("pci-serial0") as v:
        v.enable()
        kinds = {  # name: (accesses, function)
            "no_access": (1, v.info),
            "read": (1, lambda: v.r8(0, SCRATCH)),
            "write": (1, lambda: v.w8(0, SCRATCH, 1)),
            "write_multi_16": (16, lambda: v.write_multi([(0, SCRATCH, b"x")] * 16)),
            "pipelined_read_16": (16, lambda: v.read_many([(0, SCRATCH, 1)] * 16)),
        }
        times = {name: [] for name in kinds}
        for _ in range(ROUNDS):
            for name, (accesses, function) in kinds.items():
                start = time.perf_counter()
                function()
                times[name].append((time.perf_counter() - start) * 1e6 / accesses)
    result = {}
    for name, list_ in times.items():
        list_.sort()
        result[name] = {"p50_us": round(list_[ROUNDS // 2], 1),
                        "p99_us": round(list_[ROUNDS * 99 // 100], 1)}
    if "--json" in sys.argv[1:]:
        print(json.dumps(result))
        return
    print(f"{'us an access':20} {'p50':>8} {'p99':>8}")
    for name, row in result.items():
        print(f"{name:20} {row['p50_us']:8} {row['p99_us']:8}")


if __name__ == "__main__":
    main()
