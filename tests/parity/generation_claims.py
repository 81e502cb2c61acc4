"""Part 6: tokens of greedy decoding and beam search are transformers' own, draws follow its probabilities, and rows do not see one another.

Greedy and beam tokens are compared up to the first difference. One is excused only where the reference itself hardly prefers its own: by
less than GAP, between the scores of the two tokens (greedy) or of the two whole texts (beam search, where no single comparison
can be blamed: GAP is then between scores that are sums over the text, divided by its length to the power of the length penalty), after the
rules.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

import torch
from transformers import (GPT2LMHeadModel, GPT2TokenizerFast, LogitsProcessorList, NoRepeatNGramLogitsProcessor,
                          RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)

from claims import Claim, Largest
from programs import ROOT, TrainTool, evaluate
from reference import encode_row, make_base, randomise, reference_model

PART = 6
GAP, SHARE = 1e-3, 0.02
PROBABILITY = 1e-6
CERTAINTY = 1e-3  # A chi-square test below it fails.
ASSETS = ROOT / "tools/demo_assets"
MAX_NEW = 20
RULES = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
SEARCHES = {
    "greedy": {},
    "greedy, repetition penalty 1.3": {"repetition_penalty": 1.3},
    "greedy, no 3-gram twice": {"no_repeat_ngram_size": 3},
    "greedy, both rules": RULES,
    "beam 4": {"num_beams": 4},
    "beam 4, length penalty 0": {"num_beams": 4, "length_penalty": 0.0},
    "beam 4, length penalty 2, early stopping": {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True},
    "beam 4, length penalty -1, early stopping": {"num_beams": 4, "length_penalty": -1.0, "early_stopping": True},
    "beam 4, early stopping never": {"num_beams": 4, "early_stopping": "never"},
    "beam 3, length penalty 0.6, early stopping, both rules": {"num_beams": 3, "length_penalty": 0.6, "early_stopping": True, **RULES},
}
SHORT_SEARCHES = ("greedy, both rules", "beam 4", "beam 3, length penalty 0.6, early stopping, both rules")
DRAWS = {
    "temperature 0.7": {"temperature": 0.7},
    "top-k 20": {"top_k": 20},
    "top-p 0.9": {"top_p": 0.9},
    "both rules": RULES,
    "temperature 1.5, top-k 50, top-p 0.8, both rules": {"temperature": 1.5, "top_k": 50, "top_p": 0.8, **RULES},
}


class Case:
    """A model, perhaps with an adapter, on both sides, and prompts for it."""

    def __init__(self, what, model, prompts, end, folder, adapter=None):
        self.what, self.model, self.prompts, self.end = what, model.eval(), prompts, end
        self._folder, self.adapter = folder, "" if adapter is None else str(adapter)

    def load(self, tool):
        tool.ask("load", model=str(self._folder), precision="fp32")

    def ours(self, tool, generation, batch_size=16, prompts=None, max_new_tokens=MAX_NEW):
        """New tokens of each prompt; <|endoftext|> is the last where it came."""
        answer = tool.ask("generate", prompts=prompts or self.prompts, generation=generation, max_new_tokens=max_new_tokens,
                          batch_size=batch_size, end_of_text=self.end, adapter=self.adapter)
        return [ids + [self.end] * ended for ids, ended in zip(answer["ids"], answer["ended"])]

    @torch.no_grad()
    def theirs(self, generation):
        """Likewise; only prompts of equal length go together, since padding would be repeated tokens to the rules."""
        result = [None] * len(self.prompts)
        by_length = {}
        for index, prompt in enumerate(self.prompts):
            by_length.setdefault(len(prompt), []).append(index)
        for length, indices in by_length.items():
            ids = torch.tensor([self.prompts[index] for index in indices])
            out = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_NEW, do_sample=False,
                                      eos_token_id=self.end, pad_token_id=self.end, **generation)
            for index, row in zip(indices, out[:, length:].tolist()):
                result[index] = row[:row.index(self.end) + 1] if self.end in row else row
        return result

    @torch.no_grad()
    def logits(self, ids):
        """Of what follows each place of `ids`."""
        ids = torch.tensor([ids])
        return self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -ids.shape[1]:].float()


def processors(generation):
    """transformers' own, in its order."""
    made = [(RepetitionPenaltyLogitsProcessor, "repetition_penalty"), (NoRepeatNGramLogitsProcessor, "no_repeat_ngram_size"),
            (TemperatureLogitsWarper, "temperature"), (TopKLogitsWarper, "top_k"), (TopPLogitsWarper, "top_p")]
    return LogitsProcessorList([make(generation[name]) for make, name in made if name in generation])


