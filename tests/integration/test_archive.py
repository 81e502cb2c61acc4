"""What earlier builds left behind goes on under this one: tests/archive holds it, make.py there made it."""

import json
import math
import pathlib
import subprocess

import pytest

from conftest import ROOT

ARCHIVES = sorted(path.parent for path in (ROOT / "tests/archive").glob("*/archive.json"))
# Another machine's instruction set sums in another order.
TOLERANCE = 1e-4


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name)
def archived(request, graft):
    """The unpacked directory of a killed server, not started; and what is known of it."""
    subprocess.run(["tar", "-xJf", request.param / "service.tar.xz", "-C", graft.directory], check=True)
    return graft, json.loads((request.param / "archive.json").read_text(encoding="utf-8"))


def assert_same_metrics(found, expected):
    assert found.keys() >= expected.keys()
    for name, value in expected.items():
        if "rouge" not in name:  # Of two short texts: one token more or less is a jump.
            assert math.isclose(found[name], value, rel_tol=TOLERANCE), (name, found[name], value)


def assert_gap_free(events):
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))


def test_there_is_an_archive():
    assert ARCHIVES


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
    graft.start(workers=1)
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


def dataset_of(expected):
    return expected["undisturbed"]["lora"]["resolved_spec"]["fine_tune"]["data"]["validation_sha256"]


def blob_of(data, sha256):
    return pathlib.Path(data / "artifacts/blobs/objects" / sha256[:2] / sha256).read_bytes()
