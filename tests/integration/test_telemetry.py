"""What Prometheus sees."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from conftest import ROOT, free_port, load, samples, scrape, wait_until
from prometheus import Prometheus, needs_prometheus


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (tools/setup --tests brings it)")
    return found


def check_metrics(promtool, text):
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_metrics_of_a_busy_server_are_valid_and_tell_of_the_job(loaded, promtool):
    loaded.wait_for(loaded.submit())
    text = scrape(loaded.http)
    check_metrics(promtool, text)
    for name in ("graft_jobs", "graft_queue", "graft_rpc", "graft_store_commit"):
        assert f"\n{name}" in text, f"no series begins with {name}"
    assert "\ngraft_engine_restarts_total{worker=" in text  # An alert reads it.


def test_metrics_of_a_worker_are_valid_and_count_its_attempts(graft, promtool):
    graft.start(workers=0)
    load(graft)
    address = f"127.0.0.1:{free_port()}"
    graft.start_worker("worker", "--http", address)
    graft.wait_for(graft.submit())
    # The worker counts after the server has answered.
    wait_until(lambda: 'graft_worker_attempts_total{result="succeeded"}' in samples(address), "the attempt")
    check_metrics(promtool, scrape(address))
    seen = samples(address)
    assert seen['graft_worker_attempts_total{result="succeeded"}'] == 1, seen
    assert seen['graft_worker_heartbeats_total{code="OK"}'] > 0, seen
    assert seen["graft_engine_crashes_total"] == 0, seen
    assert seen[f'graft_filesystem_size_bytes{{directory="{graft.directory / "worker"}"}}'] > 0
    check_process(seen)


def check_process(seen):
    assert any(series.startswith("graft_build_info{version=") and value == 1 for series, value in seen.items()), seen
    assert seen["process_cpu_seconds_total"] > 0 and seen["process_resident_memory_bytes"] > 1e6 and seen["process_threads"] > 1
    assert 0 < seen["process_open_fds"] < seen["process_max_fds"] and seen["process_start_time_seconds"] > 1.7e9


def test_a_server_tells_of_its_process_and_of_each_disk_once(loaded):
    seen = samples(loaded.http)
    check_process(seen)
    # Data, store and artifacts are on one.
    assert [series for series in seen if series.startswith("graft_filesystem_free_bytes")] == [
        f'graft_filesystem_free_bytes{{directory="{loaded.directory / "data"}"}}']


def up(graft):
    """Of the one worker; None: the server knows none."""
    found = [value for series, value in samples(graft.http).items() if series.startswith("graft_worker_up{")]
    assert len(found) < 2
    return found[0] if found else None


def test_a_worker_that_hangs_or_is_killed_is_away_and_one_that_was_stopped_is_not_missed(graft):
    graft.start(workers=0)
    worker = graft.start_worker("worker")
    wait_until(lambda: up(graft) == 1, "the worker")
    worker.send_signal(signal.SIGSTOP)
    wait_until(lambda: up(graft) == 0, "the end of the hanging worker's lease")
    worker.send_signal(signal.SIGCONT)
    wait_until(lambda: up(graft) == 1, "the worker, going on")
    worker.kill()
    wait_until(lambda: up(graft) == 0, "the killed worker's end")
    worker = graft.start_worker("worker")
    wait_until(lambda: up(graft) == 1, "the worker's return")
    worker.terminate()
    wait_until(lambda: up(graft) is None, "the worker to be forgotten")


def engine_restarts(graft):
    found = [value for series, value in samples(graft.http).items() if series.startswith("graft_engine_restarts_total{")]
    return found[0] if found else None


def test_two_servers_in_a_row_count_each_crash_once(graft):
    graft.start(workers=0)
    load(graft)
    graft.start_worker("worker")
    graft.submit("--max-steps", "1000000", "--eval-every-steps", "1000000")
    killed = set()

    def kill_engine():
        [pid] = wait_until(lambda: set(graft.pids("graft-engine")) - killed, "an engine")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)

    wait_until(lambda: engine_restarts(graft) == 0, "the counter")
    kill_engine()
    wait_until(lambda: engine_restarts(graft) == 1, "the first crash")
    wait_until(lambda: set(graft.pids("graft-engine")) - killed, "the next attempt's engine")
    graft.kill_server()
    kill_engine()  # The second one, while no server is there.
    graft.start(workers=0)
    wait_until(lambda: engine_restarts(graft) == 1, "the crash of the outage")
    heartbeats = 'graft_rpc_calls_total{code="OK",method="WorkerService.Heartbeat"}'
    before = samples(graft.http)[heartbeats]
    wait_until(lambda: samples(graft.http)[heartbeats] >= before + 5, "more heartbeats")
    assert engine_restarts(graft) == 1


def test_the_configuration_in_deploy_is_valid(promtool):
    subprocess.run([promtool, "check", "config", ROOT / "deploy/prometheus/prometheus.yml"], check=True, capture_output=True)


def each_query(board):
    """(panel's title, query as Grafana sends it with its variables at All) of each."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "5s")  # 20 of the sped-up scrapes.
            yield panel["title"], re.sub(r"\$\w+", ".*", query)


BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))}


@needs_prometheus
def test_every_query_of_every_board_finds_series_at_a_busy_server(graft, tmp_path):
    """A job that trains and evaluates, one that failed, one that succeeded, texts; and a worker that tells of itself."""
    graft.start(workers=0, quota_gb=1000, on_job_end=shutil.which("true"))
    load(graft)
    address = f"127.0.0.1:{free_port()}"
    graft.start_worker("worker", "--http", address, "--slots", "2", "--engine-threads", "1", "--device", "cpu")
    prometheus = Prometheus(tmp_path, graft, [address])
    try:
        graft.submit("--max-steps", "1000000", "--eval-every-steps", "20", "--eval-samples", "4")
        graft.wait_for(graft.submit("--learning-rate", "1e38"), "FAILED")
        graft.wait_for(graft.submit("--output-name", "short"))
        missing = {(name, title, query) for name, board in BOARDS.items() for title, query in each_query(board)}

        def found_all():
            # What is a rate of the last seconds needs something in them.
            graft.cli("generate", "--base-model", "tiny", "--max-new-tokens", "4", "The council")
            graft.cli("show", "jobs/none", check=False)
            for name, title, query in list(missing):
                values = [float(series["value"][1]) for series in prometheus.query(query)]
                if any(value == value for value in values):  # A quantile of nothing is no number.
                    missing.remove((name, title, query))
            return not missing

        try:
            wait_until(found_all, "series for each query")
        except AssertionError:
            pytest.fail("no series for\n" + "\n".join(map(str, sorted(missing))), pytrace=False)
    finally:
        prometheus.stop()


def test_boards_are_laid_out_without_overlap_and_say_what_they_are():
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 3
    for name, board in BOARDS.items():
        taken = set()
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]), name
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24 and not cells & taken, (name, panel["title"])
            taken |= cells
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"]))) - {"__rate_interval"}
        assert used == {variable["name"] for variable in board["templating"]["list"]}, name


@needs_prometheus
def test_prometheus_scrapes_the_live_server(loaded, tmp_path):
    loaded.wait_for(loaded.submit())
    prometheus = Prometheus(tmp_path, loaded)
    try:
        [jobs] = wait_until(lambda: prometheus.query('sum(graft_jobs{state="SUCCEEDED"})'), "the finished job in Prometheus")
        assert jobs["value"][1] == "1"
    finally:
        prometheus.stop()
