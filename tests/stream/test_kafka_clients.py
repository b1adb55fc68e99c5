"""The partitioner that remembers: the same choice as the library's own, for every key."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import DefaultPartitioner

from workers.stream.kafka_clients import RememberingPartitioner


@given(key=st.binary(max_size=200), partitions=st.integers(1, 50))
def test_a_key_goes_where_the_library_would_send_it(key: bytes, partitions: int) -> None:
    numbers = set(range(partitions))
    cluster = SimpleNamespace(
        topics=lambda: {"out"},
        partitions_for_topic=lambda _: numbers,
        available_partitions_for_topic=lambda _: numbers,
    )

    for _ in range(2):  # hashed, then remembered
        ours = RememberingPartitioner().partition("out", key, key, None, None, cluster)
        assert ours == DefaultPartitioner().partition("out", key, key, None, None, cluster)


def test_without_a_key_any_available_partition_will_do() -> None:
    cluster = SimpleNamespace(
        topics=lambda: {"out"},
        partitions_for_topic=lambda _: {0, 1, 2},
        available_partitions_for_topic=lambda _: {1},
    )

    assert RememberingPartitioner().partition("out", None, None, None, None, cluster) == 1
