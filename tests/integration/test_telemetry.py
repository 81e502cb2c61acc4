"""What Prometheus sees."""

import json
import pathlib
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

from conftest import BUILD, ROOT, load, wait_until


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        return response.read().decode()


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


def test_metrics_of_a_worker_are_valid_and_count_its_attempts(graft, promtool, tmp_path):
    graft.start(workers=0)
    load(graft)
    address = f"127.0.0.1:{free_port()}"
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(
            [BUILD / "bin/graft-worker", "--server", f"unix:{graft.directory / 'data/workers.sock'}", "--state", graft.directory / "worker",
             "--http", address], stdout=log, stderr=log) as worker:
        try:
            graft.wait_for(graft.submit())
            # The worker counts after the server has answered.
            text = wait_until(lambda: (lambda text: text if "graft_worker_attempts_total{" in text else None)(scrape(address)), "the attempt")
        finally:
            worker.terminate()
    check_metrics(promtool, text)
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert samples['graft_worker_attempts_total{result="succeeded"}'] == "1", text
    assert float(samples['graft_worker_heartbeats_total{code="OK"}']) > 0, text
    assert samples["graft_engine_crashes_total"] == "0", text


def test_the_configuration_in_deploy_is_valid(promtool):
    config = next(pathlib.Path(ROOT / "deploy/prometheus").glob("prometheus.yml"))
    subprocess.run([promtool, "check", "config", config], check=True, capture_output=True)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_prometheus_scrapes_the_live_server(loaded, tmp_path):
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (tools/setup --tests brings it)")
    shutil.copytree(ROOT / "deploy/prometheus", tmp_path, dirs_exist_ok=True)
    config = tmp_path / "prometheus.yml"
    text = config.read_text()
    assert "127.0.0.1:9464" in text
    config.write_text(text.replace("127.0.0.1:9464", loaded.http).replace("scrape_interval: 15s", "scrape_interval: 1s"))
    address = f"127.0.0.1:{free_port()}"
    loaded.wait_for(loaded.submit())

    def finished_jobs():
        query = urllib.parse.quote('sum(graft_jobs{state="SUCCEEDED"})')
        try:
            with urllib.request.urlopen(f"http://{address}/api/v1/query?query={query}", timeout=10) as response:
                return [sample["value"][1] for sample in json.load(response)["data"]["result"]] == ["1"]
        except urllib.error.URLError:
            return False  # Not listening yet.

    with open(tmp_path / "log", "wb") as log, subprocess.Popen(
            [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'series'}", f"--web.listen-address={address}"],
            stdout=log, stderr=log) as process:
        try:
            wait_until(lambda: finished_jobs() or process.poll() is not None, "the finished job in Prometheus")
            assert process.poll() is None, (tmp_path / "log").read_text()
        finally:
            process.terminate()
