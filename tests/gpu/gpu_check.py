"""tools/gpu_check: the main job on a GPU, CUDA beside our own CPU engine and beside transformers with PEFT, a kill and a resume."""

import argparse
import dataclasses
import datetime
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from engine import LENGTHS, METHODS, MODEL, ROOT, Engine, data, fine_tune_spec

sys.path.insert(0, str(ROOT / "tests/parity"))
from claims import Largest  # noqa: E402

MAIN, PARITY, RESUME = 1, 2, 3
CPU_THREADS = 4


@dataclasses.dataclass
class Sizes:
    """What is shortened when only the script is tried."""

    steps: int = 152  # tools/demo's four epochs
    rows: int = 120  # of the held-out articles
    parity_steps: int = 20
    parity_rows: int = 24
    resume_steps: int = 60
    kill_at: int = 33
    precisions: tuple = ("fp32", "bf16")  # Not all processors multiply bf16 fast.


SHORT = Sizes(steps=6, rows=3, parity_steps=3, parity_rows=3, resume_steps=12, kill_at=8, precisions=("fp32",))


class Check:
    def __init__(self, engine, sizes, scratch):
        self.engine, self.sizes, self.scratch = engine, sizes, scratch
        self.claims, self.adapters, self.rates = [], {}, {}
        self.short = sizes is SHORT
        self.test = self.rows_of("test", sizes.rows)
        self.has_peer = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "peft", "safetensors"))

    def rows_of(self, name, count):
        path = self.scratch / f"{name}-{count}.jsonl"
        path.write_text("".join(line + "\n" for line in data(name).read_text(encoding="utf-8").splitlines()[:count]), encoding="utf-8")
        return path

    def add(self, gathered, part, what, tolerance):
        self.claims.append(gathered.claim(part, what, tolerance))
        print(self.claims[-1], flush=True)

    def at_most(self, part, what, value, tolerance):
        gathered = Largest()
        gathered.add(value)
        self.add(gathered, part, what, tolerance)

    def main_job(self):
        """tools/demo's three jobs and the evaluation of what they left."""
        untuned, _ = self.engine.evaluate(self.test, lead3_baseline=True, max_samples=-1)
        for name, method in METHODS.items():
            losses = {}
            for precision in self.sizes.precisions:
                run = self.engine.run(fine_tune_spec(method, precision, validation=self.rows_of("valid", self.sizes.rows),
                                                     max_steps=self.sizes.steps))
                tenth = max(1, len(run.losses) // 10)
                self.at_most(MAIN, f"{name}, {precision}: mean loss of the last tenth of {len(run.losses)} steps, of the first's",
                             sum(run.losses[-tenth:]) / sum(run.losses[:tenth]), 1.0 if self.short else 0.7)
                tuned, _ = self.engine.evaluate(self.test, run.out / "adapter", precision, max_samples=-1)
                losses[precision] = tuned["eval/loss"]
                print(f"  {name}, {precision}: {run.tokens_per_second:,.0f} tokens/s; {self.sizes.rows} held-out rows: loss "
                      f"{tuned['eval/loss']:.4f} (untuned {untuned['eval/loss']:.4f}), ROUGE-Lsum {tuned['eval/rougeLsum']:.3f} "
                      f"(untuned {untuned['eval/rougeLsum']:.3f})", flush=True)
                if not self.short:
                    self.at_most(MAIN, f"{name}, {precision}: 1 - ROUGE-Lsum", 1 - tuned["eval/rougeLsum"], 0.4)
                self.adapters[name, precision] = run.out / "adapter"
                self.rates[name, precision] = run.tokens_per_second
            if "bf16" in losses:
                self.at_most(MAIN, f"{name}: held-out loss of bf16 beside fp32, relative", abs(losses["bf16"] / losses["fp32"] - 1), 0.1)

    def parity_with_cpu(self):
        """The same job on both devices, each step's loss."""
        for precision, tolerance in (("fp64", 1e-9), ("fp32", 1e-4)):
            gathered = Largest()
            for method in METHODS.values():
                spec = fine_tune_spec(method, precision, max_steps=self.sizes.parity_steps, threads=CPU_THREADS, attention_dropout=0.0,
                                      embedding_dropout=0.0, residual_dropout=0.0)
                here, there = self.engine.run(spec), self.engine.run(spec, device="cpu")
                for ours, theirs in zip(here.losses, there.losses, strict=True):
                    gathered.add(abs(ours - theirs) / theirs)
            self.add(gathered, PARITY, f"{precision}, three methods: loss of {self.sizes.parity_steps} steps beside our CPU engine, relative", tolerance)
        rows = self.rows_of("test", self.sizes.parity_rows)
        texts = [self.engine.evaluate(rows, self.adapters["LoRA", "fp32"], device=device, max_samples=-1)[1]
                 for device in (self.engine.device, "cpu")]
        gathered = Largest()
        gathered.count_unequal([json.loads(line)["prediction"] for line in texts[0]], [json.loads(line)["prediction"] for line in texts[1]])
        self.add(gathered, PARITY, "fp32, LoRA: greedy summaries that differ from our CPU engine's", 1)

    def parity_with_peft(self):
        import peer
        rows = peer.examples(data("train"), LENGTHS)
        peer.make_adapter(MODEL, self.scratch / "initial")
        ours = self.engine.run(fine_tune_spec({"lora": {"rank": 8, "alpha": 16, "learning_rate": 3e-3}}, "fp32", max_steps=self.sizes.parity_steps),
                               init_from=self.scratch / "initial")
        losses = peer.train_lora(MODEL, self.scratch / "initial", rows, self.engine.device, self.sizes.parity_steps, 16, 3e-3)
        gathered = Largest()
        for mine, theirs in zip(ours.losses, losses, strict=True):
            gathered.add(abs(mine - theirs) / theirs)
        self.add(gathered, PARITY, f"fp32, LoRA: loss of {self.sizes.parity_steps} steps beside transformers and PEFT on the same device, relative", 1e-4)
        ids = [row[:96] for row, _ in rows[:8]]
        (self.scratch / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
        for name in METHODS:
            out = self.scratch / f"logits-{name.replace(' ', '-')}.safetensors"
            adapter = self.adapters[name, "fp32"]
            self.engine.call("logits", "--model", MODEL, "--adapter", adapter, "--ids-file", self.scratch / "ids.json", "--out", out)
            difference, scale = peer.logits_difference(adapter, ids, out, self.engine.device)
            self.at_most(PARITY, f"{name}: logits of the adapter in PEFT on the same device, of the largest logit", difference / scale, 1e-4)

    def resume(self):
        """Dropout is on, so that its random numbers are part of it."""
        methods = {"LoRA with dropout": {"lora": {"rank": 8, "dropout": 0.1, "learning_rate": 3e-3}},
                   "last layers with dropout": {"last_layers": {"num_layers": 2, "learning_rate": 1e-3}}}
        for name, method in methods.items():
            for precision in self.sizes.precisions:
                spec = fine_tune_spec(method, precision, max_steps=self.sizes.resume_steps, checkpoint={"every_steps": 5}, attention_dropout=0.1,
                                      residual_dropout=0.1)
                first, again = self.engine.run(spec), self.engine.run(spec)
                twice, resumed = Largest(), Largest()
                twice.count_unequal([*first.numbers, *first.adapter().values()], [*again.numbers, *again.adapter().values()])
                self.add(twice, RESUME, f"{name}, {precision}: run twice, losses, norms and adapter of unequal bits", 0)
                before, after = self.engine.run_killed(spec, self.sizes.kill_at)
                resumed.count_unequal(before, first.losses[:len(before)])
                resumed.count_unequal(after.numbers, first.numbers[-len(after.numbers):])
                resumed.count_unequal(after.adapter().values(), first.adapter().values())
                if not 0 < len(after.numbers) < self.sizes.resume_steps:
                    raise RuntimeError(f"the run that was to resume did {len(after.numbers)} of {self.sizes.resume_steps} steps")
                self.add(resumed, RESUME, f"{name}, {precision}: killed at step {self.sizes.kill_at} and resumed, unequal bits", 0)


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def gpu_of(device):
    """Name and driver."""
    if device == "cpu":
        return "no GPU"
    index = device.partition(":")[2] or "0"
    done = subprocess.run(["nvidia-smi", "-i", index, "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True,
                          text=True, check=True)
    name, driver = done.stdout.strip().split(", ")
    return f"{name}, driver {driver}"


def row_for_results(check, gpu, torch_version, seconds):
    held = sum(claim.holds for claim in check.claims)
    demo = ", ".join(f"{precision} {check.rates['LoRA', precision]:,.0f}" for precision in check.sizes.precisions)
    return (f"| {datetime.date.today()} | {commit()} | {gpu} | {torch_version} | {held} of {len(check.claims)} | {demo} | {seconds:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True)
    parser.add_argument("--torch", required=True)
    arguments = parser.parse_args()
    began = time.monotonic()
    gpu = gpu_of(arguments.device)
    print(f"{gpu}; graft {commit()}; LibTorch {arguments.torch}", flush=True)
    with tempfile.TemporaryDirectory(prefix="graft-gpu-") as folder:
        scratch = pathlib.Path(folder)
        check = Check(Engine(arguments.device, scratch), SHORT if arguments.device == "cpu" else Sizes(), scratch)
        check.main_job()
        check.parity_with_cpu()
        check.resume()
        if check.has_peer:
            check.parity_with_peft()
        else:
            print("transformers and PEFT are not in this Python: nothing was run beside them")
    seconds = time.monotonic() - began
    print("\n| date | commit | GPU | LibTorch | claims that hold | demo's LoRA: tokens/s | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(row_for_results(check, gpu, arguments.torch, seconds))
    if arguments.device == "cpu":
        print("this was no GPU: the row does not belong into bench/RESULTS.md")
    return 0 if all(claim.holds for claim in check.claims) else 1


if __name__ == "__main__":
    sys.exit(main())
