# SPDX-License-Identifier: MIT
"""docs/writing-a-driver.md: every step of it is run as it stands."""

import os
import re
import shutil
import subprocess

from conftest import ROOT

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.M | re.S)


def test_each_step_of_the_tutorial_works(build, tmp_path, rundir):
    text = (ROOT / "docs/writing-a-driver.md").read_text(encoding="utf-8")
    work = rundir  # short, for its sockets
    pc = tmp_path / "pkgconfig"
    pc.mkdir()
    # The file that would be installed, with the places of the build under test.
    text_pc = (build / "meson-private/auriga-driver.pc").read_text(encoding="utf-8")
    text_pc = re.sub(r"(?m)^includedir=.*", f"includedir={ROOT}/include", text_pc)
    text_pc = re.sub(r"(?m)^libdir=.*", f"libdir={build}/src/framework", text_pc)
    (pc / "auriga-driver.pc").write_text(text_pc, encoding="utf-8")
    env = {**os.environ, "PKG_CONFIG_PATH": str(pc),
           "PATH": f"{build}/bin:{build}/examples:{os.environ['PATH']}"}
    env.pop("AURIGA_RUNTIME_DIR", None)
    script, ran, expected = ["set -e"], 0, []
    for language, info, body in FENCE.findall(text):
        named = re.search(r"file=(\S+)", info)
        same = re.search(r"same-as=(\S+)", info)
        if named and same:
            script.append(f"cp {ROOT / same.group(1)} {named.group(1)}")
        elif named:
            script.append(f"cat > {named.group(1)} <<'END_OF_FILE'\n{body}END_OF_FILE")
        elif language == "sh" and "run" in info:
            ran += 1
            script.append(f"echo '--- run {ran}'\n{body}")
            expected.append([])
        elif language == "text" and "expect" in info:
            expected[-1].extend(body.strip().splitlines())
    assert ran >= 7
    # Whatever happens, the manager that the page starts is ended.
    script.insert(0, "trap 'test -f aurigad.pid && kill $(cat aurigad.pid) 2>/dev/null || true' EXIT")
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=work, env=env, text=True,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sections = re.split(r"^--- run \d+\n", done.stdout, flags=re.M)[1:]
    assert len(sections) == ran
    for section, lines in zip(sections, expected):
        for line in lines:
            assert line in section, f"'{line}' is not in:\n{section}"
    shutil.rmtree(work, ignore_errors=True)
