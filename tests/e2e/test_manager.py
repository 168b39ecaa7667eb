# SPDX-License-Identifier: MIT
"""The manager: its control API, its devices' lives, and everybody's deaths, its own included."""

import http.client
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from crowd import Watch, starved, wait_for

HOST_ENDED = 2.0  # seconds within which a dead or hung host is replaced


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("auriga", timeout=40)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(40)
        self.sock.connect(self.path)


class Refused(Exception):
    def __init__(self, status, answer):
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.text = answer.get("error", "") if isinstance(answer, dict) else str(answer)


class Manager:
    """aurigad in the foreground, in a private runtime directory."""

    def __init__(self, build, rundir, *args, drivers=(), user=None, config=None):
        self.build, self.rundir, self.args = build, Path(rundir), args
        self.config = config or self.rundir / "no-config"
        self.log_path = self.rundir.parent / (self.rundir.name + ".log")
        self.env = dict(os.environ, AURIGA_RUNTIME_DIR=str(rundir), AURIGA_LOG="info",
                        AURIGA_DRIVER_PATH=":".join(map(str, [*drivers, build / "tests",
                                                              build / "drivers"])))
        self.user = user
        self.process = None
        self.clients = []

    def prefix(self):
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] \
            if self.user else []

    def start(self, expect=True):
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            [*self.prefix(), self.build / "bin/aurigad", "--foreground", "--runtime-dir", self.rundir,
             "--config", self.config, *self.args], stderr=log, env=self.env)
        log.close()
        if expect:
            wait_for(lambda: self.answers() or self.process.poll() is not None, 10, "aurigad")
            assert self.process.poll() is None, self.log()
        return self

    def answers(self):
        try:
            self.get("/v1/devices")
            return True
        except OSError:
            return False

    def call(self, method, path, body=None):
        connection = Connection(self.rundir / "control.sock")
        try:
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read().decode()
            value = json.loads(text) if "json" in answer.getheader("Content-Type") else text
            if answer.status >= 300:
                raise Refused(answer.status, value)
            return value
        finally:
            connection.close()

    def get(self, path):
        return self.call("GET", path)

    def attach(self, driver="t-echo", address="virtual", **more):
        return self.call("POST", "/v1/devices", {"driver": driver, "address": address, **more})

    def detach(self, name, force=False):
        return self.call("DELETE", f"/v1/devices/{name}" + ("?force=1" if force else ""))

    def info(self, name):
        return self.get(f"/v1/devices/{name}")

    def row(self, name):
        for row in self.get("/v1/devices"):
            if row["name"] == name:
                return row
        return None

    def state(self, name):
        return (self.row(name) or {}).get("state")

    def client(self, unit, *args):
        """unit_load, once it has the unit open; its report by .report()."""
        child = Client([*self.prefix(), self.build / "tests/unit_load", unit, *map(str, args)],
                       env=self.env, stdout=subprocess.PIPE, text=True)
        self.clients.append(child)
        return child.begin()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        for child in self.clients:
            if child.poll() is None:
                child.kill()
            child.wait()
            child.stdout.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
            assert self.process.returncode == 0, self.log()
        log = self.log() if self.log_path.exists() else ""
        assert "Sanitizer" not in log and "runtime error" not in log, log

    def log(self):
        return self.log_path.read_text(errors="replace")


class Client(subprocess.Popen):
    def begin(self):
        self.first = self.stdout.readline()
        return self

    def report(self, timeout=30):
        if self.first != "open\n":
            self.wait(timeout)
            return json.loads(self.first)
        self.wait(timeout)
        return json.loads(self.stdout.read().splitlines()[-1])  # events may be told before


def hosts_of(rundir):
    """Pids of the hosts that serve devices of this runtime directory."""
    pids = []
    for path in (Path(rundir) / "state").glob("*.json"):
        pid = json.loads(path.read_text()).get("pid") if path.is_file() else None
        if pid and Path(f"/proc/{pid}").exists():
            pids.append(pid)
    return pids


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def make(build, rundir):
    """make(...): a manager, running; all of them are gone afterwards."""
    managers = []

    def go(*args, start=True, **options):
        manager = Manager(build, options.pop("dir", rundir), *args, **options)
        managers.append(manager)
        return manager.start() if start else manager
    yield go
    pids = [pid for m in managers for pid in hosts_of(m.rundir)]
    for manager in managers:
        manager.stop()
        manager.log_path.unlink(missing_ok=True)
    for pid in pids:
        wait_for(lambda pid=pid: ended(pid), 10, f"host {pid} is gone")


@pytest.fixture
def manager(make):
    return make("--idle", "30")


# ------------------------------------------------------------------- the control API


def test_a_device_comes_and_goes(manager):
    assert manager.get("/v1/devices") == []
    info = manager.attach(name="echo-1")
    assert info["name"] == "echo-1" and info["state"] == "running"
    row = manager.row("echo-1")
    assert {k: row[k] for k in ("class", "driver", "bus", "address", "placement", "state",
                                "generation", "restarts")} == \
        {"class": "raw", "driver": "t-echo", "bus": "virtual", "address": "virtual",
         "placement": "process", "state": "running", "generation": 1, "restarts": 0}
    pid = row["pid"]
    assert "auriga-host" in Path(f"/proc/{pid}/comm").read_text()
    assert (manager.rundir / "dev/echo-1").is_socket()
    assert (manager.rundir / "dev/echo-1.0").resolve() == (manager.rundir / "dev/echo-1").resolve()
    info = manager.info("echo-1.0")
    assert {layer["name"] for layer in info["sandbox"]} >= {"seccomp", "landlock", "uid"}
    assert info["host"]["history"] and info["history"] and info["budget"]["tokens"] == 5
    assert manager.attach()["name"] == "raw0"
    assert manager.attach()["name"] == "raw1"
    assert manager.detach("echo-1") == {"name": "echo-1"}
    assert manager.row("echo-1") is None
    assert not list((manager.rundir / "dev").glob("echo-1*"))
    assert not list((manager.rundir / "state").glob("echo-1*"))
    assert not list((manager.rundir / "hosts").glob("echo-1*"))
    wait_for(lambda: ended(pid), 5, "its host")
    assert manager.attach()["name"] == "raw2"


