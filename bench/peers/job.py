"""A whole job as people write it: Trainer with PEFT where there is something to train, then the validation loss, generate() and rouge_score. Its
only argument is JSON; prints its values as JSON. With "announce" it only says when the first optimiser step begins."""

import json
import os
import statistics
import sys

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from examples import Examples

transformers.logging.set_verbosity_error()
BATCH = 16  # Of texts.


class Announce(TrainerCallback):
    def on_step_begin(self, args, state, control, **unused):
        print("FIRST STEP", flush=True)
        os._exit(0)


def trained(job, examples, model):
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"))
    options = TrainingArguments(
        output_dir=job["out"], max_steps=job["steps"], per_device_train_batch_size=job["batch_size"], learning_rate=2e-4, weight_decay=0.0, seed=42,
        bf16=job["precision"] == "bf16", use_cpu=job["device"] == "cpu", report_to=[], save_strategy="no", logging_steps=1, disable_tqdm=True,
        remove_unused_columns=False, dataloader_pin_memory=False)
    trainer = Trainer(model=model, args=options, train_dataset=examples.read(job["train"]), data_collator=examples.collate,
                      callbacks=[Announce()] if job.get("announce") else [])
    trainer.train()
    model.save_pretrained(job["out"])
    return model


def validation_loss(model, examples, rows):
    total = count = 0
    for begin in range(0, len(rows), 8):
        batch = {name: value.to(model.device) for name, value in examples.collate(rows[begin:begin + 8]).items()}
        tokens = int((batch["labels"] != -100).sum())
        total += float(model(**batch).loss) * tokens
        count += tokens
    return total / count


def rouge(model, examples, rows):
    from rouge_score.rouge_scorer import RougeScorer
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    scores = []
    for begin in range(0, len(rows), BATCH):
        batch = {name: value.to(model.device) for name, value in examples.prompts(rows[begin:begin + BATCH]).items()}
        texts = model.generate(**batch, max_new_tokens=examples.target, do_sample=False, pad_token_id=examples.pad)
        for (_, _, summary), ids in zip(rows[begin:], texts):
            scores.append(scorer.score(summary, examples.tokenizer.decode(ids[batch["input_ids"].shape[1]:], skip_special_tokens=True)))
    return {f"eval/{name}": statistics.mean(score[name].fmeasure for score in scores) for name in scores[0]}


def main():
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    examples = Examples(job["base"], job["source"], job["target"])
    # Trainer's own way in bf16 is autocast over a model in fp32.
    is_bf16 = job["precision"] == "bf16" and "train" not in job
    model = GPT2LMHeadModel.from_pretrained(job["base"], dtype=torch.bfloat16 if is_bf16 else torch.float32).to(job["device"])
    if "train" in job:
        model = trained(job, examples, model)
    model.eval()
    rows = examples.read(job["validation"])
    with torch.no_grad(), torch.autocast(job["device"].partition(":")[0], torch.bfloat16, enabled=job["precision"] == "bf16" and not is_bf16):
        print(json.dumps({"eval/loss": validation_loss(model, examples, rows), **rouge(model, examples, rows)}))


main()
