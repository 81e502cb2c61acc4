"""ROUGE-1, 2, L and Lsum with stemming, without intervals: the pairs of SummEval."""

from inputs import read_rows, shared_data
from process import Failed, Processes
from results import Row, Unavailable, median


def pairs_of(bench):
    """[[references], prediction] of each pair."""
    if bench.inputs.tiny:
        return [[[row["summary"]], row["document"][:200]] for row in bench.inputs.articles()[:50]]
    path = shared_data() / "rouge/rouge155_summeval_1600.jsonl"
    if not path.exists():
        raise Unavailable(f"{path} is not there (GRAFT_SHARED_DATA)")
    return [[["\n".join(row["ref"])], "\n".join(row["hyp"])] for row in read_rows(path)]


def run(bench):
    bench.need("rouge_score")
    pairs = pairs_of(bench)
    rates, means = {}, {}
    with Processes() as processes:
        graft = processes.start("graft", [bench.program("graft-text-tool")], bench.own_environment())
        peer = processes.start_peer("rouge_score", "rouge", bench.environment())
        for _ in range(bench.rounds):
            for program, fields in ((graft, {"pairs": pairs, "stemmer": True}), (peer, {"pairs": pairs})):
                answer = program.ask("rouge", **fields)
                rates.setdefault(program.name, []).append(len(pairs) / answer["seconds"])
                means[program.name] = sum(score[3][2] for score in answer["scores"]) / len(pairs)
    if abs(means["graft"] - means["rouge_score"]) > 1e-9:
        raise Failed(f"not the same work: mean ROUGE-Lsum {means}")
    return [Row(f"{len(pairs):,} pairs; pairs/s", {name: median(values) for name, values in rates.items()})]
