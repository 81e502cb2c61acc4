"""transformers' generate(), greedily, prompt and new tokens timed apart."""

import time

import torch
import transformers
from transformers import GPT2LMHeadModel, StoppingCriteria, StoppingCriteriaList

from line import answer_lines

transformers.logging.set_verbosity_error()


class Clock(StoppingCriteria):
    """Is asked after every token of the batch; stops nothing."""

    def __call__(self, input_ids, scores, **unused):
        if input_ids.is_cuda:
            torch.cuda.synchronize()
        self.last = time.perf_counter()
        self.first = getattr(self, "first", self.last)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class Generation:
    def load(self, base, precision, device, threads):
        torch.set_num_threads(threads)
        self.model = GPT2LMHeadModel.from_pretrained(base, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[precision]).to(device).eval()
        self.model.generation_config.eos_token_id = None

    @torch.no_grad()
    def generate(self, prompts, max_new_tokens):
        clock = Clock()
        ids = torch.tensor(prompts, device=self.model.device)
        begin = time.perf_counter()
        texts = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False,
                                    pad_token_id=0, stopping_criteria=StoppingCriteriaList([clock]))
        return {"prefill_seconds": clock.first - begin, "decode_seconds": clock.last - clock.first, "ids": texts[:, ids.shape[1]:].tolist()}


generation = Generation()
answer_lines({"load": generation.load, "generate": generation.generate})