def test_info_with_many_clients(manager):
    """What the host says of its channels fits, and tells nobody how to take one over."""
    manager.attach()
    clients = [connect(manager, "raw0") for _ in range(190)]
    for client in clients:
        client.send(hello())
    fds = [fd for client in clients for fd in socket.recv_fds(client, 4096, 4)[1]]
    info = manager.info("raw0")
    host = info["host"]
    assert info["clients"] == 190 and host["history"]
    assert len(host["channels"]) + host["channels_left_out"] == 190
    assert len(host["channels"]) >= 32 and "requests" in host["channels"][0]
    assert "token" not in json.dumps(host)
    # A manager that comes after this one is told of all of them.
    manager.kill()
    manager.start()
    wait_for(lambda: manager.state("raw0") == "running", 5, "re-adoption")
    host = manager.info("raw0")["host"]
    assert host["generation"] == 1 and len(host["channels"]) + host["channels_left_out"] == 190
    for client in clients:
        client.close()
    for fd in fds:
        os.close(fd)


def test_drivers_why_and_metrics(manager):
    drivers = {d["name"]: d for d in manager.get("/v1/drivers")}
    assert drivers["t-echo"]["class"] == "raw" and drivers["t-echo"]["matches"] == ["virtual"]
    assert [p["name"] for p in drivers["t-echo"]["params"]] == ["fail", "units"]
    why = manager.get("/v1/why?address=virtual")
    assert why["chosen"] is None and all(c["reason"] for c in why["candidates"])
    manager.attach()
    # Which of the virtual devices, an address cannot say; a name can.
    assert "device" not in manager.get("/v1/why?address=virtual")
    manager.attach(name="second")
    assert manager.get("/v1/why?address=second")["device"] == "second"
    metrics = manager.get("/metrics")
    assert 'auriga_device_up{device="raw0",driver="t-echo"} 1\n' in metrics
    for line in metrics.splitlines():
        assert line.startswith("# ") or " " in line


@pytest.mark.parametrize("body, part", [
    ({"address": "virtual", "driver": "nope"}, "no driver 'nope'"),
    ({"address": "virtual"}, "needs a driver"),
    ({"driver": "t-echo"}, "address"),
    ({"address": "isa:3f8"}, "isa:3f8"),
    ({"address": "virtual", "driver": "uart16550"}, "needs hardware"),
    ({"address": "virtual", "driver": "t-echo", "params": ["units=9"]}, "units"),
    ({"address": "virtual", "driver": "t-echo", "params": ["colour=red"]}, "colour"),
    ({"address": "virtual", "driver": "t-echo", "params": {"units": "many"}}, "units"),
    ({"address": "virtual", "driver": "t-echo", "params": ["units"]}, "key=value"),
    ({"address": "virtual", "driver": "t-echo", "name": "../../etc"}, "name"),
    ({"address": "virtual", "driver": "t-echo", "name": "first"}, "already"),
    ({"address": "virtual", "driver": "t-echo", "shape": "round"}, "shape"),
    ({"address": "virtual", "driver": "t-echo", "policy": {"idle": -1}}, "idle"),
    ({"address": "virtual", "driver": "t-echo", "placement": "inproc"}, "process"),
    ({"address": "vfio-user:/nowhere/x.sock", "driver": "uart16550"}, "no such socket"),
    ({"address": "vfio-user:/nowhere/x.sock"}, "no such socket"),
    ({"address": "virtual", "driver": "t-echo", "params": ["fail=1"]}, "prepare"),
    ({"address": "virtual", "driver": "t-echo", "params": ["fail=2"]}, "d0"),
    ("{\"address\": ", "JSON"),
    ("[1, 2]", "JSON"),
    ("{\"address\": \"" + "x" * 200 + "\"}", "address"),
    ({"address": "virtual", "driver": ["t-echo"]}, "driver"),
])
def test_bad_requests_get_one_line(manager, body, part):
    manager.attach(name="first")
    with pytest.raises(Refused) as refused:
        manager.call("POST", "/v1/devices", body)
    assert part in refused.value.text and "\n" not in refused.value.text
    assert 400 <= refused.value.status < 600
    # Nothing of it is left, and nothing else is disturbed.
    assert [row["name"] for row in manager.get("/v1/devices")] == ["first"]
    assert manager.row("first")["generation"] == 1
    assert sorted(p.name for p in (manager.rundir / "dev").iterdir()) == ["first", "first.0"]


