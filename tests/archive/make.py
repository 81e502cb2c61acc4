"""Makes tests/archive/NAME: what the build of a landing left behind, for the builds that come after it.

  python tests/archive/make.py NAME --build FOLDER

FOLDER is a build of that landing (bin/ below it), NAME its date. Python: the environment of the parity tests (tools/setup
--tests). What it makes, all of it small:

  archive.json   what the tests expect: the jobs with their numbers, as an undisturbed run had them
  service.tar.xz data/, the directory of a server that was killed: jobs that succeeded, failed, were cancelled and wait, and for
                 each method one that has a checkpoint in the middle of its run; an evaluation that was paused in the middle; a
                 study some of whose trials wait at a rung; adapters/, each method's PEFT folder; model/
  worker/        graft.db and blobs/ of a server with one job in its queue, and calls.jsonl: every call that a worker of this
                 build made to run it, with its answers (service.tar.xz is for processes, this for tests inside of one)
"""

import argparse
import base64
import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
from micro_model import write_model  # noqa: E402

METHODS = {
    "lora": ["--method", "lora", "--rank", "4", "--target-modules", "c_attn,mlp.c_proj"],
    "soft_prompt": ["--method", "soft_prompt", "--num-virtual-tokens", "4"],
    "last_layers": ["--method", "last_layers", "--num-layers", "1"],
    "full": ["--method", "full"],
    "hybrid": ["--method", "lora+soft_prompt+last_layers", "--rank", "2", "--num-virtual-tokens", "4", "--num-layers", "1"],
}
# Long enough to be met in the middle, with losses that do not blow up.
TRAINING = ["--base-model", "micro", "--train", "pairs", "--validation", "few", "--max-steps", "24", "--batch-size", "4",
            "--gradient-accumulation-steps", "64", "--eval-every-steps", "8", "--checkpoint-every-steps", "4", "--eval-samples", "2",
            "--max-new-tokens", "6", "--learning-rate", "1e-3", "--precision", "fp32", "--threads", "1", "--patience", "0"]
# All trials come to step 4, the best of three to step 12.
STUDY = ["--method", "lora", "--base-model", "micro", "--train", "pairs", "--validation", "few", "--max-steps", "12", "--eval-every-steps", "4",
         "--halving", "4", "--rank", "1,2,4", "--max-parallel", "1", "--eval-samples", "0", "--batch-size", "4", "--gradient-accumulation-steps", "16",
         "--learning-rate", "1e-3", "--precision", "fp32", "--threads", "1", "--patience", "0"]
EVALUATION = ["--base-model", "micro", "--adapter", "made-lora", "--data", "pairs", "--max-new-tokens", "12", "--num-beams", "8",
              "--precision", "fp32", "--threads", "1"]
WORDS = "a council of the old town met in may and spoke long about its two new bridges over a quiet river that few had seen".split()


def write_rows(path, count, seed):
    source = random.Random(seed)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            text = source.sample(WORDS, 5)
            print(json.dumps({"document": " ".join(text), "summary": " ".join(sorted(text)[:2])}), file=file)


