"""A server that is away for long: its worker is back soon after it is."""

import time

import pytest

from conftest import load, wait_until
from test_survival import adapter_hash, assert_gap_free, losses


@pytest.mark.full
def test_a_worker_is_back_within_seconds_of_a_long_outage(graft):
    graft.start(heartbeat_seconds=1, lease_seconds=60, lease_margin_seconds=5)
    load(graft)
    graft.wait_for(graft.submit())
    graft.kill_server()
    # Uncapped, the pauses between two attempts have grown to over a minute by then.
    time.sleep(150)  # tidy: the outage itself
    began = time.monotonic()
    graft.start(heartbeat_seconds=1, lease_seconds=60, lease_margin_seconds=5)
    wait_until(lambda: "worker connected" in graft.log.read_text().rsplit("server ready", 1)[1], "the worker")
    # tidy: the pause is configured (3 s; over 60 s without the cap), not how fast the machine is.
    assert time.monotonic() - began < 15
    assert len(graft.pids("graft-worker")) == 1
    graft.wait_for(graft.submit())


@pytest.mark.full
@pytest.mark.parametrize("minutes", [1, 3, 10])
def test_a_job_waits_for_a_server_that_is_away_and_goes_on(graft, minutes):
    """With the default times: for longer than a lease the engine stands at its fence, then works on under the same lease."""
    defaults = dict.fromkeys(("heartbeat_seconds", "lease_seconds", "lease_margin_seconds"))
    graft.start(**defaults)
    load(graft)
    steps = ["--max-steps", "1500", "--eval-every-steps", "500", "--checkpoint-every-steps", "100", "--patience", "0"]
    undisturbed = graft.submit(*steps, "--output-name", "undisturbed")
    graft.wait_for(undisturbed, seconds=600)
    name = graft.submit(*steps, "--output-name", "disturbed")
    wait_until(lambda: int(graft.job(name).get("step", 0)) >= 100, "the training")
    graft.kill_server()
    time.sleep(minutes * 60)  # tidy: the outage itself
    graft.start(**defaults)
    job = graft.wait_for(name, seconds=600)
    assert len(job["attempts"]) == 1, job["attempts"]
    assert_gap_free(graft.events(name))
    assert losses(graft.events(name)) == losses(graft.events(undisturbed))
    assert adapter_hash(graft, "disturbed") == adapter_hash(graft, "undisturbed")
