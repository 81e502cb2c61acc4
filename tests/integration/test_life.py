"""The life of a job: paused, resumed, retried, changed; each to the bit of a run that nobody disturbed."""

import json
import os
import random
import signal
import subprocess

import pytest

from conftest import BUILD, load, scrape, wait_until
from test_survival import adapter_hash, assert_gap_free, checkpoints, evaluations, losses

QUICK = ["--eval-samples", "4", "--threads", "1", "--batch-size", "2", "--max-source-tokens", "32", "--max-target-tokens", "8"]
# Checkpoints come with the evaluations: a pause has to save its own.
JOB = [*QUICK, "--max-steps", "300", "--eval-every-steps", "100", "--gradient-accumulation-steps", "2"]


def step_of(graft, name):
    return int(graft.job(name).get("step", 0))


def events_so_far(graft, name):
    """Of a job that is not done."""
    last = int(graft.job(name)["last_sequence"])
    with graft.popen("--json", "watch", name) as watch:
        events = [json.loads(watch.stdout.readline()) for _ in range(last)]
        watch.kill()
    return events


def assert_as_undisturbed(graft, name, undisturbed):
    events = graft.events(name)
    assert_gap_free(events)
    whole = graft.events(undisturbed)
    assert losses(events) == losses(whole)
    assert evaluations(events) == evaluations(whole)
    assert not [event for event in events if event.get("warning", {}).get("code") == "METRICS_DIFFER"]


@pytest.mark.parametrize("pauses", [4, pytest.param(20, marks=pytest.mark.full)])
def test_pauses_at_random_steps_change_no_bit(loaded, pauses):
    undisturbed = loaded.submit(*JOB, "--output-name", "undisturbed")
    loaded.wait_for(undisturbed)
    name = loaded.submit(*JOB, "--output-name", "paused")
    chance = random.Random(pauses)
    steps = sorted(chance.sample(range(1, 260), pauses))
    done = 0
    for step in steps:
        wait_until(lambda step=step: step_of(loaded, name) >= step, f"step {step}")
        # It may be done before it hears.
        if loaded.cli("pause", name, check=False).returncode != 0 or loaded.wait_for(name, "PAUSED", "SUCCEEDED")["state"] != "JOB_STATE_PAUSED":
            break
        done += 1
        told = events_so_far(loaded, name)
        assert checkpoints(told)[-1] == int(losses(told)[-1][0]) == step_of(loaded, name), "what was done is saved"
        assert name not in loaded.cli("workers").stdout, "the device is free"
        loaded.cli("resume", name)
    job = loaded.wait_for(name)
    print(f"paused {done} times")
    assert done >= pauses * 3 // 4
    assert len(job["attempts"]) == done + 1
    assert not any(attempt.get("error") for attempt in job["attempts"])
    assert_as_undisturbed(loaded, name, undisturbed)
    assert adapter_hash(loaded, "paused") == adapter_hash(loaded, "undisturbed")


def test_a_pause_in_an_evaluation_goes_on_with_it(loaded):
    flags = ["--max-steps", "4", "--eval-every-steps", "2", "--eval-samples", "-1", "--max-new-tokens", "100", "--num-beams", "4", "--threads", "1"]
    undisturbed = loaded.submit(*flags, "--output-name", "undisturbed")
    loaded.wait_for(undisturbed)
    name = loaded.submit(*flags, "--output-name", "paused")
    wait_until(lambda: loaded.job(name).get("stage") == "JOB_STAGE_EVALUATING" and step_of(loaded, name) == 2, "the evaluation of step 2")
    loaded.cli("pause", name)
    job = loaded.wait_for(name, "PAUSED")
    assert job["state_reason"] == "paused after step 2"
    assert not evaluations(events_so_far(loaded, name))
    loaded.cli("resume", name)
    loaded.wait_for(name)
    assert_as_undisturbed(loaded, name, undisturbed)
    assert adapter_hash(loaded, "paused") == adapter_hash(loaded, "undisturbed")


def test_a_paused_job_frees_its_worker_and_waits_through_a_restart(loaded):
    name = loaded.submit("--max-steps", "5000", "--eval-every-steps", "5000")
    urgent = loaded.submit("--max-steps", "1", "--eval-every-steps", "1")
    wait_until(lambda: step_of(loaded, name) > 0, "a first step")
    loaded.cli("pause", name)
    loaded.wait_for(urgent)
    loaded.wait_for(name, "PAUSED")
    loaded.kill_server()
    loaded.start()
    assert loaded.state(name) == "PAUSED"
    at = step_of(loaded, name)
    loaded.cli("resume", name)
    wait_until(lambda: step_of(loaded, name) > at, "it to go on")
    assert int(loaded.job(name)["attempts"][-1]["resumed_from_step"]) == at
    loaded.cli("cancel", name)
    loaded.wait_for(name, "CANCELLED")


