"""transformers and PEFT on the same device, written as people write it."""

import json

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from engine import MODEL

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

NO_DROPOUT = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["c_attn"], "fan_in_fan_out": True, "task_type": "CAUSAL_LM"}


def make_adapter(base, folder, seed=11):
    """LoRA as PEFT begins it."""
    torch.manual_seed(seed)
    get_peft_model(GPT2LMHeadModel.from_pretrained(base), LoraConfig(**LORA)).save_pretrained(folder)


def examples(file, lengths):
    """(ids, number of prompt tokens) of each row, as docs/TRAINING.md says what an example is."""
    tokenizer = GPT2Tokenizer(str(MODEL / "vocab.json"), str(MODEL / "merges.txt"))
    suffix = tokenizer.encode("\nTL;DR:")
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer.encode(row["document"])[:lengths["max_source_tokens"] - len(suffix)] + suffix
        target = tokenizer.encode(" " + row["summary"])[:lengths["max_target_tokens"] - 1] + [tokenizer.eos_token_id]
        rows.append((prompt + target, len(prompt)))
    return rows


def collate(rows, device):
    longest = max(len(ids) for ids, _ in rows)
    ids, mask, labels = (torch.full((len(rows), longest), value) for value in (0, 0, -100))
    for i, (row, prompt) in enumerate(rows):
        ids[i, :len(row)], mask[i, :len(row)] = torch.tensor(row), 1
        labels[i, prompt:len(row)] = torch.tensor(row[prompt:])
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}


def train_lora(base, adapter, rows, device, steps, batch, rate, seed=42):
    """AdamW, linear decay, clipping at 1; the losses."""
    model = GPT2LMHeadModel.from_pretrained(base, **NO_DROPOUT)
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True).to(device).train()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (steps - step) / steps
        some = [rows[i] for i in order[step * batch:(step + 1) * batch]]
        loss = model(**collate(some, device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def logits_difference(adapter, ids, ours, device):
    """Of PEFT's logits with the adapter that graft left: (largest difference, 1 or the largest logit, rows)."""
    model = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(MODEL), adapter).to(device).eval()
    largest, scale = 0.0, 1.0
    values = load_file(ours)
    for index, row in enumerate(ids):
        theirs = model(input_ids=torch.tensor([row], device=device)).logits[0, -len(row):].float().cpu()
        mine = values[f"logits.{index}"][-len(row):].float()
        largest = max(largest, (mine - theirs).abs().max().item())
        scale = max(scale, theirs.abs().max().item())
    return largest, scale
