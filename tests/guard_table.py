"""The guards: where each stands, what it becomes when it is taken out, and the test that must go red then (``tests.guards`` does it)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """``text``, which stands exactly once in ``path``, becomes ``instead``."""

    path: str
    text: str
    instead: str


@dataclass(frozen=True)
class Guard:
    """``test`` is a file, and ``named`` selects what must go red in it (as ``pytest -k`` takes it)."""

    name: str
    cuts: tuple[Cut, ...]
    test: str
    named: str


def guard(name: str, test: str, named: str, *cuts: tuple[str, str, str]) -> Guard:
    return Guard(name, tuple(Cut(*cut) for cut in cuts), test, named)


DELIVERY = "bot/delivery/"
GUARDS = (
    guard(
        "one effect a message: the unique index on inbound.sid_hash",
        "tests/test_inbound.py",
        "test_i3_thirty_two_threads_with_the_same_message and sqlite",
        (
            "models/messages.py",
            "sid_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)",
            "sid_hash: Mapped[bytes] = mapped_column(LargeBinary(32))",
        ),
        (
            "bot/inbound/receive.py",
            '"sqlite": sqlite.insert(_table).on_conflict_do_nothing(index_elements=["sid_hash"])',
            '"sqlite": sqlite.insert(_table)',
        ),
    ),
    guard(
        "one message of a phone at a time: the phone's lock",
        "tests/test_inbound_faults.py",
        "test_a_phone_that_somebody_else_locks_for_long",
        (
            "bot/conversation/speakers.py",
            "    # Plain FOR UPDATE deadlocks with the foreign keys' own checks; this lock does not (measured).\n"
            "    .with_for_update(key_share=True)\n",
            "",
        ),
    ),
    guard(
        "a repeated webhook says nothing to whoever stopped since",
        "tests/test_inbound.py",
        "test_a_repeat_after_a_stop_gets_nothing and sqlite",
        (
            "bot/inbound/receive.py",
            'if row.handled_as != "STOP" and is_opted_out(',
            'if row.handled_as == "nothing" and is_opted_out(',
        ),
    ),
    guard(
        "only Twilio's signature opens the door",
        "tests/test_signature.py",
        "test_without_a_right_signature_nothing_happens",
        (
            "bot/inbound/signature.py",
            "if not any(self._matches(validator, url, parameters, signature) for validator in self._validators):",
            "if not any(True for _ in self._validators):",
        ),
    ),
    guard(
        "one row a phone and broadcast: the unique index",
        "tests/faults/test_guarded.py",
        "test_one_row_a_phone_and_broadcast and sqlite",
        (
            "models/messages.py",
            'Index("uq_outbound_broadcast_phone", "broadcast_id", "phone_id", unique=True)',
            'Index("uq_outbound_broadcast_phone", "broadcast_id", "phone_id")',
        ),
    ),
    guard(
        "planners that meet: the lock on the broadcast",
        "tests/faults/test_guarded.py",
        "test_planners_wait_for_one_another",
        (
            DELIVERY + "plan.py",
            "session.scalars(query.with_for_update(key_share=True) if lock else query)",
            "session.scalars(query)",
        ),
    ),
    guard(
        "STOP is looked at again before each send",
        "tests/test_pump_marks.py",
        "test_what_happened_since_the_planning_counts and sqlite and opt_out",
        (
            DELIVERY + "rules.py",
            "if (row.opted_out_at is not None or row.stopped_elsewhere) and row.kind not in AFTER_OPT_OUT:",
            'if row.kind == "nothing":',
        ),
    ),
    guard(
        "no mark beside a STOP that is being written: FOR SHARE on the phone",
        "tests/test_pump_marks.py",
        "test_no_row_is_marked_after_a_stop_commits and postgresql",
        (
            DELIVERY + "marks.py",
            " FOR NO KEY UPDATE OF outbound SKIP LOCKED FOR {phone} OF phones SKIP LOCKED",
            " FOR NO KEY UPDATE OF outbound SKIP LOCKED /* {phone} */",
        ),
    ),
    guard(
        "a new holder of a line makes the old one's fence stale",
        "tests/test_pump_claims.py",
        "test_a_pump_whose_fence_is_old_marks_nothing and sqlite",
        (DELIVERY + "leases.py", "fence=_l.c.fence + 1)", "fence=_l.c.fence + 0)"),
    ),
    guard(
        "a mark looks at the fence again",
        "tests/test_pump_claims.py",
        "test_a_fence_that_moves_between_claim_and_mark and sqlite",
        (DELIVERY + "marks.py", "if row.line_fence != line.fence:", "if row.line_fence is None:"),
    ),
    guard(
        "one pump a line: the lease",
        "tests/test_pump_claims.py",
        "test_one_pump_a_line and sqlite",
        (DELIVERY + "leases.py", '    _l.c.lease_until < sa.bindparam("real"),\n', '    sa.bindparam("real") > 0.0,\n'),
    ),
    guard(
        "a send begins within two seconds of its mark",
        "tests/test_pump_duty.py",
        "test_a_mark_older_than_two_seconds_is_not_sent",
        (DELIVERY + "senders.py", "if real_seconds() - mark.marked_at > FRESH_SECONDS:", "if real_seconds() - mark.marked_at > 3600.0:"),
    ),
    guard(
        "a lost answer is unknown, never queued",
        "tests/faults/test_rows_out.py",
        "test_o3 and sqlite",
        (DELIVERY + "outcomes.py", 'return row | {"to_state": UNKNOWN,', 'return row | {"to_state": QUEUED,'),
    ),
    guard(
        "what a dead worker was sending is unknown, never queued",
        "tests/faults/test_crashpoints.py",
        "test_o2 and sqlite and after_post and not 3",
        (
            DELIVERY + "sweep.py",
            ".values(state=UNKNOWN, lease_until=None, check_at=",
            ".values(state=QUEUED, lease_until=None, check_at=",
        ),
    ),
    guard(
        "a receipt never lowers a state",
        "tests/test_receipts.py",
        "test_o7_a_state_only_climbs_whatever_the_order and sqlite",
        (DELIVERY + "receipts.py", "climbs: Any = in_states(_o.c.state, *lower)", "climbs: Any = sa.true()"),
    ),
    guard(
        "quiet hours are looked at again before each send",
        "tests/test_pump_marks.py",
        "test_what_happened_since_the_planning_counts and sqlite and fall_asleep",
        (
            DELIVERY + "rules.py",
            '        if allowed is not None:\n            return Refusal(HELD, "quiet_hours", allowed)\n',
            "",
        ),
    ),
    guard(
        "no rally notice after the rally",
        "tests/faults/test_rows_out.py",
        "test_o11 and sqlite",
        (DELIVERY + "rules.py", "if row.expires_at is not None and row.expires_at <= now:\n", "if row.expires_at is None:\n"),
    ),
    guard(
        "care is never sent again by itself",
        "tests/test_reconcile.py",
        "test_care_is_never_sent_again_by_itself and sqlite",
        (DELIVERY + "unconfirmed.py", '    if row.kind == "alert":\n', '    if row.kind != "reply":\n'),
    ),
    guard(
        "an alert is sent again once, not twice",
        "tests/test_reconcile.py",
        "test_an_urgent_alert_goes_again_once and sqlite",
        (DELIVERY + "unconfirmed.py", "if row.resent or row.checks + 1 < LOOKS:", "if row.checks + 1 < LOOKS:"),
    ),
    guard(
        "the month's cap",
        "tests/test_money.py",
        "test_the_cap_holds_within_a_batch_at_full_pace and sqlite",
        (
            DELIVERY + "marks.py",
            "if refusal is None and claimed.lane in CAPPED_LANES and purse.is_spent(session, row.collective_id, now):",
            "if refusal is None and claimed.lane < 0 and purse.is_spent(session, row.collective_id, now):",
        ),
    ),
    guard(
        "five canaries first",
        "tests/test_canary.py",
        "test_five_go_first_and_urgent_messages_do_not_wait_for_them and sqlite",
        (DELIVERY + "canary.py", "        return max(0, self._missing(session, now, gone) - in_hand)\n", "        return None\n"),
    ),
    guard(
        "a poisoned row is over after five tries",
        "tests/test_poison.py",
        "test_o12 and sqlite",
        (DELIVERY + "poison.py", "_is_last = _o.c.tries >= MOST_TRIES - 1", "_is_last = sa.false()"),
    ),
    guard(
        "an occurrence belongs to one worker: the timer's lease",
        "tests/test_timers.py",
        "test_a_claim_is_a_lease and sqlite",
        ("bot/schedule/timers.py", '_t.c.lease_until < sa.bindparam("real"), ', 'sa.bindparam("real") > 0.0, '),
    ),
    guard(
        "an occurrence is booked once: the timer's key",
        "tests/faults/test_rows_out.py",
        "test_o9 and sqlite",
        (
            "models/conversations.py",
            "key: Mapped[str] = mapped_column(String(80), unique=True)",
            "key: Mapped[str] = mapped_column(String(80))",
        ),
        (
            DELIVERY + "due.py",
            '"sqlite": sqlite.insert(_timers).on_conflict_do_nothing(index_elements=["key"])',
            '"sqlite": sqlite.insert(_timers)',
        ),
    ),
    guard(
        "a double click makes one broadcast",
        "tests/test_broadcasts.py",
        "test_the_same_key_is_the_same_broadcast and sqlite",
        (DELIVERY + "broadcasts.py", "        if first is not None:\n            return first\n", ""),
    ),
    guard(
        "two organizers on one phone are one hand",
        "tests/test_broadcasts_corrected.py",
        "test_one_text_holds_and_reaches_nobody and sqlite",
        (
            "bot/conversation/actions/approving.py",
            "        == turn.phone_id\n",
            "        == -1\n",
        ),
    ),
    guard(
        "a one-time code works once",
        "tests/faults/test_guarded.py",
        "test_a_one_time_code_works_once and sqlite",
        (DELIVERY + "second_factor.py", "if step is None or step <= factor.last_step:", "if step is None:"),
    ),
    guard(
        "a one-time code names its draft",
        "tests/test_broadcasts_code.py",
        "test_her_code_sends_no_words and sqlite",
        ("bot/conversation/actions/approving.py", "if named is None and not is_only_draft(turn, draft):", "if draft.number == 0:"),
    ),
    guard(
        "what is corrected stops, though it was done",
        "tests/test_broadcasts_corrected.py",
        "test_a_late_receipt_brings_no_old_words_back and sqlite",
        (DELIVERY + "broadcasts.py", 'comes_back = sa.true() if reason == "corrected" else _has_unsent', "comes_back = _has_unsent"),
    ),
    guard(
        "an approved broadcast cools down",
        "tests/test_broadcasts.py",
        "test_an_approved_broadcast_cools_down_before_it_leaves and sqlite",
        (DELIVERY + "broadcasts.py", "if how in COOLS_DOWN and broadcast.corrects_id is None:", "if how == broadcast.kind:"),
    ),
    guard(
        "missed texts: STOP first",
        "tests/test_backfill.py",
        "test_i8 and sqlite",
        (
            "bot/inbound/backfill.py",
            "sorted(found, key=lambda pair: (not _is_way_out(pair[0].body), pair[1].created_at))",
            "sorted(found, key=lambda pair: pair[1].created_at)",
        ),
    ),
    guard(
        "console: a yes counts for what was seen",
        "tests/test_console_broadcasts.py",
        "test_a_stale_yes_lifts_no_hold and sqlite",
        (
            "bot/console/pages/steering.py",
            "return found.state in (DRAFT, HELD) and seen != standing_of(found)",
            "return found.state is None and seen != standing_of(found)",
        ),
    ),
    guard(
        "console: every yes takes a code of an app",
        "tests/test_console_broadcasts.py",
        "test_another_yes_takes_a_code_as_well and sqlite",
        (
            "bot/console/access.py",
            '"console.approve_or_release": _only(ORGANIZER, proof=True),',
            '"console.approve_or_release": _only(ORGANIZER),',
        ),
    ),
    guard(
        "console: new words are no way around a hold",
        "tests/test_console_broadcasts.py",
        "test_new_words_are_no_way_around_a_hold and sqlite",
        (DELIVERY + "corrections.py", "made.early, made.holder_id = old.early, doubter", "made.early, made.holder_id = old.early, None"),
    ),
    guard(
        "console: a form sent again with other words says so",
        "tests/test_console_compose.py",
        "test_a_form_sent_twice_with_other_words and sqlite",
        (
            "bot/console/pages/compose.py",
            "if first is not None and not _is_same(written, _read_kept(session, first)):",
            "if first is not None and first.id == 0:",
        ),
    ),
    guard(
        "console: a group of care is nobody else's to write to",
        "tests/test_console_members.py",
        "test_a_group_of_care_or_of_others_is_not_an_organizers and sqlite",
        (
            "bot/console/looks.py",
            "for number, name, members in session.execute(query) if number not in hidden}",
            "for number, name, members in session.execute(query)}",
        ),
    ),
    guard(
        "console: a number that no column holds is the address of nothing",
        "tests/test_console_access.py",
        "test_a_number_that_no_column_holds_is_the_address_of_nothing and postgresql",
        ("bot/console/blueprint.py", 'rule.replace("<int:", f"<int(max={LARGEST}):")', "rule"),
    ),
)
