"""Texts of several adapters, made beside each other."""

import json
import os

import pytest
import safetensors.numpy

from conftest import load
from test_engine_stays import fine_tune
from test_survival import adapter_hash, losses

# More than an engine keeps in memory. With --full as many as a service may have.
ADAPTERS = int(os.environ.get("GRAFT_ADAPTERS", 200))

PROMPT = "The council met."
LENGTH = ("--base-model", "tiny", "--max-new-tokens", "12")


def test_a_batch_has_the_texts_that_each_adapter_makes_alone(loaded):
    labels = {"lora": "lora", "prompt": "soft_prompt", "last": "last_layers", "hybrid": "lora+soft_prompt"}
    for name, label in labels.items():
        loaded.wait_for(fine_tune(loaded, label, "--output-name", name))
    alone = {name: loaded.cli("generate", "--adapter", name, *LENGTH, PROMPT).stdout for name in labels}
    beside = loaded.cli("generate", "--adapter", ",".join(labels), *LENGTH, PROMPT).stdout
    assert beside == "\n".join(f"==> {name} <==\n{text}" for name, text in alone.items())
    # Each row's messages are whole, whatever comes between them.
    messages = loaded.json("generate", "--adapter", ",".join(labels), *LENGTH, PROMPT)
    for row in range(len(labels)):
        mine = [message["response"] for message in messages if message.get("row", 0) == row]
        assert [response.get("done", False) for response in mine] == [False] * (len(mine) - 1) + [True]
        assert sum(len(response.get("ids", [])) for response in mine) == mine[-1]["new_tokens"]


def test_a_file_of_prompts_has_a_text_for_each_in_its_order(loaded):
    prompts = [f"The council met {count} times." for count in range(70)]  # More than are made at once.
    path = loaded.directory / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt, "id": f"p{i}"}) + "\n" for i, prompt in enumerate(prompts)), encoding="utf-8")
    texts = loaded.json("generate", *LENGTH, "--prompts", path)
    assert [(text["line"], text["id"], text["prompt"]) for text in texts] == [(i + 1, f"p{i}", prompt) for i, prompt in enumerate(prompts)]
    for i in (0, 69):
        assert loaded.cli("generate", *LENGTH, prompts[i]).stdout == texts[i]["text"].rstrip("\n") + "\n"
    path.write_text(json.dumps({"prompt": "one"}) + "\n" + "{}\n", encoding="utf-8")
    refused = loaded.cli("generate", *LENGTH, "--prompts", path, check=False)
    assert refused.returncode == 2 and f"{path}: line 2: " in refused.stderr and not refused.stdout, refused


def test_an_adapter_of_another_base_is_no_part_of_a_batch(loaded):
    loaded.wait_for(fine_tune(loaded, "lora", "--output-name", "a"))
    loaded.cli("adapters", "download", "a", "--to", loaded.directory / "a")
    loaded.cli("adapters", "merge", "a", "--to", loaded.directory / "merged")
    loaded.cli("models", "add", "merged", loaded.directory / "merged")
    loaded.cli("adapters", "import", loaded.directory / "a", "--name", "b", "--base-model", "merged")
    refused = loaded.cli("generate", "--adapter", "a,b", PROMPT, check=False)
    assert refused.returncode == 2
    assert 'adapter "b" is on base model "merged", the first request on "tiny": all of a batch must be on one' in refused.stderr


def test_each_sequence_is_told_with_its_probabilities_and_ends_at_a_stop_string(loaded):
    messages = [message["response"] for message in loaded.json(
        "generate", *LENGTH, "--sample", "--num-return-sequences", "3", "--log-probabilities", PROMPT)]
    assert sum(message.get("done", False) for message in messages) == 3
    assert {message.get("sequence", 0) for message in messages} == {0, 1, 2}
    for message in messages:
        assert len(message.get("log_probabilities", [])) == len(message.get("ids", []))
        assert all(value <= 0 for value in message.get("log_probabilities", []))
    text = "".join(message.get("text", "") for message in loaded.json("generate", *LENGTH, PROMPT))
    stop = text[len(text) // 2]
    cut = loaded.json("generate", *LENGTH, "--stop-strings", stop, PROMPT)
    assert cut[-1]["finish_reason"] == "stop_string"
    short = "".join(message.get("text", "") for message in cut)
    assert stop in short and text.startswith(short)


def copies(graft, count):
    """Imports adapters that differ from one that was trained; their names."""
    graft.wait_for(fine_tune(graft, "lora", "--output-name", "trained"))
    graft.cli("adapters", "download", "trained", "--to", graft.directory / "trained")
    weights = graft.directory / "trained/adapter_model.safetensors"
    tensors = safetensors.numpy.load_file(weights)
    names = [f"a{number}" for number in range(count)]
    for number, name in enumerate(names):
        safetensors.numpy.save_file({key: tensor * (1 + 40 * number / count) for key, tensor in tensors.items()}, weights)
        graft.cli("adapters", "import", graft.directory / "trained", "--name", name, "--base-model", "tiny")
    return names


@pytest.mark.parametrize("count", [26, pytest.param(ADAPTERS, marks=pytest.mark.full)])
def test_more_adapters_than_memory_holds_are_all_served(loaded, count):
    names = copies(loaded, count)
    alone = [loaded.cli("generate", "--adapter", name, *LENGTH, PROMPT).stdout for name in names]
    assert len(set(alone)) > 5, "the adapters do not tell them apart"
    for _ in range(2):  # The second time each was in memory once, and may have left.
        beside = loaded.cli("generate", "--adapter", ",".join(names), *LENGTH, PROMPT).stdout
        texts = [part.split(" <==\n", 1)[1] for part in beside.split("==> ")[1:]]
        different = [name for name, text, wanted in zip(names, texts, alone) if text.rstrip("\n") != wanted.rstrip("\n")]
        assert len(texts) == count and not different, different
    print(f"\n{count} adapters: each text twice what it is alone")


def test_texts_beside_a_job_leave_its_numbers_alone(loaded):
    names = copies(loaded, 3)
    arguments = ("--max-steps", "60", "--eval-every-steps", "30", "--threads", "1")
    undisturbed = loaded.submit(*arguments, "--output-name", "undisturbed")
    loaded.wait_for(undisturbed)
    beside = loaded.submit(*arguments, "--output-name", "beside")
    served = 0
    while loaded.state(beside) in ("QUEUED", "RUNNING"):
        assert loaded.cli("generate", "--adapter", ",".join(names), *LENGTH, PROMPT).stdout.count("==>") == 3
        served += loaded.state(beside) == "RUNNING"
    assert served > 1, "no text was made beside the job"
    assert losses(loaded.events(beside)) == losses(loaded.events(undisturbed))
    assert adapter_hash(loaded, "beside") == adapter_hash(loaded, "undisturbed")


def test_a_worker_that_serves_leaves_jobs_to_others(graft):
    graft.start(workers=0)
    load(graft)
    graft.start_worker("serves", "--device", "cpu", "--serve")
    job = graft.submit("--output-name", "waits")
    assert graft.cli("generate", *LENGTH, PROMPT).stdout.strip()
    assert graft.state(job) == "QUEUED"
    graft.start_worker("runs", "--device", "cpu")
    graft.wait_for(job)
