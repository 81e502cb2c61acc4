"""A server that is away for long: its worker is back soon after it is."""

import time

import pytest

from conftest import load, wait_until


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
