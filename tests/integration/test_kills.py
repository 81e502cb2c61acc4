"""kill -9 of engine, worker and server at random, again and again in one job that somebody watches.

GRAFT_KILLS sets how often (200); GRAFT_KILL_SEED repeats a run. A line at the end says what was done."""

import json
import os
import random
import signal
import threading
import time

import pytest

from conftest import load, wait_until
from test_survival import adapter_hash, assert_gap_free, losses

FINAL = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
KILLS = int(os.environ.get("GRAFT_KILLS", 200))
STEPS = ["--eval-every-steps", "40", "--checkpoint-every-steps", "4", "--batch-size", "2", "--eval-samples", "4", "--patience", "0"]


class Watcher(threading.Thread):
    """Follows a job as a program would: goes on after the last sequence that it has seen, whatever becomes of the server."""

    def __init__(self, graft, job):
        super().__init__(daemon=True)
        self.graft, self.job, self.seen = graft, job, []
        self.start()

    def run(self):
        while not (self.seen and self.seen[-1].get("state_change", {}).get("to") in FINAL):
            after = int(self.seen[-1]["sequence"]) if self.seen else 0
            watch = self.graft.popen("--json", "watch", self.job, "--after", after)
            for line in watch.stdout:
                self.seen.append(json.loads(line))
            watch.communicate()


def end_of(graft, name):
    return wait_until(lambda: (lambda job: job if job["state"] in FINAL else None)(graft.job(name)), f"the end of {name}", seconds=900)


def kill_one(graft, victim):
    """True when there was one."""
    if victim == "graft-server":
        graft.kill_server()
        graft.start()
        return True
    pids = graft.pids(victim)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
    return bool(pids)


@pytest.mark.full
def test_a_job_outlives_two_hundred_kills(graft):
    seed = int(os.environ.get("GRAFT_KILL_SEED", random.SystemRandom().randrange(1 << 30)))
    dice = random.Random(seed)
    graft.start(lease_seconds=2, heartbeat_seconds=0.2, lease_margin_seconds=0.5)
    load(graft)
    steps = ["--max-steps", str(max(40, KILLS * 30)), *STEPS]
    undisturbed = graft.submit(*steps, "--output-name", "undisturbed")
    end_of(graft, undisturbed)
    name = graft.submit(*steps, "--output-name", "disturbed")
    watcher = Watcher(graft, name)
    killed = {"graft-engine": 0, "graft-worker": 0, "graft-server": 0}
    while sum(killed.values()) < KILLS and graft.job(name)["state"] not in FINAL:
        time.sleep(dice.uniform(0, 4))  # tidy: the moment of the kill is what is drawn
        victim = dice.choice(list(killed))
        killed[victim] += kill_one(graft, victim)
    job = end_of(graft, name)
    watcher.join()
    print(f"\nseed {seed}: {killed}, {len(job['attempts'])} attempts, {len(watcher.seen)} events")
    assert job["state"] == "JOB_STATE_SUCCEEDED", f"seed {seed}: {json.dumps(job.get('error'))}"
    assert sum(killed.values()) >= KILLS * 0.9, f"seed {seed}: the job was over before: {killed}"
    assert watcher.seen == graft.events(name), f"seed {seed}"
    assert_gap_free(watcher.seen)
    assert losses(watcher.seen) == losses(graft.events(undisturbed)), f"seed {seed}"
    assert adapter_hash(graft, "disturbed") == adapter_hash(graft, "undisturbed"), f"seed {seed}"