def test_bad_http(manager):
    for method, path, body, status in [("GET", "/v1/nothing", None, 404),
                                       ("GET", "/v1/devices/none", None, 404),
                                       ("PUT", "/v1/devices/none", None, 404),
                                       ("POST", "/v1/devices", "x" * 70000, 413),
                                       ("GET", "/v1/why", None, 400),
                                       ("GET", "/v1/why?address=" + "x" * 300, None, 400)]:
        with pytest.raises(Refused) as refused:
            manager.call(method, path, body)
        assert refused.value.status == status
    manager.attach()
    for verb, body in [("dance", None), ("restart", {"crash": "yes"}), ("hold", {"on": 1})]:
        with pytest.raises(Refused):
            manager.call("POST", f"/v1/devices/raw0/{verb}", body)
    with pytest.raises(Refused, match="has not died"):
        manager.get("/v1/devices/raw0/crash")
    # Not HTTP at all, and a request that never ends.
    with socket.socket(socket.AF_UNIX) as noise, socket.socket(socket.AF_UNIX) as slow:
        noise.connect(str(manager.rundir / "control.sock"))
        noise.sendall(os.urandom(3000))
        slow.connect(str(manager.rundir / "control.sock"))
        slow.sendall(b"POST /v1/devices HTTP/1.1\r\nContent-Length: 50\r\n\r\n{")
        assert manager.state("raw0") == "running"


def test_files_that_are_no_drivers(make, build, rundir, tmp_path):
    (tmp_path / "text.so").write_text("not a driver\n")
    (tmp_path / "empty.so").write_bytes(b"")
    shutil.copy("/bin/true", tmp_path / "program.so")
    echo = (build / "tests/t-echo.so").read_bytes()
    assert echo.count(b"abi 1\nname t-echo") == 1
    (tmp_path / "future.so").write_bytes(echo.replace(b"abi 1\nname t-echo", b"abi 9\nname t-echo"))
    (tmp_path / "liar.so").write_bytes(echo)
    (tmp_path / "cut.so").write_bytes(echo[:3000])
    manager = make(drivers=[tmp_path])
    listed = {d["name"]: d for d in manager.get("/v1/drivers")}
    for name in ("text", "empty", "program", "future", "liar", "cut"):
        assert listed[name]["error"] and "\n" not in listed[name]["error"]
    for name in ("text", "empty", "program", "future"):
        with pytest.raises(Refused) as refused:
            manager.attach(driver=name)
        assert refused.value.status == 400
    assert manager.get("/v1/devices") == []
    # What only loading it can show is the host's trouble.
    with pytest.raises(Refused):
        manager.attach(driver="cut")
    assert "ABI" in listed["future"]["error"] or "abi" in listed["future"]["error"]
    assert manager.attach()["state"] == "running"


def test_a_driver_by_path_only_for_the_caller_itself(manager, build):
    with pytest.raises(Refused, match="by name") as refused:
        manager.attach(driver=str(build / "tests/t-echo.so"))
    assert refused.value.status == 403


def test_unprivileged_in_a_private_directory(make, build, tmp_path):
    if not os.access(build / "bin/aurigad", os.X_OK) or subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "test", "-x",
             build / "bin/aurigad"], check=False).returncode:
        pytest.skip("nobody cannot reach the build directory")
    private = Path(f"/tmp/au-nobody-{os.getpid()}")
    private.mkdir(mode=0o700)
    os.chown(private, 65534, 65534)
    try:
        manager = make(dir=private, user=65534)
        info = manager.attach()
        assert info["state"] == "running"
        assert {l["name"] for l in info["sandbox"] if l["in_force"]} >= {"seccomp", "no-new-privs"}
        client = manager.client("raw0", "load", 0.5, 4)
        pid = manager.row("raw0")["pid"]
        os.kill(pid, signal.SIGKILL)
        report = client.report()
        assert report["errors"] == 0 and report["completed"] > 0
        manager.stop()
        assert not (private / "control.sock").exists()
    finally:
        shutil.rmtree(private, ignore_errors=True)


# ------------------------------------------------------------------------- starting up


