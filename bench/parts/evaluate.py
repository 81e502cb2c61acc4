"""A whole evaluate job, from the start of the process to its end: loss, greedy texts and ROUGE of full-length articles."""

import jobs


def run(bench):
    bench.need("transformers", "rouge_score")
    rows = 4 if bench.inputs.tiny else 32
    validation = bench.inputs.articles_file("valid", rows)
    what = f"{rows} articles, {bench.inputs.target} new tokens each"
    return jobs.in_turn(bench, what, lambda name, precision: jobs.run(bench, "evaluate", name, jobs.evaluation(bench, validation, precision)),
                        {"validation": str(validation)})
