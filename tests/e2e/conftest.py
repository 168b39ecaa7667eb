# SPDX-License-Identifier: MIT
"""What all end-to-end tests share: the programs of one build and a runtime directory each."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def build():
    """The build directory under test."""
    return Path(os.environ.get("AURIGA_BUILD", ROOT / "build")).resolve()


@pytest.fixture
def rundir(monkeypatch):
    """A private AURIGA_RUNTIME_DIR, short enough for sockets, gone after the test."""
    path = Path(tempfile.mkdtemp(prefix="au-"))
    monkeypatch.setenv("AURIGA_RUNTIME_DIR", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def auriga(build, rundir):
    """auriga("ls", "--json"): run the command line tool to its end."""
    def run(*arguments, **options):
        options = {"capture_output": True, "text": True, "timeout": 30, **options}
        return subprocess.run([build / "bin/auriga", *map(str, arguments)], check=False, **options)
    return run
