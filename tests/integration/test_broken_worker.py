"""One worker whose engine does not start, beside one that is well: it costs no job."""

from conftest import load, samples, wait_until

JOBS = 12


def test_a_worker_without_an_engine_fails_no_job(graft):
    graft.start(workers=0)
    load(graft)
    graft.start_worker("broken", "--engine", "/bin/false", "--device", "cpu")
    wait_until(lambda: samples(graft.http).get("graft_workers") == 1, "the broken worker")
    names = [graft.submit("--max-steps", "2", "--eval-every-steps", "2") for _ in range(JOBS)]
    wait_until(lambda: samples(graft.http).get("graft_workers_set_aside") == 1, "it set aside")
    graft.start_worker("well", "--device", "cpu")
    for name in names:
        graft.wait_for(name)
    workers = {attempt["worker"] for name in names for attempt in graft.job(name)["attempts"]}
    assert len(workers) == 2, "the broken one took none"
