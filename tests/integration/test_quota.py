"""A server that may store no more: what comes is refused, and a job waits with what it saves."""

import json

from conftest import load, samples, wait_until, write_rows
from test_life import events_so_far
from test_survival import assert_gap_free, checkpoints


def warnings(events, code):
    return [event["warning"]["text"] for event in events if event.get("warning", {}).get("code") == code]


def test_what_has_no_room_is_refused_and_a_job_waits_until_there_is(graft):
    graft.start(workers=0)
    load(graft)
    stored = samples(graft.http)["graft_stored_bytes"]
    assert stored > 2e6 and "graft_quota_bytes" not in samples(graft.http)
    graft.kill_server()
    graft.start(quota_gb=(stored + 1000) / 1e9)
    assert samples(graft.http)["graft_stored_bytes"] == stored
    assert "the quota is nearly used up" in wait_until(lambda: graft.log.read_text() if "quota" in graft.log.read_text() else None, "the warning")
    more = write_rows(graft.directory / "more.jsonl", "train.jsonl", 40)
    refused = graft.cli("--timeout", "5", "datasets", "upload", more, "--name", "more", check=False)
    assert refused.returncode == 1 and "--quota-gb" in refused.stderr, refused.stderr

    name = graft.submit("--max-steps", "40", "--eval-every-steps", "20", "--threads", "1")
    wait_until(lambda: warnings(events_so_far(graft, name), "DISK_FULL"), "the warning of the job")
    assert graft.state(name) == "RUNNING"
    assert not checkpoints(events_so_far(graft, name))
    graft.kill_server()
    graft.start()
    job = graft.wait_for(name)
    events = graft.events(name)
    assert_gap_free(events)
    assert checkpoints(events) and len(job["attempts"]) == 1, json.dumps(job["attempts"])
    assert all("no room" in text for text in warnings(events, "DISK_FULL"))
