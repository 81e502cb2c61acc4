"""Checkpoints that people keep and download, evaluations that go on where they were, attempts that say what they were."""

import hashlib
import json

import pytest

from conftest import ASSETS, wait_until
from test_life import QUICK, step_of


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def submit(graft, *flags):
    return graft.json("submit", "--base-model", "tiny", "--train", "train", "--validation", "valid", *QUICK, *flags)[0]["name"]


def test_a_pinned_checkpoint_stays_and_the_best_one_beside_the_newest(loaded):
    name = submit(loaded, "--method", "lora", "--max-steps", "400", "--eval-every-steps", "400", "--checkpoint-every-steps", "20")

    def pinned():
        for checkpoint in loaded.json("checkpoints", name):
            if loaded.cli("checkpoints", name, "--pin", checkpoint["step"], check=False).returncode == 0:  # Else it is gone by now.
                return checkpoint["step"]
        return None

    wait_until(lambda: loaded.json("checkpoints", name), "a checkpoint")
    step = pinned()
    assert step
    loaded.wait_for(name)
    kept = loaded.json("checkpoints", name)
    assert {checkpoint["step"]: checkpoint.get("pinned", False) for checkpoint in kept} == {"400": False, step: True} or step == "400"
    assert all(checkpoint["create_time"] for checkpoint in kept)
    assert "yes" in loaded.cli("checkpoints", name).stdout
    # A step of its own, as an adapter.
    loaded.cli("checkpoints", name, "--download", step, "--to", loaded.directory / "early")
    assert json.loads((loaded.directory / "early/adapter_config.json").read_text())["peft_type"] == "LORA"
    loaded.cli("adapters", "import", loaded.directory / "early", "--name", "early", "--base-model", "tiny")
    loaded.cli("checkpoints", name, "--unpin", step)
    missing = loaded.cli("checkpoints", name, "--pin", "7", check=False)
    assert missing.returncode == 3 and f"has no checkpoint of step 7; it has 400, {step}" in missing.stderr, missing.stderr


@pytest.mark.parametrize("flags", [["--method", "lora"], ["--method", "lora+soft_prompt"], ["--method", "soft_prompt+last_layers"], ["--method", "lora", "--precision", "fp64"]],
                         ids=["lora", "two_directories", "saved_modules", "fp64"])
def test_the_last_checkpoint_is_what_the_job_published(loaded, flags):
    name = submit(loaded, *flags, "--max-steps", "4", "--eval-every-steps", "4", "--output-name", "published")
    loaded.wait_for(name)
    loaded.cli("checkpoints", name, "--download", "4", "--to", loaded.directory / "saved")
    loaded.cli("adapters", "download", "published", "--to", loaded.directory / "published")
    files = sorted(path.relative_to(loaded.directory / "saved") for path in (loaded.directory / "saved").rglob("*") if path.is_file())
    assert any(path.name == "adapter_model.safetensors" for path in files)
    for path in files:
        if path.name != "README.md":
            assert sha256_of(loaded.directory / "saved" / path) == sha256_of(loaded.directory / "published" / path), path


def test_the_checkpoint_of_a_full_job_is_a_model(loaded):
    name = submit(loaded, "--method", "full", "--max-steps", "2", "--eval-every-steps", "2", "--output-name", "whole")
    loaded.wait_for(name)
    loaded.cli("checkpoints", name, "--download", "2", "--to", loaded.directory / "model")
    loaded.cli("models", "add", "again", loaded.directory / "model")
    files = {model["name"]: {file["path"]: file["sha256"] for file in model["files"]} for model in loaded.json("models", "list")}
    for path in ("model.safetensors", "config.json", "vocab.json"):
        assert files["again"][path] == files["whole"][path], path


def test_an_evaluate_job_that_is_paused_goes_on_where_it_was(loaded):
    loaded.cli("datasets", "upload", ASSETS / "data/train.jsonl", "--name", "many")
    flags = ["--base-model", "tiny", "--data", "many", "--max-new-tokens", "24", "--threads", "1", "--max-source-tokens", "64"]
    undisturbed = loaded.json("eval", *flags)[0]["name"]
    loaded.wait_for(undisturbed)
    name = loaded.json("eval", *flags)[0]["name"]
    # 600 rows for the loss, then 128 at once for texts.
    wait_until(lambda: step_of(loaded, name) > 760, "the second texts")
    loaded.cli("pause", name)
    job = loaded.wait_for(name, "PAUSED")
    saved = int(job["step"])
    assert saved >= 728 and job["state_reason"] == f"paused after row {saved}", job["state_reason"]
    assert [checkpoint["step"] for checkpoint in loaded.json("checkpoints", name)] == [str(saved)]
    loaded.kill_server()
    loaded.start()
    loaded.cli("resume", name)
    job = loaded.wait_for(name)
    assert int(job["attempts"][1]["resumed_from_step"]) == saved
    for artifact in ("predictions.jsonl", "row_losses.jsonl"):
        for of in (undisturbed, name):
            loaded.cli("artifacts", "download", of, artifact, "--to", loaded.directory / of.replace("/", "-"))
        assert sha256_of(loaded.directory / name.replace("/", "-")) == sha256_of(loaded.directory / undisturbed.replace("/", "-"))
    assert job["result"]["metrics"] == loaded.job(undisturbed)["result"]["metrics"]
    assert not loaded.json("checkpoints", name), "the result takes its place"
    refused = loaded.cli("checkpoints", name, "--download", saved, check=False)
    assert refused.returncode == 3, refused.stderr


def test_attempts_say_what_they_were(loaded):
    name = submit(loaded, "--method", "lora", "--max-steps", "400", "--eval-every-steps", "400", "--allow-migration", "true")
    wait_until(lambda: step_of(loaded, name) > 3, "some steps")
    loaded.cli("pause", name)
    loaded.wait_for(name, "PAUSED")
    loaded.cli("edit", name, "--allow-migration", "false")
    assert not loaded.job(name).get("allow_migration")
    loaded.cli("resume", name)
    job = loaded.wait_for(name)
    first, second = job["attempts"]
    assert first["name"] == f"{name}/attempts/1"
    assert first["outcome"] == "ATTEMPT_OUTCOME_PAUSED" and second["outcome"] == "ATTEMPT_OUTCOME_SUCCEEDED"
    assert first["last_step"] == second["resumed_from_step"] and second["last_step"] == "400"
    assert first["execution"]["device"] == "cpu" and first["execution"]["code_sha256"]
    told = loaded.cli("show", name, "--attempts").stdout
    assert f"paused at step {first['last_step']}" in told and f"graft logs {name} --attempt 2" in told
    assert first["execution"]["cpu_capability"] in told
    assert "succeeded" in loaded.cli("show", name).stdout
