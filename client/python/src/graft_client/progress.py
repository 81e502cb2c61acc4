"""Bars, in terminals and notebooks."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm

from graft_client.v1 import event_pb2


def wanted(progress: bool | None) -> bool:
    """Where nobody says: where somebody sees it."""
    return progress if progress is not None else sys.stderr.isatty() or "ipykernel" in sys.modules


def bytes_bar(shown: bool, total: int, name: str) -> Any:
    return tqdm(total=total, desc=name, unit="B", unit_scale=True, unit_divisor=1000, disable=not shown)


class JobBar:
    """Steps of a job, with its last numbers."""

    def __init__(self, shown: bool, job: Any):
        self._bar = tqdm(total=job.total_steps or None, initial=job.step, desc=job.display_name or job.name, unit="step", disable=not shown)

    def tell(self, event: event_pb2.JobEvent) -> None:
        kind = event.WhichOneof("payload")
        if kind == "metrics":
            self._move(event.metrics.step, event.metrics.total_steps)
            self._show(event.metrics.values, ("train/loss", "loss"))
        elif kind == "evaluation":
            self._show(event.evaluation.values, ("eval/loss", "eval loss"), ("eval/rougeLsum", "rougeLsum"))
        elif kind == "warning":
            self._bar.write(f"{event.warning.code}: {event.warning.text}")

    def close(self) -> None:
        self._bar.close()

    def _move(self, step: int, total: int) -> None:
        self._bar.total = total or None
        self._bar.update(step - self._bar.n)

    def _show(self, values: Any, *shown: tuple[str, str]) -> None:
        self._bar.set_postfix({name: f"{values[key]:.4g}" for key, name in shown if key in values}, refresh=False)
