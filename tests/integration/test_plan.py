"""What a plan says of a job is what the job does."""

import pytest
from conftest import wait_until

METHODS = {
    "lora": ["--method", "lora", "--rank", "2"],
    "lora everywhere": ["--method", "lora", "--rank", "3", "--target-modules", "c_attn,c_proj,c_fc", "--use-rslora", "true"],
    "lora of a block": ["--method", "lora", "--rank", "1", "--target-modules", "mlp.c_proj", "--lora-layers", "1"],
    "dora": ["--method", "dora", "--rank", "2", "--target-modules", "c_attn,c_fc"],
    "soft_prompt": ["--method", "soft_prompt", "--num-virtual-tokens", "3"],
    "prefix_tuning": ["--method", "prefix_tuning", "--prefix-tokens", "3"],
    "last_layers": ["--method", "last_layers", "--num-layers", "1"],
    "head": ["--method", "last_layers", "--num-layers", "0", "--include-lm-head", "true", "--include-final-norm", "false"],
    "full": ["--method", "full"],
    "hybrid": ["--method", "lora+soft_prompt+last_layers", "--rank", "2", "--num-virtual-tokens", "3", "--num-layers", "1"],
}
STEPS = {
    "epochs": ["--epochs", "3", "--batch-size", "3"],
    "last window": ["--epochs", "2", "--batch-size", "2", "--gradient-accumulation-steps", "3", "--eval-every-steps", "2"],
    "max steps": ["--max-steps", "5", "--batch-size", "4", "--validation-fraction", "0.3"],
    "plain text": ["--epochs", "2", "--batch-size", "2", "--text-field", "document", "--validation-fraction", "0.25"],
    "few rows": ["--epochs", "1", "--batch-size", "2", "--max-train-rows", "7", "--validation-fraction", "0.3", "--max-validation-rows", "1"],
}


def planned_and_done(graft, flags):
    """The plan, its job, and what the engine said as it began to train."""
    flags = ["--base-model", "micro", "--train", "train", *flags]
    plan = graft.json("plan", "submit", *flags)[0]
    name = graft.json("submit", *flags, "--patience", "0")[0]["name"]
    job = graft.wait_for(name)
    events = graft.events(name)
    return plan, job, [event["stage_change"] for event in events if event.get("stage_change", {}).get("total_parameters")][0], events


@pytest.fixture(scope="module")
def data(micro):
    micro.cli("datasets", "upload", micro.directory / "train.jsonl", "--name", "train")
    return micro


@pytest.mark.parametrize("method", METHODS)
def test_the_trained_parameters_are_the_engines(data, method):
    plan, _, stage, _ = planned_and_done(data, [*METHODS[method], "--max-steps", "1", "--batch-size", "2"])
    for field in ("total_parameters", "trainable_parameters"):
        assert plan[field] == stage[field], field


@pytest.mark.parametrize("steps", STEPS)
def test_steps_epochs_and_evaluations_are_the_engines(data, steps):
    plan, job, stage, events = planned_and_done(data, ["--method", "lora", "--rank", "1", *STEPS[steps], "--max-new-tokens", "4"])
    evaluations = [event for event in events if "evaluation" in event]
    assert plan["total_steps"] == stage["total_steps"] == str(job["step"])
    assert plan["epochs"] == pytest.approx(job["epoch"])
    assert int(plan.get("evaluations", 0)) == len(evaluations)


def test_what_cannot_be_read_is_named_by_its_flag(data):
    bad = data.directory / "bad.jsonl"
    bad.write_text('{"document": "d", "summary": "s"}\n{"document": "d", "summary": null}\n', encoding="utf-8")
    data.cli("datasets", "upload", bad, "--name", "bad")
    for train in ("bad", bad):
        refused = data.cli("plan", "submit", "--base-model", "micro", "--method", "lora", "--train", train, check=False)
        assert refused.returncode == 2
        assert "--train: " in refused.stderr and 'line 2: field "summary" is null' in refused.stderr, refused.stderr
    assert data.cli("plan", "submit", "--base-model", "micro", "--method", "lora", "--train", "none", check=False).returncode == 3


def test_an_evaluation_is_planned_as_its_adapter_was_trained(data):
    flags = ["--base-model", "micro", "--train", "train", "--method", "soft_prompt", "--num-virtual-tokens", "3", "--max-steps", "1"]
    data.wait_for(data.json("submit", *flags, "--output-name", "planned", "--max-target-tokens", "9")[0]["name"])
    plan = data.json("plan", "eval", "--adapter", "planned", "--data", "train")[0]
    assert plan["validation"]["rows"] == "16" and plan["validation"]["target"]["limit"] == "9"
    assert plan["trainable_parameters"] == str(3 * 16) and "total_steps" not in plan
    text = data.cli("plan", "eval", "--adapter", "planned", "--data", "train", "--max-target-tokens", "12").stdout
    assert "nothing: it evaluates a model" in text and "\nwarning        " in text, text


def test_an_idle_worker_measures_and_keeps_nothing_of_it(data):
    flags = ["--base-model", "micro", "--train", "train", "--method", "lora", "--rank", "1", "--validation-fraction", "0.25", "--max-new-tokens", "4",
             "--batch-size", "2", "--epochs", "2", "--threads", "1", "--precision", "fp32"]
    jobs = len(data.json("jobs"))
    plan = data.json("plan", "submit", *flags)[0]
    measured = plan["measured"]
    assert "not_measured" not in plan and len(data.json("jobs")) == jobs
    assert measured["execution"]["precision"] == "fp32" and measured["execution"]["threads"] == 1
    assert int(measured["peak_memory_bytes"]) > 0 and measured["batch_size"] == 2
    assert measured["train_seconds"] == pytest.approx(measured["step_seconds"] * int(plan["total_steps"]))
    assert measured["seconds"] == pytest.approx(measured["data_seconds"] + measured["train_seconds"] + measured["evaluate_seconds"])
    # Two jobs for two workers.
    names = [data.json("submit", *flags[:6], "--max-steps", "100000")[0]["name"] for _ in range(2)]
    wait_until(lambda: data.json("plan", "submit", *flags)[0].get("not_measured") == "no worker is idle", "both workers are busy")
    for name in names:
        data.cli("cancel", name)
        data.wait_for(name, "CANCELLED")
