# SPDX-License-Identifier: MIT
"""What all end-to-end tests share: the programs of one build and a runtime directory each."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from nvme_host import Controller
from rig import Rig

ROOT = Path(__file__).resolve().parent.parent.parent


def pytest_make_parametrize_id(val):
    """Bytes are told by their length: the same name in every run, whatever is in them."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def build():
    """The build directory under test."""
    return Path(os.environ.get("AURIGA_BUILD", ROOT / "build")).resolve()


@pytest.fixture(scope="session")
def installed(build, tmp_path_factory):
    """The prefix of an installation of that build, in a staging directory."""
    stage = tmp_path_factory.mktemp("stage")
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", stage],
                   check=True, capture_output=True, timeout=50)
    pc = next(stage.rglob("auriga.pc"))
    return pc.parent.parent.parent


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


@pytest.fixture
def drivers_of_tests(build, monkeypatch):
    """Drivers are looked for among those of tests, too."""
    monkeypatch.setenv("AURIGA_DRIVER_PATH", f"{build}/tests:{build}/drivers")


@pytest.fixture
def rig(build, rundir):
    """The build's programs in a runtime directory; what it starts ends with it."""
    r = Rig(build, rundir)
    yield r
    r.close()


@pytest.fixture
def start(rundir):
    """start(arguments...): a controller with these."""
    running = []

    def run(*args):
        running.append(Controller(rundir, *args).__enter__())
        return running[-1]
    yield run
    for controller in running:
        controller.__exit__()
