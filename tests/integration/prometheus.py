"""A real Prometheus with the configuration of deploy/prometheus, for tests of what it sees.

A minute is a second here: all durations of deploy/prometheus (intervals, `for`, ranges, thresholds in seconds) are divided by FACTOR.
"""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

from conftest import ROOT, free_port, wait_until

FACTOR = 60
LOOKBACK_SECONDS = 300  # Prometheus' default: a series that nobody has seen for so long is gone.
MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = re.compile(r"(?<![\w.:])(\d+)(ms|s|m|h|d)(?!\w)")
THRESHOLD = re.compile(r"(\w+_seconds\S* [<>]=? )(\d+)")

needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (tools/setup --tests brings it)")


def is_prose(line):
    return line.strip().startswith(("#", "summary:", "description:"))


def scaled(text):
    """A configuration of Prometheus in which time runs FACTOR times as fast."""
    lines = []
    for line in text.split("\n"):
        if not is_prose(line):
            line = DURATION.sub(lambda found: f"{int(found[1]) * MILLISECONDS[found[2]] // FACTOR}ms", line)
            line = THRESHOLD.sub(lambda found: f"{found[1]}{int(found[2]) / FACTOR:g}", line)
        lines.append(line)
    return "\n".join(lines)


class Prometheus:
    """Watches one server, and the workers that have these addresses for it."""

    def __init__(self, directory, graft, workers=()):
        self.address = f"127.0.0.1:{free_port()}"
        shutil.copytree(ROOT / "deploy/prometheus", directory, dirs_exist_ok=True)
        for name in ("prometheus.yml", "alerts.yml"):
            text = (directory / name).read_text()
            (directory / name).write_text(scaled(text).replace("127.0.0.1:9464", graft.http))
        (directory / "workers.yml").write_text(json.dumps([{"targets": list(workers)}]))
        subprocess.run([shutil.which("promtool"), "check", "config", directory / "prometheus.yml"], check=True, capture_output=True)
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                [shutil.which("prometheus"), f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'series'}",
                 f"--web.listen-address={self.address}", f"--query.lookback-delta={LOOKBACK_SECONDS / FACTOR:g}s"], stdout=log, stderr=log)
        try:
            wait_until(lambda: self.query("up{job='graft-server'} == 1") or self.process.poll() is not None, "Prometheus' first scrape")
            assert self.process.poll() is None, (directory / "log").read_text()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.process.kill()
        self.process.wait()

    def query(self, expression):
        """The series that it has now."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/query?query={urllib.parse.quote(expression)}", timeout=10) as response:
                return json.load(response)["data"]["result"]
        except urllib.error.URLError as error:
            if getattr(error, "code", None) == 400:
                raise ValueError(f"no PromQL: {expression}") from error
            return []  # Not listening, or not ready, yet.
