#!/usr/bin/env python3
"""graft's training step beside transformers + PEFT: same shapes, tokens, threads and machine, runs interleaved.

    python bench/train_step.py build/bin/bench_train_step --method lora --precision fp32 --rounds 5

needs torch, transformers and peft. The peer is what people run: GPT2LMHeadModel with PEFT, labels of -100 on the prompt, AdamW fused,
in a process of its own. Prints each run and, at the end, the medians and their ratio.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def peer(arguments):
    import torch
    from peft import LoraConfig, PromptTuningConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config())
    if arguments.precision == "bf16":
        model = model.to(torch.bfloat16)
    if arguments.method == "lora":
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True,
                                                 task_type="CAUSAL_LM"))
    elif arguments.method == "soft_prompt":
        model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=20))
    elif arguments.method == "last_layers":
        for name, value in model.named_parameters():
            value.requires_grad = name.startswith(("transformer.h.10.", "transformer.h.11.", "transformer.ln_f."))
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, fused=True)
    rates = []
    for _ in range(arguments.steps):
        ids = torch.randint(0, 50257, (arguments.batch, arguments.length))
        labels = ids.clone()
        labels[:, :-arguments.labels] = -100
        start = time.perf_counter()
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        rates.append(ids.numel() / (time.perf_counter() - start))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(dict(program="transformers+peft", method=arguments.method, precision=arguments.precision,
                          threads=arguments.threads, tokens_per_second=statistics.median(rates[1:]),
                          cpu_seconds=usage.ru_utime, peak_rss_gb=usage.ru_maxrss / 1048576)))


def shapes(arguments):
    names = ("method", "precision", "threads", "steps", "batch", "length", "labels")
    return [text for name in names for text in (f"--{name}", str(getattr(arguments, name)))]


def run(command):
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.strip().splitlines()[-1]
    print(line, flush=True)
    return json.loads(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bench_train_step, or 'peer' for the other side alone")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--labels", type=int, default=46)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.program == "peer":
        return peer(arguments)
    results = {"graft": [], "transformers+peft": []}
    for _ in range(arguments.rounds):
        for command in ([arguments.program], [sys.executable, __file__, "peer"]):
            result = run(command + shapes(arguments))
            results[result["program"]].append(result)
    for figure in ("tokens_per_second", "peak_rss_gb"):
        ours, theirs = (statistics.median(r[figure] for r in results[name]) for name in ("graft", "transformers+peft"))
        print(f"{figure}: graft {ours:.2f}, transformers+peft {theirs:.2f}, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
