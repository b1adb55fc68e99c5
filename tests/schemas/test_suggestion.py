"""A name that is nearly a known one is suggested, and nothing that is merely in the same section."""

import pytest

from schemas.suggestion import did_you_mean
from workers.settings.loading import variable_names

VARIABLES = variable_names()


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("WEIR_KAFKA_GROUP_ID", "WEIR_KAFKA__GROUP_ID"),
        ("WEIR_GUARD__MODLE", "WEIR_GUARD__MODEL"),
        ("kafka.sasl_pass", "kafka.sasl_password"),
        ("kafka.groupid", "kafka.group_id"),
        ("policy.files", "policy.file"),
        ("WEIR_KAFKA__ACKS", None),
        ("WEIR_GUARD__X", None),
        ("", None),
        ("kafka", None),
    ],
)
def test_a_setting_that_is_nearly_one(wrong: str, meant: str | None) -> None:
    said = did_you_mean(wrong, VARIABLES if wrong.isupper() else VARIABLES.values())

    assert said == (f"; did you mean {meant}?" if meant else "")


@pytest.mark.parametrize(("wrong", "meant"), [("sent-at", "sent_at"), ("Text", "text"), ("tenat", "tenant")])
def test_a_column_that_is_nearly_one(wrong: str, meant: str) -> None:
    assert did_you_mean(wrong, ["id", "sent_at", "text", "tenant"]) == f"; did you mean {meant}?"
