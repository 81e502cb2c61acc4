"""What ends the programs, what does not, and in which order they end."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess

import pytest

from conftest import BUILD, ROOT, load, wait_until

LONG = ["--max-steps", "150", "--eval-every-steps", "50", "--checkpoint-every-steps", "10"]


@pytest.fixture(autouse=True)
def hang_up_is_not_ignored_from_the_start():
    """Under nohup the programs would inherit it as ignored; a handler of ours is no more than the default to them."""
    before = signal.getsignal(signal.SIGHUP)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


def start_worker(graft, *flags, prefix=()):
    with open(graft.directory / "worker.stderr", "ab") as log:
        return subprocess.Popen([*prefix, BUILD / "bin/graft-worker", "--server", f"unix:{graft.directory / 'data/workers.sock'}",
                                 "--state", graft.directory / "worker", *flags], stdout=log, stderr=log)


def move_away(log):
    wait_until(lambda: log.exists() and log.read_text(), f"lines in {log.name}")
    moved = log.with_name(log.name + ".moved")
    log.rename(moved)
    return moved


def test_hang_up_opens_the_logs_of_server_and_local_worker_anew_and_ends_neither(graft):
    log = graft.directory / "own.log"
    graft.start(workers=1, log_file=log)
    load(graft)
    worker_log = graft.directory / "data/workers/1/worker.log"
    worker = wait_until(lambda: graft.pids("graft-worker"), "a worker")
    for file in (log, worker_log):
        move_away(file)
    graft.process.send_signal(signal.SIGHUP)
    for file in (log, worker_log):
        wait_until(lambda file=file: file.exists() and "opened anew" in file.read_text(), f"a new {file.name}")
    graft.wait_for(graft.submit())
    assert "state from=RUNNING to=SUCCEEDED" in log.read_text() and "leased attempt=1" in worker_log.read_text()
    assert graft.process.poll() is None and graft.pids("graft-worker") == worker


def test_hang_up_without_a_log_file_ends_the_server_in_order(graft):
    graft.start(workers=1)
    load(graft)
    name = graft.submit(*LONG)
    wait_until(lambda: int(graft.job(name).get("step", 0)) > 0, "a first step")
    graft.process.send_signal(signal.SIGHUP)
    assert graft.process.wait(timeout=60) == 0
    assert graft.log.read_text().rstrip().endswith("stopped")
    assert graft.pids("graft-worker"), "as after SIGTERM, it works on"
    graft.start(workers=1)
    graft.wait_for(name)


@pytest.mark.parametrize("with_file", [True, False])
def test_a_worker_takes_hang_up_as_the_server_does(graft, with_file):
    graft.start(workers=0)
    log = graft.directory / "worker.log"
    worker = start_worker(graft, *(["--log-file", log] if with_file else []))
    text = log if with_file else graft.directory / "worker.stderr"
    wait_until(lambda: text.exists() and "connected" in text.read_text(), "the worker")
    if with_file:
        moved = move_away(log)
        worker.send_signal(signal.SIGHUP)
        wait_until(lambda: log.exists() and "opened anew" in log.read_text(), "a new file")
        assert "connected" in moved.read_text()
        worker.terminate()
    else:
        worker.send_signal(signal.SIGHUP)
    assert worker.wait(timeout=60) == 0
    assert "stopping signal=" in text.read_text()


def test_hang_up_that_is_ignored_from_the_start_stays_ignored(graft):
    """As nohup starts programs."""
    graft.start(workers=0)
    worker = start_worker(graft, prefix=["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"])
    text = graft.directory / "worker.stderr"
    wait_until(lambda: "connected" in text.read_text(), "the worker")
    worker.send_signal(signal.SIGHUP)
    load(graft)
    graft.wait_for(graft.submit())
    worker.terminate()
    assert worker.wait(timeout=60) == 0 and "stopping signal=15" in text.read_text()


# ---- The image ------------------------------------------------------------------------------------------------------------

def image():
    """ENTRYPOINT, CMD and HEALTHCHECK of the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text()
    return [json.loads(re.search(pattern, text, re.M).group(1))
            for pattern in (r"^ENTRYPOINT (\[.*\])$", r"^CMD (\[.*\])$", r"^HEALTHCHECK .*CMD (\[.*\])$")]


def programs_of_this_build(words, changes=()):
    words = [str(BUILD / "bin" / word) if word in ("graft", "graft-server") else word for word in words]
    for flag, value in changes:
        assert flag in words, f"the Dockerfile's command has no {flag}"
        words[words.index(flag) + 1] = str(value)
    return words


@pytest.fixture
def container(graft):
    """Starts what the image starts, as process 1 of a PID namespace of its own; its output goes to `log`."""
    entry, command, health = image()
    if shutil.which(entry[0]) is None:
        pytest.skip(f"{entry[0]} is not installed (tools/setup --tests brings it)")
    namespace = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine allows no PID namespaces")
    log = graft.directory / "container.log"
    started = []

    def start():
        graft.ready_file.unlink(missing_ok=True)
        inside = programs_of_this_build([*entry, *command], [("--data", graft.directory / "data"), ("--listen", graft.address or "127.0.0.1:0"),
                                                             ("--http", "127.0.0.1:0")])
        with open(log, "ab") as output:
            process = subprocess.Popen([*namespace, *inside, "--ready-file", graft.ready_file, "--engine-threads", "1"], stdout=output, stderr=output)
        started.append(process)
        wait_until(lambda: graft.ready_file.exists() or process.poll() is not None, "the container's start")
        assert process.poll() is None, log.read_text()
        graft.address = json.loads(graft.ready_file.read_text())["grpc"]
        first = int(subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()[0])
        return process, first

    graft.log = log
    yield graft, start, programs_of_this_build(health)
    for process in started:
        process.kill()
        process.wait()


def test_docker_stop_ends_server_and_worker_in_order_and_the_job_goes_on(container):
    graft, start, health = container
    process, first = start()
    load(graft)
    assert subprocess.run(health, env={**os.environ, "GRAFT_SERVER": graft.address}, check=False).returncode == 0
    name = graft.submit(*LONG)
    wait_until(lambda: int(graft.job(name).get("step", 0)) > 20, "a checkpoint")
    os.kill(first, signal.SIGTERM)  # What docker stop sends to process 1.
    process.wait(timeout=10)  # After which Docker kills.
    log = graft.log.read_text()
    places = [log.index(line) for line in ("I server stopping signal=15", "I worker stopping", "the worker was stopped", "I server stopped")]
    assert places == sorted(places), log
    assert "I worker " in log, "docker logs shows the worker, too"
    assert subprocess.run(health, env={**os.environ, "GRAFT_SERVER": graft.address}, capture_output=True, check=False).returncode != 0
    start()
    job = graft.wait_for(name)
    assert int(job["attempts"][-1]["resumed_from_step"]) >= 10
    assert len(job["attempts"]) == 2


def test_the_image_builds_its_version_from_the_commit():
    text = (ROOT / "Dockerfile").read_text()
    assert shlex.split(re.search(r"RUN cmake (.*?) \\$", text, re.M).group(1))[-1] == "-DGRAFT_COMMIT=$COMMIT"
