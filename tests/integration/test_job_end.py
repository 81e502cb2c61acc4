"""What graft-server --on-job-end runs: real processes, and a server that is killed between an end and its program."""

import json
import subprocess

import pytest

from conftest import BUILD, load, samples, wait_until


@pytest.fixture
def program(tmp_path):
    """A program that waits for the file `go` and then adds what it was told to `ran`, a line a run."""
    path = tmp_path / "program"
    path.write_text(f"""#!/bin/sh
echo began >> {tmp_path}/began
while [ ! -e {tmp_path}/go ]; do sleep 0.05; done
echo "about $GRAFT_JOB"
cat >> {tmp_path}/ran
""", encoding="utf-8")
    path.chmod(0o755)
    return path


def lines(path):
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_every_job_that_ended_is_told_though_the_server_was_killed(graft, program, tmp_path):
    graft.start(on_job_end=program)
    load(graft)
    names = [graft.submit("--max-steps", "2"), graft.submit("--max-steps", "100000")]
    graft.wait_for(names[0])
    graft.cli("cancel", names[1])
    graft.wait_for(names[1], "CANCELLED")
    wait_until(lambda: len(lines(tmp_path / "began")) == 2, "both programs run")
    assert samples(graft.http)["graft_job_ends_waiting"] == 2
    graft.kill_server()
    (tmp_path / "program").write_text(f"#!/bin/sh\necho about $GRAFT_JOB\ncat >> {tmp_path}/ran\n", encoding="utf-8")
    graft.start(on_job_end=program)
    wait_until(lambda: samples(graft.http)["graft_job_ends_waiting"] == 0, "both were told")
    told = {job["name"]: job for job in map(json.loads, lines(tmp_path / "ran"))}
    assert {name: job["state"] for name, job in told.items()} == {names[0]: "JOB_STATE_SUCCEEDED", names[1]: "JOB_STATE_CANCELLED"}
    assert told[names[0]]["result"]["adapter"] and told[names[0]]["attempts"] and told[names[0]]["spec"]
    assert f"on-job-end: about {names[0]}" in graft.log.read_text()
    assert samples(graft.http)['graft_job_end_programs_total{result="ok"}'] == 2
    (tmp_path / "go").touch()  # Those that the killed server began.


def test_what_is_no_program_is_refused_at_the_start(graft_directory):
    command = [BUILD / "bin/graft-server", "--data", graft_directory / "data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    refused = subprocess.run([*command, "--on-job-end", graft_directory / "none"], capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert f"--on-job-end: {graft_directory / 'none'} is not there; give a program's path" in refused.stderr
