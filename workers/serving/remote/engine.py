"""An engine whose model runs on servers: our prompts, their generation, our reading of it.

The tokenizer is here and no weights are. What a server gives back is decoded and parsed as a local engine's output.
An event loop in a thread of its own holds all connections; `run` may be called from many threads.
"""

import asyncio
import atexit
import dataclasses
import logging
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from schemas.errors import ConfigurationError, GuardUnavailableError, RemoteCallError
from workers.serving.engine.completion import (
    CONTEXT_OVERFLOW,
    NOT_RENDERED,
    REJECTED,
    BatchContext,
    Completion,
    Conversation,
    DraftCounts,
    Engine,
    EngineIdentity,
    PreparedPrompt,
)
from workers.serving.engine.loading import LoadedTokenizer, load_tokenizer
from workers.serving.engine.output import completion_of
from workers.serving.engine.prompt import PromptBuilder
from workers.serving.engine.scores import LabelScores
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN
from workers.serving.remote.canaries import CANARIES
from workers.serving.remote.chat import Chat, ChatPrompt
from workers.serving.remote.connection import TRACE, Connection, Waits
from workers.serving.remote.endpoint import Endpoint, State
from workers.serving.remote.flavour import Flavour
from workers.serving.remote.hedging import Hedging
from workers.serving.remote.identity import Identity
from workers.serving.remote.llamacpp import LlamaCpp
from workers.serving.remote.measures import RemoteMeasures
from workers.serving.remote.pool import IS_LIVE, Pool
from workers.serving.remote.sglang import SGLang
from workers.serving.remote.sglang_drafts import SGLangDrafts
from workers.serving.remote.vllm import Vllm
from workers.serving.remote.written import Terms, Written
from workers.settings.guard_section import GuardSettings

log = logging.getLogger(__name__)
FLAVOURS: Final[dict[str, type[Flavour]]] = {flavour.name: flavour for flavour in (Vllm, SGLang, LlamaCpp, Chat)}
MOST_CALLS: Final = 128  # under way from one process; each has a thread that waits for it
CANCEL_AGAIN_S: Final = 0.1
UNDECLARED: Final = "undeclared"
_ALONE: Final = BatchContext({}, is_live=False)
Result = TypeVar("Result")


