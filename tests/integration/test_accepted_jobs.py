"""kill -9 of the server under load: each job that was accepted is there once, with a history that can be, and /metrics counts what is stored."""

import collections
import concurrent.futures
import random
import threading
import time

import grpc
import pytest

from conftest import load, samples

CALLERS = 8
# Requests a second that were answered, over the whole time: with fewer the long run would not show that kills meet requests.
LEAST_RATE = 200
AFTER = {None: {"QUEUED"}, "QUEUED": {"CANCELLED", "PAUSED"}, "PAUSED": {"QUEUED", "CANCELLED"}}


class Caller:
    """Submits jobs, and cancels, pauses or resumes some, as a program would that tries again what it has no answer to."""

    def __init__(self, number, address, messages, over):
        self.number, self.over = number, over
        self.random = random.Random(number)
        self.job, self.messages = messages("Job"), messages
        channel = grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100),
                                                          ("grpc.initial_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20)))
        self.calls = {verb: channel.unary_unary(f"/graft.v1.JobService/{verb}", messages(f"{verb}Request").SerializeToString, self.job.FromString)
                      for verb in ("CreateJob", "CancelJob", "PauseJob", "ResumeJob")}
        self.accepted = {}  # Names of jobs, by what they are called for people, with the last state that was answered.
        self.answered = self.sent_again = 0

    def call(self, verb, request):
        """Until there is an answer: the same request_id does it once."""
        while True:
            try:
                job = self.calls[verb](request, timeout=10)
                self.answered += 1
                return job
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                self.sent_again += 1
                time.sleep(0.01)  # tidy: polling another process

    def submit(self):
        display_name = f"{self.number}-{len(self.accepted)}"
        request = self.messages("CreateJobRequest")(request_id=display_name)
        request.job.display_name = display_name
        tune = request.job.spec.fine_tune
        tune.base_model, tune.data.train, tune.data.validation = "tiny", "train", "valid"
        tune.method.lora.SetInParent()
        tune.training.max_steps = 6
        job = self.call("CreateJob", request)
        self.accepted[display_name] = job
        return job

    def change(self, verb, job):
        request = self.messages(f"{verb}Request")(name=job.name, request_id=f"{job.name}-{verb}")
        self.accepted[job.display_name] = self.call(verb, request)

    def run(self):
        while not self.over.is_set():
            job = self.submit()
            if self.random.random() < 0.5:
                self.change("PauseJob", job)
                self.change("ResumeJob", job)
            if self.random.random() < 0.95:  # So that the queue stays short.
                self.change("CancelJob", job)


def all_jobs(address, messages):
    with grpc.insecure_channel(address) as channel:
        list_jobs = channel.unary_unary("/graft.v1.JobService/ListJobs", messages("ListJobsRequest").SerializeToString,
                                        messages("ListJobsResponse").FromString)
        jobs, token = [], ""
        while True:
            page = list_jobs(messages("ListJobsRequest")(page_size=1000, page_token=token))
            jobs += page.jobs
            token = page.next_page_token
            if not token:
                return jobs


def histories(address, messages, jobs):
    """The states of each job, by its log so far."""
    with grpc.insecure_channel(address) as channel:
        watch = channel.unary_stream("/graft.v1.JobService/WatchJob", messages("WatchJobRequest").SerializeToString,
                                     messages("WatchJobResponse").FromString)

        def history(job):
            states, sequences = [], []
            for response in watch(messages("WatchJobRequest")(name=job.name)):
                if response.HasField("event"):
                    sequences.append(response.event.sequence)
                    if response.event.HasField("state_change"):
                        states.append(response.event.state_change.to)
                    if response.event.sequence == job.last_sequence:
                        break
            assert sequences == list(range(1, job.last_sequence + 1)), job.name
            return states

        with concurrent.futures.ThreadPoolExecutor(CALLERS) as threads:
            return list(threads.map(history, jobs))


@pytest.mark.parametrize("kills, least_rate", [(5, 0), pytest.param(200, LEAST_RATE, marks=pytest.mark.full)])
def test_what_was_accepted_is_there_once(graft, kills, least_rate, users):
    state = lambda number: users("Job").DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[number].name.removeprefix("JOB_STATE_")
    graft.start(workers=0)
    load(graft)
    over = threading.Event()
    callers = [Caller(number, graft.address, users, over) for number in range(CALLERS)]
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as threads:
        running = [threads.submit(caller.run) for caller in callers]
        for _ in range(kills):
            over.wait(moments.uniform(0.1, 1.5))
            graft.kill_server()
            graft.start(workers=0)
        over.wait(0.5)
        over.set()
        for each in running:
            each.result()
    seconds = time.monotonic() - begin
    answered, again = sum(caller.answered for caller in callers), sum(caller.sent_again for caller in callers)
    accepted = {name: job for caller in callers for name, job in caller.accepted.items()}
    print(f"seed {seed}: {kills} kills, {len(accepted)} jobs, {answered} requests answered ({answered / seconds:.0f} a second), {again} sent again")
    assert answered / seconds >= least_rate, "too few to show anything"
    assert again > 0

    graft.kill_server()
    graft.start(workers=0)
    stored = all_jobs(graft.address, users)
    by_name = collections.Counter(job.display_name for job in stored)
    assert by_name == collections.Counter(accepted.keys()), "lost or there twice"
    lists = {job.display_name: job for job in stored}
    for name, job in accepted.items():
        assert (lists[name].name, lists[name].state) == (job.name, job.state), "not what was answered last"
    for job, states in zip(stored, histories(graft.address, users, stored)):
        before = None
        for each in map(state, states):
            assert each in AFTER.get(before, set()), (job.name, [state(number) for number in states])
            before = each
        assert before == state(job.state)
    counted = {series: value for series, value in samples(graft.http).items() if series.startswith("graft_jobs{") and value > 0}
    assert sum(counted.values()) == len(stored)
    for number, count in collections.Counter(job.state for job in stored).items():
        assert sum(value for series, value in counted.items() if f'state="{state(number)}"' in series) == count, counted
