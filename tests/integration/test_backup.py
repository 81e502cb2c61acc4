"""A backup that is made while the server is at work, and what becomes of it: RELIABILITY.md, P26."""

import pathlib
import random
import re
import shutil
import sqlite3
import subprocess
import tempfile
import threading

import pytest

from conftest import BUILD, load, wait_until
from test_rotten_bytes import files_below, flip
from test_survival import LONG, adapter_hash, assert_gap_free, losses, wait_for_checkpoint


def run(*arguments, **options):
    return subprocess.run([BUILD / "bin/graft-server", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240, **options)


def succeed(*arguments, **options):
    result = run(*arguments, **options)
    assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
    return result.stdout


class Load:
    """Submits jobs from several threads, and knows which were acknowledged."""

    def __init__(self, graft, count, threads=3):
        self.graft, self.left, self.names, self.failed = graft, count, [], []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.submit) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join()

    def submit(self):
        while True:
            with self.lock:
                if self.left == 0:
                    return
                self.left -= 1
            try:
                name = self.graft.submit("--max-steps", "2", "--eval-every-steps", "0")
            except AssertionError as error:
                self.failed.append(error)
                return
            with self.lock:
                self.names.append(name)

    def acknowledged(self):
        with self.lock:
            return list(self.names)


def check(data, *flags):
    return succeed("check", "--data", data, *flags)


def assert_backup_under_load_restores(graft, jobs):
    """Many jobs are submitted and a long one runs while the backup is made; its server is killed, the backup becomes its data, and its worker,
    which knows nothing of that, comes back with all that it has done since."""
    data, backup = graft.directory / "data", graft.directory / "backup"
    graft.start(workers=0)
    graft.start_worker("worker", "--device", "cpu")
    load(graft)
    undisturbed = graft.submit(*LONG, "--output-name", "undisturbed")
    graft.wait_for(undisturbed)
    disturbed = graft.submit(*LONG, "--output-name", "disturbed")
    wait_for_checkpoint(graft, disturbed)
    with Load(graft, jobs) as submissions:
        wait_until(lambda: len(submissions.acknowledged()) >= jobs // 4, "some submissions")
        before = submissions.acknowledged()
        succeed("backup", "--data", data, "--to", backup)
    assert not submissions.failed, submissions.failed
    assert graft.state(undisturbed) == "SUCCEEDED"
    # What comes after the backup is lost with the server; the worker has it in its outbox, as far as it was not acknowledged.
    steps = int(graft.job(disturbed).get("step", 0))
    wait_until(lambda: graft.state(disturbed) != "RUNNING" or int(graft.job(disturbed).get("step", 0)) > steps + 5, "progress after the backup")
    graft.kill_server()
    data.rename(graft.directory / "lost")

    succeed("restore", "--from", backup, "--data", data)
    assert "No problem was found; all bytes were read." in check(data, "--read")
    graft.start(workers=0)
    known = {job["name"] for job in graft.json("jobs", "--limit", str(10 * jobs))}
    assert {undisturbed, disturbed, *before} <= known, "an acknowledged job is missing"
    for name in (disturbed, *before):
        graft.wait_for(name)
    events = graft.events(disturbed)
    assert_gap_free(events)
    assert losses(events) == losses(graft.events(undisturbed))
    assert adapter_hash(graft, "disturbed") == adapter_hash(graft, "undisturbed")
    assert "No problem was found; all bytes were read." in check(data, "--read")
    assert (data / "artifacts/adapters/disturbed/adapter_model.safetensors").exists(), "the views are made again"


def test_a_backup_under_load_has_every_acknowledged_job_and_they_go_on_to_the_same_bits(graft):
    assert_backup_under_load_restores(graft, 24)


@pytest.mark.full
def test_a_backup_under_a_thousand_submissions(graft):
    assert_backup_under_load_restores(graft, 1000)


@pytest.fixture
def backed_up(loaded):
    """A server that runs, and a backup of it."""
    loaded.backup = loaded.directory / "backup"
    succeed("backup", "--data", loaded.directory / "data", "--to", loaded.backup)
    return loaded


def refuse(*arguments, code=1):
    result = run(*arguments)
    assert result.returncode == code, f"{arguments}\n{result.stdout}\n{result.stderr}"
    return result.stderr


def test_a_backup_is_checked_whole_before_it_is_a_server(backed_up):
    new = backed_up.directory / "new"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=backed_up.backup, check=True)
    random.seed(7)
    for path in random.sample(files_below(backed_up.backup), 6) + [backed_up.backup / "BACKUP", backed_up.backup / "graft.db"]:
        # Not the server's own file, of which this is a link.
        copy = backed_up.directory / "copy"
        shutil.copytree(backed_up.backup, copy)
        flip(copy / path.relative_to(backed_up.backup), random.randrange(8 * path.stat().st_size))
        assert "the backup" in refuse("restore", "--from", copy, "--data", new), path
        assert not new.exists(), path
        shutil.rmtree(copy)
    assert "no whole backup" in refuse("restore", "--from", backed_up.directory / "model-that-is-not-there", "--data", new)
    assert "is in use by a graft-server" in refuse("restore", "--from", backed_up.backup, "--data", backed_up.directory / "data")
    assert "is not empty" in refuse("restore", "--from", backed_up.backup, "--data", backed_up.backup)
    assert "leave --store and --artifacts away" in refuse("restore", "--from", backed_up.backup, "--data", new, "--store", "sqlite:/x", code=2)
    succeed("restore", "--from", backed_up.backup, "--data", new)


