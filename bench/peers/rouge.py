"""rouge_score, one pair after the other."""

import time

from rouge_score.rouge_scorer import RougeScorer

from line import answer_lines

TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


def rouge(pairs):
    scorer = RougeScorer(TYPES, use_stemmer=True)
    begin = time.perf_counter()
    scores = [scorer.score_multi(references, prediction) for references, prediction in pairs]
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "scores": [[list(score[name]) for name in TYPES] for score in scores]}


answer_lines({"rouge": rouge})
