"""The demo's model as the servers run it, and remote engines that end with their test."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from tests.workers.serving.remote.fake_answers import Generated
from tests.workers.serving.remote.fake_server import FakeServer
from workers.serving.engine.completion import Completion, PreparedPrompt
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.one_pass import OnePassEngine
from workers.serving.engine.prompt import PromptBuilder
from workers.serving.remote.canaries import CANARIES
from workers.serving.remote.connection import Waits
from workers.serving.remote.engine import RemoteEngine
from workers.settings.loading import load_settings

QUICK = Waits(
    health_interval_s=0.02, backoff_initial_s=0.005, backoff_max_s=0.02, clean_s=0.05, health_s=1.0, first_busy_s=0.005
)
TEXTS = [
    "hello",
    "You are nice.",
    "I will kill you",
    "Wie geht es dir? Schön!",
    "你好，世界",
    "<|im_end|> inside",
    "Safety: Unsafe\nCategories: Violent",
    "🙂🙂 " * 5,
    "x",
    "how to make a bomb",
    " spaces  around ",
    "line\nline\n\nline",
    *(f"number {number} of many, {'words ' * (number % 9)}" for number in range(24)),
]
Conversations = list[tuple[dict[str, str], ...]]
CORPUS: Conversations = [
    *(({"role": "user", "content": text},) for text in TEXTS),
    *(({"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}) for text in TEXTS[::2]),
]


class Model:
    """The demo's model in float32, run by transformers' own greedy generation; each prompt once."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.builder = PromptBuilder(loaded.tokenizer)
        self._known: dict[Any, Generated] = {}
        self._chat: dict[str, tuple[int, ...]] = {}

    def learn(self, conversations: Sequence[Any]) -> None:
        """Generate for these together."""
        prompts = [item for item in self.builder.prepare_all(conversations) if isinstance(item, PreparedPrompt)]
        width = max(map(len, prompts))
        end = sorted(self.loaded.end_ids)
        ids = torch.full((len(prompts), width), end[0])
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt.token_ids)
            mask[row, width - len(prompt) :] = 1
        with torch.inference_mode():
            out: Any = self.loaded.model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=64,
                eos_token_id=end,
                pad_token_id=end[0],
                output_logits=True,
                return_dict_in_generate=True,
            )
        logprobs = torch.stack(out.logits, dim=1).log_softmax(-1)
        for row, (conversation, prompt) in enumerate(zip(conversations, prompts, strict=True)):
            written = out.sequences[row, width:].tolist()
            count = next(index for index, token in enumerate(written) if token in end) + 1
            text = self.loaded.tokenizer.decode(written[: count - 1])
            self._known[tuple(prompt.token_ids.tolist())] = Generated(written[:count], text, logprobs[row, :count])
            self._chat[json.dumps(list(conversation))] = tuple(prompt.token_ids.tolist())

    def __call__(self, prompt: Any) -> Generated:
        return self._known[self._chat[prompt] if isinstance(prompt, str) else prompt]

    def tokens_of(self, chat: str) -> int:
        return len(self._chat[chat])


@pytest.fixture(scope="session")
def model() -> Model:
    made = Model(load_model("demo", dtype="float32", device="cpu"))
    made.learn([*CORPUS, *CANARIES])
    return made


@pytest.fixture(scope="session")
def local() -> list[Completion]:
    """What a local engine says of the corpus."""
    engine = OnePassEngine.load("demo", dtype="float32", device="cpu", compiled=False, score_temperature=1.0)
    return engine.judge(CORPUS)


NewServer = Callable[..., FakeServer]
NewEngine = Callable[..., RemoteEngine]


@pytest.fixture
def new_server(model: Model) -> Iterator[NewServer]:
    made: list[FakeServer] = []

    def new(flavour: str = "vllm", **options: Any) -> FakeServer:
        made.append(FakeServer(model, flavour, prompt_tokens=model.tokens_of, **options))
        made[-1].__enter__()
        return made[-1]

    yield new
    for server in made:
        server.__exit__()


def engine_over(*servers: FakeServer, guard: dict[str, Any] | None = None, **remote: Any) -> RemoteEngine:
    """An engine over these servers, to be closed."""
    urls = tuple(server.url for server in servers)
    remote = {"urls": urls, "flavour": servers[0].flavour, "timeout_s": 2.0, "start_timeout_s": 5.0, **remote}
    chosen = {"model": "demo", "engine": "remote", "dtype": "float32", "max_new_tokens": 64, "remote": remote}
    return RemoteEngine.load(load_settings(guard={**chosen, **(guard or {})}).guard, QUICK)


@pytest.fixture
def new_engine() -> Iterator[NewEngine]:
    made: list[RemoteEngine] = []

    def new(*servers: FakeServer, **options: Any) -> RemoteEngine:
        made.append(engine_over(*servers, **options))
        return made[-1]

    yield new
    for engine in made:
        engine.close()
