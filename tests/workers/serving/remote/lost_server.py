"""One of three servers lost on the way, beside second calls and without: how many messages come late.

    python -m tests.workers.serving.remote.lost_server [SECONDS]

Stand-ins that take 50 ms a call, 60 messages a second, one lost after a third of the time; in
infra/docs/remote-engines.md. Not a test: its figures are of the machine it runs on, which is to do nothing else.
"""

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import numpy as np

from schemas.errors import ModerationError
from tests.workers.serving.remote.conftest import CORPUS, Model, engine_over
from tests.workers.serving.remote.fake_server import FakeServer
from workers.serving.engine.completion import BatchContext, PreparedPrompt
from workers.serving.engine.loading import load_model
from workers.serving.remote.canaries import CANARIES
from workers.serving.remote.engine import RemoteEngine

PER_SECOND, CALL_S, MOST_AT_ONCE, TRIES = 60.0, 0.05, 256, 100
LIVE = BatchContext({}, is_live=True)


def measured(model: Model, way: str, share: float, seconds: float) -> str:
    """A line about one run."""
    servers = [FakeServer(model, prompt_tokens=model.tokens_of).__enter__() for _ in range(3)]
    engine = engine_over(*servers, hedge_share=share, timeout_s=2.0, start_timeout_s=30.0)
    try:
        for server in servers:
            server.delay_s = CALL_S
        engine.wait_for_all()
        rows = offered(engine, servers[0], way, seconds)
        made = engine._pool.hedging.made  # noqa: SLF001
    finally:
        engine.close()
        for server in servers:
            server.__exit__()
    p99 = float(np.percentile([took for due, took in rows if due < seconds / 3 - 1], 99))
    after = [took for due, took in rows if due >= seconds / 3]
    late = sum(took > 2 * p99 for took in after)
    lost = sum(took == float("inf") for took in after)
    told = (
        f"{way}, share {share}: p99 before {p99 * 1000:.0f} ms; of {len(after)} after it {late} later than twice that"
    )
    return f"{told} ({late / len(after):.2%}), {lost} lost; {made} second calls of {len(rows)}"


def offered(engine: RemoteEngine, server: FakeServer, way: str, seconds: float) -> list[tuple[float, float]]:
    """When each message was due, and how long it took; for ever where it had no answer."""
    prompts = [item for item in engine.prepare_all(CORPUS) if isinstance(item, PreparedPrompt)]
    rng = random.Random(1)
    started = time.perf_counter()

    def judge(due: float, prompt: PreparedPrompt) -> tuple[float, float]:
        for _ in range(TRIES):  # held and tried again, as by whoever asks the guard
            try:
                engine.run_for([prompt], LIVE)
                return due, time.perf_counter() - started - due
            except ModerationError:
                time.sleep(0.05)
        return due, float("inf")

    asked, due, is_lost = [], 0.0, False
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        while due < seconds:
            time.sleep(max(0.0, started + due - time.perf_counter()))
            if not is_lost and due > seconds / 3:
                is_lost = True
                if way == "killed":
                    Thread(target=server.die).start()
                else:
                    server.faults.extend(["hang"] * round(PER_SECOND * seconds))
            asked.append(pool.submit(judge, due, rng.choice(prompts)))
            due += rng.expovariate(PER_SECOND)
        return [one.result() for one in asked]


def main() -> None:
    """Measure all."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    model = Model(load_model("demo", dtype="float32", device="cpu"))
    model.learn([*CORPUS, *CANARIES])
    for way in ("killed", "frozen"):
        for share in (0.05, 0.0):
            sys.stdout.write(measured(model, way, share, seconds) + "\n")


if __name__ == "__main__":
    main()
