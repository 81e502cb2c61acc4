#!/usr/bin/env python3
"""Makes tests/golden/engine/: a tiny GPT-2, adapters that PEFT wrote, and what transformers and PEFT compute with them.

    python make_engine_golden.py OUT_DIR          (torch 2.11, transformers 5.17, peft 0.21)
    python make_engine_golden.py OUT_DIR generation    only generation.safetensors, from OUT_DIR/model (transformers 5.23)

Everything after the weights is computed in float64, so that a difference is one of mathematics and not of rounding; the loss is
taken from the logits, as the model's own casts them to float32. Dropout is 0.

    model/                    config.json, model.safetensors (F32)
    adapters/{case}/          the adapter before training, as PEFT saves it (F32); full has none
    golden.safetensors        {case}/greedy/{row} tokens after a row's prompt; base/logits [3, T, V], and for each case
                              {case}/loss {case}/grad_norm {case}/factor [steps], {case}/grad/{tensor} of the first step
                              before clipping, {case}/final/{tensor}, {case}/logits [3, (P +) T, V] before training
    generation.safetensors    {search}/{row}: new tokens of each of the 5 rows' prompts by generate, END where it came
"""

import math
import os
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

CONFIG = dict(vocab_size=48, n_positions=24, n_embd=16, n_layer=3, n_head=2, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
              bos_token_id=None, eos_token_id=None)
SEED, BATCH, ACCUMULATION, EPOCHS, WARMUP, DECAY, MAX_NORM = 42, 2, 2, 3, 2, 0.1, 0.5
RATES = {"lora": 2e-2, "soft_prompt": 3e-2, "last_layers": 1e-2, "full": 5e-3}
# (prompt tokens, all tokens) of each training row; ids follow from the row's number.
ROWS = [(4, 9), (2, 5), (6, 12), (3, 4), (1, 7)]


def row_ids(row):
    return [(7 * row + 3 * t * t + t) % CONFIG["vocab_size"] for t in range(ROWS[row][1])]


def make_base(folder):
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(**CONFIG, initializer_range=0.2))
    with torch.no_grad():
        for name, value in model.named_parameters():  # biases and norms that are not 0 and 1
            if name.endswith("bias") or ".ln_" in name:
                value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(folder)


def base_model(folder):
    return GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa")


