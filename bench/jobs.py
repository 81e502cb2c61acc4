"""Whole jobs of graft-engine, from files, and what they say."""

import json

from process import timed


def lengths(inputs):
    return {"max_source_tokens": inputs.source, "max_target_tokens": inputs.target}


def fine_tune(bench, train, validation, steps, precision, batch=4):
    """The spec of a LoRA job, graft.v1.JobSpec as JSON."""
    return {"fine_tune": {
        "base_model": str(bench.inputs.base()), "method": {"lora": {"rank": 8}},
        "data": {"train": str(train), **({"validation": str(validation)} if validation else {}), **lengths(bench.inputs)},
        "training": {"max_steps": steps, "batch_size": batch, "learning_rate": 2e-4, "precision": f"PRECISION_{precision.upper()}", "threads": bench.threads,
                     "early_stopping": {"patience": 0}},
        "evaluation": {"max_samples": -1, "max_new_tokens": bench.inputs.target, "sample_events": 0} if validation else {}}}


def evaluation(bench, validation, precision):
    return {"evaluate": {"base_model": str(bench.inputs.base()), "data": {"validation": str(validation), **lengths(bench.inputs)},
                         "precision": f"PRECISION_{precision.upper()}",
                         "evaluation": {"max_new_tokens": bench.inputs.target, "lead3_baseline": False, "sample_events": 0}}}


def command(bench, verb, name, spec):
    """A command line that puts everything into a new folder, the token ids too."""
    file = bench.scratch / f"{name}.json"
    file.write_text(json.dumps(spec), encoding="utf-8")
    return [bench.program("graft-engine"), verb, "--spec", file, "--out", bench.scratch / name, "--device", bench.device, "--threads", bench.threads]


def run(bench, verb, name, spec):
    """Seconds, GB, and the values of its last evaluation."""
    log = bench.scratch / f"{name}.log"
    seconds, gb = timed(command(bench, verb, name, spec), bench.own_environment(), log)
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    return seconds, gb, [event["evaluation"]["values"] for event in events if "evaluation" in event][-1]
