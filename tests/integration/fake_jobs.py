"""A server of graft.v1.JobService that says what a test tells it to say, when it does."""

import concurrent.futures
import queue

import grpc
from google.protobuf import json_format


class FakeJobs:
    """One job, "jobs/k3f9", whose watchers are sent what `send` is given."""

    BREAK, END = object(), object()

    def __init__(self, messages):
        self.response, self.job = messages("WatchJobResponse"), messages("Job")
        self.shown = {"name": "jobs/k3f9"}
        self.queue = queue.Queue()
        self.sequence = 0
        handlers = {"WatchJob": grpc.unary_stream_rpc_method_handler(self.watch, messages("WatchJobRequest").FromString, self.response.SerializeToString),
                    "GetJob": grpc.unary_unary_rpc_method_handler(self.get, messages("GetJobRequest").FromString, self.job.SerializeToString)}
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("graft.v1.JobService", handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def watch(self, request, context):
        while True:
            item = self.queue.get()
            if item is self.END:
                return
            if item is self.BREAK:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield item

    def get(self, request, context):
        return json_format.ParseDict(self.shown, self.job())

    def event(self, **payload):
        self.sequence += 1
        self.queue.put(json_format.ParseDict({"event": {"sequence": self.sequence, "attempt": 1, **payload}}, self.response()))

    def state(self, name, **more):
        self.event(state_change={"to": f"JOB_STATE_{name}", **more})

    def stage(self, name, **more):
        self.event(stage_change={"stage": f"JOB_STAGE_{name}", **more})

    def step(self, number, loss, total=150):
        self.event(create_time=f"2026-01-01T00:00:{number:02}Z", metrics={"step": number, "total_steps": total, "values": {"train/loss": loss, "train/tokens_per_second": 444}})

    def heartbeat(self, stage, done, total, eta=0, silent=0):
        self.queue.put(json_format.ParseDict({"heartbeat": {"state": "JOB_STATE_RUNNING", "stage": f"JOB_STAGE_{stage}", "stage_done": done,
                                                            "stage_total": total, "eta_seconds": eta, "worker_silent_seconds": silent}}, self.response()))

    def train(self):
        """A job in the middle of its training."""
        self.state("RUNNING", reason="claimed by worker w")
        self.stage("TRAINING", total_steps=150, trainable_parameters=1000, total_parameters=2000, device="cpu", precision="fp32")
        for number, loss in enumerate((3.3, 3.6, 3.2, 3.5, 3.119), start=13):
            self.step(number, loss)
        self.heartbeat("TRAINING", 17, 150, eta=210.9)

    def break_stream(self):
        self.queue.put(self.BREAK)

    def finish(self, state="SUCCEEDED", **shown):
        """The last event, and what GetJob then answers."""
        self.shown = {"name": "jobs/k3f9", "state": f"JOB_STATE_{state}", "done": True, **shown}
        self.state(state, reason="done")
        self.queue.put(self.END)

    def stop(self):
        self.queue.put(self.END)
        self.server.stop(None).wait()
