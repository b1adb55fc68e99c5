"""What must have become of each record of a site: checked byte for byte against what was produced."""

from collections import Counter

from schemas.dead_letter import BROKER, OWN, read_dead_letter
from schemas.reasons import NOTHING_TO_JUDGE, STAGE_OF, Reason
from schemas.record import SourceRecord
from schemas.verdict import Verdict
from tests.site import Site
from workers.tools.verify.verify import verify

DLQ_PARTITIONS = 3


def produced(site: Site) -> dict[tuple[int, int], SourceRecord]:
    """What is in the event topic, as Kafka gives it back."""
    return {(record.partition, record.offset): record for record in site.records(0)}


def check_letter(raw: SourceRecord, source: SourceRecord, reason: Reason | None, group: str) -> None:
    """A dead letter holds its record's own bytes, and says in both header families what became of it."""
    assert reason is not None, f"{source.record_id} was to get a verdict"
    if reason is Reason.EVENT_TOO_LARGE:  # a pointer
        source = source._replace(key=raw.key and source.key, value=b"", headers=())
    bare = [(name, value) for name, value in source.headers if not name.startswith((BROKER, OWN))]
    assert (raw.key, raw.value or None) == (source.key, source.value or None)
    assert raw.headers[: len(bare)] == tuple((name, value or b"") for name, value in bare)
    own = {name: (value or b"").decode() for name, value in raw.headers[len(bare) :]}
    assert len(own) == len(raw.headers) - len(bare), "a header of ours comes twice"
    assert (own[OWN + "reason"], own[OWN + "stage"]) == (reason, STAGE_OF[reason])
    place = tuple(own[BROKER + name] for name in ("topic", "partition", "offset", "group"))
    assert place == (source.topic, str(source.partition), str(source.offset), group)
    assert raw.partition == source.partition % DLQ_PARTITIONS
    letter = read_dead_letter(raw)
    assert (letter.key, letter.value, letter.headers) == (source.key, source.value, tuple(bare))


def check_all(
    site: Site, expected: dict[tuple[int, int], Reason | None], *, once: bool = True, skips: bool = False
) -> None:
    """Every record ended as expected and everything is committed; `once`, or with equal copies (P7).

    With `skips`, what holds nothing to judge has no outcome.

    A producer that fails leaves the outcome of what it had under way unknown, so that is sent again.
    """
    sources = produced(site)
    assert sources.keys() == expected.keys()
    verdicts = Counter()
    for record in site.records(1):
        verdict = Verdict.model_validate_json(record.value or b"")
        place = verdict.source.partition, verdict.source.offset
        verdicts[place] += 1
        assert record.key == sources[place].key
    letters = Counter()
    for raw in site.records(2):
        letter = read_dead_letter(raw)
        place = letter.source.partition, letter.source.offset
        letters[place] += 1
        check_letter(raw, sources[place], expected[place], site.settings.kafka.group_id)
    if not once:
        verdicts, letters = Counter(set(verdicts)), Counter(set(letters))
        ledger = verify(site.settings)
        assert ledger.is_proven, ledger
    assert verdicts == Counter(place for place, reason in expected.items() if reason is None)
    without = (None, *NOTHING_TO_JUDGE) if skips else (None,)
    assert letters == Counter(place for place, reason in expected.items() if reason not in without)
    assert site.committed() == Counter(partition for partition, _ in sources)
