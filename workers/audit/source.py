"""The input of an audit: files or a range of a topic, planned in blocks, and the sample that is taken of it.

Reads the files' shapes, not their meaning.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex

from schemas.errors import ConfigurationError
from workers.audit.manifest import SampleTaken, TopicInput
from workers.audit.rows.block_rows import BlockRows
from workers.audit.rows.blocks import HowAsked, Plan, plan_files, plan_topic, survey
from workers.audit.rows.columns import Columns
from workers.audit.rows.event_rows import EventRows
from workers.audit.rows.presets import preset_of, turns_of
from workers.audit.rows.selection import sample_of
from workers.audit.run_folder import RunFolder
from workers.files.csv_dialect import AS_FOUND, DialectAsked
from workers.kafka.moments import AGE, milliseconds_of
from workers.settings.loading import Settings

Progress = Callable[[int, int | None], None]
_OFFSETS = re.compile(r"[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*")


@dataclass(frozen=True)
class AuditInput:
    """As given: files, or a topic from `begin` up to `end`."""

    files: Sequence[str]
    topic: str | None
    begin: str | None
    end: str | None
    mapping: dict[str, str]
    stratify: str | None
    block_rows: int
    dialect: DialectAsked = AS_FOUND
    form: str | None = None
    turns: str | None = None

    def plan(self, settings: Settings, run: str | None, progress: Progress) -> tuple[Plan, Columns | None]:
        """The blocks, and of files the columns.

        In a resumed run, a bound that moves with the clock stays where it was.

        Raises:
            ConfigurationError: options that exclude each other; a file or column that is not there; nothing to judge.
            ModerationError: Kafka says no.
        """
        if (self.topic is None) == (not self.files):
            raise ConfigurationError(
                "give files, or --topic" if self.topic is None else "--topic and files: one of them"
            )
        if self.topic is not None:
            if self.mapping or self.stratify or self.form or self.turns:
                raise ConfigurationError(
                    "--map, --format, --turns and --stratify are about columns, and a topic's events have none"
                )
            plan, columns = plan_topic(self._range(settings, self.topic, _begun(run)), self.block_rows), None
        else:
            if self.begin or self.end:
                raise ConfigurationError("--from and --to are about a topic; give the files that are wanted")
            preset = preset_of(self.form)
            turns = turns_of(self.turns, preset)
            how = HowAsked(self.dialect.checked(), preset.rows_at, preset.left_out)
            surveyed = survey(self.files, self.block_rows, progress, how, run)
            columns = Columns.resolve(self.mapping, surveyed.files, self.stratify, preset, turns)
            plan = plan_files(surveyed, self.block_rows, EventRows(columns).lookback)
        if not plan.blocks:
            raise ConfigurationError("there is nothing to judge: no rows")
        return plan, columns

    def _range(self, settings: Settings, topic: str, begun: Mapping[int, TopicInput]) -> list[TopicInput]:
        from workers.kafka.errors import kafka_faults  # half a second
        from workers.kafka.reader import TopicReader

        with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
            held = {partition.number: offsets for partition, offsets in reader.ranges([topic]).items()}

            def at(moment_ms: int) -> dict[int, int]:
                found = reader.ranges([topic], since_ms=moment_ms)
                return {partition.number: offsets.start for partition, offsets in found.items()}

            starts = _bounds(self.begin, {number: offsets.start for number, offsets in held.items()}, at, "--from")
            ends = _bounds(self.end, {number: offsets.end for number, offsets in held.items()}, at, "--to")
        kept = {number: item for number, item in begun.items() if item.topic == topic}
        if _moves(self.begin):
            starts |= {number: item.start for number, item in kept.items()}
        if _moves(self.end):
            ends |= {number: item.end for number, item in kept.items()}
        for number, offsets in held.items():
            if starts[number] < offsets.start and number not in kept:
                raise ConfigurationError(f"--from {starts[number]}: {topic}-{number} now begins at {offsets.start}")
            if ends[number] > offsets.end:
                raise ConfigurationError(f"--to {ends[number]}: {topic}-{number} ends at {offsets.end}")
        return [
            TopicInput(topic=topic, partition=number, start=min(starts[number], ends[number]), end=ends[number])
            for number in sorted(held)
        ]


def sample(
    asked: str | None, plan: Plan, columns: Columns | None, runs: Iterable[str | None] = ()
) -> SampleTaken | None:
    """The sample that is asked for.

    Its key is that of the first of `runs` that has one: a run that is taken up again keeps its sample, and one that
    goes on from another takes the same rows again.

    Raises:
        ConfigurationError: it cannot be taken.
    """
    if asked is None:
        if columns is not None and columns.stratum is not None:
            raise ConfigurationError("--stratify is about a sample; give --sample")
        return None
    if columns is None and not asked.endswith("%"):
        raise ConfigurationError(f"--sample {asked}: of a topic only a percentage; its rows are not known before")
    stratum = None if columns is None else columns.stratum
    return sample_of(asked, stratum, lambda: _members(plan, columns), _key_of(runs))


def _key_of(runs: Iterable[str | None]) -> str:
    for run in runs:
        if (
            run is not None
            and (folder := RunFolder(run)).is_begun()
            and (taken := folder.manifest().sample) is not None
        ):
            return taken.key
    return token_hex(16)


def _members(plan: Plan, columns: Columns | None) -> Iterator[tuple[str, str]]:
    assert columns is not None
    only = {field: name for field, name in columns.by_field.items() if field == "id"}
    narrow = Columns(only, columns.stratum, instead=columns.instead)
    rows, events = BlockRows(narrow.wanted, 0), EventRows(narrow)
    for block in plan.blocks:
        taken, _ = rows.read(block)
        for item in events.records(block, taken, ()):
            yield item.row_id or item.record.record_id, item.stratum


def _begun(run: str | None) -> dict[int, TopicInput]:
    """What a run was begun with, by partition."""
    if run is None or not (folder := RunFolder(run)).is_begun():
        return {}
    return {item.partition: item for item in folder.manifest().inputs if isinstance(item, TopicInput)}


def _moves(bound: str | None) -> bool:
    """Whether a bound means another offset tomorrow."""
    return bound is None or AGE.fullmatch(bound) is not None


def _bounds(
    text: str | None, otherwise: dict[int, int], at: Callable[[int], dict[int, int]], option: str
) -> dict[int, int]:
    """Offsets by partition: as given, those of a time, or those that there are."""
    if text is None:
        return dict(otherwise)
    if text.isdecimal():
        return dict.fromkeys(otherwise, int(text))
    if _OFFSETS.fullmatch(text):
        given = {int(pair.partition(":")[0]): int(pair.partition(":")[2]) for pair in text.split(",")}
        if unknown := set(given) - set(otherwise):
            raise ConfigurationError(f"{option} {text}: there is no partition {min(unknown)}")
        return {**otherwise, **given}
    try:
        moment = milliseconds_of(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {error}; nor an offset, nor 0:OFFSET,1:OFFSET") from None
    return at(moment)
