"""Jobs of every shape, through server and worker: what is validated on, what trains, what the data is."""

import itertools

import pytest

AXES = {
    "validation": ("none", "fraction", "set"),
    "method": ("lora", "soft_prompt", "last_layers", "full", "hybrid"),
    "data": ("pairs", "plain"),
    "format": ("jsonl", "csv"),
}
METHODS = {
    "lora": ["--method", "lora", "--rank", "2"],
    "soft_prompt": ["--method", "soft_prompt", "--num-virtual-tokens", "3"],
    "last_layers": ["--method", "last_layers", "--num-layers", "1"],
    "full": ["--method", "full"],
    "hybrid": ["--method", "lora+soft_prompt+last_layers", "--rank", "2", "--num-virtual-tokens", "3", "--num-layers", "1"],
}
EVERY = list(itertools.product(*AXES.values()))


def pairs_of(combination):
    return set(itertools.combinations(enumerate(combination), 2))


def pairwise():
    """Combinations in which every two values of different axes meet; the same ones each time."""
    left, chosen = set().union(*map(pairs_of, EVERY)), []
    while left:
        best = max(EVERY, key=lambda combination: len(pairs_of(combination) & left))
        left -= pairs_of(best)
        chosen.append(best)
    return chosen


def test_the_choice_meets_every_pair_with_a_few_jobs():
    assert set().union(*map(pairs_of, pairwise())) == set().union(*map(pairs_of, EVERY))
    assert len(pairwise()) <= 20


def flags_of(graft, combination):
    validation, method, data, form = combination
    flags = ["--base-model", "micro", "--train", graft.directory / f"train.{form}", "--max-steps", "2", "--batch-size", "4", *METHODS[method]]
    if validation == "fraction":
        flags += ["--validation-fraction", "0.25"]
    elif validation == "set":
        flags += ["--validation", graft.directory / f"valid.{form}"]
    if data == "plain":
        flags += ["--text-field", "document"]
    elif validation != "none":
        flags += ["--eval-samples", "1", "--max-new-tokens", "4"]
    return flags


def check(graft, combination, name):
    validation, method, data, _ = combination
    job = graft.wait_for(name)
    label = "-".join(combination)
    assert len(job["attempts"]) == 1, label
    metrics = job["result"]["metrics"] if validation != "none" else job["last_metrics"]
    assert ("eval/loss" in metrics) == (validation != "none"), label
    assert ("eval/rougeLsum" in metrics) == (validation != "none" and data == "pairs"), label
    assert float(job["last_metrics"]["train/loss"]) > 0, label
    kind = "model" if method == "full" else "adapter"
    assert job["result"][kind] == f"out-{label}", label
    held_out = job["resolved_spec"]["fine_tune"]["data"].get("validation_fraction")
    assert held_out == (0.25 if validation == "fraction" else None), label


def run_all(graft, combinations):
    names = {}
    for combination in combinations:
        out = f"out-{'-'.join(combination)}"
        names[combination] = graft.json("submit", *flags_of(graft, combination), "--output-name", out, "--eval-every-steps", "1")[0]["name"]
    for combination, name in names.items():
        check(graft, combination, name)


def test_jobs_of_pairwise_chosen_shapes_succeed(micro):
    run_all(micro, pairwise())


@pytest.mark.full
def test_jobs_of_every_shape_succeed(micro):
    chosen = set(pairwise())
    run_all(micro, [combination for combination in EVERY if combination not in chosen])
