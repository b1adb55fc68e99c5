"""What the ledger holds: bounded in memory, whatever the length of the topics, and nothing forgotten on disk."""

import random
import tracemalloc

from schemas.record import Partition
from tests.allocations import held_by
from tests.samples.outcomes import verdict_of
from tests.workers.tools.verify.sample_book import EVENTS, TOPICS, Book, broken
from workers.tools.verify.ledger import LedgerBook
from workers.tools.verify.pages import PAGE, LedgerPages, PageKey


def test_p9_pages_beyond_the_bound_leave_memory_and_come_back_as_they_were() -> None:
    pages = LedgerPages(resident=3)
    keys = [PageKey(0, inputs, 0, number) for inputs in (0, 1) for number in range(20)]
    for turn in (1, 2):
        for value, key in enumerate(keys, 1):
            page = pages.page(key)
            page.flags[value] += turn
            page.payloads[value] = page.identities[PAGE - 1] = page.judges[0] = 2**64 - value
    for value, key in enumerate(keys, 1):
        found = pages.find(key)
        assert found is not None
        assert (found.flags[value], sum(found.flags)) == (3, 3)
        assert (found.payloads[value], found.identities[PAGE - 1], found.judges[0]) == (2**64 - value,) * 3
    assert pages.numbers(0, 1) == list(range(20))
    assert pages.find(PageKey(0, 1, 1, 0)) is None
    pages.close()


def test_p9_memory_does_not_grow_with_the_number_of_inputs() -> None:
    def held(inputs: int) -> int:
        tracemalloc.start()
        try:
            book = LedgerBook({Partition(EVENTS, 0): (0, inputs)}, resident=4)
            for offset in range(0, inputs, PAGE // 2):
                book.add_input(Book.input(offset))
            return held_by("*/workers/tools/verify/*")
        finally:
            tracemalloc.stop()
            book.free()

    few = held(10_000)
    assert few > PAGE, "what is held is seen"
    assert held(1_000_000) < few + 50_000


def test_p9_offsets_that_hold_nothing_take_nothing() -> None:
    book = LedgerBook({Partition(EVENTS, 0): (0, 2**60)}, resident=4)
    offsets = [0, 5, 2**40, 2**60 - 1]
    for offset in offsets:
        book.add_input(Book.input(offset))
        record = Book.input(offset)
        book.add_verdict(record._replace(topic=TOPICS.verdicts, value=verdict_of(record).to_bytes()))
    ledger = book.close()
    assert ledger.is_proven
    assert ledger.verdicts == 4


def test_p1_the_ledger_is_the_same_with_few_pages_in_memory_as_with_all() -> None:
    draw = random.Random(7)
    writes = [(draw.randrange(3 * PAGE), draw.choice(("r1", "r1", "r1", "r2"))) for _ in range(4_000)]
    ledgers = []
    for resident in (2, 100):
        book = Book(3 * PAGE, resident=resident)
        for offset, revision in writes:
            book.verdicts(offset, revision=revision)
        book.letters(7, PAGE + 7)
        ledgers.append(book.book.close())
    assert ledgers[0] == ledgers[1]
    assert broken(ledgers[0]) >= {"P1", "P8"}
    assert ledgers[0].rejudged > 100
    assert ledgers[0].missing == 3 * PAGE - ledgers[0].verdicts - ledgers[0].dead_letters + ledgers[0].conflicting