def undisturbed_and_running(graft, output_name):
    """A job that was left alone, and the same once more in its middle, without a checkpoint."""
    flags = [*QUICK, "--max-steps", "300", "--eval-every-steps", "300"]
    undisturbed = graft.submit(*flags, "--output-name", "undisturbed")
    graft.wait_for(undisturbed)
    name = graft.submit(*flags, "--output-name", output_name)
    wait_until(lambda: step_of(graft, name) > 5, "some steps")
    return undisturbed, name


def test_a_checkpoint_that_is_asked_for_comes_and_a_cancelled_job_goes_on_from_it_as_a_retry(loaded):
    undisturbed, name = undisturbed_and_running(loaded, "retried")
    assert "saves its state" in loaded.cli("checkpoint", name).stdout
    wait_until(lambda: checkpoints(events_so_far(loaded, name)), "the checkpoint")
    saved = checkpoints(events_so_far(loaded, name))[-1]
    loaded.cli("cancel", name)
    loaded.wait_for(name, "CANCELLED")
    assert loaded.cli("resume", name, check=False).returncode == 1
    retry = loaded.json("retry", name)[0]
    assert retry["retry_of"] == name and retry["state_reason"].endswith(f"goes on from step {saved}")
    # The new job has the checkpoint itself.
    loaded.cli("delete", name)
    job = loaded.wait_for(retry["name"])
    assert int(job["attempts"][0]["resumed_from_step"]) == saved
    assert losses(loaded.events(retry["name"])) == losses(loaded.events(undisturbed))[saved:]
    assert adapter_hash(loaded, "retried") == adapter_hash(loaded, "undisturbed")


def test_a_cancel_that_saves_leaves_a_retry_nothing_to_do_again(loaded):
    undisturbed, name = undisturbed_and_running(loaded, "retried")
    assert "saves first" in loaded.cli("cancel", name, "--save").stdout
    cancelled = loaded.wait_for(name, "CANCELLED")
    events = events_so_far(loaded, name)
    done = len(losses(events))
    assert 5 < done < 300 and checkpoints(events) == [done], cancelled
    retry = loaded.json("retry", name)[0]["name"]
    job = loaded.wait_for(retry)
    assert int(job["attempts"][0]["resumed_from_step"]) == done
    assert losses(events) + losses(loaded.events(retry)) == losses(loaded.events(undisturbed))
    assert adapter_hash(loaded, "retried") == adapter_hash(loaded, "undisturbed")


def test_verbs_that_do_not_suit_the_state_say_what_would(loaded):
    name = loaded.submit("--max-steps", "1", "--eval-every-steps", "1")
    loaded.wait_for(name)
    for verb, help in (("pause", "only a job that is not done"), ("resume", "only a PAUSED job"), ("checkpoint", "only a RUNNING job"),
                       ("retry", "init_from is its adapter")):
        refused = loaded.cli(verb, name, check=False)
        assert refused.returncode == 1 and help in refused.stderr and "SUCCEEDED" in refused.stderr, (verb, refused.stderr)
        unknown = loaded.cli(verb, "jobs/nothing", check=False)
        assert unknown.returncode == 3, (verb, unknown.stderr)
    assert loaded.cli("edit", name, "--priority", "1", check=False).returncode == 1
    loaded.cli("edit", name, "--name", "renamed", "--label", "a=1")
    assert [job["name"] for job in loaded.json("jobs", "--filter", 'labels.a = "1"')] == [name]
    assert loaded.job(name)["display_name"] == "renamed"