def text_score(case, prompt, new, generation):
    """A finished beam's score by the reference's logits."""
    log_probs = case.logits(prompt + new).log_softmax(-1)
    total = 0.0
    for place, token in enumerate(new, len(prompt)):
        total += processors(generation)(torch.tensor([prompt + new])[:, :place], log_probs[place - 1:place].clone())[0, token].item()
    return total / len(new) ** generation.get("length_penalty", 1.0)


def preference(case, prompt, ours, theirs, generation):
    """By how much the reference's scores prefer its own text."""
    if "num_beams" in generation:
        return text_score(case, prompt, theirs, generation) - text_score(case, prompt, ours, generation)
    place = next(place for place, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1])
    ids = prompt + theirs[:place]
    scores = processors(generation)(torch.tensor([ids]), case.logits(ids)[-1:].clone())[0]
    return (scores[theirs[place]] - scores[ours[place]]).item()


def assert_worth_comparing(case, texts):
    """Not one text for all prompts, not one length, and some but not all come to their end."""
    assert len({tuple(text) for text in texts}) > len(texts) / 2, case.what
    assert len({len(text) for text in texts}) > 2, case.what
    ended = sum(text[-1] == case.end for text in texts) / len(texts)
    assert 0.05 < ended, f"{case.what}: {ended}"


def claims_of_searches(tool, cases, short):
    names = SHORT_SEARCHES if short else SEARCHES
    measured = []
    for name in names:
        generation, unexcused, share = SEARCHES[name], Largest(), Largest()
        for case in cases:
            case.load(tool)
            ours, theirs = case.ours(tool, generation), case.theirs(generation)
            if name.startswith("beam 4"):
                assert_worth_comparing(case, theirs)
            different = [row for row in zip(case.prompts, ours, theirs) if row[1] != row[2]]
            gaps = [preference(case, *row, generation) for row in different]
            unexcused.add(unexcused.value + sum(not abs(gap) < GAP for gap in gaps), len(ours))
            share.add(len(different) / len(ours), len(ours))
        measured += [unexcused.claim(PART, f"{name}: prompts with other tokens where the scores are not closer than 1e-3", 0),
                     share.claim(PART, f"{name}: share of prompts with other tokens, of {len(cases)} models the largest", SHARE)]
    return measured


@torch.no_grad()
def claim_of_probabilities(tool, case, count):
    """At each of some sampled steps, from the reference's own logits: what it draws from, as its generate reports it."""
    largest = Largest()
    for seed, generation in enumerate(DRAWS.values()):
        torch.manual_seed(seed)
        for prompt in case.prompts[:count]:
            ids = torch.tensor([prompt])
            out = case.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=True,
                                      eos_token_id=case.end, pad_token_id=case.end, output_scores=True, output_logits=True,
                                      return_dict_in_generate=True, **{"top_k": 0, **generation})
            for step, (logits, scores) in enumerate(zip(out.logits, out.scores)):
                sofar = out.sequences[0, :len(prompt) + step].tolist()
                answer = tool.ask("probabilities", logits=logits[0].tolist(), ids=sofar, generation=generation)
                largest.add((torch.tensor(answer["probabilities"], dtype=torch.float64) - scores[0].double().softmax(-1)).abs().max())
    return largest.claim(PART, f"sampling, {len(DRAWS)} settings: probability of a token", PROBABILITY)


def expected_pairs(case, prompt, generation, draws):
    """Expected number of each pair of first tokens among `draws`; those that hardly come up are left out."""
    def after(ids):
        scores = processors(generation)(torch.tensor([ids]), case.logits(ids)[-1:].clone())[0]
        return scores.double().softmax(-1).tolist()

    expected = {}
    for first, probability in enumerate(after(prompt)):
        if probability * draws < 5:
            continue
        if first == case.end:
            expected[(first,)] = probability * draws
            continue
        for second, next_probability in enumerate(after(prompt + [first])):
            if probability * next_probability * draws >= 5:
                expected[(first, second)] = probability * next_probability * draws
    return expected


