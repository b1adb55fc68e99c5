"""Samples say the same of a row each time; an earlier run's verdicts are left out only where they would be the same."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.errors import ConfigurationError
from schemas.verdict import Provenance
from tests.audit.scripted_lane import used_policy
from workers.audit.row_selection import AlreadyJudged, is_sampled, keys_of_run, sample_of
from workers.audit.tables import VERDICT_SCHEMA, table_of

ROWS = [(f"e{number}", "rare" if number % 100 == 0 else "de" if number % 4 == 0 else "en") for number in range(2_000)]
PROVENANCE = Provenance(model="m", revision="1", prompt_sha256="p", engine="e", dtype="d", parser="1")


def taken(asked: str, stratum: str | None = None) -> list[tuple[str, str]]:
    sample = sample_of(asked, stratum, lambda: ROWS)
    return [row for row in ROWS if is_sampled(sample, *row)]


def test_a_number_is_that_many_rows_and_the_same_ones_each_time() -> None:
    assert len(taken("150")) == 150
    assert taken("150") == taken("150")
    assert set(taken("100")) < set(taken("150"))
    assert len(taken("5000")) == len(ROWS)


def test_a_share_is_about_that_share() -> None:
    assert 0.08 < len(taken("10%")) / len(ROWS) < 0.12
    assert taken("100%") == ROWS


def test_strata_keep_their_shares_and_none_is_left_out() -> None:
    sizes = Counter(stratum for _, stratum in taken("50", "language"))

    assert sum(sizes.values()) == 50
    assert sizes == {"en": 37, "de": 12, "rare": 1}


@pytest.mark.parametrize("asked", ["0", "-1", "some", "0%", "101%", "5 %"])
def test_a_sample_that_cannot_be_is_refused(asked: str) -> None:
    with pytest.raises(ConfigurationError, match="sample"):
        taken(asked)


def test_only_verdicts_that_would_come_out_the_same_count_as_judged() -> None:
    policy = used_policy()
    shared = {
        **dict.fromkeys(VERDICT_SCHEMA.names),
        **PROVENANCE.model_dump(),
        "policy_sha256": policy.sha256,
        "text_sha256": "t",
        "categories": [],
    }
    full = {
        name: shared[name] if shared[name] is not None or VERDICT_SCHEMA.field(name).nullable else _any(name)
        for name in VERDICT_SCHEMA.names
    }
    table = table_of([{**full, "event_id": f"e{number}"} for number in range(50)], VERDICT_SCHEMA)
    keys = keys_of_run([table], policy.length)
    judged = AlreadyJudged(keys, PROVENANCE, policy)

    assert len(keys) == 50
    assert ("e7", "t") in judged
    assert ("e50", "t") not in judged
    assert ("e7", "another text") not in judged
    for field in Provenance.model_fields:
        other = PROVENANCE.model_copy(update={field: "other"})
        assert ("e7", "t") not in AlreadyJudged(keys, other, policy)
    for field in ("sha256", "length"):
        assert ("e7", "t") not in AlreadyJudged(keys, PROVENANCE, policy.model_copy(update={field: "other"}))


def _any(name: str) -> object:
    return "x" if VERDICT_SCHEMA.field(name).type == "string" else 0