def start_refused(build, *args):
    done = subprocess.run([build / "bin/aurigad", "--foreground", *map(str, args)],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_runtime_directories_that_are_refused(build, tmp_path):
    open_dir = tmp_path / "open"
    open_dir.mkdir()
    open_dir.chmod(0o777)
    assert "others can write" in start_refused(build, "--runtime-dir", open_dir)
    long_dir = tmp_path / ("d" * 100)
    assert "too long" in start_refused(build, "--runtime-dir", long_dir)
    (tmp_path / "file").write_text("")
    assert "not a directory" in start_refused(build, "--runtime-dir", tmp_path / "file")
    sub = tmp_path / "sub"
    (sub / "dev").mkdir(parents=True)
    (sub / "dev").chmod(0o777)
    assert "dev" in start_refused(build, "--runtime-dir", sub)
    assert "--idle" in start_refused(build, "--idle", "soon")
    assert "--uid-range" in start_refused(build, "--uid-range", "7")
    assert "--log-level" in start_refused(build, "--log-level", "loud")


def test_one_manager_a_directory(manager, build):
    manager.attach()
    assert "another aurigad" in start_refused(build, "--runtime-dir", manager.rundir)
    assert manager.state("raw0") == "running"


def test_names_too_long_for_a_socket(make, build, tmp_path):
    deep = tmp_path
    while len(str(deep)) < 78:
        deep = deep / "d"
    deep = Path(str(deep)[:84].rstrip("/"))
    deep.mkdir(parents=True, exist_ok=True)
    manager = make(dir=deep)
    with pytest.raises(Refused, match="too long"):
        manager.attach(name="a-name-of-27-characters-abc")
    assert manager.get("/v1/devices") == []


def test_configured_devices(make, rundir, tmp_path):
    devices = tmp_path / "devices.d"
    devices.mkdir()
    (devices / "good.conf").write_text(
        "[device]\ndriver = t-echo\naddress = virtual\n[params]\nunits = 2\n"
        "[policy]\nidle = 1\nmode = 0600\n")
    (devices / "broken.conf").write_text("[device]\nname = broken\nwhat = ever\n")
    (devices / "driverless.conf").write_text("[device]\naddress = virtual\n")
    (devices / "missing.conf").write_text("[device]\naddress = vfio-user:/nowhere/y\n")
    (devices / "unknown.conf").write_text("[device]\naddress = virtual\ndriver = unknown\n")
    (devices / "ignored.txt").write_text("[[[\n")
    manager = make(config=tmp_path)
    wait_for(lambda: manager.state("good.0") == "running", 5, "good.0")
    assert manager.state("good.1") == "running"
    log = manager.log()
    assert f"{devices}/broken.conf:3: unknown key 'what'" in log
    assert f"{devices}/driverless.conf: a virtual device needs a driver" in log
    assert "no driver 'unknown'" in log
    row = manager.row("missing")
    assert row["state"] == "configured" and row["driver"] is None
    assert "no such socket" in manager.info("missing")["reason"]
    assert (rundir / "dev/good.1").stat().st_mode & 0o777 == 0o600
    # The device of which nobody knows whether it is there is looked for when it is opened.
    assert "no such socket" in manager.client("missing", "open", 1).report()["failed"]


# ------------------------------------------------------------- opening, closing, unloading


def test_load_at_the_first_open_unload_after_the_last_close(make):
    manager = make("--idle", "0.3")
    pid = manager.attach()["pid"]
    wait_for(lambda: manager.state("raw0") == "idle", 3, "unloading")
    assert ended(pid)
    client = manager.client("raw0", "load", 30, 4)
    assert manager.row("raw0")["generation"] == 2
    time.sleep(0.6)
    assert manager.state("raw0") == "running"
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["completed"] > 100
    wait_for(lambda: manager.state("raw0") == "idle", 3, "unloading again")
    # One who comes in the middle of unloading waits, and is served.
    for delay in (0.28, 0.3, 0.31, 0.32):
        manager.client("raw0", "open", 0).report()
        time.sleep(delay)
    assert manager.client("raw0", "load", 0.1, 1).report()["errors"] == 0


def test_several_units(manager):
    manager.attach(params=["units=3"])
    assert [row["name"] for row in manager.get("/v1/devices")] == ["raw0.0", "raw0.1", "raw0.2"]
    reports = [manager.client(f"raw0.{i}", "load", 0.3, 4) for i in range(3)]
    assert all(r.report()["completed"] > 0 for r in reports)
    failed = manager.client("raw0", "open", 1).report()["failed"]
    assert "raw0.0 to raw0.2" in failed
    assert manager.client("raw0.7", "open", 1).report()["failed"]
    manager.detach("raw0")
    assert not list((manager.rundir / "dev").iterdir())


def test_detach_of_an_open_device(manager):
    manager.attach()
    client = manager.client("raw0", "load", 20, 4)
    with pytest.raises(Refused, match="open by 1 client") as refused:
        manager.detach("raw0")
    assert refused.value.status == 409
    manager.detach("raw0", force=True)
    report = client.report()
    assert report["error"] == -19 and report["outstanding"] == 0
    assert manager.get("/v1/devices") == []


def test_restart_on_request_loses_nothing(manager):
    manager.attach()
    client = manager.client("raw0", "load", 40, 8)
    for crash in (False, True, False, True):
        answer = manager.call("POST", "/v1/devices/raw0/restart", {"crash": crash})
        assert answer["state"] == "running"
        time.sleep(0.15)
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["bad"] == 0 and report["restarts"] == 4
    info = manager.info("raw0")
    assert info["generation"] == 5 and info["restarts"] == 4 and info["budget"]["tokens"] == 5


HELLO = struct.Struct("<IHHIIHHIQIIQQII")


def hello(depth=8, buffer_size=256, token=(0, 0), version=1, magic=0x41525541, kind=1):
    return HELLO.pack(magic, 1, kind, HELLO.size, 0, version, version, 0, 0, depth, buffer_size,
                      *token, 0, 0)


def connect(manager, unit):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(str(manager.rundir / "dev" / unit))
    client.settimeout(5)
    return client


def answer_of(client):
    """(type, error text) of the next message; None at the end."""
    data = client.recv(65536)
    if not data:
        return None
    kind = struct.unpack_from("<IHH", data)[2]
    return kind, data[20:].split(b"\0")[0].decode() if kind == 4 else ""


@pytest.mark.parametrize("message, part", [
    (b"x", "not what a client says"),
    (b"\0" * 80, "not what a client says"),
    (os.urandom(30000), "not what a client says"),
    (hello(magic=1), "not what a client says"),
    (hello(kind=2), "not what a client says"),
    (hello() + b"more", "not what a client says"),
    (hello(version=9), "version"),
    (hello(depth=0), "depth 0"),
    (hello(depth=2048), "depth 2048"),
    (hello(buffer_size=0), "0 bytes"),
    (hello(buffer_size=2 << 20), "at most"),
    (hello(depth=1024, buffer_size=1 << 20), "more than"),
    (hello(token=(1, 2)), "without a pool"),
])
def test_garbage_on_a_device_socket(manager, message, part):
    manager.attach()
    other = manager.client("raw0", "load", 0.5, 4)
    client = connect(manager, "raw0")
    client.send(message)
    kind, text = answer_of(client)
    assert kind == 4 and part in text
    assert answer_of(client) is None
    report = other.report()
    assert report["errors"] == 0 and report["restarts"] == 0 and report["completed"] > 100


def test_stolen_and_unsealed_pools(manager):
    manager.attach()
    pool = os.memfd_create("mine", os.MFD_ALLOW_SEALING)
    os.ftruncate(pool, 1 << 20)
    client = connect(manager, "raw0")
    socket.send_fds(client, [hello(token=(1, 2))], [pool])
    assert "sealed" in answer_of(client)[1]
    os.close(pool)
    # More descriptors than a message may have are all closed.
    client = connect(manager, "raw0")
    before = len(os.listdir(f"/proc/{manager.process.pid}/fd"))
    socket.send_fds(client, [hello()], [0] * 100)
    assert answer_of(client)[0] == 4
    wait_for(lambda: len(os.listdir(f"/proc/{manager.process.pid}/fd")) <= before, 2, "descriptors")


def test_connections_that_say_nothing(manager):
    manager.attach()
    quiet = [connect(manager, "raw0") for _ in range(250)]
    poll = select.poll()
    for client in quiet:
        poll.register(client, select.POLLIN)
    wait_for(lambda: len(poll.poll(0)) >= 50, 3, "as many as there may be")
    assert len(poll.poll(0)) == 50
    assert manager.info("raw0")["clients"] == 200
    for client in quiet:
        client.close()
    report = manager.client("raw0", "load", 0.2, 4).report()
    assert report["errors"] == 0
    assert manager.info("raw0")["clients"] == 0


# --------------------------------------------------------------------- deaths of hosts


def test_kill_under_load(manager):
    manager.attach()
    client = manager.client("raw0", "load", 40, 16)
    killed = []

    def another():
        return manager.row("raw0")["pid"] not in (None, *killed)
    waited = starved(client.pid, manager.process.pid)
    for _ in range(12):
        time.sleep(0.2)
        wait_for(another, 5, "a new host")
        killed.append(manager.row("raw0")["pid"])
        os.kill(killed[-1], signal.SIGKILL)
    wait_for(another, 5, "the last host")
    wait_for(lambda: manager.state("raw0") == "running", 5, "service")
    waited = starved(client.pid, manager.process.pid) - waited
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["bad"] == 0 and report["outstanding"] == 0
    assert report["completed"] > 1000 and report["max_gap_ms"] < (2 + waited) * 1000
    info = manager.info("raw0")
    assert info["deaths"]["killed"] == info["restarts"] == len(killed) == 12
    assert info["budget"]["tokens"] == 5, "somebody else's kills are not charged"
    recovery = info["recoveries"][-1]
    assert recovery["verdict"] == "killed"
    assert 0 < recovery["driver_us"] <= recovery["serving_us"] < 2000000


def test_a_stopped_host_is_replaced(manager):
    manager.attach()
    client = manager.client("raw0", "load", 40, 4)
    pid = manager.row("raw0")["pid"]
    everybody = os.getpid(), client.pid, manager.process.pid
    wait_for(lambda: len(children(manager)) == 2, 10, "a host that stands by")
    waited = starved(*everybody, *children(manager))
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    wait_for(lambda: ended(pid), 10, "the verdict")
    verdict = time.monotonic() - begin
    wait_for(lambda: manager.row("raw0")["pid"] not in (None, pid), 10, "a new host")
    replaced = time.monotonic() - begin
    wait_for(lambda: manager.state("raw0") == "running", 10, "service")
    time.sleep(0.5)
    waited = max(starved(*everybody, *children(manager)) - waited, 0)
    client.terminate()
    report = client.report()
    assert verdict < 1.5 + waited and replaced < HOST_ENDED + waited, waited
    assert report["errors"] == 0 and report["restarts"] == 1 and report["generation"] == 2
    assert report["max_gap_ms"] < (HOST_ENDED + waited) * 1000, waited
    crash = manager.get("/v1/devices/raw0/crash")
    assert crash["verdict"] == "stopped" and "no_trace" in crash and "frames" not in crash
    assert not crash["own_fault"]


def test_hold_suspends_verdicts(manager):
    manager.attach()
    pid = manager.row("raw0")["pid"]
    answer = manager.call("POST", "/v1/devices/raw0/hold", {"on": True})
    assert answer["pid"] == pid and answer["debug"].endswith(f" -p {pid}")
    assert manager.state("raw0") == "held"
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.6)
    assert manager.row("raw0")["pid"] == pid
    os.kill(pid, signal.SIGCONT)
    manager.call("POST", "/v1/devices/raw0/hold", {"on": False})
    time.sleep(1)
    assert manager.row("raw0")["pid"] == pid and manager.state("raw0") == "running"


