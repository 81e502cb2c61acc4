#!/usr/bin/env python3
"""Counts how many of the facts in summaries are those of the article.

    facts.py PREDICTIONS TEST [--json]

PREDICTIONS is the predictions.jsonl of an evaluation of TEST, one of this folder's data sets: rows with a field `prediction`, in TEST's
order, or with `index` (the row of TEST, from 0). Rows of TEST have `summary` and `facts` (place, person, number, organisation, day).

A fact is due when the row's own highlights name it. It is right when its whole string stands in the prediction, upper and lower case as
written, with no letter or digit right before or after it ("20" does not stand in "200"; "Anna Keller" needs both names). The share is
right / due: a fact that the summary leaves out counts as wrong, the same as a false one. Prints the share of each kind and of all facts.
"""

import argparse
import json
import re
import sys

KINDS = ("place", "person", "number", "organisation", "day")


def stands_in(fact, text):
    return re.search(r"(?<![A-Za-z0-9])" + re.escape(fact) + r"(?![A-Za-z0-9])", text) is not None


def count(predictions, rows):
    """{kind: [right, due]} over the rows that have a prediction."""
    counts = {kind: [0, 0] for kind in KINDS}
    for place, predicted in enumerate(predictions):
        index = int(predicted.get("index", place))
        if not 0 <= index < len(rows):
            raise ValueError(f"prediction {place + 1} is for row {index}, but the data set has {len(rows)} rows")
        row = rows[index]
        for kind in KINDS:
            fact = row["facts"][kind]
            if stands_in(fact, row["summary"]):
                counts[kind][1] += 1
                counts[kind][0] += stands_in(fact, predicted["prediction"])
    return counts


def shares(counts):
    """{kind: share} with "all" beside the kinds, and the number of rows' facts that were due."""
    result = {kind: right / due if due else None for kind, (right, due) in counts.items()}
    right, due = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
    result["all"] = right / due if due else None
    result["due"] = due
    return result


def read_lines(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions")
    parser.add_argument("test")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a line a kind")
    args = parser.parse_args()
    try:
        result = shares(count(read_lines(args.predictions), read_lines(args.test)))
    except (OSError, ValueError, KeyError) as error:
        print(f"facts.py: {args.predictions}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(result))
    else:
        for kind in (*KINDS, "all"):
            print(f"{kind:13}" + ("no fact due" if result[kind] is None else f"{100 * result[kind]:5.1f} %"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