def randomise(model, names):
    """B is 0 at the start, which hides mistakes in A's gradient."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if any(part in name for part in names):
                value.copy_(0.1 * torch.randn_like(value))


LORA = dict(r=3, lora_alpha=7, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True, task_type="CAUSAL_LM")


def make_lora(base, folder, **changes):
    model = get_peft_model(base, LoraConfig(**{**LORA, **changes}))
    randomise(model, ["lora_B"])
    model.save_pretrained(folder)
    return model


def make_prompt(base, folder):
    model = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    randomise(model, ["prompt"])
    model.save_pretrained(folder)
    return model


def make_case(case, base_folder, folder):
    """The model with its adapter in float64, everything that trains requiring its gradient."""
    base = base_model(base_folder)
    if case == "full":
        return base.double()
    if case == "lora":
        return make_lora(base, folder).double()
    if case == "lora_rslora":
        return make_lora(base, folder, use_rslora=True, layers_to_transform=[0, 2]).double()
    if case == "last_layers":
        # PEFT's modules_to_save needs a LoRA: rank 1 on one layer, B = 0 and frozen.
        model = get_peft_model(base, LoraConfig(**{**LORA, "r": 1, "target_modules": ["h.0.attn.c_attn"]},
                                                modules_to_save=["transformer.h.2", "transformer.ln_f"]))
        model.save_pretrained(folder)
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.requires_grad = False
        return model.double()
    if case == "lora_last_layers":
        return make_lora(base, folder, modules_to_save=["transformer.h.2", "transformer.ln_f"]).double()
    if case == "soft_prompt":
        return make_prompt(base, folder).double()
    if case == "lora_soft_prompt":
        make_lora(base, folder / "lora")
        base = base_model(base_folder)
        inner = PeftModel.from_pretrained(base, folder / "lora", is_trainable=True)
        outer = make_prompt(inner, folder / "soft_prompt")
        for name, value in outer.named_parameters():
            value.requires_grad = "lora_" in name or "prompt" in name
        return outer.double()
    raise ValueError(case)


CASES = ["lora", "lora_rslora", "soft_prompt", "last_layers", "lora_last_layers", "lora_soft_prompt", "full"]


def our_name(name):
    if "prompt_encoder" in name:
        return "soft_prompt"
    for noise in ("base_model.", "model.", "transformer.", "modules_to_save.default.", ".default", "original_module."):
        name = name.replace(noise, "")
    for tensor in ("lora_A", "lora_B", "lora_magnitude_vector"):
        name = name.replace(tensor + ".weight", tensor)
    return name


def part_of(name):
    if name == "soft_prompt":
        return "soft_prompt"
    return "lora" if ".lora_" in name else "last_layers"


def pad(rows):
    longest = max(ROWS[row][1] for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), -100)
    for i, row in enumerate(rows):
        prompt, length = ROWS[row]
        ids[i, :length] = torch.tensor(row_ids(row))
        mask[i, :length] = 1
        labels[i, prompt:length] = ids[i, prompt:length]
    return ids, mask, labels


def logits_of(model, ids, mask):
    return model(input_ids=ids, attention_mask=mask).logits


def loss_sum(model, rows):
    ids, mask, labels = pad(rows)
    logits = logits_of(model, ids, mask)
    virtual = logits.shape[1] - ids.shape[1]
    logits = logits[:, virtual:][:, :-1]
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1),
                                             ignore_index=-100, reduction="sum")


def decays(name):
    return not name.endswith(".bias") and "ln_" not in name


def train(case, model, golden):
    model.eval()  # no dropout
    trained = {our_name(name): value for name, value in model.named_parameters() if value.requires_grad}
    groups = []
    for name, value in trained.items():
        rate = RATES["full" if case == "full" else part_of(name)]
        groups.append(dict(params=[value], lr=rate, base=rate, weight_decay=DECAY if decays(name) else 0.0))
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
    per_step = BATCH * ACCUMULATION
    steps_per_epoch = math.ceil(len(ROWS) / per_step)
    total = EPOCHS * steps_per_epoch
    losses, norms, factors = [], [], []
    for step in range(total):
        epoch, window = divmod(step, steps_per_epoch)
        order = torch.randperm(len(ROWS), generator=torch.Generator().manual_seed(SEED + epoch)).tolist()
        rows = order[window * per_step:(window + 1) * per_step]
        labels = sum(ROWS[row][1] - ROWS[row][0] for row in rows)
        loss = 0.0
        for begin in range(0, len(rows), BATCH):
            part = loss_sum(model, rows[begin:begin + BATCH]) / labels
            part.backward()
            loss += part.item()
        if step == 0:
            for name, value in trained.items():
                golden[f"{case}/grad/{name}"] = value.grad.clone()
        norms.append(torch.nn.utils.clip_grad_norm_(list(trained.values()), MAX_NORM).item())
        factor = step / WARMUP if step < WARMUP else (total - step) / (total - WARMUP)
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        factors.append(factor)
    golden[f"{case}/loss"] = torch.tensor(losses, dtype=torch.float64)
    golden[f"{case}/grad_norm"] = torch.tensor(norms, dtype=torch.float64)
    golden[f"{case}/factor"] = torch.tensor(factors, dtype=torch.float64)
    for name, value in trained.items():
        golden[f"{case}/final/{name}"] = value.detach().clone()


def generate(model, golden, case):
    """Greedy tokens of each row's prompt alone, by full forward passes."""
    for row in range(3):
        ids = row_ids(row)[:ROWS[row][0]]
        start = len(ids)
        for _ in range(6):
            with torch.no_grad():
                logits = logits_of(model, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
            ids.append(int(logits[0, -1].argmax()))
        golden[f"{case}/greedy/{row}"] = torch.tensor(ids[start:])


# By transformers' generate, with token END as the end of text and at most NEW new tokens.
END, NEW = 35, 14
SEARCHES = {
    "beam": dict(num_beams=4),
    "beam_long": dict(num_beams=4, length_penalty=2.0, early_stopping=True),
    "beam_short": dict(num_beams=4, length_penalty=-1.0, early_stopping=True),
    "beam_never": dict(num_beams=3, early_stopping="never"),
    "repetition": dict(repetition_penalty=1.5),
    "ngram": dict(no_repeat_ngram_size=2),
    "all": dict(num_beams=3, length_penalty=0.5, early_stopping=True, repetition_penalty=1.3, no_repeat_ngram_size=2),
}


def make_generation(out):
    model = base_model(out / "model").double().eval()
    golden = {}
    for name, search in SEARCHES.items():
        for row, (prompt, _) in enumerate(ROWS):
            ids = torch.tensor([row_ids(row)[:prompt]])
            new = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False,
                                 eos_token_id=END, pad_token_id=END, **search)[0, prompt:].tolist()
            golden[f"{name}/{row}"] = torch.tensor(new[:new.index(END) + 1] if END in new else new)
    save_file(golden, out / "generation.safetensors")
    (out / "generation.safetensors").chmod(0o644)


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)  # so that PEFT notes the base model as "model"
    out = Path(".")
    base_folder = Path("model")
    make_base(base_folder)
    (base_folder / "generation_config.json").unlink(missing_ok=True)
    golden = {}
    ids, mask, _ = pad([0, 1, 2])
    base = base_model(base_folder).double().eval()
    golden["base/logits"] = logits_of(base, ids, mask).detach()
    generate(base, golden, "base")
    for case in CASES:
        folder = out / "adapters" / case
        model = make_case(case, base_folder, folder).eval()
        golden[f"{case}/logits"] = logits_of(model, ids, mask).detach()
        generate(model, golden, case)
        train(case, model, golden)
    for readme in out.rglob("README.md"):
        readme.unlink()
    save_file({name: value.contiguous() for name, value in golden.items()}, "golden.safetensors")
    make_generation(out)
    for file in Path(".").rglob("*.safetensors"):
        file.chmod(0o644)


if __name__ == "__main__":
    (make_generation if sys.argv[2:] == ["generation"] else main)(Path(sys.argv[1]))
