"""Data larger than memory passes: the engine tokenises into a memory-mapped file, row after row."""

import json
import os
import resource
import struct
import subprocess

import pytest

from conftest import ASSETS, BUILD
from micro_model import write_model

MEGABYTE = 1_000_000


# The file is larger than what the process may allocate (RLIMIT_DATA: heap, stacks, private mappings).
@pytest.mark.parametrize("data_megabytes, limit_megabytes", [
    pytest.param(320, 300, id="short"),
    pytest.param(2000, 1000, id="2GB", marks=pytest.mark.full),
])
def test_json_lines_larger_than_memory_pass(tmp_path, data_megabytes, limit_megabytes):
    rows = (ASSETS / "data/train.jsonl").read_bytes()
    data = tmp_path / "large.jsonl"
    repeats = data_megabytes * MEGABYTE // len(rows) + 1
    with open(data, "wb") as file:
        for _ in range(repeats):
            file.write(rows)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"fine_tune": {
        "base_model": str(ASSETS / "model"), "data": {"train": str(data)}, "method": {"lora": {}},
        "training": {"max_steps": 1, "batch_size": 2, "precision": "PRECISION_FP32"}}}))

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (limit_megabytes * MEGABYTE,) * 2)

    done = subprocess.run([BUILD / "bin/graft-engine", "run", "--spec", spec, "--out", tmp_path / "out"], capture_output=True, text=True,
                          check=False, preexec_fn=limit)
    data.unlink()
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["state_change"]["to"] == "JOB_STATE_SUCCEEDED"
    assert sum("metrics" in event for event in events) == 1


# Without a worker, too.
def test_a_limit_of_the_process_bounds_its_micro_batches(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"fine_tune": {
        "base_model": str(ASSETS / "model"), "data": {"train": str(ASSETS / "data/train.jsonl"), "max_train_rows": 64}, "method": {"full": {}},
        "training": {"max_steps": 1, "batch_size": 64, "precision": "PRECISION_FP32", "threads": 1}}}))

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (250 * MEGABYTE,) * 2)

    done = subprocess.run([BUILD / "bin/graft-engine", "run", "--spec", spec, "--out", tmp_path / "out"], capture_output=True, text=True,
                          check=False, preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(event.get("warning", {}).get("code") == "MICRO_BATCH_HALVED" for event in events)
    assert sum("metrics" in event for event in events) == 1
    assert (tmp_path / "out/model").exists()
