from __future__ import annotations

from facecore.config import GateSettings
from facecore.quality.frame import JUDGED
from facecore.quality.suites import (
    BATCH_FAILURES,
    Rule,
    batch_rules,
    batch_suite,
    row_rules,
    row_suite,
)
from facecore.stages.reasons import REASONS

SETTINGS = GateSettings(min_sharpness=0.77, batch_max_rejected=0.123)


def test_every_rule_has_a_described_code_and_one_limit():
    rules = row_rules(SETTINGS)
    assert len({rule.code for rule in rules}) == len(rules)
    assert {rule.code for rule in rules} <= set(REASONS)
    assert {rule.column for rule in rules} == set(JUDGED)
    assert {rule.code for rule in batch_rules(SETTINGS)} == set(BATCH_FAILURES)
    for rule in (*rules, *batch_rules(SETTINGS)):
        assert (rule.at_least is None) != (rule.at_most is None)


def test_suites_carry_the_settings_and_codes():
    rows = {e.meta["code"]: e for e in row_suite(SETTINGS).expectations}
    assert rows["too_blurred"].min_value == 0.77
    assert rows["reject_code"].column == "reject_code"
    assert set(rows) == {"reject_code", *(rule.code for rule in row_rules(SETTINGS))}
    batch = {e.meta["code"]: e for e in batch_suite(SETTINGS).expectations}
    assert batch["too_many_rejected"].max_value == 0.123


def test_explanations_state_value_and_limit():
    assert Rule("x", "sharpness", at_least=0.5).explain(0.123) == "sharpness 0.123 is below 0.5"
    assert Rule("x", "aspect", at_most=5).explain(7.0) == "aspect 7 is above 5"
