"""What it is worth that texts of mixed lengths follow each other in a batch, beside batches that are waited for; both in graft."""

import random

from parts.sharing import ADAPTERS, start
from process import Processes
from results import Row, median

TEXTS, SLOTS = 64, 16
LENGTHS, TINY_LENGTHS = (10, 128), (2, 9)
# A question, and an article: the prompts take the same time both ways.
PROMPTS, TINY_PROMPTS = (32, 200), (8, 40)


def mixed_lengths(bench, precision, prompt):
    """TEXTS texts of mixed lengths by the adapters in turn, SLOTS at once: where a text is done the next begins, beside batches of SLOTS."""
    bounds = TINY_LENGTHS if bench.inputs.tiny else LENGTHS
    prompts, chance = bench.inputs.prompts(TEXTS, prompt), random.Random(1)
    lengths = [chance.randint(*bounds) for _ in prompts]
    rates, texts = {}, {}
    with Processes() as processes:
        engine = start(bench, processes, precision)
        for turn in range(bench.rounds + 1):
            for name, static in (("one by one", False), ("static batches", True)):
                answer = engine.ask("serve", prompts=prompts, lengths=lengths, methods=ADAPTERS, slots=SLOTS, static=static)
                texts[name] = answer["ids"]
                if turn > 0:  # The first warms up.
                    rates.setdefault(name, []).append(sum(lengths) / answer["seconds"])
    equal = sum(a == b for a, b in zip(*texts.values()))
    bench.note(f"{precision}: texts of {bounds[0]} to {bounds[1]} tokens after prompts of {prompt} that are equal both ways, of {TEXTS}: {equal}.")
    return Row(f"{TEXTS} texts of {bounds[0]} to {bounds[1]} tokens, {SLOTS} at once, after prompts of {prompt}, which are included, {precision}; new tokens/s",
               {name: median(values) for name, values in rates.items()})


def run(bench):
    rows = []
    for precision in bench.precisions:
        for prompt in TINY_PROMPTS if bench.inputs.tiny else PROMPTS:
            rows.append(mixed_lengths(bench, precision, prompt))
            bench.show(rows[-1:])
    return rows
