"""From the start of a new process to the beginning of its first optimiser step: files in the page cache, no token ids cached."""

import json
import subprocess
import sys
import time

import jobs
from inputs import write_rows
from process import PEERS, Failed
from results import Row, median

BATCH = 4


def seconds_until(command, env, text):
    """Of a new process, until it prints a line with `text`; it is ended then."""
    begin, said = time.perf_counter(), ""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=env) as process:
        for line in process.stdout:
            said = line
            if text in line:
                took = time.perf_counter() - begin
                process.kill()
                return took
    raise Failed(f"{command[0]} ended with {process.returncode} and never printed {text}, but last {said.strip() or 'nothing'}")


def run(bench):
    bench.need("transformers", "peft", "accelerate")
    inputs = bench.inputs
    rows = inputs.short_articles()
    train = write_rows(bench.scratch / "train.jsonl", rows)
    job = {"base": str(inputs.base()), "source": inputs.source, "target": inputs.target, "precision": "fp32", "device": bench.device,
           "threads": bench.threads, "out": str(bench.scratch / "peer"), "train": str(train), "steps": len(rows) // BATCH, "batch_size": BATCH,
           "announce": True}
    seconds = {"graft": [], "transformers + PEFT": []}
    for number in range(bench.rounds + 1):
        spec = jobs.fine_tune(bench, train, None, len(rows) // BATCH, "fp32", BATCH)
        took = {"graft": seconds_until(jobs.command(bench, "run", f"start-{number}", spec), bench.own_environment(), "JOB_STAGE_TRAINING"),
                "transformers + PEFT": seconds_until([sys.executable, PEERS / "job.py", json.dumps(job)], bench.environment(), "FIRST STEP")}
        if number > 0:  # The first time brings the files into the page cache.
            for who, value in took.items():
                seconds[who].append(value)
    megabytes = train.stat().st_size / 1e6
    return [Row(f"start to first step, cold, {len(rows):,} articles ({megabytes:.1f} MB) to tokenise; s", {who: median(values) for who, values in seconds.items()})]
