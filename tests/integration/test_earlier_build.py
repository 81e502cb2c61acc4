"""The build of the landing before this one beside this build's: what an upgrade meets while it is under way."""

import math
import os
import pathlib
import signal
import subprocess

import pytest

from conftest import BUILD, ROOT, load, wait_until
from test_survival import assert_gap_free, checkpoints, evaluations, losses

pytestmark = pytest.mark.full
LONG = ["--max-steps", "400", "--eval-every-steps", "100", "--checkpoint-every-steps", "20", "--eval-samples", "2", "--threads", "1"]
METHODS = ["lora", "soft_prompt", "last_layers", "full", "lora+soft_prompt"]


@pytest.fixture(scope="module")
def earlier():
    """Its build folder."""
    made = subprocess.run([ROOT / "tools/earlier_build"], stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode == 2:
        pytest.skip("the commit of tests/archive/landing is not in this checkout's history")
    assert made.returncode == 0
    return pathlib.Path(made.stdout.splitlines()[-1])


def kill_all(graft):
    """Server, workers and engines, as a power failure would."""
    programs = ("graft-server", "graft-engine", "graft-worker")
    for pid in [pid for program in programs for pid in graft.pids(program)]:
        os.kill(pid, signal.SIGKILL)
    graft.process.wait()
    wait_until(lambda: not graft.pids("graft-worker"), "the workers' end")


def start_with_its_worker(graft, earlier):
    """This build's server and client, and a worker of that build."""
    graft.start(workers=0)
    load(graft)
    graft.build = earlier
    graft.start_worker("w", "--device", "cpu")
    graft.build = BUILD


def in_its_middle(graft, name):
    wait_until(lambda: int(graft.job(name).get("step", 0)) > 30, "some steps")


def assert_same_numbers(found, expected):
    """But for the last bits: the code that computes them has changed."""
    assert [step for step, _ in losses(found)] == [step for step, _ in losses(expected)]
    for (_, one), (_, other) in zip(losses(found), losses(expected)):
        assert math.isclose(one, other, rel_tol=1e-4), (one, other)
    assert [step for step, _ in evaluations(found)] == [step for step, _ in evaluations(expected)]


def test_a_job_that_it_began_goes_on_under_this_one(graft, earlier):
    graft.build = earlier
    graft.start()
    load(graft)
    undisturbed = graft.submit(*LONG, "--output-name", "undisturbed")
    graft.wait_for(undisturbed)
    name = graft.submit(*LONG, "--output-name", "upgraded")
    in_its_middle(graft, name)
    kill_all(graft)
    graft.build = BUILD
    graft.start()
    job = graft.wait_for(name)
    events = graft.events(name)
    assert_gap_free(events)
    assert int(job["attempts"][-1]["resumed_from_step"]) >= 20
    assert_same_numbers(events, graft.events(undisturbed))
    # What differs is said where it is.
    warned = [event["warning"]["text"] for event in events if event.get("warning", {}).get("code") == "NOT_BIT_EXACT"]
    assert len(warned) <= 1, warned


@pytest.mark.parametrize("method", METHODS)
def test_its_worker_works_for_this_server(graft, earlier, method):
    start_with_its_worker(graft, earlier)
    job = graft.wait_for(graft.submit("--method", method))
    assert_gap_free(graft.events(job["name"]))


def test_its_worker_is_told_what_to_do_with_a_job(graft, earlier):
    start_with_its_worker(graft, earlier)
    name = graft.submit("--max-steps", "5000", "--eval-every-steps", "5000")
    in_its_middle(graft, name)
    graft.cli("checkpoint", name)
    wait_until(lambda: graft.json("checkpoints", name), "the checkpoint")
    graft.cli("pause", name)
    graft.wait_for(name, "PAUSED")
    graft.cli("resume", name)
    wait_until(lambda: graft.state(name) == "RUNNING", "it to go on")
    # It knows no cancel that saves: it cancels.
    graft.cli("cancel", name, "--save")
    graft.wait_for(name, "CANCELLED")
    evaluated = graft.json("eval", "--base-model", "tiny", "--data", "valid", "--eval-samples", "2", "--max-new-tokens", "4")[0]["name"]
    graft.wait_for(evaluated)


def test_its_worker_makes_texts_for_this_server(graft, earlier):
    start_with_its_worker(graft, earlier)
    adapters = ["a", "b"]
    for name in adapters:
        graft.wait_for(graft.submit("--output-name", name))
    alone = [graft.cli("generate", "--adapter", name, "The cat", "--max-new-tokens", "3").stdout for name in adapters]
    # One after the other, as it knows no batches.
    beside = graft.cli("generate", "--adapter", ",".join(adapters), "The cat", "--max-new-tokens", "3").stdout
    assert beside == "\n".join(f"==> {name} <==\n{text}" for name, text in zip(adapters, alone))
    refused = graft.cli("generate", "--adapter", "a", "The cat", "--stop-strings", "x", check=False)
    assert refused.returncode != 0 and "no worker is connected that knows stop_strings" in refused.stderr


def test_its_client_serves_people_of_this_server(graft, earlier):
    graft.start()
    graft.build = earlier
    load(graft)
    name = graft.submit("--output-name", "by-it")
    assert graft.wait_for(name)["state"] == "JOB_STATE_SUCCEEDED"
    assert_gap_free(graft.events(name))
    assert graft.json("jobs")[0]["name"] == name
    assert graft.cli("generate", "--adapter", "by-it", "The cat", "--max-new-tokens", "3").stdout
    graft.cli("adapters", "download", "by-it", "--to", graft.directory / "adapter")
    assert checkpoints(graft.events(name))
    other = graft.submit("--max-steps", "5000", "--eval-every-steps", "5000")
    in_its_middle(graft, other)
    graft.cli("pause", other)
    graft.wait_for(other, "PAUSED")
    graft.cli("resume", other)
    graft.cli("cancel", other)
    graft.wait_for(other, "CANCELLED")
    graft.cli("delete", name)
    graft.cli("delete", other)


def test_this_client_and_worker_are_served_by_it(graft, earlier):
    graft.build = earlier
    graft.start(workers=0)
    graft.build = BUILD
    load(graft)
    graft.start_worker("w", "--device", "cpu")
    job = graft.wait_for(graft.submit("--output-name", "by-this"))
    assert_gap_free(graft.events(job["name"]))
    graft.cli("adapters", "download", "by-this", "--to", graft.directory / "adapter")
    assert graft.cli("generate", "--adapter", "by-this", "The cat", "--max-new-tokens", "3").stdout
