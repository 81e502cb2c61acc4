"""Part 3: a training run is transformers Trainer's with PEFT, step for step.

In float64 on both sides everything agrees to rounding, which shows that the mathematics is the same: loss, clipping, AdamW, decay
groups, schedule, order of the data, accumulation. In float32 rounding is amplified by Adam where a gradient is nearly 0, so gradients
are compared at the reference's own weights, copied in before every step, and trained tensors by the share of their update.
"""

import math
import random
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import small_job
from claims import Largest
from programs import TrainTool
from reference import WatchedTrainer, make_base, reference_model, trained_tensors, trainer_arguments, without_key_bias

PART = 3
STEPS = 20
EXACT, LOSS, GRADIENT, UPDATE = 1e-10, 1e-6, 1e-5, 2e-3
METHODS = {
    "LoRA, rank 8 on c_attn": {"lora": {}},
    "LoRA, rank 4, alpha 10, on c_attn and mlp.c_proj": {"lora": {"rank": 4, "alpha": 10, "target_modules": ["c_attn", "mlp.c_proj"]}},
    "rsLoRA, rank 3 on c_proj and c_fc": {"lora": {"rank": 3, "use_rslora": True, "target_modules": ["c_proj", "c_fc"]}},
    "DoRA, rank 4, alpha 10, on c_attn and mlp.c_proj": {"lora": {"rank": 4, "alpha": 10, "use_dora": True,
                                                                  "target_modules": ["c_attn", "mlp.c_proj"]}},
    "soft prompt, random": {"soft_prompt": {"num_virtual_tokens": 5, "init": "random"}},
    "soft prompt, vocabulary": {"soft_prompt": {"init": "vocabulary"}},
    "soft prompt, text": {"soft_prompt": {"num_virtual_tokens": 7, "init": "text", "init_text_ids": [9, 400, 31]}},
    "prefix tuning": {"prefix_tuning": {"num_virtual_tokens": 6}},
    "last layers": {"last_layers": {"num_layers": 2}},
    "last layers with head": {"last_layers": {"num_layers": 1, "include_lm_head": True}},
    "LoRA + soft prompt": {"lora": {}, "soft_prompt": {"num_virtual_tokens": 6}},
    "LoRA + last layers": {"lora": {}, "last_layers": {"num_layers": 1}},
    "full": {"full": {}},
}
SHORT_FP32 = ("LoRA, rank 8 on c_attn", "soft prompt, vocabulary", "LoRA + last layers")
# Batches of 4 with a last one of 3, windows of 2 batches with a last one of 1; clipping acts in nearly every step.
TRAINING = {"max_steps": STEPS, "batch_size": 4, "gradient_accumulation_steps": 2, "warmup_steps": 3, "weight_decay": 0.1,
            "max_grad_norm": 0.02}