def chi_square_probability(observed, expected, draws):
    """How probable so large a distance is; what is not in `expected` is one more cell."""
    rest = draws - sum(expected.values())
    distance = sum((observed[pair] - count) ** 2 / count for pair, count in expected.items())
    others = draws - sum(observed[pair] for pair in expected)
    if rest < 1e-6 * draws:  # Nothing else can come up.
        return 0.0 if others else float(torch.special.gammaincc(torch.tensor((len(expected) - 1) / 2), torch.tensor(distance / 2)))
    distance += (others - rest) ** 2 / rest
    return float(torch.special.gammaincc(torch.tensor(len(expected) / 2), torch.tensor(distance / 2)))


def claim_of_draws(tool, case, count, draws):
    """On the prompts that leave most open."""
    def entropy(prompt):
        return torch.distributions.Categorical(logits=case.logits(prompt)[-1]).entropy().item()

    prompts = sorted((prompt for prompt in case.prompts if len(prompt) < 64), key=entropy, reverse=True)[:count]
    improbable = Largest()
    for generation in DRAWS.values():
        for prompt in prompts:
            expected = expected_pairs(case, prompt, generation, draws)
            assert len(expected) > 3, f"{generation}: {expected}"
            texts = case.ours(tool, {"do_sample": True, "seed": 3, **generation}, 250, [prompt] * draws, 2)
            found = chi_square_probability(Counter(map(tuple, texts)), expected, draws)
            improbable.add(improbable.value + (found < CERTAINTY))
    return improbable.claim(PART, f"sampling, {len(DRAWS)} settings: chi-square tests of the first two tokens of {draws:,} draws with "
                                  f"p < {CERTAINTY}", 0)


def claim_of_batches(tool, cases, searches):
    """Together, in another grouping, and alone."""
    gathered = Largest()
    for case in cases:
        case.load(tool)
        for generation in [*searches, *({"do_sample": True, **draw} for draw in DRAWS.values())]:
            alone = case.ours(tool, generation, 1, case.prompts[:40])
            for size in (7, 16):
                gathered.count_unequal(case.ours(tool, generation, size, case.prompts[:40]), alone)
    return gathered.claim(PART, "in batches of 7 and 16 and alone: tokens of a prompt, greedy, beam and sampled, unequal", 0)


def claims_of_mixed_adapters(tool, cases, count):
    """Each model's prompts in turn, all in one batch on one base, against the reference's models one at a time."""
    cases[0].load(tool)
    rows = [(case, prompt) for prompts in zip(*(case.prompts[:count] for case in cases)) for case, prompt in zip(cases, prompts)]
    unexcused, share = Largest(), Largest()
    for name in ("greedy", "greedy, both rules"):
        generation = SEARCHES[name]
        answer = tool.ask("generate", prompts=[prompt for _, prompt in rows], adapters=[case.adapter for case, _ in rows],
                          generation=generation, max_new_tokens=MAX_NEW, batch_size=2 * len(cases) + 1, end_of_text=cases[0].end)
        texts = [ids + [cases[0].end] * ended for ids, ended in zip(answer["ids"], answer["ended"])]
        theirs = {case.what: iter(case.theirs(generation)[:count]) for case in cases}
        for (case, prompt), ours in zip(rows, texts):
            other = next(theirs[case.what])
            is_unexcused = ours != other and not abs(preference(case, prompt, ours, other, generation)) < GAP
            unexcused.add(unexcused.value + is_unexcused)
            share.add(share.value + (ours != other) / len(rows) / 2)
    what = f"{len(cases)} models' prompts in one batch, greedy with and without rules"
    return [unexcused.claim(PART, f"{what}: prompts with other tokens where the scores are not closer than 1e-3", 0),
            share.claim(PART, f"{what}: share of prompts with other tokens", SHARE)]


