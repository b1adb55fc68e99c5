"""Takes a run from its options to its finished manifest: plans it, compares it with its folder, resumes and closes it.

Decision 0014 says what it leaves behind. Knows nothing of Ray or of the model.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from uuid import uuid4

import numpy as np

from schemas.errors import ConfigurationError, ModerationError
from workers.audit.actors import LaneFactory, Pool, do_blocks
from workers.audit.block_work import RunWork
from workers.audit.manifest import (
    BlockMarker,
    FileInput,
    LeftOut,
    Manifest,
    PolicyUsed,
    SampleTaken,
    total_cost,
    total_counts,
)
from workers.audit.rows.blocks import Plan, digest_of, stamp_of
from workers.audit.rows.columns import Columns
from workers.audit.rows.selection import KEY_COLUMNS, Keys, keys_of_run
from workers.audit.run_folder import VERDICTS, RunFolder
from workers.audit.run_lock import StillOurs
from workers.files.locations import reason_of

Told = Callable[[BlockMarker], None]
# What must be unchanged when a run is resumed.
_FIXED = ("inputs", "mapping", "turns", "sample", "since_run", "policy", "block_rows", "keep_text")
_MOST_LEFT_OUT = 1_000
_VERSIONS = {"weir": "weir-moderation", "ray": "ray", "torch": "torch", "transformers": "transformers"}


@dataclass(frozen=True)
class Asked:
    """What one run is to do. `rate` is in rows a second, over all actors."""

    run: str
    plan: Plan
    columns: Columns | None
    sample: SampleTaken | None
    since_run: str | None
    policy: PolicyUsed
    block_rows: int
    keep_text: bool
    cache_size: int
    rate: float | None
    max_event_bytes: int


class AuditRun:
    """One attempt at a run. To be made and executed by its one driver: within `run_lock.driving`.

    Args:
        asked: what it is to do.
        still_ours: from there; raises a ModerationError once another driver has taken the run over.

    Raises:
        ConfigurationError: the run is finished; it was begun with something else, which is named; the folder has other
            things in it; the run that it continues is not finished.
    """

    def __init__(self, asked: Asked, still_ours: StillOurs = lambda: None) -> None:
        self._asked = asked
        self._still_ours = still_ours
        self._folder = RunFolder(asked.run)
        self.rows = asked.plan.rows
        self._judged = _keys(asked)
        begun = self._folder.manifest() if self._folder.is_begun() else None
        if begun is None and not self._folder.is_empty():
            raise ConfigurationError(f"{asked.run}: has files in it, but no run; choose another folder")
        self.manifest = _manifest(asked, begun)
        self.resumed = begun is not None
        self.markers = self._folder.whole_markers()
        self.done = {marker.block for marker in self.markers}

    def execute(self, factory: LaneFactory, pool: Pool, told: Told = lambda _marker: None) -> Manifest:
        """Do what is not done, and close the run.

        Args:
            factory: makes what judges, in each actor.
            pool: the actors.
            told: called with the marker of each block that was done now.

        Raises:
            ModerationError: what stopped the run, which can be resumed.
        """
        asked = self._asked
        self._still_ours()
        self._folder.remove_unfinished(self.done)
        if self.markers and self.manifest.provenance is None:
            self.manifest = self.manifest.model_copy(update={"provenance": self.markers[0].provenance})
        self._folder.write_manifest(self.manifest)
        left = [block for block in asked.plan.blocks if block.number not in self.done]
        work = RunWork(
            run=asked.run,
            attempt=uuid4().hex,
            columns=asked.columns,
            sample=asked.sample,
            policy=asked.policy,
            provenance=self.manifest.provenance,
            cache_size=asked.cache_size,
            rate=None if asked.rate is None else asked.rate / min(pool.actors, max(len(left), 1)),
            keep_text=asked.keep_text,
            max_event_bytes=asked.max_event_bytes,
        )
        if left:
            # Always closed: an execution that outlives `ray.shutdown` ends this process before it says why.
            with closing(do_blocks(left, work, factory, self._judged, pool)) as markers:
                for marker in markers:
                    self._still_ours()
                    self._note(marker)
                    told(marker)
        return self._close()

    def _note(self, marker: BlockMarker) -> None:
        self.markers.append(marker)
        if self.manifest.provenance is None:
            self.manifest = self.manifest.model_copy(update={"provenance": marker.provenance})
            self._folder.write_manifest(self.manifest)

    def _close(self) -> Manifest:
        self._still_ours()
        sizes = self._folder.sizes()
        wrote = {file.name: file.bytes for marker in self.markers for file in marker.files}
        if gone := {name for name, size in wrote.items() if sizes.get(name) != size}:
            raise ModerationError(
                f"{self._asked.run}: {len(gone)} files of blocks that were done are gone or cut, such as {min(gone)}:"
                " was something else at work there? Start the run again, and it makes them anew"
            )
        self._refuse_changed_inputs()
        # In the order of blocks, so that sums of floats are the same in every order of doing them.
        markers = sorted(self.markers, key=lambda marker: marker.block)
        now = datetime.now(UTC)
        cost = total_cost(marker.cost for marker in markers)
        spent = _wall_seconds(self.manifest.attempts, markers, now)
        self.manifest = self.manifest.model_copy(
            update={
                "state": "finished",
                "finished_at": now.isoformat(timespec="milliseconds"),
                "counts": total_counts(marker.counts for marker in markers),
                "cost": cost.model_copy(update={"wall_seconds": spent}),
            }
        )
        self._folder.write_manifest(self.manifest)
        self._folder.remove_temporary()
        return self.manifest

    def _refuse_changed_inputs(self) -> None:
        """Blocks look at their files too, but the last block of a file may be done long before the run is."""
        digests = {item.uri: item.sha256 for item in self._asked.plan.inputs if isinstance(item, FileInput)}
        for uri, stamp in self._asked.plan.stamps:
            try:
                changed = stamp_of(uri) != stamp and digest_of(uri)[0] != digests[uri]
            except OSError as error:
                raise ModerationError(f"{uri}: cannot be read any more: {reason_of(error)}") from None
            if changed:
                raise ModerationError(f"{uri}: has changed while the run read it; its verdicts are of both contents")


def _manifest(asked: Asked, begun: Manifest | None) -> Manifest:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    planned = Manifest(
        run_id=uuid4().hex,
        state="running",
        started_at=now,
        attempts=(now,),
        inputs=asked.plan.inputs,
        left_out=tuple(LeftOut(**item._asdict()) for item in asked.plan.left_out[:_MOST_LEFT_OUT]),
        left_out_in_all=len(asked.plan.left_out),
        mapping={} if asked.columns is None else asked.columns.mapping,
        turns="last" if asked.columns is None else asked.columns.turns,
        sample=asked.sample,
        since_run=asked.since_run,
        provenance=None,
        policy=asked.policy,
        versions=_versions(),
        block_rows=asked.block_rows,
        keep_text=asked.keep_text,
        blocks=len(asked.plan.blocks),
    )
    if begun is None:
        return planned
    if begun.state == "finished":
        raise ConfigurationError(f"{asked.run}: this run finished at {begun.finished_at}; choose another folder")
    for name in _FIXED:
        _refuse_other(asked.run, name, getattr(begun, name), getattr(planned, name))
    return begun.model_copy(update={"attempts": (*begun.attempts, now)})


def _wall_seconds(attempts: Sequence[str], markers: Sequence[BlockMarker], now: datetime) -> float:
    """Of an attempt that was killed, up to the last block that it did."""
    starts = [datetime.fromisoformat(text) for text in attempts]
    ends = [datetime.fromisoformat(marker.finished_at) for marker in markers]
    spent = (now - starts[-1]).total_seconds()
    for start, following in pairwise(starts):
        last = max((end for end in ends if start <= end < following), default=start)
        spent += (last - start).total_seconds()
    return spent


def _refuse_other(run: str, name: str, was: object, now: object) -> None:
    if was == now:
        return
    if isinstance(was, Sequence) and isinstance(now, Sequence) and not isinstance(was, str):
        if len(was) != len(now):
            was, now = f"{len(was)} of them", f"{len(now)}"
        else:
            number = next(index for index, pair in enumerate(zip(was, now, strict=True)) if pair[0] != pair[1])
            name, was, now = f"{name}[{number}]", was[number], now[number]
    fields = getattr(type(was), "model_fields", {})
    if type(was) is type(now) and fields:
        field = next(field for field in fields if getattr(was, field) != getattr(now, field))
        name, was, now = f"{name}.{field}", getattr(was, field), getattr(now, field)
    elif isinstance(was, Mapping) and isinstance(now, Mapping):
        key = min(key for key in {*was, *now} if was.get(key) != now.get(key))
        name, was, now = f"{name}.{key}", was.get(key), now.get(key)
    raise ConfigurationError(f"{run}: {name} is another: the run was begun with {was}, now it is {now}")


def _keys(asked: Asked) -> Keys | None:
    if asked.since_run is None:
        return None
    found: list[Keys] = []
    run: str | None = asked.since_run
    while run is not None:  # what that run has not judged again is in the one before it
        folder = RunFolder(run)
        manifest = folder.manifest()
        if manifest.state != "finished":
            raise ConfigurationError(f"{run}: is not finished, so what it left out is not known")
        found.append(keys_of_run(folder.tables(VERDICTS, KEY_COLUMNS), manifest.policy.length))
        run = manifest.since_run
    return np.unique(np.concatenate(found))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name, distribution in {**_VERSIONS, "pyarrow": "pyarrow"}.items():
        try:
            versions[name] = version(distribution)
        except PackageNotFoundError:  # an image without torch judges through the application's replicas
            versions[name] = "none"
    return versions
