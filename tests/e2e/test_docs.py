# SPDX-License-Identifier: MIT
"""What the documents show is run: the README's tour on a build, the tutorial on an installation."""

import os
import re
import subprocess

import pytest

from conftest import ROOT
from page import run_page


def test_the_tour_of_the_readme_works(build, rundir):
    (rundir / "build").symlink_to(build)
    # /usr/bin first: its python3 is the one that has pyserial.
    ran = run_page("README.md", rundir, {"PATH": f"/usr/bin:{os.environ['PATH']}"})
    assert ran >= 7


@pytest.fixture
def environment(installed, tmp_path):
    """As if it were installed where it is: the .pc files say so, and ldconfig has been run."""
    for pc in (installed / "lib/pkgconfig").glob("*.pc"):
        text = re.sub(r"^prefix=.*", f"prefix={installed}", pc.read_text(encoding="utf-8"),
                      flags=re.M)
        (tmp_path / pc.name).write_text(text, encoding="utf-8")
    return {
        "PATH": f"{installed}/bin:{os.environ['PATH']}",
        "PKG_CONFIG_PATH": str(tmp_path),
        "LD_LIBRARY_PATH": f"{installed}/lib",
    }


# ------------------------------------------------------------------- an installation


def test_each_step_of_the_tutorial_works(environment, rundir):
    assert run_page("docs/writing-a-driver.md", rundir, environment) >= 14


def test_programs_and_drivers_are_built_against_an_installation(installed, tmp_path):
    """One in a staging directory, by PKG_CONFIG_SYSROOT_DIR, as packages are built."""
    prefix = re.search(r"^prefix=(\S+)", (installed / "lib/pkgconfig/auriga.pc").read_text(), re.M)
    env = {**os.environ, "PKG_CONFIG_PATH": str(installed / "lib/pkgconfig"),
           "PKG_CONFIG_SYSROOT_DIR": str(installed).removesuffix(prefix.group(1))}
    for command in (f"cc -o say {ROOT}/examples/serial-say.c $(pkg-config --cflags --libs auriga)",
                    f"cc -shared -o serial-loop.so {ROOT}/drivers/serial-loop/serial-loop.c "
                    "$(pkg-config --cflags --libs auriga-driver)"):
        subprocess.run(command, shell=True, cwd=tmp_path, env=env, check=True, timeout=30)
    out = subprocess.run([tmp_path / "say", "inproc:serial-loop", "hello"], check=True, text=True,
                         capture_output=True, timeout=30,
                         env={"LD_LIBRARY_PATH": f"{installed}/lib",
                              "AURIGA_DRIVER_PATH": str(tmp_path)}).stdout
    assert out == "hello\n"


def test_an_installation_is_complete(installed):
    """What the documents promise, and what their pages point to."""
    for name in ("bin/auriga", "bin/aurigad", "bin/auriga-host", "bin/auriga-lab",
                 "lib/libauriga.so", "lib/libauriga-framework.so",
                 "include/auriga/auriga.h", "include/auriga/driver.h", "include/auriga/serial.h",
                 "include/auriga/raw.h", "lib/pkgconfig/auriga.pc",
                 "lib/pkgconfig/auriga-driver.pc", "lib/auriga/drivers/uart16550.so",
                 "lib/systemd/system/aurigad.service", "lib/sysusers.d/auriga.conf",
                 "lib/systemd/system-sleep/auriga",
                 "share/auriga/machines/serial.conf", "share/man/man1/auriga.1",
                 "share/man/man1/auriga-lab.1", "share/man/man8/aurigad.8",
                 "share/man/man8/auriga-host.8"):
        assert (installed / name).exists(), name
    unit = (installed / "lib/systemd/system/aurigad.service").read_text(encoding="utf-8")
    assert re.search(r"^ExecStart=/\S+/aurigad --foreground$", unit, re.M)


def test_installed_programs_find_their_own(installed):
    """Wherever the tree was moved to: no library path, no driver path."""
    out = subprocess.run([installed / "bin/auriga", "drivers"], env={}, capture_output=True,
                         text=True, timeout=20, check=True).stdout
    assert "uart16550" in out and "serial-loop" in out


@pytest.mark.parametrize("words", [
    *(("auriga", c) for c in ("ls", "info", "attach", "detach", "why", "drivers", "restart", "upgrade", "hold",
                              "crash", "trace", "why-stuck", "export", "bench")),
    ("auriga", "export", "x", "pty"), ("auriga", "bench", "recovery"), ("auriga", "lab"),
    *(("auriga", "lab", c) for c in ("up", "ls", "down", "fault")),
    *(("auriga-lab", c) for c in ("up", "ls", "down", "fault")),
    ("auriga",), ("auriga-lab",), ("aurigad",), ("auriga-host",)], ids=" ".join)
def test_everything_answers_help(build, words):
    for option in ("--help", "-h") if words[0] in ("auriga", "auriga-lab") else ("--help",):
        done = subprocess.run([build / "bin" / words[0], *words[1:], option], text=True,
                              capture_output=True, timeout=20, check=False)
        assert done.returncode == 0 and not done.stderr, (done.returncode, done.stderr)
        for word in words:
            assert word in done.stdout or word == "x", done.stdout


@pytest.mark.parametrize("page", ["auriga.1", "auriga-lab.1", "auriga-host.8", "aurigad.8"])
def test_pages_name_every_option_of_their_program(build, page):
    """An option that --help shows is in the manual."""
    text = (ROOT / "docs/man" / page).read_text(encoding="utf-8")
    if page == "auriga.1":
        usage = subprocess.run([build / "bin/auriga", "--help"], capture_output=True, text=True,
                               timeout=20, check=True).stdout
        commands = re.findall(r"^  ([a-z-]+) ", usage, re.M)
        assert len(commands) >= 12
        for command in commands:
            if command == "lab":
                continue
            assert re.search(rf"^\.It Cm {command}\b", text, re.M), command
            usage += subprocess.run([build / "bin/auriga", command, "--help"], text=True,
                                    capture_output=True, timeout=20, check=True).stdout
    else:
        usage = subprocess.run([build / "bin" / page.split(".")[0], "--help"], text=True,
                               capture_output=True, timeout=20, check=False).stdout
    for option in set(re.findall(r"--([a-z][a-z-]+)", usage)):
        assert re.search(rf"Fl -{option}\b", text), f"--{option} is not in {page}"
