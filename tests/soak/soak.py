"""tools/soak: many jobs on a service whose processes are killed at random. What was accepted must end, with the numbers of an undisturbed run."""

import argparse
import collections
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from conftest import Graft, load, wait_until  # noqa: E402
from test_survival import adapter_hash, losses  # noqa: E402

JOB = ["--max-steps", "30", "--eval-every-steps", "10", "--checkpoint-every-steps", "5"]
VICTIMS = ("graft-engine", "graft-worker", "graft-server")
MOST_QUEUED = 6
WORKERS = 2


def resident_megabytes(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


class Soak:
    def __init__(self, graft, seed, default_times):
        self.graft, self.random = graft, random.Random(seed)
        self.times = dict.fromkeys(("heartbeat_seconds", "lease_seconds", "lease_margin_seconds")) if default_times else {"lease_seconds": 3}
        self.accepted, self.refused, self.kills = [], 0, collections.Counter()

    def start(self):
        self.graft.start(workers=WORKERS, **self.times)

    def submit(self):
        """A job whose CreateJob was answered is accepted, whatever happens afterwards."""
        name = f"soak-{len(self.accepted) + self.refused}"
        done = self.graft.cli("--json", "submit", "--base-model", "tiny", "--train", "train", "--validation", "valid", "--method", "lora",
                              "--batch-size", "4", "--eval-samples", "0", "--learning-rate", "3e-3", "--name", name, "--output-name", name, *JOB, check=False)
        if done.returncode == 0:
            self.accepted.append(name)
        else:
            self.refused += 1

    def kill(self):
        victim = self.random.choice(VICTIMS)
        if victim == "graft-server":
            self.graft.kill_server()
            self.start()
        else:
            pids = self.graft.pids(victim)
            if not pids:
                return
            try:
                os.kill(self.random.choice(pids), signal.SIGKILL)
            except ProcessLookupError:
                return  # It had ended by itself.
        self.kills[victim] += 1

    def unfinished(self):
        return self.graft.json("jobs", "--filter", "done = false")

    def run(self, seconds):
        end, said = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            while len(self.unfinished()) < MOST_QUEUED:
                self.submit()
            time.sleep(self.random.uniform(0.5, 6))  # tidy: kills come at random moments
            self.kill()
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(f"{len(self.accepted)} jobs accepted, {sum(self.kills.values())} kills, server {resident_megabytes(self.graft.process):.0f} MB",
                      flush=True)


def check(soak, undisturbed):
    """(promise, what is wrong, of how many) of each promise."""
    graft = soak.graft
    jobs = {}
    doubled = 0
    for job in graft.json("jobs", "--limit", "1000000"):
        name = job.get("display_name", "")
        doubled += name in jobs
        jobs[name] = job
    reference_losses, reference_hash = losses(graft.events(undisturbed)), adapter_hash(graft, "undisturbed")
    lost, failed, gaps, other_losses, other_adapters = [], [], [], [], []
    for name in soak.accepted:
        job = jobs.get(name)
        if job is None:
            lost.append(name)
        elif job["state"] != "JOB_STATE_SUCCEEDED":
            failed.append(f"{name} {job['state']} {job.get('error')}")
        else:
            events = graft.events(job["name"])
            if [int(event["sequence"]) for event in events] != list(range(1, len(events) + 1)):
                gaps.append(name)
            if losses(events) != reference_losses:
                other_losses.append(name)
            if adapter_hash(graft, name) != reference_hash:
                other_adapters.append(name)
    count = len(soak.accepted)
    return [("no accepted job is lost", lost, count), ("no job is there twice", doubled, count), ("every accepted job succeeded", failed, count),
            ("events are numbered without a gap", gaps, count), ("losses are those of an undisturbed run, bit for bit", other_losses, count),
            ("adapters are those of an undisturbed run, bit for bit", other_adapters, count)]


def main():
    parser = argparse.ArgumentParser(prog="tools/soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--default-times", action="store_true", help="Leases and heartbeats as they are by default, not short ones")
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="graft-soak-", dir="/tmp"))
    graft = Graft(directory)
    soak = Soak(graft, arguments.seed, arguments.default_times)
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes, {WORKERS} workers", flush=True)
    try:
        soak.start()
        load(graft)
        undisturbed = graft.submit(*JOB, "--output-name", "undisturbed")
        graft.wait_for(undisturbed)
        before = resident_megabytes(graft.process)
        soak.run(arguments.minutes * 60)
        wait_until(lambda: not soak.unfinished(), "the end of all jobs", seconds=1800)
        claims = check(soak, undisturbed)
        print(f"killed: {dict(soak.kills)}; submissions without an answer: {soak.refused}; server {before:.0f} MB at first, "
              f"{resident_megabytes(graft.process):.0f} MB at the end")
        for promise, wrong, count in claims:
            print(f"{'holds' if count and not wrong else 'DOES NOT HOLD'}  {promise} ({count} jobs)" + (f": {wrong}" if wrong else ""))
        return 0 if all(count and not wrong for _, wrong, count in claims) else 1
    finally:
        graft.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
