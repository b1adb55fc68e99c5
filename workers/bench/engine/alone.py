"""What the engine itself adds: one message alone on an idle engine, beside one forward of its tokens.

Both run the same layers on the same prefix cache. The difference is what the engine does around a forward: cutting
passes, drafting, reading and verifying logits, writing the text. Knows nothing of reports.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer

from workers.bench.engine.machine import seconds_of
from workers.bench.engine.shapes import END, FRAMES, VERDICT_TOKENS
from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.forward.delegating import Forward
from workers.serving.engine.output import completion_of
from workers.serving.engine.verdict_decoder import VerdictDecoder


def measure_alone(
    decoder: VerdictDecoder,
    forward: Forward,
    tokenizer: Tokenizer,
    prompts: Sequence[PreparedPrompt],
    *,
    repeats: int,
    advance: Callable[[], None],
) -> dict[str, float]:
    """Milliseconds of both, median and 99th percentile, taking turns; the first prompts are used again if few.

    `forward` is what `decoder` runs; it is given the tokens that no prompt shares and the draft, and computes the
    logits that verify it. `alone_ratio` compares the 99th percentiles, `alone_p99_to_forward_p50` is stricter: a
    machine's own hiccups count against the engine.
    """
    task = prompts[0].task
    shared, verdict = FRAMES[task][0], VERDICT_TOKENS[task]
    with torch.inference_mode():
        prefix = forward.prefix(prompts[0].token_ids[:shared].tolist())

    def alone_of(prompt: PreparedPrompt) -> Callable[[], object]:
        def run() -> object:
            (answer,) = decoder.decode([prompt])
            return completion_of(answer.ids, end_ids={END}, tokenizer=tokenizer, prompt_tokens=len(prompt))

        return run

    def forward_of(prompt: PreparedPrompt) -> Callable[[], object]:
        ids = np.append(prompt.token_ids[shared:], np.zeros(verdict - 1, dtype=np.int64))
        positions = torch.arange(len(ids) - verdict, len(ids), device=forward.device)[None]
        on_device = torch.from_numpy(ids)[None].to(forward.device)

        def run() -> object:
            with torch.inference_mode():
                return forward.start(on_device, prefix, positions)

        return run

    seconds: dict[str, list[float]] = {"alone": [], "forward": []}
    for repeat in range(repeats):
        prompt = prompts[repeat % len(prompts)]
        turns = [("alone", alone_of(prompt)), ("forward", forward_of(prompt))]
        for name, run in turns if repeat % 2 == 0 else reversed(turns):
            seconds[name].append(seconds_of(run, forward.device))
        advance()
    measured = {
        f"{name}_p{percent}_ms": float(np.percentile(taken, percent) * 1000)
        for name, taken in seconds.items()
        for percent in (50, 99)
    }
    return {
        **measured,
        "alone_ratio": measured["alone_p99_ms"] / measured["forward_p99_ms"],
        "alone_p99_to_forward_p50": measured["alone_p99_ms"] / measured["forward_p50_ms"],
        "alone_runs": repeats,
    }