@pytest.mark.parametrize("op, name", [(2, "SIGSEGV"), (3, "SIGABRT"), (4, "SIGILL"), (5, "SIGFPE")])
def test_a_crash_leaves_evidence(manager, op, name):
    """A request that kills: it alone fails, once it is known to be the one."""
    manager.attach()
    report = manager.client("raw0", "op", op).report()
    assert report["errors"] == 1 and report["error"] == -5 and report["outstanding"] == 0
    crash = manager.get("/v1/devices/raw0/crash")
    assert crash["verdict"] == "crash" and crash["signal_name"] == name and crash["own_fault"]
    assert any(f.get("module", "").endswith("t-echo.so") for f in crash["frames"])
    assert all(len(f["build_id"]) >= 16 for f in crash["frames"] if "module" in f)
    assert any(r["point"] == "device_state" for r in crash["records"])
    assert manager.client("raw0", "load", 0.2, 2).report()["errors"] == 0


def test_a_hang_of_the_driver(manager):
    manager.attach()
    report = manager.client("raw0", "op", 7).report()
    assert report["errors"] == 1 and report["error"] == -5
    crash = manager.get("/v1/devices/raw0/crash")
    assert crash["verdict"] == "hang" and "computing" in crash["text"] and "no_trace" in crash


def test_a_crash_loop_is_quarantined(manager):
    manager.attach(name="good")
    client = manager.client("good", "load", 40, 4)
    everybody = client.pid, manager.row("good")["pid"]
    waited = starved(*everybody)
    begin = time.monotonic()
    with pytest.raises(Refused, match="quarantined"):
        manager.attach(name="bad", params=["fail=3"])
    assert time.monotonic() - begin > 0.7, "the back-off was kept to"
    assert manager.state("bad") == "quarantined"
    info = manager.info("bad")
    assert info["budget"]["tokens"] == 0 and info["deaths"]["crash"] == 6
    assert manager.get("/v1/devices/bad/crash")["signal_name"] in ("SIGSEGV", "SIGABRT", "SIGILL")
    assert "quarantined" in manager.client("bad", "open", 1).report()["failed"]
    # Somebody who asks gets another budget, and the same end.
    with pytest.raises(Refused, match="quarantined"):
        manager.call("POST", "/v1/devices/bad/restart", {})
    waited = starved(*everybody) - waited
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["restarts"] == 0
    assert report["max_gap_ms"] < (1 + waited) * 1000, waited
    manager.detach("bad")
    assert manager.row("bad") is None


