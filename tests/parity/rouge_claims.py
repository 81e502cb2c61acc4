"""Part 7: scores are rouge_score's to the bit, stems NLTK's, intervals those of the documented lines; and how far ROUGE-1.5.5 is."""

import json
import random
import re
import tempfile
from pathlib import Path

from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer

import rouge_command_claims
from claims import Largest
from programs import ROOT, TextTool
from samples import Strings, batches, made_up_words, real_data, rows_of, words_of

PART = 7
TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
# Mean distance of F to the Perl script's, which gives five digits, by its setting: with the Porter stemmer and WordNet's exceptions,
# with the stemmer alone (NLTK's has extensions), without stemming.
DISTANCES = {"stem": 5e-3, "porter": 2e-4, "nostem": 5e-6}


class Scorers:
    """rouge_score, with and without the stemmer, beside ours."""

    def __init__(self, tool):
        self.tool = tool
        self.reference = {stemmer: RougeScorer(TYPES, use_stemmer=stemmer) for stemmer in (False, True)}

    def ours(self, pairs, stemmer):
        return self.tool.ask("rouge", pairs=pairs, stemmer=stemmer)["scores"]

    def claim(self, pairs, what):
        """How many of the scores (4 types, stemmer on and off; precision, recall and F) differ in any bit."""
        gathered = Largest()
        for batch in batches(pairs, 500):
            for stemmer, scorer in self.reference.items():
                for (targets, prediction), rows in zip(batch, self.ours(batch, stemmer)):
                    scores = scorer.score_multi(targets, prediction)
                    gathered.count_unequal(rows, [[*map(float, scores[kind])] for kind in TYPES])
        return gathered.claim(PART, f"{what}: precision, recall, F of 4 types, stemmer on and off, unequal", 0)


def random_pairs(count):
    rng = random.Random(count)
    strings = Strings(seed=count)
    words = ("the a cat dogs running ran relational conditional hopefulness sat on in 2024 3,000 U.S. don't naïve \u212aelvin "
             "\u0130stanbul STRASSE news dying skies proceed flies happily \n \n").split(" ")

    def text():
        if rng.random() < 0.1:
            return strings.make()
        return " ".join(rng.choices(words, k=rng.choice([0, 1, 3, 10, 25, 25])))

    return [([text() for _ in range(rng.choice([1, 1, 1, 2, 4]))], text()) for _ in range(count)]


def long_pairs(size):
    rng = random.Random(size)
    words = [f"w{i}" for i in range(50)] + ["\n"]
    for separators in (words, words[:-1]):
        yield [" ".join(rng.choices(separators, k=size))], " ".join(rng.choices(separators, k=size))


def lead_3_pairs(data, every):
    for name in ("train", "valid"):
        for row in rows_of(data / f"cnn_dailymail/{name}.jsonl")[::every]:
            yield [row["summary"]], "\n".join(re.split(r"(?<=[.!?]) +", row["document"])[:3])


def claim_of_googles_cases(scorers, data):
    """The values in rouge_score's own tests, which have ten digits."""
    gathered = Largest()
    cases = json.loads((data / "rouge/google_rouge_score_cases.json").read_text())
    for case in cases["simple_cases"]:
        [scores] = scorers.ours([([case["target"]], case["prediction"])], False)
        for kind, (precision, recall, f) in zip(TYPES, scores):
            if kind in case:
                for ours, theirs in zip((recall, precision, f), case[kind]):
                    gathered.add(abs(ours - theirs))
    return gathered.claim(PART, "the cases of rouge_score's own tests", 1e-9)


def claims_of_perl(scorers, data):
    """The distance to the original ROUGE-1.5.5."""
    claims = []
    rows = rows_of(data / "rouge/rouge155_summeval_1600.jsonl")
    pairs = [(["\n".join(row["ref"])], "\n".join(row["hyp"])) for row in rows]
    for setting, tolerance in DISTANCES.items():
        ours = scorers.ours(pairs, stemmer=setting != "nostem")
        for kind, index in (("rouge1", 0), ("rouge2", 1), ("rougel", 3)):
            distances = [abs(scores[index][2] - row[setting][kind][2]) for scores, row in zip(ours, rows)]
            gathered = Largest()
            gathered.add(sum(distances) / len(distances), len(distances))
            claims.append(gathered.claim(PART, f"{TYPES[index]} and ROUGE-1.5.5's {kind} ({setting}) on SummEval: mean distance of F",
                                         tolerance))
    return claims


def claim_of_stems(tool, data, short):
    words = set(made_up_words(5000 if short else 300_000)) | words_of([ROOT / "LICENSE", *(ROOT / "docs").glob("*.md")])
    if data is not None:
        words |= words_of([*data.glob("text/*/*.txt"), *data.glob("*/*.jsonl")][::15 if short else 1])
    words, gathered, stemmer = sorted(words), Largest(), PorterStemmer()
    gathered.count_unequal(tool.ask("stem", words=words)["stems"], [stemmer.stem(word) for word in words])
    return gathered.claim(PART, "stems of the words of the corpora and of made-up ones, and NLTK's, unequal", 0)


def claim_of_lower_casing(scorers):
    """Every code point that lower-cases to a letter or digit that counts, as a token of its own."""
    pairs = [([chr(c)], chr(c).lower()) for c in range(128, 0x110000)
             if not 0xD800 <= c <= 0xDFFF and re.search("[a-z0-9]", chr(c).lower())]
    assert len(pairs) == 2
    return scorers.claim(pairs, "characters beyond ASCII that lower-case into it")


def claim_of_intervals(tool):
    lines = re.search(r"```python\n(.*?)```", (ROOT / "docs/EVALUATION.md").read_text(), re.DOTALL)
    scope, gathered = {}, Largest()
    exec(lines[1], scope)  # pylint: disable=exec-used
    rng = random.Random(3)
    for count in (1, 2, 13, 300):
        values, seed = [rng.gauss(0.3, 0.2) for _ in range(count)], rng.getrandbits(64)
        gathered.count_unequal([tuple(tool.ask("bootstrap", values=values, seed=seed)["interval"])], [scope["bootstrap"](values, seed)])
    return gathered.claim(PART, "bootstrap intervals and those of the documented lines of Python, unequal", 0)


def claims(short):
    data = real_data(short)
    with TextTool() as tool:
        scorers = Scorers(tool)
        measured = [scorers.claim(random_pairs(500 if short else 100_000), "generated pairs, one to four references"),
                    scorers.claim(long_pairs(250 if short else 3000), "long texts"), claim_of_lower_casing(scorers),
                    claim_of_stems(tool, data, short), claim_of_intervals(tool)]
        if data is not None:
            rows = rows_of(data / "rouge/rouge155_summeval_1600.jsonl")[::20 if short else 1]
            measured += [scorers.claim([(["\n".join(row["ref"])], "\n".join(row["hyp"])) for row in rows], "SummEval"),
                         scorers.claim(lead_3_pairs(data, 60 if short else 1), "CNN/DailyMail's highlights and lead-3"),
                         claim_of_googles_cases(scorers, data), *claims_of_perl(scorers, data)]
        with tempfile.TemporaryDirectory() as folder:
            return measured + rouge_command_claims.claims(short, Path(folder))
