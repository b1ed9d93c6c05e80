"""Rules that must work unchanged."""

from __future__ import annotations

import pytest

from dsl import RuleSet, load
from dsl.compile.review import judge_trace
from tests.support import paths
from tests.support.fixtures import outcome

_SEED = paths.RULES / "seed.rules"
_NIGHT = '{"name": "database.access", "attributes": {"user.role": "contractor"}, "start": "2026-01-05T22:00:00Z"}'
_DAY = '{"name": "database.access", "attributes": {"user.role": "contractor"}, "start": "2026-01-05T12:00:00Z"}'


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    """The seed rules, which must load without problems."""
    loaded, reported = load([_SEED])
    assert [] == reported
    return loaded


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ("pii.access", {"soc2-cc6-7-pii-access-must-be-logged": "broken", "COMPLIANCE_VIOLATION": "broken"}),
        ("pii.access audit.log", {"soc2-cc6-7-pii-access-must-be-logged": "held", "COMPLIANCE_VIOLATION": "broken"}),
        (
            "pii.access auth.mfa_verified",
            {"soc2-cc6-7-pii-access-must-be-logged": "broken", "COMPLIANCE_VIOLATION": "held"},
        ),
        (
            'agent.tool{"role": "legal_research_agent"} call{"agent.tool.name": "hr_database"}',
            {"POLICY_VIOLATION": "broken"},
        ),
        ('agent.tool{"role": "legal_research_agent", "name": "contracts"}', {"POLICY_VIOLATION": "held"}),
        (
            'agent.goal{"role": "healthcare_info_agent", "deviation_score": 0.61}',
            {"AGENT_GOAL_DEVIATION": "broken"},
        ),
        ('agent.goal{"role": "healthcare_info_agent", "deviation_score": 0.6}', {"AGENT_GOAL_DEVIATION": "held"}),
        ("data.access", {"SOC2_CC6_1_VIOLATION": "broken"}),
        ("data.access auth.check", {"SOC2_CC6_1_VIOLATION": "held"}),
        ("phi.access", {"HIPAA_164_312_b_VIOLATION": "broken"}),
        ("phi.access audit.log", {"HIPAA_164_312_b_VIOLATION": "held"}),
        (_NIGHT, {"SECURITY_INCIDENT": "broken"}),
        (_DAY, {"SECURITY_INCIDENT": "held"}),
        ("audit.log auth.check unrelated", {}),
    ],
)
def test_seed_rules_give_the_right_verdicts(rules: RuleSet, trace: str, expected: dict[str, str]) -> None:
    """Each seed rule is broken by what it forbids and held by what it requires."""
    judgements = judge_trace(rules, outcome(f"yes {trace}")[2])

    assert expected == {judgement.rule.id: judgement.verdict.value for judgement in judgements}


def test_seed_rules_have_their_metadata(rules: RuleSet) -> None:
    """Kind, severity and controls come from the headers."""
    metadata = {rule.id: (rule.kind.value, rule.severity.value, rule.controls) for rule in rules.rules}

    assert 7 == len(metadata)
    assert ("invariant", "high", ("SOC2/CC6.7",)) == metadata["soc2-cc6-7-pii-access-must-be-logged"]
    assert ("pattern", "critical", ()) == metadata["SECURITY_INCIDENT"]
