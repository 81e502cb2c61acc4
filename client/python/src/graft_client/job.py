"""A job: what it does, and what becomes of it."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from graft_client import progress as bars
from graft_client import transfers
from graft_client.calls import TRANSFER_SECONDS
from graft_client.errors import GraftError, JobFailed
from graft_client.resource import Resource
from graft_client.v1 import event_pb2, job_pb2, results_pb2

if TYPE_CHECKING:
    import pandas


class Job(Resource):
    """A job of the server, as it was when it was last looked at (`refresh`). What the message Job has is here, too: job.step, job.result."""

    def __repr__(self) -> str:
        called = f" {self.message.display_name!r}" if self.message.display_name else ""
        return f"<{self.message.name}{called} {self.status}>"

    @property
    def status(self) -> str:
        """Its state in a word: "RUNNING"."""
        return event_pb2.JobState.Name(self.message.state).removeprefix("JOB_STATE_")

    def refresh(self) -> "Job":
        self.message = self._calls.unary(self._calls.jobs.GetJob, job_pb2.GetJobRequest(name=self.message.name))
        return self

    def watch(self, after: int = 0) -> Iterator[event_pb2.JobEvent]:
        """Its events, each once and in order, those after sequence `after`; follows it until it is done, however often the server goes
        and comes back."""
        yield from self._events(lambda seen: self._calls.jobs.WatchJob(job_pb2.WatchJobRequest(name=self.message.name, after_sequence=seen)), after)

    def wait(self, *, progress: bool | None = None) -> job_pb2.JobResult:
        """Blocks until it is done. JobFailed: it did not succeed. `progress`: a bar (where nobody says: where somebody sees it)."""
        bar = bars.JobBar(bars.wanted(progress), self.refresh())
        try:
            for event in self.watch():
                bar.tell(event)
        finally:
            bar.close()
        self.refresh()
        if self.message.state != event_pb2.JOB_STATE_SUCCEEDED:
            raise JobFailed(self)
        return self.message.result

    def cancel(self, *, save_checkpoint: bool = False) -> "Job":
        return self._do(self._calls.jobs.CancelJob, job_pb2.CancelJobRequest(save_checkpoint=save_checkpoint))

    def pause(self) -> "Job":
        return self._do(self._calls.jobs.PauseJob, job_pb2.PauseJobRequest())

    def resume(self) -> "Job":
        return self._do(self._calls.jobs.ResumeJob, job_pb2.ResumeJobRequest())

    def checkpoint(self) -> "Job":
        """Asks it to save its state at the end of a step."""
        return self._do(self._calls.jobs.CheckpointJob, job_pb2.CheckpointJobRequest())

    def retry(self, *, from_scratch: bool = False) -> "Job":
        """A new job that goes on from this one's newest checkpoint."""
        request = job_pb2.RetryJobRequest(name=self.message.name, from_scratch=from_scratch)
        return Job(self._calls, self._calls.unary(self._calls.jobs.RetryJob, request))

    def edit(self, **changes: Any) -> "Job":
        """display_name, labels, priority, deadline, allow_migration."""
        changed = job_pb2.Job(name=self.message.name, **changes)
        return self._do(self._calls.jobs.UpdateJob, job_pb2.UpdateJobRequest(job=changed, update_mask=FieldMask(paths=list(changes))))

    def delete(self, *, delete_adapter: bool = False) -> None:
        self._calls.unary(self._calls.jobs.DeleteJob, job_pb2.DeleteJobRequest(name=self.message.name, delete_adapter=delete_adapter))

    def metrics(self, *names: str, max_points: int = 500) -> "pandas.DataFrame":
        """Its numbers over its steps (where there are more than max_points, some of them); all that it has, where none is named."""
        import pandas
        request = results_pb2.ReadMetricsRequest(name=self.message.name, metrics=names, max_points=max_points)
        answer = self._calls.unary(self._calls.jobs.ReadMetrics, request)
        if not names:
            request.metrics.extend(answer.metrics[:32])
            answer = self._calls.unary(self._calls.jobs.ReadMetrics, request)
        curves = {curve.metric: pandas.Series({point.step: point.last for point in curve.points}) for curve in answer.curves}
        return pandas.DataFrame(curves).rename_axis("step").sort_index()

    def rows(self, *, order: str = "file", limit: int | None = None) -> "pandas.DataFrame":
        """The loss of each validation row: in the order of the file, "worst" first, or those first that lost most to the untuned base."""
        import pandas
        request = results_pb2.ReadRowsRequest(name=self.message.name, order=f"ROW_ORDER_{order.upper()}", page_size=1000)
        found = self._calls.pages(self._calls.jobs.ReadRows, request, "rows", limit)
        names = [field.name for field in results_pb2.RowLoss.DESCRIPTOR.fields]
        return pandas.DataFrame([[None if name == "untuned_loss" and not row.HasField(name) else getattr(row, name) for name in names] for row in found],
                                columns=names)

    def predictions(self) -> list[dict[str, Any]]:
        """What it generated, a row each (docs/FORMATS.md)."""
        text = b"".join(self._artifact("predictions.jsonl")).decode("utf-8")
        return [json.loads(line) for line in text.split("\n") if line]

    def artifacts(self) -> list[job_pb2.Artifact]:
        request = job_pb2.ListJobArtifactsRequest(name=self.message.name)
        return list(self._calls.unary(self._calls.jobs.ListJobArtifacts, request).artifacts)

    def download(self, artifact: str, to: str | os.PathLike) -> pathlib.Path:
        """One of its files, which appears whole or not at all."""
        target = pathlib.Path(to).expanduser()
        partial = target.with_name(f"{target.name}.partial")
        with open(partial, "wb") as file:
            for piece in self._artifact(artifact):
                file.write(piece)
        return partial.replace(target)

    def checkpoints(self) -> list[job_pb2.JobCheckpoint]:
        request = job_pb2.ListJobCheckpointsRequest(name=self.message.name)
        return list(self._calls.unary(self._calls.jobs.ListJobCheckpoints, request).checkpoints)

    def log(self, *, attempt: int = 0, stream: str = "engine", follow: bool = False) -> Iterator[bytes]:
        """What an attempt (0: the latest) wrote: its "engine", or its "worker" about it."""
        offset = 0

        def begin() -> Any:
            return self._calls.jobs.ReadJobLog(job_pb2.ReadJobLogRequest(name=self.message.name, attempt=attempt, offset_bytes=offset,
                                                                         stream=f"JOB_LOG_STREAM_{stream.upper()}", follow=follow))

        def take(chunk: job_pb2.JobLogChunk) -> bytes:
            nonlocal offset
            offset = chunk.offset_bytes + len(chunk.data)
            return chunk.data

        yield from self._calls.following(begin, take)

    def _do(self, method: Any, request: Any) -> "Job":
        if "name" in request.DESCRIPTOR.fields_by_name:
            request.name = self.message.name
        self.message = self._calls.unary(method, request)
        return self

    def _artifact(self, path: str) -> Iterator[bytes]:
        request = job_pb2.DownloadJobArtifactRequest(name=self.message.name, path=path)
        try:
            for chunk in self._calls.jobs.DownloadJobArtifact(request, timeout=TRANSFER_SECONDS):
                yield chunk.data
        except grpc.RpcError as error:
            raise GraftError.of(error) from None
