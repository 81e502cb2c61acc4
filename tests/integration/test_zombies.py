"""Workers that are stopped for longer than their lease, and then go on: a job has one effective worker at any time.

GRAFT_ZOMBIES sets how often (20). A line at the end says what was done."""

import os
import pathlib
import signal
import time

import pytest

from conftest import load, wait_until
from test_survival import adapter_hash, assert_gap_free, losses

ZOMBIES = int(os.environ.get("GRAFT_ZOMBIES", 20))
LEASE_SECONDS, MARGIN_SECONDS, HEARTBEAT_SECONDS = 3, 1, 0.2
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
# An engine that waits still has timers.
IDLE_TICKS = 2
PATIENCE_SECONDS = 600
# Every row is longer than this and cut to it: each step takes as long as the next.
LENGTHS = ["--max-source-tokens", "48", "--max-target-tokens", "16"]
STEPS = [*LENGTHS, "--max-steps", "1200", "--eval-every-steps", "600", "--eval-samples", "0", "--checkpoint-every-steps", "100"]


def stat(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def ticks(pid):
    """What all threads of a process have computed so far."""
    return int(stat(pid)[11]) + int(stat(pid)[12])


def steps_of(graft, name):
    return int(graft.job(name).get("step", 0))


class Zombie:
    """The worker that has the job, and its engine."""

    def __init__(self, graft, name):
        self.graft, self.name = graft, name
        holder = graft.job(name)["attempts"][-1]["worker"]
        [self.worker] = [worker for worker, state in zip(graft.workers, ("w0", "w1")) if (graft.directory / state / "id").read_text().strip() == holder]
        self.engine = max((pid for pid in graft.pids("graft-engine") if int(stat(pid)[1]) == self.worker.pid), key=ticks)

    def stand_by_until(self, moment):
        time.sleep(max(0, moment - time.monotonic()))  # tidy: until the engine's own deadline, which nothing else tells

    def lose_the_job(self):
        """Stops the worker alone. Returns for how long its engine computed after its deadline."""
        before, began = steps_of(self.graft, self.name), ticks(self.engine)
        wait_until(lambda: steps_of(self.graft, self.name) >= before + 5, "some steps")
        step_ticks = (ticks(self.engine) - began) / (steps_of(self.graft, self.name) - before)
        # Its last heartbeat was sent before this, by as much as their interval.
        deadline = time.monotonic() + LEASE_SECONDS - MARGIN_SECONDS
        os.kill(self.worker.pid, signal.SIGSTOP)
        self.stand_by_until(deadline - 4 * HEARTBEAT_SECONDS)
        nearly = ticks(self.engine)
        self.stand_by_until(deadline)
        at_deadline = ticks(self.engine)
        assert at_deadline > nearly, "it stopped before its deadline: nothing is shown"
        wait_until(lambda: len(self.graft.job(self.name)["attempts"]) > 1, "another worker's attempt")
        beyond = ticks(self.engine) - at_deadline
        # tidy: the promise is a time, one micro-batch.
        assert beyond <= step_ticks + IDLE_TICKS, f"{beyond} ticks after its deadline, a step takes {step_ticks}"
        return beyond

    def wake(self):
        """While the other is at the job. What it says now comes under a lease that is not its own any more."""
        stood = ticks(self.engine)
        reached = steps_of(self.graft, self.name)
        wait_until(lambda: steps_of(self.graft, self.name) != reached, "what the other does")
        assert ticks(self.engine) - stood <= IDLE_TICKS, "two engines are at one job"
        os.kill(self.worker.pid, signal.SIGCONT)


@pytest.mark.parametrize("zombies", [1, pytest.param(ZOMBIES, marks=pytest.mark.full)])
def test_a_worker_that_was_stopped_past_its_lease_changes_nothing(graft, zombies):
    graft.start(workers=0, lease_seconds=LEASE_SECONDS, lease_margin_seconds=MARGIN_SECONDS, heartbeat_seconds=HEARTBEAT_SECONDS)
    load(graft)
    for state in ("w0", "w1"):
        graft.start_worker(state, "--device", "cpu", "--engine-threads", "1")
    undisturbed = graft.submit(*STEPS, "--output-name", "undisturbed")
    graft.wait_for(undisturbed, seconds=PATIENCE_SECONDS)
    numbers, adapter = losses(graft.events(undisturbed)), adapter_hash(graft, "undisturbed")
    beyond, lost = [], 0
    for number in range(zombies):
        name = graft.submit(*STEPS, "--output-name", f"disturbed-{number}")
        wait_until(lambda: steps_of(graft, name) >= 12, "the training")
        zombie = Zombie(graft, name)
        beyond.append(zombie.lose_the_job())
        zombie.wake()
        job = graft.wait_for(name, seconds=PATIENCE_SECONDS)
        assert len({attempt["worker"] for attempt in job["attempts"]}) == 2, job["attempts"]
        lost += len(job["attempts"]) - 1  # One, unless the machine stood still for longer than a lease.
        assert_gap_free(graft.events(name))
        assert losses(graft.events(name)) == numbers
        assert adapter_hash(graft, f"disturbed-{number}") == adapter
    logs = "".join((graft.directory / f"{state}.log").read_text() for state in ("w0", "w1"))
    assert logs.count("attempt over result=abandoned") == lost
    print(f"\n{zombies} workers stopped past their lease; their engines computed {max(beyond) * TICK_SECONDS:.2f} s after their deadline at the most")
