"""Texts of several adapters, made beside each other."""

from test_engine_stays import fine_tune

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


def test_an_adapter_of_another_base_is_no_part_of_a_batch(loaded):
    loaded.wait_for(fine_tune(loaded, "lora", "--output-name", "a"))
    loaded.cli("adapters", "download", "a", "--to", loaded.directory / "a")
    loaded.cli("adapters", "merge", "a", "--to", loaded.directory / "merged")
    loaded.cli("models", "add", "merged", loaded.directory / "merged")
    loaded.cli("adapters", "import", loaded.directory / "a", "--name", "b", "--base-model", "merged")
    refused = loaded.cli("generate", "--adapter", "a,b", PROMPT, check=False)
    assert refused.returncode == 2
    assert 'adapter "b" is on base model "merged", the first request on "tiny": all of a batch must be on one' in refused.stderr
