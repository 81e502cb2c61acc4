#!/usr/bin/env python3
"""One real job, graft beside transformers + PEFT: GPT-2 small (random weights, the real vocabulary) on CNN/DailyMail.

    python bench/real_run.py build/release/bin/graft-engine [--data ../shared/data] [--steps 20] [--rows 32] [--threads 2]

20 LoRA steps of 4 × 512 tokens in FP32, then a validation of 32 rows: loss, greedily generated summaries, ROUGE. Both sides start from the
same base and see the same batches in the same order, each in a process of its own, one after the other; then PEFT loads graft's
adapter and computes the validation loss again. The peer is written as people write it: GPT2LMHeadModel, PEFT, AdamW, generate(), rouge_score.
Needs torch, transformers, peft and rouge_score (tools/setup --tests makes such an environment).
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BATCH, SOURCE, TARGET, SEED, RATE = 4, 448, 64, 42, 2e-4


def make_inputs(folder, data, steps, rows):
    """A base of random weights without dropout, and full-length articles: the longest ones train."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(1)
    config = GPT2Config(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
    GPT2LMHeadModel(config).save_pretrained(folder / "base")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(data / "gpt2_tokenizer" / name, folder / "base" / name)
    articles = (data / "cnn_dailymail/valid.jsonl").read_text(encoding="utf-8").splitlines()
    articles.sort(key=lambda line: -len(json.loads(line)["document"]))
    train = steps * BATCH
    (folder / "train.jsonl").write_text("\n".join(articles[:train]) + "\n", encoding="utf-8")
    (folder / "valid.jsonl").write_text("\n".join(articles[train:train + rows]) + "\n", encoding="utf-8")


def measured(command, log):
    """Runs to the end; wall seconds and peak memory of the process."""
    start = time.perf_counter()
    with open(log, "w", encoding="utf-8") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed:\n{pathlib.Path(log).read_text(encoding='utf-8')[-3000:]}")
    return time.perf_counter() - start, usage.ru_maxrss / 1048576


def run_graft(engine, folder, steps, threads):
    spec = {"fine_tune": {
        "base_model": str(folder / "base"),
        "data": {"train": str(folder / "train.jsonl"), "validation": str(folder / "valid.jsonl"),
                 "max_source_tokens": SOURCE, "max_target_tokens": TARGET},
        "method": {"lora": {"rank": 8}},
        "training": {"max_steps": steps, "batch_size": BATCH, "learning_rate": RATE, "seed": SEED, "precision": "PRECISION_FP32",
                     "threads": threads, "early_stopping": {"patience": 0}},
        "evaluation": {"max_new_tokens": TARGET}}}
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    wall, memory = measured([engine, "run", "--spec", str(folder / "spec.json"), "--out", str(folder / "graft")], folder / "graft.log")
    events = [json.loads(line) for line in (folder / "graft.log").read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    values = [event["metrics"]["values"] for event in events if "metrics" in event]
    evaluation = next(event["evaluation"] for event in events if "evaluation" in event)
    return {"tokens_per_second": statistics.median(v["train/tokens_per_second"] for v in values), "losses": [v["train/loss"] for v in values],
            "validation_seconds": evaluation["seconds"], "validation_loss": evaluation["values"]["eval/loss"],
            "rougeLsum": evaluation["values"]["eval/rougeLsum"], "wall_seconds": wall, "peak_rss_gb": memory}


def examples(folder, name):
    """(prompt ids, target ids, summary) as docs/TRAINING.md says what an example is."""
    from transformers import GPT2Tokenizer
    tokenizer = GPT2Tokenizer(str(folder / "base/vocab.json"), str(folder / "base/merges.txt"))
    suffix = tokenizer.encode("\nTL;DR:")
    result = []
    for line in (folder / name).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer.encode(row["document"])[:SOURCE - len(suffix)] + suffix
        target = tokenizer.encode(" " + row["summary"])[:TARGET - 1] + [tokenizer.eos_token_id]
        result.append((prompt, target, row["summary"]))
    return tokenizer, result


def batch_of(rows, pad):
    import torch
    longest = max(len(prompt) + len(target) for prompt, target, _ in rows)
    ids, mask, labels = (torch.full((len(rows), longest), value) for value in (pad, 0, -100))
    for i, (prompt, target, _) in enumerate(rows):
        whole = prompt + target
        ids[i, :len(whole)], mask[i, :len(whole)] = torch.tensor(whole), 1
        labels[i, len(prompt):len(whole)] = torch.tensor(target)
    return ids, mask, labels


def validation_loss(model, rows, pad):
    import torch
    total = count = 0
    with torch.no_grad():
        for begin in range(0, len(rows), BATCH):
            ids, mask, labels = batch_of(rows[begin:begin + BATCH], pad)
            tokens = int((labels != -100).sum())
            total += float(model(input_ids=ids, attention_mask=mask, labels=labels).loss) * tokens
            count += tokens
    return total / count


def run_peer(folder, steps, threads):
    import torch
    from peft import LoraConfig, get_peft_model
    from rouge_score.rouge_scorer import RougeScorer
    from transformers import GPT2LMHeadModel
    torch.set_num_threads(threads)
    tokenizer, rows = examples(folder, "train.jsonl")
    pad = tokenizer.eos_token_id
    model = get_peft_model(GPT2LMHeadModel.from_pretrained(folder / "base", dtype=torch.float32), LoraConfig(
        r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"))
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED)).tolist()
    model.train()
    rates, losses = [], []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (steps - step) / steps
        start = time.perf_counter()
        ids, mask, labels = batch_of([rows[i] for i in order[step * BATCH:(step + 1) * BATCH]], pad)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        rates.append(int(mask.sum()) / (time.perf_counter() - start))
    model.eval()
    start = time.perf_counter()
    _, rows = examples(folder, "valid.jsonl")
    loss = validation_loss(model, rows, pad)
    scorer, scores = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True), []
    for begin in range(0, len(rows), 8):
        some = rows[begin:begin + 8]
        longest = max(len(prompt) for prompt, _, _ in some)
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt, _, _ in some])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt, _, _ in some])
        with torch.no_grad():
            texts = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=TARGET, do_sample=False, pad_token_id=pad)
        for (_, _, summary), text in zip(some, texts):
            scores.append(scorer.score(summary, tokenizer.decode(text[longest:], skip_special_tokens=True))["rougeLsum"].fmeasure)
    model.save_pretrained(folder / "peer")
    print(json.dumps({"tokens_per_second": statistics.median(rates), "losses": losses, "validation_seconds": time.perf_counter() - start,
                      "validation_loss": loss, "rougeLsum": statistics.mean(scores)}))


