"""Every setting of a spec, set by jobs that run: what was asked for is what the resolved spec says, and what happened."""

import json
import math

import pytest

DATA = {"train": "train", "validation": "valid"}
STEPS = {"max_steps": "2", "batch_size": 4, "precision": "PRECISION_FP32"}
SCORED = {"max_samples": "2", "max_new_tokens": 4}
GREEDY = {"num_beams": 2, "length_penalty": 0.5, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
SAMPLED = {"do_sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": "7"}

FINE_TUNE = {
    "lora in full": {
        "method": {"lora": {"rank": 2, "alpha": 4, "dropout": 0.1, "use_rslora": True, "learning_rate": 1e-3, "target_modules": ["c_attn", "mlp.c_fc"],
                            "layers": [1]}},
        "training": {**STEPS, "schedule": "SCHEDULE_COSINE", "warmup_steps": "1", "weight_decay": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-7,
                     "max_grad_norm": 0.5, "seed": "3", "gradient_accumulation_steps": 2, "on_divergence": "DIVERGENCE_POLICY_SKIP",
                     "checkpoint": {"every_steps": "1", "keep_last": 1}},
        "evaluation": {**SCORED, "generation": SAMPLED, "use_stemmer": False, "generation_batch_size": 1, "sample_events": 1, "train_row_losses": True},
    },
    "text prompt": {
        "data": {**DATA, "source_field": "document", "target_field": "summary", "prompt_template": "Text: {source}\nShort:", "max_source_tokens": 40,
                 "max_target_tokens": 10, "max_train_rows": "12", "max_validation_rows": "3"},
        "method": {"soft_prompt": {"num_virtual_tokens": 4, "init": "INIT_TEXT", "init_text": "Summarise:", "learning_rate": 1e-2}},
        "training": {**STEPS, "schedule": "SCHEDULE_CONSTANT", "warmup_ratio": 0.5, "learning_rate": 1e-3,
                     "early_stopping": {"metric": "eval/rougeL", "patience": 3, "min_delta": 0.001}, "eval_every_steps": "1"},
        "evaluation": {**SCORED, "generation": {**GREEDY, "early_stopping": "BEAM_EARLY_STOPPING_TRUE"}},
    },
    "random prompt": {
        "method": {"soft_prompt": {"num_virtual_tokens": 3, "init": "INIT_RANDOM"}},
        "training": {"epochs": 1, "batch_size": 8, "schedule": "SCHEDULE_LINEAR", "precision": "PRECISION_AUTO", "threads": 1},
        "evaluation": {**SCORED, "generation": {**GREEDY, "early_stopping": "BEAM_EARLY_STOPPING_FALSE"}},
    },
    "unit prompt": {
        "method": {"soft_prompt": {"num_virtual_tokens": 3, "init": "INIT_RANDOM_UNIT"}},
        "training": {**STEPS, "precision": "PRECISION_FP64", "on_divergence": "DIVERGENCE_POLICY_STOP"},
        "evaluation": {**SCORED, "generation": {**GREEDY, "early_stopping": "BEAM_EARLY_STOPPING_NEVER"}},
    },
    "layers and prompt of the vocabulary": {
        "method": {"soft_prompt": {"init": "INIT_VOCABULARY"},
                   "last_layers": {"num_layers": 1, "include_final_norm": False, "include_lm_head": True, "learning_rate": 1e-4}},
        "training": {**STEPS, "attention_dropout": 0.1, "residual_dropout": 0.1},
    },
    "dora": {
        "method": {"lora": {"rank": 2, "dropout": 0.1, "use_dora": True}, "soft_prompt": {"num_virtual_tokens": 2}},
        "training": STEPS,
        "evaluation": SCORED,
    },
    "prefix": {
        "method": {"prefix_tuning": {"num_virtual_tokens": 3, "learning_rate": 1e-1}},
        "training": STEPS,
        "evaluation": {**SCORED, "generation": GREEDY},
    },
    "everything": {
        "method": {"full": {"learning_rate": 1e-4}},
        "training": {**STEPS, "embedding_dropout": 0.1, "precision": "PRECISION_BF16"},
    },
}

EVALUATE = {
    "sampled": {"evaluation": {**SCORED, "generation": SAMPLED, "sample_events": 1, "generation_batch_size": 2, "lead3_baseline": False,
                               "untuned_baseline": True, "oracle_baseline": True, "use_stemmer": False},
                "precision": "PRECISION_FP64", "threads": 1, "batch_size": 2},
    "other lengths": {"data": {"validation": "valid", "source_field": "document", "target_field": "summary", "prompt_template": "{source} =>",
                               "max_source_tokens": 30, "max_target_tokens": 8, "max_validation_rows": "2"},
                      "evaluation": {**SCORED, "generation": {**GREEDY, "early_stopping": "BEAM_EARLY_STOPPING_TRUE"}}, "precision": "PRECISION_AUTO"},
    "beams to their end": {"evaluation": {**SCORED, "generation": {**GREEDY, "early_stopping": "BEAM_EARLY_STOPPING_NEVER"}}, "precision": "PRECISION_FP32"},
    "beams as they are": {"evaluation": {**SCORED, "generation": {**GREEDY, "early_stopping": "BEAM_EARLY_STOPPING_FALSE"}}, "precision": "PRECISION_BF16"},
    "plain text": {"adapter": "", "data": {"validation": "valid", "text_field": "document"}, "evaluation": {}},
}


@pytest.fixture(scope="module")
def service(micro):
    for name in ("train", "valid"):
        micro.cli("datasets", "upload", micro.directory / f"{name}.jsonl", "--name", name)
    job = micro.json("submit", "--base-model", "micro", "--method", "lora", "--train", "train", "--max-steps", "1", "--output-name", "first")[0]["name"]
    micro.wait_for(job)
    return micro


def submit(service, command, task, spec):
    path = service.directory / "job.json"
    path.write_text(json.dumps({"spec": {task: spec}}), encoding="utf-8")
    return service.json(command, "--file", path)[0]


def assert_kept(asked, resolved, path=""):
    """What was asked for stands in the resolved spec."""
    for key, value in asked.items():
        found = resolved.get(key)
        if isinstance(value, dict):
            assert_kept(value, found or {}, f"{path}{key}.")
        elif isinstance(value, float) and not isinstance(found, (dict, list)):
            assert math.isclose(float(found or 0), value), path + key
        else:
            assert (found or type(value)()) == value, path + key


def test_every_fine_tune_setting_is_taken_by_a_job_that_succeeds(service):
    jobs = {}
    for name, settings in FINE_TUNE.items():
        spec = {"base_model": "micro", "data": DATA, **settings, "output_name": f"set-{name.replace(' ', '-')}"}
        jobs[name] = submit(service, "submit", "fine_tune", spec)
        assert_kept(settings, jobs[name]["resolved_spec"]["fine_tune"])
    for name, job in jobs.items():
        result = service.wait_for(job["name"])["result"]
        assert math.isfinite(result["metrics"]["eval/loss"]), name
    samples = [event for event in service.events(jobs["lora in full"]["name"]) if "samples" in event]
    assert {len(event["samples"]["texts"]) for event in samples} == {1}
    rows = service.json("rows", jobs["lora in full"]["name"], "--train", "--worst", 1000)
    with open(service.directory / "train.jsonl", encoding="utf-8") as data:
        documents = [json.loads(line)["document"] for line in data]
    assert sorted(int(row.get("row", 0)) for row in rows) == list(range(len(documents)))
    assert [row["loss"] for row in rows] == sorted((row["loss"] for row in rows), reverse=True)
    assert all(documents[int(row.get("row", 0))].startswith(row["source"].removesuffix("…")) for row in rows)
    refused = service.cli("rows", jobs["dora"]["name"], "--train", check=False)
    assert refused.returncode == 1 and "train_row_losses" in refused.stderr, refused.stderr
    stopped = service.job(jobs["text prompt"]["name"])
    assert stopped["resolved_spec"]["fine_tune"]["training"]["early_stopping"]["metric"] == "eval/rougeL"
    attempts = {name: service.job(job["name"])["attempts"][0] for name, job in jobs.items()}
    assert [attempts[name]["precision"] for name in ("lora in full", "unit prompt", "everything")] == ["fp32", "fp64", "bf16"]


def test_an_adapter_to_begin_with_is_taken(service):
    spec = {"base_model": "micro", "data": DATA, "method": {"lora": {}}, "training": STEPS, "init_from": "first", "output_name": "second"}
    job = service.wait_for(submit(service, "submit", "fine_tune", spec)["name"])
    assert job["resolved_spec"]["fine_tune"]["init_from_sha256"]
    assert job["result"]["adapter"] == "second"


def test_every_evaluate_setting_is_taken_by_a_job_that_succeeds(service):
    jobs = {}
    for name, settings in EVALUATE.items():
        jobs[name] = submit(service, "eval", "evaluate", {"base_model": "micro", "adapter": "first", "data": {"validation": "valid"}, **settings})
        assert_kept(settings, jobs[name]["resolved_spec"]["evaluate"])
    metrics = {name: service.wait_for(job["name"])["result"]["metrics"] for name, job in jobs.items()}
    assert {"untuned/loss", "oracle/rouge1"} <= metrics["sampled"].keys() and "lead3/rouge1" not in metrics["sampled"]
    assert metrics["plain text"].keys() == {"eval/loss", "eval/perplexity"}
    assert service.job(jobs["sampled"]["name"])["attempts"][0]["precision"] == "fp64"
    predictions = service.directory / "predictions.jsonl"
    service.cli("artifacts", "download", jobs["other lengths"]["name"], "predictions.jsonl", "--to", predictions)
    assert len(predictions.read_text(encoding="utf-8").splitlines()) == 2
