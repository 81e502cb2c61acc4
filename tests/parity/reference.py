"""The reference set up for graft's jobs: GPT-2 of random weights, PEFT's model for a method, and transformers' Trainer, watched."""

import sys

import torch
import transformers
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from programs import ROOT

sys.path.insert(0, str(ROOT / "tests/golden"))
from make_engine_golden import decays, our_name, part_of, randomise  # noqa: E402

torch.set_num_threads(1)  # The models are small: more threads only wait for one another.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# The defaults of proto/graft/v1/spec.proto.
LEARNING_RATES = {"lora": 2e-4, "soft_prompt": 3e-2, "last_layers": 1e-4, "full": 5e-5, "prefix_tuning": 1e-2}
NO_DROPOUT = dict(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
TINY = dict(vocab_size=512, n_positions=64, n_embd=32, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0, **NO_DROPOUT)


def make_base(folder, seed=7, initializer_range=0.2, **config):
    """A checkpoint of random weights; biases and norms are random too, so that leaving one out shows."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(**{**TINY, **config}, initializer_range=initializer_range))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias") or ".ln_" in name:
                value.add_(initializer_range / 2 * torch.randn_like(value))
    model.save_pretrained(folder)
    return folder


@torch.no_grad()
def make_gpt2_like(folder, layers=6, width=256, seed=11):
    """A checkpoint with what makes the real GPT-2 hard in bf16: three channels of the residual stream are a hundred times the others from
    the second block to the last, and logits lie around -60, since all words share a direction that the last norm's bias points away from."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=4000, n_positions=128, n_embd=width, n_layer=layers, n_head=width // 64, bos_token_id=0,
                                       eos_token_id=0, **NO_DROPOUT))
    shared, outliers = 0.1 * torch.randn(width), [13, 77, 200]
    parts = model.transformer
    parts.wte.weight.normal_(0, 0.12).add_(shared)
    parts.wpe.weight.normal_(0, 0.05)
    parts.wpe.weight[:, outliers] += torch.tensor([3.0, -2.0, 1.5])
    for block in parts.h:
        for module in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            module.weight.normal_(0, 0.08 if module is not block.mlp.c_proj else 0.06)
        block.ln_1.weight.uniform_(0.2, 0.6)
        block.ln_2.weight.uniform_(0.2, 0.6)
    parts.h[1].mlp.c_proj.bias[outliers] += torch.tensor([60.0, -200.0, 90.0])
    parts.h[-1].mlp.c_proj.bias[outliers] -= torch.tensor([40.0, -150.0, 70.0])
    parts.ln_f.weight.uniform_(1, 3)
    parts.ln_f.bias.copy_(-60 * shared / (shared @ shared))
    model.save_pretrained(folder)
    return folder


def reference_model(base, method, dtype, **options):
    """The base with PEFT's adapters for `method` (graft.v1.Method as JSON); what trains requires its gradient."""
    model = GPT2LMHeadModel.from_pretrained(base, dtype=torch.float32, **options)
    layers = model.config.n_layer
    lora, prompt, last = (method.get(part) for part in ("lora", "soft_prompt", "last_layers"))
    saved = []
    if last is not None:
        whole = last.get("num_layers", 2)
        saved = [f"transformer.h.{layer}" for layer in range(layers - whole, layers)]
        saved += ["transformer.ln_f"] if last.get("include_final_norm", True) else []
        saved += ["lm_head"] if last.get("include_lm_head", False) else []
        layers -= whole
    if lora is not None:
        model = get_peft_model(model, LoraConfig(
            r=lora.get("rank", 8), lora_alpha=lora.get("alpha", 16), target_modules=lora.get("target_modules", ["c_attn"]),
            use_rslora=lora.get("use_rslora", False), use_dora=lora.get("use_dora", False), layers_to_transform=list(range(layers)), modules_to_save=saved or None,
            fan_in_fan_out=True, task_type="CAUSAL_LM"))
    elif last is not None:
        # modules_to_save needs a LoRA to come with: rank 1, B = 0, frozen.
        model = get_peft_model(model, LoraConfig(r=1, target_modules=["h.0.attn.c_attn"], modules_to_save=saved, fan_in_fan_out=True,
                                                 task_type="CAUSAL_LM"))
    if prompt is not None:
        model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prompt.get("num_virtual_tokens", 20)))
    if "prefix_tuning" in method:
        model = get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM",
                                                         num_virtual_tokens=method["prefix_tuning"].get("num_virtual_tokens", 20)))
    train_what_it_names(model, method)
    return model.to(dtype)


def train_what_it_names(model, method):
    """Not the LoRA that modules_to_save comes with; and prompts, which PEFT loads frozen."""
    for name, value in model.named_parameters():
        value.requires_grad = ("full" in method or "modules_to_save" in name or "prompt_encoder" in name or
                               ("lora_" in name and "lora" in method))


def trained_tensors(model):
    """By graft's names."""
    is_prefix = any(config.peft_type == "PREFIX_TUNING" for config in getattr(model, "peft_config", {}).values())
    return {"prefix" if is_prefix else our_name(name): value for name, value in model.named_parameters() if value.requires_grad}


