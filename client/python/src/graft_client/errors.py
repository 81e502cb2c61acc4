"""What goes wrong, as the server says it."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"


class GraftError(Exception):
    """A call that failed.

    code: of gRPC. reason: UPPER_SNAKE and stable (docs/API.md), or empty: programs go by these two. violations: the fields that are at
    fault, with what would be right. retry_after: seconds after which it may be tried again, or None.
    """

    def __init__(self, code: grpc.StatusCode, message: str, *, reason: str = "", violations: list[tuple[str, str]] | None = None,
                 retry_after: float | None = None):
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = violations or []
        self.retry_after = retry_after
        super().__init__(f"{code.name}: {message}")

    @classmethod
    def of(cls, error: grpc.RpcError) -> "GraftError":
        """What a stub raised."""
        call = cls(error.code(), error.details() or "")
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS:
                call._read(status_pb2.Status.FromString(value))
        return call

    def _read(self, status: status_pb2.Status) -> None:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(bad):
                self.violations += [(violation.field, violation.description) for violation in bad.field_violations]
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToMicroseconds() / 1e6


class JobFailed(Exception):
    """A job that was waited for did not succeed: its last state is in `job`."""

    def __init__(self, job):
        self.job = job
        why = job.error.message or job.state_reason
        super().__init__(f"{job.name} is {_short(job.state)}" + (f": {why}" if why else ""))


class StudyFailed(Exception):
    """A study that was waited for did not succeed."""

    def __init__(self, study):
        self.study = study
        super().__init__(f"{study.name} did not succeed" + (f": {study.state_reason}" if study.state_reason else ""))


def _short(state: int) -> str:
    from graft_client.v1 import event_pb2
    return event_pb2.JobState.Name(state).removeprefix("JOB_STATE_")
