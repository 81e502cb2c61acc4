"""Every alert of deploy/prometheus, fired and ended by a real Prometheus that watches a real server with a real fault.

A minute is a second here (prometheus.py). What is measured is printed (pytest -rP), in the durations of deploy/prometheus; only the
lease is longer than a sixtieth of a minute, so that a busy machine loses none.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

import pytest

from conftest import ROOT, load, samples, wait_until
from prometheus import DURATION, FACTOR, MILLISECONDS, Prometheus, is_prose, needs_prometheus, scaled


def real(test):
    """Runs Prometheus and servers: a minute and more."""
    return pytest.mark.full(needs_prometheus(test))


def rules():
    """(alert, seconds of its `for`) of each rule, as deployed."""
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    found = []
    for rule in re.split(r"(?m)^ +- alert: ", text)[1:]:
        wait = re.search(r"(?m)^ +for: (\d+)(\w+)$", rule)
        found.append((rule.split()[0], int(wait[1]) * MILLISECONDS[wait[2]] / 1000 if wait else 0))
    return found


class Watch(Prometheus):
    """Looks at the alerts of one server."""

    def __init__(self, directory, graft):
        self.graft = graft
        super().__init__(directory, graft)

    def moments(self, alert, state, severity):
        """When evaluations found the alert in this state."""
        labels = f'alertname="{alert}",alertstate="{state}"' + (f',severity="{severity}"' if severity else "")
        return sorted(float(moment) for series in self.query(f"ALERTS{{{labels}}}[10m]") for moment, _ in series["values"])

    def active(self, alert, severity=None):
        """The alert's labels and texts, if it fires now."""
        with urllib.request.urlopen(f"http://{self.address}/api/v1/alerts", timeout=10) as response:
            for one in json.load(response)["data"]["alerts"]:
                if one["labels"]["alertname"] == alert and one["state"] == "firing" and severity in (None, one["labels"]["severity"]):
                    return one
        return None

    def wait_for(self, alert, severity=None):
        return wait_until(lambda: self.active(alert, severity), f"{alert} to fire")

    def wait_for_end(self, alert, severity=None):
        wait_until(lambda: not self.query(f'ALERTS{{alertname="{alert}"' + (f',severity="{severity}"' if severity else "") + "}"), f"{alert} to end")

    def fired(self):
        """All alerts that fired, but not for the disk that the tests happen to run on."""
        mine = {"directory": str(self.graft.directory / "data")}
        return {series["metric"]["alertname"] for series in self.query('ALERTS{alertstate="firing"}[10m]')
                if not mine.items() <= series["metric"].items()}

    def check_life(self, alert, fault, repair, severity=None):
        """It was pending for as long as its rule says, then fired; prints when, after `fault` and `repair`, as deployed."""
        wait = max(seconds for name, seconds in rules() if name == alert)
        pending = self.moments(alert, "pending", severity)
        firing = self.moments(alert, "firing", severity)
        assert firing, f"{alert} has not fired"
        if wait:
            assert pending and pending[0] < firing[0] and firing[0] - pending[0] >= wait / FACTOR - 0.001, (pending[:1], firing[:1])
        else:
            assert not pending
        assert firing[0] > fault
        took = [f"{name} {(moment - since) * FACTOR:.0f} s" for name, moment, since in
                (("pending", pending[0] if pending else firing[0], fault), ("firing", firing[0], fault), ("ended", firing[-1] + 15 / FACTOR, repair))]
        print(f"{alert} {severity or ''}: after the fault {took[0]}, {took[1]}; after the repair {took[2]} (as deployed; divided by {FACTOR})")


@pytest.fixture
def watch(tmp_path):
    watching = []

    def start(graft):
        watching.append(Watch(tmp_path, graft))
        return watching[-1]

    yield start
    for prometheus in watching:
        prometheus.stop()


def restart(graft, **flags):
    return graft.start(http=graft.http, **flags)


def test_every_duration_is_scaled():
    for name in ("alerts.yml", "prometheus.yml"):
        text = (ROOT / "deploy/prometheus" / name).read_text()
        rest = [line for line in scaled(text).split("\n") if not is_prose(line)]
        assert not [line for line in rest for _, unit in DURATION.findall(line) if unit != "ms"]
    assert scaled("  expr: increase(x_total[15m]) >= 3") == "  expr: increase(x_total[15000ms]) >= 3"
    assert scaled("  expr: wait_seconds > 3600") == "  expr: wait_seconds > 60"
    assert scaled("  for: 45s") == "  for: 750ms"


