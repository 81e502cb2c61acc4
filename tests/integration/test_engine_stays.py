"""One engine for many jobs, and texts between their steps."""

import hashlib
import os
import pathlib
import signal

import pytest

from conftest import wait_until

# Every method, hybrids, and evaluations: what each leaves is the same, whatever the engine did before.
JOBS = {
    "lora": ["--method", "lora", "--rank", "4", "--lora-dropout", "0.1"],
    "dora": ["--method", "dora", "--rank", "2"],
    "prefix_tuning": ["--method", "prefix_tuning", "--prefix-tokens", "3"],
    "soft_prompt": ["--method", "soft_prompt", "--num-virtual-tokens", "4"],
    "last_layers": ["--method", "last_layers", "--num-layers", "1"],
    "full": ["--method", "full"],
    "lora+soft_prompt": ["--method", "lora+soft_prompt", "--rank", "2", "--num-virtual-tokens", "3"],
    "lora+soft_prompt+last_layers": ["--method", "lora+soft_prompt+last_layers", "--rank", "2", "--num-virtual-tokens", "3", "--num-layers", "1"],
}
LONG = ("--max-steps", "100000", "--eval-every-steps", "100000")


def fine_tune(graft, label, *flags):
    return graft.submit(*JOBS[label], "--max-steps", "4", "--eval-every-steps", "2", "--eval-samples", "2", "--max-new-tokens", "4",
                        "--precision", "fp32", "--threads", "1", *flags)


def trained(graft, name):
    """A hash of what the job trained, files by name."""
    job = graft.wait_for(name)
    assert len(job["attempts"]) == 1
    result = job["result"]
    folder = graft.directory / "data/artifacts" / ("models" if "model" in result else "adapters") / (result.get("model") or result["adapter"])
    # The folder is a view, made after the commit.
    files = wait_until(lambda: sorted(folder.rglob("*.safetensors")), f"the files of {folder}")
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def memory(pid):
    """Bytes of RAM that are the process's alone: what it maps of files is the page cache's."""
    [line] = [line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


def has_ended(pid):
    """To the last: one that is on its way out has no command line any more, but its socket still."""
    status = pathlib.Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def generate(graft, *flags):
    messages = graft.json("generate", "--base-model", "tiny", "--max-new-tokens", "16", *flags, "The council met.")
    assert messages[-1]["done"]
    return "".join(message.get("text", "") for message in messages)


def in_a_row(graft, count, first_look):
    """`count` jobs in turn on one engine, with texts beside and between; its memory after `first_look` jobs and after all."""
    fresh = {}
    for label in JOBS:
        for pid in graft.pids("graft-engine"):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: has_ended(pid), "the engine's end")
        fresh[label] = trained(graft, fine_tune(graft, label, "--output-name", f"fresh-{label.replace('+', '-')}"))
    [pid] = graft.pids("graft-engine")
    texts, looks = set(), {}
    for number in range(count):
        kinds = [*JOBS, "evaluate"]
        label = kinds[number % len(kinds)]
        if label == "evaluate":
            name = graft.json("eval", "--adapter", "fresh-lora", "--data", "valid", "--max-new-tokens", "4", "--precision", "fp32", "--threads", "1")[0]["name"]
            texts.add(generate(graft))
            graft.wait_for(name)
        else:
            output = f"job-{number}"
            name = fine_tune(graft, label, "--output-name", output)
            texts.add(generate(graft))
            assert trained(graft, name) == fresh[label], f"job {number}, {label}"
            graft.cli("delete", name, "--with-adapter", check=False)
        if number + 1 in (first_look, count):
            looks[number + 1] = memory(pid)
            print(f"after {number + 1} jobs the engine has {looks[number + 1] / 1e6:.1f} MB")
    assert graft.pids("graft-engine") == [pid], "another engine"
    assert len(texts) == 1, texts
    return looks[first_look], looks[count]


def test_jobs_of_all_methods_in_a_row_on_one_engine_leave_what_a_fresh_one_leaves(loaded):
    in_a_row(loaded, 18, 9)


@pytest.mark.full
def test_the_memory_of_an_engine_stays_flat_over_200_jobs(loaded):
    early, late = in_a_row(loaded, 200, 20)
    assert late <= 1.05 * early


def test_a_text_is_made_between_two_steps_of_a_job_and_either_can_be_cancelled(loaded):
    name = loaded.submit(*JOBS["lora"], *LONG)
    wait_until(lambda: int(loaded.job(name).get("step", 0)) > 0, "the first steps")
    texts = {generate(loaded) for _ in range(3)}
    assert len(texts) == 1
    assert loaded.state(name) == "RUNNING" and len(loaded.pids("graft-engine")) == 1
    step = int(loaded.job(name)["step"])
    # A reader who goes away ends his text, not the job.
    reader = loaded.popen("generate", "--base-model", "tiny", "--max-new-tokens", "200", "The council met.")
    reader.stdout.read(1)
    reader.kill()
    reader.wait()
    wait_until(lambda: int(loaded.job(name)["step"]) > step, "the job to go on")
    assert generate(loaded) in texts
    engines = loaded.pids("graft-engine")
    loaded.cli("cancel", name)
    loaded.wait_for(name, "CANCELLED")
    assert len(loaded.job(name)["attempts"]) == 1
    assert loaded.pids("graft-engine") == engines, "it was killed, instead of heeding the cancel"
