"""People on a list: numbers as organizers write them, memberships, the CSV roster and its import."""

from .membership import (
    UNREACHABLE,
    MemberRefused,
    NumberRefused,
    Speaker,
    add_member,
    doubts,
    find_membership,
    find_or_add_phone,
    find_speaker,
    give_role,
    parse_number,
)

__all__ = [
    "UNREACHABLE",
    "MemberRefused",
    "NumberRefused",
    "Speaker",
    "add_member",
    "doubts",
    "find_membership",
    "find_or_add_phone",
    "find_speaker",
    "give_role",
    "parse_number",
]
