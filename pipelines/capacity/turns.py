"""How many stream guard replicas answers need that are judged while they are written, and how many pages of memory.

The engine runs steps of a fixed size, so all follows from what a step takes: measured, or reckoned from the model's
shape and the GPU's data sheet. It says which of the two it is. Measures nothing.
"""

from dataclasses import dataclass
from math import ceil, floor
from typing import Final

from pipelines.capacity.capacity import shown
from pipelines.capacity.figures import BYTES, CPUS, GPUS, HEAD_SIZE, MODELS, ModelShape
from pipelines.capacity.load import Assumptions, refuse_assumptions, refuse_unless_above_zero
from pipelines.capacity.work import cache_per_token, layer_weights, stream_weights_gb
from pipelines.turns.port import SHARDS
from schemas.errors import ConfigurationError

TILE: Final = 16  # tokens; see `workers.serving.engine.streaming.grid`
TILES_A_STEP: Final = 4
CONTEXT: Final = 8_192
# A layer's kernels, launched one by one, as a forward of the other engine took on an H200; a step launches more.
LAUNCH_MS: Final = 0.75
LAUNCH_SOURCE: Final = "infra/benchmarks/2026-11-29-engine-h200.md"
HEADROOM: Final = 1.25  # pages are given up from nine tenths of all on
MOST_SESSIONS: Final = 65_536
_LEAST_PAGES = CONTEXT // TILE
_OPEN_TURNS = 4_096
_OPEN_CHARACTERS = 16_777_216
_CHARACTERS_PER_TOKEN = 6
_USABLE_MEMORY = 0.9
_SECONDS_PER_HOUR = 3_600
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class TurnLoad:
    """Answers that are judged while they are written.

    Args:
        tokens_per_second: of all answers together, at the peak.
        turns: answers that are being written at once, at the peak.
        before_tokens: what stands before an answer, on average.
        answer_tokens: of an answer, on average.
        delta_tokens: of a delta.
        target_ms: within which a delta has to be answered, its wait included.
    """

    tokens_per_second: float
    turns: int
    before_tokens: float
    answer_tokens: float
    delta_tokens: float
    target_ms: float


@dataclass(frozen=True, slots=True)
class TurnsPlan:
    """The answer; see `pipelines.capacity.capacity.CapacityPlan`.

    `utilisation` is that of the busiest replica, in full steps. `sessions` and `pages` are those that a replica has
    to have room for, `page_bytes` those of one page.
    """

    replicas: int
    measured: bool
    source: str
    step_ms: float
    tokens_per_second_per_replica: float
    latency_ms: float
    utilisation: float
    sessions: int
    pages: int
    page_bytes: int
    replay_seconds: float
    replica_seconds_per_million: float
    cost_per_million: float | None
    settings: dict[str, str]
    working: tuple[str, ...]


