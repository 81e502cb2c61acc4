"""The parts of the benchmark. Each module has run(bench), which returns rows (../results.py) or raises Unavailable."""

PARTS = {
    "training": "optimiser steps, five methods, 4 × 512 tokens",
    "generation": "greedy decoding and prefill, batch 1 to 32",
    "sharing": "16 trainings side by side, and one batch over 8 adapters",
    "serving": "texts of mixed lengths by 8 adapters, which follow each other, and in batches",
    "evaluate": "a whole evaluate job",
    "finetune": "a whole fine-tune job",
    "rouge": "ROUGE of 1,600 pairs",
    "tokenise": "BPE",
    "plan": "what PlanJob says, and what happens then",
    "start": "a new process up to its first optimiser step",
    "store": "starts, claims and pages of a graft-server whose store holds a million jobs",
    "service": "submits, events, watchers and claims of a graft-server",
}
