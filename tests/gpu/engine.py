"""graft-engine on a device, in folders of one run."""

import fcntl
import json
import os
import pathlib
import signal
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
ASSETS = ROOT / "tools/demo_assets"
MODEL = ASSETS / "model"
PIPE_BYTES = 4096  # The least that a pipe can hold: an engine that prints more waits for its reader.

# tools/demo's three jobs.
LENGTHS = {"max_source_tokens": 172, "max_target_tokens": 56}
METHODS = {
    "soft prompt": {"soft_prompt": {"num_virtual_tokens": 20, "learning_rate": 3e-2}},
    "LoRA": {"lora": {"rank": 8, "learning_rate": 3e-3}},
    "last layers": {"last_layers": {"num_layers": 2, "learning_rate": 1e-3}},
}


def data(name):
    return ASSETS / f"data/{name}.jsonl"


def fine_tune_spec(method, precision, train=None, validation=None, base=MODEL, lengths=None, evaluation=None, **training):
    files = {"train": str(train or data("train"))}
    if validation:
        files["validation"] = str(validation)
    return {"fine_tune": {"base_model": str(base), "method": method, "data": {**files, **(lengths or LENGTHS)},
                          "training": {"batch_size": 16, "precision": f"PRECISION_{precision.upper()}", "early_stopping": {"patience": 0},
                                       **training},
                          "evaluation": evaluation or {"max_samples": 0}}}


class Run:
    """What a finished job said and left."""

    def __init__(self, out, lines):
        self.out = out
        events = [json.loads(line) for line in lines]
        values = [event["metrics"]["values"] for event in events if "metrics" in event]
        self.losses = [value["train/loss"] for value in values]
        self.numbers = [(value["train/loss"], value["train/grad_norm"]) for value in values]
        rates = [value["train/tokens_per_second"] for value in values]
        self.tokens_per_second = statistics.median(rates) if rates else 0.0
        self.evaluations = [event["evaluation"]["values"] for event in events if "evaluation" in event]

    def adapter(self):
        return {str(path.relative_to(self.out)): path.read_bytes() for path in sorted((self.out / "adapter").rglob("*.safetensors"))}


class Engine:
    def __init__(self, device, scratch):
        self.device, self.scratch = device, scratch
        self.environment = {**os.environ, "LD_LIBRARY_PATH": os.environ["GRAFT_LIBRARIES"]}
        self.count = 0

    def command(self, verb, *arguments, device=None):
        return [os.environ["GRAFT_ENGINE"], verb, "--device", device or self.device, *map(str, arguments)]

    def call(self, *arguments, **options):
        done = subprocess.run(self.command(*arguments, **options), env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"graft-engine {arguments[0]}: status {done.returncode}\n{done.stderr[-2000:]}\n{done.stdout[-2000:]}")
        return done.stdout

    def place(self, spec):
        """A new folder for a job, and its arguments."""
        self.count += 1
        file = self.scratch / f"{self.count}.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        out = self.scratch / str(self.count)
        return out, ("--spec", file, "--out", out)

    def run(self, spec, device=None, **more):
        out, arguments = self.place(spec)
        extra = [part for name, value in more.items() for part in (f"--{name.replace('_', '-')}", value)]
        return Run(out, self.call("run", *arguments, *extra, device=device).splitlines())

    def evaluate(self, file, adapter=None, precision="fp32", device=None, **evaluation):
        """Its metrics, and the lines of its predictions."""
        out, arguments = self.place({"evaluate": {"base_model": str(MODEL), "data": {"validation": str(file), **LENGTHS},
                                                  "precision": f"PRECISION_{precision.upper()}", "evaluation": evaluation}})
        self.call("evaluate", *arguments, *(("--adapter", adapter) if adapter else ()), device=device)
        results = json.loads((out / "artifacts/results.json").read_text(encoding="utf-8"))
        return results["metrics"], (out / "artifacts/predictions.jsonl").read_text(encoding="utf-8").splitlines()

    def run_killed(self, spec, step):
        """Killed as soon as it has told of `step`, then resumed from its newest checkpoint. (losses before, steps repeated, Run after)"""
        out, arguments = self.place(spec)
        seen = []
        with subprocess.Popen(self.command("run", *arguments), env=self.environment, stdout=subprocess.PIPE, bufsize=0) as process:
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            for line in process.stdout:
                event = json.loads(line)
                seen += [event["metrics"]["values"]["train/loss"]] if "metrics" in event else []
                if len(seen) == step:
                    break
            process.send_signal(signal.SIGKILL)
        if len(seen) != step or process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the engine was to be killed at step {step}; it ended with {process.returncode} after {len(seen)} steps")
        return seen, Run(out, self.call("run", *arguments, "--resume").splitlines())
