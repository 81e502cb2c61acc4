"""The command that anybody can check part 7 with (see rouge_command_claims.py)."""

import rouge_command_claims


def test_graft_rouge_is_rouge_score_with_the_documented_intervals(tmp_path):
    claims = rouge_command_claims.claims(short=True, folder=tmp_path)
    assert [str(claim) for claim in claims if not claim.holds] == []
