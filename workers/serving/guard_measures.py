"""The metrics of a guard replica: a few measurements a batch, and figures that are read at each collection.

Knows nothing of how batches are made.
"""

from collections.abc import Callable, Sequence

from workers.guard.lane import Lane
from workers.serving.engine.completion import Completion, Engine, PreparedPrompt
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import histogram, observe, observe_value

FAILED = {"error.type": "failed"}


class GuardMeasures:
    """Figures of one replica.

    Args:
        engine: asked for what it has drafted.
        load_s: seconds that loading it took.
        waiting: tells how many prompts of a lane wait for it.
    """

    def __init__(self, engine: Engine, load_s: float, waiting: Callable[[Lane], int]) -> None:
        self._sizes = histogram(table.BATCH_SIZE)
        self._tokens = histogram(table.BATCH_TOKENS)
        self._durations = histogram(table.BATCH_DURATION)
        self._waits = histogram(table.QUEUE_DURATION)
        self._input = self._output = self._background = self._refused = 0
        observe_value(table.ASK_QUEUE_SIZE, lambda: waiting(Lane.ASK))
        observe_value(table.QUEUE_SIZE, lambda: waiting(Lane.LIVE))
        observe_value(table.BACKGROUND_QUEUE_SIZE, lambda: waiting(Lane.BACKGROUND))
        observe_value(table.BACKGROUND_PROMPTS, lambda: self._background)
        observe_value(table.BACKGROUND_REFUSED, lambda: self._refused)
        observe_value(table.MODEL_LOAD, lambda: load_s)
        observe_value(table.DRAFT_TOKENS, lambda: engine.draft_counts.drafted)
        observe_value(table.DRAFT_ACCEPTED, lambda: engine.draft_counts.accepted)
        observe(
            table.TOKENS,
            lambda: [(self._input, {"gen_ai.token.type": "input"}), (self._output, {"gen_ai.token.type": "output"})],
        )

    def ran(
        self,
        prompts: Sequence[PreparedPrompt],
        completions: Sequence[Completion] | None,
        seconds: float,
        *,
        background: int,
    ) -> None:
        """Measure one batch, `background` prompts of it being background; without completions, one that raised."""
        tokens = sum([len(prompt) for prompt in prompts])
        self._sizes.record(len(prompts))
        self._tokens.record(tokens)
        self._durations.record(seconds, FAILED if completions is None else None)
        if completions is not None:
            self._background += background
            self._input += tokens
            self._output += sum([completion.output_tokens for completion in completions])

    def refused(self) -> None:
        """Count a background call that was not taken on."""
        self._refused += 1

    def waited(self, queue_ms: Sequence[float]) -> None:
        """Measure the longest of the waits of one live call's prompts, in milliseconds."""
        if queue_ms:
            self._waits.record(max(queue_ms) / 1000)