def mixed_rows(count, seed=5, vocabulary=512, longest=40):
    """(ids, number of prompt tokens) of mixed lengths."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        length = rng.randint(3, longest)
        rows.append(([rng.randrange(vocabulary) for _ in range(length)], rng.randint(1, length - 1)))
    return rows


def relative(ours, theirs, scale=None):
    """L2 of the difference as a share of `scale` (theirs); 0 where both are 0."""
    difference = (ours.double() - theirs.double()).norm().item()
    if difference == 0:
        return 0.0
    return difference / ((theirs if scale is None else scale).double().norm().item() or float("nan"))


class Run:
    """One job, trained by both sides from the same tensors; `theirs`: what the reference's settings have otherwise."""

    def __init__(self, tool, base, scratch, method, training, rows, exact, theirs=None, snapshots=True):
        self.tool, self.base, self.scratch, self.method, self.training, self.rows = tool, base, scratch, method, training, rows
        self.scratch.mkdir()
        self.ours = self.train("ours")
        self.initial = load_file(self.scratch / "ours/initial.safetensors")
        model = reference_model(base, method, torch.float64 if exact else torch.float32)
        trained = trained_tensors(model)
        assert trained.keys() == self.initial.keys(), trained.keys() ^ self.initial.keys()
        with torch.no_grad():
            for name, value in trained.items():
                value.copy_(self.initial[name])
        arguments = trainer_arguments(method, {**training, **(theirs or {})}, self.scratch / "theirs")
        trainer = WatchedTrainer(model, rows, exact, snapshots=snapshots, **arguments)
        trainer.train()
        self.theirs = trainer.watch
        assert len(self.theirs.losses) == len(self.ours["steps"]) == training["max_steps"]

    def train(self, name, **changes):
        folder = self.scratch / name
        folder.mkdir()
        weights = changes.pop("weights", "")
        return self.tool.ask("train", method=self.method, training={**self.training, **changes}, rows=self.rows, scratch=str(folder),
                             weights=str(weights))

    def state(self, name, step):
        """Our trained tensors and moments after a step (from 1)."""
        return load_file(self.scratch / name / f"step/{step}/state.safetensors")

    def losses(self):
        return [abs(ours[0] - theirs) / abs(theirs) for ours, theirs in zip(self.ours["steps"], self.theirs.losses)]

    def tensors(self, of_update):
        """After each step, each trained tensor's difference as a share of itself or of its whole update so far."""
        differences = []
        for step, after in enumerate(self.theirs.after, 1):
            state = self.state("ours", step)
            for name, theirs in after.items():
                ours, theirs, initial = (without_key_bias(name, value) for value in (state["trained/" + name], theirs, self.initial[name]))
                differences.append(relative(ours, theirs, theirs - initial if of_update else None))
        return differences

    def gradients_from_moments(self):
        """Clipped gradients, from AdamW's first moments m(k) = 0.9 m(k-1) + 0.1 g(k)."""
        differences, last = [], {}
        for step, gradients in enumerate(self.theirs.gradients, 1):
            state = self.state("ours", step)
            for name, theirs in gradients.items():
                moment = state["exp_avg/" + name]
                ours = (moment - 0.9 * last.get(name, torch.zeros_like(moment))) / 0.1
                last[name] = moment
                differences.append(relative(without_key_bias(name, ours), without_key_bias(name, theirs)))
        return differences

    def gradients_at_their_weights(self):
        """With the reference's weights before every step; without momentum the first moment is the clipped gradient."""
        weights = self.scratch / "weights"
        weights.mkdir()
        for step, before in enumerate(self.theirs.before, 1):
            save_file(before, weights / f"{step}.safetensors")
        self.train("copied", weights=weights, beta1=0.0)
        differences = []
        for step, gradients in enumerate(self.theirs.gradients, 1):
            state = self.state("copied", step)
            for name, theirs in gradients.items():
                differences.append(relative(without_key_bias(name, state["exp_avg/" + name]), without_key_bias(name, theirs)))
        return differences


def largest(differences):
    gathered = Largest()
    for difference in differences:
        gathered.add(difference)
    return gathered


def claims_of_exact_run(run, what):
    return [largest(run.losses()).claim(PART, f"{what}: loss", EXACT),
            largest(run.gradients_from_moments()).claim(PART, f"{what}: clipped gradients", EXACT),
            largest(run.tensors(of_update=False)).claim(PART, f"{what}: trained tensors", EXACT)]


def claims_of_fp32_run(run, what):
    return [largest(run.losses()).claim(PART, f"{what}: loss", LOSS),
            largest(run.gradients_at_their_weights()).claim(PART, f"{what}: gradients at the reference's weights", GRADIENT),
            largest(run.tensors(of_update=True)).claim(PART, f"{what}: trained tensors, of their update", UPDATE)]


def claims_of_methods(tool, base, scratch, short):
    claims = []
    for precision, exact in (("fp64", True), ("fp32", False)):
        tool.ask("load", model=str(base), precision=precision)
        for index, (name, method) in enumerate(METHODS.items()):
            if short and not exact and name not in SHORT_FP32:
                continue
            run = Run(tool, base, scratch / f"{precision}-{index}", method, TRAINING, mixed_rows(27), exact)
            clipped = sum(norm > TRAINING["max_grad_norm"] for norm in run.theirs.norms)
            assert clipped > STEPS // 2, f"{name}: clipping acts in {clipped} steps only"
            make = claims_of_exact_run if exact else claims_of_fp32_run
            claims += make(run, f"{name}, {'float64' if exact else 'float32'}, {STEPS} steps")
    return claims


TOGETHER = ("LoRA, rank 8 on c_attn", "LoRA, rank 4, alpha 10, on c_attn and mlp.c_proj", "soft prompt, vocabulary", "LoRA + last layers", "full")


