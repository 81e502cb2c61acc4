"""A server or worker that is killed, or held up, between any two steps of a job's life: the same job, the same bits, nothing left over.

The failpoints (common/base/failpoint.h) are those that such a life passes; each is tried at the middle one of its times."""

import collections
import hashlib
import json
import os
import re
import subprocess
import threading

import pytest

from conftest import ASSETS, BUILD, Graft, wait_until, write_rows
from test_survival import assert_gap_free, losses

# What must be there of what an undisturbed life passes, that none is lost from the programs unnoticed.
FEWEST = 40
CHOSEN = [("graft-server", "store.InsertJob.after_commit", 1), ("graft-server", "rpc.WorkerService.CommitCheckpoint.before_answer", 1),
          ("graft-server", "file.rename.before", 6), ("graft-server", "store.FinishAttempt.before_commit", 1),
          ("graft-worker", "link.FinishAttempt.after_answer", 1)]


class Keeper(threading.Thread):
    """Starts a server and a worker with failpoints, and whichever of them dies anew without."""

    def __init__(self, graft, failpoints):
        super().__init__(daemon=True)
        self.graft, self.deaths, self.over = graft, 0, threading.Event()
        armed = ["env", f"GRAFT_FAILPOINTS={failpoints}"]
        try:
            graft.start(workers=0, prefix=armed)
        except AssertionError:  # It did not come that far.
            self.deaths += 1
            graft.start(workers=0)
        graft.start_worker("w", prefix=armed)
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            if self.graft.process.poll() is not None:
                self.deaths += 1
                self.graft.start(workers=0)
            if self.graft.workers[-1].poll() is not None:
                self.deaths += 1
                self.graft.start_worker("w")

    def end(self):
        self.over.set()
        self.join()


def insist(graft, *arguments, codes=(0,)):
    """Repeats a command until it is answered: the server may die meanwhile."""
    def answered():
        result = graft.cli(*arguments, check=False)
        assert result.returncode != 2, result.stderr
        return result if result.returncode in codes else None
    return wait_until(answered, arguments)


def submit(graft, request):
    flags = ["--base-model", "tiny", "--train", "train", "--validation", "valid", "--method", "lora", "--max-steps", "8", "--batch-size", "4", "--eval-every-steps", "4",
             "--checkpoint-every-steps", "2", "--eval-samples", "2", "--max-new-tokens", "8", "--output-name", request]
    return re.search(r"jobs/\w+", insist(graft, "submit", "--request-id", request, *flags).stdout)[0]


def live(graft):
    """What is to be the same, whatever happened: the job's name aside."""
    insist(graft, "models", "add", "tiny", ASSETS / "model")
    for name, source, count in (("train", "train.jsonl", 24), ("valid", "valid.jsonl", 8)):
        insist(graft, "datasets", "upload", write_rows(graft.directory / f"{name}.jsonl", source, count), "--name", name)
    kept, gone = submit(graft, "kept"), submit(graft, "gone")
    insist(graft, "edit", gone, "--priority", "3")
    insist(graft, "cancel", gone)
    insist(graft, "watch", gone, codes=(0, 1))
    insist(graft, "delete", gone, codes=(0, 3))
    events = [json.loads(line) for line in insist(graft, "--json", "watch", kept).stdout.splitlines()]
    target = graft.directory / "adapter"
    insist(graft, "adapters", "download", "kept", "--to", target)
    assert_gap_free(events)
    assert [json.loads(line)["name"] for line in insist(graft, "--json", "jobs").stdout.splitlines()] == [kept]
    check = subprocess.run([BUILD / "bin/graft-server", "check", "--read", "--data", graft.directory / "data"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    return losses(events), hashlib.sha256((target / "adapter_model.safetensors").read_bytes()).hexdigest()


def live_with(directory, failpoints):
    """What it came to, how many processes died, and what server and worker said."""
    graft = Graft(directory)
    directory.mkdir()
    keeper = Keeper(graft, failpoints)
    try:
        result = live(graft)
    finally:
        keeper.end()
        graft.stop()
    said = {"graft-server": graft.log.read_text(), "graft-worker": (directory / "w.log").read_text()}
    return result, keeper.deaths, said


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a life comes to, and how often each program passes each failpoint."""
    directory = tmp_path_factory.mktemp("f", numbered=True) / "g"
    result, deaths, said = live_with(directory, "graft-server/*=name,graft-worker/*=name")
    assert deaths == 0
    names = {program: collections.Counter(re.findall(r"^failpoint (\S+)$", text, re.M)) for program, text in said.items()}
    return result, names


@pytest.mark.parametrize("program, name, time", CHOSEN)
def test_a_kill_between_two_steps_costs_nothing(graft_directory, undisturbed, program, name, time):
    assert undisturbed[1][program][name] >= time, f"a life passes {name} no more"
    result, deaths, _ = live_with(graft_directory / "g", f"{program}/{name}=kill@{time}")
    assert deaths == 1
    assert result == undisturbed[0]


@pytest.mark.full
def test_a_kill_or_a_delay_at_every_failpoint_costs_nothing(graft_directory, undisturbed):
    expected, names = undisturbed
    wrong, kills = [], 0
    entries = [f"{program}/{name}={action}@{(times + 1) // 2}" for program, counted in names.items() for name, times in sorted(counted.items())
               for action in ("kill", "delay")]
    assert len(entries) >= 2 * FEWEST
    for number, entry in enumerate(entries):
        try:
            result, deaths, _ = live_with(graft_directory / str(number), entry)
            kills += deaths
            assert result == expected
        except AssertionError as error:
            wrong.append(f"{entry}: {error}")
    print(f"\n{len(entries) // 2} failpoints, {len(entries)} lives, {kills} kills, {len(wrong)} of them wrong")
    assert not wrong, "\n".join(wrong)
    assert kills >= FEWEST


def test_a_server_refuses_failpoints_that_are_none(graft_directory):
    result = subprocess.run([BUILD / "bin/graft-server", "--data", graft_directory / "data"], capture_output=True, text=True, check=False,
                            env={**os.environ, "GRAFT_FAILPOINTS": "file.rename=die"}, timeout=60)
    assert result.returncode == 2
    assert '"file.rename=die" is not [PROGRAM/]NAME=kill|delay|name[@N]' in result.stderr
