"""Whole jobs, from files, each in a process of its own: graft-engine's and the peer's, one after the other."""

import json
import sys

from process import PEERS, Failed, timed
from results import Row, median


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


def run_peer(bench, name, precision, job):
    """peers/job.py: transformers, PEFT, Trainer, generate() and rouge_score, as people write it."""
    given = {"base": str(bench.inputs.base()), "source": bench.inputs.source, "target": bench.inputs.target, "precision": precision,
             "device": bench.device, "threads": bench.threads, "out": str(bench.scratch / name), **job}
    log = bench.scratch / f"{name}.log"
    seconds, gb = timed([sys.executable, PEERS / "job.py", json.dumps(given)], bench.environment(), log)
    return seconds, gb, json.loads(log.read_text(encoding="utf-8").strip().splitlines()[-1])


def in_turn(bench, what, graft, job):
    """Rows of seconds; `graft(name, precision)` gives seconds, GB and values."""
    rows = []
    for precision in bench.precisions:
        seconds, memory = {}, {}
        for number in range(bench.rounds):
            values = {}
            for who, call in (("graft", graft), ("transformers + PEFT", lambda name, precision: run_peer(bench, name, precision, job))):
                took, gb, values[who] = call(f"{who.partition(' ')[0]}-{precision}-{number}", precision)
                seconds.setdefault(who, []).append(took)
                memory.setdefault(who, []).append(gb)
            losses = {who: value["eval/loss"] for who, value in values.items()}
            if max(losses.values()) - min(losses.values()) > 0.02 * max(losses.values()):
                raise Failed(f"not the same work: validation losses {losses}")
        bench.say(f"{precision}: validation losses " + ", ".join(f"{who} {loss:.5f}" for who, loss in losses.items()))
        rows.append(Row(f"{what}, {precision}; s", {who: median(values) for who, values in seconds.items()},
                        gb={who: median(values) for who, values in memory.items()}))
        bench.show(rows[-1:])
    return rows
