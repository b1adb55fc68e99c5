"""Chooses a few verdicts of a run for a reviewer, in one pass with bounded memory.

Equal texts are shown once. The choice depends on the rows, not on their order.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.verdict import Severity
from workers.audit.report.counts import mask_of
from workers.audit.report.model import Example, ExampleList

EXAMPLE_COLUMNS = [
    "verdict_id",
    "event_id",
    "conversation_id",
    "tenant",
    "task",
    "occurred_at",
    "language",
    "severity",
    "categories",
    "action",
    "severity_scores",
    "source_topic",
    "source_partition",
    "source_offset",
    "text_sha256",
]
TEXTS = ["text_sha256", "text"]
BORDERLINE = 0.5
"""Two labels whose probabilities are nearer than this are a close call."""
MOST_CHARACTERS = 2_000
_Key = tuple[float, str]


class _Leading:
    """The first rows by a key, one for each text."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[str, tuple[_Key, dict[str, Any]]] = {}
        self._bound: _Key = (float("inf"), "\x7f")  # behind every digest

    def add(self, batch: Any, order: Any) -> None:
        """Consider rows; `order` is NaN for those to be left out. Ties go by the verdict's id, a digest."""
        score, last = self._bound
        ids = batch["verdict_id"]
        ahead = (order < score) | ((order == score) & mask_of(pc.less(ids, last)))
        indices = np.flatnonzero(ahead)
        if not self._most or not len(indices):
            return
        waiting = pa.table({"order": order[indices], "id": ids.take(indices), "index": indices})
        by_key = waiting.sort_by([("order", "ascending"), ("id", "ascending")])
        for start in range(0, len(indices), 4 * self._most):
            some = by_key.slice(start, 4 * self._most)
            rows = batch.take(some["index"].combine_chunks()).to_pylist()
            for row, first in zip(rows, some["order"].to_pylist(), strict=True):
                key = (first, row["verdict_id"])
                if len(self._rows) >= self._most and key >= self._bound:
                    return  # none behind it is any better
                self._take(key, row)

    def _take(self, key: _Key, row: dict[str, Any]) -> None:
        text = row["text_sha256"]
        if text not in self._rows or key < self._rows[text][0]:
            self._rows[text] = (key, row)
        if len(self._rows) > self._most:
            del self._rows[max(self._rows, key=lambda sha: self._rows[sha][0])]
        if len(self._rows) == self._most:
            self._bound = max(key for key, _ in self._rows.values())

    def rows(self) -> Iterable[tuple[_Key, dict[str, Any]]]:
        """What was kept, in order."""
        return sorted(self._rows.values(), key=lambda kept: kept[0])


class ExampleChoice:
    """The worst examples, Unsafe with the highest scores, and the borderline ones; as many of each as asked for.

    Without scores the worst are any Unsafe ones and the borderline ones any Controversial ones, chosen by their ids.
    """

    def __init__(self, most: int) -> None:
        self._worst, self._borderline = _Leading(most), _Leading(most)

    def add(self, batch: Any, scores: Any) -> None:
        """Consider a batch with the columns `EXAMPLE_COLUMNS`, and `text` where that is wanted.

        `scores` are those of `report_counts.scores_of`.
        """
        unsafe = scores[tuple(Severity).index(Severity.UNSAFE)]
        worst = np.where(np.isnan(unsafe), np.inf, -unsafe)
        self._worst.add(batch, _of_severity(batch, Severity.UNSAFE, worst))
        scored = ~np.isnan(scores).any(axis=0)
        margin = np.max(scores, axis=0) - np.median(scores, axis=0)
        close = np.where(scored & (margin < BORDERLINE), margin, np.nan)
        unscored = _of_severity(batch, Severity.CONTROVERSIAL, np.full(len(margin), np.inf))
        self._borderline.add(batch, np.where(scored, close, unscored))

    def lists(self) -> list[ExampleList]:
        """Both lists."""
        return [_example_list("worst", self._worst), _example_list("borderline", self._borderline)]


def _of_severity(batch: Any, severity: Severity, order: Any) -> Any:
    return np.where(mask_of(pc.equal(batch["severity"], severity.value)), order, np.nan)


def _example_list(name: Literal["worst", "borderline"], leading: _Leading) -> ExampleList:
    kept = list(leading.rows())
    by_score = any(np.isfinite(key[0]) for key, _ in kept)
    return ExampleList(name=name, by_score=by_score, examples=[example_of(row) for _, row in kept])


def example_of(row: dict[str, Any]) -> Example:
    """One row as the page shows it."""
    scores = dict(row["severity_scores"] or [])
    text: str | None = row.get("text")
    occurred: datetime | None = row["occurred_at"]
    return Example(
        event_id=row["event_id"],
        verdict_id=row["verdict_id"],
        tenant=row["tenant"],
        conversation_id=row["conversation_id"],
        occurred_at=occurred.isoformat() if occurred else None,
        language=row["language"],
        task=row["task"],
        severity=row["severity"],
        categories=row["categories"],
        action=row["action"],
        scores={label.value: scores[label.value] for label in Severity if label.value in scores},
        source=source_of(row),
        text_name=row["text_sha256"],
        text=None if text is None else shortened(text),
    )


def texts_of(batches: Iterable[Any], digests: Collection[str]) -> dict[str, str]:
    """Texts by their SHA-256, as the page shows them.

    Args:
        batches: of verdicts, with the columns `TEXTS`.
        digests: those that are wanted.
    """
    wanted, found = pa.array(sorted(digests), pa.string()), dict[str, str]()
    for batch in batches:
        chosen = batch.filter(pc.is_in(batch["text_sha256"], value_set=wanted))
        for digest, text in zip(*(chosen[name].to_pylist() for name in TEXTS), strict=True):
            if text is not None and digest not in found:
                found[digest] = shortened(text)
    return found


def shortened(text: str) -> str:
    """The first characters of a text, and how many more there are."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]} … ({len(text) - MOST_CHARACTERS} characters more)"


def source_of(row: dict[str, Any]) -> str:
    """Where the record was: file and row, or topic, partition and offset."""
    return f"{row['source_topic']} / {row['source_partition']} / {row['source_offset']}"
