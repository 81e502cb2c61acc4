"""Crowds: of watchers of whom some never read, of calls for which a server has no threads, and watchers that are cut off again and again.

How long it took is printed, for docs/RELIABILITY.md. GRAFT_EVENTS and GRAFT_RECONNECTS set the size of the long form (1,000,000 and 1,000)."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
import uuid

import grpc
import pytest

from conftest import load, samples
from hostile import Connection

JOBS, WORKERS = "/graft.v1.JobService", "/graft.worker.v1.WorkerService"
EVENTS, RECONNECTS = int(os.environ.get("GRAFT_EVENTS", 1_000_000)), int(os.environ.get("GRAFT_RECONNECTS", 1000))
CALL_SECONDS = 1200  # So that nothing hangs a test for ever.
OWN = [("grpc.use_local_subchannel_pool", 1)]
HEALTH_SECONDS = 0.1
BYTES_OF_WATCHER = 256 * 1024
BYTES_OF_CALLS = 256 * 1024 * 1024
RETRY_INFO = b"type.googleapis.com/google.rpc.RetryInfo"
# In a process of its own: what it measures is not what a busy client does to itself.
PROBE = """
import sys, time, grpc
check = grpc.insecure_channel(sys.argv[1]).unary_unary("/grpc.health.v1.Health/Check")
while True:
    began = time.monotonic()
    assert check(b"", timeout=60) == b"\\x08\\x01", "not serving"
    print(time.monotonic() - began, flush=True)
    time.sleep(0.01)  # tidy: between two looks
"""


def share(times, part):
    return sorted(times)[int(part * (len(times) - 1))]


class Reporter:
    """A worker that has a job and tells events of it."""

    def __init__(self, graft, workers):
        self.workers, self.batch, self.step = workers, 0, 0
        self.channel = grpc.insecure_channel(f"unix:{graft.directory / 'data/workers.sock'}", options=OWN)
        me = workers("WorkerIdentity")(id=f"w-{uuid.uuid4().hex}", instance="one")
        lease = self.call("LeaseJob", "LeaseJobRequest", "LeaseJobResponse", worker=me, request_id="r").lease
        self.held = {"worker": me, "job": lease.job, "lease_epoch": lease.lease_epoch}

    def call(self, method, request, response, **fields):
        make = self.channel.unary_unary(f"{WORKERS}/{method}", self.workers(request).SerializeToString, self.workers(response).FromString)
        return make(self.workers(request)(**fields), timeout=CALL_SECONDS)

    def steps(self, count):
        events = [{"metrics": {"step": self.step + i + 1, "values": {"train/loss": 1 / (self.step + i + 1)}}} for i in range(count)]
        self.step += count
        self.report(events)

    def report(self, events):
        self.batch += 1
        answer = self.call("ReportEvents", "ReportEventsRequest", "ReportEventsResponse", **self.held, batch=self.batch, events=events)
        assert answer.acknowledged_batch == self.batch

    def finish(self):
        failed = {"error": {"code": 3, "message": "the end"}, "failure_class": "FAILURE_CLASS_DATA"}
        self.call("FinishAttempt", "FinishAttemptRequest", "FinishAttemptResponse", **self.held, last_batch=self.batch, failed=failed)


def start(graft, **flags):
    graft.start(workers=0, lease_seconds=3600, **flags)
    load(graft)


async def read_all(stream, seen):
    async for message in stream:
        if message.HasField("event"):
            seen.append((message.event.sequence, time.monotonic()))


async def watch_with(graft, users, job, readers, connections, report):
    """What each reader sees, until the job's end; `report` is run beside them, once all have seen the first event."""
    channels = [grpc.aio.insecure_channel(graft.address, options=OWN) for _ in range(connections)]
    seen = [[] for _ in range(readers)]
    tasks = []
    for number in range(readers):
        make = channels[number % connections].unary_stream(f"{JOBS}/WatchJob", users("WatchJobRequest").SerializeToString,
                                                           users("WatchJobResponse").FromString)
        tasks.append(asyncio.create_task(read_all(make(users("WatchJobRequest")(name=job), timeout=CALL_SECONDS), seen[number])))
    while not all(seen):
        await asyncio.sleep(0.01)  # tidy: until all have come
    await asyncio.get_running_loop().run_in_executor(None, report)
    await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()
    return seen


@pytest.mark.parametrize("watchers, asleep", [(100, 10), pytest.param(1000, 50, marks=pytest.mark.full)])
def test_watchers_that_never_read_cost_the_others_nothing(graft, users, workers, watchers, asleep):
    start(graft)
    job = graft.submit()
    reporter = Reporter(graft, workers)
    before = samples(graft.http)["process_resident_memory_bytes"]
    request = users("WatchJobRequest")(name=job).SerializeToString()
    sleepers = [Connection(graft.address) for _ in range(asleep)]
    for sleeper in sleepers:
        sleeper.open_streams(1, f"{JOBS}/WatchJob", request)
    told, held = [], []

    def report():
        # More than what a connection takes that nobody reads.
        for number in range(100):
            told.append(time.monotonic())
            reporter.report([{"warning": {"text": f"{number}" * 1000}}])
        held.append(samples(graft.http)["process_resident_memory_bytes"] - before)
        reporter.finish()

    seen = asyncio.run(watch_with(graft, users, job, watchers - asleep, 16, report))
    for sequences in seen:
        assert [sequence for sequence, _ in sequences] == list(range(1, 104)), "queued, running, a hundred, failed"
    late = [moment - told[sequence - 3] for sequences in seen for sequence, moment in sequences[2:-1]]
    print(f"\n{watchers} watchers, {asleep} of whom never read: {len(late)} events, median {share(late, 0.5):.3f} s and p99 {share(late, 0.99):.3f} s"
          f" after they were told, {held[0] / watchers / 1024:.0f} KiB each")
    assert held[0] <= watchers * BYTES_OF_WATCHER
    for sleeper in sleepers:
        sleeper.close()


