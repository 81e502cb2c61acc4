"""What went wrong stands in the logs of worker and server, and stays with the job."""

import os
import signal
import urllib.request

from conftest import load, wait_until

LONG = ["--max-steps", "60", "--eval-every-steps", "10", "--checkpoint-every-steps", "5"]


def worker_log(graft):
    return (graft.directory / "data/workers/1/worker.log").read_text()


def kill_engine(graft):
    """Once it has got somewhere, so that it is no failure without progress."""
    os.kill(wait_until(lambda: graft.pids("graft-engine"), "an engine")[0], signal.SIGSEGV)


def wait_for_checkpoint(graft, name, step=5):
    wait_until(lambda: int(graft.job(name).get("step", 0)) >= step + 7, f"{name} past step {step}")


def test_a_crash_stands_in_every_log_and_stays_with_the_job(loaded):
    name = loaded.submit(*LONG)
    wait_for_checkpoint(loaded, name)
    kill_engine(loaded)
    loaded.wait_for(name)
    first = loaded.cli("logs", name, "--attempt", 1).stdout
    assert "==> attempt 1, worker <==" in first and "leased attempt=1" in first
    assert 'the engine crashed end="signal 11 (Segmentation fault)"' in first
    assert "attempt failed attempt=1 class=INFRASTRUCTURE" in first
    assert "==> attempt 1, engine <==\ngraft-engine " in first
    assert "[attempt 1 ended: the engine ended by signal 11" in first
    last = loaded.cli("logs", name)
    assert "leased attempt=2" in last.stdout and "--attempt N shows another" in last.stderr
    assert loaded.cli("logs", name, "--stream", "engine", "--attempt", 1).stdout.startswith("graft-engine ")
    for log in (loaded.log.read_text(), worker_log(loaded)):
        assert f"job={name} attempt failed attempt=1 class=INFRASTRUCTURE" in log
        assert "signal 11" in log


def test_a_failure_of_the_job_stands_in_every_log_with_class_and_message(loaded):
    name = loaded.submit("--method", "full", "--learning-rate", "1e30", "--precision", "fp32")
    job = loaded.wait_for(name, "FAILED")
    message = job["error"]["message"]
    assert message.startswith("diverged at step")
    for log in (loaded.log.read_text(), worker_log(loaded), loaded.cli("logs", name).stdout):
        assert f"job={name} attempt failed attempt=1 class=DIVERGED" in log and message[:60] in log


def test_a_follower_sees_every_attempt_to_the_jobs_end(graft):
    graft.start(workers=0)
    load(graft)
    name = graft.submit(*LONG)
    follower = graft.popen("logs", name, "--follow")  # Before there is an attempt.
    streams = 'graft_rpc_streams{method="JobService.ReadJobLog"} 2'
    wait_until(lambda: streams in urllib.request.urlopen(f"http://{graft.http}/metrics", timeout=10).read().decode(), "the follower")
    graft.stop()
    graft.start(workers=1)
    wait_for_checkpoint(graft, name)
    kill_engine(graft)
    graft.wait_for(name)
    output, errors = follower.communicate(timeout=60)
    assert follower.returncode == 0, errors
    for part in ("leased attempt=1", "the engine crashed", "[attempt 1 ended:", "leased attempt=2"):
        assert part in output, output
    assert output.index("leased attempt=1") < output.index("[attempt 1 ended:") < output.index("leased attempt=2")


def test_a_job_without_an_attempt_has_no_log(graft):
    graft.start(workers=0)
    load(graft)
    name = graft.submit()
    result = graft.cli("logs", name, check=False)
    assert result.returncode == 3 and f"{name} has had no attempt" in result.stderr
    assert graft.cli("logs", "jobs/none", check=False).returncode == 3


def test_logs_go_with_their_job(loaded):
    name = loaded.submit()
    loaded.wait_for(name)
    logs = loaded.directory / "data/artifacts/logs" / name.removeprefix("jobs/")
    assert wait_until(lambda: list(logs.rglob("worker.*")), "its log")
    loaded.cli("delete", name)
    assert not logs.exists()
