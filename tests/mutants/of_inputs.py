"""Breakages of what keeps a stranger from doing harm: inputs, files, settings, provenance, the chart."""

from tests.mutants.mutant import Mutant

OF_INPUTS = (
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
        "has half an emoji cost a row of a file its judgement",
        "workers/files/row_values.py",
        "    content = json_text.read(text)\n",
        '    content: Any = __import__("pydantic_core").from_json(text)\n',
        "tests/workers/files/test_batch_cases.py::test_half_an_emoji_is_no_way_to_escape_judgement_and_costs_no_row",
    ),
    Mutant(
        "has a character that was cut by bytes cost a record its judgement",
        "schemas/reading/json_text.py",
        "_CUT_CHARACTER.sub(_HALF, value)",
        "value",
        "tests/schemas/reading/test_live_cases.py"
        "::test_a_character_that_was_cut_by_bytes_is_no_way_to_escape_judgement",
    ),
    Mutant(
        "skips a text that stands beside an empty content",
        "schemas/reading/turns.py",
        "    if _says_nothing(content):\n",
        '    if "content" not in turn:\n',
        "tests/schemas/reading/test_turns.py::test_what_is_shown_and_what_was_done",
    ),
    Mutant(
        "has one value of a table stop its block for good",
        "workers/files/arrow_tables.py",
        "    except (ValueError, ArithmeticError, LookupError):\n        return [",
        "    except OverflowError:\n        return [",
        "tests/workers/files/test_batch_cases.py"
        "::test_a_value_of_a_table_that_python_cannot_hold_costs_no_row_beside_it",
    ),
    Mutant(
        "creates a topic by asking for it",
        "workers/kafka/unbounded_waits.py",
        'cluster.config["allow_auto_create_topics"] = False',
        'cluster.config["allow_auto_create_topics"] = True',
        "tests/workers/kafka/test_patches.py::test_a_topic_that_is_waited_for_in_vain_is_named",
    ),
    Mutant(
        "does not say which topic it waits for",
        "workers/kafka/errors.py",
        'return said if topic is None else {**said, "topic": topic}',
        "return said",
        "tests/workers/stream/test_publisher.py"
        "::test_p5_a_topic_of_the_policy_that_is_missing_holds_all_behind_it_and_the_log_names_it",
    ),
    Mutant(
        "reads a folder of a store from where its path alone leads",
        "workers/files/locations.py",
        'prefix + fixed.rstrip("/") + quote(path[len(root) :]) + options',
        "prefix + quote(path) + options",
        "tests/workers/files/test_cursors.py::test_a_uri_keeps_where_it_leads_and_its_options_and_none_has_a_password",
    ),
    Mutant(
        "lets the SDK log a header that it cannot read",
        "workers/telemetry/export.py",
        "logging.getLogger(_quoting).disabled = True",
        "logging.getLogger(_quoting)",
        "tests/workers/telemetry/test_variables.py"
        "::test_p10_a_variable_that_holds_a_secret_in_the_wrong_form_is_named_and_quoted_by_nobody",
    ),
)
