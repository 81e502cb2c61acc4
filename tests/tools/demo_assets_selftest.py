#!/usr/bin/env python3
"""Tests tools/demo_assets: the committed data set is what its script makes, and facts are counted as facts.py says."""

import json
import os
import pathlib
import sys
import tempfile
import unittest

ASSETS = pathlib.Path(os.path.dirname(os.path.abspath(__file__)), "../../tools/demo_assets").resolve()
sys.path.insert(0, str(ASSETS))
import facts  # noqa: E402
import make  # noqa: E402


def rows_of(split):
    return facts.read_lines(ASSETS / "data" / f"{split}.jsonl")


def row(summary, **changed):
    named = {"place": "Marlow", "person": "Anna Keller", "number": "20", "organisation": "Beacon Trust", "day": "Monday"}
    return {"summary": summary, "facts": {**named, **changed}}


class DataTest(unittest.TestCase):
    def test_committed_rows_are_made_again_byte_for_byte(self):
        with tempfile.TemporaryDirectory() as scratch:
            make.make_data(pathlib.Path(scratch))
            for split in make.ROWS:
                name = f"{split}.jsonl"
                self.assertEqual(pathlib.Path(scratch, name).read_bytes(), (ASSETS / "data" / name).read_bytes(), name)

    def test_no_two_rows_tell_of_the_same_facts(self):
        told = [tuple(row["facts"].values()) for split in make.ROWS for row in rows_of(split)]
        self.assertEqual(len(told), len(set(told)))

    def test_articles_and_highlights_name_their_facts(self):
        for each in (row for split in make.ROWS for row in rows_of(split)):
            for kind in facts.KINDS:
                self.assertTrue(facts.stands_in(each["facts"][kind], each["document"]), each["id"])
                self.assertTrue(facts.stands_in(each["facts"][kind], each["summary"]), each["id"])

    def test_assets_stay_small(self):
        size = sum(path.stat().st_size for folder in ("data", "model") for path in (ASSETS / folder).iterdir())
        self.assertLess(size, 5_000_000)


class FactsTest(unittest.TestCase):
    def test_a_fact_must_stand_there_whole(self):
        self.assertTrue(facts.stands_in("20", "It cost 20 dollars."))
        self.assertFalse(facts.stands_in("20", "It cost 200 dollars."))
        self.assertFalse(facts.stands_in("Anna Keller", "Anna Novak and Keller"))
        self.assertTrue(facts.stands_in("Marlow", "Marlow's mayor"))

    def test_a_missing_fact_counts_as_wrong_and_one_that_is_not_due_does_not_count(self):
        rows = [row("In Marlow on Monday, Anna Keller.")]
        counts = facts.count([{"prediction": "In Marlow on Friday."}], rows)
        self.assertEqual(counts, {"place": [1, 1], "person": [0, 1], "number": [0, 0], "organisation": [0, 0], "day": [0, 1]})
        self.assertAlmostEqual(facts.shares(counts)["all"], 1 / 3)
        self.assertIsNone(facts.shares(counts)["number"])

    def test_predictions_are_matched_by_index(self):
        rows = [row("Marlow"), row("Kelby", place="Kelby")]
        counts = facts.count([{"index": 1, "prediction": "Kelby"}], rows)
        self.assertEqual(counts["place"], [1, 1])
        with self.assertRaises(ValueError):
            facts.count([{"index": 2, "prediction": "Kelby"}], rows)


if __name__ == "__main__":
    unittest.main()
