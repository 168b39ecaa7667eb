# SPDX-License-Identifier: MIT
"""The driver store: several versions, what is chosen and when, and whose drivers are run."""

import json
import os
import shutil
import subprocess

import pytest

from rig import kill_host
from torture import Shell

ECHO, COUNT = 16, 18

pytestmark = pytest.mark.usefixtures("drivers_of_tests")


def config(rig, text="", keys=()):
    """A configuration directory, with a store of its own."""
    folder = rig.rundir / "etc"
    (folder / "keys.d").mkdir(parents=True, exist_ok=True)
    (folder / "aurigad.conf").write_text(f"[drivers]\nstore = {rig.rundir}/store\n{text}")
    for key in keys:
        shutil.copy(f"{key}.pub", folder / "keys.d")
    return folder


def frail(rig, kind=None):
    """A version of t-frail as a file that may be installed. Returns its path."""
    folder = rig.rundir / f"from-{kind}"
    folder.mkdir(exist_ok=True)
    path = folder / "t-frail.so"
    shutil.copy(rig.build / (f"tests/t-frail-{kind}.twin" if kind else "tests/t-frail.so"), path)
    return path


def key(rig, name):
    path = rig.rundir / name
    rig.auriga("drivers", "keygen", path)
    return path


def drivers(rig, name="t-frail"):
    """What there is of that name, the best first."""
    rows = json.loads(rig.auriga("drivers", "--json").stdout)
    return [(r.get("version"), r["stored"]) for r in rows if r["name"] == name]


def attach(rig, name="frail0", *words):
    rig.auriga("attach", "virtual", "--driver", "t-frail", "--name", name, *words)
    return name


def version(rig, name="frail0"):
    return rig.info(name)["driver_version"]


