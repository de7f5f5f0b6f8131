"""All that a flow may do: every function a Do may name."""

from .approving import approve_by_other, hold, send_with_code
from .belonging import (
    detach_phone,
    join_as_someone_else,
    join_collective,
    keep_language,
    keep_name,
    leave_collective,
    opt_in,
    opt_out,
    pause_messages,
    resume_messages,
    understand_language,
)
from .care import (
    call_for_help,
    go_on_duty,
    keep_mood,
    pass_on,
    read_check_in,
    read_notes,
    reply_to_note,
    tell_her_supporters,
    tell_supporters,
)
from .choosing import keep_early, keep_fallback, keep_quiet, read_fallback, read_quiet
from .coming import keep_rsvp, read_alert, read_headcount
from .correcting import change_broadcast, drop, resend, schedule_draft
from .drafting import add_language, draft_alert, draft_notice, draft_poll, has_draft
from .forgetting import forget_person
from .looking import hand_over, read_about, read_asked, read_belongings, read_me, read_roles
from .votes import cast_ballot, close_poll_now, read_open_polls, read_poll

__all__ = [
    "add_language",
    "approve_by_other",
    "call_for_help",
    "cast_ballot",
    "change_broadcast",
    "close_poll_now",
    "detach_phone",
    "draft_alert",
    "draft_notice",
    "draft_poll",
    "drop",
    "forget_person",
    "go_on_duty",
    "hand_over",
    "has_draft",
    "hold",
    "join_as_someone_else",
    "join_collective",
    "keep_early",
    "keep_fallback",
    "keep_language",
    "keep_mood",
    "keep_name",
    "keep_quiet",
    "keep_rsvp",
    "leave_collective",
    "opt_in",
    "opt_out",
    "pass_on",
    "pause_messages",
    "read_about",
    "read_alert",
    "read_asked",
    "read_belongings",
    "read_check_in",
    "read_fallback",
    "read_headcount",
    "read_me",
    "read_notes",
    "read_open_polls",
    "read_poll",
    "read_quiet",
    "read_roles",
    "reply_to_note",
    "resend",
    "resume_messages",
    "schedule_draft",
    "send_with_code",
    "tell_her_supporters",
    "tell_supporters",
    "understand_language",
]
