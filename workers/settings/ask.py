"""The settings of the Ask lane: where it listens, and who may ask."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field

from workers.settings.section import PositiveSeconds, Section


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

    @property
    def is_local(self) -> bool:
        """Only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name, of which nobody knows what it stands for
