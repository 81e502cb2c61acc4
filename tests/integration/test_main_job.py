"""The main job through the whole service: every method trains, reports and leaves an adapter."""

import csv
import json
import math
import subprocess
import xml.etree.ElementTree

import pytest

from conftest import ASSETS, ROOT, load, write_rows

METHODS = {
    "lora": ["--method", "lora"],
    "lora-two-layers": ["--method", "lora", "--lora-layers", "1,3", "--target-modules", "c_attn,mlp.c_proj"],
    "soft_prompt": ["--method", "soft_prompt", "--num-virtual-tokens", "5"],
    "last_layers": ["--method", "last_layers"],
    "norm-alone": ["--method", "last_layers", "--num-layers", "0"],
    "head-alone": ["--method", "last_layers", "--num-layers", "0", "--include-final-norm", "false", "--include-lm-head", "true"],
    "hybrid": ["--method", "lora+soft_prompt+last_layers", "--num-layers", "1", "--num-virtual-tokens", "5"],
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_leaves_an_adapter(loaded, name):
    job = loaded.wait_for(loaded.submit(*METHODS[name], "--output-name", f"out-{name}"))
    assert job["result"]["adapter"] == f"out-{name}"
    assert job["step"] == "6" and job["total_steps"] == "6"
    assert float(job["result"]["metrics"]["eval/loss"]) > 0
    target = loaded.directory / "downloaded"
    loaded.cli("adapters", "download", f"out-{name}", "--to", target)
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    folders = ("lora/", "soft_prompt/") if name == "hybrid" else ("",)
    for folder in folders:
        assert {folder + "adapter_config.json", folder + "adapter_model.safetensors"} <= files
    assert {"graft.json", "metrics.jsonl", "trainer_state.json", "README.md"} <= files
    assert any("tfevents" in file for file in files)
    assert len(json.loads((target / "trainer_state.json").read_text())["log_history"]) >= 6
    steps = [row["step"] for row in map(json.loads, (target / "metrics.jsonl").read_text().splitlines()) if "train/loss" in row.get("values", row)]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_full_job_publishes_a_model_that_trains_on(loaded):
    job = loaded.wait_for(loaded.submit("--method", "full", "--output-name", "tuned", "--max-steps", "2", "--eval-every-steps", "2"))
    assert job["result"]["model"] == "tuned"
    assert "tuned" in [model["name"] for model in loaded.json("models", "list")]
    loaded.wait_for(loaded.submit("--base-model", "tuned", "--max-steps", "2", "--eval-every-steps", "2"))


def test_evaluation_stores_every_prediction_and_compares(loaded):
    loaded.wait_for(loaded.submit("--output-name", "a"))
    names = [loaded.json("eval", "--base-model", "tiny", "--data", "valid", "--max-new-tokens", "8", *extra)[0]["name"]
             for extra in ([], ["--adapter", "a"])]
    for name in names:
        job = loaded.wait_for(name)
        assert {"eval/loss", "eval/perplexity", "eval/rougeLsum", "eval/rougeLsum_low", "lead3/rougeLsum"} <= job["result"]["metrics"].keys()
        path = loaded.directory / "predictions.jsonl"
        loaded.cli("artifacts", "download", name, "predictions.jsonl", "--to", path)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["index"] for row in rows] == list(range(8))
    output = loaded.cli("compare", *names).stdout
    assert "lead-3" in output and "95 % interval" in output
    difference = loaded.json("compare", *names)[1]["difference"]
    assert difference.get("rows_needed", 0) != 0 or difference["mean"] == 0
    assert difference["to_job"] == names[0] and difference["low"] <= difference["mean"] <= difference["high"] and difference["rows"] == 8
    other = loaded.json("eval", "--base-model", "tiny", "--data", "valid", "--max-new-tokens", "8", "--use-stemmer", "false")[0]["name"]
    loaded.wait_for(other)
    assert "not comparable, use_stemmer is false, not true" in loaded.cli("compare", names[0], other).stdout


