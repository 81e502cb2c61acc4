"""Requests that nobody should send, to every method of every service of ours, users' and workers': the server answers each with a status that
says whose fault it is, stays small, and serves the next caller.

GRAFT_FUZZED_CALLS sets how many the long form makes (100,000), GRAFT_FUZZ_SEED which (1). A line at the end says what was done."""

import collections
import concurrent.futures
import hashlib
import itertools
import os
import subprocess
import threading

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.message import DecodeError

from conftest import ASSETS, load, samples, wait_until
from messages import PROTOS, load_files
from micro_model import write_model
from request_fuzzer import Fuzzer

CALLS, SEED = int(os.environ.get("GRAFT_FUZZED_CALLS", 100_000)), int(os.environ.get("GRAFT_FUZZ_SEED", 1))
ROUND = 500  # Calls between two looks at the server.
CALLERS = 8
CALL_SECONDS = 120  # So that nothing hangs a test for ever.
MOST_MESSAGES = 20  # That are read of a stream.
MEMORY_BYTES = 64 << 20  # More than at the beginning.
MOST_BYTES = 4 << 30  # With the stacks of its threads: what takes more dies, and not the machine.
PUBLIC = sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / "graft/v1").glob("*.proto"))
INNER = ["graft/worker/v1/worker.proto"]
# What no message deserves that is one. To others gRPC itself says UNIMPLEMENTED.
OURS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
FILTERS = ['state = "QUEUED"', 'done = true AND labels.a = "b"', 'method = "lora"', 'create_time < "2030-01-01T00:00:00Z"', 'state = "', "done", 'a = "b" AND ' * 500]
WORKER = "w-0123456789abcdef0123456789abcdef"
BLOB = hashlib.sha256(b"blob").hexdigest()


