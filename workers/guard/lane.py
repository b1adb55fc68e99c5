"""The lanes of a guard's calls: who goes first. Imports nothing of ours, because callers and replicas name them."""

from enum import StrEnum


class Lane(StrEnum):
    """From the first to the last; see `workers.serving.batching.lanes`."""

    ASK = "ask"
    LIVE = "live"
    BACKGROUND = "background"
