# SPDX-License-Identifier: MIT
"""Documents that are run as they stand.

In a page, ```sh run``` blocks are run in order by one shell; ```c file=NAME``` blocks are written to
files; ```text expect``` blocks say what the block before them prints, where "..." stands for
anything within a line, and any white space is as good as another.
"""

import os
import re
import subprocess

from conftest import ROOT

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.M | re.S)


def _script(text):
    """The page as a shell script, and for each run block the lines that it is to print."""
    script, expected = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"], []
    for language, info, body in FENCE.findall(text):
        named = re.search(r"file=(\S+)", info)
        same = re.search(r"same-as=(\S+)", info)
        if named and same:
            script.append(f"cp {ROOT / same.group(1)} {named.group(1)}")
        elif named:
            script.append(f"cat > {named.group(1)} <<'END_OF_FILE'\n{body}END_OF_FILE")
        elif language == "sh" and "run" in info.split():
            expected.append([])
            script.append(f"echo '--- run {len(expected)}'\n{body}")
        elif language == "text" and "expect" in info.split():
            expected[-1].extend(line for line in body.splitlines() if line.strip())
    return "\n".join(script), expected


def _printed(line, output):
    pattern = re.escape(" ".join(line.split())).replace(re.escape("..."), ".*")
    return any(re.fullmatch(pattern, " ".join(said.split())) for said in output.splitlines())


def run_page(page, cwd, env, timeout=50):
    """Run a page in @cwd. Returns how many blocks were run."""
    script, expected = _script((ROOT / page).read_text(encoding="utf-8"))
    # A file rather than a pipe: what a page leaves running in the background holds its output.
    with open(cwd / "output", "w+", encoding="utf-8") as out:
        done = subprocess.run(["bash", "-c", script], cwd=cwd, env={**os.environ, **env},
                              stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              timeout=timeout, check=False)
        out.seek(0)
        text = out.read()
    assert done.returncode == 0, text
    sections = re.split(r"^--- run \d+\n", text, flags=re.M)[1:]
    assert len(sections) == len(expected)
    for section, lines in zip(sections, expected):
        for line in lines:
            assert _printed(line, section), f"'{line}' is not in:\n{section}"
    return len(sections)