def test_surprise_removal(manager):
    manager.attach()
    client = manager.client("raw0", "load", 20, 2)
    manager.client("raw0", "op", 8).report()
    wait_for(lambda: manager.state("raw0") == "gone", 5, "gone")
    report = client.report()
    assert report["error"] == -19 and report["outstanding"] == 0
    # Plugged in again, it is found by the next open.
    assert manager.client("raw0", "load", 0.1, 1).report()["errors"] == 0


# -------------------------------------------------------------- devices that do not answer


class Server(threading.Thread):
    """A vfio-user server that does one thing with each connection."""

    def __init__(self, path, behave):
        super().__init__(daemon=True)
        self.behave = behave
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.connections = []
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.behave(connection)

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()


def vanish(connection):
    connection.recv(4096)
    connection.close()


def version_then_vanish(connection):
    request = connection.recv(4096)
    text = b'{"capabilities":{}}\0'
    connection.sendall(struct.pack("<HHIIIHH", *struct.unpack_from("<HH", request),
                                   20 + len(text), 1, 0, 0, 1) + text)
    connection.recv(4096)
    connection.close()


@pytest.mark.parametrize("behave", [vanish, version_then_vanish, lambda connection: None])
def test_a_server_that_vanishes_or_keeps_silent(manager, tmp_path, behave):
    server = Server(tmp_path / "s", behave)
    manager.attach(name="good")
    client = manager.client("good", "load", 40, 4)
    result = []

    def attach():
        try:
            result.append(manager.attach("uart16550", f"vfio-user:{tmp_path}/s"))
        except Refused as refused:
            result.append(refused)
    thread = threading.Thread(target=attach)
    thread.start()
    slowest = 0
    while thread.is_alive():
        watch = Watch()
        assert manager.state("good") == "running"
        slowest = max(slowest, watch.took())
        time.sleep(0.02)
    thread.join()
    assert isinstance(result[0], Refused) and "\n" not in result[0].text, result
    assert slowest < 1, "the others were kept waiting"
    assert [row["name"] for row in manager.get("/v1/devices")] == ["good"]
    client.terminate()
    assert client.report()["errors"] == 0
    server.close()


# ------------------------------------------------------------------- the manager's own end


def test_the_managers_death_stops_nothing(manager):
    manager.attach()
    manager.attach(name="quiet")
    client = manager.client("raw0", "load", 50, 8)
    pid, quiet = manager.row("raw0")["pid"], manager.row("quiet")["pid"]
    waited = starved(client.pid)
    time.sleep(0.3)
    manager.kill()
    time.sleep(0.5)
    assert not ended(pid) and client.poll() is None
    manager.start()
    wait_for(lambda: manager.state("raw0") == "running", 3, "re-adoption")
    row = manager.row("raw0")
    assert row["pid"] == pid and row["generation"] == 1, "a healthy device was restarted"
    assert manager.row("quiet")["pid"] == quiet
    wait_for(lambda: manager.info("raw0")["clients"] == 1, 3, "the client is back")
    # It still recovers everything.
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: manager.row("raw0")["generation"] == 2 and
             manager.state("raw0") == "running", HOST_ENDED, "recovery")
    assert manager.client("raw0", "load", 0.2, 2).report()["errors"] == 0
    waited = starved(client.pid, manager.process.pid) - waited
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["restarts"] == 1 and report["outstanding"] == 0
    assert report["max_gap_ms"] < (2 + waited) * 1000, waited
    manager.detach("quiet")
    wait_for(lambda: ended(quiet), 5, "the adopted host")


def test_a_host_that_dies_without_a_manager(manager):
    manager.attach()
    client = manager.client("raw0", "load", 50, 8)
    pid = manager.row("raw0")["pid"]
    time.sleep(0.2)
    manager.kill()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    manager.start()
    wait_for(lambda: manager.state("raw0") == "running", 5, "a new host")
    assert manager.row("raw0")["generation"] == 2
    # It is served by the new one as well.
    wait_for(lambda: manager.info("raw0")["clients"] == 1, 5, "the client is back")
    assert manager.client("raw0", "load", 0.2, 2).report()["errors"] == 0
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["bad"] == 0 and report["completed"] > 1000
    assert report["restarts"] == 1


