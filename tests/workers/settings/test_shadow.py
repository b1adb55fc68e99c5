"""The shadow lane's settings: what is refused, and what the candidate has of its own."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from workers.settings.loading import load_settings

POLICY = Path("candidate.yaml")


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"shadow": {"enabled": True}}, "shadow.enabled=true needs a candidate"),
        ({"topics": {"shadow": "chat.events"}}, "topics.shadow=chat.events is also topics.events"),
        ({"topics": {"shadow": "moderation.verdicts"}}, "topics.shadow=moderation.verdicts is also topics.verdicts"),
        ({"topics": {"shadow": "moderation.dlq"}}, "topics.shadow=moderation.dlq is also topics.dead_letters"),
        ({"shadow": {"share": 0}}, "shadow.share=0"),
        ({"shadow": {"share": 1.1}}, r"shadow.share=1.1"),
        ({"shadow": {"polcy_file": "x"}}, "shadow.polcy_file: unknown setting"),
    ],
)
def test_p2_what_cannot_be_meant_is_refused_by_name(sections: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**sections)

    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("shadow", "guard", "policy", "has_model"),
    [
        ({"model": "other"}, ("other", None), None, True),
        ({"model": "other", "revision": "r2"}, ("other", "r2"), None, True),
        ({"revision": "r2"}, ("live", "r2"), None, True),
        ({"policy_file": POLICY}, ("live", "r1"), POLICY, False),
        ({"revision": "r2", "policy_file": POLICY}, ("live", "r2"), POLICY, True),
    ],
)
def test_a_candidate_has_what_it_names_and_live_s_for_the_rest(
    shadow: dict[str, Any], guard: tuple[str, str | None], policy: Path | None, has_model: bool
) -> None:
    live = load_settings(guard={"model": "live", "revision": "r1", "batch_size": 7}, shadow={"enabled": True, **shadow})
    candidate = live.candidate()

    assert (candidate.guard.model, candidate.guard.revision) == guard
    assert candidate.guard.batch_size == 7
    assert candidate.policy.file == policy
    assert live.shadow.has_model is has_model
    assert (live.guard.model, live.guard.revision, live.policy.file) == ("live", "r1", None)


def test_without_the_lane_there_is_no_candidate() -> None:
    settings = load_settings(shadow={"model": "other"})

    assert not settings.shadow.has_model
    assert settings.candidate().guard == settings.guard
