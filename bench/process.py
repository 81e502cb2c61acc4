"""Programs that answer one JSON command a line: bench_engine, graft-text-tool and the peers in peers/."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

PEERS = pathlib.Path(__file__).with_name("peers")
# glibc keeps freed blocks rather than giving large ones back to the kernel on every free.
KEEPS_BLOCKS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}


class Failed(Exception):
    """A program ended or refused; what it said."""


def environment(threads, **more):
    """Of every program: the same threads, no setting that slows one library only, no network."""
    return {**{name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}, "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", **more}


class LineProcess:
    """Ends with close(), or with the Processes that it belongs to."""

    def __init__(self, name, command, env):
        self.name = name
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
                                         encoding="utf-8", env=env)

    def send(self, op, **arguments):
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # receive() tells why.

    def receive(self):
        for line in self._process.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                if "error" in answer:
                    raise Failed(f"{self.name}: {answer['error']}")
                return answer
        self._process.wait()
        self._errors.seek(0)
        raise Failed(f"{self.name} ended with {self._process.returncode}: {self._errors.read().decode(errors='replace')[-2000:]}")

    def ask(self, op, **arguments):
        self.send(op, **arguments)
        return self.receive()

    def peak_gb(self):
        """The most memory that it had at once."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1048576

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


class Processes(contextlib.ExitStack):
    """Those that take turns; all end with the `with` statement."""

    def start(self, name, command, env):
        process = LineProcess(name, command, env)
        self.callback(process.close)
        return process

    def start_peer(self, name, module, env):
        return self.start(name, [sys.executable, PEERS / f"{module}.py"], env)


def timed(command, env, log):
    """Runs to the end: seconds, and peak memory in GB."""
    begin = time.perf_counter()
    with open(log, "w", encoding="utf-8") as out:
        child = subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if status != 0:
        raise Failed(f"{command[0]} ended with {child.returncode}:\n{pathlib.Path(log).read_text(encoding='utf-8')[-2000:]}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1048576
