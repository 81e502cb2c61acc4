"""Whoever holds as much of a server as he can: the others are served, users and workers alike."""

import contextlib
import resource
import signal
import uuid

import grpc
import pytest

from conftest import load, samples, wait_until
from hostile import Connection
from messages import load_messages

# tidy: the deadline of each call of the others, which is what they were promised.
PROMISED_SECONDS = 1
ROUNDS = 20
DESCRIPTORS = 4096
UPLOAD = "/graft.v1.DatasetService/UploadDataset"
REFUSED_UPLOADS = 'graft_rpc_calls_total{code="RESOURCE_EXHAUSTED",method="DatasetService.UploadDataset"}'
OPEN_UPLOADS = 'graft_rpc_streams{method="DatasetService.UploadDataset"}'


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return load_messages(tmp_path_factory.mktemp("datasets"), "graft/v1/dataset.proto")


@pytest.fixture
def descriptors():
    """Enough for 2,000 connections, in the server too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= DESCRIPTORS
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard if enough else DESCRIPTORS))
    except (ValueError, OSError) as error:
        pytest.skip(f"needs {DESCRIPTORS} descriptors, may have {hard}: {error}")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def answered(http):
    """Uploads that are open, and those that were refused."""
    return sum(samples(http).get(series, 0) for series in (OPEN_UPLOADS, REFUSED_UPLOADS))


@contextlib.contextmanager
def channel_to(address):
    """A connection of its own, as a newcomer has."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


class Caller:
    def __init__(self, channel, service, messages):
        self.channel, self.service, self.messages = channel, service, messages

    def call(self, method, request, response, **fields):
        make = self.channel.unary_unary(f"/{self.service}/{method}", self.messages(request).SerializeToString, self.messages(response).FromString)
        return make(self.messages(request)(**fields), timeout=PROMISED_SECONDS)

    def first(self, method, request, response, **fields):
        """The first message of a stream; the stream goes on until it is closed."""
        make = self.channel.unary_stream(f"/{self.service}/{method}", self.messages(request).SerializeToString, self.messages(response).FromString)
        stream = make(self.messages(request)(**fields), timeout=PROMISED_SECONDS)
        return next(stream), stream


def be_served(graft, job, users, workers):
    """A user and a worker, both new, each call within its deadline."""
    with channel_to(graft.address) as channel:
        user = Caller(channel, "graft.v1.JobService", users)
        assert user.call("GetJob", "GetJobRequest", "Job", name=job).name == job
        message, watching = user.first("WatchJob", "WatchJobRequest", "WatchJobResponse", name=job)
        assert message.event.sequence == 1
        watching.cancel()
    with channel_to(f"unix:{graft.directory / 'data/workers.sock'}") as channel:
        caller = Caller(channel, "graft.worker.v1.WorkerService", workers)
        me = workers("WorkerIdentity")(id=f"w-{uuid.uuid4().hex}", instance="one")
        welcome, connected = caller.first("Connect", "ConnectRequest", "Command", worker=me, slots=1)
        assert welcome.HasField("welcome")
        lease = caller.call("LeaseJob", "LeaseJobRequest", "LeaseJobResponse", worker=me, request_id="r").lease
        held = workers("HeartbeatRequest").Held(job=lease.job, lease_epoch=lease.lease_epoch)
        answer = caller.call("Heartbeat", "HeartbeatRequest", "HeartbeatResponse", worker=me, leases=[held])
        assert lease.job and answer.renewals[0].held
        connected.cancel()


@pytest.mark.full
def test_4096_hostile_streams_and_2000_idle_connections_stop_nobody(descriptors, graft, users, datasets, workers):
    graft.start(workers=0, lease_seconds=60, heartbeat_seconds=5, lease_margin_seconds=5)
    load(graft)
    jobs = [graft.submit() for _ in range(ROUNDS)]
    idle = [Connection(graft.address) for _ in range(2000)]
    crowd = [Connection(graft.address) for _ in range(8)]
    begin = datasets("UploadDatasetRequest")(metadata={"name": "idle"}).SerializeToString()
    for connection in crowd:
        connection.open_streams(513, UPLOAD, begin)
    wait_until(lambda: answered(graft.http) == 8 * 513, "each to be open or refused")
    held = samples(graft.http)[OPEN_UPLOADS]
    # Whose turn came late finds but the few that are kept for newcomers.
    assert 4096 - 512 <= held < 4096 - 512 + 8 * 8
    for job in jobs:
        be_served(graft, job, users, workers)
    assert samples(graft.http)[OPEN_UPLOADS] == held, "and they are still there"
    assert graft.job(graft.submit())["state"] == "JOB_STATE_QUEUED"
    for connection in (*crowd, *idle):
        connection.close()
    wait_until(lambda: samples(graft.http)[OPEN_UPLOADS] == 0, "what they held to be free")


def test_a_stop_waits_for_endless_uploads_no_longer_than_it_says(graft, datasets):
    graft.start(workers=0, drain_seconds=0.2, stop_seconds=20)
    begin = datasets("UploadDatasetRequest")(metadata={"name": "endless"}).SerializeToString()
    crowd = Connection(graft.address)
    crowd.open_streams(50, UPLOAD, begin)
    wait_until(lambda: samples(graft.http).get(OPEN_UPLOADS) == 50, "the uploads")
    graft.process.send_signal(signal.SIGTERM)
    assert graft.process.wait() == 0
    assert "stopped" in graft.log.read_text()
    crowd.close()