# ---- Workers that stop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [pytest.param("SIGTERM", marks=pytest.mark.full), "SIGUSR1", "SIGTERM to all of its processes"])
def test_a_worker_that_stops_saves_first(graft, how):
    graft.start(workers=0, heartbeat_seconds=0.2, lease_seconds=60)
    load(graft)
    worker = graft.start_worker("first", "--device", "cpu", prefix=["setsid"])
    undisturbed = graft.submit(*JOB, "--output-name", "undisturbed")
    graft.wait_for(undisturbed)
    name = graft.submit(*JOB, "--output-name", "moved")
    wait_until(lambda: step_of(graft, name) > 20, "some steps")
    if "all" in how:
        os.killpg(worker.pid, signal.SIGTERM)
    else:
        worker.send_signal(getattr(signal, how))
    assert worker.wait(timeout=60) == 0
    told = events_so_far(graft, name)
    last = int(losses(told)[-1][0])
    assert last < 300, "it was to be stopped in the middle"
    assert checkpoints(told)[-1] == last, "what was done is saved"
    job = graft.job(name)
    assert job["state"] == "JOB_STATE_QUEUED" and f"resumes from step {last}" in job["state_reason"], job["state_reason"]
    graft.start_worker("second", "--device", "cpu")
    job = graft.wait_for(name)
    assert int(job["attempts"][1]["resumed_from_step"]) == last
    assert_as_undisturbed(graft, name, undisturbed)
    assert adapter_hash(graft, "moved") == adapter_hash(graft, "undisturbed")


def test_a_worker_that_has_no_time_hands_back_what_was_saved_last(graft):
    graft.start(workers=0, lease_seconds=60)
    load(graft)
    worker = graft.start_worker("hasty", "--device", "cpu", "--stop-seconds", "0")
    name = graft.submit(*QUICK, "--max-steps", "3000", "--eval-every-steps", "3000", "--checkpoint-every-steps", "10")
    wait_until(lambda: graft.json("checkpoints", name), "a checkpoint")
    worker.terminate()
    assert worker.wait(timeout=10) == 0
    job = graft.job(name)
    saved = checkpoints(events_so_far(graft, name))[-1]
    assert saved % 10 == 0 and job["state"] == "JOB_STATE_QUEUED" and job["state_reason"].endswith(f"resumes from step {saved}"), job["state_reason"]


def test_stopping_server_and_workers_saves_the_jobs(loaded):
    name = loaded.submit(*JOB)
    wait_until(lambda: step_of(loaded, name) > 5, "some steps")
    stopped = subprocess.run([BUILD / "bin/graft-server", "stop", "--all", "--data", loaded.directory / "data"], capture_output=True,
                             text=True, check=True)
    assert "stopped 1 local workers" in stopped.stdout
    loaded.process.wait()
    assert not loaded.pids("graft-worker") and not loaded.pids("graft-engine")
    loaded.start(workers=0)
    job = loaded.job(name)
    told = events_so_far(loaded, name)
    assert job["state"] == "JOB_STATE_QUEUED" and checkpoints(told)[-1] == int(losses(told)[-1][0]) == int(job["step"])


# ---- Longer than it was to be ---------------------------------------------------------------------------------------------


def test_a_job_is_trained_for_longer(loaded):
    flags = [*QUICK, "--schedule", "constant", "--eval-every-steps", "20"]
    whole = loaded.submit(*flags, "--max-steps", "60", "--output-name", "whole")
    first = loaded.submit(*flags, "--max-steps", "40", "--output-name", "first")
    loaded.wait_for(whole)
    loaded.wait_for(first)
    kept = loaded.json("checkpoints", first)
    assert [checkpoint["name"] for checkpoint in kept] == [f"{first}/checkpoints/40"]
    assert f"{first}/checkpoints/40" in loaded.cli("checkpoints", first).stdout
    more = loaded.json("continue", first, "--more-steps", "20", "--output-name", "more")[0]
    assert more["state_reason"].startswith(f"submitted; goes on from step 40 of {first}")
    # The new job has the checkpoint itself.
    loaded.cli("delete", first)
    job = loaded.wait_for(more["name"])
    assert int(job["attempts"][0]["resumed_from_step"]) == 40
    assert losses(loaded.events(more["name"])) == losses(loaded.events(whole))[40:]
    assert evaluations(loaded.events(more["name"])) == evaluations(loaded.events(whole))[2:]
    assert adapter_hash(loaded, "more") == adapter_hash(loaded, "whole")
    refused = loaded.cli("continue", more["name"], "--more-epochs", "1", check=False)
    assert refused.returncode == 1 and "give --more-steps" in refused.stderr, refused.stderr


def test_a_job_is_trained_for_more_epochs(loaded):
    first = loaded.json("submit", *QUICK, "--base-model", "tiny", "--train", "train", "--validation", "valid", "--method", "lora", "--epochs", "2")[0]["name"]
    steps = int(loaded.wait_for(first)["step"])
    assert f"goes on from step {steps}" in loaded.cli("continue", first, "--more-epochs", "1", "--watch", "--output-name", "longer").stdout
    job = loaded.job(loaded.json("adapters", "show", "longer")[0]["job"])
    assert job["resolved_spec"]["fine_tune"]["training"]["epochs"] == 3 and int(job["step"]) == steps * 3 // 2
    assert losses(loaded.events(job["name"]))[0][0] == str(steps + 1)


