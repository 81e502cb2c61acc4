#!/usr/bin/env python3
"""Tests tools/bench: what counts as useful work, how rows are shown, and where they are written."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.path.dirname(os.path.abspath(__file__)), "../..").resolve()
sys.path.insert(0, str(ROOT / "bench"))
import flops  # noqa: E402
import results  # noqa: E402
from parts import PARTS  # noqa: E402

SMALL = flops.GPT2_SMALL
TOKENS, LABELLED = 512, 64 / 512
LORA, PROMPT, LAST = {"lora": {"rank": 8}}, {"soft_prompt": {"num_virtual_tokens": 20}}, {"last_layers": {"num_layers": 2}}


def mega(method, tokens=TOKENS, labelled=LABELLED):
    return flops.training(SMALL, method, tokens, labelled) / 1e6


class FlopsTest(unittest.TestCase):
    """Of GPT-2 small by hand: blocks 169.87 MFLOP a token, causal attention over 512 tokens 9.456, logits 77.19 where there is a label."""

    def test_full(self):
        self.assertAlmostEqual(mega({"full": {}}), 3 * 169.869 + 3 * 9.456 + 3 * 77.195 / 8, places=1)

    def test_lora_has_no_gradient_of_the_base(self):
        low_rank = 6 * 8 * (768 + 3 * 768) * 12 / 1e6
        self.assertAlmostEqual(mega(LORA), 2 * 169.869 + 3 * 9.456 + low_rank + 2 * 77.195 / 8 - 6 * 0.589824, places=1)

    def test_soft_prompt_computes_its_vectors_too(self):
        attention = 4 * 12 * 768 * 533 / 2 / 1e6
        self.assertAlmostEqual(mega(PROMPT), (2 * 169.869 + 3 * attention) * 532 / 512 + 2 * 77.195 / 8, places=1)

    def test_last_layers_go_no_further_back(self):
        self.assertAlmostEqual(mega(LAST), 169.869 + 9.456 + (2 * 169.869 + 2 * 9.456) / 6 + 2 * 77.195 / 8 - 6 * 0.589824, places=1)

    def test_a_hybrid_costs_more_than_each_of_its_parts_and_less_than_all(self):
        hybrid = mega({**LORA, **PROMPT, **LAST})
        self.assertGreater(hybrid, max(map(mega, (LORA, PROMPT, LAST))))
        self.assertLess(hybrid, sum(map(mega, (LORA, PROMPT, LAST))))

    def test_each_label_costs_its_logits_and_what_goes_back_through_them(self):
        self.assertAlmostEqual(mega(LORA, labelled=1) - mega(LORA, labelled=0), 2 * 77.195, places=1)

    def test_a_new_token_multiplies_each_weight_once(self):
        self.assertEqual(flops.decoding(SMALL), 2 * (124_439_808 - 1024 * 768))

    def test_of_a_prompt_one_token_has_logits(self):
        self.assertAlmostEqual(flops.prefill(SMALL, 512) / 1e6, 169.869 + 9.456 + 77.195 / 512, places=1)


def header():
    return results.Header("2026-01-02", "0123456789ab", "2 cores, some processor", "tools/bench training")


class RowsTest(unittest.TestCase):
    def test_a_table_has_ratios_shares_and_memory(self):
        row = results.Row("LoRA; tokens/s", {"graft": 300.0, "A": 200.0, "B": 250.0}, {"graft": 0.9, "B": 0.5}, {"graft": 1.5, "A": 6, "B": 4})
        self.assertEqual(results.table([row]).splitlines(), [
            "| what | graft | A | B | graft / A | graft / B | of P | memory; GB |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            "| LoRA; tokens/s | 300 | 200 | 250 | 1.50 | 1.20 | 0.90 · – · 0.50 | 1.50 · 6.00 · 4.00 |"])

    def test_what_was_not_measured_has_no_number(self):
        rows = [results.Row("a", {"graft": 1.0, "A": 2.0}), results.Row("b", {"graft": 0.25}), results.Row("c", {"graft": None, "A": 2.0})]
        self.assertEqual(results.table(rows).splitlines()[2:], ["| a | 1 | 2 | 0.50 |", "| b | 0.25 |  |  |", "| c | – | 2 |  |"])
        self.assertIsNone(results.median([]))

    def test_numbers_are_short(self):
        self.assertEqual([results.number(value) for value in (12345.6, 99.96, 0.0123456, 0.0000123, 3)], ["12,346", "100", "0.0123", "0.000012", "3"])

    def test_a_block_says_where_it_comes_from(self):
        text = results.block(header(), ["Random weights."], [results.Row("a", {"graft": 1.0})])
        self.assertEqual(text, "**2026-01-02, 0123456789ab**, 2 cores, some processor. `tools/bench training`\nRandom weights.\n\n"
                               "| what | graft |\n| --- | --- |\n| a | 1 |\n")


class FileTest(unittest.TestCase):
    def written(self, text, part, block):
        with tempfile.TemporaryDirectory() as scratch:
            file = pathlib.Path(scratch, "RESULTS.md")
            file.write_text(text, encoding="utf-8")
            results.append(part, block, file)
            return file.read_text(encoding="utf-8")

    def test_a_block_goes_to_the_end_of_its_section(self):
        text = "# Measured\n\n## start\n\nfirst\n\n## service\n\nother\n"
        self.assertEqual(self.written(text, "start", "second\n"), "# Measured\n\n## start\n\nfirst\n\nsecond\n\n## service\n\nother\n")
        self.assertEqual(self.written(text, "service", "second\n"), "# Measured\n\n## start\n\nfirst\n\n## service\n\nother\n\nsecond\n")

    def test_a_file_without_the_section_is_left_alone(self):
        with self.assertRaisesRegex(results.Unavailable, "no section '## training'"):
            self.written("# Measured\n\n## start of training\n", "training", "text\n")

    def test_every_part_has_a_section(self):
        text = results.FILE.read_text(encoding="utf-8")
        for part in PARTS:
            self.assertIn(f"\n## {part}\n", text)


class UsageTest(unittest.TestCase):
    def run_bench(self, *words):
        return subprocess.run([sys.executable, "-B", ROOT / "bench/run.py", *words], capture_output=True, text=True, check=False)

    def test_an_unknown_part_is_named_with_those_there_are(self):
        done = self.run_bench("trainig")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no part 'trainig'; there are training, generation", done.stderr)

    def test_figures_of_the_tiny_model_are_not_written(self):
        self.assertEqual(self.run_bench("rouge", "--tiny", "--write").returncode, 2)

    def test_a_part_that_cannot_run_is_named_with_its_reason_and_nothing_is_measured(self):
        with tempfile.TemporaryDirectory() as scratch:
            done = self.run_bench("tokenise", "service", "--tiny", "--bin", scratch, "--command", "a test")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"\nnot measured: tokenise: \S.*\nnot measured: service: \S.*\n$")
        self.assertNotIn("| graft |", done.stdout)

    def test_the_help_text_names_every_part_and_option(self):
        text = subprocess.run([ROOT / "tools/bench", "--help"], capture_output=True, text=True, check=True).stdout
        for word in (*PARTS, "--rounds", "--threads", "--precision", "--only", "--base", "--tiny", "--write", "--pack", "--packed", "--device"):
            self.assertIn(word, text)


if __name__ == "__main__":
    unittest.main()
