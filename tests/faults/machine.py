"""Everything that can happen to a small collective, as rules in any order; after each of them the invariants hold.

No Redis at all stands behind it: every bell is lost, all the time. The pump is the real one with a carrier in the process; a power cut is a
crashpoint that raises, after which the pump gives nothing back, exactly as a dead one.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot import crashpoints
from bot.delivery.broadcasts import approve_broadcast, draft_broadcast, hold_broadcast, release_broadcast, stop_broadcast
from bot.delivery.plan import plan_broadcast
from bot.delivery.reconcile import look_up_unknown
from bot.delivery.sweep import sweep
from bot.delivery.tokens import read_token
from bot.deployment import Deployment
from bot.upkeep.retention import purge
from models import Broadcast, Consent, Inbound, Line, Outbound, Poll, Timer
from tests.delivery import change, put_letter
from tests.faults import invariants
from tests.faults.ground import LINE
from tests.faults.stand_ins import MortalPump, PowerCut, PretendCarrier
from tests.world import World, new_sid

ORGANIZER, SUPPORTER = "+15559000001", "+15559000002"
PHONES = [f"+1555100000{n}" for n in range(5)]
# Which of several: an index into a list whose length the threads of a pump may decide, and Hypothesis must not see.
ANY = st.integers(0, 999)
BEHAVIOURS = ("accept", "lose after", "lose before", "429", "21610", "21211", "30007", "500")
SCRIPT = st.dictionaries(st.sampled_from([*PHONES[:3], ORGANIZER, SUPPORTER]), st.sampled_from(BEHAVIOURS), max_size=4)
STATUSES = ("queued", "sent", "delivered", "undelivered", "failed")
CODES = st.sampled_from([None, 30003, 30005, 30008])
KINDS = st.sampled_from(["notice", "alert", "poll", "check_in"])
POINTS = ("plan.between_chunks", "pump.after_claim", "pump.after_mark", "outcomes.before_commit", "outcomes.after_commit", "sweep.half_way")


class Chorus(RuleBasedStateMachine):
    """Subclasses say on which database (``open_deployment``)."""

    def open_deployment(self) -> Deployment:
        raise NotImplementedError

    def close_deployment(self, deployment: Deployment) -> None:
        deployment.store.close()

    @initialize()
    def begin(self) -> None:
        self.deployment = self.open_deployment()
        self.world = World(self.deployment)
        self.store = self.deployment.store
        self.carrier = PretendCarrier(self.world)
        self.climb = invariants.Climb(self.store)
        self.world.line(LINE, mps=2000.0)
        self.collective = self.world.collective(lines=[LINE])
        self.world.member(self.collective, ORGANIZER, roles=["organizer"], spoke_on=LINE)
        self.supporter = self.world.member(self.collective, SUPPORTER, roles=["supporter"], spoke_on=LINE)
        for number in PHONES[:3]:
            member = self.world.member(self.collective, number, spoke_on=LINE)
            with self.store.write() as session:
                consent = {"kind": "check_ins", "text_version": "1", "language": "en", "given_at": self.world.clock.now()}
                session.add(Consent(membership_id=member, **consent))
        self.texts: list[tuple[str, str, str]] = []
        # Phones that said STOP (and not START since): how much of the ledger there was when the webhook answered.
        self.stopped: dict[str, int] = {}
        # Attempts of which the carrier said that they arrived, or that they did not.
        self.arrived: set[invariants.Attempt] = set()
        self.failed: set[invariants.Attempt] = set()

    def teardown(self) -> None:
        crashpoints.arm("")
        if hasattr(self, "deployment"):
            self.close_deployment(self.deployment)

    # --- people write -----------------------------------------------------------------------------------------------------

    def text(self, number: str, body: str) -> None:
        sid = new_sid()
        assert self.world.text(number, body, MessageSid=sid).status == 200
        self.texts.append((number, body, sid))
        if body == "STOP":
            self.stopped.setdefault(number, len(self.carrier.taken))
        elif body in ("START", "YES"):
            self.stopped.pop(number, None)

    @rule(
        number=st.sampled_from([*PHONES, SUPPORTER]),
        body=st.sampled_from(["JOIN SANGHA", "A", "B", "YES", "4", "CHECKIN", "MENU", "My street is flooded", "LEAVE", "PAUSE", "ME"]),
    )
    def somebody_texts(self, number: str, body: str) -> None:
        self.text(number, body)

    @rule(number=st.sampled_from(PHONES))
    def stop(self, number: str) -> None:
        self.text(number, "STOP")

    @rule(number=st.sampled_from(PHONES))
    def start(self, number: str) -> None:
        self.text(number, "START")

    @precondition(lambda self: self.texts)
    @rule(which=ANY)
    def the_same_webhook_again(self, which: int) -> None:
        number, body, sid = self.texts[which % len(self.texts)]
        before = self._fingerprint()
        answer = self.world.text(number, body, MessageSid=sid)
        assert answer.status == 200
        assert self._fingerprint() == before, "a message seen before had an effect"
        assert body == "STOP" or number not in self.stopped or not answer.texts, "she stopped us since: the old answer is not repeated"

    def _fingerprint(self) -> list[Any]:
        """How much there is of everything that a message may lead to."""
        counted = []
        with self.store.read() as session:
            for table in ("inbound", "outbound", "memberships", "ballots", "rsvps", "check_ins", "notes", "conversations", "consents"):
                counted.append(session.scalar(sa.text(f"SELECT count(*) FROM {table}")))
            counted.append(session.execute(sa.text("SELECT phone_id, opted_out_at FROM phone_lines ORDER BY id")).all())
            counted.append(session.execute(sa.text("SELECT poll_id, membership_id, choice FROM ballots ORDER BY 1, 2")).all())
        return counted

    # --- organizers send ----------------------------------------------------------------------------------------------------

    @rule(kind=KINDS)
    def approve(self, kind: str) -> None:
        self._approve(kind)

    @rule(kind=KINDS, behaviours=SCRIPT, looked_up=st.booleans())
    def a_broadcast_goes_out(self, kind: str, behaviours: dict[str, str], looked_up: bool) -> None:
        """``looked_up``: and all that was lost of it is looked up at once, twice, and lost again."""
        self._approve(kind)
        self._plan()
        self._pump(behaviours)
        for _ in range(2 * looked_up):
            self.look_up_to_the_end(behaviours)

    def _approve(self, kind: str) -> None:
        now = self.world.clock.now()
        with self.store.write() as session:
            named: dict[str, Any] = {}
            if kind == "poll":
                poll = Poll(collective_id=self.collective, options=2, created_at=now)
                session.add(poll)
                session.flush()
                named = {"poll_id": poll.id, "options": {"en": ["Park", "School"]}}
            texts = {} if kind == "check_in" else {"en": f"Rally {kind}"}
            drafted = draft_broadcast(session, now, self.collective, kind, texts, **named)
            assert approve_broadcast(session, now, drafted, how="cli")

    @rule(kind=st.sampled_from(["page", "reply", "report"]))
    def a_letter(self, kind: str) -> None:
        put_letter(self.world, self.supporter, "Somebody needs a peer", kind=kind)

    @rule(act=st.sampled_from([hold_broadcast, release_broadcast, stop_broadcast]), which=ANY)
    def an_organizer_changes_her_mind(self, act: Any, which: int) -> None:
        with self.store.write() as session:
            broadcasts = session.scalars(sa.select(Broadcast).order_by(Broadcast.id)).all()
            if broadcasts:
                act(session, self.world.clock.now(), broadcasts[which % len(broadcasts)])

    # --- the worker works, or dies ------------------------------------------------------------------------------------------

    @rule()
    def plan(self) -> None:
        self._plan()

    def _plan(self) -> None:
        now = self.world.clock.now()
        with self.store.read() as session:
            due = session.scalars(
                sa.select(Broadcast.id).where(Broadcast.state.in_(("scheduled", "sending")), Broadcast.due_at <= now)
            ).all()
        for broadcast in due:
            plan_broadcast(self.deployment, broadcast)

    @rule(behaviours=SCRIPT)
    def work(self, behaviours: dict[str, str]) -> None:
        self._plan()
        self._pump(behaviours)

    def _pump(self, behaviours: dict[str, str]) -> None:
        self.carrier.behaviours = dict(behaviours)
        MortalPump(self.deployment, self.carrier, threading.Event()).run(3.0)

    @rule(kind=KINDS, point=st.sampled_from(POINTS), times=st.integers(1, 2), behaviours=SCRIPT, replaced=st.booleans())
    def die_at(self, kind: str, point: str, times: int, behaviours: dict[str, str], replaced: bool) -> None:
        """A worker dies over a fresh broadcast; another one takes over at once (``replaced``), or much later."""

        def cut() -> None:
            raise PowerCut

        self._approve(kind)
        crashpoints.arm(f"{point}:{times}", cut)
        try:
            self._plan()
            self._pump(behaviours)
            sweep(self.store)
        except PowerCut:
            pass  # it is gone
        finally:
            crashpoints.arm("")
        if replaced:
            self.another_worker_takes_over({})

    @rule(behaviours=SCRIPT)
    def another_worker_takes_over(self, behaviours: dict[str, str]) -> None:
        self.leases_run_out()
        self.sweep_up()
        self._plan()
        self._pump(behaviours)

    @rule()
    def leases_run_out(self) -> None:
        change(self.world, Line, lease_until=0.0)
        change(self.world, Outbound, Outbound.lease_until.is_not(None), lease_until=1.0)
        change(self.world, Timer, Timer.done_at.is_(None), lease_until=0.0)

    @rule()
    def sweep_up(self) -> None:
        sweep(self.store)
        invariants.check_nothing_in_limbo(self.store)

    @rule(minutes=st.sampled_from([0, 2, 11]))
    def look_up(self, minutes: int) -> None:
        self.world.clock.advance(timedelta(minutes=minutes))
        look_up_unknown(self.deployment, self.carrier)

    @rule(behaviours=SCRIPT)
    def look_up_to_the_end(self, behaviours: dict[str, str]) -> None:
        """Both looks, ten minutes apart; then whatever is to be sent again leaves."""
        for minutes in (2, 11, 2):
            self.look_up(minutes)
        self._pump(behaviours)

    @rule()
    def purge_what_is_old(self) -> None:
        purge(self.deployment)

    @rule(minutes=st.sampled_from([-60, -5, 1, 2, 11, 65, 600, 1500]))
    def time_jumps(self, minutes: int) -> None:
        self.world.clock.advance(timedelta(minutes=minutes))

    # --- the carrier reports ------------------------------------------------------------------------------------------------

    @rule(
        which=ANY, said=st.lists(st.tuples(st.sampled_from(STATUSES), st.sampled_from([None, 30003, 30005, 30008])), min_size=1, max_size=3)
    )
    def receipts(self, which: int, said: list[tuple[str, int | None]]) -> None:
        """One or several for one message, in any order, some twice."""
        if not self.carrier.taken:
            return
        taken = sorted(self.carrier.taken, key=lambda each: each.callback)[which % len(self.carrier.taken)]
        path = taken.callback.removeprefix(self.deployment.settings.public_url)
        named = read_token(self.store, path.rpartition("/")[2])
        assert named is not None
        for status, code in said:
            parameters = {"MessageStatus": status, "MessageSid": taken.sid}
            if code is not None and status in ("undelivered", "failed"):
                parameters["ErrorCode"] = str(code)
            if status == "delivered" and named not in self.failed:
                self.arrived.add(named)
            elif status in ("undelivered", "failed") and named not in self.arrived:
                self.failed.add(named)
            assert self.world.post(path, parameters).status == 204
            self.climb.check(self.failed)

    # --- what holds after every step ----------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_doubled_or_forgotten(self) -> None:
        if not hasattr(self, "deployment"):
            return
        invariants.check_the_ledger(self.store, [taken.callback for taken in self.carrier.taken], self.failed)
        invariants.check_the_rows(self.store)
        self.climb.check(self.failed)
        with self.store.read() as session:
            for broadcast in session.scalars(sa.select(Broadcast.id)).all():
                invariants.check_the_plan(self.store, broadcast)
            assert session.scalar(sa.select(sa.func.count()).select_from(Inbound)) <= len(self.texts)

    @invariant()
    def nobody_hears_more_after_her_stop(self) -> None:
        for number, place in getattr(self, "stopped", {}).items():
            late = [taken for taken in self.carrier.taken[place:] if taken.to == number]
            assert not late, f"{len(late)} sends began after the STOP was answered"
