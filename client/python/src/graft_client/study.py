"""A study: trials, and which of them is the best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from graft_client.errors import StudyFailed
from graft_client.resource import Resource
from graft_client.v1 import study_pb2

if TYPE_CHECKING:
    import pandas


class Study(Resource):
    """A study of the server, as it was when it was last looked at (`refresh`). What the message Study has is here, too: study.ranking."""

    def __repr__(self) -> str:
        return f"<{self.message.name} {self.status}>"

    @property
    def status(self) -> str:
        """Its state in a word: "RUNNING"."""
        return study_pb2.StudyState.Name(self.message.state).removeprefix("STUDY_STATE_")

    def refresh(self) -> "Study":
        return self._do(self._calls.studies.GetStudy, study_pb2.GetStudyRequest(name=self.message.name))

    def watch(self, after: int = 0) -> Iterator[study_pb2.StudyEvent]:
        """Its events, each once and in order, until it is done."""
        yield from self._events(lambda seen: self._calls.studies.WatchStudy(study_pb2.WatchStudyRequest(name=self.message.name, after_sequence=seen)), after)

    def wait(self) -> "Study":
        """Blocks until it is done. StudyFailed: it did not succeed."""
        for _ in self.watch():
            pass
        if self.refresh().message.state != study_pb2.STUDY_STATE_SUCCEEDED:
            raise StudyFailed(self)
        return self

    def pause(self) -> "Study":
        return self._do(self._calls.studies.PauseStudy, study_pb2.PauseStudyRequest(name=self.message.name))

    def resume(self) -> "Study":
        return self._do(self._calls.studies.ResumeStudy, study_pb2.ResumeStudyRequest(name=self.message.name))

    def cancel(self) -> "Study":
        return self._do(self._calls.studies.CancelStudy, study_pb2.CancelStudyRequest(name=self.message.name))

    def delete(self) -> None:
        self._calls.unary(self._calls.studies.DeleteStudy, study_pb2.DeleteStudyRequest(name=self.message.name))

    def table(self) -> "pandas.DataFrame":
        """Its trials: what each was told, and what it came to."""
        import pandas
        rows = []
        for trial in self.message.trials:
            state = study_pb2.TrialState.Name(trial.state).removeprefix("TRIAL_STATE_")
            last = trial.value if trial.HasField("value") else (trial.values[-1].value if trial.values else None)
            rows.append({"trial": trial.number, **{path.split(".")[-1]: value for path, value in trial.parameters.items()}, "seed": trial.seed,
                         "state": state, "steps": trial.steps, self.message.objective.metric or "value": last, "job": trial.job})
        return pandas.DataFrame(rows)

    def _do(self, method: Any, request: Any) -> "Study":
        self.message = self._calls.unary(method, request)
        return self
