"""Files, to the server and from it. An upload that breaks goes on where it was."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from graft_client.calls import TRANSFER_SECONDS, Calls, is_away
from graft_client.errors import GraftError
from graft_client.v1 import job_pb2, upload_pb2

CHUNK_BYTES = 512 << 10
# What a model's folder is for; other files stay at home.
_MODEL_FILES = ("config.json", "generation_config.json", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
                "special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json")


@dataclass
class File:
    path: pathlib.Path
    name: str  # In the folder that it belongs to.
    size: int = 0
    sha256: str = ""
    offset: int = 0  # The server has what comes before it.

    def hash(self) -> "File":
        digest = hashlib.sha256()
        self.size = 0
        with open(self.path, "rb") as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
                self.size += len(piece)
        self.sha256 = digest.hexdigest()
        return self

    def pieces(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            while piece := file.read(CHUNK_BYTES):
                yield piece


def files_below(folder: pathlib.Path) -> list[File]:
    """All regular files, those of subfolders too, hidden ones left out."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    files = [File(path, path.relative_to(folder).as_posix()) for path in paths]
    return [file for file in files if not any(part.startswith(".") for part in file.name.split("/"))]


def model_files(folder: pathlib.Path) -> list[File]:
    files = [file for file in files_below(folder) if file.name in _MODEL_FILES or (file.name.endswith(".safetensors") and "/" not in file.name)]
    if not any(file.name == "config.json" for file in files):
        raise FileNotFoundError(f"{folder} is no Hugging Face model folder: config.json is missing")
    return files


def chunks(files: Iterable[File]) -> Iterator[job_pb2.FileChunk]:
    for file in files:
        first = job_pb2.FileChunk(path=file.name, size_bytes=file.size, sha256=file.sha256, offset_bytes=file.offset)
        for piece in file.pieces():
            first.data = piece
            yield first
            first = job_pb2.FileChunk()
        if first.path:  # An empty file, or one that the server has.
            yield first


def upload(calls: Calls, method: Callable[..., Any], files: list[File], requests: Callable[[], Iterator[Any]], bar: Any) -> Any:
    """Sends the hashed files by `requests`, which begin at their offsets; again where the server went away."""
    away_since, kept_before, from_beginning = None, -1, False
    while True:
        kept = 0
        for file in files:
            file.offset = 0 if from_beginning or not file.size else _kept(calls, file)
            kept += file.offset
        away_since = None if kept > kept_before else away_since
        kept_before = max(kept_before, kept)
        bar.update(kept - bar.n)
        try:
            return method(_counted(requests(), bar), timeout=TRANSFER_SECONDS)
        except grpc.RpcError as error:
            failed = GraftError.of(error)
        of_no_use = failed.code in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.ABORTED)
        away_since = away_since or time.monotonic()
        if of_no_use and kept > 0 and not from_beginning:
            from_beginning = True
        elif not is_away(failed) or time.monotonic() - away_since > calls.stream_patience:
            raise failed
        else:
            time.sleep(0.2)


def _kept(calls: Calls, file: File) -> int:
    asked = upload_pb2.QueryUploadRequest(sha256=file.sha256, size_bytes=file.size)
    answer = calls.retrying(lambda: calls.uploads.QueryUpload(asked, timeout=calls.timeout), calls.stream_patience)
    return min(max(answer.received_bytes, 0), file.size)


def _counted(requests: Iterator[Any], bar: Any) -> Iterator[Any]:
    for request in requests:
        yield request
        chunk = getattr(request, "chunk", None)
        bar.update(len(chunk.data if chunk is not None else request.data))


def write_folder(stream: Iterable[job_pb2.FileChunk], target: str | os.PathLike) -> pathlib.Path:
    """What a download brings, below a folder that appears whole or not at all."""
    folder = pathlib.Path(target).expanduser()
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        _write_chunks(stream, partial)
        partial.chmod(0o755)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _write_chunks(stream: Iterable[job_pb2.FileChunk], folder: pathlib.Path) -> None:
    file, missing = None, 0
    try:
        for chunk in stream:
            if chunk.path:
                _end(file, missing)
                path = (folder / chunk.path).resolve()
                if not path.is_relative_to(folder.resolve()):
                    raise ValueError(f"the server named a file outside of the folder: {chunk.path!r}")
                path.parent.mkdir(parents=True, exist_ok=True)
                file, missing = open(path, "wb"), chunk.size_bytes
            file.write(chunk.data)
            missing -= len(chunk.data)
        if file is None:
            raise EOFError("the server sent no file")
        _end(file, missing)
    except grpc.RpcError as error:
        raise GraftError.of(error) from None
    finally:
        if file is not None:
            file.close()


def _end(file: Any, missing: int) -> None:
    if file is None:
        return
    file.close()
    if missing:
        raise EOFError(f"{file.name} is {missing} bytes shorter than announced")
