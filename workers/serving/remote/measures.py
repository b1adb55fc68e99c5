"""The metrics of the servers, read at each collection.

Knows nothing of how they are called.
"""

from collections.abc import Sequence

from workers.serving.remote.endpoint import Endpoint, State
from workers.serving.remote.hedging import Hedging
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import observe

URL = "server.address"


class RemoteMeasures:
    """Figures of the servers of one engine.

    Args:
        endpoints: they.
        hedging: of their calls.
    """

    def __init__(self, endpoints: Sequence[Endpoint], hedging: Hedging) -> None:
        observe(table.REMOTE_HEDGES, lambda: [(hedging.made, {})])
        observe(table.REMOTE_CALLS, lambda: [(len(item.calls), {URL: item.url}) for item in endpoints])
        observe(table.REMOTE_LIMIT, lambda: [(int(item.limit), {URL: item.url}) for item in endpoints])
        observe(
            table.REMOTE_STATE,
            lambda: [
                (float(item.state is state), {URL: item.url, "moderation.remote.state": state})
                for item in endpoints
                for state in State
            ],
        )
        observe(
            table.REMOTE_FAULTS,
            lambda: [
                (count, {URL: item.url, "error.type": fault})
                for item in endpoints
                for fault, count in item.faults.items()
            ],
        )