class RemoteEngine(Engine):
    """Judges on servers; see `Engine` for the contract. Built by `load`, ended by `close`.

    `run` raises GuardUnavailableError while no server answers as it should, and GuardCrashError where servers died of
    these prompts.
    """

    def __init__(self, settings: GuardSettings, loaded: LoadedTokenizer, waits: Waits) -> None:
        remote = settings.remote
        limit = loaded.max_positions - settings.max_new_tokens
        if limit < 1:
            raise ConfigurationError(
                f"guard.max_new_tokens={settings.max_new_tokens}: no room in {loaded.max_positions}"
            )
        self._settings = settings
        self._loaded = loaded
        self._builder = PromptBuilder(loaded.tokenizer, max_tokens=limit)
        self._control_texts = tuple(loaded.tokenizer.get_added_vocab())
        temperature = settings.score_temperature if settings.has_scores else None
        self._scores = None if temperature is None else LabelScores(self._encode, QWEN3GUARD_GEN.questions, temperature)
        terms = Terms(
            settings.max_new_tokens,
            tuple(sorted(loaded.end_ids)),
            tuple(self._scores.token_ids) if self._scores else (),
        )
        self._flavour = FLAVOURS[remote.flavour](terms)
        self._drafts = SGLangDrafts(terms, self._encode, _end_id_of(loaded)) if remote.drafts else None
        self._batch_size = min(remote.prompts_per_call, self._flavour.most_prompts or remote.prompts_per_call)
        self._server_tokens: int | None = None
        prepared = self.prepare_all(CANARIES)
        canaries = [item for item in prepared if isinstance(item, PreparedPrompt)]
        if len(canaries) < len(CANARIES):
            raise ConfigurationError(f"guard.model={settings.model}: its template does not render known texts")
        self._proof = Identity(
            remote.served_model,
            remote.behaviour_sha256,
            canaries,
            self._batch_size,
            self._completion,
            self._flavour.max_tokens,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="weir-remote", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # commands just end
        try:
            self._pool = self._await(self._opened(waits))
            self._measures = RemoteMeasures(self._pool.endpoints, self._pool.hedging)
            self._await(self._until_ready())
        except BaseException:
            self.close()
            raise
        self._server_tokens = self._proof.max_tokens

    @classmethod
    def load(cls, settings: GuardSettings, waits: Waits | None = None) -> "RemoteEngine":
        """Load the tokenizer, and wait until a server has proved itself.

        Raises:
            ValueError: the tokenizer cannot be loaded; names the setting.
            ConfigurationError: all servers answer, and none is what it should be; or none was ready in time.
        """
        return cls(settings, load_tokenizer(settings.model, revision=settings.revision), waits or Waits())

    @property
    def identity(self) -> EngineIdentity:
        """See there: `revision` is what was declared and a digest of the servers' behaviour."""
        settings = self._settings
        return EngineIdentity(
            model=self._loaded.name,
            revision=f"{settings.revision or UNDECLARED}+behaviour:{(self._proof.behaviour_sha256 or '')[:16]}",
            prompt_sha256=self._builder.sha256,
            engine=f"remote-{self._flavour.name}",
            dtype=UNDECLARED if settings.dtype == "auto" else settings.dtype,
            device="remote",
        )

    @property
    def concurrency(self) -> int:
        remote = self._settings.remote
        return min(MOST_CALLS, remote.calls * len(remote.urls))

    @property
    def batch_size(self) -> int | None:
        return self._batch_size

    @property
    def draft_counts(self) -> DraftCounts:
        return DraftCounts() if self._drafts is None else self._drafts.counts

    @property
    def template_text(self) -> tuple[str, ...]:
        return self._builder.template_text()

    @property
    def behaviour_sha256(self) -> str:
        """What `guard.remote.behaviour_sha256` can be pinned to."""
        return self._proof.behaviour_sha256 or ""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The servers, in the settings' order."""
        return self._pool.endpoints

    def wait_for_all(self) -> None:
        """Wait until each server has been asked what it is at least once."""

        async def asked() -> None:
            while not all(endpoint.is_tried for endpoint in self._pool.endpoints):
                await asyncio.sleep(0.01)

        self._await(asked())

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        return self.prepare_all([conversation])[0]

    def prepare_all(self, conversations: Sequence[Conversation]) -> list[PreparedPrompt | Completion]:
        prepared = self._builder.prepare_all(conversations)
        if self._server_tokens is not None:
            most = self._server_tokens - self._settings.max_new_tokens
            prepared = [
                Completion.failed(CONTEXT_OVERFLOW, prompt_tokens=len(item))
                if isinstance(item, PreparedPrompt) and len(item) > most
                else item
                for item in prepared
            ]
        if not isinstance(self._flavour, Chat):
            return prepared
        return [
            self._chat_prompt(item, conversation) if isinstance(item, PreparedPrompt) else item
            for item, conversation in zip(prepared, conversations, strict=True)
        ]

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        return self._await(self._run(prompts, _ALONE))

    def run_for(self, prompts: Sequence[PreparedPrompt], context: BatchContext) -> list[Completion]:
        return self._await(self._run(prompts, context))

    def close(self) -> None:
        """End all calls and connections; safe to call again."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._await(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _opened(self, waits: Waits) -> Pool:
        remote = self._settings.remote
        endpoints = [
            Endpoint(url, Connection(url, remote.api_key_file, remote.ca_file, waits), remote.calls, waits)
            for url in remote.urls
        ]
        return Pool(endpoints, self._flavour, self._proof.prove, remote.timeout_s, waits, Hedging(remote.hedge_share))

    async def _end(self) -> None:
        """Whoever waits for a call in another thread is let go before the loop stops."""
        # Until all have ended: one that is cancelled as its time runs out takes that for the end of its time.
        while waiting := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
        if hasattr(self, "_pool"):
            await self._pool.close()

    async def _until_ready(self) -> None:
        remote = self._settings.remote
        ends = self._loop.time() + remote.start_timeout_s
        while not any(endpoint.state is State.READY for endpoint in self._pool.endpoints):
            if all(endpoint.state is State.REFUSED for endpoint in self._pool.endpoints):
                raise ConfigurationError(f"guard.remote.urls: no server can be used: {self._told()}")
            if self._loop.time() > ends:
                waited = f"guard.remote.start_timeout_s={remote.start_timeout_s:g}"
                raise ConfigurationError(f"{waited}: no server was ready by then: {self._told()}")
            await asyncio.sleep(0.01)

    def _told(self) -> str:
        return "; ".join(f"{endpoint.url}: {endpoint.state}, {endpoint.why}" for endpoint in self._pool.endpoints)

    async def _run(self, prompts: Sequence[PreparedPrompt], context: BatchContext) -> list[Completion]:
        # This task and those that it makes are this batch's alone.
        TRACE.set(context.carrier)
        IS_LIVE.set(context.is_live)
        parts = [prompts[start : start + self._batch_size] for start in range(0, len(prompts), self._batch_size)]
        calls = [asyncio.create_task(self._judged(part)) for part in parts]
        try:
            # Half of what a replica's health check grants a batch.
            async with asyncio.timeout(self._settings.batch_timeout_s / 2):
                return [completion for part in await asyncio.gather(*calls) for completion in part]
        except TimeoutError:
            raise GuardUnavailableError("no answer in time") from None
        finally:
            for call in calls:
                call.cancel()

    async def _judged(self, prompts: Sequence[PreparedPrompt], *, is_half: bool = False) -> list[Completion]:
        """Judge prompts in one call; in halves where it may be one of them that spoils the call."""
        try:
            written = await self._asked(prompts)
        except RemoteCallError as error:
            found = error
        else:
            return await self._completed(prompts, written)
        middle = len(prompts) // 2
        if found.fault == "rejected":
            if not middle:
                return [Completion.failed(REJECTED, prompt_tokens=len(prompts[0]))]
            return [*await self._judged(prompts[:middle]), *await self._judged(prompts[middle:])]
        if middle and not is_half:
            first = await self._judged(prompts[:middle], is_half=True)
            return [*first, *await self._judged(prompts[middle:], is_half=True)]
        raise GuardUnavailableError(f"the server raises and lives on: {found.what}")

    async def _asked(self, prompts: Sequence[PreparedPrompt]) -> list[Written | None]:
        """What was written about each prompt, drafted or generated; None where a server gave up on it."""
        drafts = self._drafts
        if drafts is None:
            return await self._pool.call(prompts)
        found = await self._pool.call(prompts, drafts)
        rest = [index for index, item in enumerate(found) if item is None]
        if rest:
            for index, item in zip(rest, await self._pool.call([prompts[index] for index in rest]), strict=True):
                found[index] = item
        for prompt, item in zip(prompts, found, strict=True):
            if item is not None:
                drafts.note(prompt.task, item)
        return found

    async def _completed(
        self, prompts: Sequence[PreparedPrompt], written: Sequence[Written | None]
    ) -> list[Completion]:
        """The completions; what a server gave up on is asked for once more."""
        found = list(written)
        again = [index for index, item in enumerate(found) if item is None]
        if again:
            for index, item in zip(again, await self._pool.call([prompts[index] for index in again]), strict=True):
                found[index] = item
        if None in found:
            raise GuardUnavailableError("the server gives up on a prompt, time after time")
        return [self._completion(item, prompt) for item, prompt in zip(found, prompts, strict=True) if item is not None]

    def _completion(self, written: Written, prompt: PreparedPrompt) -> Completion:
        if isinstance(self._flavour, Chat):
            finish: Any = "stop" if written.finished else "length"
            return Completion(written.text, None, None, len(prompt), written.output_tokens, finish)
        completion = completion_of(
            written.token_ids,
            end_ids=self._loaded.end_ids,
            tokenizer=self._loaded.tokenizer.backend_tokenizer,
            prompt_tokens=len(prompt),
        )
        if self._scores is None or written.label_logprobs is None:
            return completion
        scores = self._scores.of(written.token_ids, written.label_logprobs, prompt.task)
        return dataclasses.replace(completion, scores=scores)

    def _chat_prompt(self, prompt: PreparedPrompt, conversation: Conversation) -> PreparedPrompt | Completion:
        contents = [str(turn["content"]) for turn in conversation]
        if any(text in content for text in self._control_texts for content in contents):
            return Completion.failed(NOT_RENDERED, prompt_tokens=len(prompt))
        return ChatPrompt(prompt.token_ids, prompt.task, conversation, start=prompt.start)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._loaded.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _end_id_of(loaded: LoadedTokenizer) -> int:
    usual = loaded.tokenizer.eos_token_id
    return usual if usual in loaded.end_ids else min(loaded.end_ids)