def test_compare_says_which_jobs_were_validated_otherwise(loaded):
    flags = {"first": [], "alike": ["--rank", "2"], "fewer rows": ["--max-validation-rows", "5"], "shorter": ["--max-target-tokens", "8"],
             "held out": ["--validation-fraction", "0.25"]}
    jobs = {}
    for label, extra in flags.items():
        validation = [] if label == "held out" else ["--validation", "valid"]
        jobs[label] = loaded.json("submit", "--base-model", "tiny", "--method", "lora", "--train", "train", "--max-steps", "1", "--eval-samples",
                                  "0", "--name", label, *validation, *extra)[0]["name"]
    for name in jobs.values():
        loaded.wait_for(name)
    output = loaded.cli("compare", *jobs.values()).stdout
    assert "alike - first" not in output
    assert "fewer rows - first: not comparable, validated on other rows: max_validation_rows is 5, not 0" in output
    # What the target leaves is the source's.
    [shorter] = [line for line in output.splitlines() if line.startswith("shorter - first: validated otherwise: max_source_tokens is ")]
    assert "; max_target_tokens is 8, not " in shorter
    assert 'held out - first: not comparable, validated on other rows: validation is held out of "train", not "valid"' in output
    rows = {row["label"]: row for row in loaded.json("compare", *jobs.values())}
    assert "validation" not in rows["alike"]
    assert rows["fewer rows"]["validation"] == {"to_job": jobs["first"], "not_comparable": "max_validation_rows is 5, not 0"}


def test_generation_streams_text_with_and_without_an_adapter(loaded):
    loaded.wait_for(loaded.submit("--output-name", "a"))
    for extra in ([], ["--adapter", "a"]):
        messages = loaded.json("generate", "--base-model", "tiny", *extra, "--max-new-tokens", "12", "--apply-template", "The council met.")
        assert messages[-1]["done"] and 0 < messages[-1]["new_tokens"] <= 12
        assert messages[-1]["prompt_tokens"] > 3


def test_an_adapter_comes_back_by_import(loaded):
    loaded.wait_for(loaded.submit("--output-name", "a"))
    loaded.cli("adapters", "download", "a", "--to", loaded.directory / "a")
    loaded.cli("adapters", "import", loaded.directory / "a", "--name", "b", "--base-model", "tiny")
    for name in ("a", "b"):
        assert loaded.json("adapters", "show", name)[0]["method"]["lora"]["rank"] == 8
    texts = [loaded.cli("generate", "--adapter", name, "--max-new-tokens", "10", "The council met.").stdout for name in ("a", "b")]
    assert texts[0] == texts[1]


def test_a_list_makes_a_study(loaded):
    jobs = loaded.json("submit", "--base-model", "tiny", "--method", "lora", "--rank", "2,4", "--train", "train", "--validation", "valid",
                       "--max-steps", "1", "--eval-samples", "0")
    assert [job["labels"]["rank"] for job in jobs] == ["2", "4"] and jobs[0]["study"] == jobs[1]["study"]
    for job in jobs:
        loaded.wait_for(job["name"])
    assert "rank=4" in loaded.cli("compare", "--study", jobs[0]["study"]).stdout


def test_a_submission_that_is_repeated_with_its_request_id_is_one(graft):
    graft.start(workers=0)
    load(graft)
    file = write_rows(graft.directory / "my articles für.jsonl", "train.jsonl", 8)
    flags = ["submit", "--base-model", "tiny", "--method", "lora", "--rank", "2,4", "--train", file, "--label", "a=b", "--label", "c=d"]
    first, again = (graft.json(*flags, "--request-id", "mine") for _ in range(2))
    assert [job["name"] for job in first] == [job["name"] for job in again] and len(graft.json("jobs")) == 2
    assert first[0]["resolved_spec"]["fine_tune"]["data"]["train"].startswith("my-articles-f-r-")
    other = graft.cli(*flags, "--seed", "1", "--request-id", "mine", check=False)
    assert other.returncode == 1 and "request_id mine " in other.stderr


def test_a_job_file_is_the_same_as_flags(loaded):
    path = loaded.directory / "job.yaml"
    path.write_text("display_name: from a file\nlabels: {team: news}\nspec:\n  fine_tune:\n    base_model: tiny\n"
                    "    data: {train: train, validation: valid}\n    method: {lora: {rank: 4}}\n"
                    "    training: {max_steps: 1}\n    evaluation: {max_samples: 0}\n")
    job = loaded.json("submit", "--file", path)[0]
    assert job["resolved_spec"]["fine_tune"]["method"]["lora"]["rank"] == 4 and job["labels"] == {"team": "news"}
    loaded.wait_for(job["name"])


