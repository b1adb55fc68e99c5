"""A remote engine over servers that answer: the texts are a local engine's, and the bodies are the agreed ones."""

import pytest

from tests.workers.serving.remote.conftest import CORPUS, Model, NewEngine, NewServer
from workers.serving.engine.completion import Completion
from workers.serving.remote.canaries import CANARIES


@pytest.mark.parametrize("flavour", ["vllm", "sglang", "llamacpp"])
def test_p13_texts_are_those_of_the_local_engine(
    flavour: str, new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    engine = new_engine(new_server(flavour), prompts_per_call=7)

    here, there = local, engine.judge(CORPUS)

    assert [item.text for item in there] == [item.text for item in here]
    assert [(item.finish, item.error, item.prompt_tokens, item.output_tokens) for item in there] == [
        (item.finish, item.error, item.prompt_tokens, item.output_tokens) for item in here
    ]


@pytest.mark.parametrize("flavour", ["vllm", "sglang"])
def test_scores_are_those_of_the_local_engine(
    flavour: str, new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    engine = new_engine(new_server(flavour), guard={"score_temperature": 1.0})

    for here, there in zip(local, engine.judge(CORPUS), strict=True):
        assert here.scores is not None
        assert there.scores is not None
        assert there.scores.keys() == here.scores.keys()
        for question, labels in here.scores.items():
            assert there.scores[question] == pytest.approx(labels, abs=1e-4)


def test_p4_a_chat_server_gets_no_text_with_a_control_token(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    server = new_server("chat")
    engine = new_engine(server)

    for conversation, here, there in zip(CORPUS, local, engine.judge(CORPUS), strict=True):
        if any("<|im_end|>" in turn["content"] for turn in conversation):
            assert there == Completion.failed("not_rendered", prompt_tokens=here.prompt_tokens)
        else:
            assert (there.text, there.finish) == (here.text, here.finish)
    assert not [request for request in server.requests if "<|im_end|>" in str(request.body)]


def test_p4_vllm_is_sent_our_own_ids_and_every_sampling_value(
    new_server: NewServer, new_engine: NewEngine, model: Model
) -> None:
    server = new_server()
    new_engine(server, guard={"score_temperature": 1.0}).judge(CORPUS[:2])
    request = server.posts[-1]
    labels = request.body["logprob_token_ids"]

    assert (request.method, request.path) == ("POST", "/v1/completions")
    assert request.headers["endpoint-load-metrics-format"] == "json"
    assert request.headers["x-request-id"]
    assert request.body == {
        "model": "guard",
        "prompt": [model.builder.prepare(item).token_ids.tolist() for item in CORPUS[:2]],  # type: ignore[union-attr]
        "max_tokens": 64,
        "temperature": 0,
        "top_p": 1,
        "top_k": -1,
        "min_p": 0,
        "repetition_penalty": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "n": 1,
        "seed": 0,
        "stop_token_ids": sorted(model.loaded.end_ids),
        "skip_special_tokens": False,
        "return_token_ids": True,
        "add_special_tokens": False,
        "logprobs": 1,
        "logprob_token_ids": labels,
        "return_tokens_as_token_ids": True,
    }
    assert len(labels) == len(set(labels)) <= 128


def test_p4_sglang_is_sent_our_own_ids_and_every_sampling_value(
    new_server: NewServer, new_engine: NewEngine, model: Model
) -> None:
    server = new_server("sglang")
    new_engine(server).judge(CORPUS[:1])
    request = server.posts[-1]

    assert (request.method, request.path) == ("POST", "/generate")
    assert request.body == {
        "input_ids": [model.builder.prepare(CORPUS[0]).token_ids.tolist()],  # type: ignore[union-attr]
        "sampling_params": {
            "max_new_tokens": 64,
            "temperature": 0,
            "top_p": 1,
            "top_k": -1,
            "min_p": 0,
            "repetition_penalty": 1,
            "stop_token_ids": sorted(model.loaded.end_ids),
            "skip_special_tokens": False,
            "no_stop_trim": True,
            "sampling_seed": 0,
        },
        "rid": request.body["rid"],
    }


def test_p7_the_provenance_names_the_server_s_kind_and_its_behaviour(
    new_server: NewServer, new_engine: NewEngine
) -> None:
    engine = new_engine(new_server(), guard={"revision": "abc"})
    identity = engine.identity

    assert (identity.engine, identity.model, identity.dtype) == ("remote-vllm", "demo", "float32")
    assert identity.revision == f"abc+behaviour:{engine.behaviour_sha256[:16]}"
    assert new_engine(new_server("chat")).behaviour_sha256 == engine.behaviour_sha256, "whatever the flavour"


@pytest.mark.parametrize("flavour", ["vllm", "llamacpp"])
def test_a_prompt_beyond_the_server_s_context_is_not_sent(
    flavour: str, new_server: NewServer, new_engine: NewEngine
) -> None:
    server = new_server(flavour)
    server.max_model_len = 64 + 400
    engine = new_engine(server)
    asked = len(server.posts)

    (completion,) = engine.judge([({"role": "user", "content": "word " * 400},)])

    assert completion.error == "context_overflow"
    assert len(server.posts) == asked


@pytest.mark.parametrize("flavour", ["vllm", "llamacpp"])
def test_a_server_that_does_not_say_its_context_is_asked(
    flavour: str, new_server: NewServer, new_engine: NewEngine
) -> None:
    server = new_server(flavour)
    server.max_model_len = None

    (completion,) = new_engine(server).judge([CORPUS[0]])

    assert completion.error is None


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_p13_a_drafted_verdict_is_published_only_where_the_server_would_have_written_it(
    temperature: float | None, new_server: NewServer, new_engine: NewEngine, local: list[Completion], model: Model
) -> None:
    server = new_server("sglang")
    engine = new_engine(server, drafts=True, prompts_per_call=5, guard={"score_temperature": temperature})

    there = engine.judge(CORPUS)

    assert [item.text for item in there] == [item.text for item in local]
    assert [item.output_tokens for item in there] == [item.output_tokens for item in local]
    if temperature:
        for here, item in zip(local, there, strict=True):
            for question, labels in (here.scores or {}).items():
                assert (item.scores or {})[question] == pytest.approx(labels, abs=1e-4)
    verified = [body for request in server.requests if (body := request.body) and "top_logprobs_num" in body]
    first = len(model.builder.prepare(CORPUS[0]))  # type: ignore[arg-type]
    assert verified[0]["logprob_start_len"][0] == first - 1
    assert verified[0]["sampling_params"]["max_new_tokens"] == 0
    assert verified[0]["top_logprobs_num"] == 1
    generated = sum(server.judged.values()) - len(CANARIES)
    assert 0 < generated < len(CORPUS), "some drafts are right and some are wrong"
    assert 0 < engine.draft_counts.accepted < engine.draft_counts.drafted
