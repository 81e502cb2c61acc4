"""A row that is not finite is named, and does what the job says: stop, skip its step, or go back and on without it."""

import json

import pytest

from micro_model import write_model

LONG = 5  # Of eight rows, from 0.


@pytest.fixture
def diverging(graft):
    """A server with one worker, a model that is finite for 40 tokens, and rows of which one is longer."""
    write_model(graft.directory / "model", finite=40)
    rows = [{"id": f"r{i}", "document": "It rained for hours, they say." if i == LONG else f"Rain {i}.", "summary": "Rain."} for i in range(8)]
    (graft.directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    graft.start()
    graft.cli("models", "add", "short", graft.directory / "model")
    graft.cli("datasets", "upload", graft.directory / "rows.jsonl", "--name", "rows")
    return graft


def submit(graft, policy):
    name = graft.json("submit", "--base-model", "short", "--train", "rows", "--method", "lora", "--epochs", "3", "--batch-size", "2",
                      "--max-source-tokens", "40", "--max-target-tokens", "16", "--checkpoint-every-steps", "1", "--precision", "fp32",
                      "--threads", "1", "--on-divergence", policy)[0]["name"]
    return name


def divergences(graft, name):
    lines = graft.cli("--json", "watch", name, check=False).stdout.splitlines()  # Of a job that failed, it fails.
    return [event["divergence"] for event in map(json.loads, lines) if "divergence" in event]


def assert_names_the_row(divergence):
    row, = divergence["rows"]
    assert (int(row["row"]), int(row["line"]), row["id"]) == (LONG, LONG + 1, f"r{LONG}")
    assert row["source"] == "It rained for hours, they say."
    assert row["loss"] == divergence["loss"] == "NaN"


def test_stop_fails_the_job_and_names_the_row(diverging):
    name = submit(diverging, "stop")
    job = diverging.wait_for(name, "FAILED")
    assert job["failure_class"] == "FAILURE_CLASS_DIVERGED"
    assert f'by the row at line {LONG + 1} (id "r{LONG}") of the training set' in job["error"]["message"]
    divergence, = divergences(diverging, name)
    assert divergence["action"] == "DIVERGENCE_ACTION_STOPPED"
    assert_names_the_row(divergence)
    shown = diverging.cli("watch", name, check=False).stdout
    assert f"\n  line {LONG + 1}  id r{LONG}  loss nan" in shown


def test_skip_drops_the_rows_step_in_every_pass(diverging):
    name = submit(diverging, "skip")
    diverging.wait_for(name)
    told = divergences(diverging, name)
    assert [divergence["action"] for divergence in told] == ["DIVERGENCE_ACTION_SKIPPED"] * 3
    for divergence in told:
        assert_names_the_row(divergence)
    steps = [int(event["metrics"]["step"]) for event in diverging.events(name) if "metrics" in event]
    assert len(steps) == 12 - 3


def test_roll_back_goes_on_without_the_row_and_no_file_tells_a_step_twice(diverging):
    name = submit(diverging, "roll_back")
    job = diverging.wait_for(name)
    divergence, = divergences(diverging, name)
    assert divergence["action"] == "DIVERGENCE_ACTION_ROLLED_BACK"
    assert int(divergence.get("rolled_back_to_step", 0)) == int(divergence["step"]) - 1  # Each step has a checkpoint.
    assert_names_the_row(divergence)
    folder = diverging.directory / "data/artifacts/adapters" / job["result"]["adapter"].removeprefix("adapters/")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 13))
    assert int(job["result"]["best_step"]) == 12
    assert not [event for event in diverging.events(name) if "warning" in event]
