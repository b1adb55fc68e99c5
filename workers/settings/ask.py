"""The settings of the Ask lane: where it listens, and who may ask."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field

from workers.settings.section import Positive, PositiveSeconds, Section


class AskSettings(Section):
    """Answers over HTTP; decision 0020."""

    enabled: bool = Field(False, description="answer over HTTP as well; `weir serve` does nothing else")
    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on; others than this machine's own need keys_file"
    )
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(8_000, description="port to listen on")
    keys_file: Path | None = Field(
        None,
        description="YAML file of bearer keys' digests, each with its tenant, routes and limits; reread on change",
    )
    deadline_s: PositiveSeconds = Field(
        30.0, description="a request that cannot be answered within this time is refused; a caller may ask for less"
    )

    stream: bool = Field(
        False, description="judge answers while they are written, at /v1/stream, with the model of stream_guard"
    )
    stream_turns: Positive = Field(4_096, description="turns that are known at /v1/stream; more cost a replay of some")
    stream_idle_s: PositiveSeconds = Field(
        300.0, description="a turn that nobody asks about for this long is forgotten; its text begins it again"
    )

    @property
    def judges_turns(self) -> bool:
        """Answers are judged over HTTP while they are written."""
        return self.enabled and self.stream

    @property
    def is_local(self) -> bool:
        """Only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name, of which nobody knows what it stands for
