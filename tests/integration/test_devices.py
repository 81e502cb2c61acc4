"""A GPU is used when there is one, and so are the cores: shown with engines that say what they see, and with fewer cores than there are."""

import os
import pathlib
import signal
import subprocess

from conftest import BUILD, load, wait_until

LONG = ["--max-steps", "60", "--eval-every-steps", "10", "--checkpoint-every-steps", "5"]


def engine_that_sees(graft, gpus):
    """The real engine, which computes on the CPU whatever it is told, and says that it has GPUs."""
    program = graft.directory / "engine"
    devices = ", ".join(['"cpu"', *(f'"cuda:{number} Fake GPU"' for number in range(gpus))])
    program.write_text(f"""#!/bin/sh
if [ "$1" = devices ]; then echo '{{"devices": [{devices}], "cuda": true}}'; exit; fi
echo "$@" >>{graft.directory}/commands
mode=$1; shift 3
exec {BUILD}/bin/graft-engine "$mode" --device cpu "$@"
""")
    program.chmod(0o755)
    return program


def commands(graft):
    path = graft.directory / "commands"
    return path.read_text().splitlines() if path.exists() else []


def workers(graft, count):
    def connected():
        listed = [worker for worker in graft.json("workers") if worker.get("connected")] if graft.cli("--json", "workers").stdout else []
        return listed if len(listed) == count else None
    return wait_until(connected, f"{count} workers")


def usable_cores():
    """As common/base/usable_cores.h counts them, but for control groups, which this machine is taken not to have."""
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else cpu)
    return len(cores)


def test_auto_makes_a_worker_for_each_gpu_and_each_has_its_own(graft):
    graft.start(workers="auto", device=None, engine_threads=None, engine=engine_that_sees(graft, 2))
    found = workers(graft, 2)
    assert sorted(worker["devices"] for worker in found) == [["cuda:0 Fake GPU"], ["cuda:1 Fake GPU"]]
    load(graft)
    names = [graft.submit(*LONG) for _ in range(2)]
    running = wait_until(lambda: (lambda all: all if all == names else None)(
        sorted((job for worker in workers(graft, 2) for job in worker.get("jobs", [])), key=names.index)), "both jobs to run")
    assert running == names
    for name in names:
        graft.wait_for(name)
    assert sorted(command.split("--device ")[1].split()[0] for command in commands(graft)) == ["cuda:0", "cuda:1"]
    table = graft.cli("workers").stdout
    assert "cuda:1 Fake GPU" in table and "THREADS" in table


def test_a_second_worker_without_a_gpu_of_its_own_computes_on_the_cpu(graft):
    graft.start(workers=2, device=None, engine=engine_that_sees(graft, 1))
    assert sorted(worker["devices"] for worker in workers(graft, 2)) == [["cpu"], ["cuda:0 Fake GPU"]]
    logs = "".join((graft.directory / f"data/workers/{number}/worker.log").read_text() for number in (1, 2))
    assert "every GPU has a worker already: this one computes on the CPU" in logs


def test_the_cores_that_are_there_are_used_and_shared(graft):
    graft.start(workers=1, device=None, engine_threads=None)
    assert [worker["engine_threads"] for worker in workers(graft, 1)] == [usable_cores()]
    load(graft)
    job = graft.wait_for(graft.submit())
    assert "threads" not in job["resolved_spec"]["fine_tune"]["training"]
    assert job["attempts"][0]["threads"] == usable_cores()
    graft.stop()
    graft.start(workers=2, device=None, engine_threads=None)
    assert {worker["engine_threads"] for worker in workers(graft, 2)} == {max(1, usable_cores() // 2)}


def test_a_job_goes_on_with_the_threads_that_it_began_with(graft):
    graft.start(workers=0, engine_threads=None)
    load(graft)
    name = graft.submit(*LONG)

    def worker(threads):
        with open(graft.directory / "worker.log", "ab") as log:
            return subprocess.Popen([BUILD / "bin/graft-worker", "--server", f"unix:{graft.directory / 'data/workers.sock'}", "--device", "cpu",
                                     "--state", graft.directory / "worker", "--engine-threads", str(threads)], stdout=log, stderr=log)

    first = worker(2)
    wait_until(lambda: int(graft.job(name).get("step", 0)) >= 12, "a checkpoint")
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = worker(1)
    try:
        attempts = graft.wait_for(name)["attempts"]
    finally:
        second.terminate()
        second.wait()
    assert int(attempts[-1]["resumed_from_step"]) >= 5
    assert [attempt["threads"] for attempt in attempts] == [2] * len(attempts)


def test_a_number_is_written_into_the_job(graft):
    graft.start(workers=0, engine_threads=3)
    load(graft)
    job = graft.job(graft.submit())
    assert job["resolved_spec"]["fine_tune"]["training"]["threads"] == 3
