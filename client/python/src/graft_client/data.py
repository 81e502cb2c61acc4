"""Rows of whatever people have, as a file that the server takes."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_ROWS_PER_BATCH = 1000


@contextlib.contextmanager
def as_file(data: Any) -> Iterator[pathlib.Path]:
    """A path: JSON lines, CSV, plain text, each of them packed by gzip or not, as it is; Parquet, tables and rows as JSON lines."""
    path = pathlib.Path(data).expanduser() if isinstance(data, (str, os.PathLike)) else None
    if path is not None and path.suffix != ".parquet":
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="graft-") as folder:
        made = pathlib.Path(folder) / f"{path.stem if path else 'rows'}.jsonl"
        with open(made, "w", encoding="utf-8") as file:
            for row in (_parquet(path) if path else _rows(data)):
                # What is no text or number (a date, an array) is refused here, with its row, and not written as Python shows it.
                file.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
        yield made


def _rows(data: Any) -> Iterator[Mapping[str, Any]]:
    kind = f"{type(data).__module__}.{type(data).__name__}"
    if kind.startswith("pandas.") and hasattr(data, "to_dict"):
        for begin in range(0, len(data), _ROWS_PER_BATCH):
            yield from data.iloc[begin:begin + _ROWS_PER_BATCH].to_dict("records")
    elif kind.startswith("pyarrow."):
        yield from _batches(data.to_batches(max_chunksize=_ROWS_PER_BATCH))
    elif isinstance(data, Iterable) and not isinstance(data, (Mapping, bytes)):
        for number, row in enumerate(data, start=1):  # datasets.Dataset, too.
            if not isinstance(row, Mapping):
                raise TypeError(f"row {number} is {type(row).__name__}; a row is a mapping of fields: {{\"document\": …, \"summary\": …}}")
            yield row
    else:
        raise TypeError(f"{kind} is no data: a path, rows (mappings), a pandas or pyarrow table or a datasets.Dataset is")


def _parquet(path: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ImportError("Parquet needs pyarrow: pip install 'graft-client[parquet]'") from None
    with parquet.ParquetFile(path) as file:
        yield from _batches(file.iter_batches(batch_size=_ROWS_PER_BATCH))


def _batches(batches: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays.
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no text, number or list of these")