def load_in_peft(folder):
    """The validation loss of graft's adapter, computed by PEFT."""
    from peft import PeftModel
    from transformers import GPT2LMHeadModel
    tokenizer, rows = examples(folder, "valid.jsonl")
    model = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(folder / "base"), folder / "graft/adapter").eval()
    print(json.dumps({"validation_loss": validation_loss(model, rows, tokenizer.eos_token_id)}))


def python_side(mode, folder, arguments):
    log = folder / f"{mode}.log"
    wall, memory = measured([sys.executable, __file__, mode, "--folder", str(folder), "--steps", str(arguments.steps), "--threads",
                             str(arguments.threads)], log)
    result = json.loads(log.read_text(encoding="utf-8").strip().splitlines()[-1])
    return {**result, "wall_seconds": wall, "peak_rss_gb": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="graft-engine; 'peer' and 'load' are the other sides, alone")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "../shared/data")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", type=int, default=32, help="rows of the validation")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.program == "peer":
        return run_peer(arguments.folder, arguments.steps, arguments.threads)
    if arguments.program == "load":
        return load_in_peft(arguments.folder)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        make_inputs(folder, arguments.data, arguments.steps, arguments.rows)
        ours = run_graft(arguments.program, folder, arguments.steps, arguments.threads)
        theirs = python_side("peer", folder, arguments)
        loaded = python_side("load", folder, arguments)
    for name in ("tokens_per_second", "validation_seconds", "wall_seconds", "peak_rss_gb", "validation_loss", "rougeLsum"):
        print(f"{name}: graft {ours[name]:.4g}, transformers+peft {theirs[name]:.4g}, ratio {ours[name] / theirs[name]:.3f}")
    print("largest relative difference of a step's loss:", max(abs(a - b) / b for a, b in zip(ours["losses"], theirs["losses"])))
    print(f"validation loss of graft's adapter in PEFT: {loaded['validation_loss']:.6f} (graft {ours['validation_loss']:.6f})")


if __name__ == "__main__":
    main()
