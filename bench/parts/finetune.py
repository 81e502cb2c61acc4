"""A whole fine-tune job, from the start of the process to its end: LoRA steps, then loss, greedy texts and ROUGE of a validation set."""

import jobs

BATCH = 4


def run(bench):
    bench.need("transformers", "peft", "accelerate", "rouge_score")
    steps, rows = (3, 4) if bench.inputs.tiny else (20, 32)
    train = bench.inputs.articles_file("train", steps * BATCH, skip=rows)
    validation = bench.inputs.articles_file("valid", rows)

    def graft(name, precision):
        return jobs.run(bench, "run", name, jobs.fine_tune(bench, train, validation, steps, precision, BATCH))

    what = f"LoRA, {steps} steps of {BATCH} articles, then {rows} articles with {bench.inputs.target} new tokens each"
    return jobs.in_turn(bench, what, graft, {"validation": str(validation), "train": str(train), "steps": steps, "batch_size": BATCH})
