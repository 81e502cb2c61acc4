"""`graft rouge` beside rouge_score and the documented generator of the intervals: what anybody can check part 7 with."""

import json
import random
import subprocess

from rouge_score.rouge_scorer import RougeScorer

from claims import Largest
from programs import BIN, ROOT, shared_data

TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
PARTS = ["precision", "recall", "f"]


def documented_bootstrap():
    """The lines of Python that docs/EVALUATION.md gives."""
    text = (ROOT / "docs/EVALUATION.md").read_text()
    names = {}
    exec(text.split("```python\n")[1].split("```")[0], names)  # noqa: S102 - our own documentation
    return names["bootstrap"]


def generated_rows(count, seed):
    """(prediction, references): a few words in some lines, some empty, some not English."""
    chance = random.Random(seed)
    words = ["run", "running", "runs", "the", "The", "generously", "skies", "dying", "3.5", "naïve", "\u212aelvin", "İ", "日本", "—", "a-b"]
    def text():
        return "\n".join(" ".join(chance.choices(words, k=chance.randrange(9))) for _ in range(chance.randrange(5)))
    return [(text(), [text() for _ in range(chance.randrange(1, 4))]) for _ in range(count)]


def summeval_rows():
    path = shared_data() / "rouge/rouge155_summeval_1600.jsonl"
    if not path.exists():
        return []
    with open(path, encoding="utf-8") as file:
        return [("\n".join(row["hyp"]), ["\n".join(row["ref"])]) for row in map(json.loads, file)]


def run_graft_rouge(rows, folder, *flags):
    """Each row's scores, and the aggregate."""
    with open(folder / "predictions.jsonl", "w") as file:
        file.writelines(json.dumps({"prediction": prediction}) + "\n" for prediction, _ in rows)
    with open(folder / "references.jsonl", "w") as file:
        file.writelines(json.dumps({"references": references}) + "\n" for _, references in rows)
    done = subprocess.run([BIN / "graft", "--json", "rouge", folder / "predictions.jsonl", folder / "references.jsonl", *flags],
                          capture_output=True, text=True, check=True)
    *scores, last = map(json.loads, done.stdout.splitlines())
    return scores, last["aggregate"]


def reference_scores(rows, use_stemmer):
    """Of each row {type: (precision, recall, F)}."""
    scorer = RougeScorer(TYPES, use_stemmer=use_stemmer)
    scored = (scorer.score_multi(references, prediction) for prediction, references in rows)
    return [{kind: (score.precision, score.recall, score.fmeasure) for kind, score in row.items()} for row in scored]


def score_claim(rows, folder):
    unequal = Largest()
    for flags in [], ["--no-stemmer"]:
        ours, _ = run_graft_rouge(rows, folder, *flags)
        theirs = reference_scores(rows, use_stemmer=not flags)
        unequal.count_unequal([{kind: tuple(row[kind][part] for part in PARTS) for kind in TYPES} for row in ours], theirs)
    return unequal.claim(7, "graft rouge: rows whose P, R, F of any type are not rouge_score's bits, with several references too", 0)


def interval_claim(rows, folder):
    unequal = Largest()
    bootstrap = documented_bootstrap()
    _, ours = run_graft_rouge(rows, folder, "--seed", "7")
    theirs = reference_scores(rows, use_stemmer=True)
    for kind in TYPES:
        for place, part in enumerate(PARTS):
            found = ours[kind][part]
            unequal.count_unequal([(found["mean"], found["low"], found["high"])],
                                  [bootstrap([row[kind][place] for row in theirs], 7)])
    return unequal.claim(7, "graft rouge: means and 95 % intervals that are not those of the documented generator", 0)


def claims(short, folder):
    """Files are made below `folder`."""
    rows = summeval_rows()[: 200 if short else None] + generated_rows(300 if short else 20_000, seed=7)
    return [score_claim(rows, folder), interval_claim(rows[-100:] if short else rows[:2000], folder)]
