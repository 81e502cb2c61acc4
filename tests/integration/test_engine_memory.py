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


def test_memory_that_runs_out_is_said_to_be_memory(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"fine_tune": {
        "base_model": str(ASSETS / "model"), "data": {"train": str(ASSETS / "data/train.jsonl")}, "method": {"full": {}},
        "training": {"max_steps": 1, "batch_size": 512, "precision": "PRECISION_FP32"}}}))

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (250 * MEGABYTE,) * 2)

    done = subprocess.run([BUILD / "bin/graft-engine", "run", "--spec", spec, "--out", tmp_path / "out"], capture_output=True, text=True,
                          check=False, preexec_fn=limit)
    assert done.returncode == 1
    change = json.loads(done.stdout.splitlines()[-1])["state_change"]
    assert change["failure_class"] == "FAILURE_CLASS_OUT_OF_MEMORY", change
    assert not (tmp_path / "out/model").exists()


def peak_of_loading(folder, ids):
    """Bytes of RAM that an engine takes at the most which loads the model in fp32 and does next to nothing."""
    process = subprocess.Popen([BUILD / "bin/graft-engine", "logits", "--model", folder, "--ids-file", ids, "--out", folder / "logits", "--threads", "1"])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_maxrss * 1024


def test_loading_takes_little_more_than_the_weights(tmp_path):
    """What is read of the file is not held beside the tensors: neither whole, nor the largest tensor of it."""
    ids = tmp_path / "ids.json"
    ids.write_text("[[1, 2]]")
    small, large, positions = tmp_path / "small", tmp_path / "large", 1_000_000
    write_model(small, width=64)
    write_model(large, width=64)
    config = json.loads((large / "config.json").read_text())
    (large / "config.json").write_text(json.dumps({**config, "n_positions": positions}))
    weights = (large / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", weights[:8])[0]
    header, data = json.loads(weights[8:8 + size]), weights[8 + size:]
    end = len(data) + positions * config["n_embd"] * 4
    header["wpe.weight"] = {"dtype": "F32", "shape": [positions, config["n_embd"]], "data_offsets": [len(data), end]}
    header["old"] = {"dtype": "F32", "shape": [64, config["n_embd"]], "data_offsets": json.loads(weights[8:8 + size])["wpe.weight"]["data_offsets"]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(large / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
        file.truncate(8 + len(text) + end)
    added = peak_of_loading(large, ids) - peak_of_loading(small, ids)
    assert added <= 1.1 * positions * config["n_embd"] * 4
