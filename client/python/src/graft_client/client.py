"""The client."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

from graft_client import data as tables
from graft_client import progress as bars
from graft_client import settings as flat
from graft_client import transfers
from graft_client.calls import TRANSFER_SECONDS, Calls
from graft_client.errors import GraftError
from graft_client.job import Job
from graft_client.study import Study
from graft_client.v1 import adapter_pb2, dataset_pb2, job_pb2, model_pb2, plan_pb2, results_pb2, spec_pb2, study_pb2, worker_pb2

if TYPE_CHECKING:
    import pandas


class Client:
    """A graft server. Thread-safe. Every failure of a call is a GraftError.

    server: "HOST:PORT" or "unix:PATH"; default: GRAFT_SERVER, else 127.0.0.1:50051. timeout: seconds for a call. patience: how long an
    absent server is waited for, by a call; stream_patience: by a watch or an upload.
    """

    def __init__(self, server: str | None = None, *, timeout: float = 30.0, patience: float = 2.0, stream_patience: float = 600.0):
        self._calls = Calls(server, timeout, patience, stream_patience)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._calls.close()

    # Jobs.

    def submit(self, base_model: str = "", train: str = "", *, method: Any = "lora", spec: Mapping[str, Any] | None = None, name: str = "",
               labels: Mapping[str, str] | None = None, priority: int = 0, study: str = "", request_id: str = "", validate_only: bool = False,
               **settings: Any) -> Job:
        """Queues a fine-tune job. `settings` are fields of FineTuneSpec and what stands in it, by their own names: rank, max_steps,
        learning_rate, validation_fraction, ….  method: "lora", "lora+soft_prompt", "dora", or a mapping {"lora": {"rank": 4}}. Or all of
        it as a `spec`, a JobSpec as JSON has it (`graft show --json`). Data are names: `upload` first."""
        job = self._job(name, labels, priority, study, self._fine_tune(spec, base_model, train, method, settings))
        return self._create(job, request_id, validate_only)

    def evaluate(self, data: str = "", *, adapter: str = "", base_model: str = "", spec: Mapping[str, Any] | None = None, name: str = "",
                 labels: Mapping[str, str] | None = None, priority: int = 0, study: str = "", request_id: str = "", validate_only: bool = False,
                 **settings: Any) -> Job:
        """Queues an evaluation of an adapter, or of the untuned model, on a data set. `settings` are fields of EvaluateSpec."""
        whole = json_format.ParseDict(dict(spec or {}), spec_pb2.JobSpec())
        flat.fill_evaluate(whole.evaluate, {"validation": data or None, "adapter": adapter or None, "base_model": base_model or None} | settings)
        return self._create(self._job(name, labels, priority, study, whole), request_id, validate_only)

    def plan(self, base_model: str = "", train: str = "", *, method: Any = "lora", spec: Mapping[str, Any] | None = None, without_worker: bool = False,
             **settings: Any) -> plan_pb2.JobPlan:
        """What such a job would do: tokens, steps, memory, time, and what is to be looked at before it runs."""
        job = job_pb2.Job(spec=self._fine_tune(spec, base_model, train, method, settings))
        # An idle worker has some seconds to measure it.
        return self._calls.unary(self._calls.jobs.PlanJob, plan_pb2.PlanJobRequest(job=job, without_worker=without_worker), self._calls.timeout + 30)

    def job(self, name: str) -> Job:
        return Job(self._calls, self._calls.unary(self._calls.jobs.GetJob, job_pb2.GetJobRequest(name=name)))

    def jobs(self, filter: str = "", *, order_by: str = "", limit: int | None = None) -> Iterator[Job]:
        """Newest first. filter: 'state = "RUNNING" AND labels.team = "a"' (docs/API.md). Their specs are not there before `refresh`."""
        request = job_pb2.ListJobsRequest(filter=filter, order_by=order_by)
        for message in self._calls.pages(self._calls.jobs.ListJobs, request, "jobs", limit):
            yield Job(self._calls, message)

    def compare(self, jobs: Iterable[Job | str] = (), *, study: str = "", metric: str = "") -> results_pb2.CompareJobsResponse:
        """Jobs side by side, with the differences to the first and their 95 % intervals (docs/EVALUATION.md)."""
        names = [job if isinstance(job, str) else job.name for job in jobs]
        return self._calls.unary(self._calls.jobs.CompareJobs, results_pb2.CompareJobsRequest(names=names, study=study, metric=metric))

    def compare_table(self, jobs: Iterable[Job | str] = (), *, study: str = "") -> "pandas.DataFrame":
        """The metrics of jobs, a row each."""
        import pandas
        compared = self.compare(jobs, study=study).jobs
        return pandas.DataFrame([{"job": one.job, "label": one.label, "method": one.method, "adapter": one.adapter, **one.metrics} for one in compared])

    # Studies.

    def create_study(self, study: Mapping[str, Any] | study_pb2.Study, *, request_id: str = "", validate_only: bool = False) -> Study:
        """A Study as JSON has it: {"spec_template": …, "space": {"fine_tune.method.lora.rank": {"choices": {"values": [2, 4, 8]}}}, …}."""
        message = study if isinstance(study, study_pb2.Study) else json_format.ParseDict(dict(study), study_pb2.Study())
        request = study_pb2.CreateStudyRequest(study=message, request_id=request_id, validate_only=validate_only)
        return Study(self._calls, self._calls.unary(self._calls.studies.CreateStudy, request))

    def study(self, name: str) -> Study:
        return Study(self._calls, self._calls.unary(self._calls.studies.GetStudy, study_pb2.GetStudyRequest(name=name)))

    def studies(self, *, limit: int | None = None) -> Iterator[Study]:
        """Newest first, without their trials."""
        for message in self._calls.pages(self._calls.studies.ListStudies, study_pb2.ListStudiesRequest(), "studies", limit):
            yield Study(self._calls, message)

    # Data sets.

    def upload(self, data: Any, name: str = "", *, progress: bool | None = None) -> dataset_pb2.Dataset:
        """A data set of a file (JSON lines, CSV, plain text; gzip; Parquet with pyarrow), of rows (mappings), of a pandas or pyarrow table or
        of a datasets.Dataset. The same bytes under the same name again are the same data set. name: default the file's, without its ending."""
        with tables.as_file(data) as path:
            name = name or path.name.removesuffix(".gz").rsplit(".", 1)[0]
            file = transfers.File(path, path.name).hash()

            def requests() -> Iterator[dataset_pb2.UploadDatasetRequest]:
                metadata = dataset_pb2.UploadDatasetRequest.Metadata(name=name, file_name=file.name, size_bytes=file.size, sha256=file.sha256,
                                                                     offset_bytes=file.offset)
                yield dataset_pb2.UploadDatasetRequest(metadata=metadata)
                for piece in file.pieces():
                    yield dataset_pb2.UploadDatasetRequest(data=piece)

            return self._upload(self._calls.datasets.UploadDataset, [file], requests, name, progress)

    def dataset(self, name: str) -> dataset_pb2.Dataset:
        return self._calls.unary(self._calls.datasets.GetDataset, dataset_pb2.GetDatasetRequest(name=name))

    def datasets(self) -> Iterator[dataset_pb2.Dataset]:
        return self._calls.pages(self._calls.datasets.ListDatasets, dataset_pb2.ListDatasetsRequest(), "datasets")

    def preview(self, name: str, base_model: str, *, num_rows: int = 0, **data: Any) -> list[dataset_pb2.PreviewDatasetResponse.Example]:
        """The first rows as they would train. data: fields of DataSpec, such as prompt_template."""
        request = dataset_pb2.PreviewDatasetRequest(name=name, base_model=base_model, num_rows=num_rows, data=spec_pb2.DataSpec(**data))
        return list(self._calls.unary(self._calls.datasets.PreviewDataset, request).examples)

    def delete_dataset(self, name: str) -> None:
        self._calls.unary(self._calls.datasets.DeleteDataset, dataset_pb2.DeleteDatasetRequest(name=name))

    # Base models.

    def import_model(self, folder: str | os.PathLike, name: str, *, progress: bool | None = None) -> model_pb2.Model:
        """A Hugging Face GPT-2 folder; only a model's own files are sent."""
        files = [file.hash() for file in transfers.model_files(pathlib.Path(folder).expanduser())]
        return self._upload_folder(self._calls.models.ImportModel, model_pb2.ImportModelRequest, {"name": name}, files, progress)

    def model(self, name: str) -> model_pb2.Model:
        return self._calls.unary(self._calls.models.GetModel, model_pb2.GetModelRequest(name=name))

    def models(self) -> Iterator[model_pb2.Model]:
        return self._calls.pages(self._calls.models.ListModels, model_pb2.ListModelsRequest(), "models")

    def delete_model(self, name: str) -> None:
        self._calls.unary(self._calls.models.DeleteModel, model_pb2.DeleteModelRequest(name=name))

    # Adapters.

    def adapter(self, name: str) -> adapter_pb2.Adapter:
        return self._calls.unary(self._calls.adapters.GetAdapter, adapter_pb2.GetAdapterRequest(name=name))

    def adapters(self, filter: str = "") -> Iterator[adapter_pb2.Adapter]:
        """filter: 'base_model = "gpt2"'."""
        return self._calls.pages(self._calls.adapters.ListAdapters, adapter_pb2.ListAdaptersRequest(filter=filter), "adapters")

    def download_adapter(self, name: str, to: str | os.PathLike, *, peft_version: str = "") -> pathlib.Path:
        """A folder that PEFT loads, which must not be there yet."""
        request = adapter_pb2.DownloadAdapterRequest(name=name, peft_version=peft_version)
        return transfers.write_folder(self._calls.adapters.DownloadAdapter(request, timeout=TRANSFER_SECONDS), to)

    def merge_adapter(self, name: str, to: str | os.PathLike, *, dtype: str = "F32") -> pathlib.Path:
        """The base model with the adapter merged into its weights, as a Hugging Face folder."""
        request = adapter_pb2.MergeAdapterRequest(name=name, dtype=dtype)
        return transfers.write_folder(self._calls.adapters.MergeAdapter(request, timeout=TRANSFER_SECONDS), to)

    def import_adapter(self, folder: str | os.PathLike, name: str, base_model: str, *, progress: bool | None = None) -> adapter_pb2.Adapter:
        """A PEFT folder."""
        files = [file.hash() for file in transfers.files_below(pathlib.Path(folder).expanduser())]
        metadata = {"name": name, "base_model": base_model}
        return self._upload_folder(self._calls.adapters.ImportAdapter, adapter_pb2.ImportAdapterRequest, metadata, files, progress)

    def delete_adapter(self, name: str) -> None:
        self._calls.unary(self._calls.adapters.DeleteAdapter, adapter_pb2.DeleteAdapterRequest(name=name))

    # Texts.

    def stream(self, prompt: str, *, adapter: str = "", base_model: str = "", apply_template: bool = False, max_new_tokens: int | None = None,
               stop_strings: Sequence[str] = (), **generation: Any) -> Iterator[str]:
        """The text that follows the prompt, piece by piece. generation: fields of GenerationOptions (do_sample, temperature, num_beams, …)."""
        request = self._text(prompt, adapter, base_model, apply_template, max_new_tokens, stop_strings, generation)
        try:
            for response in self._calls.adapters.Generate(request):
                if response.text:
                    yield response.text
        except grpc.RpcError as error:
            raise GraftError.of(error) from None

    def generate(self, prompt: str, **options: Any) -> str:
        """All of it at once: options as of `stream`."""
        return "".join(self.stream(prompt, **options))

    def generate_batch(self, requests: Iterable[Mapping[str, Any]]) -> list[str]:
        """The texts of several prompts, each by an adapter of its own, made beside each other: mappings with "prompt" and options as of
        `stream`. All on one base model. GraftError of the first that fails."""
        request = adapter_pb2.GenerateBatchRequest()
        for one in requests:
            options = {"adapter": "", "base_model": "", "apply_template": False, "max_new_tokens": None, "stop_strings": (), **one}
            known = [options.pop(name) for name in ("prompt", "adapter", "base_model", "apply_template", "max_new_tokens", "stop_strings")]
            request.requests.append(self._text(*known, options))
        texts = [""] * len(request.requests)
        try:
            for message in self._calls.adapters.GenerateBatch(request):
                if message.WhichOneof("result") == "error":
                    code = next(code for code in grpc.StatusCode if code.value[0] == message.error.code)
                    raise GraftError(code, f"requests[{message.row}]: {message.error.message}")
                texts[message.row] += message.response.text
        except grpc.RpcError as error:
            raise GraftError.of(error) from None
        return texts

    # The service.

    def workers(self) -> Iterator[worker_pb2.Worker]:
        return self._calls.pages(self._calls.workers.ListWorkers, worker_pb2.ListWorkersRequest(), "workers")

    @staticmethod
    def _fine_tune(spec: Mapping[str, Any] | None, base_model: str, train: str, method: Any, settings: dict[str, Any]) -> spec_pb2.JobSpec:
        whole = json_format.ParseDict(dict(spec or {}), spec_pb2.JobSpec())
        if spec is None:
            whole.fine_tune.method.CopyFrom(flat.methods_of(method))
        flat.fill_fine_tune(whole.fine_tune, {"base_model": base_model or None, "train": train or None} | settings)
        return whole

    @staticmethod
    def _job(name: str, labels: Mapping[str, str] | None, priority: int, study: str, spec: spec_pb2.JobSpec) -> job_pb2.Job:
        return job_pb2.Job(display_name=name, labels=labels, priority=priority, study=study, spec=spec)

    def _create(self, job: job_pb2.Job, request_id: str, validate_only: bool) -> Job:
        request = job_pb2.CreateJobRequest(job=job, request_id=request_id, validate_only=validate_only)
        return Job(self._calls, self._calls.unary(self._calls.jobs.CreateJob, request))

    @staticmethod
    def _text(prompt: str, adapter: str, base_model: str, apply_template: bool, max_new_tokens: int | None, stop_strings: Sequence[str],
              generation: dict[str, Any]) -> adapter_pb2.GenerateRequest:
        request = adapter_pb2.GenerateRequest(prompt=prompt, adapter=adapter, base_model=base_model, apply_template=apply_template,
                                              max_new_tokens=max_new_tokens, stop_strings=stop_strings)
        flat.fill_generation(request.generation, generation)
        return request

    def _upload(self, method: Any, files: list[transfers.File], requests: Any, name: str, progress: bool | None) -> Any:
        bar = bars.bytes_bar(bars.wanted(progress), sum(file.size for file in files), name)
        try:
            return transfers.upload(self._calls, method, files, requests, bar)
        finally:
            bar.close()

    def _upload_folder(self, method: Any, request: Any, metadata: dict[str, str], files: list[transfers.File], progress: bool | None) -> Any:
        def requests() -> Iterator[Any]:
            yield request(metadata=request.Metadata(**metadata))
            for chunk in transfers.chunks(files):
                yield request(chunk=chunk)

        return self._upload(method, files, requests, metadata["name"], progress)