@real
def test_server_down(graft, watch):
    prometheus = watch(graft.start(workers=0))
    fault = time.time()
    graft.kill_server()
    prometheus.wait_for("GraftServerDown")
    repair = time.time()
    restart(graft, workers=0)
    prometheus.wait_for_end("GraftServerDown")
    prometheus.check_life("GraftServerDown", fault, repair)
    assert prometheus.fired() == {"GraftServerDown"}


@real
def test_worker_down_of_a_local_worker_that_hangs(graft, watch):
    prometheus = watch(graft.start(workers=1))
    wait_until(lambda: prometheus.query("graft_worker_up == 1"), "the worker")
    [worker] = graft.pids("graft-worker")
    fault = time.time()
    os.kill(worker, signal.SIGSTOP)
    try:
        assert "hostname" in prometheus.wait_for("GraftWorkerDown")["labels"]
    finally:
        repair = time.time()
        os.kill(worker, signal.SIGCONT)
    prometheus.wait_for_end("GraftWorkerDown")
    prometheus.check_life("GraftWorkerDown", fault, repair)
    assert prometheus.fired() == {"GraftWorkerDown"}


@real
def test_worker_down_of_one_that_was_killed_and_not_of_one_that_was_stopped(graft, watch):
    prometheus = watch(graft.start(workers=0))
    worker, stopped = graft.start_worker("killed"), graft.start_worker("stopped")
    wait_until(lambda: len(prometheus.query("graft_worker_up == 1")) == 2, "the workers")
    fault = time.time()
    stopped.terminate()
    worker.kill()
    prometheus.wait_for("GraftWorkerDown")
    repair = time.time()
    graft.start_worker("killed")
    prometheus.wait_for_end("GraftWorkerDown")
    prometheus.check_life("GraftWorkerDown", fault, repair)
    assert len({series["metric"]["worker"] for series in prometheus.query('ALERTS{alertname="GraftWorkerDown"}[10m]')}) == 1


@real
def test_no_worker_and_an_old_queue(graft, watch):
    prometheus = watch(graft.start(workers=0))
    load(graft)
    assert not prometheus.query("ALERTS{alertname='GraftNoWorker'}")
    fault = time.time()
    job = graft.submit()
    prometheus.wait_for("GraftNoWorker")
    prometheus.wait_for("GraftQueueOld")
    repair = time.time()
    graft.start_worker("worker")
    prometheus.wait_for_end("GraftNoWorker")
    prometheus.wait_for_end("GraftQueueOld")
    prometheus.check_life("GraftNoWorker", fault, repair)
    prometheus.check_life("GraftQueueOld", fault, repair)
    assert prometheus.fired() == {"GraftNoWorker", "GraftQueueOld"}
    graft.wait_for(job)


@real
def test_engine_crashes_requeues_and_a_job_that_fails_of_them(graft, watch):
    prometheus = watch(graft.start(workers=1))
    load(graft)
    wait_until(lambda: prometheus.query("graft_engine_restarts_total == 0"), "the counter")
    endless = ["--max-steps", "1000000", "--eval-every-steps", "1000000"]
    # Each attempt trains before it is killed: a worker whose attempts end early is given fewer.
    first = graft.submit(*endless)
    fault = None
    for attempt in range(1, 5):
        wait_until(lambda: (lambda job: len(job["attempts"]) == attempt and int(job.get("step", 0)) > 0)(graft.job(first)), "a step")
        fault = fault or time.time()
        for pid in graft.pids("graft-engine"):
            os.kill(pid, signal.SIGKILL)
    texts = [prometheus.wait_for("GraftEngineCrashes"), prometheus.wait_for("GraftJobsRequeued")]
    graft.cli("cancel", first)
    job = graft.submit(*endless)
    ended = threading.Event()

    def kill_engines():
        while not ended.wait(0.05):
            for pid in graft.pids("graft-engine"):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # Seen while it ended.

    killer = threading.Thread(target=kill_engines)
    killer.start()
    try:
        texts.append(prometheus.wait_for("GraftJobsFailed", "ticket"))
    finally:
        ended.set()
        killer.join()
    repair = time.time()
    assert graft.job(job)["state"] == "JOB_STATE_FAILED"
    for text in texts:
        assert "graft logs JOB" in text["annotations"]["description"]
    assert texts[2]["labels"]["class"] == "INFRASTRUCTURE"
    for alert in ("GraftEngineCrashes", "GraftJobsRequeued", "GraftJobsFailed"):
        prometheus.wait_for_end(alert)
        prometheus.check_life(alert, fault, repair)
    # The second job's attempts ended before they began; the worker is set aside for longer than this test takes.
    assert prometheus.fired() - {"GraftWorkerSetAside"} == {"GraftEngineCrashes", "GraftJobsRequeued", "GraftJobsFailed"}


