"""An evaluate job of several adapters: each is scored as it is alone, and shown beside the others."""

import json

import pytest

from conftest import wait_until

METHODS = {"lora": ["--method", "lora"], "soft": ["--method", "soft_prompt", "--num-virtual-tokens", "4"],
           "last": ["--method", "last_layers", "--num-layers", "1"]}
EVAL = ("--base-model", "tiny", "--data", "valid", "--threads", "1", "--precision", "fp32")
SHORT = (*EVAL, "--max-new-tokens", "8")


@pytest.fixture
def trained(loaded):
    """With an adapter of each of three methods."""
    jobs = [loaded.submit(*flags, "--output-name", name, "--max-steps", "3", "--threads", "1") for name, flags in METHODS.items()]
    for job in jobs:
        loaded.wait_for(job)
    return loaded


def download(graft, job, file):
    path = graft.directory / "downloaded"
    graft.cli("artifacts", "download", job, file, "--to", path)
    return path.read_text(encoding="utf-8")


def test_each_of_several_adapters_is_scored_as_it_is_alone(trained):
    names = list(METHODS)
    several = trained.json("eval", *SHORT, "--adapter", ",".join(names), "--untuned-baseline", "true")[0]["name"]
    alone = {name: trained.json("eval", *SHORT, "--adapter", name, "--untuned-baseline", "true")[0]["name"] for name in names}
    job = trained.wait_for(several)
    assert "metrics" not in job["result"] and [one["adapter"] for one in job["result"]["adapters"]] == names
    files = {artifact["path"] for artifact in trained.json("artifacts", "list", several)}
    assert files == {f"adapters/{name}/{file}" for name in names for file in ("predictions.jsonl", "results.json", "row_losses.jsonl")}
    for result in job["result"]["adapters"]:
        name = result["adapter"]
        single = trained.wait_for(alone[name])["result"]
        assert result["metrics"].keys() == single["metrics"].keys()
        for metric, value in single["metrics"].items():
            assert result["metrics"][metric] == pytest.approx(value, abs=1e-6), (name, metric)
        assert result["fingerprint"] == single["fingerprint"]
        for file in ("predictions.jsonl", "row_losses.jsonl"):
            assert download(trained, several, f"adapters/{name}/{file}") == download(trained, alone[name], file), (name, file)
        assert json.loads(download(trained, several, f"adapters/{name}/results.json"))["adapter"]["name"] == name
    # The events say whose they are, each once.
    events = trained.events(several)
    assert [event["evaluation"]["adapter"] for event in events if "evaluation" in event] == names
    assert [event["samples"]["adapter"] for event in events if "samples" in event] == names

    # What people see of it.
    compared = trained.json("compare", several)
    assert [row["adapter"] for row in compared] == names and [row["label"] for row in compared] == names
    assert "difference" not in compared[0] and all(row["difference"]["to_adapter"] == "lora" for row in compared[1:])
    assert {row["training_job"] for row in compared} == {trained.json("adapters", "show", name)[0]["job"] for name in names}
    output = trained.cli("compare", several).stdout
    assert "soft - lora: rougeLsum" in output and "lead-3" in output
    assert "| soft" in trained.cli("compare", several, "--output", "markdown").stdout
    assert len(trained.cli("compare", several, "--output", "csv").stdout.splitlines()) == 4
    beside = trained.json("compare", alone["lora"], several)
    assert [row.get("adapter") for row in beside] == ["lora", *names] and beside[1]["difference"]["mean"] == 0
    rows = trained.json("rows", several, "--adapter", "soft", "--worst", "3")
    assert len(rows) == 3 and all("prediction" in row for row in rows)
    refused = trained.cli("rows", several, check=False)
    assert refused.returncode == 2 and "evaluated lora, soft, last" in refused.stderr
    shown = trained.cli("show", several).stdout
    assert "lora, soft, last" in shown and "eval/rougeLsum" in shown
    verified = trained.cli("verify", several).stdout
    assert "DIFFERS" not in verified and all(f"{name}: adapter {name}" in verified for name in names)
    assert "of 3 adapters" in trained.cli("plan", "eval", *SHORT, "--adapter", ",".join(names)).stdout


def test_an_evaluation_of_several_that_is_paused_comes_to_the_same(trained):
    names = ",".join(METHODS)
    flags = ("--max-new-tokens", "32", "--adapter", names, "--batch-size", "1")
    whole = trained.wait_for(trained.json("eval", *EVAL, *flags)[0]["name"])["result"]["adapters"]
    name = trained.json("eval", *EVAL, *flags)[0]["name"]
    wait_until(lambda: int(trained.job(name).get("stage_done", 0)) > 0 or trained.job(name).get("done"), "the first rows")
    if trained.cli("pause", name, check=False).returncode == 0:
        trained.wait_for(name, "PAUSED")
        trained.cli("resume", name, check=False)
    assert trained.wait_for(name)["result"]["adapters"] == whole


def test_what_several_adapters_cannot_do_is_said_by_name(trained):
    def refusal(*arguments):
        refused = trained.cli("eval", *SHORT, *arguments, check=False)
        assert refused.returncode != 0
        return refused.stderr

    assert "--adapter" in refusal("--adapter", "lora,soft,missing") and 'there is no adapter "missing"' in refusal("--adapter", "lora,soft,missing")
    assert "names lora again" in refusal("--adapter", "lora,lora")
    trained.wait_for(trained.submit("--output-name", "short", "--max-steps", "1", "--max-target-tokens", "9"))
    text = refusal("--adapter", "lora,short")
    assert "--max-target-tokens: must be set: lora was trained with" in text and "short with 9" in text
    job = trained.json("eval", *SHORT, "--adapter", "lora,short", "--max-target-tokens", "9", "--max-source-tokens", "40", "--eval-samples", "0")[0]
    assert {warning["code"] for warning in job["warnings"]} == {"NOT_AS_TRAINED"} and len(job["warnings"]) == 2
    trained.wait_for(job["name"])