def test_clients_that_do_not_come_back(manager):
    manager.attach()
    client = manager.client("raw0", "load", 20, 8)
    time.sleep(0.2)
    manager.kill()
    client.kill()
    client.wait()
    manager.start()
    wait_for(lambda: manager.state("raw0") == "running", 3, "re-adoption")
    wait_for(lambda: not manager.info("raw0")["host"]["channels"], 8, "its channel is closed")


def test_managers_that_die_again_and_again(manager):
    manager.attach()
    client = manager.client("raw0", "load", 50, 8)
    host = manager.row("raw0")["pid"]
    waited = starved(host, client.pid)
    for _ in range(5):
        time.sleep(0.4)
        manager.kill()
        manager.start()
    wait_for(lambda: manager.state("raw0") == "running", 15, "re-adoption")
    row = manager.row("raw0")
    assert row["generation"] == 1 and row["pid"] == host
    waited = starved(host, client.pid) - waited
    assert client.poll() is None, "it had traffic all the time"
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["restarts"] == 0 and report["completed"] > 100
    assert report["max_gap_ms"] < (1 + waited) * 1000, waited


def test_hostile_state_files(manager):
    manager.attach()
    pid = manager.row("raw0")["pid"]
    manager.kill()
    state = manager.rundir / "state"
    good = json.loads((state / "raw0.json").read_text())
    (state / "noise.json").write_bytes(os.urandom(500))
    (state / "big.json").write_text("[" * 100000)
    (state / "deep.json").write_text("{\"a\":" * 3000)
    (state / "other.json").write_text(json.dumps(good))
    # The pid of somebody else must not be killed, whatever a file says.
    victim = subprocess.Popen(["sleep", "30"])
    (state / "victim.json").write_text(json.dumps(
        {**good, "name": "victim", "pid": victim.pid, "start_time": 1, "detaching": True}))
    (state / "dir.json").mkdir()
    os.symlink("/etc/passwd", state / "link.json")
    manager.start()
    wait_for(lambda: manager.state("raw0") == "running", 3, "re-adoption")
    assert manager.row("raw0")["pid"] == pid
    assert [row["name"] for row in manager.get("/v1/devices")] == ["raw0"]
    assert victim.poll() is None
    victim.kill()
    victim.wait()


