"""transformers + PEFT, a training step at a time: as people run it, or as well as it can."""

import time

import torch
import transformers
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import GPT2LMHeadModel

from line import answer_lines

transformers.logging.set_verbosity_error()
SEED = 42  # graft's: the rows come in the same order.


def adapted(model, method):
    """The model with PEFT's adapters for `method`, graft.v1.Method as JSON; what trains requires its gradient."""
    lora, prompt, last = (method.get(name) for name in ("lora", "soft_prompt", "last_layers"))
    layers = model.config.n_layer
    whole = [f"h.{layer}" for layer in range(layers - last["num_layers"], layers)] + ["ln_f"] if last else []
    if lora:
        model = get_peft_model(model, LoraConfig(
            r=lora["rank"], lora_alpha=16, target_modules=["c_attn"], layers_to_transform=list(range(layers - max(0, len(whole) - 1))),
            modules_to_save=[f"transformer.{name}" for name in whole] or None, fan_in_fan_out=True, task_type="CAUSAL_LM"))
    elif "full" not in method:
        for name, value in model.named_parameters():
            value.requires_grad = any(f"transformer.{part}." in name for part in whole)
    if prompt:
        trains = {name for name, value in model.named_parameters() if value.requires_grad}
        model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prompt["num_virtual_tokens"]))
        for name, value in model.base_model.named_parameters():
            value.requires_grad = name in trains  # PEFT freezes what it is put around.
    return model


class Training:
    def load(self, base, method, rows, batch_size, style, precision, device, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.device, self.batch_size, self.best = device, batch_size, style == "best"
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.prompt = method.get("soft_prompt")
        self.model = adapted(GPT2LMHeadModel.from_pretrained(base, dtype=dtype), method).to(device).train()
        self.gpt2 = next(module for module in self.model.modules() if isinstance(module, GPT2LMHeadModel))
        self.trained = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4, weight_decay=0.0, **({"fused": True} if self.best else {}))
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED)).tolist()
        self.rows = [rows[i] for i in order]
        self.steps = 0

    def batch(self):
        rows = self.rows[self.steps * self.batch_size:][:self.batch_size]
        longest = max(len(ids) for ids, _ in rows)
        ids, mask, labels = (torch.full((len(rows), longest), value) for value in (0, 0, -100))
        for i, (row, prompt) in enumerate(rows):
            ids[i, :len(row)], mask[i, :len(row)] = torch.tensor(row), 1
            labels[i, prompt:len(row)] = torch.tensor(row[prompt:])
        return ids.to(self.device), mask.to(self.device), labels.to(self.device), sum(len(ids) for ids, _ in rows)

    def usual_loss(self, ids, mask, labels):
        return self.model(input_ids=ids, attention_mask=mask, labels=labels).loss

    def label_loss(self, ids, labels):
        """Logits only where there is a label; no mask, since pads come last."""
        inputs = self.gpt2.transformer.wte(ids)
        virtual = 0
        if self.prompt:
            prompts = self.model.get_prompt(batch_size=len(ids)).to(inputs.dtype)
            virtual = prompts.shape[1]
            inputs = torch.cat([prompts, inputs], dim=1)
        hidden = self.gpt2.transformer(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, virtual:][:, :-1]
        labels = labels[:, 1:]
        labelled = labels != -100
        return torch.nn.functional.cross_entropy(self.gpt2.lm_head(hidden[labelled]).float(), labels[labelled])

    def step(self):
        begin = time.perf_counter()
        ids, mask, labels, tokens = self.batch()
        loss = self.label_loss(ids, labels) if self.best else self.usual_loss(ids, mask, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        value = loss.item()
        if self.device != "cpu":
            torch.cuda.synchronize()
        self.steps += 1
        return {"seconds": time.perf_counter() - begin, "loss": value, "tokens": tokens}


training = Training()
answer_lines({"load": training.load, "step": training.step})
