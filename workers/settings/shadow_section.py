"""The settings section of the shadow lane, and which of its pairs with others are refused.

Does not read the environment; `workers.settings.loading` does.
"""

from pathlib import Path

from pydantic import Field

from workers.settings.sections import Positive, PositiveSeconds, Ratio, Section, TopicSettings


class ShadowSettings(Section):
    """A candidate model, revision or policy that judges a sample of live traffic and decides nothing; decision 0015."""

    enabled: bool = Field(False, description="have a candidate judge a sample of live traffic; it decides nothing")
    share: Ratio = Field(0.01, description="share of the judged events, chosen by their ids")
    model: str | None = Field(None, description="the candidate's model: hub name, local folder, or demo")
    revision: str | None = Field(None, description="its hub revision; alone: another revision of guard.model")
    policy_file: Path | None = Field(
        None, description="the candidate's policy; without a model, it is applied to the live guard's answers"
    )
    replicas: Positive = Field(1, description="guard replicas of the candidate's model, as large as guard's own")
    queue_records: Positive = Field(1_024, description="records that wait for the candidate; more are left out")
    timeout_s: PositiveSeconds = Field(30.0, description="records without the candidate's answer by then are left out")
    summary_interval_s: PositiveSeconds = Field(60.0, description="time between two summaries of a consumer")

    @property
    def has_model(self) -> bool:
        """The candidate has replicas of its own."""
        return self.enabled and (self.model is not None or self.revision is not None)


def unsafe_shadow_pairs(shadow: ShadowSettings, topics: TopicSettings) -> list[tuple[bool, str]]:
    """What is broken, and how that is said."""
    others = {topics.verdicts: "topics.verdicts", topics.dead_letters: "topics.dead_letters"}
    others |= dict.fromkeys(topics.events, "topics.events")
    return [
        (
            shadow.enabled and not shadow.has_model and shadow.policy_file is None,
            "shadow.enabled=true needs a candidate: shadow.model, shadow.revision or shadow.policy_file",
        ),
        (
            topics.shadow in others,
            f"topics.shadow={topics.shadow} is also {others.get(topics.shadow)}",
        ),
    ]
