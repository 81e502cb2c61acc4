"""deploy/compose.yml, as far as it can be checked without a Docker daemon."""

import shutil
import subprocess

import pytest
import yaml

from conftest import ROOT

DEPLOY = ROOT / "deploy"


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed (tools/setup --tests brings it)")
def test_docker_compose_takes_the_file():
    subprocess.run(["docker-compose", "-f", DEPLOY / "compose.yml", "config", "--quiet"], check=True, capture_output=True, text=True)


def test_everything_is_on_loopback_and_what_is_mounted_is_there():
    services = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    mounted = [volume.split(":")[:2] for service in services.values() for volume in service["volumes"] if volume.startswith(".")]
    assert [source for source, _ in mounted if not (DEPLOY / source).is_dir()] == []
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/graft.yml").read_text())["providers"][0]
    assert ["./grafana/dashboards", provider["options"]["path"]] in mounted
