"""The units as they are, under a real systemd, which boots in namespaces of its own: outside of them it can write nothing."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import ASSETS, BUILD, ROOT, wait_until, write_rows

INIT = pathlib.Path("/lib/systemd/systemd")
# Of all that a Debian would start, these units alone.
DROP_IN = """[Unit]
DefaultDependencies=no
[Service]
StandardOutput=append:/run/{unit}.log
StandardError=append:/run/{unit}.log
Environment=LD_LIBRARY_PATH=/run/libtorch
"""
# A test can wait for it.
WATCHDOG = {"graft-server": "WatchdogSec=3\n", "graft-worker": ""}
# What may be written is in memory: /etc lies beneath an overlay, the rest of the disk is read only.
BOOT = """set -e
scratch=$1 programs=$2 units=$3 libtorch=$4 inputs=$5
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs "$scratch"
mkdir "$scratch/etc" "$scratch/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$scratch/etc,workdir=$scratch/work" overlay /etc
rm -rf /etc/systemd/system && mkdir /etc/systemd/system
cp "$units"/*.service /etc/systemd/system/
for unit in graft-server graft-worker; do
  mkdir "/etc/systemd/system/$unit.service.d" && cp "$inputs/$unit.conf" "/etc/systemd/system/$unit.service.d/"
done
printf '[Unit]\\nDefaultDependencies=no\\n' >/etc/systemd/system/nothing.target
systemd-sysusers "$units/graft.sysusers"
mount --bind "$programs" /usr/local/bin
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock /run/libtorch /run/inputs
mount --bind "$libtorch" /run/libtorch
mount --bind "$inputs" /run/inputs
for folder in /tmp /var/tmp /var/lib /var/log /var/cache; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
chmod 1777 /tmp /var/tmp
mount -o remount,bind,ro /
ip link set lo up
container=graft exec /lib/systemd/systemd --system --unit=nothing.target --log-target=null
"""


class Machine:
    """One that has booted."""

    def __init__(self, folder):
        (folder / "scratch").mkdir()
        inputs = folder / "inputs"
        inputs.mkdir()
        for unit, watchdog in WATCHDOG.items():
            (inputs / f"{unit}.conf").write_text(DROP_IN.format(unit=unit) + watchdog, encoding="utf-8")
        shutil.copytree(ASSETS / "model", inputs / "model")
        write_rows(inputs / "rows.jsonl", "train.jsonl", 64)
        (folder / "boot.sh").write_text(BOOT, encoding="utf-8")
        linked = subprocess.run(["ldd", BUILD / "bin/graft-engine"], capture_output=True, text=True, check=True).stdout
        libtorch = os.path.dirname(re.search(r"libtorch_cpu\.so => (\S+)", linked)[1])
        self.log = open(folder / "boot.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(["unshare", "--pid", "--fork", "--mount", "--net", "--ipc", "--uts", "--cgroup", "--kill-child", "bash",
                                         folder / "boot.sh", folder / "scratch", BUILD / "bin", ROOT / "deploy/systemd", libtorch, inputs],
                                        stdout=self.log, stderr=self.log)
        self.init = None
        wait_until(self.has_booted, "systemd")

    def has_booted(self):
        assert self.process.poll() is None, f"it did not boot: {pathlib.Path(self.log.name).read_text(encoding='utf-8')}"
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="utf-8").split()
        self.init = children[0] if children else None
        return self.init and self.run("systemctl", "show", "--property=Version", check=False).returncode == 0

    def run(self, *command, check=True):
        done = subprocess.run(["nsenter", "--target", self.init, "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", *map(str, command)],
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def logs(self):
        return self.run("sh", "-c", "tail -n 40 /run/graft-*.log", check=False).stdout

    def graft(self, *arguments):
        return self.run("graft", "--server", "127.0.0.1:50051", *arguments).stdout

    def json(self, *arguments):
        return json.loads(self.graft("--json", *arguments))

    def show(self, unit):
        properties = self.run("systemctl", "show", unit).stdout
        return dict(line.split("=", 1) for line in properties.splitlines() if "=" in line)

    def stop(self):
        self.process.kill()  # And with it its child, the init of all others.
        self.process.wait()
        self.log.close()


@pytest.fixture
def machine(graft_directory):
    if os.geteuid() != 0 or not INIT.exists() or shutil.which("nsenter") is None or shutil.which("ip") is None:
        pytest.skip("needs root, systemd, nsenter and ip")
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount", "--net", "--cgroup", "mount", "-t", "proc", "proc", "/proc"], check=False)
    if probe.returncode != 0:
        pytest.skip("this machine allows no namespaces")
    booted = Machine(graft_directory)
    yield booted
    booted.stop()


def test_the_units_run_a_job_survive_a_server_that_hangs_and_stop_in_order(machine):
    machine.run("systemctl", "start", "graft-server", "graft-worker")
    server, worker = machine.show("graft-server"), machine.show("graft-worker")
    assert (server["ActiveState"], server["StatusText"], server["User"]) == ("active", "at 127.0.0.1:50051", "graft")
    assert (worker["ActiveState"], worker["User"]) == ("active", "graft")

    machine.graft("models", "add", "tiny", "/run/inputs/model")
    machine.graft("datasets", "upload", "/run/inputs/rows.jsonl", "--name", "rows")
    given = ["--base-model", "tiny", "--train", "rows", "--method", "lora", "--batch-size", "2", "--threads", "1"]
    machine.graft("submit", *given, "--max-steps", "4", "--output-name", "made", "--watch")
    assert "made" in machine.graft("adapters", "list")

    machine.run("kill", "-STOP", server["MainPID"])
    wait_until(lambda: machine.show("graft-server")["NRestarts"] == "1" and machine.show("graft-server")["ActiveState"] == "active", "the watchdog")
    assert machine.show("graft-server")["MainPID"] != server["MainPID"]
    assert "made" in machine.graft("adapters", "list")
    long = machine.json("submit", *given, "--max-steps", "1000000", "--output-name", "long")["name"]
    wait_until(lambda: int(machine.json("show", long).get("step", 0)) > 0, "its steps")
    assert machine.show("graft-worker")["MainPID"] == worker["MainPID"], "the worker had nothing to do with that"

    machine.run("systemctl", "stop", "graft-worker")
    left = machine.json("show", long)
    assert left["state"] == "JOB_STATE_QUEUED" and int(left["step"]) > 0
    machine.run("systemctl", "stop", "graft-server")
    for unit in ("graft-server", "graft-worker"):
        ended = machine.show(unit)
        assert (ended["ActiveState"], ended["Result"], ended["ExecMainStatus"]) == ("inactive", "success", "0")
    machine.run("systemctl", "start", "graft-server", "graft-worker")
    wait_until(lambda: int(machine.json("show", long)["attempts"][-1].get("resumed_from_step", 0)) >= int(left["step"]), "what the worker saved to go on")
