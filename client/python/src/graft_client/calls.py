"""Calls: one channel, deadlines, request ids, and what is tried again."""

from __future__ import annotations

import os
import random
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from graft_client.errors import GraftError
from graft_client.v1 import adapter_pb2_grpc, dataset_pb2_grpc, job_pb2_grpc, model_pb2_grpc, study_pb2_grpc, upload_pb2_grpc, worker_pb2_grpc

DEFAULT_PORT = 50051
# A transfer may take long, but not for ever.
TRANSFER_SECONDS = 6 * 3600.0
_FIRST_DELAY, _LAST_DELAY, _GROWTH = 0.05, 2.0, 1.6
_LOOPBACK = ("127.", "localhost", "[::1]", "unix:")

_Answer = TypeVar("_Answer")


def address_of(server: str | None) -> str:
    """Where the server is: `server`, else GRAFT_SERVER, else this machine. A scheme is dropped; without a port it is 50051."""
    text = server or os.environ.get("GRAFT_SERVER") or f"127.0.0.1:{DEFAULT_PORT}"
    if text.startswith("unix:"):
        return text
    parts = urllib.parse.urlsplit(text if "://" in text else f"//{text}")
    if not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"server: {text!r} is no address; HOST:PORT or unix:PATH is one")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or DEFAULT_PORT}"


def new_request_id() -> str:
    return uuid.uuid4().hex


class Calls:
    """The services of one server. Thread-safe, as gRPC's channel is.

    timeout: seconds for a call. patience: how long an absent server is waited for, per call; stream_patience: by a watch or an upload in
    whose middle it went away.
    """

    def __init__(self, server: str | None, timeout: float, patience: float, stream_patience: float):
        self.address = address_of(server)
        self.timeout, self.patience, self.stream_patience = timeout, patience, stream_patience
        # A proxy is for other machines.
        proxy = 0 if self.address.startswith(_LOOPBACK) else 1
        self._channel = grpc.insecure_channel(self.address, [("grpc.enable_http_proxy", proxy), ("grpc.max_receive_message_length", 64 << 20)])
        self.jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self.studies = study_pb2_grpc.StudyServiceStub(self._channel)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self.models = model_pb2_grpc.ModelServiceStub(self._channel)
        self.adapters = adapter_pb2_grpc.AdapterServiceStub(self._channel)
        self.uploads = upload_pb2_grpc.UploadServiceStub(self._channel)
        self.workers = worker_pb2_grpc.WorkerServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def unary(self, method: Callable[..., _Answer], request: Any, timeout: float | None = None) -> _Answer:
        """The answer. A server that is away is waited for; what changes something carries a request_id, so that it is done once."""
        named = "request_id" in request.DESCRIPTOR.fields_by_name
        if named and not request.request_id:
            request.request_id = new_request_id()
        return self.retrying(lambda: method(request, timeout=timeout or self.timeout), self.patience)

    def retrying(self, call: Callable[[], _Answer], patience: float) -> _Answer:
        """Until it answers anything but that the server is away, or `patience` has passed since the first try."""
        deadline, delay = time.monotonic() + patience, _FIRST_DELAY
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                failed = GraftError.of(error)
            if not is_away(failed) or time.monotonic() + delay > deadline:
                raise failed
            time.sleep(delay * random.uniform(0.5, 1))
            delay = min(delay * _GROWTH, _LAST_DELAY)

    def pages(self, method: Callable[..., Any], request: Any, items: str, limit: int | None = None) -> Iterator[Any]:
        """What a List method has, one by one."""
        given = 0
        while True:
            answer = self.unary(method, request)
            for item in getattr(answer, items):
                if limit is not None and given == limit:
                    return
                given += 1
                yield item
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def following(self, begin: Callable[[], Any], on_message: Callable[[Any], Any]) -> Iterator[Any]:
        """A stream of the server, which is begun again where it broke. What `on_message` makes of each message, but None."""
        broken_since = None
        while True:
            stream = begin()
            try:
                for message in stream:
                    broken_since = None
                    out = on_message(message)
                    if out is not None:
                        yield out
                return
            except grpc.RpcError as error:
                failed = GraftError.of(error)
            finally:
                stream.cancel()
            broken_since = broken_since or time.monotonic()
            if not is_away(failed) or time.monotonic() - broken_since > self.stream_patience:
                raise failed
            time.sleep(random.uniform(_FIRST_DELAY, 0.5))


def is_away(error: GraftError) -> bool:
    """A server that is going away answers what comes too late with CANCELLED, though only the caller cancels."""
    return error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) and error.reason != "NO_WORKER"
