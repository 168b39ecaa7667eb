# SPDX-License-Identifier: MIT
"""scripts/test itself: it counts what ran, and nothing can make it quietly pass."""

import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("runner", str(ROOT / "scripts/test"))
runner = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
loader.exec_module(runner)

CMOCKA_GOOD = """\
[==========] Running 2 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[       OK ] two
[==========] 2 test(s) run.
[  PASSED  ] 2 test(s).
"""
# One test each that passes, fails, is skipped, and whose setup fails.
CMOCKA_BAD = """\
[==========] Running 4 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[  FAILED  ] two
[ RUN      ] three
[  SKIPPED ] three
[ RUN      ] four
[==========] 4 test(s) run.
[  ERROR   ] --- 0x1 != 0x2
Could not run test: Test setup failed
[  ERROR   ] four
[  PASSED  ] 1 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] three

 1 SKIPPED TEST(S)
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] two

 2 FAILED TEST(S)
"""


@pytest.mark.parametrize("output, status, counts", [
    (CMOCKA_GOOD, 0, (2, 0, 0)),
    (CMOCKA_GOOD + CMOCKA_GOOD, 0, (4, 0, 0)),
    (CMOCKA_BAD, 2, (1, 2, 1)),
    ("[       OK ] one\nSegmentation fault\n", 139, (1, 1, 0)),
    (CMOCKA_GOOD + "==1==ERROR: LeakSanitizer\n", 1, (2, 1, 0)),
    ("model: checked\n12 passed, 0 failed\n", 0, (12, 0, 0)),
    ("12 passed, 3 failed\n", 1, (12, 3, 0)),
    ("12 passed, 0 failed\n", 1, (12, 1, 0)),
    ("anything\n", 0, (1, 0, 0)),
    ("anything\n", 3, (0, 1, 0)),
])
def test_count(output, status, counts):
    assert runner.count(output, status) == counts


def suite(run, limit=60, tools=()):
    """A suite of one function."""
    return runner.Suite("fixture", limit, "a fixture", run, list(tools))


def test_suite_that_passes(capsys):
    assert runner.run_suite(suite(lambda deadline: runner.Result(3, 0, 0))) == (3, 0, 0)
    assert "3 of 3 passed" in capsys.readouterr().out


def test_suite_without_tests_fails(capsys):
    assert runner.run_suite(suite(lambda deadline: runner.Result(0, 0, 2))).failed == 1
    assert "ran no test" in capsys.readouterr().out


def test_suite_without_its_tool_fails(capsys):
    result = runner.run_suite(suite(lambda deadline: runner.Result(1, 0, 0), tools=["no-such"]))
    assert result.failed == 1
    assert "no-such not found" in capsys.readouterr().out


def test_suite_over_its_limit_fails():
    def slow(_):
        time.sleep(0.2)
        return runner.Result(1, 0, 0)
    assert runner.run_suite(suite(slow, limit=0.1)).failed == 1


def test_program_that_hangs_is_killed():
    start = time.monotonic()
    status, output = runner.run(["/bin/bash", "-c", "echo begun; exec sleep 60"], start + 1)
    assert (status, output) == (124, "begun\n")
    assert time.monotonic() - start < 10


def test_process_left_behind_is_found_and_ended(tmp_path, capsys):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/lingering"
    shutil.copy("/bin/sleep", program)
    before = runner.processes(tmp_path)
    assert before == {}
    with subprocess.Popen([program, "60"]) as child:
        assert runner.processes(tmp_path) == {child.pid: "lingering"}
        assert runner.left_behind(tmp_path, {child.pid: "lingering"}) == 0
        assert runner.left_behind(tmp_path, before) == 1
        assert f"lingering ({child.pid})" in capsys.readouterr().out