def refused(rig, *words):
    done = rig.auriga(*words, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    return done.stderr


def install(rig, path, *words):
    return json.loads(rig.auriga("drivers", "install", "--json", *words, path).stdout)


def test_versions_side_by_side(rig):
    rig.manager("--config", config(rig))
    assert drivers(rig) == [("1.0", False)]
    said = install(rig, frail(rig, "2"))
    assert said["version"] == "2.0" and said["signature"] == "not signed" and said["devices"] == []
    assert said["path"] == f"{rig.rundir}/store/t-frail-2.0/t-frail.so"
    install(rig, frail(rig))
    install(rig, frail(rig, "retain"))
    assert drivers(rig) == [("2.6", True), ("2.0", True), ("1.0", True), ("1.0", False)]
    assert version(rig, attach(rig)) == "2.6"
    shown = json.loads(rig.auriga("drivers", "show", "--json", "t-frail").stdout)
    assert shown["version"] == "2.6" and [o["version"] for o in shown["others"]] == ["2.0", "1.0", "1.0"]
    assert "2.6" in rig.auriga("drivers", "show", "t-frail").stdout
    assert "t-frail" in rig.auriga("drivers", "t-frail").stdout
    # The one that runs stays, unless it has to go; the device goes on with its copy, dead or alive.
    assert "runs frail0" in refused(rig, "drivers", "remove", "t-frail=2.6")
    rig.auriga("drivers", "remove", "--force", "t-frail=2.6")
    assert drivers(rig) == [("2.0", True), ("1.0", True), ("1.0", False)]
    generation = rig.row("frail0")["generation"]
    kill_host(rig, "frail0")
    rig.wait_for(lambda: rig.row("frail0")["generation"] > generation and
                 rig.row("frail0")["state"] == "running", 10, "restart")
    assert version(rig) == "2.6"
    answer = json.loads(rig.auriga("drivers", "remove", "--json", "t-frail").stdout)
    assert sorted(answer["removed"]) == ["1.0", "2.0"]
    assert not os.listdir(rig.rundir / "store")
    assert "no driver t-frail" in refused(rig, "drivers", "remove", "t-frail")


def test_what_cannot_be_installed(rig):
    """Nothing of it is left in the store."""
    rig.manager("--config", config(rig))
    text = rig.rundir / "text.so"
    text.write_text("no driver")
    fifo = rig.rundir / "fifo.so"
    os.mkfifo(fifo)
    cut = frail(rig, "2")
    cut.write_bytes(cut.read_bytes()[:3000])
    for path, why in [(text, "ELF"), (fifo, "regular file"), (rig.rundir, "regular file"), (cut, "cut off")]:
        assert why in refused(rig, "drivers", "install", path)
    assert "No such file" in refused(rig, "drivers", "install", rig.rundir / "nothing.so")
    good = frail(rig)
    assert "No such file" in refused(rig, "drivers", "install", "--signature", rig.rundir / "x.sig", good)
    (rig.rundir / "s.sig").write_text("auriga-signature ed25519 nothing\n")
    assert "wrong" in refused(rig, "drivers", "install", "--signature", rig.rundir / "s.sig", good)
    for words in (["remove", "../.."], ["remove", "t-frail"], ["remove", "t-frail=../x"]):
        refused(rig, "drivers", *words)
    store = rig.rundir / "store"
    assert not store.exists() or not os.listdir(store)
    store.mkdir(exist_ok=True)
    store.chmod(0o777)
    assert "nobody else can write" in refused(rig, "drivers", "install", good)
    store.chmod(0o755)
    install(rig, good)


def test_the_store_outlives_managers(rig):
    folder = config(rig)
    manager = rig.manager("--config", folder)
    install(rig, frail(rig, "2"))
    (rig.rundir / "store/.new").mkdir()  # as one that died in the middle leaves behind
    (rig.rundir / "store/.new/t-frail.so").write_text("half")
    attach(rig)
    manager.kill()
    rig.stop(manager)
    (rig.rundir / "control.sock").unlink()
    manager = rig.manager("--config", folder)
    assert version(rig) == "2.0" and rig.row("frail0")["generation"] == 1
    assert drivers(rig) == [("2.0", True), ("1.0", False)]
    rig.auriga("detach", "frail0")
    rig.stop(manager)
    rig.manager("--config", folder)
    assert drivers(rig) == [("2.0", True), ("1.0", False)]
    install(rig, frail(rig, "late"))
    assert drivers(rig)[0] == ("2.4", True) and os.listdir(rig.rundir / "store").count(".new") == 0


@pytest.mark.parametrize("policy", ["unused", "live", "never"])
def test_a_better_one_comes(rig, policy):
    """At once where nobody has the device open; otherwise as its policy says."""
    rig.manager("--config", config(rig))
    used = attach(rig, "used", "--policy", f"upgrade={policy}")
    unused = attach(rig, "unused", "--policy", f"upgrade={policy}")
    client = Shell(rig, used)
    client.submit(ECHO, 5)
    client.wait(5)
    client.ask("forget")
    said = install(rig, frail(rig, "2"))
    assert sorted(said["devices"]) == {"unused": [unused], "live": [unused, used], "never": []}[policy] or \
        policy == "live" and sorted(said["devices"]) == sorted([used, unused])
    for name in said["devices"]:
        rig.wait_for(lambda n=name: rig.row(n)["state"] == "running" and
                     rig.info(n)["upgrade"]["result"] == "replaced", 10, "the upgrade")
        assert version(rig, name) == "2.0"
    if policy != "live":
        assert version(rig, used) == "1.0"
        rig.auriga("restart", used)
        assert version(rig, used) == ("1.0" if policy == "never" else "2.0")
    client.submit(COUNT)
    assert client.wait(5)["requests"][0]["result"] == 5, "what it retained"
    assert client.end() == 0
    rig.auriga("upgrade", used)
    assert version(rig, used) == "2.0"


def test_one_that_does_not_fit_what_is_retained(rig):
    """It stays away from a device whose memory it could not take, and says so."""
    rig.manager("--config", config(rig))
    name = attach(rig, "frail0", "--policy", "upgrade=live")
    client = Shell(rig, name)
    assert install(rig, frail(rig, "retain"))["devices"] == []
    assert version(rig) == "1.0" and "--fresh" in rig.log()
    rig.auriga("restart", name)
    assert version(rig) == "1.0"
    assert client.end() == 0


def test_a_generic_one_gives_way(rig, start):
    """By class, until one comes that names the device."""
    rig.manager("--config", config(rig))
    controller = start("--size", "8M")
    address = f"vfio-user:{controller.path}"
    name = rig.auriga("attach", "--name", "disk0", address).stdout.strip()
    why = json.loads(rig.auriga("why", "--json", name).stdout)
    assert why["candidates"][0]["driver"] == "nvme" and why["candidates"][0]["match"] == "class"
    assert install(rig, rig.build / "tests/t-exact.twin")["devices"] == [name]
    rig.wait_for(lambda: rig.row(name)["driver"] == "t-exact" and rig.row(name)["state"] == "running", 10,
                 "the better one")
    why = json.loads(rig.auriga("why", "--json", name).stdout)
    best = why["candidates"][0]
    assert best["driver"] == "t-exact" and best["match"] == "exact" and best["chosen"]
    assert best["path"].startswith(str(rig.rundir / "store")) and "signature" not in best
    rig.auriga("block", "write", name, input="x" * 512)
    assert rig.auriga("block", "read", "--length", "512", name).stdout == "x" * 512


# -------------------------------------------------------------------------- signatures

def test_signed_before_higher(rig):
    ann = key(rig, "ann")
    rig.manager("--config", config(rig, keys=[ann]))
    install(rig, frail(rig, "retain"))  # 2.6
    signed = frail(rig, "2")
    rig.auriga("drivers", "sign", "--key", ann, signed)
    assert install(rig, signed)["signature"] == "signed by ann"
    assert drivers(rig)[:2] == [("2.0", True), ("2.6", True)]
    assert version(rig, attach(rig)) == "2.0"
    assert rig.info("frail0")["driver_signature"] == "signed by ann"


def test_require(rig):
    """Unsigned, by a stranger, changed afterwards: not run, and each is told why."""
    ann, eve = key(rig, "ann"), key(rig, "eve")
    manager = rig.manager("--config", config(rig, "signatures = require\n", keys=[ann]))
    assert "not signed" in refused(rig, "attach", "virtual", "--driver", "t-frail")
    assert "not signed" in refused(rig, "drivers", "install", frail(rig, "2"))
    strange = frail(rig, "late")
    rig.auriga("drivers", "sign", "--key", eve, strange)
    assert "a key that is not known" in refused(rig, "drivers", "install", strange)
    changed = frail(rig, "retain")
    rig.auriga("drivers", "sign", "--key", ann, changed)
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    assert "signature is wrong" in refused(rig, "drivers", "install", changed)
    assert not (rig.rundir / "store").exists() or not os.listdir(rig.rundir / "store")
    good = frail(rig)
    rig.auriga("drivers", "sign", "--key", ann, good)
    install(rig, good)
    name = attach(rig)
    assert rig.info(name)["driver_path"].startswith(str(rig.rundir / "store"))
    pid = rig.row(name)["pid"]
    for path, why in [(frail(rig, "2"), "not signed"), (strange, "not known"), (changed, "wrong")]:
        assert why in refused(rig, "upgrade", name, path)
    assert rig.row(name)["pid"] == pid
    signed = frail(rig, "2")
    moved = rig.rundir / "elsewhere.sig"
    rig.auriga("drivers", "sign", "--key", ann, signed)
    shutil.move(f"{signed}.sig", moved)
    assert install(rig, signed, "--signature", moved)["devices"] == [name]
    rig.wait_for(lambda: version(rig) == "2.0" and rig.row(name)["state"] == "running", 10, "the upgrade")
    # In the store it is changed by hand: what runs is a copy; the file is not taken any more.
    path = rig.rundir / "store/t-frail-2.0/t-frail.so"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "signature is wrong" in refused(rig, "upgrade", name, path)
    rig.auriga("detach", name)
    name = attach(rig)
    assert version(rig) == "1.0"
    # The key is taken away.
    rig.stop(manager)
    (rig.rundir / "etc/keys.d/ann.pub").unlink()
    rig.manager("--config", rig.rundir / "etc")
    assert "a key that is not known" in refused(rig, "attach", "virtual", "--driver", "t-frail")


def test_warn_and_keys_of_others(rig):
    ann = key(rig, "ann")
    folder = config(rig, "signatures = warn\n", keys=[ann])
    (folder / "keys.d/ann.pub").chmod(0o666)
    (folder / "keys.d/text.pub").write_text("not a key\n")
    rig.manager("--config", folder)
    signed = frail(rig)
    rig.auriga("drivers", "sign", "--key", ann, signed)
    assert "not known" in install(rig, signed)["signature"]
    assert "others can write to it" in rig.log() and "this key is left out" in rig.log()
    attach(rig)
    assert "is run, and is signed by a key that is not known" in rig.log()
    (folder / "keys.d/ann.pub").chmod(0o644)
    assert install(rig, signed)["signature"] == "signed by ann"


def test_settings_that_make_no_sense(rig):
    for text, why in [("[drivers]\nsignatures = maybe\n", "require, warn or off"),
                      ("[drivers]\nstore = here\n", "whole path"), ("[drivers]\ncolour = red\n", "unknown key"),
                      ("[things]\na = b\n", "unknown section"), ("what\n", "neither")]:
        folder = config(rig)
        (folder / "aurigad.conf").write_text(text)
        done = rig.run("aurigad", "--foreground", "--config", folder, check=False)
        assert done.returncode == 1 and why in done.stderr and "aurigad.conf:" in done.stderr, done
    done = rig.run("aurigad", "--signatures", "perhaps", check=False)
    assert done.returncode == 1 and "require, warn or off" in done.stderr


def test_only_its_own_user_installs(rig):
    """A member of the group may restart devices, but not say what code there is."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    rig.manager("--config", config(rig))
    path = frail(rig, "2")
    attach(rig)
    rig.rundir.chmod(0o755)
    (rig.rundir / "control.sock").chmod(0o666)
    for words in (["drivers", "install", path], ["drivers", "remove", "t-frail"], ["upgrade", "frail0", path]):
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               rig.build / "bin/auriga", "--runtime-dir", rig.rundir, *words],
                              capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1 and "only the manager's own user" in done.stderr, done
    assert drivers(rig) == [("1.0", False)] and version(rig) == "1.0"


def test_full_store(rig):
    """It says so, and what was there is there."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = config(rig)
    store = rig.rundir / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "auriga", store], check=True)
    try:
        rig.manager("--config", folder)
        install(rig, frail(rig))
        with open(store / "ballast", "wb", buffering=0) as f, pytest.raises(OSError):
            while True:
                f.write(bytes(4096))
        assert "No space left" in refused(rig, "drivers", "install", frail(rig, "2"))
        assert drivers(rig) == [("1.0", True), ("1.0", False)]
        (store / "ballast").unlink()
        install(rig, frail(rig, "2"))
    finally:
        for manager in list(rig.managers):
            rig.stop(manager)
        subprocess.run(["umount", "-l", store], check=True)
