"""Any server with `/v1/chat/completions`, which applies the template itself: hosted ones, mostly.

It sees the text, so a message that contains a control token's text would become one. Such messages are not sent (P4).
One conversation a call; the text that comes back is the server's. No scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from workers.serving.engine.completion import Conversation, PreparedPrompt
from workers.serving.remote.flavour import Flavour
from workers.serving.remote.written import Terms, Written, expect


@dataclass(frozen=True, slots=True, eq=False)
class ChatPrompt(PreparedPrompt):
    """A prompt and the conversation that it is of."""

    conversation: Conversation


class Chat(Flavour):
    """See `Flavour`."""

    name: ClassVar[str] = "chat"
    path: ClassVar[str] = "/v1/chat/completions"
    health_path: ClassVar[str | None] = None
    most_prompts: ClassVar[int | None] = 1

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def body(self, model: str, prompts: Sequence[PreparedPrompt]) -> dict[str, Any]:
        (prompt,) = prompts
        assert isinstance(prompt, ChatPrompt)
        return {
            "model": model,
            "messages": [{"role": turn["role"], "content": turn["content"]} for turn in prompt.conversation],
            "max_tokens": self._terms.max_new_tokens,
            "temperature": 0,
            "top_p": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "n": 1,
            "seed": 0,
            "stream": False,
        }

    def read(
        self,
        answer: Any,
        asked: Mapping[str, Any],  # noqa: ARG002 - its answers are told apart by their index
        model: str,
        prompts: Sequence[PreparedPrompt],
    ) -> list[Written | None]:
        choices, usage = answer["choices"], answer["usage"]
        expect(len(choices) == 1, "the number of answers")
        expect(choices[0]["index"] == 0, "the answers' indices")
        # `transformers serve` lists a model's name, and answers with its branch behind it.
        expect(answer["model"] in (model, f"{model}@main"), "the model's name")
        expect(usage["prompt_tokens"] == len(prompts[0]), "the number of prompt tokens")
        text, finish = choices[0]["message"]["content"], choices[0]["finish_reason"]
        if not isinstance(text, str) or finish not in ("stop", "length"):
            return [None]
        return [Written((), text, finish == "stop", None, int(usage["completion_tokens"]))]

    def fingerprint(self, answer: Any) -> str | None:
        return answer.get("system_fingerprint") if isinstance(answer, dict) else None
