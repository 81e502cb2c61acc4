"""A network that swallows packets between a worker and its server, in a namespace of its own."""

import os
import shutil
import subprocess
import time

import pytest

from conftest import free_port, load, wait_until
from test_survival import adapter_hash, assert_gap_free, losses

NAME = f"graft-{os.getpid()}"
SERVER, WORKER = "198.18.77.1", "198.18.77.2"  # Of the range for tests of networks.
LEASE_SECONDS = 3
STEPS = ["--max-steps", "400", "--eval-every-steps", "100", "--checkpoint-every-steps", "10"]


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


def drop_all(inside, on):
    """Returns what that failed by, "" if by nothing."""
    for chain in ("input", "output"):
        hook = f"{{ type filter hook {chain} priority 0 ; policy drop ; }}"
        done = run(*inside, "nft", f"add table inet cut ; add chain inet cut {chain} {hook}" if on else f"delete chain inet cut {chain}")
        if done.returncode != 0:
            return done.stderr.strip()
    return ""


@pytest.fixture
def cut():
    """Cuts the namespace off, or ends that: cut(True), cut(False)."""
    if os.geteuid() != 0 or not (shutil.which("nft") and shutil.which("ip")):
        pytest.skip("needs root, ip and nft")
    if "198.18." in run("ip", "-4", "address").stdout:
        pytest.skip("this machine uses 198.18.0.0/15 itself")
    inside = ["ip", "netns", "exec", NAME]

    def switch(on):
        failed = drop_all(inside, on)
        assert not failed, failed

    try:
        if failed := make_link(inside):
            pytest.skip(f"this machine allows no network namespaces: {failed}")
        if failed := drop_all(inside, True) or drop_all(inside, False):
            pytest.skip(f"this machine's kernel has no nf_tables: {failed}")
        yield switch
    finally:
        run("ip", "netns", "del", NAME)  # And the link with it.


def start(graft):
    address = f"{SERVER}:{free_port()}"
    graft.start(workers=0, worker_listen=address, insecure=True, lease_seconds=LEASE_SECONDS)
    load(graft)
    flags = ["--device", "cpu", "--engine-threads", "1"]
    graft.start_worker("far", *flags, prefix=["ip", "netns", "exec", NAME], server=address)
    return lambda: graft.start_worker("near", *flags, server=address)


def training(graft, name):
    wait_until(lambda: int(graft.job(name).get("step", 0)) >= 12, "the training")


@pytest.mark.full
def test_a_cut_shorter_than_a_lease_costs_nothing(graft, cut):
    start(graft)
    name = graft.submit(*STEPS)
    training(graft, name)
    cut(True)
    time.sleep(LEASE_SECONDS / 3)  # tidy: the cut itself
    cut(False)
    assert len(graft.wait_for(name)["attempts"]) == 1


def test_a_cut_longer_than_a_lease_leaves_one_effective_worker(graft, cut):
    start_near = start(graft)
    undisturbed = graft.submit(*STEPS, "--output-name", "undisturbed")
    graft.wait_for(undisturbed)
    name = graft.submit(*STEPS, "--output-name", "disturbed")
    training(graft, name)
    start_near()
    cut(True)
    wait_until(lambda: len(graft.job(name)["attempts"]) > 1, "another worker's attempt")
    # The one that is cut off has stopped: what it would say comes under a lease that is not its own any more.
    cut(False)
    job = graft.wait_for(name)
    assert len({attempt["worker"] for attempt in job["attempts"]}) == 2, job["attempts"]
    assert_gap_free(graft.events(name))
    assert losses(graft.events(name)) == losses(graft.events(undisturbed))
    assert adapter_hash(graft, "disturbed") == adapter_hash(graft, "undisturbed")
    wait_until(lambda: "attempt over result=abandoned" in (graft.directory / "far.log").read_text(), "the far worker to let go")
    # It works again.
    graft.workers[-1].kill()
    graft.wait_for(graft.submit())
