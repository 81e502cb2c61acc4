"""Greedy generation of each program in turn, prompts of one length: the prompt's and the new tokens' speed apart."""

import flops
from inputs import CACHE, VERSION
from process import Failed, Processes
from results import Row, median

BATCHES = (1, 8, 16, 32)
PROMPT, NEW = 412, 48
TINY_PROMPT, TINY_NEW = 60, 6


def start(bench, processes, kind, precision, keeps_blocks):
    base = str(bench.inputs.base())
    if kind == "graft":
        program = bench.start_engine(processes)
        program.ask("load", model=base, precision=precision, device=bench.device, threads=bench.threads)
    elif kind == "transformers":
        program = processes.start_peer(kind, "generation", bench.environment(keeps_blocks))
        program.ask("load", base=base, precision=precision, device=bench.device, threads=bench.threads)
    else:
        program = processes.start_peer(kind, "ctranslate", bench.environment(keeps_blocks))
        converted = bench.inputs.scratch / "ctranslate2" if bench.inputs.tiny else CACHE / f"ctranslate2-{VERSION}-{bench.inputs.base().name}"
        CACHE.mkdir(parents=True, exist_ok=True)
        program.ask("load", base=base, converted=str(converted), threads=bench.threads)
    return program


def start_better(bench, processes, kind, precision, prompts, new):
    """With the malloc that it is faster with, of two."""
    tried = {keeps: start(bench, processes, kind, precision, keeps) for keeps in (False, True)}
    seconds = {}
    for keeps, program in tried.items():
        program.ask("generate", prompts=prompts[:1], max_new_tokens=2)
        answer = program.ask("generate", prompts=prompts, max_new_tokens=new)
        seconds[keeps] = answer["prefill_seconds"] + answer["decode_seconds"]
    better = min(seconds, key=seconds.get)
    tried[not better].close()
    bench.note(f"{kind}, {precision}, with {'blocks kept' if better else 'glibc as it comes'}: {seconds[better]:.2f} s rather than {seconds[not better]:.2f}.")
    return tried[better]


def kinds(bench, precision):
    yield "graft"
    yield "transformers"
    if precision == "fp32" and bench.device == "cpu" and bench.has("ctranslate2", "CTranslate2 is left out"):
        yield "CTranslate2"


def measure(bench, programs, precision, batch, prompt, new):
    prompts = bench.inputs.prompts(batch, prompt)
    peaks, prefill, decode, equal = [], {}, {}, {}
    for _ in range(bench.rounds):
        peaks.append(bench.gemm(precision))
        texts = {}
        for name, program in programs.items():
            answer = program.ask("generate", prompts=prompts, max_new_tokens=new)
            if any(len(ids) != new for ids in answer["ids"]):
                raise Failed(f"{name} did not make {new} tokens of each prompt")
            texts[name] = answer["ids"]
            prefill.setdefault(name, []).append(batch * prompt / answer["prefill_seconds"])
            decode.setdefault(name, []).append(batch * (new - 1) / answer["decode_seconds"])
        equal = {name: sum(a == b for a, b in zip(texts["graft"], text)) for name, text in texts.items()}
    peak, shape = median(peaks), bench.inputs.shape
    rows = []
    for what, rates, work in ((f"new tokens/s after {prompt} of prompt", decode, flops.decoding(shape)),
                              ("the prompt's tokens/s", prefill, flops.prefill(shape, prompt))):
        figures = {name: median(values) for name, values in rates.items()}
        rows.append(Row(f"batch {batch}, {precision}: {what}", figures, {name: rate * work / peak for name, rate in figures.items()}))
    bench.say(f"batch {batch}, {precision}: texts equal to graft's, of {batch}: " + ", ".join(f"{name} {count}" for name, count in equal.items()))
    return rows


def run(bench):
    bench.need("transformers")
    prompt, new = (TINY_PROMPT, TINY_NEW) if bench.inputs.tiny else (PROMPT, NEW)
    batches = BATCHES[:2] if bench.inputs.tiny else BATCHES
    rows = []
    for precision in bench.precisions:
        with Processes() as processes:
            programs = {}
            for kind in kinds(bench, precision):
                if kind == "graft" or bench.device != "cpu":
                    programs[kind] = start(bench, processes, kind, precision, keeps_blocks=False)
                else:
                    programs[kind] = start_better(bench, processes, kind, precision, bench.inputs.prompts(min(8, batches[-1]), prompt), new)
            for program in programs.values():  # Warms up.
                program.ask("generate", prompts=bench.inputs.prompts(1, prompt), max_new_tokens=2)
            for batch in batches:
                rows += measure(bench, programs, precision, batch, prompt, new)
                bench.show(rows[-2:])
            memory = {name: program.peak_gb() for name, program in programs.items()} if bench.device == "cpu" else {}
            if memory:
                rows.append(Row(f"{precision}: peak memory; GB", memory))
    return rows
