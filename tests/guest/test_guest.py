# SPDX-License-Identifier: MIT
"""What the tests in the guest say, each as a test here, when it is said. The guest is booted once."""

import os
import re
import tempfile
from pathlib import Path

import pytest

import guest

# Functions t_NAME of the guest's script, in their order.
NAMES = re.findall(r"^t_(\w+)\(\)", (guest.HERE / "tests").read_text(encoding="utf-8"), re.M)
# $AURIGA_GUEST_TESTS: only these. Most need what those before them have bound and attached.
NAMES = os.environ.get("AURIGA_GUEST_TESTS", " ".join(NAMES)).split()
BUILD = Path(os.environ.get("AURIGA_BUILD", guest.HERE.parent.parent / "build")).resolve()


@pytest.fixture(scope="session", name="machine")
def fixture_machine():
    """The guest, which has begun to run."""
    with tempfile.TemporaryDirectory(prefix="au-guest-") as folder:
        machine = guest.Guest(BUILD, Path(folder),
                              int(os.environ.get("AURIGA_GUEST_SECONDS", "420")), NAMES)
        yield machine
        machine.stop()


@pytest.mark.parametrize("name", NAMES)
def test_in_guest(machine, name):
    """The verdict, with what was said since the test before."""
    end = machine.wait_for(rf"(not )?ok {name}")
    if end is None:
        pytest.fail(f"no word of it: {machine.over}; the console's end:\n" +
                    "\n".join(machine.lines[-40:]), pytrace=False)
    if machine.lines[end - 1] == f"ok {name}":
        return
    begin = end - 1
    while begin and not re.match(r"(not )?ok ", machine.lines[begin - 1]):
        begin -= 1
    pytest.fail("\n".join(machine.lines[begin:end]), pytrace=False)


def test_guest_came_to_its_end(machine):
    """All tests ran, and nothing else did."""
    assert machine.wait_for(r"# done .*"), machine.over + "\n" + "\n".join(machine.lines[-40:])
    said = [line for line in machine.lines if re.match(r"(not )?ok \w+", line)]
    assert len(said) == len(NAMES), said
