#!/usr/bin/env python3
"""Prints the demo's table and samples from what tools/demo left: comparison.jsonl (of graft compare --json) and evaluations/*/predictions.jsonl.

    report.py OUT TEST

Standard library only. The facts column is explained in facts.py.
"""

import json
import pathlib
import sys

import facts

SAMPLES = 2


def number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def size(value):
    return "-" if value is None else f"{value / 1000:.0f} kB"


def table(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)).rstrip())


def main():
    out, test = pathlib.Path(sys.argv[1]), facts.read_lines(sys.argv[2])
    compared = facts.read_lines(out / "comparison.jsonl")
    predictions = {row["label"]: facts.read_lines(out / "evaluations" / row["label"] / "predictions.jsonl") for row in compared}
    rows = []
    for row in compared:
        metrics, shares = row["metrics"], facts.shares(facts.count(predictions[row["label"]], test))
        seconds = row.get("train_seconds")
        rows.append([row["label"], f'{row["trainable_parameters"]:,}' if "trainable_parameters" in row else "-", number(metrics.get("eval/loss"), 4),
                     *(number(metrics.get("eval/" + kind)) for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum")),
                     "-" if shares["all"] is None else f'{100 * shares["all"]:.0f} %',
                     "-" if seconds is None else f"{seconds:.0f}", size(row.get("adapter_size_bytes"))])
    lead = next((row["metrics"] for row in compared if "lead3/rougeLsum" in row["metrics"]), {})
    lead3 = [{"prediction": row["lead3"]["prediction"], "index": row["index"]} for row in predictions[compared[0]["label"]] if "lead3" in row]
    shares = facts.shares(facts.count(lead3, test))
    rows.append(["lead-3", "-", "-", *(number(lead.get("lead3/" + kind)) for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum")),
                 "-" if shares["all"] is None else f'{100 * shares["all"]:.0f} %', "-", "-"])
    print()
    table(["method", "trained", "loss", "ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum", "facts", "train s", "adapter"], rows)
    print("\nfacts: share of the highlights' places, people, numbers, organisations and days that a summary names exactly")
    for index in range(SAMPLES):
        print(f"\n--- article {index}\n{test[index]['document']}\n--- its highlights\n{test[index]['summary']}")
        for label, rows_of_label in predictions.items():
            found = [row for row in rows_of_label if row["index"] == index]
            if found:
                print(f"--- {label}\n{found[0]['prediction'].strip()}")


if __name__ == "__main__":
    main()
