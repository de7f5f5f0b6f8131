"""What a member is called where her name and number are nobody's business: a word and a number, the same for ever, from a keyed hash."""

from __future__ import annotations

import hmac

from models import Store

# Words that say nothing about anybody, and read alike in every language of the console.
_WORDS = (
    "Neem Lotus Cedar Mango Tulsi Banyan Peepal Jasmine Saffron Indigo Coral Amber Pearl Jade Opal Topaz Heron Kite Robin Lark Finch Crane "
    "Ibis Swan Otter Panda Tiger Zebra Koala Lemur Gecko Comet Luna Nova Orion Vega Lyra Delta Sierra Tango Polka Rumba Samba Viola Cello "
    "Sitar Tabla Flute Piano Banjo Mesa Oasis Laguna Aurora Cirrus Monsoon Zephyr Mistral Cobalt Sepia Ochre Khaki Olive Copper"
).split()


def alias_of(store: Store, membership_id: int) -> str:
    """ "Neem 4821": tells threads apart, leads to nobody."""
    digest = hmac.digest(store.index_key, f"alias|{membership_id}".encode(), "sha256")
    return f"{_WORDS[digest[0] % len(_WORDS)]} {int.from_bytes(digest[1:4], 'big') % 10_000:04d}"
