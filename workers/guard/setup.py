"""Builds policy, length policy and judge from the settings, the same for every lane.

Loads no model and makes no client.
"""

from collections.abc import Callable
from functools import partial

from pipelines.backoff import Backoff
from pipelines.fitting.length_policy import LengthPolicy
from pipelines.fitting.structure import StructureRule
from pipelines.guard import Guard
from pipelines.guard_family import QWEN3GUARD_GEN
from pipelines.judging import Judge
from pipelines.moderation import Moderation
from pipelines.policy import Policy, load_policy
from schemas.errors import ConfigurationError
from workers.settings.loading import Settings
from workers.settings.sections import EventSettings, LengthSettings


def length_policy_of(settings: LengthSettings) -> LengthPolicy:
    """The rule for long conversations, as set."""
    return LengthPolicy(settings.mode, settings.max_tokens, settings.overlap_tokens, settings.max_windows)


def structure_rule_of(settings: EventSettings) -> StructureRule:
    """The rule for texts that look like a conversation, as set."""
    return StructureRule(settings.structure_in_text, QWEN3GUARD_GEN.template_text)


def policy_of(settings: Settings) -> Policy:
    """The policy file that is set, or the built-in policy.

    Raises:
        ConfigurationError: the file is wrong, or routes verdicts into one of our own topics.
    """
    policy, topics = load_policy(settings.policy.file), settings.topics
    # A verdict in an input topic would be read as an event again.
    own = {*topics.events, topics.verdicts, topics.dead_letters, topics.shadow, topics.deltas, topics.stream}
    if loops := {*policy.topics} & own:
        raise ConfigurationError(f"policy.file={settings.policy.file}: routes to {min(loops)}, which has another role")
    return policy


def moderation_of(settings: Settings, new_moderation: Callable[..., Moderation] = Moderation) -> Moderation:
    """What is done before and after the model, as set.

    Args:
        settings: all settings.
        new_moderation: makes it; a subclass of `Moderation`, or anything that takes the same arguments.

    Raises:
        ConfigurationError: see `policy_of`.
    """
    return new_moderation(
        policy_of(settings),
        length_policy_of(settings.length),
        max_event_bytes=settings.limits.max_event_bytes,
        group=settings.kafka.group_id,
        structure=structure_rule_of(settings.events),
    )


def judge_of(settings: Settings, guard: Guard, held: Callable[[], None] = lambda: None) -> Judge:
    """Retry and isolation around a guard, as set; `held` is called whenever the guard is what holds requests up."""
    delivery = settings.delivery
    return Judge(
        guard,
        max_attempts=delivery.max_attempts,
        max_crashes=delivery.max_crashes,
        new_backoff=partial(Backoff, delivery.backoff_initial_s, delivery.backoff_max_s),
        held=held,
    )
