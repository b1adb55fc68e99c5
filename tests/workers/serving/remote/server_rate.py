"""What one worker gets out of a vLLM server, beside the server's own benchmark and a bare client, in turns.

    python -m tests.workers.serving.remote.server_rate URL [VLLM [ROUNDS]]

VLLM is the command in the environment that `vllm_cpu.sh` makes, with pandas and datasets added; without it the bare
client stands alone. New prompts of the same kind for each. Not a test: its figures are of the machine it runs on.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import aiohttp
import numpy as np

from workers.serving.engine.completion import Conversation, PreparedPrompt
from workers.serving.engine.loading import DEMO_FOLDER
from workers.serving.remote.engine import RemoteEngine
from workers.settings.loading import load_settings

MESSAGES, PER_CALL, CALLS = 1_024, 64, 4
_numbers = count()


def messages() -> list[Conversation]:
    """New ones."""
    numbers = (next(_numbers) for _ in range(MESSAGES))
    return [({"role": "user", "content": f"no {n} of many, {'words ' * (n % 9)}{n * 7919}"},) for n in numbers]


class Rates:
    """Three ways to ask one server, each in messages a second."""

    def __init__(self, url: str, vllm: str | None) -> None:
        remote = {"urls": url, "timeout_s": 140.0, "prompts_per_call": PER_CALL, "calls": CALLS}
        chosen = {"model": "demo", "engine": "remote", "max_new_tokens": 64, "remote": remote}
        self.engine = RemoteEngine.load(load_settings(guard=chosen).guard)
        self.ways: dict[str, Callable[[], float]] = {"bare client": self.bare, "one worker": self.ours}
        if vllm is not None:
            self.ways = {"vllm bench serve": self.its_own, **self.ways}
        self._url, self._vllm = url, vllm

    def _prompts(self) -> list[PreparedPrompt]:
        return [item for item in self.engine.prepare_all(messages()) if isinstance(item, PreparedPrompt)]

    def ours(self) -> float:
        """From messages to read answers."""
        asked = messages()
        started = time.perf_counter()
        self.engine.judge(asked)
        return MESSAGES / (time.perf_counter() - started)

    def bare(self) -> float:
        """The same calls, made ready beforehand; answers are not looked at."""
        prompts, flavour = self._prompts(), self.engine._flavour  # noqa: SLF001
        proof = self.engine.endpoints[0].proof
        assert proof is not None
        parts = (prompts[start : start + PER_CALL] for start in range(0, MESSAGES, PER_CALL))
        bodies = iter([json.dumps(flavour.body(proof.model, part)).encode() for part in parts])

        async def ask_on(session: aiohttp.ClientSession) -> None:
            for body in bodies:
                async with session.post(
                    self._url + flavour.path, data=body, headers={"Content-Type": "application/json"}
                ) as response:
                    response.raise_for_status()
                    await response.read()

        async def main() -> float:
            async with aiohttp.ClientSession() as session:
                started = time.perf_counter()
                await asyncio.gather(*(ask_on(session) for _ in range(CALLS)))
                return MESSAGES / (time.perf_counter() - started)

        return asyncio.run(main())

    def its_own(self) -> float:
        """One prompt a call, as text, as many at a time."""
        decode = self.engine._loaded.tokenizer.decode  # noqa: SLF001
        with tempfile.TemporaryDirectory() as name:
            data, result = Path(name, "prompts.jsonl"), Path(name, "result.json")
            rows = [json.dumps({"prompt": decode(prompt.token_ids)}) for prompt in self._prompts()]
            data.write_text("\n".join(rows), encoding="utf-8")
            options = {
                "base-url": self._url,
                "endpoint": "/v1/completions",
                "model": "guard",
                "tokenizer": DEMO_FOLDER,
                "dataset-name": "custom",
                "dataset-path": data,
                "custom-output-len": 64,
                "num-prompts": MESSAGES,
                "max-concurrency": PER_CALL * CALLS,
                "temperature": 0,
                "result-filename": result,
            }
            told = [text for key, value in options.items() for text in (f"--{key}", str(value))]
            flags = ["--skip-chat-template", "--no-oversample", "--disable-tqdm", "--save-result"]
            command = [str(self._vllm), "bench", "serve", *told, *flags]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            found = json.loads(result.read_text())
        assert found["completed"] == MESSAGES
        return float(found["request_throughput"])


def main(url: str, vllm: str | None = None, rounds: str = "3") -> None:
    """Measure all, after one round that does not count."""
    rates = Rates(url, vllm)
    seen: dict[str, list[float]] = {name: [] for name in rates.ways}
    try:
        rates.bare()
        for number in range(int(rounds)):
            for name, way in rates.ways.items():
                seen[name].append(way())
            sys.stdout.write(f"{number}: {_told({name: found[-1:] for name, found in seen.items()})}\n")
            sys.stdout.flush()
        sys.stdout.write(f"medians: {_told(seen)}\n")
    finally:
        rates.engine.close()


def _told(seen: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {float(np.median(found)):.1f}/s" for name, found in seen.items())


if __name__ == "__main__":
    main(*sys.argv[1:])
