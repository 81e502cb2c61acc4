"""CTranslate2's Generator, greedily, prompt and new tokens timed apart."""

import json
import pathlib
import time

import ctranslate2
from ctranslate2.converters import TransformersConverter

from line import answer_lines


class Generation:
    def load(self, base, converted, threads):
        converted = pathlib.Path(converted)
        if not converted.exists():
            TransformersConverter(base).convert(str(converted.with_suffix(".making")))
            converted.with_suffix(".making").rename(converted)
        self.tokens = {id: token for token, id in json.loads((pathlib.Path(base) / "vocab.json").read_text(encoding="utf-8")).items()}
        self.generator = ctranslate2.Generator(str(converted), device="cpu", compute_type="float32", intra_threads=threads, inter_threads=1)

    def generate(self, prompts, max_new_tokens):
        times = {}

        def told(result):
            times[result.step] = time.perf_counter()
            return False

        texts = [[self.tokens[id] for id in prompt] for prompt in prompts]
        begin = time.perf_counter()
        results = self.generator.generate_batch(texts, max_length=max_new_tokens, min_length=max_new_tokens, beam_size=1, sampling_topk=1,
                                                include_prompt_in_result=False, callback=told)
        return {"prefill_seconds": times[min(times)] - begin, "decode_seconds": times[max(times)] - times[min(times)],
                "ids": [result.sequences_ids[0] for result in results]}


generation = Generation()
answer_lines({"load": generation.load, "generate": generation.generate})
