"""What crosses processes on the guard port is what was sent, although it goes by columns."""

import pickle

import pytest

from pipelines.guard import Chunk, GuardAnswer, GuardReply, GuardRequest
from schemas.reasons import Reason
from schemas.verdict import Provenance

PROVENANCE = Provenance(model="m", revision="r", prompt_sha256="p", engine="e", dtype="d", parser="1")
REQUESTS = [
    GuardRequest(({"role": "user", "content": "hi"},), 3, {"traceparent": "00-1"}),
    GuardRequest(({"role": "user", "content": "and"}, {"role": "assistant", "content": "\U0001f600"}), 5, {}),
]
ANSWERS = [
    GuardAnswer("Safety: Safe\nCategories: None", None, {"safety": {"Safe": 0.5}}, 300, 8, True, {}, 0.25, 1.5),
    GuardAnswer("", Reason.NOT_RENDERED, None, 0, 0, False, {"traceparent": "00-2"}, 0.0, 0.0),
]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_requests_and_answers_arrive_as_they_were_sent(count: int) -> None:
    chunk = pickle.loads(pickle.dumps(Chunk(REQUESTS[:count])))
    assert (type(chunk), chunk) == (list, REQUESTS[:count])
    assert all(type(request) is GuardRequest for request in chunk)
    reply = pickle.loads(pickle.dumps(GuardReply(ANSWERS[:count], PROVENANCE)))
    assert (type(reply), reply) == (GuardReply, GuardReply(ANSWERS[:count], PROVENANCE))
    assert all(type(answer) is GuardAnswer for answer in reply.answers)
