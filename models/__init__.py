"""The tables, a file a subject; ``store`` opens the database."""

from .base import Base, Moment
from .broadcasts import Alert, Ballot, Broadcast, BroadcastText, Poll, Rsvp
from .clock import Clock
from .collectives import Collective, CollectiveLine, Consent, Group, GroupMember, Line, Membership, Role, SealedKey, SecondFactor
from .conversations import Audit, CareWeek, CheckIn, ClockJump, Conversation, PeerRequest, Timer
from .messages import Inbound, Note, Outbound
from .money import Price, Spending
from .phones import Person, Phone, PhoneLine
from .prepared import Prepared
from .sealing import Keyring, SealBroken, decode_key
from .store import DatabaseBusy, Store, sqlite_or_postgres_insert
from .templates import Template
from .web import LoginCode, MemberExport, MemberImport, NameWord, NoteAnswer, NumberChange, WebSession

__all__ = [
    "Alert",
    "Audit",
    "Ballot",
    "Base",
    "Broadcast",
    "BroadcastText",
    "CareWeek",
    "CheckIn",
    "Clock",
    "ClockJump",
    "Collective",
    "CollectiveLine",
    "Consent",
    "Conversation",
    "DatabaseBusy",
    "Group",
    "GroupMember",
    "Inbound",
    "Keyring",
    "Line",
    "LoginCode",
    "MemberExport",
    "MemberImport",
    "Membership",
    "Moment",
    "NameWord",
    "Note",
    "NoteAnswer",
    "NumberChange",
    "Outbound",
    "PeerRequest",
    "Person",
    "Phone",
    "PhoneLine",
    "Poll",
    "Prepared",
    "Price",
    "Role",
    "Rsvp",
    "SealBroken",
    "SealedKey",
    "SecondFactor",
    "Spending",
    "Store",
    "Template",
    "Timer",
    "WebSession",
    "decode_key",
    "sqlite_or_postgres_insert",
]
