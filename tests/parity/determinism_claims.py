"""Part 8: the same spec on the same machine gives the same bits."""

import csv
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safetensors.torch import load_file

from claims import Largest
from programs import ROOT, evaluate, fine_tune
from service import running

PART = 8
ASSETS = ROOT / "tools/demo_assets"
METHODS = {
    "LoRA with dropout": {"lora": {"rank": 4, "dropout": 0.1}},
    "LoRA + soft prompt + last layers": {"lora": {}, "soft_prompt": {"num_virtual_tokens": 5}, "last_layers": {"num_layers": 1}},
    "full": {"full": {}},
}
SHORT = ("LoRA with dropout",)


def rows(name, count):
    return [json.loads(line) for line in (ASSETS / f"data/{name}.jsonl").read_text().splitlines()[:count]]


def write_jsonl(path, data):
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
    return path


def write_csv(path, data):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["document", "summary"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(data)
    return path


class Run:
    """What a job left: losses, and the bytes of its files."""

    def __init__(self, out, method, train, validation, threads):
        spec = {"base_model": str(ASSETS / "model"), "method": method,
                "data": {"train": str(train), "max_source_tokens": 120, "max_target_tokens": 40,
                         **({"validation": str(validation)} if validation else {})},
                "training": {"max_steps": 6, "batch_size": 4, "gradient_accumulation_steps": 2, "threads": threads, "eval_every_steps": 2,
                             "precision": "PRECISION_FP32", "early_stopping": {"patience": 0}},
                "evaluation": {"max_samples": 0}}
        values = [event["metrics"]["values"] for event in fine_tune(spec, out) if "metrics" in event]
        self.numbers = [(value["train/loss"], value["train/grad_norm"], value["train/learning_rate"]) for value in values]
        state = load_file(max((out / "checkpoints").glob("*/state.safetensors"), key=lambda path: int(path.parent.name)))
        self.last = {name: value.numpy().tobytes() for name, value in state.items() if name.startswith(("trained/", "exp_avg"))}
        published = out / ("model" if "full" in method else "adapter")
        self.adapter = {str(path.relative_to(published)): path.read_bytes() for path in published.rglob("*.safetensors")}


def count(gathered, ours, theirs, adapter=True):
    gathered.count_unequal(ours.numbers, theirs.numbers)
    assert ours.last.keys() == theirs.last.keys() and ours.adapter.keys() == theirs.adapter.keys()
    gathered.count_unequal([ours.last[name] for name in theirs.last], list(theirs.last.values()))
    if adapter:  # Without validation the last step's is published, not the best one.
        gathered.count_unequal([ours.adapter[name] for name in theirs.adapter], list(theirs.adapter.values()))


def claims_of_engine(scratch, short):
    train, validation = rows("train", 20), rows("valid", 8)
    jsonl, valid = write_jsonl(scratch / "train.jsonl", train), write_jsonl(scratch / "valid.jsonl", validation)
    comma, comma_valid = write_csv(scratch / "train.csv", train), write_csv(scratch / "valid.csv", validation)
    twice, together, silent, files = Largest(), Largest(), Largest(), Largest()
    for index, (name, method) in enumerate(METHODS.items()):
        if short and name not in SHORT:
            continue
        for threads in (1, 2):
            def run(kind, train=jsonl, validation=valid):
                return Run(scratch / f"{index}-{threads}-{kind}", method, train, validation, threads)

            first = run("first")
            count(twice, run("second"), first)
            with ThreadPoolExecutor(2) as pool:
                for other in pool.map(run, ("left", "right")):
                    count(together, other, first)
            count(silent, run("silent", validation=None), first, adapter=False)
            count(files, run("csv", comma, comma_valid), first)
    what = "losses, norms, rates, tensors and moments"
    return [twice.claim(PART, f"run twice: {what}, and the published files, unequal bits", 0),
            together.claim(PART, f"two engines at once: {what}, and the published files, unequal bits", 0),
            silent.claim(PART, f"with and without validation: {what}, unequal bits", 0),
            files.claim(PART, f"JSON lines and CSV: {what}, and the published files, unequal bits", 0)]


def claim_of_predictions(scratch):
    """With and without an adapter, greedy and sampled: once, again, two engines at once, and from CSV."""
    data, gathered = rows("test", 8), Largest()
    jsonl, comma = write_jsonl(scratch / "predict.jsonl", data), write_csv(scratch / "predict.csv", data)
    Run(scratch / "to evaluate", METHODS[SHORT[0]], jsonl, jsonl, 1)
    adapters = {"": [], "adapter": ["--adapter", scratch / "to evaluate/adapter"]}

    def predictions(adapter, sampled, kind, file):
        out = scratch / f"evaluation-{adapter}-{sampled}-{kind}"
        evaluate({"base_model": str(ASSETS / "model"),
                  "data": {"validation": str(file), "max_source_tokens": 120, "max_target_tokens": 40},
                  "evaluation": {"max_new_tokens": 12, "max_samples": -1, "generation": {"do_sample": sampled}},
                  "precision": "PRECISION_FP32", "threads": 1}, out, *adapters[adapter])
        found = [json.loads(line) for line in (out / "artifacts/predictions.jsonl").read_text().splitlines()]
        for row in found:  # Where the row stood in its file; CSV has only the two fields.
            del row["line"]
            row.pop("id", None)
        return found

    for adapter in adapters:
        for sampled in (False, True):
            first = predictions(adapter, sampled, "first", jsonl)
            with ThreadPoolExecutor(2) as pool:
                others = pool.map(lambda kind: predictions(adapter, sampled, *kind), (("left", jsonl), ("right", comma)))  # noqa: B023
            for other in [predictions(adapter, sampled, "second", jsonl), *others]:
                gathered.count_unequal(other, first)
    return gathered.claim(PART, "evaluated again, two at once and from CSV, with and without an adapter, greedy and sampled: rows of "
                          "predictions.jsonl, unequal", 0)


def claim_of_workers():
    """Through a server: one worker, then two that train at the same time."""
    gathered, results = Largest(), []
    for workers in (1, 2):
        attempts = []
        with running(workers) as graft:
            names = [graft.submit("--output-name", f"adapter-{index}") for index in range(workers)]
            for index, name in enumerate(names):
                graft.wait_for(name)
                graft.cli("adapters", "download", f"adapter-{index}", "--to", graft.directory / f"adapter-{index}")
                losses = [event["metrics"]["values"]["train/loss"] for event in graft.events(name) if "metrics" in event]
                attempts.append(graft.job(name)["attempts"][0])
                results.append((losses, (graft.directory / f"adapter-{index}/adapter_model.safetensors").read_bytes()))
    left, right = attempts
    assert left["worker"] != right["worker"] and max(left["start_time"], right["start_time"]) < min(left["end_time"], right["end_time"])
    for losses, adapter in results[1:]:
        assert losses
        gathered.count_unequal([*losses, adapter], [*results[0][0], results[0][1]])
    return gathered.claim(PART, "one worker, and two that are busy: losses and adapter, unequal bits", 0)


def claims(short):
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        return [*claims_of_engine(scratch, short), claim_of_predictions(scratch), claim_of_workers()]
