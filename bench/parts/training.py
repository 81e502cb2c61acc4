"""An optimiser step of each program in turn, on the same rows in the same order."""

import flops
from process import Failed, Processes
from results import Row, Unavailable, median

BATCH = 4
STEPS_ON_GPU = 10  # A turn; on a CPU it is one.
METHODS = {
    "LoRA r 8": {"lora": {"rank": 8}},
    "soft prompt 20": {"soft_prompt": {"num_virtual_tokens": 20}},
    "last 2 layers": {"last_layers": {"num_layers": 2}},
    "full": {"full": {}},
    "hybrid of LoRA, soft prompt, last layers": {"lora": {"rank": 8}, "soft_prompt": {"num_virtual_tokens": 20}, "last_layers": {"num_layers": 2}},
}
NOTE = "A: transformers + PEFT as people run it (fp32, all logits); B: its best effort (the row's precision, logits of labels only, blocks kept)."


class Turn:
    """The programs of one method: graft and B in each precision, A."""

    def __init__(self, bench, processes, method, rows):
        self.programs = {}
        same = {"method": method, "rows": rows, "batch_size": BATCH}
        for precision in bench.precisions:
            graft = bench.start_engine(processes)
            graft.send("load", model=str(bench.inputs.base()), precision=precision, device=bench.device, threads=bench.threads)
            self.programs["graft", precision] = graft
            self._add_peer(bench, processes, "B", precision, "best", same, keeps_blocks=True)
        self._add_peer(bench, processes, "A", "fp32", "usual", same)
        for (name, _), program in self.programs.items():
            program.receive()
            if name == "graft":
                program.ask("train", **same)

    def _add_peer(self, bench, processes, name, precision, style, same, keeps_blocks=False):
        peer = processes.start_peer(f"{name}, {precision}", "training", bench.environment(keeps_blocks))
        peer.send("load", base=str(bench.inputs.base()), style=style, precision=precision, device=bench.device, threads=bench.threads, **same)
        self.programs[name, precision] = peer

    def steps(self, count):
        """The answers of each to `count` steps in a row."""
        return {key: [program.ask("step") for _ in range(count)] for key, program in self.programs.items()}


def total(answers, field):
    return sum(answer[field] for answer in answers)


def check_same_work(name, method, answers):
    """Before anything has trained, the losses are equal, but for soft prompts, whose beginnings are random."""
    if "soft_prompt" in method:
        return
    losses = {" ".join(key): answer[0]["loss"] for key, answer in answers.items()}
    if max(losses.values()) - min(losses.values()) > 0.02 * max(losses.values()):
        raise Failed(f"{name}: not the same work, the first losses are {losses}")


def measure(bench, name, method):
    """Rows of one method, one for each precision."""
    steps = 1 if bench.device == "cpu" else STEPS_ON_GPU
    rows = bench.inputs.token_rows(BATCH * (steps * (bench.rounds + 1) + 1))  # A first turn warms up; the last step is never begun.
    rates, peaks = {}, {precision: [] for precision in {*bench.precisions, "fp32"}}  # A is fp32 whatever is asked for.
    with Processes() as processes:
        turn = Turn(bench, processes, method, rows)
        check_same_work(name, method, turn.steps(steps))
        for _ in range(bench.rounds):
            for precision in peaks:
                peaks[precision].append(bench.gemm(precision))
            answers = turn.steps(steps)
            tokens = total(answers["A", "fp32"], "tokens")
            for key, answer in answers.items():
                rates.setdefault(key, []).append(tokens / total(answer, "seconds"))
        memory = {key: program.peak_gb() for key, program in turn.programs.items()} if bench.device == "cpu" else {}
    mean = sum(len(ids) for ids, _ in rows) / len(rows)
    labelled = sum(len(ids) - prompt for ids, prompt in rows) / len(rows) / mean
    work = flops.training(bench.inputs.shape, method, mean, labelled)
    result = []
    for precision in bench.precisions:
        keys = {"graft": ("graft", precision), "A": ("A", "fp32"), "B": ("B", precision)}
        figures = {who: median(rates[key]) for who, key in keys.items()}
        peak = {"graft": median(peaks[precision]), "A": median(peaks["fp32"]), "B": median(peaks[precision])}
        result.append(Row(f"{name}, {precision}, {BATCH} × {mean:.0f} tokens; tokens/s", figures,
                          {who: rate * work / peak[who] for who, rate in figures.items()}, {who: memory[key] for who, key in keys.items()} if memory else {}))
    return result


def run(bench):
    bench.need("transformers", "peft")
    methods = {name: method for name, method in METHODS.items() if bench.only in name}
    if not methods:
        raise Unavailable(f"--only {bench.only}: no such method; there are {', '.join(METHODS)}")
    bench.note(NOTE)
    rows = []
    for name, method in methods.items():
        rows += measure(bench, name, method)
        bench.show(rows[-len(bench.precisions):])
    return rows
