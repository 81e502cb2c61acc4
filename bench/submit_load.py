"""Durable submits a second, and what each costs the server's processor: bench_submit_load against servers with the bundled tiny
model, two small data sets and no worker, the given servers in turn.

    python bench/submit_load.py build/release/bin/graft-server [ANOTHER_SERVER ...] [--rounds 3] [--connections 64] [--seconds 10]

Prints one JSON line for each run. A server of each run has a store of its own below --directory, whose file system counts: each
commit is an fsync, and how long one takes there is measured beside.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration"))
from conftest import BUILD, Graft, load  # noqa: E402


def fsync_ms(directory, times=200):
    """The median of small appended writes, each made durable."""
    took = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(times):
            os.write(file.fileno(), b"x" * 4096)
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(took)


def run(server, arguments):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="graft-load-", dir=arguments.directory))
    graft = Graft(directory)
    try:
        graft.start(workers=0, program=server)
        load(graft)
        fsync = fsync_ms(directory)
        output = subprocess.run([BUILD / "bin/bench_submit_load", "--server", graft.address, "--server-pid", str(graft.process.pid),
                                 "--connections", str(arguments.connections), "--seconds", str(arguments.seconds)],
                                stdout=subprocess.PIPE, text=True, check=True).stdout
        return {"server": str(server), "fsync_ms": fsync, **json.loads(output)}
    finally:
        graft.stop()
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="SERVER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--directory", default="/tmp")
    arguments = parser.parse_args()
    for _ in range(arguments.rounds):
        for server in arguments.servers:
            print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in run(server, arguments).items()}),
                  flush=True)


if __name__ == "__main__":
    main()