@real
def test_a_job_that_fails_by_itself_is_only_told(graft, watch):
    prometheus = watch(graft.start(workers=1))
    load(graft)
    fault = time.time()
    job = graft.submit("--learning-rate", "1e38")
    prometheus.wait_for("GraftJobsFailed", "info")
    repair = time.time()
    assert graft.job(job)["failure_class"] == "FAILURE_CLASS_DIVERGED"
    prometheus.wait_for_end("GraftJobsFailed")
    prometheus.check_life("GraftJobsFailed", fault, repair, "info")
    assert {series["metric"]["severity"] for series in prometheus.query('ALERTS{alertstate="firing"}[10m]')
            if series["metric"]["alertname"] == "GraftJobsFailed"} == {"info"}


@real
def test_disk_nearly_full(graft, watch):
    artifacts = graft.directory / "artifacts"
    artifacts.mkdir()
    # A disk of its own, in a name space that only the server sees.
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64m none "$0" && exec "$@"', artifacts]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no name spaces of one's own here")
    prometheus = watch(graft.start(workers=0, prefix=mounted, artifacts=artifacts))
    assert len(prometheus.query("graft_filesystem_size_bytes")) == 2
    [size] = prometheus.query(f'graft_filesystem_size_bytes{{directory="{artifacts}"}}')
    assert int(size["value"][1]) == 64 << 20
    ballast = f"/proc/{graft.process.pid}/root{artifacts}/ballast"
    fault = time.time()
    with open(ballast, "wb") as file:
        file.write(bytes(60 << 20))
    alert = prometheus.wait_for("GraftDiskNearlyFull")
    # (While the machine's own disk is nearly full, too, either may be the first.)
    wait_until(lambda: prometheus.query(f'ALERTS{{alertstate="firing",directory="{artifacts}"}}'), "the alert of this disk")
    assert "MiB are left" in alert["annotations"]["description"] or alert["labels"]["directory"] != str(artifacts)
    repair = time.time()
    os.unlink(ballast)
    wait_until(lambda: not prometheus.query(f'ALERTS{{directory="{artifacts}"}}'), "GraftDiskNearlyFull to end")
    prometheus.check_life("GraftDiskNearlyFull", fault, repair)
    assert prometheus.fired() == {"GraftDiskNearlyFull"}


@real
def test_a_quota_that_is_nearly_used_is_told_until_it_is_raised(graft, watch):
    graft.start(workers=0)
    load(graft)
    stored = samples(graft.http)["graft_stored_bytes"]
    graft.stop()
    fault = time.time()
    prometheus = watch(restart(graft, workers=0, quota_gb=stored / 0.95 / 1e9))
    alert = prometheus.wait_for("GraftQuotaNearlyUsed")
    assert "nine tenths" in alert["annotations"]["summary"]
    repair = time.time()
    graft.stop()
    restart(graft, workers=0, quota_gb=stored / 0.85 / 1e9)
    prometheus.wait_for_end("GraftQuotaNearlyUsed")
    prometheus.check_life("GraftQuotaNearlyUsed", fault, repair)
    # A slow machine's restart takes what counts as minutes here.
    assert prometheus.fired() - {"GraftServerDown"} == {"GraftQuotaNearlyUsed"}


@real
def test_a_blob_that_rots_is_told_until_it_is_mended(graft, watch):
    prometheus = watch(graft.start(workers=0))
    load(graft)
    rows = (graft.directory / "train.jsonl").read_bytes()
    sha256 = hashlib.sha256(rows).hexdigest()
    blob = graft.directory / "data/artifacts/blobs/objects" / sha256[:2] / sha256
    fault = time.time()
    blob.chmod(0o644)
    blob.write_bytes(b"[" + rows[1:])
    # Whoever needs it notices; else the scrubber does, within the day.
    refused = graft.cli("datasets", "preview", "train", "--base-model", "tiny", check=False)
    assert refused.returncode != 0 and sha256 in refused.stderr
    alert = prometheus.wait_for("GraftCorruptBlobs")
    assert alert["annotations"]["summary"].startswith("1 stored")
    repair = time.time()
    graft.cli("datasets", "upload", graft.directory / "train.jsonl", "--name", "train")
    graft.cli("datasets", "preview", "train", "--base-model", "tiny")
    prometheus.wait_for_end("GraftCorruptBlobs")
    prometheus.check_life("GraftCorruptBlobs", fault, repair)
    assert prometheus.fired() == {"GraftCorruptBlobs"}


def test_no_alert_is_left_out():
    with open(__file__, encoding="utf-8") as file:
        named = set(re.findall(r'"(Graft\w+)"', file.read()))
    assert {alert for alert, _ in rules()} == named