def keep_store(data, database, objects):
    """Copies the store of a server that has ended as one file, and the blobs that it names."""
    with sqlite3.connect(data / "graft.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        named = sorted({sha256 for sha256, in connection.execute("SELECT sha256 FROM files")})
    connection.close()
    database.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(data / "graft.db", database)
    for sha256 in named:
        (objects / sha256[:2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "artifacts/blobs/objects" / sha256[:2] / sha256, objects / sha256[:2])


def stop_where_it_stands(graft):
    """kill -9 of all of the service's processes, the server first: nobody hands anything back."""
    graft.process.send_signal(signal.SIGKILL)
    graft.process.wait()
    for program in ("graft-worker", "graft-engine"):
        for pid in graft.pids(program):
            os.kill(pid, signal.SIGKILL)


def wait_until(*arguments):
    from conftest import wait_until as wait  # That module reads the variable that main sets.
    wait(*arguments)


def wait_for_checkpoint(watch):
    """Until the job has one to go on from, of its second evaluation at the latest."""
    for line in watch.stdout:
        event = json.loads(line)
        if "state_change" in event and event["state_change"]["to"] == "JOB_STATE_SUCCEEDED":
            break
        if int(event.get("checkpoint", {}).get("step", 0)) >= 8:
            return
    raise AssertionError("the job was done before it could be interrupted: try again")


def facts_of(job):
    kept = ("name", "display_name", "state", "method", "step", "result", "last_sequence", "resolved_spec")
    return {key: job[key] for key in kept if key in job}


def decisions_of(study):
    """What is to be the same however the study went."""
    return {"best_trial": study["best_trial"],
            "trials": [{key: trial[key] for key in ("number", "parameters", "state", "values") if key in trial} for trial in study["trials"]]}


def pause_evaluation(graft):
    """One that has done some of its rows, and what it is to come to."""
    expected = facts_of(graft.wait_for(graft.json("eval", *EVALUATION, "--name", "whole")[0]["name"]))
    job = graft.json("eval", *EVALUATION, "--name", "paused")[0]["name"]
    wait_until(lambda: int(graft.job(job).get("step", 0)) > 0, "the evaluation's first rows")
    graft.cli("pause", job)
    paused = graft.wait_for(job, "PAUSED")
    assert 0 < int(paused["step"]) < int(paused["total_steps"]), "the evaluation was not paused in its middle: try again"
    return {"job": job, "undisturbed": expected}


def pause_study(graft):
    """One some of whose trials wait at a rung, and what it is to come to."""
    def create():
        return graft.json("study", "create", *STUDY)[0]["name"]

    def show(name):
        return graft.json("study", "show", name)[0]

    undisturbed = create()
    wait_until(lambda: show(undisturbed).get("done"), "the study")
    paused = create()
    wait_until(lambda: any(trial["state"] == "TRIAL_STATE_WAITING" for trial in show(paused)["trials"]), "a trial that waits")
    graft.cli("study", "pause", paused)
    wait_until(lambda: all(graft.state(trial["job"]) == "PAUSED" for trial in show(paused)["trials"] if trial.get("job")), "its jobs")
    assert not any(trial.get("steps") == "12" for trial in show(paused)["trials"]), "the study was not paused in its middle: try again"
    return {"study": paused, "undisturbed": decisions_of(show(undisturbed))}


def load(graft):
    folder = graft.directory
    write_model(folder / "model")
    write_rows(folder / "pairs.jsonl", 1024, 1)
    write_rows(folder / "few.jsonl", 12, 2)
    rows = [json.loads(line) for line in (folder / "few.jsonl").read_text(encoding="utf-8").splitlines()]
    (folder / "plain.txt").write_text("".join(f"{row['document']}\n" for row in rows), encoding="utf-8")
    (folder / "csv.csv").write_text("document,summary\n" + "".join(f"{row['document']},{row['summary']}\n" for row in rows), encoding="utf-8")
    graft.cli("models", "add", "micro", folder / "model")
    for file in ("pairs.jsonl", "few.jsonl", "csv.csv", "plain.txt"):
        graft.cli("datasets", "upload", folder / file, "--name", file.partition(".")[0])


def make_service(graft):
    """Fills the directory of a server and leaves it killed. Returns what the tests expect."""
    graft.start(workers=1)
    load(graft)
    expected = {"undisturbed": {}, "interrupted": {}, "others": []}
    for name, flags in METHODS.items():
        job = graft.json("submit", *TRAINING, *flags, "--name", name, "--output-name", f"made-{name}")[0]["name"]
        expected["undisturbed"][name] = facts_of(graft.wait_for(job))
        if name != "full":
            graft.cli("adapters", "download", f"made-{name}", "--to", graft.directory / "adapters" / name)
    evaluation = graft.json("eval", "--base-model", "micro", "--adapter", "made-lora", "--data", "few", "--max-new-tokens", "6", "--precision", "fp32",
                            "--threads", "1", "--name", "evaluation")[0]["name"]
    expected["others"].append(facts_of(graft.wait_for(evaluation)))
    wild = [*TRAINING[:TRAINING.index("--learning-rate")], *METHODS["full"], "--learning-rate", "1e30"]
    diverged = graft.json("submit", *wild, "--name", "diverged")[0]["name"]
    expected["others"].append(facts_of(graft.wait_for(diverged, "FAILED")))
    expected["paused_evaluation"] = pause_evaluation(graft)
    expected["paused_study"] = pause_study(graft)
    graft.stop()
    graft.start(workers=0)
    cancelled = graft.json("submit", *TRAINING, *METHODS["lora"], "--name", "cancelled")[0]["name"]
    graft.cli("cancel", cancelled)
    expected["others"].append(facts_of(graft.job(cancelled)))
    base = [flag for flag in TRAINING if flag not in ("--validation", "few")]
    for name, flags in {"held-out": ["--validation-fraction", "0.1"], "plain-csv": ["--train", "csv", "--text-field", "document", "--eval-samples", "0"],
                        "plain-txt": ["--train", "plain", "--text-field", "text", "--eval-samples", "0"]}.items():
        given = [*base, *METHODS["lora"], *flags]
        if name != "held-out":
            given = ["--base-model", "micro", "--max-steps", "4", "--threads", "1", "--precision", "fp32", *METHODS["lora"], *flags]
        waiting = graft.json("submit", *given, "--name", name, "--output-name", f"waited-{name}", "--priority", "-1")[0]["name"]
        expected["others"].append(facts_of(graft.job(waiting)))
    for priority, (name, flags) in enumerate(METHODS.items(), start=1):
        job = graft.json("submit", *TRAINING, *flags, "--name", f"interrupted-{name}", "--output-name", f"resumed-{name}", "--priority",
                         priority)[0]["name"]
        expected["interrupted"][name] = job
        graft.stop()
        graft.start(workers=1)  # Its worker takes the job of the highest priority.
        with graft.popen("--json", "watch", job) as watch:
            wait_for_checkpoint(watch)
            stop_where_it_stands(graft)
            watch.terminate()
        graft.start(workers=0)
    graft.kill_server()
    return expected


class Recorder:
    """A server for workers that hands every call on to the real one and keeps what was said."""

    def __init__(self, address, target):
        import grpc
        self.grpc, self.lock, self.calls = grpc, threading.Lock(), []
        self.channel = grpc.insecure_channel(target)
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
        self.server.add_generic_rpc_handlers([self])
        self.server.add_insecure_port(address)
        self.server.start()

    def service(self, details):
        return self.grpc.stream_stream_rpc_method_handler(lambda requests, context: self.hand_on(details.method, requests, context))

    def hand_on(self, method, requests, context):
        call = {"method": method, "requests": [], "answers": [], "code": ""}
        with self.lock:
            self.calls.append(call)

        def sent():
            for request in requests:
                call["requests"].append(base64.b64encode(request).decode())
                yield request

        upstream = self.channel.stream_stream(method)(sent())
        context.add_callback(upstream.cancel)
        try:
            for answer in upstream:
                call["answers"].append(base64.b64encode(answer).decode())
                yield answer
            call["code"] = "OK"
        except self.grpc.RpcError as error:
            call["code"] = error.code().name
            context.abort(error.code(), error.details())

    def stop(self):
        self.server.stop(None).wait()
        self.channel.close()


def make_worker_calls(graft, build, out):
    """One small job's store and blobs before it runs, and every call of the worker that runs it."""
    graft.start(workers=0)
    load(graft)
    job = graft.json("submit", *TRAINING, *METHODS["lora"], "--name", "recorded", "--output-name", "recorded")[0]["name"]
    graft.stop()
    keep_store(graft.directory / "data", out / "graft.db", out / "blobs/objects")
    graft.start(workers=0)
    recorder = Recorder(f"unix:{graft.directory}/recorder.sock", f"unix:{graft.directory}/data/workers.sock")
    with open(graft.directory / "worker.log", "wb") as log, subprocess.Popen(
            [build / "bin/graft-worker", "--server", f"unix:{graft.directory}/recorder.sock", "--state", graft.directory / "worker"],
            stdout=log, stderr=log) as worker:
        result = facts_of(graft.wait_for(job))
        worker.terminate()
    recorder.stop()
    heartbeats = 0
    with open(out / "calls.jsonl", "w", encoding="utf-8") as file:
        for call in recorder.calls:
            heartbeats += call["method"].endswith("/Heartbeat")
            if not call["method"].endswith("/Heartbeat") or heartbeats < 4:  # One is like the other.
                print(json.dumps(call), file=file)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    options = parser.parse_args()
    os.environ["GRAFT_BUILD_DIR"] = str(options.build.resolve())
    from conftest import Graft  # Reads the variable.
    out = HERE / options.name
    out.mkdir()
    with tempfile.TemporaryDirectory(prefix="graft-", dir="/tmp") as directory:
        service, worker = Graft(pathlib.Path(directory) / "s"), Graft(pathlib.Path(directory) / "w")
        for graft in (service, worker):
            graft.directory.mkdir()
        try:
            expected = make_service(service)
            expected["recorded"] = make_worker_calls(worker, options.build.resolve(), out / "worker")
        finally:
            for graft in (service, worker):
                graft.stop()
        version = subprocess.run([options.build / "bin/graft-server", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        expected = {"version": version} | expected
        (out / "archive.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
        kept = pathlib.Path(directory) / "kept"
        keep_store(service.directory / "data", kept / "data/graft.db", kept / "data/artifacts/blobs/objects")
        for folder in ("adapters", "model"):
            shutil.copytree(service.directory / folder, kept / folder)
        with tarfile.open(out / "service.tar.xz", "w:xz") as archive:
            for name in ("data", "adapters", "model"):
                archive.add(kept / name, name)
    print(f"{out}: {sum(path.stat().st_size for path in out.rglob('*') if path.is_file())} bytes")


if __name__ == "__main__":
    main()
