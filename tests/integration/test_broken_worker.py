"""Workers that can run nothing, beside one that is well: they cost no job."""

import errno
import pathlib
import subprocess

import pytest

from conftest import load, samples, wait_until

JOB = ["--max-steps", "2", "--eval-every-steps", "2"]
# A worker's own small disk, in a name space that only it sees.
SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mkdir "$0" && mount -t tmpfs -o size=1m none "$0" && exec "$@"']


def fill(directory):
    with open(directory / "ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def set_aside(graft, count):
    wait_until(lambda: samples(graft.http).get("graft_workers_set_aside") == count, f"{count} workers set aside")


def attempts_of(graft, names):
    """The workers of all attempts, once every job has succeeded."""
    for name in names:
        graft.wait_for(name)
    return [attempt["worker"] for name in names for attempt in graft.job(name)["attempts"]]


def test_a_worker_without_an_engine_fails_no_job(graft):
    graft.start(workers=0)
    load(graft)
    graft.start_worker("broken", "--engine", "/bin/false", "--device", "cpu")
    wait_until(lambda: samples(graft.http).get("graft_workers") == 1, "the broken worker")
    names = [graft.submit(*JOB) for _ in range(12)]
    set_aside(graft, 1)
    graft.start_worker("well", "--device", "cpu")
    assert len(set(attempts_of(graft, names))) == 2, "the broken one took none"


@pytest.mark.full
@pytest.mark.parametrize("fault", ["no engine", "full disk"])
def test_one_broken_worker_of_three_fails_none_of_fifty_jobs(graft, fault):
    graft.start(workers=0)
    load(graft)
    for name in ("well-1", "well-2"):
        graft.start_worker(name, "--device", "cpu")
    if fault == "no engine":
        graft.start_worker("broken", "--engine", "/bin/false", "--device", "cpu")
    else:
        disk = [*SMALL_DISK, graft.directory / "broken"]
        if subprocess.run([*disk[:-1], graft.directory / "probe", "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("no name spaces of one's own here")
        worker = graft.start_worker("broken", "--device", "cpu", prefix=disk)
    wait_until(lambda: samples(graft.http).get("graft_workers") == 3, "three workers")
    if fault == "full disk":
        fill(pathlib.Path(f"/proc/{worker.pid}/root{graft.directory}/broken"))
    names = [graft.submit(*JOB) for _ in range(50)]
    workers = attempts_of(graft, names)
    print(f"\n{fault}: {len(names)} jobs in {len(workers)} attempts of {len(set(workers))} workers")
    assert len(workers) > len(names), "the broken one took none"
