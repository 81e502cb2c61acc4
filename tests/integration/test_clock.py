"""Somebody sets the system's date while a job runs: nobody's lease is lost, nothing is deleted, the numbers stay.

The date of our own processes alone is moved, by a library that they are started with (wall_clock.c)."""

import contextlib
import datetime
import os
import pathlib
import signal
import struct
import subprocess
import time

import pytest

from conftest import load, wait_until
from test_kills import Watcher
from test_survival import adapter_hash, assert_gap_free, losses

HERE = pathlib.Path(__file__).resolve().parent
HOUR, DAY = 3600, 24 * 3600
PROGRAMS = ("graft-server", "graft-worker", "graft-engine")
# Over a lease (3 s) and many heartbeats (0.2 s): a wait that went by the date would have lost it.
LONGER_THAN_A_LEASE = 4


class WallClock:
    def __init__(self, directory):
        self.library = directory / "wall_clock.so"
        subprocess.run(["cc", "-O1", "-fPIC", "-shared", HERE / "wall_clock.c", "-o", self.library, "-ldl"], check=True)
        self.file = directory / "offset"
        self.set(0)

    def set(self, seconds):
        if not self.file.exists():
            self.file.write_bytes(struct.pack("q", seconds))
        with open(self.file, "r+b") as file:  # In place: it is mapped.
            file.write(struct.pack("q", seconds))

    def prefix(self):
        return ["/usr/bin/env", f"LD_PRELOAD={self.library}", f"WALL_CLOCK_OFFSET={self.file}"]


@pytest.fixture
def clock(graft_directory):
    return WallClock(graft_directory)


@contextlib.contextmanager
def standing(graft):
    """Its engine does nothing meanwhile; server and worker go on."""
    [engine] = graft.pids("graft-engine")
    os.kill(engine, signal.SIGSTOP)
    yield
    os.kill(engine, signal.SIGCONT)


def hours(dates):
    """By how many hours each differs from the real date. An event's comes up to two seconds late: Abseil does not ask for each."""
    return {round((datetime.datetime.fromisoformat(date[:19] + "+00:00").timestamp() - time.time()) / HOUR) for date in dates}


def last_lines(graft):
    """Of the logs of the server and of its worker."""
    return [log.read_text().splitlines()[-1] for log in (graft.log, graft.directory / "data/workers/1/worker.log")]


def blobs(graft):
    return sorted(path.name for path in (graft.directory / "data/artifacts/blobs/objects").rglob("*") if path.is_file())


@pytest.mark.parametrize("moves", [(-HOUR, 0, HOUR), pytest.param((-DAY, DAY, 0, -HOUR, 2 * HOUR), marks=pytest.mark.full)])
def test_a_date_that_is_set_while_a_job_runs_changes_nothing(graft, clock, moves):
    graft.start(prefix=clock.prefix())
    load(graft)
    steps = ["--max-steps", str(250 * len(moves)), "--eval-every-steps", "50", "--checkpoint-every-steps", "25"]
    undisturbed = graft.submit(*steps, "--output-name", "undisturbed")
    graft.wait_for(undisturbed)
    before = blobs(graft)
    name = graft.submit(*steps, "--output-name", "disturbed")
    wait_until(lambda: int(graft.job(name).get("step", 0)) >= 5, "the training")
    for program in PROGRAMS:
        maps = [pathlib.Path(f"/proc/{pid}/maps").read_text() for pid in graft.pids(program)]
        assert maps and all(str(clock.library) in text for text in maps), f"{program} sees the real date"
    watcher = Watcher(graft, name)
    for seconds in moves:
        clock.set(seconds)
        # A fast engine would be done before the last date is set.
        with standing(graft):
            time.sleep(LONGER_THAN_A_LEASE)  # tidy: the time in which a lease would be lost
        # Else it would prove nothing: each date was seen while it ran, and the last in both logs.
        wait_until(lambda: seconds // HOUR in hours(event["create_time"] for event in list(watcher.seen)), "an event of that date")
    job = graft.wait_for(name)
    wait_until(lambda: hours(last_lines(graft)) == {moves[-1] // HOUR}, f"{last_lines(graft)} of the last date")
    assert len(job["attempts"]) == 1, job["attempts"]
    assert_gap_free(graft.events(name))
    assert losses(graft.events(name)) == losses(graft.events(undisturbed))
    assert adapter_hash(graft, "disturbed") == adapter_hash(graft, "undisturbed")
    assert set(before) <= set(blobs(graft)), "blobs were deleted"
    log = graft.log.read_text()
    assert "lease expired" not in log and "worker disconnected" not in log, log[-4000:]


def test_a_server_and_a_worker_start_and_stop_under_any_date(graft, clock):
    for seconds in (-DAY, DAY):
        clock.set(seconds)
        graft.start(prefix=clock.prefix())
        if seconds == -DAY:
            load(graft)
        name = graft.submit()
        clock.set(-seconds)
        assert hours([graft.wait_for(name)["create_time"]]) == {seconds // HOUR}
        time.sleep(LONGER_THAN_A_LEASE)  # tidy: the same, and Abseil asks for the date every other second
        graft.stop()
        assert hours(last_lines(graft)) == {-seconds // HOUR}
