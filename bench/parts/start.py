"""From the start of a new process to the beginning of its first optimiser step: files in the page cache, no token ids cached. And the same
of a job that a worker runs on an engine which holds the base model, from its lease on."""

import datetime
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import jobs
from inputs import write_rows
from process import PEERS, Failed
from results import Row, Unavailable, median

from parts.service import integration

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


def moment(event):
    """Seconds since 1970 of the event's own time, which has nanoseconds."""
    return datetime.datetime.fromisoformat(event["create_time"][:26].rstrip("Z") + "+00:00").timestamp()


def resident_seconds(bench, train):
    """Of each round's job, the first one left out: it starts the engine and loads the model."""
    bench.need("pytest")
    if bench.device != "cpu":
        raise Unavailable("a server's worker computes on the CPU here")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="graft-", dir="/tmp"))  # Short: a socket's path has at most 107 bytes.
    graft = integration(bench.bin.parent).Graft(directory)
    try:
        graft.start(program=bench.program("graft-server"), engine_threads=bench.threads)
        graft.cli("models", "add", "base", bench.inputs.base())
        graft.cli("datasets", "upload", train, "--name", "train")
        took = []
        for rank in range(1, bench.rounds + 2):
            name = graft.json("submit", "--base-model", "base", "--train", "train", "--method", "lora", "--rank", rank, "--precision", "fp32", "--max-steps", 1,
                              "--batch-size", BATCH, "--max-source-tokens", bench.inputs.source, "--max-target-tokens", bench.inputs.target)[0]["name"]
            graft.wait_for(name)
            events = graft.events(name)
            [leased] = [event for event in events if event.get("state_change", {}).get("to") == "JOB_STATE_RUNNING"]
            trains = [event for event in events if event.get("stage_change", {}).get("stage") == "JOB_STAGE_TRAINING"][0]
            took.append(moment(trains) - moment(leased))
        return took[1:]
    finally:
        graft.stop()
        shutil.rmtree(directory, ignore_errors=True)


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
    measured = [Row(f"start to first step, cold, {len(rows):,} articles ({megabytes:.1f} MB) to tokenise; s", {who: median(values) for who, values in seconds.items()})]
    try:
        measured.append(Row("lease to first step, on an engine that holds the base model; s", {"graft": median(resident_seconds(bench, train))}))
    except Unavailable as missing:
        bench.note(f"Not measured on an engine that holds the model: {missing}.")
    return measured
