"""Every route of the Ask lane."""

from workers.ask.codecs import (
    chat_moderations,
    completions,
    gateways,
    moderations,
    perspective,
    rewards,
    trainers,
)

ROUTES = (
    moderations.ROUTE,
    chat_moderations.ROUTE,
    completions.ROUTE,
    gateways.LITELLM,
    gateways.PORTKEY,
    perspective.ROUTE,
    rewards.ROUTE,
    trainers.OPENRLHF,
    trainers.SLIME,
    trainers.VERL,
    trainers.NEMO,
)