class Nervous(threading.Thread):
    """A watcher that is cut off, by a cancel or with its connection, and goes on after what it has seen."""

    def __init__(self, address, users, job, events, reconnects, seed):
        super().__init__(daemon=True)
        self.address, self.users, self.job = address, users, job
        self.mean, self.dice = events / reconnects, random.Random(seed)
        self.last, self.connects, self.wrong = 0, 0, []
        self.start()

    def run(self):
        channel = None
        while not self.wrong and self.last is not None:
            if channel is None or self.dice.random() < 0.5:
                if channel is not None:
                    channel.close()
                channel = grpc.insecure_channel(self.address, options=OWN)
            self.connects += 1
            make = channel.unary_stream(f"{JOBS}/WatchJob", self.users("WatchJobRequest").SerializeToString, self.users("WatchJobResponse").FromString)
            stream = make(self.users("WatchJobRequest")(name=self.job, after_sequence=self.last), timeout=CALL_SECONDS)
            self.read(stream, self.dice.uniform(0, 2 * self.mean))
            stream.cancel()

    def read(self, stream, count):
        for message in stream:
            if not message.HasField("event"):
                continue
            if message.event.sequence != self.last + 1:
                self.wrong.append((self.last, message.event.sequence))
                return
            self.last += 1
            count -= 1
            if message.event.state_change.error.message == "the end":
                self.seen, self.last = self.last, None
                return
            if count < 0:
                return


@pytest.mark.parametrize("events, reconnects", [(10_000, 100), pytest.param(EVENTS, RECONNECTS, marks=pytest.mark.full)])
def test_watchers_that_are_cut_off_see_each_event_once_and_in_order(graft, users, workers, events, reconnects):
    start(graft)
    job = graft.submit()
    reporter = Reporter(graft, workers)
    watchers, began = 4, time.monotonic()
    nervous = [Nervous(graft.address, users, job, events / watchers, reconnects / watchers * 1.5, seed) for seed in range(watchers)]
    for _ in range(-(-events // watchers // 1000)):
        reporter.steps(1000)
    reporter.finish()
    for watcher in nervous:
        watcher.join()
    assert not [watcher.wrong for watcher in nervous if watcher.wrong]
    seen, connects = sum(watcher.seen for watcher in nervous), sum(watcher.connects for watcher in nervous)
    print(f"\n{watchers} watchers saw {seen} events in order, each once, over {connects} connections, in {time.monotonic() - began:.0f} s")
    assert {watcher.seen for watcher in nervous} == {3 + reporter.step}
    assert connects >= reconnects


async def flood(graft, users, calls, connections):
    """All at once. Returns codes, and how many refusals did not say when to come again."""
    channels = [grpc.aio.insecure_channel(graft.address, options=OWN) for _ in range(connections)]
    request = users("CreateJobRequest")()
    tune = request.job.spec.fine_tune
    tune.base_model, tune.data.train, tune.data.validation, tune.method.lora.rank = "tiny", "train", "valid", 2
    codes, silent = {}, []

    async def call(channel):
        make = channel.unary_unary(f"{JOBS}/CreateJob", lambda message: message.SerializeToString(), users("Job").FromString)
        try:
            await make(request, timeout=CALL_SECONDS)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            if RETRY_INFO not in details:
                silent.append((code, error.details()))
        codes[code] = codes.get(code, 0) + 1

    await asyncio.gather(*(call(channels[number % connections]) for number in range(calls)))
    for channel in channels:
        await channel.close()
    return codes, silent


@pytest.mark.parametrize("calls", [4000, pytest.param(10_000, marks=pytest.mark.full)])
def test_what_is_too_much_is_refused_with_a_time_and_health_is_answered(graft, users, calls):
    """A server of two threads has room for a thousand calls beside those that it is at."""
    start(graft, rpc_threads=2, max_queued_jobs=500)
    before = samples(graft.http)["process_resident_memory_bytes"]
    probe = subprocess.Popen([sys.executable, "-c", PROBE, graft.address], stdout=subprocess.PIPE, text=True)
    probe.stdout.readline()  # It is connected.
    codes, silent = asyncio.run(flood(graft, users, calls, calls // 1000))
    assert probe.poll() is None, "health was not answered"
    probe.kill()
    took = [float(line) for line in probe.communicate()[0].splitlines()[:-1]]
    grown = samples(graft.http)["process_resident_memory_bytes"] - before
    print(f"\n{calls} calls at once: {codes}; health {len(took)} times, median {share(took, 0.5) * 1000:.0f} ms, p99 {share(took, 0.99) * 1000:.0f} ms, "
          f"longest {max(took) * 1000:.0f} ms; {grown / 2**20:.0f} MiB")
    # tidy: the promise is a time; the rare late ones are this machine's as much as the server's.
    assert share(took, 0.5) < HEALTH_SECONDS
    assert not silent, silent[:5]
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"} and codes["OK"] == 500
    assert grown < BYTES_OF_CALLS
    assert len(graft.json("jobs", "--limit", "1000")) == 500