def claims_of_trials_together(tool, base, scratch):
    """Trials of several methods, seeds, rates of warm-up and data side by side in one engine, each against the reference's run of it alone."""
    tool.ask("load", model=str(base), precision="fp64")
    runs = []
    for index, name in enumerate(TOGETHER):
        training = {**TRAINING, "seed": 40 + index, "warmup_steps": index, "batch_size": 2 + index % 3}
        runs.append(Run(tool, base, scratch / f"together-{index}", METHODS[name], training, mixed_rows(27, seed=index), True, snapshots=False))
    trials = []
    for run in runs:
        folder = run.scratch / "together"
        folder.mkdir()
        trials.append({"method": run.method, "training": run.training, "rows": run.rows, "scratch": str(folder)})
    gathered = Largest()
    for run, ours in zip(runs, tool.ask("train_together", trials=trials)["trials"]):
        run.ours = ours
        for difference in run.losses():
            gathered.add(difference)
    return [gathered.claim(PART, f"{len(runs)} trials side by side, float64, {STEPS} steps: loss of each, alone in the reference", EXACT)]


def claims_of_schedules(tool, base, scratch):
    """Learning rate, gradient norm and tensors with every schedule, with and without warm-up, without decay or clipping."""
    gathered, numbers = Largest(), Largest()
    tool.ask("load", model=str(base), precision="fp64")
    for schedule in ("linear", "cosine", "constant"):
        for warmup in ({}, {"warmup_steps": 2}, {"warmup_ratio": 0.3}):
            training = {"max_steps": 7, "batch_size": 4, "schedule": schedule, "max_grad_norm": 0.0, **warmup}
            run = Run(tool, base, scratch / "-".join([schedule, *warmup]), METHODS["LoRA + soft prompt"], training, mixed_rows(9), True)
            for (_, norm, rate, _), their_norm, their_rate in zip(run.ours["steps"], run.theirs.norms, run.theirs.rates):
                numbers.add(abs(norm - their_norm) / their_norm)
                numbers.add(abs(rate - their_rate) / (their_rate or 1.0))
            for difference in run.tensors(of_update=False):
                gathered.add(difference)
    return [numbers.claim(PART, "every schedule, with and without warm-up: learning rate and gradient norm", EXACT),
            gathered.claim(PART, "every schedule, with and without warm-up: trained tensors", EXACT)]


def claims_of_accumulation(tool, base, scratch):
    """Batch 8 x 1 window of the reference against our 1 x 8, 2 x 4 and 8 x 1."""
    gathered = Largest()
    tool.ask("load", model=str(base), precision="fp64")
    for index, name in enumerate(["LoRA + last layers", "full"]):
        for batch, windows in ((1, 8), (2, 4), (8, 1)):
            training = {"max_steps": 4, "batch_size": batch, "gradient_accumulation_steps": windows}
            run = Run(tool, base, scratch / f"accumulate-{index}-{batch}", METHODS[name], training, mixed_rows(27), True,
                      theirs={"batch_size": 8, "gradient_accumulation_steps": 1})
            for difference in run.losses() + run.gradients_from_moments() + run.tensors(of_update=False):
                gathered.add(difference)
    return [gathered.claim(PART, "batch 1 x 8, 2 x 4 and 8 x 1 are the reference's 8 x 1: loss, gradients, tensors", EXACT)]


EPOCH_CASES = [(1, 2, 1), (7, 2, 1), (7, 3, 2), (9, 2, 2), (9, 8, 3), (13, 2, 3)]  # Rows, batch, accumulation


def claims_of_epochs(tool, base, scratch):
    """`epoch` as it is logged in every step of more than two passes, where rows, batches and windows do and do not divide one another."""
    gathered = Largest()
    tool.ask("load", model=str(base), precision="fp32")
    for rows, batch, windows in EPOCH_CASES:
        steps = 2 * math.ceil(rows / (batch * windows)) + 1
        training = {"max_steps": steps, "batch_size": batch, "gradient_accumulation_steps": windows}
        run = Run(tool, base, scratch / f"epoch-{rows}-{batch}-{windows}", METHODS["last layers"], training, mixed_rows(rows, longest=4),
                  False, snapshots=False)
        gathered.count_unequal([epoch for *_, epoch in run.ours["steps"]], run.theirs.epochs)
    return [gathered.claim(PART, "1 to 13 rows, batches of 2 to 8, 1 to 3 of them a step: epoch in every step, unequal", 0)]


def claims(short):
    with tempfile.TemporaryDirectory() as folder, TrainTool() as tool:
        scratch = Path(folder)
        base = make_base(scratch / "base")
        return [*claims_of_methods(tool, base, scratch, short), *claims_of_trials_together(tool, base, scratch), *claims_of_schedules(tool, base, scratch),
                *claims_of_accumulation(tool, base, scratch), *claims_of_epochs(tool, base, scratch), *small_job.claims(PART, scratch)]
