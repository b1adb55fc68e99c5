"""Deliberate breakages of Weir, each with the test that has to notice it."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One breakage.

    Attributes:
        name: what the broken code does.
        file: where.
        sound: text of the sound code; occurs once in the file.
        broken: what stands there instead.
        test: file and name of a test that must fail; all parameters of it are run.
    """

    name: str
    file: str
    sound: str
    broken: str
    test: str


MUTANTS = (
    Mutant(
        "commits before the acknowledgement",
        "workers/stream/loop.py",
        "            self.publisher.publish(released)\n",
        "            self.publisher.publish(released)\n            self._complete(released)\n",
        "tests/workers/stream/test_delivery.py::test_p2_nothing_is_committed_while_the_broker_acknowledges_nothing",
    ),
    Mutant(
        "commits past a gap",
        "pipelines/in_flight.py",
        "        return self._in_flight[0].offset if self._in_flight else self._delivered_to\n",
        "        return self._delivered_to\n",
        "tests/pipelines/test_in_flight.py::TestP2P8AnyInterleavingKeepsTheOrderAndNeverCommitsAhead",
    ),
    Mutant(
        "acknowledges what has only been sent",
        "workers/stream/publisher.py",
        "if all(map(Future.succeeded, futures))]",
        "if futures]",
        "tests/workers/stream/test_publisher.py::test_p2_nothing_is_acknowledged_that_the_broker_has_not_stored",
    ),
    Mutant(
        "publishes for a partition that is lost",
        "workers/stream/publisher.py",
        "            remaining = [item for item in remaining if not item.partition.is_lost]\n",
        "",
        "tests/workers/stream/test_publisher.py::test_p2_nothing_of_a_lost_partition_is_published",
    ),
    Mutant(
        "has a default severity",
        "pipelines/guard_parser.py",
        "_SEVERITY_OF_LINE.get(lines[0])",
        "_SEVERITY_OF_LINE.get(lines[0], Severity.SAFE)",
        "tests/pipelines/test_guard_parser.py::test_p3_drifted_output_has_no_classification_and_its_error_no_output",
    ),
    Mutant(
        "judges an answer that was cut off",
        "pipelines/moderation.py",
        "    if not answer.finished:\n",
        "    if not answer.text:\n",
        "tests/pipelines/test_moderation.py::"
        "test_p3_an_answer_off_the_grammar_is_a_dead_letter_with_provenance_and_a_digest_of_the_output",
    ),
    Mutant(
        "lets message text become control tokens",
        "workers/serving/engine/prompt.py",
        "self._plain.encode(text, add_special_tokens=False).ids if text else []",
        "self._tokenizer.encode(text, add_special_tokens=False) if text else []",
        "tests/workers/serving/engine/test_prompt.py::test_p4_message_text_never_becomes_a_control_token",
    ),
    Mutant(
        "spends attempts while the guard is down",
        "pipelines/judging.py",
        '                self.calls["unavailable"] += 1\n                self._held()\n',
        "                raise GuardCallFailedError('down') from None\n",
        "tests/pipelines/test_judging.py::test_p5_an_unavailable_guard_consumes_no_attempt_and_yields_no_error",
    ),
    Mutant(
        "blames a record without asking whether the guard is well",
        "pipelines/isolation.py",
        "            self._held()\n            return None\n",
        "            return GuardReply([], None)\n",
        "tests/pipelines/test_judging.py::test_p5_where_everything_is_broken_the_probe_fails_too_and_nothing_is_blamed",
    ),
    Mutant(
        "fails a chunk for one poisonous record",
        "pipelines/judging.py",
        "        return await self._judge(requests[:middle], tries) + await self._judge(requests[middle:], tries)\n",
        "        poisoned = await self._judge(requests[middle : middle + 1], tries)\n"
        "        return poisoned * len(requests)\n",
        "tests/pipelines/test_judging.py::test_p6_one_poison_among_64_is_isolated_and_63_get_their_own_answers",
    ),
    Mutant(
        "fails a call for what another call's record did",
        "workers/serving/batcher.py",
        "if len(shares) > 1 and not isinstance(error, self._blameless):",
        "if len(shares) > 1_000_000:",
        "tests/workers/serving/test_batcher.py::test_p6_a_batch_that_raises_fails_the_calls_at_fault_and_not_those_beside_them",
    ),
    Mutant(
        "gives a judgement a new id each time",
        "schemas/verdict_writer.py",
        "    digest.update(source.encode())\n",
        "    digest.update(source.encode() + repr(object()).encode())\n",
        "tests/workers/stream/test_delivery.py::test_p7_judging_a_topic_twice_gives_equal_ids_and_payloads",
    ),
    Mutant(
        "releases what is ready, in whatever order",
        "pipelines/in_flight.py",
        "        while self._unreleased and self._unreleased[0].is_decided:\n"
        "            yield self._unreleased.popleft()\n",
        "        for item in [item for item in self._unreleased if item.is_decided]:\n"
        "            self._unreleased.remove(item)\n            yield item\n",
        "tests/workers/stream/test_delivery.py::"
        "test_p8_outcomes_of_a_partition_leave_in_offset_order_though_computed_out_of_order",
    ),
    Mutant(
        "takes in without a limit",
        "workers/stream/loop.py",
        "wanted = assigned if self.breaker.is_open else self.assignment.held() & assigned\n",
        "wanted = assigned if self.breaker.is_open else set()\n",
        "tests/workers/stream/test_delivery.py::test_p9_a_stalled_guard_bounds_what_is_in_flight",
    ),
    Mutant(
        "drops what comes while its queue is full",
        "workers/stream/loop.py",
        "        if not self._has_recalled:\n",
        "        if self.limits.records > 8:\n            return\n        if not self._has_recalled:\n",
        "tests/workers/stream/test_delivery.py::test_p9_a_stalled_guard_bounds_what_is_in_flight",
    ),
    Mutant(
        "logs what the guard said when it failed",
        "workers/guard/client.py",
        "raise GuardCallFailedError(str(error.cause) if failed else type(error.cause).__name__) from None\n",
        "raise GuardCallFailedError(str(error.cause)) from None\n",
        "tests/workers/guard/test_client.py::test_p10_no_text_of_a_foreign_error_is_repeated_or_kept",
    ),
    Mutant(
        "forgets the trace between input and outcome",
        "workers/telemetry/message_sampling.py",
        "        parent = _parent_of(incoming)\n",
        "        parent = None\n",
        "tests/workers/stream/test_telemetry_promises.py::test_p11_every_outcome_leads_back_to_its_producer_s_span",
    ),
    Mutant(
        "calls a worker well that turns without progress",
        "workers/stream/health.py",
        "    if in_flight and now - max(progress.advanced_at, progress.held_at) > timeout_s:\n",
        "    if in_flight < 0:\n",
        "tests/workers/stream/test_progress.py::test_p12_a_loop_that_turns_without_completing_anything_is_stuck",
    ),
    Mutant(
        "takes a draft for the verdict without looking",
        "workers/serving/engine/verdict_decoder.py",
        "if token_id in self._end_ids or count > len(draft) or token_id != draft[count - 1]:",
        "if token_id in self._end_ids or count > len(draft):",
        "tests/workers/serving/engine/test_one_pass_exact.py::test_p13_answers_and_logits_do_not_depend_on_what_is_drafted",
    ),
    Mutant(
        "commits a transaction of a partition that is lost",
        "workers/stream/exactly_once.py",
        "        if any(item.partition.is_lost for item in batch):\n",
        "        if not batch:\n",
        "tests/workers/stream/test_exactly_once.py::test_a_partition_that_is_lost_meanwhile_takes_its_transaction_with_it",
    ),
    Mutant(
        "sends again what turned out to be committed",
        "workers/stream/exactly_once.py",
        "        return [item for item in batch if item.offset < offsets.get(item.partition.id, -1)]\n",
        "        return []\n",
        "tests/workers/stream/test_exactly_once.py::test_what_turns_out_to_be_committed_is_not_sent_again",
    ),
    Mutant(
        "releases behind an open breaker",
        "workers/stream/loop.py",
        "        elif released := self.assignment.release():\n",
        "        if released := self.assignment.release():\n",
        "tests/workers/stream/test_breaker_in_worker.py::test_an_open_breaker_holds_everything_back_and_a_reset_lets_it_go_on",
    ),
    Mutant(
        "leaves the group without its last commit",
        "workers/stream/commits.py",
        "        if not self.assignment.committable():\n",
        "        if self.assignment.is_idle:\n",
        "tests/workers/stream/test_commits.py::test_p2_what_is_done_is_committed_before_a_worker_leaves_also_where_a_rebalance_refuses_it",
    ),
    Mutant(
        "kills replica after replica to find one poisonous record",
        "pipelines/judging.py",
        "        tries = 1 if crashes else tries\n",
        "",
        "tests/pipelines/test_judging.py::test_p6_poison_kills_as_many_replicas_as_it_takes_to_find_and_convict_it",
    ),
    Mutant(
        "raises where a coordinator cannot be reached, so that its transaction never ends",
        "workers/kafka/patches.py",
        "        except KafkaConnectionError:\n            time.sleep(RECONNECT_S)\n",
        "        except ZeroDivisionError:\n            time.sleep(RECONNECT_S)\n",
        "tests/workers/kafka/test_patches.py::test_a_coordinator_that_cannot_be_reached_is_no_error_to_the_sender",
    ),
    Mutant(
        "stalls at a header name that is not UTF-8",
        "workers/kafka/decoding.py",
        "        return HeaderName(name)\n",
        "        raise\n",
        "tests/workers/kafka/test_decoding.py::test_a_record_whose_header_name_is_no_text_is_read_and_so_are_its_neighbours",
    ),
    Mutant(
        "turns for ever in a batch that cannot be read",
        "workers/kafka/decoding.py",
        "            self.drain()\n",
        "",
        "tests/workers/kafka/test_decoding.py::test_what_cannot_be_read_is_raised_once_with_its_place_behind_all_that_could",
    ),
    Mutant(
        "grows with each poll while no server answers",
        "workers/kafka/patches.py",
        'getattr(callback, "__name__", "") == "_wake"',
        "False",
        "tests/workers/kafka/test_outage.py::test_p9_polls_without_any_answer_wait_and_leave_nothing_behind",
    ),
    Mutant(
        "takes a topic that was created again for the old one",
        "workers/kafka/topic_lives.py",
        "                begun.append(topic)\n",
        "",
        "tests/workers/kafka/test_topic_lives.py::test_a_topic_with_another_id_has_begun_a_new_life",
    ),
    Mutant(
        "lets half an emoji be a dead letter again",
        "schemas/reading/turns.py",
        '    text, replaced = _SURROGATE.subn("\\ufffd", text)\n',
        "    replaced = 0\n",
        "tests/schemas/reading/test_turns.py::test_what_is_shown_and_what_was_done",
    ),
    Mutant(
        "drops a turn that can be shown",
        "schemas/reading/turns.py",
        "    turns = [*context, judged]\n",
        "    turns = [*context[:-1], judged]\n",
        "tests/schemas/reading/test_turns.py::test_what_is_shown_and_what_was_done",
    ),
    Mutant(
        "lets a raid open the breaker",
        "pipelines/breaker/causes.py",
        "        is_ours = not self.is_proven or self.changed_since(since_s)\n",
        "        is_ours = True\n",
        "tests/pipelines/breaker/test_raids.py::test_a_raid_of_any_size_opens_nothing",
    ),
    Mutant(
        "skips what could not be read",
        "schemas/reasons.py",
        "NOTHING_TO_JUDGE = frozenset({Reason.TOMBSTONE, Reason.BLANK_TEXT})",
        "NOTHING_TO_JUDGE = frozenset({Reason.TOMBSTONE, Reason.BLANK_TEXT, Reason.INVALID_JSON})",
        "tests/workers/telemetry/metrics/test_values.py::test_outcomes_are_counted_by_severity_action_category_and_reason",
    ),
    Mutant(
        "cuts a row with a field too many and judges it",
        "workers/files/csv_rows.py",
        "                if len(fields) == (self._width or len(fields)):\n",
        "                if len(fields) >= self._width:\n",
        "tests/workers/files/test_batch_cases.py::test_a_csv_row_with_a_field_too_many_is_named_by_its_line_and_never_cut",
    ),
    Mutant(
        "answers one tenant's question in another's conversation",
        "workers/audit/rows/event_rows.py",
        '        return _identifier(self._value(row, "tenant")), conversation\n',
        "        return None, conversation\n",
        "tests/workers/audit/rows/test_event_rows.py"
        "::test_no_tenant_is_judged_with_another_tenants_question_and_null_is_no_conversation",
    ),
    Mutant(
        "takes a label that no row has for Safe everywhere",
        "workers/evaluation/labelled_files.py",
        "        if self._unmet:\n            raise",
        "        if False:\n            raise",
        "tests/workers/evaluation/test_labelled_rows.py::test_what_is_given_and_met_by_no_row_is_an_error",
    ),
    Mutant(
        "judges a text that looks like a chat as a chat and no more",
        "pipelines/fitting/structure.py",
        "            yield (*plain, with_text(judged, text))\n",
        "            yield conversation\n",
        "tests/pipelines/fitting/test_structure.py::test_p14_a_message_that_looks_like_a_chat_is_judged_part_by_part_too",
    ),
    Mutant(
        "leaves what looks like a chat in the context of a part",
        "pipelines/fitting/structure.py",
        'with_text(turn, "\\n".join(self._parts(turn["content"])))',
        "turn",
        "tests/pipelines/fitting/test_structure.py::test_p14_the_context_is_shown_without_structure_too",
    ),
    Mutant(
        "reads a value of any size as a whole",
        "workers/kafka/decoding.py",
        "elif value is not None and len(value) > self.most:",
        "elif value is None and self.most < 0:",
        "tests/workers/kafka/test_decoding.py::"
        "test_p9_a_record_that_would_cost_too_much_is_cut_while_it_is_read_and_its_neighbours_are_not",
    ),
    Mutant(
        "gives up a batch that could be read a moment later",
        "workers/kafka/reader.py",
        "error.offset] < READS:",
        "error.offset] < 1:",
        "tests/workers/kafka/test_decoding.py::test_a_command_passes_over_a_batch_only_after_it_has_tried_again",
    ),
    Mutant(
        "refuses an event for a time that nobody can read",
        "schemas/reading/fields.py",
        "            counts[Handled.CREATED_AT_UNREADABLE] += 1\n",
        '            raise EventError(Reason.INVALID_VALUE, "created_at: unreadable") from None\n',
        "tests/schemas/reading/test_live_cases.py::test_a_time_that_cannot_be_read_costs_nothing_and_is_counted",
    ),
    Mutant(
        "takes a mirror's old timestamps for the age of its backlog",
        "workers/stream/backlog.py",
        "came_s = max(stamped_s, now_s - longest_s)",
        "came_s = stamped_s",
        "tests/workers/stream/test_backlog.py::"
        "test_a_record_with_a_time_of_long_ago_is_no_older_than_the_look_before_it_came",
    ),
    Mutant(
        "lets a sender choose the shadow lane's sample",
        "pipelines/shadow.py",
        "blake2b(record.record_id.encode(), digest_size=_BYTES)",
        'blake2b(record.value or b"", digest_size=_BYTES)',
        "tests/pipelines/test_shadow.py::test_nothing_that_its_sender_writes_chooses_whether_a_record_is_in_the_sample",
    ),
    Mutant(
        "shows a secret that stands in a malformed setting",
        "workers/settings/loading.py",
        'shown = "(hidden)" if _HIDDEN.fullmatch(name) or not _is_plain(value) else repr(value)',
        "shown = repr(value)",
        "tests/workers/settings/test_secrets.py::test_p10_no_file_that_is_refused_is_quoted",
    ),
    Mutant(
        "keeps a folder's revision although its files have changed",
        "workers/serving/engine/loading.py",
        'return found if revision in (None, found) else f"{revision}@{found}"',
        "return revision or found",
        "tests/workers/serving/engine/test_loading.py::test_a_folders_revision_follows_its_weights",
    ),
    Mutant(
        "says nothing of a variable of OpenTelemetry that has no effect",
        "workers/telemetry/variables.py",
        'return found + [f"{name}: not read" for name in _NOT_READ if otel.get(name)]',
        "return found",
        "tests/workers/telemetry/test_variables.py::test_what_is_not_done_is_said_by_name",
    ),
    Mutant(
        "has its network policy select pods by a label that users may set",
        "helm/weir/templates/networkpolicy.yaml",
        '  podSelector:\n    matchLabels:\n      {{- include "weir.selectorLabels" $ | nindent 6 }}\n',
        "  podSelector:\n    matchLabels:\n      app.kubernetes.io/part-of: weir\n",
        "tests/helm/test_hostile_values.py::test_what_selects_pods_selects_its_own",
    ),
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
        "goes on at an offset of a topic's former life",
        "workers/kafka/topic_lives.py",
        "found is not None and mark is not None and found[0] != mark",
        "found is not None and mark is not None and mark in (None, stored)",
        "tests/workers/kafka/test_topic_lives.py::"
        "test_what_is_stored_beside_an_offset_tells_in_which_life_of_its_topic",
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
)