class Target:
    """What is called: every method, with messages that are valid for this server."""

    def __init__(self, graft, directory):
        self.graft = graft
        self.users = grpc.insecure_channel(graft.address)
        self.workers = grpc.insecure_channel(f"unix:{graft.directory / 'data/workers.sock'}")
        files, self.pool = load_files(directory, *PUBLIC, *INNER)
        self.methods = [method for file in files if file.name in {*PUBLIC, *INNER}
                        for service in self.pool.FindFileByName(file.name).services_by_name.values() for method in service.methods]
        self.names = {"dataset": ["train", "valid"], "model": ["tiny", "micro"], "adapter": ["made"], "filter": FILTERS, "token": [""],
                      "order_by": ["create_time", "priority desc", "name"], "workeridentity": [WORKER, "one"], "request_id": ["a", "b", "c"],
                      "mask": ["priority", "labels.a", "deadline", "spec", "*"], "device": ["cpu", "NVIDIA H200"], "precision": ["fp32", "bf16"],
                      "path": ["adapter_model.safetensors", "metrics.jsonl", "config.json"], "sha256": [BLOB, *self.hashes()]}
        self.valid = {}
        self.rounds = 0
        self.make_streams()
        self.look()

    def channel(self, method):
        return self.workers if method.startswith("/graft.worker.") else self.users

    def kind(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def give(self, name, *fields):
        """Valid messages of a type: those of a stream in their order."""
        self.valid[name] = [self.kind(name)(**each) for each in fields]

    def answer(self, method, request, response, **fields):
        data = self.channel(method).unary_unary(method)(self.kind(request)(**fields).SerializeToString(), timeout=CALL_SECONDS)
        return self.kind(response).FromString(data)

    def hashes(self):
        return [item["sha256"] for item in self.graft.json("datasets", "list")]

    def look(self):
        """What is there by now, and a lease that is valid for some time."""
        jobs = [job["name"] for job in self.graft.json("jobs", "--limit", "40")]
        self.names["checkpoint"] = [f"{job}/checkpoints/3" for job in jobs]
        self.names["job"] = jobs
        self.names[""] = [value for word, values in self.names.items() if word for value in values]
        job = self.answer("/graft.v1.JobService/GetJob", "graft.v1.GetJobRequest", "graft.v1.Job", name=jobs[0])
        self.give("graft.v1.CreateJobRequest", {"job": {"spec": job.spec}}, {"job": {"spec": job.spec, "priority": 5, "labels": {"a": "b"}}, "validate_only": True})
        self.give("graft.v1.PlanJobRequest", {"spec": job.spec}, {"spec": job.spec, "priority": 5, "detectable_difference": 0.02, "without_worker": True})
        self.give("graft.v1.UpdateJobRequest", *({"job": {"name": name, "priority": 3}, "update_mask": {"paths": ["priority"]}} for name in jobs[:5]))
        self.rounds += 1
        me = {"id": WORKER, "instance": "one"}
        for request in ("Connect", "Heartbeat", "LeaseJob"):
            self.give(f"graft.worker.v1.{request}Request", {"worker": me})
        lease = self.answer("/graft.worker.v1.WorkerService/LeaseJob", "graft.worker.v1.LeaseJobRequest", "graft.worker.v1.LeaseJobResponse", worker=me,
                            request_id=f"round-{self.rounds}").lease
        held = {"worker": me, "job": lease.job, "lease_epoch": lease.lease_epoch}
        metrics = [{"metrics": {"step": step, "values": {"train/loss": 1.0}}} for step in range(1, 4)]
        self.give("graft.worker.v1.ReportEventsRequest", *({**held, "batch": batch, "events": metrics} for batch in range(1, 4)))
        files = [{"path": "state.json", "size_bytes": 4, "sha256": BLOB}]
        self.give("graft.worker.v1.CommitCheckpointRequest", {**held, "step": 2, "files": files}, {**held, "step": 3, "files": files})
        self.give("graft.worker.v1.AppendLogRequest", {"worker": me, "job": lease.job, "attempt": lease.attempt, "stream": 1, "data": b"a line\n"})
        self.give("graft.worker.v1.FinishAttemptRequest", {**held, "failed": {"error": {"code": 13, "message": "a machine"}, "failure_class": 1}},
                  {**held, "returned": {}}, {**held, "last_batch": 3, "succeeded": {"output": files}})

    def make_streams(self):
        """What becomes a data set, a model, an adapter and a blob."""
        rows = (self.graft.directory / "train.jsonl").read_bytes()
        self.give("graft.v1.UploadDatasetRequest", {"metadata": {"name": "fuzzed", "file_name": "a.jsonl"}}, {"data": rows[:1000]}, {"data": rows[1000:]})
        self.give("graft.worker.v1.UploadBlobRequest", {"metadata": {"sha256": BLOB, "size_bytes": 4}}, {"data": b"bl"}, {"data": b"ob"})
        for request, metadata, folder in (("Model", {"name": "fuzzed"}, "micro"), ("Adapter", {"name": "fuzzed", "base_model": "tiny"}, "made")):
            files = sorted(path for path in (self.graft.directory / folder).iterdir() if path.stat().st_size < 1 << 20)
            self.give(f"graft.v1.Import{request}Request", {"metadata": metadata},
                      *({"chunk": {"path": path.name, "size_bytes": path.stat().st_size, "data": path.read_bytes()}} for path in files))


# `how` was done to each message; `wrong`: what the server may not do, "" if it did nothing of it.
Outcome = collections.namedtuple("Outcome", "path code how wrong")


class Caller:
    def __init__(self, target, fuzzer):
        self.target, self.fuzzer = target, fuzzer

    def messages_of(self, dice, method):
        """Pairs of a message and what was done to it."""
        if not method.client_streaming:
            return [self.fuzzer.request(dice, method.input_type)]
        sequence = [message.SerializeToString() for message in self.target.valid.get(method.input_type.full_name, [])]
        if dice.random() < 0.4:
            return [self.fuzzer.request(dice, method.input_type) for _ in range(dice.randrange(5))]
        spoilt = dice.randrange(len(sequence) + 1)
        return [self.fuzzer.request(dice, method.input_type) if place == spoilt else (data, "as it is") for place, data in enumerate(sequence)]

    def call(self, number):
        dice = self.fuzzer.dice(number)
        method = dice.choice(self.target.methods)
        made = self.messages_of(dice, method)
        messages = [data for data, _ in made]
        path = f"/{method.containing_service.full_name}/{method.name}"
        code, details, wrong = grpc.StatusCode.OK, "", ""
        try:
            self.make(dice, method, path, messages)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
        if code == grpc.StatusCode.DEADLINE_EXCEEDED and not method.server_streaming:
            wrong = "no answer"
        elif code in OURS and all(parses(method, data) for data in messages):
            wrong = f"{code.name}: {details}"
        return Outcome(path, code.name, [how for _, how in made], wrong and f"call {number} of seed {SEED}: {path}: {wrong}: {str(messages)[:2000]}")

    def make(self, dice, method, path, messages):
        channel = self.target.channel(path)
        seconds = dice.choice([0.05, 0.2, 1]) if method.server_streaming else CALL_SECONDS
        if not method.client_streaming and not method.server_streaming:
            return channel.unary_unary(path)(messages[0], timeout=seconds)
        if not method.client_streaming:
            stream = channel.unary_stream(path)(messages[0], timeout=seconds)
            list(itertools.islice(stream, MOST_MESSAGES))
            return stream.cancel()
        sent = threading.Event()
        broken = dice.random() < 0.3

        def send():
            yield from messages
            sent.set()
            if broken:
                stopped.wait(CALL_SECONDS)

        stopped = threading.Event()
        stream = channel.stream_unary(path).future(send(), timeout=seconds)
        if broken:  # It ends in the middle.
            wait_until(lambda: sent.is_set() or stream.done(), "the messages")
            stream.cancel()
            stopped.set()
        try:
            return stream.result()
        except grpc.FutureCancelledError:
            return None


def parses(method, data):
    try:
        message_factory.GetMessageClass(method.input_type).FromString(data)
    except DecodeError:
        return False
    return True


@pytest.fixture
def busy(graft):
    """A server whose store holds a bit of everything, and the channel of a user. No worker of ours is left."""
    graft.start(workers=0, lease_seconds=3600, prefix=["prlimit", f"--data={MOST_BYTES}"])
    load(graft)
    write_model(graft.directory / "micro")
    graft.cli("models", "add", "micro", graft.directory / "micro")
    worker = graft.start_worker("w", "--device", "cpu", "--engine-threads", "1")
    graft.wait_for(graft.submit("--output-name", "made", "--max-steps", "3"))
    worker.kill()
    worker.wait()
    graft.cli("adapters", "download", "made", "--to", graft.directory / "made")
    graft.cli("cancel", graft.submit())
    for _ in range(5):
        graft.submit()
    return graft


@pytest.mark.parametrize("calls", [2000, pytest.param(CALLS, marks=pytest.mark.full)])
def test_no_request_breaks_the_server(busy, tmp_path, calls):
    target = Target(busy, tmp_path)
    caller = Caller(target, Fuzzer(SEED, target.names, target.valid))
    memory, outcomes = [], []
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        for begin in range(0, calls, ROUND):
            outcomes += pool.map(caller.call, range(begin, min(calls, begin + ROUND)))
            assert busy.process.poll() is None, f"the server died in calls {begin} to {begin + ROUND}: {busy.log.read_text()[-4000:]}"
            assert not any(outcome.wrong for outcome in outcomes), "\n".join(outcome.wrong for outcome in outcomes if outcome.wrong)
            memory.append(samples(busy.http)["process_resident_memory_bytes"])
            assert memory[-1] <= memory[0] + MEMORY_BYTES
            load_again(busy)
            target.look()
    codes, how = collections.Counter(outcome.code for outcome in outcomes), collections.Counter(how for outcome in outcomes for how in outcome.how)
    served = {outcome.path for outcome in outcomes if outcome.code == "OK"}
    assert len({outcome.path for outcome in outcomes}) == len(target.methods), "a method was not called"
    print(f"\n{calls} calls of {len(target.methods)} methods, seed {SEED}: {dict(codes.most_common())}; {len(served)} methods did what was asked at least once.\n"
          f"{sum(how.values())} messages: {dict(how.most_common())}.\n{(max(memory) - memory[0]) / 2**20:.0f} MiB more than after {ROUND} calls, {max(memory) / 2**20:.0f} at the most")
    work_as_before(busy)


def load_again(graft):
    """What requests that were valid have deleted, as far as their names are free."""
    for name in ("train", "valid"):
        graft.cli("datasets", "upload", graft.directory / f"{name}.jsonl", "--name", name, check=False)
    graft.cli("models", "add", "tiny", ASSETS / "model", check=False)
    graft.cli("adapters", "import", graft.directory / "made", "--name", "made", "--base-model", "tiny", check=False)
    graft.submit("--train", graft.directory / "train.jsonl")


def work_as_before(graft):
    """A job to its end, and a look at all that is stored."""
    graft.cli("models", "add", "last", ASSETS / "model")
    worker = graft.start_worker("last", "--device", "cpu", "--engine-threads", "1")
    graft.wait_for(graft.submit("--base-model", "last", "--train", graft.directory / "train.jsonl", "--validation", graft.directory / "valid.jsonl",
                                "--priority", "1000", "--output-name", "last"))
    worker.kill()
    worker.wait()
    graft.cli("adapters", "download", "last", "--to", graft.directory / "downloaded")
    checked = subprocess.run([graft.build / "bin/graft-server", "check", "--read", "--data", graft.directory / "data"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
