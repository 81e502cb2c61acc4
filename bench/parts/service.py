"""A graft-server on loopback, its store on this file system: every commit is an fsync. No peer."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from process import Failed
from results import Row, Unavailable, median

ROOT = pathlib.Path(__file__).resolve().parents[2]


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


def ask(bench, name, *arguments):
    done = subprocess.run(list(map(str, [bench.program(name), *arguments])), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def one_round(bench, load, sizes):
    """Everything on one new server."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="graft-", dir="/tmp"))  # Short: a socket's path has at most 107 bytes.
    graft = load.Graft(directory)
    try:
        graft.start(workers=0, program=bench.program("graft-server"), lease_seconds=3600, heartbeat_seconds=60, watch_heartbeat_seconds=10)
        load.load(graft)
        where = ["--server", graft.address, "--server-pid", graft.process.pid]
        result = {"fsync_ms": fsync_ms(directory), "submits": ask(bench, "bench_submit_load", *where, "--seconds", sizes["seconds"])}
        ask(bench, "bench_submit_load", *where, "--jobs", sizes["queued"])
        result.update(ask(bench, "bench_worker_load", *where, "--workers", f"unix:{directory / 'data/workers.sock'}", "--seconds", sizes["seconds"],
                          "--claims", sizes["claims"], "--watchers", sizes["watchers"]))
        return result
    finally:
        graft.stop()
        shutil.rmtree(directory, ignore_errors=True)


def integration(build):
    """The Graft of tests/integration: a server of one's own."""
    os.environ["GRAFT_BUILD_DIR"] = str(build)
    folder = str(ROOT / "tests/integration")
    if folder not in sys.path:
        sys.path.append(folder)
    import conftest
    return conftest


def run(bench):
    bench.need("pytest")
    sizes = {"seconds": 1, "queued": 100, "claims": 70, "watchers": 20} if bench.inputs.tiny else \
        {"seconds": 5, "queued": 10_000, "claims": 200, "watchers": 1000}
    if bench.device != "cpu":
        raise Unavailable("a server computes on no device: run it with --device cpu")
    load = integration(bench.bin.parent)
    rounds = [one_round(bench, load, sizes) for _ in range(bench.rounds)]

    def row(what, part, figure):
        return Row(what, {"graft": median(each[part][figure] for each in rounds)})

    bench.note("fsync here: {:.2f} ms. ".format(median(each["fsync_ms"] for each in rounds)) + "Cores, client's and server's: " + ", ".join(
        f"{part} {median(each[part]['client_cores'] for each in rounds):.2f} and {median(each[part]['server_cores'] for each in rounds):.2f}"
        for part in ("submits", "events", "watchers", "claims")) + ".")
    return [row("submits/s, 64 connections, one call in flight on each", "submits", "submits_per_second"),
            row("a submit, p99; ms", "submits", "p99_ms"),
            row("server's processor time; ms per 1,000 submits", "submits", "server_cpu_ms_per_1000"),
            row("events/s, 64 jobs, a batch of 16 in flight of each", "events", "events_per_second"),
            row(f"{sizes['watchers']:,} watchers of one job: events delivered/s", "watchers", "deliveries_per_second"),
            row(f"{sizes['watchers']:,} watchers: an event's way to each, p99; ms", "watchers", "p99_ms"),
            row(f"a claim where over {sizes['queued']:,} jobs are queued, median; ms", "claims", "p50_ms"),
            row(f"a claim where over {sizes['queued']:,} jobs are queued, p99; ms", "claims", "p99_ms")]