def test_hosts_from_before_the_machine_was_restarted(manager):
    """A runtime directory can outlive the machine's uptime; process numbers cannot."""
    manager.attach(name="idle", policy={"idle": 0.25})
    manager.attach()
    old = manager.row("raw0")["pid"]
    wait_for(lambda: manager.state("idle") == "idle", 3, "unloading")
    manager.kill()
    path = manager.rundir / "state/raw0.json"
    saved = json.loads(path.read_text())
    assert saved["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        path.write_text(json.dumps({**saved, "boot": "another"}))
        manager.start()
        wait_for(lambda: manager.state("raw0") == "running", 3, "a new host")
        assert manager.row("raw0")["pid"] != old and not ended(old)
        assert manager.client("raw0", "load", 0.2, 2).report()["errors"] == 0
        assert manager.info("idle")["policy"]["idle"] == 0.25
    finally:
        os.kill(old, signal.SIGKILL)


def test_evidence_and_quarantine_outlive_the_manager(manager):
    with pytest.raises(Refused, match="quarantined"):
        manager.attach(name="bad", params=["fail=3"])
    evidence = manager.get("/v1/devices/bad/crash")
    time.sleep(0.05)
    manager.kill()
    manager.start()
    assert manager.state("bad") == "quarantined"
    assert manager.get("/v1/devices/bad/crash") == evidence
    manager.detach("bad")
    assert not list((manager.rundir / "state").iterdir())


def children(manager):
    pid = manager.process.pid
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_restart_of_what_restarts(manager):
    """Asked for while the next host is on its way: answered when that one is there."""
    pid = manager.attach()["pid"]
    for _ in range(20):
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        manager.call("POST", "/v1/devices/raw0/restart", {})
        assert time.monotonic() - began < 10
        wait_for(lambda: manager.row("raw0")["state"] == "running", 5, "it is up")
        pid = manager.row("raw0")["pid"]
        manager.call("POST", "/v1/devices/raw0/restart", {})  # a new budget
        pid = manager.row("raw0")["pid"]


def test_a_host_stands_by(manager, make, tmp_path):
    assert children(manager) == []
    device = manager.attach()["pid"]
    wait_for(lambda: len(children(manager)) == 2, 3, "another host")
    standby = next(pid for pid in children(manager) if pid != device)
    os.kill(device, signal.SIGKILL)
    wait_for(lambda: manager.row("raw0")["pid"] == standby, 2, "it takes over")
    wait_for(lambda: len(children(manager)) == 2, 3, "another host")
    # Its own death is nothing to anybody; it is an orphan's end when the manager dies.
    standby = next(pid for pid in children(manager) if pid != manager.row("raw0")["pid"])
    os.kill(standby, signal.SIGKILL)
    wait_for(lambda: len(children(manager)) == 1, 2, "it is gone")
    manager.call("POST", "/v1/devices/raw0/restart", {})
    wait_for(lambda: len(children(manager)) == 2, 3, "another host")
    standby = next(pid for pid in children(manager) if pid != manager.row("raw0")["pid"])
    manager.kill()
    wait_for(lambda: ended(standby), 2, "the orphan")
    manager.start()
    manager.detach("raw0")
    wait_for(lambda: children(manager) == [], 2, "nobody is left")
    other = make("--no-standby", dir=tmp_path)
    other.attach()
    time.sleep(0.5)
    assert len(children(other)) == 1


def test_sigterm_takes_everything_down(make, rundir, tmp_path):
    (tmp_path / "devices.d").mkdir()
    (tmp_path / "devices.d/kept.conf").write_text("[device]\ndriver = t-echo\naddress = virtual\n")
    manager = make(config=tmp_path)
    manager.attach(params=["units=2"])
    wait_for(lambda: manager.state("kept") == "running", 5, "kept")
    pids = hosts_of(rundir)
    assert len(pids) == 2
    client = manager.client("kept", "load", 50, 4)
    watch = Watch()
    manager.process.terminate()
    assert manager.process.wait(15) == 0
    assert watch.took() < 3
    assert all(ended(pid) for pid in pids)
    assert not (rundir / "control.sock").exists()
    assert not list((rundir / "dev").iterdir()) and not list((rundir / "hosts").iterdir())
    # Who has a configured device open waits for the next manager.
    manager.start()
    wait_for(lambda: manager.state("kept") == "running", 5, "kept")
    wait_for(lambda: manager.info("kept")["clients"] == 1, 5, "the client is back")
    client.terminate()
    report = client.report()
    assert report["errors"] == 0 and report["restarts"] == 1 and report["completed"] > 100


def test_changed_files_count_after_an_orderly_stop(make, rundir, tmp_path):
    text = "[device]\ndriver = t-echo\naddress = virtual\n[policy]\nmode = "
    conf = tmp_path / "devices.d/kept.conf"
    conf.parent.mkdir()
    conf.write_text(text + "0660\n")
    manager = make(config=tmp_path)
    wait_for(lambda: manager.state("kept") == "running", 5, "kept")
    # It died: what runs goes on, as it was described.
    manager.process.kill()
    manager.process.wait()
    conf.write_text(text + "0600\n")
    manager.start()
    wait_for(lambda: manager.state("kept") == "running", 5, "kept")
    assert manager.info("kept")["source"] == str(conf)
    assert "kept.conf: has changed" in manager.log()
    assert (rundir / "dev/kept").stat().st_mode & 0o777 == 0o660
    manager.process.terminate()
    assert manager.process.wait(10) == 0
    manager.start()
    wait_for(lambda: manager.state("kept") == "running", 5, "kept")
    assert (rundir / "dev/kept").stat().st_mode & 0o777 == 0o600
    assert manager.row("kept")["generation"] == 2
    manager.process.terminate()
    assert manager.process.wait(10) == 0
    conf.unlink()
    manager.start()
    assert manager.state("kept") is None
    assert not list((rundir / "state").iterdir())


# ------------------------------------------------------------------------------- leaks


def held_by(pid):
    rss = next(int(l.split()[1]) for l in Path(f"/proc/{pid}/status").read_text().splitlines()
               if l.startswith("VmRSS"))
    return len(os.listdir(f"/proc/{pid}/fd")), rss


def settled(manager):
    """What the manager holds when another host stands by."""
    time.sleep(0.6)
    return held_by(manager.process.pid)


def cycles(manager, count):
    for i in range(count):
        manager.attach()
        if i % 10 == 0:
            manager.client("raw0", "op", 0).report()
        manager.detach("raw0", force=True)


def assert_nothing_is_left(manager, before):
    wait_for(lambda: held_by(manager.process.pid)[0] <= before[0], 5, "descriptors")
    if "libasan" not in Path(f"/proc/{manager.process.pid}/maps").read_text():
        assert held_by(manager.process.pid)[1] < before[1] + 2000, "memory (KiB)"
    children = Path(f"/proc/{manager.process.pid}/task/{manager.process.pid}/children").read_text()
    assert children.split() == []
    for name in ("dev", "hosts", "state"):
        assert not list((manager.rundir / name).iterdir())


def test_attach_and_detach_leave_nothing(manager):
    cycles(manager, 20)
    before = held_by(manager.process.pid)
    cycles(manager, 100)
    assert_nothing_is_left(manager, before)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_thousand_cycles_leave_nothing(manager):
    cycles(manager, 50)
    before = held_by(manager.process.pid)
    cycles(manager, 1000)
    assert_nothing_is_left(manager, before)


def kill_clients(manager, count):
    manager.attach()
    other = manager.client("raw0", "load", 100 + count, 8)
    client = manager.client("raw0", "load", 30, 4)
    client.kill()
    client.wait()
    wait_for(lambda: manager.info("raw0")["clients"] == 1, 5, "one client")
    before = settled(manager)
    host = manager.row("raw0")["pid"]
    host_before = held_by(host)
    waited = starved(other.pid, host)
    for i in range(count):
        client = manager.client("raw0", "load", 30, 4)
        time.sleep(0.001 * (i % 30))
        client.kill()
        client.wait()
        client.stdout.close()
    wait_for(lambda: len(manager.info("raw0")["host"]["channels"]) == 1, 5, "their channels")
    wait_for(lambda: held_by(manager.process.pid)[0] <= before[0], 5, "descriptors")
    wait_for(lambda: held_by(host)[0] <= host_before[0], 5, "descriptors of the host")
    assert held_by(host)[1] < host_before[1] + 4000
    waited = starved(other.pid, host) - waited
    other.terminate()
    report = other.report()
    assert report["errors"] == 0 and report["restarts"] == 0
    assert report["max_gap_ms"] < (1 + waited) * 1000, waited
    assert manager.row("raw0")["pid"] == host


def test_killed_clients_leave_nothing(manager):
    kill_clients(manager, 60)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_five_hundred_killed_clients_leave_nothing(manager):
    kill_clients(manager, 500)
