"""Part 9: every result says what it was made of, and `graft verify` finds what is not so."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import service
from claims import Largest
from programs import BIN, ROOT, evaluate, fine_tune

PART = 9
ASSETS = ROOT / "tools/demo_assets"


def subset(name, count, folder):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(line + "\n" for line in (ASSETS / f"data/{name}.jsonl").read_text().splitlines()[:count]))
    return path


def results_of(folder):
    """A small job and an evaluation of what it left: directories of both."""
    train, valid = subset("train", 16, folder), subset("valid", 8, folder)
    data = {"max_source_tokens": 160, "max_target_tokens": 48}
    fine_tune({"base_model": str(ASSETS / "model"), "method": {"lora": {"rank": 4}},
               "data": {"train": str(train), "validation": str(valid), **data},
               "training": {"max_steps": 6, "batch_size": 4, "eval_every_steps": 3, "learning_rate": 3e-3, "precision": "PRECISION_FP32",
                            "threads": 1}, "evaluation": {"max_samples": 4, "max_new_tokens": 16}}, folder / "job")
    evaluate({"base_model": str(ASSETS / "model"), "adapter": str(folder / "job/adapter"), "data": {"validation": str(valid), **data},
              "precision": "PRECISION_FP32", "threads": 1, "batch_size": 4,
              "evaluation": {"max_new_tokens": 24, "lead3_baseline": True, "untuned_baseline": True}}, folder / "evaluation")
    return folder / "job/adapter", folder / "evaluation/artifacts", [train, valid]


def verify(directory, data, base=ASSETS / "model"):
    """What differs, and the number of checks that were made."""
    done = subprocess.run([BIN / "graft", "--json", "verify", "--offline", str(directory), "--base-model", str(base),
                           *(argument for path in data for argument in ("--data", str(path)))], capture_output=True, text=True, check=False)
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    differs = [check["check"] for check in checks if check["outcome"] == "differs"]
    assert done.returncode == (1 if differs or not checks else 0), done.stderr
    return differs, sum(check["outcome"] != "not_checked" for check in checks), done.stderr


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def edit_row(path, line, change):
    lines = path.read_text().splitlines()
    record = json.loads(lines[line])
    change(record)
    lines[line] = json.dumps(record)
    path.write_text("".join(text + "\n" for text in lines))


def adapter_tamperings():
    """What is done to a copy of an adapter's directory, and the check that must find it."""
    for offset in (9, 700, -1, -500):
        yield f"byte {offset} of the weights", lambda d, o=offset: flip(d / "adapter_model.safetensors", o), "file adapter_model.safetensors"
    yield "rank", lambda d: edit(d / "adapter_config.json", lambda r: r.update(r=8)), "file adapter_config.json"
    yield "card", lambda d: (d / "README.md").write_text("other"), "file README.md"
    yield "weights cut off", lambda d: (d / "adapter_model.safetensors").write_bytes((d / "adapter_model.safetensors").read_bytes()[:-4]), "file"
    yield "card lost", lambda d: (d / "README.md").unlink(), "file README.md"
    for name in ("eval/loss", "eval/rouge1", "eval/rougeLsum_low"):
        yield name, lambda d, n=name: edit(d / "graft.json", lambda r: r["result"]["metrics"].update({n: 0.125})), "metrics of the best step"
    yield "best step", lambda d: edit(d / "graft.json", lambda r: r["result"].update(best_step=5)), "metrics of the best step"
    yield "log", lambda d: edit_row(d / "metrics.jsonl", -1, lambda r: r.update({"eval/loss": 9.0})), "metrics of the best step"
    yield "state", lambda d: edit(d / "trainer_state.json", lambda r: r.update(best_global_step=1)), "best step and its loss"
    yield "base model", lambda d: edit(d / "graft.json", lambda r: r["base_model"].update(sha256="0" * 64)), "base model"
    for part in ("train", "validation"):
        yield part, lambda d, p=part: edit(d / "graft.json", lambda r: r["data"][p].update(sha256="0" * 64)), "data file"
    yield "list of files", lambda d: edit(d / "graft.json", lambda r: r["files"][0].update(sha256="0" * 64)), "file"


def evaluation_tamperings():
    predictions, results = "predictions.jsonl", "results.json"
    yield "prediction", lambda d: edit_row(d / predictions, 2, lambda r: r.update(prediction=r["prediction"] + " Oakham")), "scores of the rows, eval/"
    yield "reference", lambda d: edit_row(d / predictions, 0, lambda r: r.update(references=["other"])), "hash of the references"
    yield "score", lambda d: edit_row(d / predictions, 1, lambda r: r["rougeL"].update(f=0.5)), "scores of the rows, eval/"
    yield "lead-3", lambda d: edit_row(d / predictions, 1, lambda r: r["lead3"].update(prediction="other")), "first three sentences"
    yield "untuned", lambda d: edit_row(d / predictions, 1, lambda r: r["untuned"].update(prediction="the town of")), "scores of the rows, untuned/"
    yield "row lost", lambda d: (d / predictions).write_text("".join((d / predictions).read_text().splitlines(keepends=True)[:-1])), "number of"
    for name in ("eval/rouge1", "eval/rouge2_high", "eval/rougeL_precision", "lead3/rougeLsum", "untuned/rouge1_recall"):
        yield name, lambda d, n=name: edit(d / results, lambda r: r["metrics"].update({n: 0.125})), name
    yield "stemmer", lambda d: edit(d / results, lambda r: r["fingerprint"].pop("use_stemmer")), "lead3/rouge1"
    yield "base", lambda d: edit(d / results, lambda r: r["base_model"].update(sha256="0" * 64)), "base model"
    yield "data", lambda d: edit(d / results, lambda r: r["data"]["validation"].update(sha256="0" * 64)), "data file"


