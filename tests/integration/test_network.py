"""A network that swallows packets, is slow or breaks connections, between a worker and its server and between a watcher and the server.

Packets are dropped in a namespace of its own; a relay (relay.py) does the rest. GRAFT_NETWORK_SEED is the relay's seed, 1 without it."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest

from conftest import free_port, load, wait_until
from relay import Relay
from test_survival import adapter_hash, assert_gap_free, losses

NAME = f"graft-{os.getpid()}"
SERVER, WORKER = "198.18.77.1", "198.18.77.2"  # Of the range for tests of networks.
LEASE_SECONDS = 3
CONVERGED_SECONDS = LEASE_SECONDS + 5
SEED = int(os.environ.get("GRAFT_NETWORK_SEED", 1))
ALL, HALF = "", "numgen random mod 100 < 50"
STEPS = ["--max-steps", "300", "--eval-every-steps", "100", "--checkpoint-every-steps", "10"]
FEW_STEPS = ["--max-steps", "120", "--eval-every-steps", "40", "--checkpoint-every-steps", "10"]


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def make_link(inside):
    """A link between the two addresses, WORKER's end in the namespace NAME. Returns what it failed by, "" if by nothing."""
    ends = f"g{os.getpid() % 100000}a", f"g{os.getpid() % 100000}b"
    for command in (["ip", "netns", "add", NAME], ["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1], "netns", NAME],
                    ["ip", "addr", "add", f"{SERVER}/30", "dev", ends[0]], ["ip", "link", "set", ends[0], "up"],
                    [*inside, "ip", "addr", "add", f"{WORKER}/30", "dev", ends[1]], [*inside, "ip", "link", "set", ends[1], "up"],
                    [*inside, "ip", "link", "set", "lo", "up"]):
        done = run(*command)
        if done.returncode != 0:
            return f"{command}: {done.stderr.strip()}"
    return ""


def drop(inside, which):
    """Which packets are lost, in both directions; None: none. Returns what that failed by, "" if by nothing."""
    rules = "add table inet cut ; delete table inet cut"
    if which is not None:
        rules += " ; add table inet cut"
        for chain in ("input", "output"):
            rules += f" ; add chain inet cut {chain} {{ type filter hook {chain} priority 0 ; }} ; add rule inet cut {chain} {which} counter drop"
    done = run(*inside, "nft", rules)
    return done.stderr.strip() if done.returncode != 0 else ""


@pytest.fixture
def lose():
    """Says which packets from and to the namespace are lost from now on: lose(ALL), lose(HALF), lose(None). Returns how many were until now."""
    if os.geteuid() != 0 or not (shutil.which("nft") and shutil.which("ip")):
        pytest.skip("needs root, ip and nft")
    if "198.18." in run("ip", "-4", "address").stdout:
        pytest.skip("this machine uses 198.18.0.0/15 itself")
    inside = ["ip", "netns", "exec", NAME]

    def switch(which):
        dropped = re.findall(r"counter packets (\d+)", run(*inside, "nft", "list", "ruleset").stdout)
        failed = drop(inside, which)
        assert not failed, failed
        return sum(map(int, dropped))

    try:
        if failed := make_link(inside):
            pytest.skip(f"this machine allows no network namespaces: {failed}")
        if failed := drop(inside, HALF) or drop(inside, None):
            pytest.skip(f"this machine's kernel has no nf_tables: {failed}")
        yield switch
    finally:
        run("ip", "netns", "del", NAME)  # And the link with it.


def start(graft, listen="127.0.0.1", **flags):
    """Returns where workers call."""
    address = f"{listen}:{free_port()}"
    graft.start(workers=0, worker_listen=address, insecure=True, lease_seconds=LEASE_SECONDS, **flags)
    load(graft)
    return address


def start_worker(graft, name, address, prefix=()):
    graft.start_worker(name, "--device", "cpu", "--engine-threads", "1", prefix=prefix, server=address)


def start_far(graft):
    """A worker in the namespace. Returns what starts one outside."""
    address = start(graft, SERVER)
    start_worker(graft, "far", address, prefix=["ip", "netns", "exec", NAME])
    return lambda: start_worker(graft, "near", address)


def step_of(graft, name):
    return int(graft.job(name).get("step", 0))


def training(graft, name):
    wait_until(lambda: step_of(graft, name) >= 12, "the training")


def seconds_until_it_goes_on(graft, name, since):
    """Until a worker that has the job's lease has made a step, from `since` on, when the job stood at its step."""
    moment, step = since
    wait_until(lambda: step_of(graft, name) > step or graft.job(name).get("done"), "a step")
    took = time.monotonic() - moment
    assert took <= CONVERGED_SECONDS, f"{took:.1f} s"  # tidy: the promise is a time, a lease and 5 s
    return took


def result_of(graft, name, output):
    """The numbers and the adapter of a job whose events are all there."""
    events = graft.events(name)
    assert_gap_free(events)
    return losses(events), adapter_hash(graft, output)


def undisturbed_result(graft, steps):
    name = graft.submit(*steps, "--output-name", "undisturbed")
    graft.wait_for(name)
    return result_of(graft, name, "undisturbed")


@pytest.mark.full
def test_a_cut_shorter_than_a_lease_costs_nothing(graft, lose):
    start_far(graft)
    name = graft.submit(*STEPS)
    training(graft, name)
    lose(ALL)
    time.sleep(LEASE_SECONDS / 3)  # tidy: the cut itself
    lose(None)
    assert len(graft.wait_for(name)["attempts"]) == 1


def test_a_cut_longer_than_a_lease_leaves_one_effective_worker(graft, lose):
    start_near = start_far(graft)
    undisturbed = undisturbed_result(graft, STEPS)
    name = graft.submit(*STEPS, "--output-name", "disturbed")
    training(graft, name)
    start_near()
    lose(ALL)
    began = time.monotonic()
    wait_until(lambda: len(graft.job(name)["attempts"]) > 1, "another worker's attempt")
    took = seconds_until_it_goes_on(graft, name, (began, step_of(graft, name)))
    # The one that is cut off has stopped: what it would say comes under a lease that is not its own any more.
    lose(None)
    job = graft.wait_for(name)
    assert len({attempt["worker"] for attempt in job["attempts"]}) == 2, job["attempts"]
    assert result_of(graft, name, "disturbed") == undisturbed
    wait_until(lambda: "attempt over result=abandoned" in (graft.directory / "far.log").read_text(), "the far worker to let go")
    print(f"\n{took:.1f} s after the cut another worker had made a step")
    # It works again.
    graft.workers[-1].kill()
    graft.wait_for(graft.submit())


@pytest.mark.parametrize("times, which", [(1, HALF), pytest.param(10, HALF, marks=pytest.mark.full), pytest.param(10, ALL, marks=pytest.mark.full)])
def test_packets_that_are_lost_for_longer_than_a_lease_cost_no_job(graft, lose, times, which):
    start_far(graft)
    undisturbed = undisturbed_result(graft, STEPS)
    dropped, took, attempts = 0, [], 0
    for number in range(times):
        name = graft.submit(*STEPS, "--output-name", f"disturbed-{number}")
        training(graft, name)
        lose(which)
        time.sleep(2 * LEASE_SECONDS)  # tidy: the time in which they are lost
        step = step_of(graft, name)
        dropped += lose(None)
        took.append(seconds_until_it_goes_on(graft, name, (time.monotonic(), step)))
        attempts += len(graft.wait_for(name)["attempts"])
        assert result_of(graft, name, f"disturbed-{number}") == undisturbed
    assert dropped > 0
    print(f"\n{times} times {'half of the' if which else 'all'} packets lost for {2 * LEASE_SECONDS} s, {dropped} in all: {attempts} attempts; "
          f"it went on within {max(took):.1f} s")


@pytest.mark.parametrize("jobs", [1, pytest.param(10, marks=pytest.mark.full)])
@pytest.mark.parametrize("mean_bytes", [None, 30_000], ids=["late", "late_and_broken"])
def test_bytes_that_are_late_and_connections_that_break_cost_no_job(graft, mean_bytes, jobs):
    workers = start(graft)
    start_worker(graft, "near", workers)
    undisturbed = undisturbed_result(graft, FEW_STEPS)
    graft.workers[-1].kill()
    how = {"delay": 0.075, "jitter": 0.05, "mean_bytes": mean_bytes, "seed": SEED}
    attempts, events = 0, 0
    with Relay(workers, **how) as to_worker, Relay(graft.address, **how) as to_watcher:
        start_worker(graft, "slow", to_worker.address)
        for number in range(jobs):
            name = graft.submit(*FEW_STEPS, "--output-name", f"disturbed-{number}")
            watch = graft.popen("--json", "--server", to_watcher.address, "watch", name)
            seen = [json.loads(line) for line in watch.stdout]
            assert watch.wait() == 0, watch.stderr.read()
            assert seen == graft.events(name)
            assert result_of(graft, name, f"disturbed-{number}") == undisturbed
            attempts, events = attempts + len(graft.job(name)["attempts"]), events + len(seen)
        relays = to_worker, to_watcher
        print(f"\n{jobs} jobs over {' and '.join(str(relay.connections) for relay in relays)} connections of worker and watcher, {sum(relay.broken for relay in relays)}"
              f" broken, {sum(relay.pieces for relay in relays)} late pieces: {attempts} attempts, {events} events seen, each once")
        if mean_bytes:
            assert to_worker.broken > 0 and to_watcher.broken > 0, "nothing is shown"
        else:
            assert attempts == jobs
