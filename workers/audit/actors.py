"""Runs blocks on a pool of Ray Data actors. Ray restarts an actor that died and gives it its block again.

The only module of the audit lane that names Ray. Plans nothing and does not say what a block's work is.
"""

import json
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
from pyarrow import ArrowException
from ray.data import ActorPoolStrategy
from ray.data._internal.block_batching.interfaces import BlockPrefetcher
from ray.exceptions import RayError

from schemas.errors import ModerationError
from workers.audit.block_judge import Lane
from workers.audit.block_work import BlockWork, ReadTopic, RunWork
from workers.audit.manifest import BlockMarker
from workers.audit.rows.blocks import Block
from workers.audit.rows.selection import Keys
from workers.files.locations import reason_of
from workers.serving.ray_session import quiet_actors, start_ray
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
MOST_TASKS = 4_096  # of Ray Data; beyond it one task does several blocks, and one that comes again finds their markers
_THREADS = ("StreamingExecutor", "iter_threaded", "Prefetcher")  # of Ray Data, while it executes
_THREADS_S = 10.0
_QUEUED = 2  # tasks of an actor: the one it does, and the next
# Makes, in the actor, what judges and what reads topics. Has to be picklable.
LaneFactory = Callable[[], tuple[Lane, ReadTopic | None]]


@dataclass(frozen=True)
class Pool:
    """How many actors, and the logical CPUs and the GPUs of each."""

    actors: int
    cpus: float
    gpus: float


class AuditActor:
    """Does blocks in a process of its own.

    Errors are returned, not raised: they end the run with one line, where Ray Data would try again.
    """

    _work: BlockWork | None = None

    def __init__(self, work: RunWork, factory: LaneFactory, judged: Keys | None) -> None:
        self._refusal = ""
        try:
            self._work = BlockWork(work, *factory(), judged)
        except ModerationError as error:
            self._refusal = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Markers of some blocks, or what stopped them."""
        markers: list[str] = []
        for text in batch["block"]:
            if self._work is not None and not self._refusal:
                try:
                    markers.append(self._work.do(Block.loaded(text)).model_dump_json())
                    continue
                except ModerationError as error:
                    self._refusal = str(error)
                except (OSError, ArrowException) as error:
                    self._refusal = f"a file of the run cannot be written: {_plain(error)}"
            markers.append("")
        return {"marker": markers, "refusal": [self._refusal] * len(markers)}

    def __del__(self) -> None:
        """Ray Data gives an actor up so."""
        if self._work is not None:
            self._work.close()


def _plain(error: Exception) -> str:
    """What a filesystem says; Arrow's other errors may quote what was to be written."""
    return reason_of(error) if isinstance(error, OSError) else type(error).__name__


@contextmanager
def ray_for(address: str | None, pool: Pool, environment: dict[str, str], *, logs: bool) -> Iterator[None]:
    """Join the cluster, or start Ray in this process with room for the pool; leave it again.

    Args:
        address: of the cluster; None starts one here.
        pool: the actors.
        environment: variables of the actors on a cluster; here they inherit all.
        logs: print what the actors write.

    Raises:
        ModerationError: there is no such cluster.
    """
    level = logging.WARNING if logs else logging.CRITICAL
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns of what is meant, such as no bars of its own
    if ray.is_initialized():
        yield
        return
    start_ray(address, cpus=pool.actors * pool.cpus + 1, variables=environment, logs=logs, level=level)
    try:
        yield
    finally:
        ray.shutdown()


def do_blocks(
    blocks: Sequence[Block], work: RunWork, factory: LaneFactory, judged: Keys | None, pool: Pool
) -> Generator[BlockMarker]:
    """Do some blocks; yields the marker of each as it is done. Closed before its end, it stops the work.

    Raises:
        ModerationError: what stopped an actor.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"block": json.dumps(block)} for block in blocks]
    shared = None if judged is None else ray.put(judged)
    results = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_TASKS)).map_batches(
        _SharedActor,
        batch_size=1,
        compute=ActorPoolStrategy(size=min(pool.actors, len(rows)), max_tasks_in_flight_per_actor=_QUEUED),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
        fn_constructor_args=(work, factory, [shared]),
    )
    try:
        with ExitStack() as starting:
            starting.enter_context(quiet_actors())
            with _ended(iter(results.iter_rows())) as found:
                for result in found:
                    starting.close()
                    if result["refusal"]:
                        raise ModerationError(str(result["refusal"]))
                    yield BlockMarker.model_validate_json(result["marker"])
    except RayError as error:
        # Its text has the stack of the actor, and what an exception says may quote a message.
        log.error(log_event("audit_actors_failed", error=type(error).__name__))
        raise ModerationError(f"the actors failed: {_cause(error)}; the run can be taken up again") from None


@contextmanager
def _ended(results: Any) -> Iterator[Any]:
    """End an execution with the block, and wait for its threads.

    Ray 2.60 ends the whole process, without a word, where a thread comes to it after `ray.shutdown`; and Ray Data stops
    its threads, but does not wait for them, and the one that prefetches it stops at the end of the results only.
    """
    before = threading.enumerate()
    try:
        yield results
    finally:
        results.close()
        for thread in threading.enumerate():
            if thread not in before and thread.name.startswith(_THREADS):
                prefetcher = getattr(getattr(thread, "_target", None), "__self__", None)
                if isinstance(prefetcher, BlockPrefetcher):
                    prefetcher.stop()
                thread.join(_THREADS_S)


class _SharedActor(AuditActor):
    """An actor that is given a reference to the keys, so that one copy of them serves all actors of a machine."""

    def __init__(self, work: RunWork, factory: LaneFactory, judged: list[Any]) -> None:
        super().__init__(work, factory, None if judged[0] is None else ray.get(judged[0]))


def _cause(error: RayError) -> str:
    cause = getattr(error, "cause", None)
    return type(error).__name__ if cause is None else type(cause).__name__
