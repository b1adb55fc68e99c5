"""Breakages of the other doors: HTTP, and answers that are judged while they are written."""

from tests.mutants.mutant import Mutant

OF_DOORS = (
    Mutant(
        "answers over HTTP for an item without a verdict",
        "workers/ask/web.py",
        "if isinstance(letter, DeadLetter) and not answer.is_skipped:",
        "if isinstance(letter, DeadLetter) and answer.is_skipped:",
        "tests/workers/ask/test_moderations.py::test_p3_an_item_that_cannot_be_judged_is_a_refusal_with_index_and_reason",
    ),
    Mutant(
        "rewards a missing judgement with 0",
        "workers/ask/codecs/rewards.py",
        "    if len(verdicts) < len(answers):\n        return None\n",
        "    if len(verdicts) < len(answers):\n        return 0.0\n",
        "tests/workers/ask/test_codecs.py::test_p3_a_reward_follows_the_formula_and_a_missing_judgement_is_null",
    ),
    Mutant(
        "lets a key ask for another tenant",
        "workers/ask/asking.py",
        'if tenant is not None and theirs not in (None, "", tenant):',
        "if False:",
        "tests/workers/ask/test_asking.py::test_a_key_s_tenant_is_that_of_its_items_and_no_other_may_be_named",
    ),
    Mutant(
        "takes any key",
        "workers/ask/keys.py",
        "if found is None or not token or len(token) > MAX_TOKEN:",
        "if found is None and not token:",
        "tests/workers/ask/test_web.py::test_with_a_keys_file_nobody_else_is_let_in",
    ),
    Mutant(
        "keeps the numbers of tokens that have changed",
        "workers/serving/engine/streaming/session.py",
        "        del self.pages[changed // TILE :]\n",
        "",
        "tests/workers/serving/engine/streaming/test_same_for_every_chunking.py"
        "::test_p7_chunks_company_and_eviction_change_no_bit",
    ),
    Mutant(
        "settles a letter that an accent may join",
        "workers/serving/engine/streaming/turn_text.py",
        " and starts_anew(text[start])",
        "",
        "tests/workers/serving/engine/streaming/test_turn_text.py::test_what_no_further_text_can_change_is_settled",
    ),
    Mutant(
        "takes a raise back",
        "workers/serving/engine/streaming/verdicts.py",
        "self.raised or flags",
        "flags",
        "tests/workers/serving/engine/streaming/test_sessions.py::test_when_a_turn_is_raised",
    ),
    Mutant(
        "takes control tokens out of deltas",
        "workers/serving/engine/streaming/turn_text.py",
        '"added_tokens": [], ',
        "",
        "tests/workers/serving/engine/streaming/test_turn_text.py::test_p4_special_tokens_in_deltas_stay_text",
    ),
    Mutant(
        "makes as many second calls as are slow",
        "workers/serving/remote/hedging.py",
        "if self._earned < 1:",
        "if False:",
        "tests/workers/serving/remote/test_hedging.py"
        "::test_second_calls_are_never_more_than_their_share_of_the_live_ones",
    ),
    Mutant(
        "makes background calls a second time",
        "workers/serving/remote/pool.py",
        "slow_s = self.hedging.begin() if IS_LIVE.get() else None",
        "slow_s = self.hedging.begin()",
        "tests/workers/serving/remote/test_hedging.py::test_background_calls_and_calls_without_a_share_are_made_once",
    ),
    Mutant(
        "asks servers without the batch's trace",
        "workers/serving/remote/connection.py",
        "**TRACE.get(), ",
        "",
        "tests/workers/serving/remote/test_hedging.py"
        "::test_p11_each_call_carries_the_trace_of_its_batch_and_known_texts_carry_none",
    ),
)
