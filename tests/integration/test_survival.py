"""kill -9 in the middle of a job: nothing is lost, and the numbers are those of a run that nobody disturbed."""

import hashlib
import json
import os
import signal
import subprocess

import pytest

from conftest import load, wait_until

LONG = ["--max-steps", "60", "--eval-every-steps", "10", "--checkpoint-every-steps", "5"]


def adapter_hash(graft, name):
    target = graft.directory / f"adapter-{name}"
    graft.cli("adapters", "download", name, "--to", target)
    return hashlib.sha256((target / "adapter_model.safetensors").read_bytes()).hexdigest()


def losses(events):
    return [(event["metrics"]["step"], event["metrics"]["values"]["train/loss"]) for event in events
            if "metrics" in event and "train/loss" in event["metrics"]["values"]]


def evaluations(events):
    return [(event["evaluation"]["step"], event["evaluation"]["values"]) for event in events if "evaluation" in event]


def checkpoints(events):
    return [int(event["checkpoint"]["step"]) for event in events if "checkpoint" in event]


def assert_gap_free(events):
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))


def wait_for_checkpoint(graft, name):
    wait_until(lambda: int(graft.job(name).get("step", 0)) >= 12, f"{name} past a checkpoint")


@pytest.mark.parametrize("victim", ["graft-engine", "graft-worker", "graft-server"])
def test_a_killed_part_costs_nothing(loaded, victim):
    undisturbed = loaded.submit(*LONG, "--output-name", "undisturbed")
    loaded.wait_for(undisturbed)
    name = loaded.submit(*LONG, "--output-name", "disturbed")
    wait_for_checkpoint(loaded, name)
    if victim == "graft-server":
        loaded.kill_server()
        loaded.start()
    else:
        for pid in loaded.pids(victim):
            os.kill(pid, signal.SIGKILL)
    job = loaded.wait_for(name)
    if victim != "graft-server":
        assert len(job["attempts"]) >= 2
        assert int(job["attempts"][-1]["resumed_from_step"]) >= 5, "it began again from the beginning"
    events = loaded.events(name)
    assert_gap_free(events)
    assert losses(events) == losses(loaded.events(undisturbed))
    assert adapter_hash(loaded, "disturbed") == adapter_hash(loaded, "undisturbed")


def test_a_job_that_is_killed_in_its_evaluations_does_not_train_again(loaded):
    flags = ["--max-steps", "20", "--eval-every-steps", "10", "--eval-samples", "-1", "--max-new-tokens", "100"]
    undisturbed = loaded.submit(*flags, "--output-name", "undisturbed")
    loaded.wait_for(undisturbed)
    name = loaded.submit(*flags, "--output-name", "disturbed")
    watch = loaded.popen("--json", "watch", name)
    for line in watch.stdout:
        # By default a checkpoint comes with each evaluation: before it.
        if "checkpoint" in json.loads(line):
            for pid in loaded.pids("graft-engine"):
                os.kill(pid, signal.SIGKILL)
    assert watch.wait() == 0, watch.stderr.read()
    job = loaded.wait_for(name)
    assert [int(attempt.get("resumed_from_step", 0)) for attempt in job["attempts"]][:2] == [0, 10]
    events = loaded.events(name)
    assert_gap_free(events)
    assert checkpoints(events) == [10, 20], "one event a checkpoint"
    assert losses(events) == losses(loaded.events(undisturbed))
    assert evaluations(events) == evaluations(loaded.events(undisturbed))
    assert adapter_hash(loaded, "disturbed") == adapter_hash(loaded, "undisturbed")


def test_a_watch_that_is_cut_off_and_begun_again_shows_every_event_once(loaded):
    name = loaded.submit(*LONG)
    seen = []
    while True:
        after = int(seen[-1]["sequence"]) if seen else 0
        watch = loaded.popen("--json", "watch", name, "--after", str(after))
        for line in watch.stdout:
            seen.append(json.loads(line))
            if len(seen) % 25 == 0:
                watch.kill()
                break
        else:
            watch.wait()
            break
        watch.communicate()
    loaded.wait_for(name)
    assert seen == loaded.events(name)
    assert_gap_free(seen)


def test_a_watch_goes_on_over_a_restart_of_the_server(loaded):
    name = loaded.submit(*LONG)
    watch = loaded.popen("--json", "watch", name)
    first = json.loads(watch.stdout.readline())
    wait_for_checkpoint(loaded, name)
    loaded.kill_server()
    loaded.start()
    events = [first, *map(json.loads, watch.stdout)]
    assert watch.wait() == 0, watch.stderr.read()
    assert_gap_free(events)
    assert events == loaded.events(name)


def test_a_submitted_job_survives_a_killed_server(graft):
    graft.start(workers=0)
    load(graft)
    names = [graft.submit() for _ in range(3)]
    graft.kill_server()
    graft.start(workers=1)
    for name in names:
        graft.wait_for(name)


def test_a_second_server_on_the_same_store_is_refused(loaded):
    from conftest import BUILD
    second = subprocess.run([BUILD / "bin/graft-server", "--data", loaded.directory / "data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
                            capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "graft-server" in second.stderr and str(loaded.directory) in second.stderr
