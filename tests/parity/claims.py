"""What parity is claimed of: nine parts, each a module whose `claims(short)` runs the real library beside ours and measures.

`short` is what tools/test has time for (all parts together: five minutes); the long form is what docs/PARITY.md reports. A part's
module may raise Unavailable when something that cannot be committed is not there, such as the real data.
"""

import dataclasses
import importlib
import importlib.util

PARTS = {
    1: ("Tokenizer", "tokenizer_claims"),
    2: ("Model", "model_claims"),
    3: ("A training run", "training_claims"),
    4: ("bf16", "bf16_claims"),
    5: ("Adapters both ways", "adapter_claims"),
    6: ("Generation", "generation_claims"),
    7: ("ROUGE", "rouge_claims"),
    8: ("Determinism", "determinism_claims"),
    9: ("The fingerprint", "fingerprint_claims"),
}


class Unavailable(Exception):
    """The claims cannot be measured here; the text says what is missing."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """`largest` is the largest difference over `cases` comparisons; what must be equal has tolerance 0 and counts what is not."""

    part: int
    what: str
    largest: float
    tolerance: float
    cases: int

    @property
    def holds(self):
        return self.cases > 0 and self.largest <= self.tolerance  # False for NaN

    def __str__(self):
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return f"{self.part} {self.what}: largest {self.largest:.3g}, tolerance {self.tolerance:.3g}, {self.cases:,} cases: {verdict}"


class Largest:
    """Gathers the largest difference of many comparisons; a NaN among them stays."""

    def __init__(self):
        self.value = 0.0
        self.cases = 0

    def add(self, difference, cases=1):
        difference = float(difference)
        if not difference <= self.value and self.value == self.value:
            self.value = difference
        self.cases += cases

    def count_unequal(self, ours, theirs):
        """For claims of equality: `value` is the number of unequal pairs."""
        ours, theirs = list(ours), list(theirs)
        assert len(ours) == len(theirs)
        self.value += sum(a != b for a, b in zip(ours, theirs))
        self.cases += len(ours)

    def claim(self, part, what, tolerance):
        return Claim(part, what, self.value, tolerance, self.cases)


def is_written(part):
    return importlib.util.find_spec(PARTS[part][1]) is not None


def claims_of(part, short):
    return importlib.import_module(PARTS[part][1]).claims(short)
