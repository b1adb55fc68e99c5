"""Several servers as one: each call goes to the least busy that is ready, and to another one where that fails.

A server that does not answer, or not as it should, gets no call before it has proved itself again: by the name that it
serves, and by what it writes about known texts. Everything here runs on one event loop.
Does not know what a verdict is.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from hashlib import blake2b
from typing import Final

from schemas.errors import GuardCrashError, GuardUnavailableError, RemoteCallError
from workers.serving.engine.completion import PreparedPrompt
from workers.serving.remote.connection import Waits
from workers.serving.remote.endpoint import Endpoint, Proof, State
from workers.serving.remote.flavour import Flavour
from workers.serving.remote.hedging import Hedging
from workers.serving.remote.written import ANOTHER_FORM, Written
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
IS_LIVE: ContextVar[bool] = ContextVar("weir_remote_is_live", default=False)  # what the current task asks for
MAX_SUSPECTS: Final = 4_096  # prompts that a server died under and that were not judged since
EARN_S: Final = 0.05  # for a call that hangs: until it is asked again whether a second one is earned by now
SUSPICIOUS: Final = 2  # deaths under one prompt, after which it may be the cause


class Pool:
    """Calls servers.

    Args:
        endpoints: the servers.
        flavour: what they are.
        prove: has a server prove itself; see `workers.serving.remote.identity`.
        timeout_s: of one call, and of the wait for room for one.
        waits: how long it waits for what.
        hedging: when a slow call is made a second time.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        flavour: Flavour,
        prove: Callable[["Pool", Endpoint], Awaitable[Proof]],
        timeout_s: float,
        waits: Waits,
        hedging: Hedging,
    ) -> None:
        self.hedging = hedging
        self.endpoints = endpoints
        self._flavour = flavour
        self._prove = prove
        self._timeout_s = timeout_s
        self._waits = waits
        self._room = asyncio.Condition()
        self._suspects: OrderedDict[bytes, int] = OrderedDict()
        self._watchers = [asyncio.create_task(self._watch(endpoint)) for endpoint in endpoints]

    async def close(self) -> None:
        """End all that is under way."""
        for task in self._watchers:
            task.cancel()
        for endpoint in self.endpoints:
            endpoint.give_up_calls()
        await asyncio.wait(self._watchers)
        for endpoint in self.endpoints:
            await endpoint.connection.close()

    async def call(self, prompts: Sequence[PreparedPrompt], flavour: Flavour | None = None) -> list[Written | None]:
        """What was written about each prompt; None where a server has to be asked again.

        Args:
            prompts: some.
            flavour: another way to ask the same servers; None: the usual one.

        Raises:
            RemoteCallError: `rejected` or `failed`: it may be one of the prompts. It is one that is rejected alone,
                because the server has just proved itself.
            GuardUnavailableError: no server answers as it should.
            GuardCrashError: servers died while they ran these.
        """
        tried: set[Endpoint] = set()
        while True:
            endpoint, ended = await self._raced(await self._choose(tried), prompts, flavour or self._flavour, tried)
            if not isinstance(ended, RemoteCallError):
                self._acquit(prompts)
                return ended
            found = ended
            if found.fault == "rejected" and len(prompts) == 1:
                found = await self._other_fault(endpoint) or found
            is_suspicious = self._note(endpoint, found, prompts)
            if found.fault in ("rejected", "failed"):
                raise found
            if is_suspicious:
                raise GuardCrashError(f"servers died of a call: {found.what}")
            tried.add(endpoint)

    async def ask(
        self, endpoint: Endpoint, model: str, prompts: Sequence[PreparedPrompt], flavour: Flavour | None = None
    ) -> tuple[list[Written | None], str | None]:
        """What this server writes about each prompt, whatever its state, and the fingerprint of its answer.

        Raises:
            RemoteCallError: see there.
        """
        flavour, connection = flavour or self._flavour, endpoint.connection
        body = flavour.body(model, prompts)
        try:
            answer = await connection.post(flavour.path, body, self._timeout_s)
        except RemoteCallError as error:
            if error.fault != "failed" or flavour.health_path is None:
                raise
            failed = error
        else:
            try:
                written = flavour.read(answer.body, body, model, prompts)
                fingerprint = flavour.fingerprint(answer.body)
            except ANOTHER_FORM as error:
                shape = RemoteCallError("mismatched", f"an answer of another form: {type(error).__name__}")
            else:
                endpoint.succeeded(answer.headers)
                return written, fingerprint
            raise shape
        if await connection.status_of(flavour.health_path) == 200:
            raise failed
        raise RemoteCallError("crashed", failed.what)

    async def _raced(
        self, first: Endpoint, prompts: Sequence[PreparedPrompt], flavour: Flavour, tried: set[Endpoint]
    ) -> tuple[Endpoint, list[Written | None] | RemoteCallError]:
        """What a server answers, or fails with; of a live call that is slow, the first answer of two servers.

        The other call is given up, by which servers notice that nobody waits for it.
        """
        began = asyncio.get_running_loop().time()
        call = asyncio.create_task(self._ask(first, prompts, flavour))
        asked = {call: first}
        try:
            if (second := await self._second(call, {first, *tried})) is not None:
                asked[asyncio.create_task(self._ask(second, prompts, flavour))] = second
            while True:
                ended = next(iter((await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED))[0]))
                endpoint = asked.pop(ended)
                try:
                    written = ended.result()
                except RemoteCallError as error:
                    if not asked:
                        return endpoint, error
                    self._note(endpoint, error, prompts)
                    tried.add(endpoint)
                else:
                    self._answered(asked.values(), asyncio.get_running_loop().time() - began)
                    return endpoint, written
        finally:
            for call in asked:
                call.cancel()
            if asked:
                await asyncio.wait(asked)
            for call in asked:  # or asyncio complains that nobody asked how it ended
                _ = call.cancelled() or call.exception()

    def _answered(self, slower: Iterable[Endpoint], seconds: float) -> None:
        """A call was answered, by another server than these."""
        for endpoint in slower:
            endpoint.outrun()
        if IS_LIVE.get():
            self.hedging.answered(seconds)

    async def _second(self, call: asyncio.Task[list[Written | None]], without: set[Endpoint]) -> Endpoint | None:
        """Who shall be asked, too, once this call is slow; None where it ended before, or nobody may be asked."""
        slow_s = self.hedging.begin() if IS_LIVE.get() else None
        while slow_s is not None and not (await asyncio.wait({call}, timeout=slow_s))[0]:
            other = self._least_busy(without)
            if other is not None and self.hedging.take():
                return other
            slow_s = max(slow_s, EARN_S)
        return None

    def _note(self, endpoint: Endpoint, found: RemoteCallError, prompts: Sequence[PreparedPrompt]) -> bool:
        """What a call of a server ended with; whether servers die of these prompts."""
        endpoint.fell(found)
        log.warning(log_event("remote_call_failed", url=endpoint.url, fault=found.fault, what=found.what))
        return found.fault == "crashed" and self._is_suspicious(prompts)

    async def _ask(
        self, endpoint: Endpoint, prompts: Sequence[PreparedPrompt], flavour: Flavour
    ) -> list[Written | None]:
        proof = endpoint.proof
        assert proof is not None
        call = asyncio.create_task(self.ask(endpoint, proof.model, prompts, flavour))
        endpoint.calls.add(call)
        try:
            await asyncio.wait({call})
        finally:
            call.cancel()
            endpoint.calls.discard(call)
            async with self._room:
                self._room.notify_all()
        if call.cancelled():
            raise RemoteCallError("gone", "given up")
        written, fingerprint = call.result()
        if fingerprint != proof.fingerprint:
            raise RemoteCallError("mismatched", "its fingerprint has changed")
        return written

    async def _choose(self, tried: set[Endpoint]) -> Endpoint:
        """The least busy one, once one has room."""
        try:
            async with asyncio.timeout(self._timeout_s), self._room:
                while True:
                    ready = [item for item in self.endpoints if item.state is State.READY and item not in tried]
                    if not ready:
                        break
                    if (free := self._least_busy(tried)) is not None:
                        return free
                    await self._room.wait()
        except TimeoutError:
            pass
        raise self._refusal()

    def _least_busy(self, without: set[Endpoint]) -> Endpoint | None:
        free = [item for item in self.endpoints if item.state is State.READY and item.has_room and item not in without]
        return min(free, key=lambda item: item.load, default=None)

    def _refusal(self) -> GuardUnavailableError:
        states = ", ".join(f"{item.state}{f', {item.why}' if item.why else ''}" for item in self.endpoints)
        return GuardUnavailableError(f"no server takes it on: {states}")

    async def _other_fault(self, endpoint: Endpoint) -> RemoteCallError | None:
        """What is wrong with a server that has rejected one prompt alone; None: nothing, so it is the prompt."""
        try:
            await self._proved(endpoint)
        except RemoteCallError as error:
            return error
        return None

    async def _proved(self, endpoint: Endpoint) -> Proof:
        try:
            return await self._prove(self, endpoint)
        except RemoteCallError as error:
            found = error
        except ANOTHER_FORM as error:
            found = RemoteCallError("mismatched", f"an answer of another form: {type(error).__name__}")
        raise RemoteCallError("mismatched", "it rejects known texts") if found.fault == "rejected" else found

    def _is_suspicious(self, prompts: Sequence[PreparedPrompt]) -> bool:
        """Count a death under these prompts; whether one of them has seen several."""
        most = 0
        for prompt in prompts:
            key = _key_of(prompt)
            deaths = self._suspects.pop(key, 0) + 1
            self._suspects[key] = deaths
            most = max(most, deaths)
        while len(self._suspects) > MAX_SUSPECTS:
            self._suspects.popitem(last=False)
        return most >= SUSPICIOUS

    def _acquit(self, prompts: Sequence[PreparedPrompt]) -> None:
        if self._suspects:
            for prompt in prompts:
                self._suspects.pop(_key_of(prompt), None)

    async def _watch(self, endpoint: Endpoint) -> None:
        """Have a server that is lost prove itself again, and find out early that one is lost."""
        path = self._flavour.health_path
        while True:
            if endpoint.state in (State.DOWN, State.REFUSED):
                is_up = await self._try(endpoint)
                endpoint.is_tried = True
                if is_up:
                    continue
                await asyncio.sleep(max(endpoint.backoff.next_wait_s(), endpoint.left_alone_s))
            else:
                try:
                    async with asyncio.timeout(self._waits.health_interval_s):
                        await endpoint.lost.wait()
                    continue
                except TimeoutError:
                    pass
            if path is not None and endpoint.calls and await endpoint.connection.status_of(path) != 200:
                endpoint.fell(RemoteCallError("gone", "its health check fails"))
                endpoint.give_up_calls()

    async def _try(self, endpoint: Endpoint) -> bool:
        before = endpoint.state, endpoint.why
        try:
            endpoint.admit(await self._proved(endpoint))
        except RemoteCallError as error:
            endpoint.fell(error)
            if (endpoint.state, endpoint.why) != before:
                level = logging.ERROR if endpoint.state is State.REFUSED else logging.WARNING
                log.log(level, log_event("remote_not_ready", url=endpoint.url, state=endpoint.state, why=error.what))
            return False
        log.info(log_event("remote_ready", url=endpoint.url, **endpoint.proof._asdict() if endpoint.proof else {}))
        async with self._room:
            self._room.notify_all()
        return True


def _key_of(prompt: PreparedPrompt) -> bytes:
    return blake2b(prompt.token_ids.tobytes(), digest_size=16).digest()