def test_a_backup_goes_to_a_directory_of_its_own(backed_up):
    data = backed_up.directory / "data"
    assert "is not empty" in refuse("backup", "--data", data, "--to", backed_up.backup)
    assert "Not a directory" in refuse("backup", "--data", data, "--to", "/dev/null/backup", code=2)
    assert "is no directory" in refuse("backup", "--data", data, "--to", backed_up.directory / "train.jsonl", code=2)
    # Beside a first one the blobs cost nothing.
    assert "0 B of the blobs" in succeed("backup", "--data", data, "--to", backed_up.directory / "second")
    elsewhere = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        assert "0 B of the blobs" not in succeed("backup", "--data", data, "--to", elsewhere / "first")
        assert "0 B of the blobs" in succeed("backup", "--data", data, "--to", elsewhere / "second"), "the earlier one has them"
        succeed("restore", "--from", elsewhere / "second", "--data", backed_up.directory / "new")
    finally:
        shutil.rmtree(elsewhere)


@pytest.mark.parametrize("server_runs", [True, False])
def test_a_backup_that_is_killed_is_no_backup(loaded, server_runs):
    data, to = loaded.directory / "data", loaded.directory / "backup"
    partial = to.with_name("backup.partial")
    if not server_runs:
        succeed("stop", "--all", "--data", data)
    for _ in range(50):
        backup = subprocess.Popen([BUILD / "bin/graft-server", "backup", "--data", data, "--to", to], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: partial.exists() or to.exists() or backup.poll() is not None, "the backup's beginning")
        loaded.kill_server() if server_runs else backup.kill()
        backup.wait()
        if server_runs:
            loaded.start()
        if not to.exists() and partial.exists():
            break
        shutil.rmtree(to, ignore_errors=True)
    assert partial.exists(), "no kill came in time"
    for half in (to, partial):
        assert "no whole backup" in refuse("restore", "--from", half, "--data", loaded.directory / "new")
    succeed("backup", "--data", data, "--to", to)
    assert not partial.exists()
    succeed("restore", "--from", to, "--data", loaded.directory / "new")


def test_a_running_server_is_checked_and_collected(loaded):
    data = loaded.directory / "data"
    assert "No problem was found; all bytes were read." in check(data, "--read")
    assert "--adopt is for when none runs" in refuse("check", "--adopt", "--data", data)
    loaded.cli("datasets", "delete", "valid")
    look = succeed("gc", "--dry-run", "--data", data)
    assert "would go:  0 blobs" in look and re.search(r"not yet:   1 blob .*the first may go in", look), look
    assert "deleted:   0 blobs" in succeed("gc", "--data", data)
    store = sqlite3.connect(data / "graft.db")
    (name,) = store.execute("SELECT sha256 FROM files WHERE holder = 'train'").fetchone()
    store.close()
    blob = data / "artifacts/blobs/objects" / name[:2] / name
    bits = blob.read_bytes()
    flip(blob, 100)
    found = run("check", "--read", "--data", data)
    assert found.returncode == 1 and f"problem:   data set train: blob {name} is corrupt" in found.stdout, found
    made = run("backup", "--data", data, "--to", loaded.directory / "backup")
    assert made.returncode == 1 and "the backup is made, but for 1 blob" in made.stderr, made
    blob.unlink()
    assert f"data set train: blob {name} is missing" in run("check", "--data", data).stdout
    blob.write_bytes(bits)
    check(data, "--read")
