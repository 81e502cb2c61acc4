"""Examples as docs/TRAINING.md has them, made with transformers' tokenizer."""

import json

import torch
from transformers import GPT2Tokenizer


class Examples:
    def __init__(self, base, source, target):
        self.tokenizer = GPT2Tokenizer(f"{base}/vocab.json", f"{base}/merges.txt")
        self.source, self.target = source, target
        self.pad = self.tokenizer.eos_token_id
        self.suffix = self.tokenizer.encode("\nTL;DR:")

    def read(self, path):
        """(prompt ids, target ids, summary) of each row."""
        result = []
        with open(path, encoding="utf-8") as file:
            for row in map(json.loads, file):
                prompt = self.tokenizer.encode(row["document"])[:self.source - len(self.suffix)] + self.suffix
                target = self.tokenizer.encode(" " + row["summary"])[:self.target - 1] + [self.pad]
                result.append((prompt, target, row["summary"]))
        return result

    def collate(self, rows):
        """A batch, padded at the end."""
        longest = max(len(prompt) + len(target) for prompt, target, _ in rows)
        ids, mask, labels = (torch.full((len(rows), longest), value) for value in (self.pad, 0, -100))
        for i, (prompt, target, _) in enumerate(rows):
            whole = prompt + target
            ids[i, :len(whole)], mask[i, :len(whole)] = torch.tensor(whole), 1
            labels[i, len(prompt):len(whole)] = torch.tensor(target)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def prompts(self, rows):
        """A batch of prompts, padded at the beginning."""
        longest = max(len(prompt) for prompt, _, _ in rows)
        ids = torch.tensor([[self.pad] * (longest - len(prompt)) + prompt for prompt, _, _ in rows])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt, _, _ in rows])
        return {"input_ids": ids, "attention_mask": mask}
