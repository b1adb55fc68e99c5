"""Turns labelled files into predictions, with the engine in this process.

Computes no figures; `pipelines.evaluation` does.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.evaluation.examples import LabelledExample, Prediction
from pipelines.evaluation.predicting import Predictor
from pipelines.evaluation.reported import refuse_idle_size
from pipelines.fitting.length import LengthRule
from pipelines.fitting.length_policy import JudgedWhole
from schemas.errors import ConfigurationError
from schemas.verdict import Provenance
from workers.evaluation.labelled_files import LabelledFiles
from workers.evaluation.prediction_files import PredictionWriter, RunRecord
from workers.extras import extras_named
from workers.guard.setup import judge_of, length_policy_of
from workers.serving import engine_choice
from workers.serving.local_guard import load_local_guard
from workers.settings.loading import Settings
from workers.settings.sections import GuardSettings

if TYPE_CHECKING:
    from workers.serving.engine.streaming.verdicts import Debounce


@dataclass(frozen=True)
class EvaluationOrder:
    """What is to be judged, and how.

    Attributes:
        labelled: the files.
        whole: judge each conversation whole, as published figures do; otherwise by the length policy that is set.
        limit: only the first so many examples; None: all.
        predictions: a file that verdicts are written to; None: none.
        size: whose published figures were asked for by name; None: nobody's.
        debounce: judge token by token with a Qwen3Guard-Stream model, and when an answer is then raised; None: do not.
    """

    labelled: LabelledFiles
    whole: bool
    limit: int | None
    predictions: Path | None
    size: str | None = None
    debounce: "Debounce | None" = None


async def judge_files(
    settings: Settings, order: EvaluationOrder, progress: Callable[[int, int | None], None]
) -> tuple[RunRecord, list[Prediction]]:
    """What the run was, and a prediction for each example, in order.

    Args:
        settings: all settings. Without a temperature for scores, they are the model's own probabilities.
        order: see there.
        progress: told how many examples are done, and of how many if that is known.

    Raises:
        ConfigurationError: there is no example, a file is not as it should be, or the engine cannot be loaded.
    """
    if settings.guard.score_temperature is None and order.debounce is None:
        settings = settings.with_guard(score_temperature=1.0)  # calibration and thresholds need probabilities
    guard, labelled = settings.guard, order.labelled
    with PredictionWriter(order.predictions) if order.predictions else nullcontext() as writer:
        # All of them before minutes of loading and hours of judging: what is wrong with a last row is said first.
        examples = list(labelled.read())[: order.limit]
        if not examples:
            raise ConfigurationError("the files hold no labelled example")
        if order.size is not None:
            benchmarks = {example.benchmark for example in examples}
            refuse_idle_size(order.size, benchmarks, streamed=order.debounce is not None)
        length: LengthRule = JudgedWhole() if order.whole else length_policy_of(settings.length)
        if order.debounce is None:
            predictor = Predictor(judge_of(settings, load_local_guard(guard)), length, guard.batch_size)
            chunks = predictor.predict(examples)
        else:
            chunks, stream_provenance = _streamed(guard, order.debounce, examples)
        started = datetime.now(UTC).isoformat(timespec="seconds")

        def record() -> RunRecord:
            streamed = order.debounce is not None
            return RunRecord(
                "1.0",
                version("weir-moderation"),
                started,
                guard.model,
                "stream_guard" if streamed else guard.engine,
                guard.score_temperature if guard.has_scores and not streamed else None,
                length.signature,
                "greedy",
                stream_provenance if streamed else predictor.provenance,
                dict(labelled.forms),
                order.debounce,
            )

        judged: list[Prediction] = []
        async for chunk in chunks:
            if writer is not None:
                if not judged:
                    writer.write_run(record())
                writer.write(chunk)
            judged += chunk
            progress(len(judged), len(examples))
        return record(), judged


def _streamed(
    settings: GuardSettings, debounce: "Debounce", examples: Sequence[LabelledExample]
) -> tuple[AsyncIterator[list[Prediction]], Provenance]:
    with extras_named():
        from workers.evaluation.streamed import StreamPredictor  # torch takes seconds

        guard = engine_choice.load_stream_guard(settings, debounce)
    identity = guard.identity

    async def chunks() -> AsyncIterator[list[Prediction]]:
        for chunk in StreamPredictor(guard, debounce, settings.batch_size).predict(examples):
            yield chunk

    return chunks(), Provenance(
        model=identity.model,
        revision=identity.revision,
        prompt_sha256=identity.prompt_sha256,
        engine=identity.engine,
        dtype=identity.dtype,
        parser=f"heads/{debounce}",
    )
