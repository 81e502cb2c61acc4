"""Part 4: bf16 costs no more accuracy than transformers' own does, which is Trainer's bf16=True: autocast over a base in fp32. graft's
base and its products' factors are bf16, the residual stream, its norms and the logits are fp32; trained tensors are fp32 in both.

A single last validation loss differs by chance as much as by precision (the same method comes out at 0.3 and 3 times the reference's),
so its distances are summed over all methods and seeds before they are compared.
"""

import os
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel

from claims import Claim
from programs import TrainTool, fine_tune
from reference import NO_DROPOUT, WatchedTrainer, learning_rates, make_gpt2_like, reference_model, train_what_it_names
from small_job import MODEL, encoded, subset, token_mean

PART = 4
TIMES = 1.5
LENGTHS = {"max_source_tokens": 100, "max_target_tokens": 28}
METHODS = {
    "LoRA": {"lora": {}},
    "soft prompt": {"soft_prompt": {"num_virtual_tokens": 10}},
    "last layers": {"last_layers": {"num_layers": 2}},
}


class Job:
    """One method from one seed, in fp32 and bf16, by both sides; losses of the steps and the last validation loss."""

    def __init__(self, scratch, method, seed, steps):
        scratch.mkdir()
        self.scratch, self.method, self.seed, self.steps = scratch, method, seed, steps
        self.train, self.validation = subset("train", 160, scratch), subset("valid", 32, scratch)
        torch.manual_seed(seed)
        reference_model(MODEL, method, torch.float32, **NO_DROPOUT).save_pretrained(scratch / "initial")
        self.ours = {precision: self.run_ours(precision) for precision in ("fp32", "bf16")}
        self.theirs = {precision: self.run_theirs(precision) for precision in ("fp32", "bf16")}

    def run_ours(self, precision):
        events = fine_tune({
            "base_model": str(MODEL), "method": self.method, "data": {"train": str(self.train), "validation": str(self.validation), **LENGTHS},
            "training": {"max_steps": self.steps, "batch_size": 4, "precision": f"PRECISION_{precision.upper()}", "threads": 1,
                         "seed": self.seed, "eval_every_steps": self.steps},
            "evaluation": {"max_samples": 0}}, self.scratch / f"ours-{precision}", "--init-from", self.scratch / "initial")
        losses = [event["metrics"]["values"]["train/loss"] for event in events if "metrics" in event]
        [validation] = [event["evaluation"]["values"]["eval/loss"] for event in events if "evaluation" in event]
        return losses, validation

    def run_theirs(self, precision):
        model = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(MODEL, **NO_DROPOUT), self.scratch / "initial")
        train_what_it_names(model, self.method)
        [rate] = learning_rates(self.method).values()
        bf16 = precision == "bf16"
        trainer = WatchedTrainer(model, encoded(self.train, *LENGTHS.values()), exact=False, snapshots=False, bf16=bf16,
                                 output_dir=str(self.scratch / "theirs"), max_steps=self.steps, per_device_train_batch_size=4,
                                 learning_rate=rate, seed=self.seed)
        trainer.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return trainer.watch.losses, token_mean(model, encoded(self.validation, *LENGTHS.values()), batch=4)


def distances(runs):
    """|bf16 - fp32|: mean over the steps' losses, and of the last validation loss."""
    (low, last), (high, last_high) = runs["bf16"], runs["fp32"]
    assert len(low) == len(high)
    return sum(abs(a - b) for a, b in zip(low, high)) / len(low), abs(last - last_high)


def mean_distances(jobs, side):
    return [sum(values) / len(jobs) for values in zip(*(distances(getattr(job, side)) for job in jobs))]


def claim_of(what, jobs, index, cases):
    ours, theirs = (mean_distances(jobs, side)[index] for side in ("ours", "theirs"))
    return Claim(PART, f"{what}: mean distance of bf16 to fp32, {ours:.2g}, as a multiple of the reference's, {theirs:.2g}", ours / theirs,
                 TIMES, cases)


def logits_of(folder, ids, scratch, **environment):
    """Ours in bf16, of a process in that environment."""
    out = scratch / "states.safetensors"
    kept = dict(os.environ)
    os.environ.update(environment)
    try:
        with TrainTool() as tool:
            tool.ask("load", model=str(folder), precision="bf16")
            tool.ask("hidden", ids=ids.tolist(), out=str(out))
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return load_file(out)["logits"].float()


@torch.no_grad()
def claims_of_logits(scratch, short):
    """Of a model that is as hard in bf16 as GPT-2 is: teacher-forced logits, and the words that greedy decoding would take."""
    folder = make_gpt2_like(scratch / "gpt2-like")
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = torch.randint(0, 4000, (4 if short else 32, 64), generator=torch.Generator().manual_seed(5))
    exact = model.double()(ids).logits
    with torch.autocast("cpu", torch.bfloat16):
        theirs = model.float()(ids).logits.float()

    def error(logits):
        return (logits - exact).abs().mean().item()

    def other_words(logits):
        return (logits.argmax(-1) != exact.argmax(-1)).sum().item()

    measured = []
    # oneDNN has no product for bf16 without AVX-512: torch computes it in fp32 then.
    for how, environment in (("", {}), (", emulated", {"ONEDNN_MAX_CPU_ISA": "AVX2"})):
        ours = logits_of(folder, ids, scratch, **environment)
        measured += [
            Claim(PART, f"logits around {exact.mean():.0f}, channels up to 200{how}: mean error, {error(ours):.2g}, as a multiple of the "
                  f"reference's, {error(theirs):.2g}", error(ours) / error(theirs), 1, exact.numel()),
            Claim(PART, f"the same{how}: words that greedy decoding would take otherwise, {other_words(ours)}, beyond the reference's, "
                  f"{other_words(theirs)}", max(0, other_words(ours) - other_words(theirs)), 0, ids.numel())]
    return measured


def claims(short):
    methods, seeds, steps = (["soft prompt"], (1,), 60) if short else (METHODS, (1, 2, 3), 200)
    everything = []
    with tempfile.TemporaryDirectory() as folder:
        measured = claims_of_logits(Path(folder), short)
        for name in methods:
            jobs = [Job(Path(folder) / f"{name}-{seed}", METHODS[name], seed, steps) for seed in seeds]
            measured.append(claim_of(f"{name}, loss of {steps} steps", jobs, 0, steps * len(jobs)))
            everything += jobs
    if not short:
        measured.append(claim_of("last validation loss, all methods and seeds", everything, 1, len(everything)))
    return measured
