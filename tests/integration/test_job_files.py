"""Job files: what one program prints, another takes."""

import json
import subprocess

import pytest

from conftest import ASSETS, BUILD, write_rows

FLAGS = ["--base-model", "tiny", "--train", "train", "--method", "lora", "--rank", "4", "--max-steps", "2", "--learning-rate", "1e-3", "--precision", "fp32"]


def resolved(job, *without):
    spec = job["resolved_spec"]["fine_tune"]
    spec.pop("output_name", None)  # Each job's own.
    return spec


@pytest.mark.parametrize("validation", [[], ["--validation", "valid"], ["--validation-fraction", "0.25"]], ids=["none", "set", "fraction"])
def test_what_is_printed_is_submitted_again(loaded, validation):
    file = loaded.directory / "job.json"
    printed = loaded.cli("submit", *FLAGS, *validation, "--validate-only")
    assert json.loads(printed.stdout)["fine_tune"] and printed.stderr == "graft: valid; as it would run:\n"
    first = loaded.json("submit", *FLAGS, *validation)[0]
    for text in (printed.stdout, loaded.cli("--json", "submit", *FLAGS, *validation, "--validate-only").stdout, loaded.cli("--json", "show", first["name"]).stdout):
        file.write_text(text)
        assert resolved(loaded.json("submit", "--file", file)[0]) == resolved(first), text
    # Only what was resolved, of a job whose adapter is named after it; and a flag over it.
    loaded.wait_for(first["name"])
    shown = loaded.job(first["name"])
    del shown["spec"]
    file.write_text(json.dumps(shown))
    again = loaded.json("submit", "--file", file, "--learning_rate", "2e-3", "--epochs", "1")[0]
    spec = resolved(again)
    assert spec["method"]["lora"]["learning_rate"] == 2e-3 and spec["training"]["epochs"] == 1 and "max_steps" not in spec["training"]
    loaded.wait_for(again["name"])


def test_a_spec_of_the_engine_is_submitted_and_its_files_are_uploaded(loaded):
    """The same file, in the folder where graft-engine runs it."""
    folder = loaded.directory / "job"
    (folder / "data").mkdir(parents=True)
    (folder / "tiny").symlink_to(ASSETS / "model")
    write_rows(folder / "data/train.jsonl", "train.jsonl", 8)
    spec = {"fine_tune": {"base_model": "tiny", "data": {"train": "data/train.jsonl"}, "method": {"lora": {}}, "training": {"max_steps": 1, "precision": "PRECISION_FP32"}}}
    (folder / "job.json").write_text(json.dumps(spec))
    subprocess.run([BUILD / "bin/graft-engine", "run", "--spec", "job.json", "--out", "out"], cwd=folder, check=True, capture_output=True)
    job = json.loads(loaded.cli("--json", "submit", "--file", "job.json", cwd=folder).stdout)
    assert job["resolved_spec"]["fine_tune"]["data"]["train"].startswith("train-")
    loaded.wait_for(job["name"])
    # The folder of the model is none that the server has.
    spec["fine_tune"]["base_model"] = "./tiny"
    (folder / "job.json").write_text(json.dumps(spec))
    refused = loaded.cli("submit", "--file", "job.json", cwd=folder, check=False)
    assert refused.returncode == 2 and "fine_tune.base_model: " in refused.stderr and "graft models add tiny ./tiny" in refused.stderr
    (folder / "small").symlink_to(ASSETS / "model")
    spec["fine_tune"]["base_model"] = "small"
    (folder / "job.json").write_text(json.dumps(spec))
    unknown = loaded.cli("submit", "--file", "job.json", cwd=folder, check=False)
    assert unknown.returncode == 3 and "graft models add small small" in unknown.stderr


def test_each_command_refuses_the_other_task(loaded):
    file = loaded.directory / "job.json"
    file.write_text(loaded.cli("submit", *FLAGS, "--validate-only").stdout)
    refused = loaded.cli("eval", "--file", file, "--data", "valid", check=False)
    assert refused.returncode == 2 and "is a fine-tune job; graft submit --file" in refused.stderr
    file.write_text(loaded.cli("eval", "--base-model", "tiny", "--data", "valid", "--validate-only").stdout)
    refused = loaded.cli("submit", "--file", file, check=False)
    assert refused.returncode == 2 and "is an evaluate job; graft eval --file" in refused.stderr
    assert loaded.json("eval", "--file", file, "--precision", "fp32")[0]["resolved_spec"]["evaluate"]["precision"] == "PRECISION_FP32"
    assert len(loaded.json("jobs")) == 1


def test_show_tells_what_was_given_and_what_was_chosen(loaded):
    name = loaded.json("submit", *FLAGS, "--validation-fraction", "0.25", "--schedule", "linear", "--patience", "2")[0]["name"]
    loaded.wait_for(name)
    shown = [line.split(maxsplit=2 if line.startswith("base") else 1) for line in loaded.cli("show", name).stdout.splitlines() if line]
    assert ["base", "model", "tiny"] in shown and ["train", "train"] in shown and ["validation", "0.25 of train"] in shown
    settings = loaded.cli("show", name).stdout.split("settings", 1)[1].split("state", 1)[0].split("\n")
    # Linear and 2 are the defaults.
    assert [line.strip() for line in settings if line.strip()] == ["--rank 4", "--max-steps 2", "--learning-rate 0.001", "--precision fp32"]
    second = loaded.json("submit", *FLAGS, "--init-from", name.removeprefix("jobs/"))[0]["name"]
    assert f"init from      {name.removeprefix('jobs/')}\n" in loaded.cli("show", second).stdout
    evaluation = loaded.json("eval", "--adapter", name.removeprefix("jobs/"), "--data", "valid", "--max-new-tokens", "8")[0]["name"]
    text = loaded.cli("show", evaluation).stdout
    assert "base model     tiny\n" in text and f"adapter        {name.removeprefix('jobs/')}\n" in text and "data           valid\n" in text
    assert "settings       --max-new-tokens 8\n" in text