def test_what_cannot_be_gone_on_from_says_why(loaded):
    first = loaded.submit(*QUICK, "--max-steps", "2")
    loaded.wait_for(first)
    refused = loaded.cli("submit", *QUICK, "--base-model", "tiny", "--train", "train", "--validation", "valid", "--method", "lora", "--rank", "3",
                         "--max-steps", "9", "--init-from", f"{first}/checkpoints/2", check=False)
    assert refused.returncode == 2 and "--rank: must be that of" in refused.stderr, refused.stderr
    missing = loaded.cli("submit", "--base-model", "tiny", "--train", "train", "--validation", "valid", "--method", "lora", "--max-steps", "9",
                         "--init-from", "jobs/nobody/checkpoints/1", check=False)
    assert missing.returncode == 3 and "nobody" in missing.stderr, missing.stderr
    evaluation = loaded.json("eval", "--base-model", "tiny", "--data", "valid", "--eval-samples", "1")[0]["name"]
    loaded.wait_for(evaluation)
    assert "no checkpoint to go on from" in loaded.cli("continue", evaluation, "--more-steps", "1", check=False).stderr
    assert "give one of" in loaded.cli("continue", first, check=False).stderr


# ---- Deadlines ------------------------------------------------------------------------------------------------------------


def test_a_deadline_ends_a_running_job_and_frees_its_worker(loaded):
    name = loaded.submit("--max-steps", "5000", "--eval-every-steps", "5000", "--deadline", "3s")
    after = loaded.submit("--max-steps", "1", "--eval-every-steps", "1")
    job = loaded.wait_for(name, "FAILED")
    assert job["failure_class"] == "FAILURE_CLASS_DEADLINE" and "its deadline" in job["error"]["message"]
    loaded.wait_for(after)
    assert "retry" in loaded.cli("watch", name, check=False).stderr + loaded.cli("watch", name, check=False).stdout


def test_a_deadline_is_moved_and_taken_away(graft):
    graft.start(workers=0)
    load(graft)
    name = graft.submit("--deadline", "3s")
    other = graft.submit("--deadline", "8h")
    graft.cli("edit", name, "--deadline", "none")
    assert "deadline" not in graft.job(name) and "deadline" in graft.cli("show", other).stdout
    graft.cli("edit", other, "--deadline", "1s")
    graft.wait_for(other, "FAILED")
    assert graft.state(name) == "QUEUED"
    late = graft.cli("edit", name, "--deadline", "2020-01-01 00:00", check=False)
    assert late.returncode == 2 and "has passed" in late.stderr, late.stderr
    nonsense = graft.cli("edit", name, "--deadline", "soon", check=False)
    assert nonsense.returncode == 2 and "--deadline" in nonsense.stderr and "8h" in nonsense.stderr


# ---- Making way -----------------------------------------------------------------------------------------------------------


def test_a_job_makes_way_for_a_more_urgent_one_and_comes_to_the_same_bits(graft):
    graft.start(workers=1, preemption=True)
    load(graft)
    undisturbed = graft.submit(*JOB, "--output-name", "undisturbed")
    graft.wait_for(undisturbed)
    name = graft.submit(*JOB, "--output-name", "moved")
    wait_until(lambda: step_of(graft, name) > 20, "some steps")
    equal = graft.submit("--max-steps", "1", "--eval-every-steps", "1")
    urgent = graft.submit("--max-steps", "1", "--eval-every-steps", "1", "--priority", "10")
    graft.wait_for(urgent)
    assert graft.state(equal) == "QUEUED", "it has no higher priority"
    graft.wait_for(name)
    reasons = [event["state_change"].get("reason", "") for event in graft.events(name) if "state_change" in event]
    assert any(reason.startswith(f"PREEMPTED: made way for {urgent}; resumes from step ") for reason in reasons), reasons
    assert len(graft.job(name)["attempts"]) == 2 and not any(attempt.get("error") for attempt in graft.job(name)["attempts"])
    assert_as_undisturbed(graft, name, undisturbed)
    assert adapter_hash(graft, "moved") == adapter_hash(graft, "undisturbed")
    assert "graft_job_preemptions_total 1" in scrape(graft.http)
    graft.wait_for(equal)
