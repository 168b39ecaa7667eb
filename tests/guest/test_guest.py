# SPDX-License-Identifier: MIT
"""What the tests in the guest say, each as a test here. The guest is booted once."""

import os
import re
import tempfile
from pathlib import Path

import pytest

import guest

# Functions t_NAME of the guest's script, in their order.
NAMES = re.findall(r"^t_(\w+)\(\)", (guest.HERE / "tests").read_text(encoding="utf-8"), re.M)
BUILD = Path(os.environ.get("AURIGA_BUILD", guest.HERE.parent.parent / "build")).resolve()


@pytest.fixture(scope="session", name="console")
def fixture_console():
    """The console's lines; printed as a whole when a test fails."""
    with tempfile.TemporaryDirectory(prefix="au-guest-") as folder:
        lines = guest.boot(BUILD, Path(folder), int(os.environ.get("AURIGA_GUEST_SECONDS", "110")))
        errors = (Path(folder) / "qemu.err").read_text(encoding="utf-8", errors="replace")
        (BUILD / "guest/console.log").write_text("\n".join(lines) + "\n" + errors, encoding="utf-8")
    return lines


def test_guest_came_to_its_end(console):
    """All tests ran, and nothing else did."""
    said = [line.split(maxsplit=2)[-1].split()[0] for line in console
            if re.match(r"(not )?ok \w+", line)]
    assert any(line.startswith("# done") for line in console), "\n".join(console[-40:])
    assert len(said) == len(NAMES), said


@pytest.mark.parametrize("name", NAMES)
def test_in_guest(console, name):
    """The verdict, with what was said since the test before."""
    block = []
    for line in console:
        if re.fullmatch(rf"ok {name}", line):
            return
        if re.fullmatch(rf"not ok {name}", line):
            pytest.fail("\n".join(block), pytrace=False)
        block = [] if re.match(r"(not )?ok ", line) else block + [line]
    pytest.fail("no word of it; the console's end:\n" + "\n".join(console[-30:]), pytrace=False)
