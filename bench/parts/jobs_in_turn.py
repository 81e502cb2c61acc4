"""Whole jobs of graft and of the peer, one after the other, each in a process of its own."""

import json
import sys

from process import PEERS, Failed, timed
from results import Row, median


def run_peer(bench, name, precision, job):
    """peers/job.py: transformers, PEFT, Trainer, generate() and rouge_score, as people write it."""
    given = {"base": str(bench.inputs.base()), "source": bench.inputs.source, "target": bench.inputs.target, "precision": precision,
             "device": bench.device, "threads": bench.threads, "out": str(bench.scratch / name), **job}
    log = bench.scratch / f"{name}.log"
    seconds, gb = timed([sys.executable, PEERS / "job.py", json.dumps(given)], bench.environment(), log)
    return seconds, gb, json.loads(log.read_text(encoding="utf-8").strip().splitlines()[-1])


def in_turn(bench, what, graft, job):
    """Rows of seconds; `graft(name, precision)` gives seconds, GB and values."""
    rows = []
    for precision in bench.precisions:
        seconds, memory = {}, {}
        for number in range(bench.rounds):
            values = {}
            for who, call in (("graft", graft), ("transformers + PEFT", lambda name, precision: run_peer(bench, name, precision, job))):
                took, gb, values[who] = call(f"{who.partition(' ')[0]}-{precision}-{number}", precision)
                seconds.setdefault(who, []).append(took)
                memory.setdefault(who, []).append(gb)
            losses = {who: value["eval/loss"] for who, value in values.items()}
            if max(losses.values()) - min(losses.values()) > 0.02 * max(losses.values()):
                raise Failed(f"not the same work: validation losses {losses}")
        bench.say(f"{precision}: validation losses " + ", ".join(f"{who} {loss:.5f}" for who, loss in losses.items()))
        rows.append(Row(f"{what}, {precision}; s", {who: median(values) for who, values in seconds.items()},
                        gb={who: median(values) for who, values in memory.items()}))
        bench.show(rows[-1:])
    return rows