def plan_turns(load: TurnLoad, model: str, gpu: str, step_ms: float | None, assumptions: Assumptions) -> TurnsPlan:
    """Plan for one load.

    Args:
        load: what is to be carried.
        model: `0.6B`, `4B` or `8B`.
        gpu: a name of `GPUS`; any other with `step_ms`.
        step_ms: milliseconds of a step, measured; None to reckon.
        assumptions: what is not known from the load.

    Raises:
        ConfigurationError: names the input that is impossible, and what would be possible.
    """
    _refuse_impossible(load, assumptions)
    if model not in MODELS:
        raise ConfigurationError(f"model: {model!r} is not one of {', '.join(MODELS)}")
    shape = MODELS[model]
    working: list[str] = []
    step = _reckoned(load, shape, gpu, assumptions, working) if step_ms is None else _measured(step_ms, working)
    if 2 * step > load.target_ms:
        raise ConfigurationError(
            f"target_ms: {shown(load.target_ms)} is too short; a delta waits for one step and rides in another, at"
            f" least {shown(2 * step)} ms"
        )
    tiles = _tiles(load, working)
    most = TILES_A_STEP * 1_000 / step
    page_bytes = TILE * cache_per_token(shape) * BYTES
    pages_a_turn = ceil((load.before_tokens + load.answer_tokens) / TILE)
    room = _room(shape, gpu, page_bytes)
    replicas = _replicas(load, tiles, most, pages_a_turn, room, assumptions, working)
    share = _share(replicas)
    sessions = ceil(HEADROOM * load.turns * _share(replicas - assumptions.spare))
    pages = max(_LEAST_PAGES, sessions * pages_a_turn)
    working.append(
        f"room of a replica: {load.turns:,} turns of {pages_a_turn} pages of {page_bytes:,} bytes, a quarter more, on"
        f" {replicas - assumptions.spare}: {sessions:,} sessions, {pages:,} pages, {shown(pages * page_bytes / 1e9)} GB"
        + ("; the memory of this machine is not known" if room is None else "")
    )
    if sessions > MOST_SESSIONS:
        raise ConfigurationError(f"turns: {sessions:,} sessions of a replica, max_sessions takes {MOST_SESSIONS:,}")
    burst = ceil(load.turns * share * _tiles_a_delta(load) / TILES_A_STEP) * step
    replay = load.turns * share * (load.before_tokens + load.answer_tokens / 2) / TILE / TILES_A_STEP * step / 1_000
    working += [
        f"latency: one step waited for and one ridden in; where all turns send at once, {shown(burst)} ms for the last",
        f"after a replica's death its turns are replayed: {shown(replay)} s, if one other takes them all",
        "consumers: what a frame costs a delta worker has not been measured; deltas.consumers is left as it is",
    ]
    seconds = replicas / load.tokens_per_second * _MILLION
    price = assumptions.price
    return TurnsPlan(
        replicas=replicas,
        measured=step_ms is not None,
        source=f"arithmetic from the data sheet of {gpu}" if step_ms is None else "given by --step-ms",
        step_ms=step,
        tokens_per_second_per_replica=most * load.tokens_per_second / tiles,
        latency_ms=2 * step,
        utilisation=tiles * share / most,
        sessions=sessions,
        pages=pages,
        page_bytes=page_bytes,
        replay_seconds=replay,
        replica_seconds_per_million=seconds,
        cost_per_million=None if price is None else seconds / _SECONDS_PER_HOUR * price,
        settings={
            "WEIR_STREAM_GUARD__REPLICAS": str(replicas),
            "WEIR_STREAM_GUARD__GPUS_PER_REPLICA": "0" if gpu in CPUS else "1",
            "WEIR_STREAM_GUARD__MAX_SESSIONS": str(max(_OPEN_TURNS, sessions)),
            "WEIR_STREAM_GUARD__MAX_PAGES": str(pages),
            "WEIR_DELTAS__OPEN_TURNS": str(max(_OPEN_TURNS, ceil(HEADROOM * load.turns))),
            "WEIR_DELTAS__OPEN_CHARACTERS": str(max(_OPEN_CHARACTERS, _characters(load))),
            "WEIR_ASK__STREAM_TURNS": str(max(_OPEN_TURNS, ceil(HEADROOM * load.turns))),
        },
        working=tuple(working),
    )


def _refuse_impossible(load: TurnLoad, assumptions: Assumptions) -> None:
    refuse_assumptions(assumptions)
    for name in ("tokens_per_second", "turns", "before_tokens", "answer_tokens", "delta_tokens", "target_ms"):
        refuse_unless_above_zero(name, getattr(load, name))
    if load.before_tokens + load.answer_tokens > CONTEXT:
        given = f"{shown(load.answer_tokens)} and before_tokens {shown(load.before_tokens)}"
        raise ConfigurationError(f"answer_tokens: {given} do not fit the model's context of {CONTEXT:,}")
    if load.delta_tokens > load.answer_tokens:
        raise ConfigurationError(f"delta_tokens: {shown(load.delta_tokens)} is more than an answer has")


def _measured(step_ms: float, working: list[str]) -> float:
    refuse_unless_above_zero("step_ms", step_ms)
    working.append(f"a step of {TILES_A_STEP} tiles of {TILE} tokens: {shown(step_ms)} ms, given by --step-ms")
    return step_ms


