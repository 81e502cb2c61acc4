"""Who runs when, and what cancel does."""

import json

from conftest import load, wait_until

SHORT = ["--max-steps", "1", "--eval-every-steps", "1"]


def test_ten_jobs_run_by_priority_and_then_by_submission(graft):
    graft.start(workers=0)
    load(graft)
    priorities = [0, 5, 0, -3, 5, 9, 0, -3, 9, 1]
    names = [graft.submit(*SHORT, "--priority", priority) for priority in priorities]
    positions = {name: int(graft.job(name)["queue_position"]) for name in names}
    expected = [name for _, _, name in sorted((-priority, place, name) for place, (priority, name) in enumerate(zip(priorities, names)))]
    assert sorted(names, key=positions.get) == expected
    graft.stop()
    graft.start(workers=1)
    for name in names:
        graft.wait_for(name)
    assert sorted(names, key=lambda name: graft.job(name)["start_time"]) == expected


def test_two_workers_take_two_jobs_at_once(graft):
    graft.start(workers=2)
    load(graft)
    names = [graft.submit("--max-steps", "400", "--eval-every-steps", "400") for _ in range(2)]
    wait_until(lambda: all(graft.state(name) == "RUNNING" for name in names), "both jobs running at once")
    workers = {graft.job(name)["attempts"][0]["worker"] for name in names}
    assert len(workers) == 2
    for name in names:
        graft.cli("cancel", name)
        graft.wait_for(name, "CANCELLED")


def test_cancel_of_a_queued_job_is_immediate_and_of_a_running_one_soon(loaded):
    running = loaded.submit("--max-steps", "5000", "--eval-every-steps", "5000")
    queued = loaded.submit(*SHORT)
    wait_until(lambda: int(loaded.job(running).get("step", 0)) > 0, "a first step")
    loaded.cli("cancel", queued)
    assert loaded.state(queued) == "CANCELLED"
    loaded.cli("cancel", running)
    loaded.wait_for(running, "CANCELLED")
    assert loaded.cli("watch", running, check=False).returncode == 1
    loaded.cli("delete", running)
    assert loaded.cli("show", running, check=False).returncode == 3


def test_a_waiting_job_tells_why_and_when_it_should_start(graft):
    graft.start(workers=0)
    load(graft)
    running = graft.submit("--max-steps", "5000", "--eval-every-steps", "5000", "--name", "long")
    waiting = graft.submit(*SHORT)
    listed = graft.cli("queue").stdout.splitlines()
    assert listed[0].split() == ["PLACE", "JOB", "NAME", "METHOD", "PRIORITY", "STARTS", "IN", "WAITS"]
    assert [line.split()[:2] for line in listed[1:]] == [["1", running], ["2", waiting]]
    assert "no worker is connected" in listed[2]
    assert "waits          no worker is connected" in graft.cli("show", waiting).stdout
    graft.stop()
    graft.start(workers=1)
    wait_until(lambda: "expected_start_seconds" in json.loads(graft.cli("queue", waiting, "--json").stdout), "an expected start")
    entry = json.loads(graft.cli("queue", waiting, "--json").stdout)
    assert entry["reason"] == "WAIT_REASON_BUSY" and entry["runs_before"] == [running] and entry["expected_start_seconds"] > 0
    shown = graft.cli("queue", waiting).stdout
    assert "place          1 of 1" in shown and "the only worker that can do it is busy" in shown and "can do it" in shown.splitlines()[-1]
    refused = graft.cli("queue", running, check=False)
    assert refused.returncode == 1 and "is RUNNING: it waits in no queue" in refused.stderr
    assert graft.cli("queue", "jobs/none", check=False).returncode == 3
    for name in (waiting, running):
        graft.cli("cancel", name)
    graft.wait_for(running, "CANCELLED")
    assert "no job waits" in graft.cli("queue").stderr