def test_the_demo_takes_its_folder_from_where_it_is_called_and_removes_no_other(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("x")
    result = subprocess.run([ROOT / "tools/demo", "--out", "mine"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and f"{tmp_path}/mine is there" in result.stderr
    assert (tmp_path / "mine/letter").read_text() == "x"


def test_the_bundled_model_is_what_the_demo_needs():
    assert (ASSETS / "model/model.safetensors").stat().st_size + sum(path.stat().st_size for path in (ASSETS / "data").iterdir()) < 5e6


def test_curves_are_drawn_in_text_and_as_a_picture(loaded):
    name = loaded.submit("--name", "a <curve>")
    loaded.wait_for(name)
    drawn = loaded.cli("plot", name).stdout
    assert drawn.startswith("loss\n") and "a <curve>  train/loss" in drawn and "a <curve>  eval/loss" in drawn and "\033" not in drawn
    [numbers] = loaded.json("plot", name, "--metric", "train/loss")
    assert [int(point["step"]) for point in numbers["curves"][0]["points"]] == [1, 2, 3, 4, 5, 6]
    picture = loaded.directory / "losses.svg"
    loaded.cli("plot", name, "--output", picture)
    texts = [element.text for element in xml.etree.ElementTree.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert "a <curve>  train/loss" in texts and "steps" in texts
    unknown = loaded.cli("plot", name, "--metric", "loss", check=False)
    assert unknown.returncode == 3 and 'has no metric "loss"; it has: eval/loss, ' in unknown.stderr
    assert loaded.cli("plot", name, "--output", loaded.directory / "losses.png", check=False).returncode == 2


def test_jobs_that_differ_in_their_seed_alone_have_a_mean(loaded):
    names = [loaded.submit("--seed", str(seed), "--max-steps", "2", "--eval-every-steps", "2", "--output-name", f"seed-{seed}") for seed in (1, 2, 3)]
    losses = [loaded.wait_for(name)["result"]["metrics"]["eval/loss"] for name in names]
    rows = loaded.json("compare", *names)
    seeds = rows[0]["seeds"]
    mean = sum(losses) / 3
    deviation = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 2)
    assert seeds["seeds"] == [1, 2, 3] and seeds["jobs"] == names and "seeds" not in rows[1]
    assert seeds["metrics"]["eval/loss"]["mean"] == pytest.approx(mean, abs=1e-12)
    assert seeds["metrics"]["eval/loss"]["high"] == pytest.approx(mean + 4.302653 * deviation / math.sqrt(3), abs=1e-9)
    assert "OVER SEEDS" in loaded.cli("compare", *names).stdout
    table = list(csv.DictReader(loaded.cli("compare", *names, "--output", "csv").stdout.splitlines()))
    assert [row["job"] for row in table] == names and [float(row["eval/loss"]) for row in table] == losses
    assert loaded.cli("compare", *names, "--output", "markdown").stdout.startswith("| METHOD | TRAINED | LOSS |")


def test_each_row_has_its_loss_at_the_best_step(loaded):
    name = loaded.submit("--output-name", "rows")
    job = loaded.wait_for(name)
    rows = loaded.json("rows", name)
    assert [int(row.get("row", 0)) for row in rows] == list(range(8)) and all(row["source"] and row["target"] for row in rows)
    tokens = sum(int(row["tokens"]) for row in rows)
    assert sum(row["loss"] * int(row["tokens"]) for row in rows) / tokens == pytest.approx(job["result"]["metrics"]["eval/loss"], abs=1e-5)
    worst = loaded.json("rows", name, "--worst", "3")
    assert [row["loss"] for row in worst] == sorted((row["loss"] for row in rows), reverse=True)[:3]
    assert "LOSS" in loaded.cli("rows", name).stdout
    evaluated = loaded.json("eval", "--adapter", "rows", "--data", "valid", "--max-new-tokens", "8", "--untuned-baseline", "true")[0]["name"]
    loaded.wait_for(evaluated)
    lost = loaded.json("rows", evaluated, "--lost", "8")
    losses = [row["loss"] - row["untuned_loss"] for row in lost]
    assert losses == sorted(losses, reverse=True) and all("prediction" in row for row in lost)
    refused = loaded.cli("rows", name, "--lost", "1", check=False)
    assert refused.returncode == 1 and "no losses of the untuned model" in refused.stderr
