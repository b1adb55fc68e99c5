"""What was done to a record before it was judged, by code and count: never by text.

Empty for an event in the contract's own form.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Handled(StrEnum):
    """What was repaired, dropped or not assessed; the count is of the unit that is named."""

    SURROGATES_REPLACED = "surrogates_replaced"
    """Halves of characters (lone surrogates) that became U+FFFD, in texts and ids."""
    PARTS_NOT_ASSESSED = "parts_not_assessed"
    """Content parts without text: images, sounds, files, calls."""
    TURNS_DROPPED = "turns_dropped"
    """Turns of context that the chat template cannot show."""
    SYSTEM_TURNS_MERGED = "system_turns_merged"
    """System turns that were moved into the one at the front."""
    STRUCTURE_IN_TEXT = "structure_in_text"
    """Times that a text holds what the chat template writes around texts: it was judged part by part, too."""
    CREATED_AT_UNREADABLE = "created_at_unreadable"
    """Times in no form that is known; the event has none then."""


Handling = Mapping[Handled, int]
UNTOUCHED: Handling = MappingProxyType({})
