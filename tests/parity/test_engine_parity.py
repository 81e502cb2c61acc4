"""What graft-engine trains and writes, beside transformers and PEFT: its adapters load in PEFT with the same logits, its loss on the
same weights is theirs, and so is its greedy text. Tiny models of random weights; everything on the CPU in fp32."""

import json
import math
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

import programs
from programs import ROOT, run_engine
from reference import encode_row

TOKENIZER = ROOT / "tests/golden/text/bpe"
MAX_SOURCE, MAX_TARGET, MAX_NEW = 28, 12, 6
# Logits in fp32 may differ by this share of the largest; what was trained must change them a hundred times more.
TOLERANCE = 1e-5

METHODS = {
    "lora": {"lora": {"rank": 4, "alpha": 8, "target_modules": ["c_attn", "mlp.c_proj"]}},
    "lora_rslora_layers": {"lora": {"rank": 2, "use_rslora": True, "layers": [1]}},
    "soft_prompt": {"soft_prompt": {"num_virtual_tokens": 5}},
    "last_layers": {"last_layers": {"num_layers": 1}},
    "head": {"last_layers": {"num_layers": 0, "include_lm_head": True}},
    "lora_last_layers": {"lora": {}, "last_layers": {"num_layers": 1}},
    "hybrid": {"lora": {"rank": 2}, "soft_prompt": {"num_virtual_tokens": 3}, "last_layers": {"num_layers": 1}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny GPT-2 of random weights, written by transformers, with the golden tokenizer beside it."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    torch.manual_seed(7)
    config = GPT2Config(vocab_size=512, n_positions=64, n_embd=32, n_layer=3, n_head=4, initializer_range=0.2, bos_token_id=0,
                        eos_token_id=0, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text((TOKENIZER / "tokenizer.json").read_text())
    return folder


ROWS = [{"document": f"The {animal} number {i} sat on the {place} and looked at the {other} for {i + 2} hours.",
         "summary": f"{animal} {i} on {place}"}
        for i, (animal, place, other) in enumerate([("cat", "mat", "dog"), ("dog", "log", "cat"), ("fox", "box", "ox"), ("ant", "plant", "bee")]
                                                   * 4)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def data_spec(data):
    return {"train": str(data), "validation": str(data), "max_source_tokens": MAX_SOURCE, "max_target_tokens": MAX_TARGET}


def fine_tune(base, data, out, method, **training):
    return programs.fine_tune({
        "base_model": str(base), "data": data_spec(data), "method": method,
        "training": {"epochs": 2, "batch_size": 4, "precision": "PRECISION_FP32", "learning_rate": 2e-2, "threads": 1, **training},
        "evaluation": {"max_samples": 4, "max_new_tokens": MAX_NEW}}, out)


def evaluations(events):
    return [event["evaluation"]["values"] for event in events if "evaluation" in event]


def our_logits(base, adapter, rows, folder):
    ids_file, out = folder / "ids.json", folder / "logits.safetensors"
    ids_file.write_text(json.dumps(rows))
    run_engine("logits", "--model", base, *(["--adapter", adapter] if adapter else []), "--ids-file", ids_file, "--out", out, "--threads", 1)
    logits = load_file(out)
    return [logits[f"logits.{i}"] for i in range(len(rows))]


def peft_model(adapter):
    """Loaded as the adapter's own README says."""
    code = re.search(r"```python\n(.*?)```", (adapter / "README.md").read_text(), re.DOTALL).group(1)
    names = {}
    exec(code.replace("path/to/this/directory", str(adapter)), names)
    return names["model"].eval()


@torch.no_grad()
def their_logits(model, row):
    ids = torch.tensor([row])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -len(row):]


IDS = [[5, 17, 250, 3, 99, 101], [400], list(range(1, 40))]


def difference(ours, theirs):
    """Largest difference as a share of max(1, largest logit)."""
    return max(((a - b).abs().max() / max(1.0, b.abs().max().item())).item() for a, b in zip(ours, theirs))


@pytest.mark.parametrize("name", METHODS)
def test_adapter_loads_in_peft_with_the_same_logits(name, base, data, tmp_path):
    fine_tune(base, data, tmp_path / "run", METHODS[name])
    adapter = tmp_path / "run/adapter"
    ours = our_logits(base, adapter, IDS, tmp_path)
    model = peft_model(adapter)
    theirs = [their_logits(model, row) for row in IDS]
    assert difference(ours, theirs) <= TOLERANCE
    untuned = [their_logits(GPT2LMHeadModel.from_pretrained(base).eval(), row) for row in IDS]
    assert difference(ours, untuned) >= 100 * TOLERANCE


def test_untuned_logits_are_those_of_transformers(base, tmp_path):
    model = GPT2LMHeadModel.from_pretrained(base).eval()
    assert difference(our_logits(base, None, IDS, tmp_path), [their_logits(model, row) for row in IDS]) <= TOLERANCE


@torch.no_grad()
def their_loss(model, tokenizer, rows):
    """Token-weighted, from the logits."""
    total, count = 0.0, 0
    for row in rows:
        prompt, target = encode_row(tokenizer, row, MAX_SOURCE, MAX_TARGET)
        logits = their_logits(model, prompt + target)
        log_probabilities = torch.log_softmax(logits[len(prompt) - 1:-1].double(), dim=-1)
        total -= log_probabilities.gather(1, torch.tensor(target)[:, None]).sum().item()
        count += len(target)
    return total / count


@pytest.fixture(scope="module")
def tokenizer(base):
    loaded = AutoTokenizer.from_pretrained(base)
    assert loaded("<|endoftext|>")["input_ids"] == [0]
    return loaded


@pytest.mark.parametrize("name", ["lora", "soft_prompt", "last_layers"])
def test_validation_loss_of_the_adapter_is_that_of_the_reference(name, base, data, tokenizer, tmp_path):
    events = fine_tune(base, data, tmp_path / "run", METHODS[name])
    best = min(values["eval/loss"] for values in evaluations(events))
    assert math.isclose(best, their_loss(peft_model(tmp_path / "run/adapter"), tokenizer, ROWS), rel_tol=1e-5)


def evaluate(base, data, out, *arguments):
    programs.evaluate({
        "base_model": str(base), "data": {key: value for key, value in data_spec(data).items() if key != "train"},
        "evaluation": {"max_new_tokens": MAX_NEW}, "precision": "PRECISION_FP32", "threads": 1}, out, *arguments)
    predictions = [json.loads(line) for line in (out / "artifacts/predictions.jsonl").read_text().splitlines()]
    return json.loads((out / "artifacts/results.json").read_text()), predictions


def test_evaluation_of_the_untuned_model(base, data, tokenizer, tmp_path):
    results, predictions = evaluate(base, data, tmp_path / "eval")
    model = GPT2LMHeadModel.from_pretrained(base).eval()
    assert math.isclose(results["metrics"]["eval/loss"], their_loss(model, tokenizer, ROWS), rel_tol=1e-5)
    assert len(predictions) == len(ROWS)
    for row, prediction in zip(ROWS, predictions):
        prompt, _ = encode_row(tokenizer, row, MAX_SOURCE, MAX_TARGET)
        ids = torch.tensor([prompt])
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_NEW, do_sample=False, pad_token_id=0)
        expected = tokenizer.decode(out[0, len(prompt):], skip_special_tokens=True).strip()
        assert prediction["prediction"] == expected
        assert prediction["prompt_tokens"] == len(prompt)


def test_rouge_of_the_predictions_is_that_of_rouge_score(base, data, tmp_path):
    from rouge_score.rouge_scorer import RougeScorer
    results, predictions = evaluate(base, data, tmp_path / "eval")
    types = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(types, use_stemmer=True)
    for prediction in predictions:
        for name, score in scorer.score(prediction["references"][0], prediction["lead3"]["prediction"]).items():
            assert prediction["lead3"][name] == {"precision": score.precision, "recall": score.recall, "f": score.fmeasure}
        for name, score in scorer.score(prediction["references"][0], prediction["prediction"]).items():
            assert prediction[name]["f"] == score.fmeasure
    for name in types:
        mean = sum(prediction[name]["f"] for prediction in predictions) / len(predictions)
        assert math.isclose(results["metrics"][f"eval/{name}"], mean, rel_tol=1e-12, abs_tol=1e-15)


def test_full_job_leaves_a_model_that_transformers_loads(base, data, tokenizer, tmp_path):
    fine_tune(base, data, tmp_path / "run", {"full": {}}, learning_rate=1e-3)
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "run/model").eval()
    ours = our_logits(tmp_path / "run/model", None, IDS, tmp_path)
    assert difference(ours, [their_logits(model, row) for row in IDS]) <= TOLERANCE


@pytest.mark.parametrize("settings", [
    {"target_modules": ["c_attn", "c_fc"]},
    {"target_modules": ["c_attn"], "modules_to_save": ["ln_1"]},
    {"target_modules": ["c_attn"], "modules_to_save": ["c_fc"]},
    {"target_modules": ["c_attn", "c_proj"], "exclude_modules": ["mlp.c_proj"], "rank_pattern": {"c_attn": 2, "c_proj": 2}},
])
def test_adapter_that_peft_wrote_is_evaluated_alike(settings, base, data, tokenizer, tmp_path):
    from peft import LoraConfig, get_peft_model
    torch.manual_seed(3)
    model = get_peft_model(GPT2LMHeadModel.from_pretrained(base),
                           LoraConfig(r=3, lora_alpha=5, fan_in_fan_out=True, task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
            elif "modules_to_save" in name:
                value.add_(0.2 * torch.randn_like(value))
    model.eval().save_pretrained(tmp_path / "peft")
    ours = our_logits(base, tmp_path / "peft", IDS, tmp_path)
    assert difference(ours, [their_logits(model, row) for row in IDS]) <= TOLERANCE
    results, _ = evaluate(base, data, tmp_path / "eval", "--adapter", tmp_path / "peft")
    assert math.isclose(results["metrics"]["eval/loss"], their_loss(model, tokenizer, ROWS), rel_tol=1e-5)


def test_published_files_are_there(base, data, tmp_path):
    fine_tune(base, data, tmp_path / "run", METHODS["lora"])
    names = {path.name for path in (tmp_path / "run/adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "graft.json", "metrics.jsonl",
            "trainer_state.json"} <= names
    assert any(name.startswith("events.out.tfevents.") for name in names)
    graft = json.loads((tmp_path / "run/adapter/graft.json").read_text())
    assert graft["kind"] == "adapter" and graft["load_order"] == [""]
    assert len(graft["base_model"]["sha256"]) == 64 and len(graft["data"]["train"]["sha256"]) == 64
    assert graft["resolved_spec"]["fine_tune"]["method"]["lora"]["learning_rate"] == 2e-2
    assert graft["result"]["metrics"]["eval/loss"] > 0


@pytest.mark.parametrize("change, message", [
    ({"method": {"lora": {"rank": 64}}}, "rank"),
    ({"method": {}}, "method"),
    ({"method": {"lora": {"target_modules": ["q_proj"]}}}, "target_modules"),
    ({"base_model": "/nowhere"}, "/nowhere"),
])
def test_bad_specs_are_refused_with_the_field(change, message, base, data, tmp_path):
    spec = {"fine_tune": {"base_model": str(base), "data": data_spec(data), "method": METHODS["lora"], **change}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = run_engine("run", "--spec", tmp_path / "spec.json", "--out", tmp_path / "run", check=False)
    assert done.returncode == 1
    assert message in done.stderr