def _reckoned(load: TurnLoad, shape: ModelShape, gpu: str, assumptions: Assumptions, working: list[str]) -> float:
    if gpu not in GPUS:
        raise ConfigurationError(
            f"gpu: no data sheet of {gpu!r}; known: {', '.join(GPUS)}; of any other, give --step-ms, the milliseconds"
            " that you have measured of a full step"
        )
    sheet, rows = GPUS[gpu], TILE * TILES_A_STEP
    context = load.before_tokens + load.answer_tokens / 2
    products = rows * 2 * shape.layers * layer_weights(shape) / 1e9
    attention = rows * 4 * shape.layers * shape.heads * HEAD_SIZE * context / 1e9
    compute = (products + attention) / sheet.tflops / assumptions.efficiency
    read = stream_weights_gb(shape) + TILES_A_STEP * context * cache_per_token(shape) * BYTES / 1e9
    read_ms = read / sheet.bandwidth_gb_s * 1_000
    launches = LAUNCH_MS * shape.layers
    step = max(compute + read_ms, launches)
    working.append(
        f"a step of {rows} rows, never measured on {gpu}: {shown(products)} GFLOP of layers + {shown(attention)} of"
        f" attention and {shown(read)} GB read: {shown(compute + read_ms)} ms; launching its kernels one by one: at"
        f" least {shown(launches)} ms ({LAUNCH_SOURCE}); the longer counts: {shown(step)} ms"
    )
    return step


def _tiles_a_delta(load: TurnLoad) -> float:
    """On average over all places: what stands in the unfinished tile goes through once more."""
    return (load.delta_tokens + TILE - 1) / TILE


def _tiles(load: TurnLoad, working: list[str]) -> float:
    """Tiles a second."""
    deltas = load.tokens_per_second / load.delta_tokens
    begun = load.tokens_per_second / load.answer_tokens
    tiles = deltas * _tiles_a_delta(load) + begun * load.before_tokens / TILE
    working.append(
        f"tiles: {shown(deltas)} deltas/s of {shown(_tiles_a_delta(load))}, and {shown(begun)} turns/s that begin"
        f" behind {shown(load.before_tokens)} tokens: {shown(tiles)}/s"
    )
    return tiles


def _share(replicas: int) -> float:
    """Of all turns, what the replica has that has most: conversations go by shards."""
    return ceil(SHARDS / replicas) / SHARDS


def _room(shape: ModelShape, gpu: str, page_bytes: int) -> int | None:
    """Pages that fit beside the weights; None where that is not known."""
    if gpu not in GPUS:
        return None
    free = _USABLE_MEMORY * GPUS[gpu].memory_gb - stream_weights_gb(shape)
    if free * 1e9 < _LEAST_PAGES * page_bytes:
        raise ConfigurationError(
            f"gpu: {gpu} has {shown(GPUS[gpu].memory_gb)} GB, too few for the weights and one turn"
        )
    return floor(free * 1e9 / page_bytes)


def _replicas(
    load: TurnLoad,
    tiles: float,
    most: float,
    pages_a_turn: int,
    room: int | None,
    assumptions: Assumptions,
    working: list[str],
) -> int:
    def is_enough(replicas: int) -> bool:
        pages = ceil(HEADROOM * load.turns * _share(replicas)) * pages_a_turn
        return tiles * _share(replicas) <= most * assumptions.utilisation and (room is None or pages <= room)

    needed = next((count for count in range(1, SHARDS + 1 - assumptions.spare) if is_enough(count)), None)
    if needed is None:
        raise ConfigurationError(
            f"tokens_per_second: {shown(tiles)} tiles/s and {load.turns:,} turns are too much for {SHARDS} replicas of"
            f" {shown(most)} tiles/s, {assumptions.spare} of them spare, and more share no conversations"
        )
    replicas = needed + assumptions.spare
    working.append(
        f"replicas: {shown(tiles)} tiles/s by {SHARDS} shards, {shown(most)} x {assumptions.utilisation:.2f} of a"
        f" replica{'' if room is None else f', {room:,} pages'}: {needed}, and {assumptions.spare} spare: {replicas}"
    )
    return replicas


def _characters(load: TurnLoad) -> int:
    """Of all turns, as a consumer counts them."""
    return ceil(HEADROOM * load.turns * (load.before_tokens + load.answer_tokens) * _CHARACTERS_PER_TOKEN)
