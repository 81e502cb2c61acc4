"""A graft-server whose store holds 10,000 queued jobs, and one that holds a million that have ended besides. No peer: each has its column."""

import pathlib
import shutil
import tempfile
import time

from parts.service import ask, fsync_ms, integration
from results import Row, Unavailable, median

PAGES = {"newest": "a page of the newest jobs", "oldest": "a page of the oldest", "first_in_the_queue": "a page of the queue, in its order",
         "of_a_label": "a page of one label in a hundred", "of_nobody": "the empty page of a label that no job has"}


class Store:
    """Of one size; the server is started anew for each round."""

    def __init__(self, bench, load, ended, sizes):
        self.bench, self.ended, self.sizes = bench, ended, sizes
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="graft-", dir="/tmp"))  # Short: a socket's path has at most 107 bytes.
        self.graft = load.Graft(self.directory)
        self.start()
        load.load(self.graft)
        self.graft.stop()
        ask(bench, "bench_store_fill", "--store", self.directory / "data/graft.db", "--ended", ended, "--queued", sizes["queued"])

    def start(self):
        """The seconds until it is ready."""
        began = time.perf_counter()
        self.graft.start(workers=0, program=self.bench.program("graft-server"), lease_seconds=3600, heartbeat_seconds=60)
        return time.perf_counter() - began

    def round(self):
        result = {"start": self.start() * 1e3, "fsync": fsync_ms(self.directory)}
        try:
            claims = ask(self.bench, "bench_worker_load", "--server", self.graft.address, "--server-pid", self.graft.process.pid, "--workers",
                         f"unix:{self.directory / 'data/workers.sock'}", "--claims", self.sizes["claims"], "--watchers", 1, "--seconds", 0.1)["claims"]
            result.update(claim_p50=claims["p50_ms"], claim_p99=claims["p99_ms"])
            for what, times in ask(self.bench, "bench_list_load", "--server", self.graft.address, "--pages", self.sizes["pages"]).items():
                result[what] = times["p99_ms"]
            result["megabytes"] = (self.directory / "data/graft.db").stat().st_size / 1e6
            return result
        finally:
            self.graft.stop()

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def run(bench):
    bench.need("pytest")
    sizes = {"ended": 1000, "queued": 100, "claims": 10, "pages": 20} if bench.inputs.tiny else {"ended": 1_000_000, "queued": 10_000, "claims": 1000, "pages": 1000}
    if bench.device != "cpu":
        raise Unavailable("a server computes on no device: run it with --device cpu")
    load = integration(bench.bin.parent)
    stores = {f"{sizes['ended']:,} more": sizes["ended"], f"{sizes['queued']:,} jobs": 0}
    stores = {name: Store(bench, load, ended, sizes) for name, ended in stores.items()}
    try:
        rounds = {name: [store.round() for _ in range(bench.rounds)] for name, store in stores.items()}
    finally:
        for store in stores.values():
            store.remove()

    def row(what, figure):
        return Row(what, {name: median(each[figure] for each in taken) for name, taken in rounds.items()})

    bench.note("fsync here: {:.2f} ms.".format(median(each["fsync"] for taken in rounds.values() for each in taken)))
    return [row("start, from the process to its readiness; ms", "start"),
            row("a claim, median; ms", "claim_p50"),
            row("a claim, p99; ms", "claim_p99"),
            *(row(f"{words}, p99; ms", figure) for figure, words in PAGES.items()),
            row("the store's file; MB", "megabytes")]
