"""A whole small job, by graft-engine and by transformers Trainer with PEFT: tokenising, training, validation, the best step, early stop."""

import json
import math

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoTokenizer, EarlyStoppingCallback, GPT2LMHeadModel

from claims import Largest
from programs import ROOT, fine_tune
from reference import NO_DROPOUT, WatchedTrainer, collate, encode_row

MODEL = ROOT / "tools/demo_assets/model"  # A trained checkpoint of 0.5 million parameters
DATA = ROOT / "tools/demo_assets/data"
TRAIN_ROWS, VALIDATION_ROWS, MAX_SOURCE, MAX_TARGET = 8, 24, 140, 40
BATCH, EPOCHS, EVERY, PATIENCE, RATE = 4, 20, 3, 2, 2e-2


class TokenMeanTrainer(WatchedTrainer):
    """Trainer's evaluation weights the means of batches by their rows; this one takes the mean over all label tokens."""

    def evaluate(self, *unused, **named):
        metrics = {"eval_loss": token_mean(self.model, self.eval_dataset)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


@torch.no_grad()
def token_mean(model, rows, batch=BATCH):
    model.eval()
    total, count = 0.0, 0
    for begin in range(0, len(rows), batch):
        inputs = collate(rows[begin:begin + batch])
        labels = inputs.pop("labels")
        log_probabilities = torch.log_softmax(model(**inputs).logits[:, :-1].double(), dim=-1)
        targets = labels[:, 1:]
        picked = log_probabilities.gather(2, targets.clamp(min=0)[..., None])[..., 0]
        total -= picked[targets >= 0].sum().item()
        count += (targets >= 0).sum().item()
    return total / count


def subset(name, count, folder):
    """The first rows of a file of the demo's data, as a file."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(line + "\n" for line in (DATA / f"{name}.jsonl").read_text().splitlines()[:count]))
    return path


def encoded(path, max_source=MAX_SOURCE, max_target=MAX_TARGET):
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    rows = []
    for line in path.read_text().splitlines():
        prompt, target = encode_row(tokenizer, json.loads(line), max_source, max_target)
        rows.append((prompt + target, len(prompt)))
    return rows


def initial_adapter(folder):
    """LoRA as PEFT begins it."""
    torch.manual_seed(11)
    model = GPT2LMHeadModel.from_pretrained(MODEL)
    get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True,
                                     task_type="CAUSAL_LM")).save_pretrained(folder)
    return folder


def run_ours(scratch, train, validation, initial, **changes):
    spec = {"base_model": str(MODEL), "method": {"lora": {"rank": 8, "alpha": 16}},
            "data": {"train": str(train), "validation": str(validation), "max_source_tokens": MAX_SOURCE, "max_target_tokens": MAX_TARGET},
            "training": {"epochs": EPOCHS, "batch_size": BATCH, "precision": "PRECISION_FP64", "learning_rate": RATE, "threads": 1,
                         "eval_every_steps": EVERY, "early_stopping": {"metric": "eval/loss", "patience": PATIENCE}, **changes},
            "evaluation": {"max_samples": 0}}
    return fine_tune(spec, scratch / "ours", "--init-from", initial)


def run_theirs(scratch, train, validation, initial):
    model = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(MODEL, **NO_DROPOUT), initial, is_trainable=True).double()
    trainer = TokenMeanTrainer(
        model, encoded(train), exact=True, validation=encoded(validation), snapshots=False, callbacks=[EarlyStoppingCallback(PATIENCE)],
        output_dir=str(scratch / "theirs"), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, learning_rate=RATE,
        eval_strategy="steps", eval_steps=EVERY, save_strategy="steps", save_steps=EVERY, per_device_eval_batch_size=BATCH,
        load_best_model_at_end=True, metric_for_best_model="eval_loss", greater_is_better=False)
    trainer.train()
    return trainer


def ours_of(events):
    """(losses of steps, [step, validation loss] of evaluations, best step, last step)."""
    losses = [event["metrics"]["values"]["train/loss"] for event in events if "metrics" in event]
    events = [event["evaluation"] for event in events if "evaluation" in event]
    evaluations = [(int(event["step"]), event["values"]["eval/loss"]) for event in events]
    best = [int(event["step"]) for event in events if event.get("is_best")][-1]
    return losses, evaluations, best, len(losses)


def claims(part, scratch):
    train, validation = subset("train", TRAIN_ROWS, scratch), subset("valid", VALIDATION_ROWS, scratch)
    initial = initial_adapter(scratch / "initial")
    losses, evaluations, best, steps = ours_of(run_ours(scratch, train, validation, initial))
    trainer = run_theirs(scratch, train, validation, initial)
    their_evaluations = [(log["step"], log["eval_loss"]) for log in trainer.state.log_history if "eval_loss" in log]
    total = EPOCHS * math.ceil(TRAIN_ROWS / BATCH)
    assert 1 < best < steps < total, f"best step {best} of {steps}: the job must improve, and stop before step {total}"
    training, validating, decisions, adapter = Largest(), Largest(), Largest(), Largest()
    assert len(losses) == len(trainer.watch.losses) and len(evaluations) == len(their_evaluations)
    for ours, theirs in zip(losses, trainer.watch.losses):
        training.add(abs(ours - theirs) / theirs)
    for ours, theirs in zip(evaluations, their_evaluations):
        validating.add(abs(ours[1] - theirs[1]) / theirs[1])
    decisions.count_unequal([best, steps, *(step for step, _ in evaluations)],
                            [trainer.state.best_global_step, trainer.state.global_step, *(step for step, _ in their_evaluations)])
    ours = load_file(scratch / "ours/adapter/adapter_model.safetensors")
    theirs = load_file(f"{trainer.state.best_model_checkpoint}/adapter_model.safetensors")
    first = load_file(initial / "adapter_model.safetensors")
    for name, value in theirs.items():
        adapter.add((ours[name] - value).norm() / (value - first[name]).norm())  # Ours is written as F32.
    what = f"a job of {steps} steps on the demo's trained checkpoint, LoRA, float64"
    return [training.claim(part, f"{what}: loss of the steps", 1e-10),
            validating.claim(part, f"{what}: validation loss (the reference subclassed to the mean over tokens)", 1e-10),
            decisions.claim(part, f"{what}: best step, step of the early stop and steps of evaluations, unequal", 0),
            adapter.claim(part, f"{what}: the published adapter, of its update", 1e-6)]