def claim_of_tamperings(scratch, adapter, evaluation, data):
    missed = Largest()
    for directory, files, tamperings in ((adapter, data, adapter_tamperings()), (evaluation, data[1:], evaluation_tamperings())):
        for index, (_, tamper, expected) in enumerate(tamperings):
            copy = scratch / f"{directory.name}-{index}"
            shutil.copytree(directory, copy)
            tamper(copy)
            differs, _, _ = verify(copy, files)
            missed.count_unequal([any(check.startswith(expected) for check in differs)], [True])
    other = scratch / "other-model"
    shutil.copytree(ASSETS / "model", other)
    flip(other / "model.safetensors", -3)
    missed.count_unequal([any(check.startswith("base model") for check in verify(adapter, data, other)[0])], [True])
    return missed.claim(PART, "one change in an adapter, an evaluation, their base or data that graft verify does not name", 0)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(folder, names):
    lines = [f"{sha256(folder / name)} {(folder / name).stat().st_size} {name}\n" for name in sorted(names) if (folder / name).exists()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def code_hash():
    """As docs/FORMATS.md says it; LC_ALL=C sorts by bytes."""
    files = sorted((path for folder in ("common", "proto", "worker/engine") for path in (ROOT / folder).rglob("*") if path.is_file()),
                   key=lambda path: str(path.relative_to(ROOT)).encode())
    return hashlib.sha256("".join(f"{sha256(path)}  {path.relative_to(ROOT)}\n" for path in files).encode()).hexdigest()


def claim_of_hashes(adapter, evaluation, data):
    """The recipes of the documents, in Python."""
    graft, results = (json.loads((folder / name).read_text()) for folder, name in ((adapter, "graft.json"), (evaluation, "results.json")))
    model = manifest(ASSETS / "model", ["config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer.json",
                                        "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"])
    samples = hashlib.sha256()
    for line in (evaluation / "predictions.jsonl").read_text().splitlines():
        for reference in json.loads(line)["references"]:
            samples.update(reference.encode() + b"\0")
        samples.update(b"\1")
    pairs = [(graft["base_model"]["sha256"], model), (results["base_model"]["sha256"], model),
             (graft["data"]["train"]["sha256"], sha256(data[0])), (graft["data"]["validation"]["sha256"], sha256(data[1])),
             (results["data"]["validation"]["sha256"], sha256(data[1])), (results["fingerprint"]["samples_sha256"], samples.hexdigest()),
             (graft["build"]["code_sha256"], code_hash()), (results["build"]["code_sha256"], code_hash()),
             *((entry["sha256"], sha256(adapter / entry["path"])) for entry in graft["files"])]
    gathered = Largest()
    gathered.count_unequal([ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    return gathered.claim(PART, "hashes of base, data, references, files and code, and the same by the documents' recipes, unequal", 0)


def claim_of_numbers(adapter, evaluation):
    """The adapter that was published gives the validation loss that its job recorded."""
    recorded = json.loads((adapter / "graft.json").read_text())["result"]["metrics"]["eval/loss"]
    again = json.loads((evaluation / "results.json").read_text())["metrics"]["eval/loss"]
    gathered = Largest()
    gathered.add(abs(recorded - again) / recorded)
    return gathered.claim(PART, "validation loss that a job recorded, and that of its published adapter evaluated again", 0)


def claim_of_server():
    """By name, from a server."""
    gathered = Largest()
    with service.running() as graft:
        graft.wait_for(graft.submit("--output-name", "a"))
        job = graft.json("eval", "--base-model", "tiny", "--adapter", "a", "--data", "valid", "--max-new-tokens", "8")[0]["name"]
        graft.wait_for(job)
        for target, needed in (("a", {"base model tiny", "train data train", "validation data valid"}),
                               (job, {"base model tiny", "adapter a", "validation data valid"})):
            outcomes = {check["check"]: check["outcome"] for check in graft.json("verify", target)}
            assert needed <= {name for name, outcome in outcomes.items() if outcome == "ok"}, outcomes
            gathered.count_unequal([outcome == "differs" for outcome in outcomes.values()], [False] * len(outcomes))
    return gathered.claim(PART, "checks of a server's adapter and evaluate job that differ", 0)


def claims(short):
    del short  # Half a minute.
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        adapter, evaluation, data = results_of(scratch)
        untouched = Largest()
        for directory, files in ((adapter, data), (evaluation, data[1:])):
            differs, checked, errors = verify(directory, files)
            assert checked > 8, errors
            untouched.add(len(differs), checked)
        return [untouched.claim(PART, "checks of an untouched adapter and evaluation that differ", 0),
                claim_of_tamperings(scratch, adapter, evaluation, data), claim_of_hashes(adapter, evaluation, data),
                claim_of_numbers(adapter, evaluation), claim_of_server()]
