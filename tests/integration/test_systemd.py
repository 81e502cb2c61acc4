"""What systemd is told, by real processes and a socket of ours in its place; and the unit files."""

import os
import shutil
import signal
import socket
import subprocess

import pytest

from conftest import BUILD, ROOT, wait_until

UNITS = ROOT / "deploy/systemd"


class Manager:
    """The socket that a service notifies; WATCHDOG_USEC is a second."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(60)
        self.environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"}

    def next(self):
        return self.socket.recv(4096).decode()

    def drain(self):
        """What has come so far."""
        self.socket.setblocking(False)
        messages = []
        try:
            while True:
                messages.append(self.next())
        except BlockingIOError:
            self.socket.settimeout(60)
            return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request, graft_directory):
    name = str(graft_directory / "notify") if request.param == "path" else f"@graft-test-{os.getpid()}"
    managed = Manager(name)
    yield managed
    managed.socket.close()


def run(manager, *command):
    with open(os.devnull, "wb") as nothing:
        return subprocess.Popen(list(map(str, command)), env={**os.environ, **manager.environment}, stdout=nothing, stderr=nothing)


def assert_pings(manager):
    for _ in range(4):
        assert manager.next() == "WATCHDOG=1"


def test_a_server_says_when_it_is_ready_alive_and_stopping(manager, graft_directory):
    ready = graft_directory / "ready.json"
    process = run(manager, BUILD / "bin/graft-server", "--data", graft_directory / "data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
                  "--ready-file", ready, "--workers", "1", "--device", "cpu")
    try:
        first = manager.next()
        assert ready.exists(), "not before it is"
        assert first.startswith("READY=1\nSTATUS=at 127.0.0.1:")
        assert_pings(manager)
        pid_file = graft_directory / "data/workers/1/pid"
        wait_until(pid_file.exists, "the local worker")
        environment = open(f"/proc/{pid_file.read_text()}/environ", "rb").read()
        assert b"NOTIFY_SOCKET" not in environment and b"WATCHDOG" not in environment, "a worker would speak for the server"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        said = manager.drain()
        assert said[-1] == "STOPPING=1" and set(said[:-1]) <= {"WATCHDOG=1"}
    finally:
        process.kill()


def test_a_worker_says_so_too_whether_its_server_is_there_or_not(manager, graft_directory):
    process = run(manager, BUILD / "bin/graft-worker", "--server", f"unix:{graft_directory / 'none.sock'}", "--state", graft_directory / "worker",
                  "--device", "cpu")
    try:
        assert manager.next().startswith("READY=1\nSTATUS=for unix:")
        assert_pings(manager)
        process.terminate()
        assert process.wait(timeout=60) == 0
        assert "STOPPING=1" in manager.drain()
    finally:
        process.kill()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", ["graft-server.service", "graft-worker.service"])
def test_the_units_are_as_systemd_wants_them(unit, tmp_path):
    text = (UNITS / unit).read_text(encoding="utf-8")
    assert "\nExecStart=graft-" in text, "systemd finds it in /usr/local/bin and /usr/bin"
    (tmp_path / unit).write_text(text.replace("ExecStart=", f"ExecStart={BUILD / 'bin'}/"), encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", tmp_path / unit], capture_output=True, text=True, check=False, timeout=60)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    # Of 10, the most exposed; a unit without any settings has 9.6.
    exposed = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=30", tmp_path / unit], capture_output=True, text=True, check=False,
                             timeout=60)
    assert exposed.returncode == 0, exposed.stdout


@pytest.mark.parametrize("unit", ["graft-server.service", "graft-worker.service"])
def test_the_programs_have_time_to_stop_and_know_their_flags(unit):
    text = (UNITS / unit).read_text(encoding="utf-8")
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    program, *flags = settings["ExecStart"].split()
    assert int(settings["TimeoutStopSec"]) > int(flags[flags.index("--stop-seconds") + 1])
    known = subprocess.run([BUILD / "bin" / os.path.basename(program), "--help"], capture_output=True, text=True, check=True).stdout
    assert all(flag in known for flag in flags if flag.startswith("--"))
