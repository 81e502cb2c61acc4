"""What trainings and texts of several adapters cost on one base: beside one adapter with as many rows, both in graft."""

from process import Processes
from results import Row, median

TRIALS = 16
ROWS = 24
LORA = {"lora": {"rank": 8}}
# As people would serve them: several LoRAs, prompts, a last layers and a hybrid.
ADAPTERS = [LORA, {"lora": {"rank": 16}}, {"lora": {"rank": 4}}, {"soft_prompt": {"num_virtual_tokens": 20}}, {"soft_prompt": {"num_virtual_tokens": 8}},
            {"lora": {"rank": 8}, "soft_prompt": {"num_virtual_tokens": 20}}, {"lora": {"rank": 2}}, {"last_layers": {"num_layers": 2}}]
PROMPT, NEW = 200, 64
TINY_PROMPT, TINY_NEW = 40, 6


def start(bench, processes, precision):
    engine = bench.start_engine(processes)
    engine.ask("load", model=str(bench.inputs.base()), precision=precision, device=bench.device, threads=bench.threads)
    return engine


def trials(bench, precision):
    """An optimiser step of each of TRIALS LoRA trainings, a row each, beside one step of one training of so many rows."""
    rows = bench.inputs.token_rows(TRIALS * (bench.rounds + 2))
    rates = {}
    with Processes() as processes:
        programs = {"side by side": start(bench, processes, precision), "one": start(bench, processes, precision)}
        programs["side by side"].ask("train", method=LORA, rows=rows, batch_size=1, trials=TRIALS)
        programs["one"].ask("train", method=LORA, rows=rows, batch_size=TRIALS)
        for program in programs.values():
            program.ask("step")
        tokens = sum(len(ids) for ids, _ in rows[:TRIALS])
        for _ in range(bench.rounds):
            for name, program in programs.items():
                rates.setdefault(name, []).append(tokens / program.ask("step")["seconds"])
        memory = {name: program.peak_gb() for name, program in programs.items()} if bench.device == "cpu" else {}
    return Row(f"{TRIALS} LoRA trainings of a row each, one of {TRIALS} rows, {precision}; tokens/s", {name: median(values) for name, values in rates.items()},
               gb=memory)


def adapters(bench, precision):
    """ROWS texts by the adapters in turn, in one batch, beside so many of one LoRA."""
    prompt, new = (TINY_PROMPT, TINY_NEW) if bench.inputs.tiny else (PROMPT, NEW)
    prompts = bench.inputs.prompts(ROWS, prompt)
    rates, equal = {}, 0
    with Processes() as processes:
        engine = start(bench, processes, precision)
        for turn in range(bench.rounds + 1):
            texts = {}
            for name, more in (("side by side", {"methods": ADAPTERS}), ("one", {"methods": [LORA]})):
                answer = engine.ask("generate", prompts=prompts, max_new_tokens=new, **more)
                texts[name] = answer["ids"]
                if turn > 0:  # The first warms up.
                    rates.setdefault(name, []).append(ROWS * (new - 1) / answer["decode_seconds"])
        alone = engine.ask("generate", prompts=prompts, max_new_tokens=new, methods=ADAPTERS, one_by_one=True)["ids"]
        equal = sum(a == b for a, b in zip(texts["side by side"], alone))
    bench.note(f"{precision}: texts equal to those of a batch for each adapter, of {ROWS}: {equal}.")
    return Row(f"{ROWS} texts of {len(ADAPTERS)} adapters, of one, {precision}; new tokens/s", {name: median(values) for name, values in rates.items()})


def run(bench):
    rows = []
    for precision in bench.precisions:
        rows += [trials(bench, precision), adapters(bench, precision)]
        bench.show(rows[-2:])
    return rows