def claim_of_evaluations(scratch, model, tokenizer, count):
    """The whole way: a spec's options, `graft-engine evaluate`, predictions.jsonl."""
    rows = [json.loads(line) for line in (ASSETS / "data/test.jsonl").read_text().splitlines()[:count]]
    data = scratch / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = [encode_row(tokenizer, row, 120, 40)[0] for row in rows]
    gathered = Largest()
    for name in ("beam 4, length penalty 2, early stopping", "greedy, both rules"):
        generation = {**SEARCHES[name]}
        theirs = Case(name, model, prompts, tokenizer.eos_token_id, ASSETS / "model").theirs(generation)
        if "early_stopping" in generation:
            generation["early_stopping"] = "BEAM_EARLY_STOPPING_TRUE"
        out = scratch / f"evaluation-{len(name)}"
        evaluate({"base_model": str(ASSETS / "model"), "data": {"validation": str(data), "max_source_tokens": 120, "max_target_tokens": 40},
                  "evaluation": {"max_new_tokens": MAX_NEW, "max_samples": -1, "generation": generation}, "precision": "PRECISION_FP32",
                  "threads": 1}, out)
        lines = (out / "artifacts/predictions.jsonl").read_text().splitlines()
        gathered.count_unequal([json.loads(line)["prediction"] for line in lines],
                               [tokenizer.decode(text, skip_special_tokens=True).strip() for text in theirs])
    return gathered.claim(PART, "graft-engine evaluate, beam search and greedy with rules: texts of predictions.jsonl, unequal", 0)


def demo_prompts(tokenizer, count, lengths):
    """Beginnings of articles of so many lengths; half of them then ask for the summary."""
    rows = [json.loads(line) for line in (ASSETS / "data/train.jsonl").read_text().splitlines()[:count]]
    prompts = []
    for index, row in enumerate(rows):
        suffix = tokenizer("\nTL;DR:")["input_ids"] if index % 2 else []
        prompts.append(tokenizer(row["document"])["input_ids"][:9 + 160 // lengths * (index % lengths) - len(suffix)] + suffix)
    return prompts


def adapted(scratch, name, method, trained):
    """The demo's model with a random adapter, saved by PEFT."""
    model = reference_model(ASSETS / "model", method, torch.float32)
    randomise(model, trained)
    model.save_pretrained(scratch / name)
    return model, scratch / name


def random_case(scratch, count, lengths):
    """The end is the token that texts come to at the most different places, of those that less than half of them come to."""
    base = make_base(scratch / "random", vocab_size=100, n_positions=160)
    model = GPT2LMHeadModel.from_pretrained(base, dtype=torch.float32)
    random = torch.Generator().manual_seed(4)
    prompts = [torch.randint(1, 100, (1 + 120 // lengths * (index % lengths),), generator=random).tolist() for index in range(count)]
    case = Case("random weights", model, prompts, 0, base)
    places = {}
    for text in case.theirs({"num_beams": 4}):
        for token in set(text):
            places.setdefault(token, Counter())[text.index(token)] += 1
    rare = [token for token, counts in places.items() if counts.total() < count / 2]
    case.end = max(rare, key=lambda token: (len(places[token]), places[token].total()))
    return case


def claims(short):
    count, lengths = (12, 3) if short else (200, 20)
    tokenizer = GPT2TokenizerFast.from_pretrained(ASSETS / "model")
    with tempfile.TemporaryDirectory() as folder, TrainTool() as tool:
        scratch = Path(folder)
        base = GPT2LMHeadModel.from_pretrained(ASSETS / "model", dtype=torch.float32)
        # A full stop is the end: <|endoftext|> hardly comes in so few tokens.
        prompts, end = demo_prompts(tokenizer, count, lengths), tokenizer(".")["input_ids"][0]
        demo = Case("the demo's model", base, prompts, end, ASSETS / "model")
        lora, lora_folder = adapted(scratch, "lora", {"lora": {}}, ["lora_B"])
        soft, soft_folder = adapted(scratch, "soft", {"soft_prompt": {"num_virtual_tokens": 5}}, ["prompt"])
        last, last_folder = adapted(scratch, "last", {"last_layers": {"num_layers": 1, "include_lm_head": True}}, ["modules_to_save"])
        cases = [demo, Case("with LoRA", lora, prompts, end, ASSETS / "model", lora_folder),
                 Case("with a soft prompt", soft, prompts, end, ASSETS / "model", soft_folder), random_case(scratch, count, lengths)]
        measured = claims_of_searches(tool, cases, short)
        on_one_base = [*cases[:3], Case("with last layers", last, prompts, end, ASSETS / "model", last_folder)]
        measured += claims_of_mixed_adapters(tool, on_one_base, 6 if short else count)
        demo.load(tool)
        measured += [claim_of_probabilities(tool, demo, 3 if short else 20),
                     claim_of_draws(tool, demo, 1 if short else 3, 1000 if short else 4000)]
        measured += [claim_of_batches(tool, cases[:1] if short else cases, [SEARCHES[name] for name in SHORT_SEARCHES]),
                     claim_of_evaluations(scratch, base, tokenizer, 6 if short else 40)]
        return measured
