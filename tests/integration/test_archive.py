"""What earlier builds left behind goes on under this one: tests/archive holds it, make.py there made it."""

import json
import math
import pathlib
import subprocess

import pytest

from conftest import ROOT, wait_until

ARCHIVES = sorted(path.parent for path in (ROOT / "tests/archive").glob("*/archive.json"))
# Another machine's instruction set sums in another order.
TOLERANCE = 1e-4


PAUSED = [path for path in ARCHIVES if "paused_study" in json.loads((path / "archive.json").read_text(encoding="utf-8"))]


def unpack(path, graft):
    """The directory of a killed server, not started; and what is known of it."""
    subprocess.run(["tar", "-xJf", path / "service.tar.xz", "-C", graft.directory], check=True)
    return graft, json.loads((path / "archive.json").read_text(encoding="utf-8"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name)
def archived(request, graft):
    return unpack(request.param, graft)


def may_move(graft, jobs):
    """The archive's machine had AVX-512; on one without it jobs with a checkpoint of there would wait for one with."""
    for job in jobs:
        graft.cli("edit", job, "--allow-migration", "true")


def assert_same_metrics(found, expected):
    assert found.keys() >= expected.keys()
    for name, value in expected.items():
        if "rouge" not in name:  # Of two short texts: one token more or less is a jump.
            assert math.isclose(found[name], value, rel_tol=TOLERANCE), (name, found[name], value)


def assert_gap_free(events):
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))


def test_there_is_an_archive():
    assert ARCHIVES and PAUSED


def test_a_store_of_an_earlier_build_opens_and_shows_what_it_held(archived):
    graft, expected = archived
    graft.start(workers=0)
    for facts in [*expected["undisturbed"].values(), *expected["others"]]:
        job = graft.job(facts["name"])
        assert {key: job.get(key) for key in facts} == facts
        if job.get("done"):
            watched = graft.cli("--json", "watch", facts["name"], check=False).stdout  # A failed job's watch exits with 1.
            assert_gap_free([json.loads(line) for line in watched.splitlines()])
    for name in expected["undisturbed"]:
        if name == "full":
            assert "made-full" in [model["name"] for model in graft.json("models", "list")]
        else:
            target = graft.directory / f"again-{name}"
            graft.cli("adapters", "download", f"made-{name}", "--to", target)
            for path in (graft.directory / "adapters" / name).rglob("*.safetensors"):
                assert (target / path.relative_to(graft.directory / "adapters" / name)).read_bytes() == path.read_bytes()


def test_jobs_that_an_earlier_build_began_go_on_to_its_numbers(archived):
    graft, expected = archived
    graft.start(workers=0)
    may_move(graft, expected["interrupted"].values())
    graft.start_worker("w0")
    for name, job_name in expected["interrupted"].items():
        job = graft.wait_for(job_name)
        assert int(job["attempts"][-1]["resumed_from_step"]) >= 4, "it began again from the beginning"
        assert_same_metrics(job["result"]["metrics"], expected["undisturbed"][name]["result"]["metrics"])
        events = graft.events(job_name)
        assert_gap_free(events)
    for facts in expected["others"]:
        if facts["state"] == "JOB_STATE_QUEUED":
            graft.wait_for(facts["name"])


def test_adapters_of_an_earlier_build_are_imported_and_score_as_they_did(archived):
    graft, expected = archived
    data = graft.directory / "data"
    data.rename(graft.directory / "old")  # A service that has never seen them.
    graft.start(workers=1)
    graft.cli("models", "add", "micro", graft.directory / "model")
    rows = graft.directory / "few.jsonl"
    rows.write_bytes(blob_of(graft.directory / "old", dataset_of(expected)))
    for name in sorted(path.name for path in (graft.directory / "adapters").iterdir()):
        graft.cli("adapters", "import", graft.directory / "adapters" / name, "--name", name, "--base-model", "micro")
        data = expected["undisturbed"][name]["resolved_spec"]["fine_tune"]["data"]
        job = graft.json("eval", "--base-model", "micro", "--adapter", name, "--data", rows, "--eval-samples", "0", "--precision", "fp32", "--threads", "1",
                         "--max-source-tokens", data["max_source_tokens"], "--max-target-tokens", data["max_target_tokens"])[0]["name"]
        loss = graft.wait_for(job)["result"]["metrics"]["eval/loss"]
        assert math.isclose(loss, expected["undisturbed"][name]["result"]["metrics"]["eval/loss"], rel_tol=TOLERANCE), name


@pytest.mark.parametrize("path", PAUSED, ids=lambda path: path.name)
def test_what_was_paused_under_an_earlier_build_goes_on_to_its_numbers(path, graft):
    graft, expected = unpack(path, graft)
    graft.start(workers=0)
    for job in [*expected["interrupted"].values(), *(facts["name"] for facts in expected["others"] if facts["state"] == "JOB_STATE_QUEUED")]:
        graft.cli("cancel", job)  # Another test's.
    evaluation, study = expected["paused_evaluation"], expected["paused_study"]
    trials = graft.json("study", "show", study["study"])[0]["trials"]
    may_move(graft, [evaluation["job"], *(trial["job"] for trial in trials if trial["state"] in ("TRIAL_STATE_RUNNING", "TRIAL_STATE_WAITING"))])
    graft.start_worker("w0", "--engine-threads", "1")
    graft.cli("resume", evaluation["job"])
    graft.cli("study", "resume", study["study"])
    job = graft.wait_for(evaluation["job"])
    assert int(job["attempts"][-1]["resumed_from_step"]) > 0, "it began again from the beginning"
    assert_same_metrics(job["result"]["metrics"], evaluation["undisturbed"]["result"]["metrics"])
    assert_gap_free(graft.events(evaluation["job"]))
    ended = wait_until(lambda: (lambda one: one if one.get("done") else None)(graft.json("study", "show", study["study"])[0]), "the study's end")
    undisturbed = study["undisturbed"]
    assert ended["best_trial"] == undisturbed["best_trial"]
    for trial, other in zip(ended["trials"], undisturbed["trials"], strict=True):
        assert (trial["number"], trial["parameters"], trial["state"]) == (other["number"], other["parameters"], other["state"])
        for value, expected_value in zip(trial["values"], other["values"], strict=True):
            assert value["step"] == expected_value["step"]
            assert math.isclose(value["value"], expected_value["value"], rel_tol=TOLERANCE)


def dataset_of(expected):
    return expected["undisturbed"]["lora"]["resolved_spec"]["fine_tune"]["data"]["validation_sha256"]


def blob_of(data, sha256):
    return pathlib.Path(data / "artifacts/blobs/objects" / sha256[:2] / sha256).read_bytes()
