"""What PlanJob says a job will take, beside what it then takes: an idle worker measures, then a fresh one runs the job. All graft."""

import datetime
import pathlib
import shutil
import tempfile
import threading
import time

from inputs import ASSETS, read_rows, shared_data, write_rows
from parts.service import integration
from results import Row, Unavailable, median


def jobs(bench):
    """Name, model's folder, rows to train on and to validate with, flags: as people submit them."""
    tiny = bench.inputs.tiny
    real = bench.inputs.real
    demo = [read_rows(ASSETS / f"data/{name}.jsonl") for name in ("train", "valid")]
    news = [bench.inputs.articles()[:200], bench.inputs.articles()[200:248]] if real else demo
    talks = [read_rows(shared_data() / f"dialogsum/{name}.jsonl") for name in ("train", "dev")] if real else demo
    base = bench.inputs.base()
    common = ["--batch-size", 4, "--eval-samples", 8, "--max-new-tokens", 32, "--threads", bench.threads, "--precision", "fp32"]
    steps = ["--max-steps", 3 if tiny else 12]
    yield "LoRA r 8, GPT-2 small, CNN/DailyMail, 12 steps", base, news, ["--method", "lora", *steps, *common]
    yield "soft prompt, GPT-2 small, DialogSum, 12 steps", base, [talks[0][:400], talks[1][:48]], \
        ["--method", "soft_prompt", *steps, *common]
    yield "full, the demo's model and data", ASSETS / "model", demo, \
        ["--method", "full", "--threads", bench.threads, *(["--max-steps", 3] if tiny else ["--epochs", 2])]


class Peak(threading.Thread):
    """The most anonymous memory of the engines of a service, GB."""

    def __init__(self, graft):
        super().__init__(daemon=True)
        self.graft, self.gb, self.over = graft, 0.0, False
        self.start()

    def run(self):
        while not self.over:
            for pid in self.graft.pids("graft-engine"):
                try:
                    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
                except OSError:
                    continue
                self.gb = max([self.gb] + [int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("RssAnon")])
            time.sleep(0.05)

    def end(self):
        self.over = True
        self.join()
        return self.gb


def one(bench, load, model, rows, flags):
    """Planned and happened: seconds and GB."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="graft-", dir="/tmp"))
    graft = load.Graft(directory)
    try:
        graft.start(workers=0, program=bench.program("graft-server"))
        graft.cli("models", "add", "base", model)
        for name, part in zip(("train", "valid"), rows):
            graft.cli("datasets", "upload", write_rows(directory / f"{name}.jsonl", part), "--name", name)
        given = ["--base-model", "base", "--train", "train", "--validation", "valid", *flags]
        worker = graft.start_worker("plans")
        load.wait_until(lambda: graft.json("workers"), "the worker")
        [plan] = graft.json("plan", "submit", *given)
        if "measured" not in plan:
            raise Unavailable(f"the plan has no measurement: {plan.get('not_measured')}")
        worker.kill()
        worker.wait()
        graft.start_worker("runs")
        [job] = graft.json("submit", *given)
        peak = Peak(graft)
        job = graft.wait_for(job["name"], seconds=1200)
        begin, end = (datetime.datetime.fromisoformat(job["attempts"][-1][name].rstrip("Z")[:26]) for name in ("start_time", "end_time"))
        took = (end - begin).total_seconds()
        measured = plan["measured"]
        return {"planned": {"seconds": measured["seconds"], "gb": int(measured["peak_memory_bytes"]) / 1e9},
                "happened": {"seconds": took, "gb": peak.end()}}
    finally:
        graft.stop()
        shutil.rmtree(directory, ignore_errors=True)


def run(bench):
    bench.need("pytest")
    if bench.device != "cpu":
        raise Unavailable("only the CPU's memory is looked at: run it with --device cpu")
    load = integration(bench.bin.parent)
    rows = []
    for what, model, data, flags in jobs(bench):
        rounds = [one(bench, load, model, data, flags) for _ in range(bench.rounds)]
        for figure, unit in (("seconds", "seconds"), ("gb", "GB")):
            rows.append(Row(f"{what}; {unit}", {name: median(each[name][figure] for each in rounds) for name in ("planned", "happened")}))
        bench.show(rows[-2:])
    return rows
