"""Memory ends: a training goes on in smaller micro-batches to the same numbers, or fails with figures, and so do evaluations and texts."""

import math
import os
import signal

import pytest

from conftest import load, wait_until, write_rows

# 16 of the demo's articles at a time take some 120 MB for their pass, beside the 60 MB of an engine.
JOB = ["--train", "rows", "--batch-size", "16", "--max-source-tokens", "200", "--max-target-tokens", "40", "--eval-every-steps", "6",
       "--precision", "fp32", "--threads", "1"]


@pytest.fixture
def service(graft):
    graft.start(workers=0)
    load(graft)
    graft.cli("datasets", "upload", write_rows(graft.directory / "rows.jsonl", "train.jsonl", 48), "--name", "rows")
    return graft


def worker(graft, name, *flags):
    return graft.start_worker(name, "--device", "cpu", "--engine-threads", "1", *flags)


def stages(graft, name):
    return [event["stage_change"] for event in graft.events(name) if event.get("stage_change", {}).get("stage") == "JOB_STAGE_TRAINING"]


def losses(graft, name):
    return [event["metrics"]["values"]["train/loss"] for event in graft.events(name) if "metrics" in event]


def test_a_training_halves_its_micro_batches_and_keeps_its_losses_though_it_is_killed(service):
    roomy = worker(service, "roomy")
    undisturbed = service.submit(*JOB, "--max-steps", "6")
    service.wait_for(undisturbed)
    assert "batch_size" not in stages(service, undisturbed)[-1], "it had room"
    roomy.kill()
    roomy.wait()

    worker(service, "narrow", "--engine-memory-gb", "0.12")
    name = service.submit(*JOB, "--max-steps", "6", "--checkpoint-every-steps", "2")
    wait_until(lambda: service.json("checkpoints", name), "a checkpoint")
    [engine] = service.pids("graft-engine")
    os.kill(engine, signal.SIGKILL)
    job = service.wait_for(name)
    assert int(job["attempts"][1]["resumed_from_step"]) >= 2
    told = stages(service, name)
    rows = told[-1]["batch_size"]
    assert rows in (1, 2, 4, 8) and told[-1]["gradient_accumulation_steps"] == 16 // rows
    warnings = [event["warning"]["text"] for event in service.events(name) if event.get("warning", {}).get("code") == "MICRO_BATCH_HALVED"]
    assert len(warnings) == 1, "the second attempt begins with what the first one found"
    assert "memory does not hold 16 rows at a time (out of memory: " in warnings[0]
    assert "warning: memory does not hold 16 rows" in service.cli("watch", name).stdout
    assert f"of {16 // rows} micro-batches of {rows} rows, as memory holds" in service.cli("watch", name).stdout
    for halved, whole in zip(losses(service, name), losses(service, undisturbed), strict=True):
        assert math.isclose(halved, whole, rel_tol=1e-5)


def test_where_nothing_fits_the_job_fails_with_figures(service):
    worker(service, "tiny", "--engine-memory-gb", "0.03")
    name = service.submit(*JOB, "--max-steps", "1")
    job = service.wait_for(name, "FAILED")
    assert job["failure_class"] == "FAILURE_CLASS_OUT_OF_MEMORY"
    assert "out of memory: " in job["error"]["message"] and "of a budget of 30 MB the process holds " in job["error"]["message"]
    assert len(job["attempts"]) == 1
    shown = service.cli("show", name).stdout
    assert "of a budget of 30 MB" in " ".join(shown.split())


def test_an_evaluation_with_little_memory_has_the_same_scores(service):
    metrics = []
    for name, flags in ("roomy", []), ("narrow", ["--engine-memory-gb", "0.12"]):
        running = worker(service, name, *flags)
        job = service.json("eval", "--base-model", "tiny", "--data", "rows", "--batch-size", "64", "--eval-samples", "16",
                           "--max-new-tokens", "8", "--max-source-tokens", "200", "--precision", "fp32", "--threads", "1")[0]["name"]
        metrics.append(service.wait_for(job)["result"]["metrics"])
        running.kill()
        running.wait()
    assert metrics[0].keys() == metrics[1].keys()
    for metric, value in metrics[0].items():
        assert math.isclose(metrics[1][metric], value, rel_tol=1e-5), metric
