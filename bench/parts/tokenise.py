"""GPT-2's BPE of one text, on one thread."""

from inputs import ASSETS, shared_data
from process import Failed, Processes
from results import Row, Unavailable, median

MEGABYTES = 2


def text_of(bench):
    """Whole articles, one after the other."""
    limit = 20_000 if bench.inputs.tiny else MEGABYTES * 1_000_000
    return "\n".join(row["document"] for row in bench.inputs.articles())[:limit]


def run(bench):
    folder = shared_data() / "gpt2_tokenizer" if bench.inputs.real else ASSETS / "model"
    if not (folder / "vocab.json").exists():
        raise Unavailable(f"{folder}/vocab.json is not there (GRAFT_SHARED_DATA)")
    bench.need("tokenizers")
    text = text_of(bench)
    file = bench.scratch / "text.txt"
    file.write_text(text, encoding="utf-8")
    names = ["tokenizers", *(["tiktoken"] if bench.has("tiktoken", "tiktoken is left out") else [])]
    rates, tokens = {}, {}
    with Processes() as processes:
        graft = processes.start("graft", [bench.program("graft-text-tool")], bench.own_environment())
        graft.ask("load", folder=str(folder))
        programs = [graft, *(processes.start_peer(name, "tokenise", bench.environment()) for name in names)]
        for peer in programs[1:]:
            peer.ask("load", folder=str(folder), library=peer.name)
        for _ in range(bench.rounds):
            for program in programs:
                answer = program.ask("bench", file=str(file), rounds=1)
                rates.setdefault(program.name, []).append(answer["mb_per_second"])
                tokens[program.name] = answer["tokens"]
    if len(set(tokens.values())) != 1:
        raise Failed(f"not the same work: tokens {tokens}")
    size = len(text.encode()) / 1e6
    return [Row(f"{size:.2g} MB of articles ({tokens['graft']:,} tokens), one thread; MB/s", {name: median(values) for name, values in rates.items()})]