def without_key_bias(name, value):
    """The key's part of c_attn.bias has a true gradient of 0, so its updates are noise made large by Adam."""
    if not name.endswith("attn.c_attn.bias"):
        return value
    width = value.shape[0] // 3
    return torch.cat([value[:width], value[2 * width:]])


def encode_row(tokenizer, row, max_source, max_target):
    """A row of a data set as ids of prompt and target (docs/TRAINING.md, An example), with the default template."""
    prefix, suffix = (tokenizer(part)["input_ids"] for part in ("", "\nTL;DR:"))
    source = tokenizer(row["document"])["input_ids"]
    target = tokenizer(" " + row["summary"])["input_ids"][:max_target - 1] + [tokenizer.eos_token_id]
    return prefix + source[:max_source - len(prefix) - len(suffix)] + suffix, target


def collate(rows):
    """Rows (ids, number of prompt tokens), padded on the right; labels behind the prompt only."""
    longest = max(len(ids) for ids, _ in rows)
    ids, mask, labels = [], [], []
    for row, prompt in rows:
        pads = longest - len(row)
        ids.append(row + [0] * pads)
        mask.append([1] * len(row) + [0] * pads)
        labels.append([-100] * prompt + row[prompt:] + [-100] * pads)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask), "labels": torch.tensor(labels)}


def loss_from_logits(model, inputs, num_items):
    """What the model computes when given labels, but in the logits' own precision: it casts them to float32."""
    labels = inputs["labels"]
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    logits = logits[:, logits.shape[1] - labels.shape[1]:]  # Without virtual tokens
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1),
                                             ignore_index=-100, reduction="sum") / num_items


class Watch(TrainerCallback):
    """Notes each step; `snapshots` False leaves the tensors out."""

    def __init__(self, snapshots):
        self.snapshots = snapshots
        self.losses, self.norms, self.rates, self.epochs = [], [], [], []
        self.before, self.gradients, self.after = [], [], []
        self.loss = 0.0

    @staticmethod
    def copy(values):
        return {name: value.detach().clone() for name, value in values}

    def on_pre_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.rates.append(optimizer.param_groups[0]["lr"])
        if self.snapshots:
            trained = trained_tensors(model)
            self.before.append(self.copy(trained.items()))
            self.gradients.append(self.copy((name, torch.zeros_like(value) if value.grad is None else value.grad)
                                            for name, value in trained.items()))

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.losses.append(self.loss)
        self.epochs.append(state.epoch)
        self.loss = 0.0
        if self.snapshots:
            self.after.append(self.copy(trained_tensors(model).items()))


class WatchedTrainer(Trainer):
    """Trainer itself, with a learning rate for each part of a hybrid, and in float64 the loss from the logits."""

    def __init__(self, model, rows, exact, rates=None, snapshots=True, callbacks=(), validation=None, **arguments):
        self.exact, self.rates, self.watch = exact, rates, Watch(snapshots)
        options = TrainingArguments(use_cpu=True, report_to=[], disable_tqdm=True, remove_unused_columns=False, logging_strategy="no",
                                    dataloader_pin_memory=False, **{"save_strategy": "no", **arguments})
        super().__init__(model=model, args=options, train_dataset=rows, eval_dataset=validation, data_collator=collate,
                         callbacks=[self.watch, *callbacks])
        self.remove_callback(PrinterCallback)

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        if self.rates is not None:
            names = {id(value): name for name, value in trained_tensors(self.model).items()}
            groups = []
            for group in optimizer.param_groups:
                for part, rate in self.rates.items():
                    params = [value for value in group["params"] if part_of(names[id(value)]) == part]
                    if params:
                        groups.append({**group, "params": params, "lr": rate})
            optimizer.param_groups[:] = groups
        return optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.exact and not return_outputs:
            return loss_from_logits(model, inputs, num_items_in_batch)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def training_step(self, *arguments, **named):
        loss = super().training_step(*arguments, **named)
        self.watch.loss += loss.item()
        return loss

    def _get_grad_norm(self, *arguments, **named):
        norm = super()._get_grad_norm(*arguments, **named)
        self.watch.norms.append(float(norm))
        return norm


def learning_rates(method):
    """Peak rates of the parts of `method`, in the order in which graft names them."""
    return {part: rate for part, rate in LEARNING_RATES.items() if part in method}


def trainer_arguments(method, training, scratch):
    """graft.v1.TrainingOptions as JSON → TrainingArguments."""
    schedule = training.get("schedule", "linear")
    rates = learning_rates(method)
    return dict(output_dir=str(scratch), max_steps=training["max_steps"], per_device_train_batch_size=training.get("batch_size", 8),
                gradient_accumulation_steps=training.get("gradient_accumulation_steps", 1),
                learning_rate=next(iter(rates.values())), rates=rates if len(rates) > 1 else None,
                lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
                warmup_steps=training.get("warmup_steps", 0) or training.get("warmup_ratio", 0),
                weight_decay=training.get("weight_decay", 0.0), max_grad_norm=training.get("max_grad_norm", 1.0),
                seed=training.get("seed", 42))
