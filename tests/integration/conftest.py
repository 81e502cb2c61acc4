"""Real processes: a graft-server with local workers on loopback, driven through the command line as a user would.

GRAFT_BUILD_DIR names the build (default: build/release). The model and the data are the bundled ones of tools/demo_assets.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import urllib.request

import pytest

from messages import load_messages
from micro_model import write_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("GRAFT_BUILD_DIR", ROOT / "build/release"))
ASSETS = ROOT / "tools/demo_assets"
# A process that has not done what is waited for by then never will.
PATIENCE_SECONDS = 120


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """Polls, since other processes are watched: there is nothing to be notified by."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)  # tidy: polling another process
    raise AssertionError(f"not within {seconds} s: {what}")


class Graft:
    """One server, its directory and its command line."""

    def __init__(self, directory):
        self.build = BUILD  # Whose programs run; may be another's from here on.
        self.directory = pathlib.Path(directory)
        self.ready_file = self.directory / "ready.json"
        self.log = self.directory / "server.log"
        self.process = None
        self.address = None
        self.workers = []  # Those of start_worker.

    def start(self, workers=1, prefix=(), program=None, **flags):
        """Flags of graft-server; None leaves one to its own default, True gives it without a value. `prefix` runs the server: it ends in the server's command line."""
        self.ready_file.unlink(missing_ok=True)
        # The same port after a restart, so that workers and clients find it again.
        listen = self.address or "127.0.0.1:0"
        defaults = {"heartbeat-seconds": 0.2, "lease-seconds": 3, "lease-margin-seconds": 0.5, "watch-heartbeat-seconds": 0.2,
                    "engine-threads": 1, "device": "cpu", "listen": listen, "http": "127.0.0.1:0", "workers": workers}
        command = [*prefix, program or self.build / "bin/graft-server", "--data", self.directory / "data", "--ready-file", self.ready_file]
        for name, value in {**defaults, **{key.replace("_", "-"): value for key, value in flags.items()}}.items():
            command += [] if value is None else [f"--{name}"] if value is True else [f"--{name}", str(value)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, "the server's start")
        assert self.process.poll() is None, self.log.read_text()
        ready = json.loads(self.ready_file.read_text())
        self.address, self.http = ready["grpc"], ready["http"]
        return self

    def start_worker(self, name, *flags, prefix=(), server=None):
        """A worker that the server did not start, with a state directory of that name. `prefix` runs it."""
        server = server or f"unix:{self.directory / 'data/workers.sock'}"
        command = [*prefix, self.build / "bin/graft-worker", "--server", server, "--state", self.directory / name, *flags]
        with open(self.directory / f"{name}.log", "ab") as log:
            self.workers.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self.workers[-1]

    def stop(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()
        subprocess.run([self.build / "bin/graft-server", "stop", "--all", "--data", self.directory / "data"], capture_output=True, check=False)
        if self.process is not None:
            self.process.wait()
        self.keep_specs()

    def keep_specs(self):
        """For tools/spec_coverage: what the jobs in this server's store were told."""
        folder = os.environ.get("GRAFT_KEEP_SPECS")
        store = self.directory / "data/graft.db"
        if not folder or not store.exists():
            return
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            for (specs,) in connection.execute("SELECT specs FROM job_specs"):
                (pathlib.Path(folder) / f"{hashlib.sha256(specs).hexdigest()}.job").write_bytes(specs)

    def kill_server(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pids(self, program):
        """Processes of this server's directory that run `program`."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                arguments = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if os.path.basename(arguments[0]) != program:
                continue
            if program == "graft-engine":
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent not in self.pids("graft-worker"):
                    continue
            elif not any(str(self.directory) in argument for argument in arguments):
                continue
            found.append(int(entry.name))
        return found

    def cli(self, *arguments, check=True, **options):
        environment = {**os.environ, "GRAFT_SERVER": self.address or "127.0.0.1:1"}
        result = subprocess.run([self.build / "bin/graft", *map(str, arguments)], env=environment, capture_output=True, text=True, check=False,
                                timeout=PATIENCE_SECONDS * 2, **options)
        assert not check or result.returncode == 0, f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}\n{self.log.read_text()}"
        return result

    def json(self, *arguments):
        """The objects that a command prints with --json."""
        output = self.cli("--json", *arguments).stdout
        try:
            return [json.loads(line) for line in output.splitlines()]
        except json.JSONDecodeError:
            return [json.loads(output)]

    def popen(self, *arguments):
        environment = {**os.environ, "GRAFT_SERVER": self.address}
        return subprocess.Popen([self.build / "bin/graft", *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def submit(self, *arguments):
        """A small fine-tune job; later flags win over the defaults. Returns its name."""
        defaults = {"--base-model": "tiny", "--train": "train", "--validation": "valid", "--method": "lora", "--max-steps": "6",
                    "--batch-size": "4", "--eval-every-steps": "3", "--eval-samples": "0", "--learning-rate": "3e-3"}
        given = [str(argument) for argument in arguments]
        for name, value in defaults.items():
            if name not in given:
                given += [name, value]
        return self.json("submit", *given)[0]["name"]

    def job(self, name):
        return self.json("show", name)[0]

    def state(self, name):
        return self.job(name)["state"].removeprefix("JOB_STATE_")

    def wait_for(self, name, *states, seconds=PATIENCE_SECONDS):
        states = states or ("SUCCEEDED",)
        final = wait_until(lambda: (lambda state: state if state in (*states, "SUCCEEDED", "FAILED", "CANCELLED") else None)(self.state(name)),
                           f"{name} in {states}", seconds=seconds)
        assert final in states, json.dumps(self.job(name), indent=1) + self.log.read_text()[-4000:]
        return self.job(name)

    def events(self, name):
        return self.json("watch", name)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        return response.read().decode()


def samples(address):
    """What /metrics has, by series."""
    return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in scrape(address).splitlines() if line[:1] != "#")}


def write_rows(path, source, count):
    lines = (ASSETS / "data" / source).read_text(encoding="utf-8").splitlines()[:count]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def graft_directory():
    # Short: a Unix socket's path has at most 107 bytes.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="graft-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def graft(graft_directory):
    """Not started; with what `load` uploads."""
    service = Graft(graft_directory)
    yield service
    service.stop()


@pytest.fixture
def loaded(graft):
    """A server with one worker, the bundled model as `tiny`, 24 rows `train` and 8 rows `valid`."""
    graft.start()
    load(graft)
    return graft


def load(graft):
    graft.cli("models", "add", "tiny", ASSETS / "model")
    for name, source, count in (("train", "train.jsonl", 24), ("valid", "valid.jsonl", 8)):
        graft.cli("datasets", "upload", write_rows(graft.directory / f"{name}.jsonl", source, count), "--name", name)


@pytest.fixture(scope="module")
def micro():
    """A server with two workers, the micro model and each kind of data."""
    directory = tempfile.mkdtemp(prefix="graft-", dir="/tmp")
    graft = Graft(directory)
    write_model(graft.directory / "model")
    rows = [{"document": f"In May {i} people met, \"long\" and late.\nThey ate.", "summary": f"{i} met.\nThey ate."} for i in range(20)]
    for name, part in (("train", rows[:16]), ("valid", rows[16:])):
        (graft.directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
        quoted = [[value.replace('"', '""') for value in row.values()] for row in part]
        (graft.directory / f"{name}.csv").write_text("document,summary\n" + "".join(f'"{a}","{b}"\n' for a, b in quoted), encoding="utf-8")
    graft.start(workers=2)
    graft.cli("models", "add", "micro", graft.directory / "model")
    yield graft
    graft.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def users(tmp_path_factory):
    """Makes messages of graft.v1 by their names, as far as job.proto needs them."""
    return load_messages(tmp_path_factory.mktemp("users"))


@pytest.fixture(scope="session")
def workers(tmp_path_factory):
    """The same of graft.worker.v1."""
    return load_messages(tmp_path_factory.mktemp("workers"), "graft/worker/v1/worker.proto")
