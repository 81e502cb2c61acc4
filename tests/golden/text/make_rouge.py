#!/usr/bin/env python3
"""Makes the golden data of the ROUGE, stemmer and bootstrap tests with rouge_score and NLTK.

Writes rouge/scores.json (pairs of texts with their scores), rouge/stems.json (words with their stems) and
rouge/intervals.json (from the Python lines in docs/EVALUATION.md, which are so tested too).

    pip install rouge_score nltk && tests/golden/text/make_rouge.py
"""

import json
import pathlib
import random
import re

from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]

WORDS = ("the a cat dogs running ran relational conditionally hopefulness mat sits on in 2024 3,000 U.S. don't naïve "
         "\u212aelvin \u0130stanbul STRASSE news dying skies proceed flies happily").split()
SUFFIXES = ("s es ies sses ed eed ied ing ating bling izing y ational tional enci anci izer bli alli entli eli ousli ization "
            "ation ator alism iveness fulness ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al "
            "ance ence er ic able ible ant ement ment ent ion sion tion ou ism ate iti ous ive ize e ll tt ss zz").split()
STEMS = "a be tr cry play hop fall fizz fil oper geo archaeo vietnam sens form x1 yy say controll plast motor agr syzyg".split()
IRREGULAR = ("sky skies dying lying tying news innings inning outings outing cannings canning howe proceed exceed succeed "
             "died dies tied spied enjoy enjoyment spy fly try at be it ing ed sing feed bled").split()


def text(rng, most_lines, most_words):
    lines = []
    for _ in range(rng.randint(0, most_lines)):
        lines.append(" ".join(rng.choices(WORDS, k=rng.randint(0, most_words))) + rng.choice(["", ".", " !"]))
    return "\n".join(lines)


def make_scores(rng):
    cases = [(["the cat sat"], ""), ([""], "the cat"), ([""], ""), (["\n\n"], "\n"), (["a\nb c"], "b c\na"), (["..."], "!"),
             (["same words here"], "same words here"), (["w1 w2 w3 w4 w5"], "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5")]
    cases += [([text(rng, 4, 12) for _ in range(rng.choice([1, 1, 1, 3]))], text(rng, 4, 12)) for _ in range(60)]
    # Over 64 and 128 tokens a line: several words of bits.
    cases += [([text(rng, 2, 150)], text(rng, 2, 150)) for _ in range(6)]
    scorers = [RougeScorer(TYPES, use_stemmer=stemmer) for stemmer in (False, True)]
    rows = []
    for targets, prediction in cases:
        row = {"targets": targets, "prediction": prediction}
        for name, scorer in zip(("plain", "stemmed"), scorers):
            scores = scorer.score_multi(targets, prediction)
            row[name] = [[float(x) for x in scores[kind]] for kind in TYPES]
        rows.append(row)
    return rows


def make_stems():
    words = set(IRREGULAR) | set(re.findall("[a-z]+", (ROOT / "LICENSE").read_text().lower()))
    words |= {stem + suffix for stem in STEMS for suffix in SUFFIXES}
    stemmer = PorterStemmer()
    return [[word, stemmer.stem(word)] for word in sorted(words)]


def make_intervals(rng):
    lines = re.search(r"```python\n(.*?)```", (ROOT / "docs/EVALUATION.md").read_text(), re.DOTALL)
    scope = {}
    exec(lines[1], scope)  # pylint: disable=exec-used
    rows = []
    for count, seed in ((1, 0), (2, 1), (7, 42), (100, 2**64 - 1)):
        values = [rng.random() for _ in range(count)]
        rows.append({"values": values, "seed": seed, "interval": scope["bootstrap"](values, seed)})
    return rows


def main():
    rng = random.Random(11)
    for name, rows in (("scores", make_scores(rng)), ("stems", make_stems()), ("intervals", make_intervals(rng))):
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        (HERE / "rouge" / f"{name}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
