"""A stolen database gives nothing away, a moved value does not open, and keys can be changed while Chorus runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from bot.deployment import Deployment
from bot.upkeep import rotation
from bot.upkeep.rotation import count_old_seals, reseal_everything, sealed_columns
from models import (
    Broadcast,
    BroadcastText,
    CheckIn,
    Collective,
    Consent,
    Inbound,
    Keyring,
    Membership,
    Person,
    Phone,
    SealBroken,
    SecondFactor,
    Store,
    decode_key,
)
from tests.cli import commands_of

CANARY = "the canary sings"
NOW = datetime(2026, 4, 12, 9, 0, tzinfo=UTC)
OLD, NEW = os.urandom(32), os.urandom(32)


@pytest.fixture
def old_store(database_url: str) -> Iterator[Store]:
    store = Store(database_url, Keyring([OLD]))
    yield store
    store.close()


def fill(store: Store, people: int = 3) -> None:
    """A little of everything that is sealed, with a canary in it."""
    _ = store.index_key, store.token_key
    with store.write() as session:
        collective = Collective(name="Sangha", word="sangha", created_at=NOW)
        session.add(collective)
        session.flush()
        for n in range(people):
            phone = Phone(number=f"+1555000{n:04}", number_hash=store.hash_number(f"+1555000{n:04}"), created_at=NOW)
            session.add(phone)
            session.flush()
            person = Person(phone_id=phone.id, name=f"{CANARY} {n}", created_at=NOW)
            session.add(person)
            session.flush()
            member = Membership(person_id=person.id, collective_id=collective.id, joined_at=NOW)
            session.add(member)
            session.flush()
            session.add_all(
                [
                    Consent(membership_id=member.id, kind="import", how=CANARY, text_version="1", language="en", given_at=NOW),
                    SecondFactor(membership_id=member.id, secret=CANARY),
                    CheckIn(membership_id=member.id, collective_id=collective.id, mood=4, at=NOW),
                    Inbound(sid_hash=store.hash_sid(f"SM{n}"), body=CANARY, received_at=NOW),
                ]
            )
        broadcast = Broadcast(collective_id=collective.id, number=1, kind="poll", created_at=NOW)
        session.add(broadcast)
        session.flush()
        for language in ("en", "es"):
            session.add(BroadcastText(broadcast_id=broadcast.id, language=language, body=CANARY, segments=1, options=[CANARY, "no"]))


def raw_values(store: Store) -> list[bytes]:
    """Every sealed value as the database has it."""
    with store.read() as session:
        return [
            value
            for sealed in sealed_columns()
            for value in session.scalars(sa.select(sealed.column).select_from(sealed.table).where(sealed.column.is_not(None)))
        ]


def test_nothing_sealed_can_be_read_from_the_database(old_store: Store) -> None:
    fill(old_store)
    values = raw_values(old_store)
    assert len(values) > 20
    assert all(value[:1] == b"\x01" and CANARY.encode() not in value and b"+1555" not in value for value in values)
    with old_store.read() as session:
        assert session.scalars(sa.select(Person.name).order_by(Person.id)).first() == f"{CANARY} 0"


def test_the_same_words_are_never_sealed_alike(old_store: Store) -> None:
    fill(old_store)
    values = raw_values(old_store)
    assert len(set(values)) == len(values)


def test_a_value_moved_to_another_column_does_not_open(old_store: Store) -> None:
    fill(old_store)
    with old_store.write() as session:
        session.execute(sa.text("UPDATE people SET name = (SELECT number FROM phones ORDER BY id LIMIT 1)"))
    with old_store.read() as session, pytest.raises(SealBroken, match=r"people\.name") as broken:
        session.scalars(sa.select(Person.name)).all()
    assert CANARY not in str(broken.value) and "+1555" not in str(broken.value)


def test_a_changed_value_does_not_open() -> None:
    ring = Keyring([OLD])
    sealed = bytearray(ring.seal(b"word", "people.name"))
    assert ring.open(bytes(sealed), "people.name") == b"word"
    for place in range(len(sealed)):
        changed = bytes(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
        with pytest.raises(SealBroken):
            ring.open(changed, "people.name")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(SealBroken, match="DATA_KEYS"):
        Keyring([NEW]).open(Keyring([OLD]).seal(b"word", "people.name"), "people.name")


def test_keys_that_are_no_keys_are_refused() -> None:
    for text in ("", "short", "A" * 43, "!" * 43):
        with pytest.raises(ValueError):
            decode_key(text)


def test_keys_can_be_changed_while_chorus_runs(old_store: Store, database_url: str) -> None:
    fill(old_store)
    number_hash, tokens = old_store.hash_number("+15550000001"), old_store.token_key
    both = Store(database_url, Keyring([NEW, OLD]))
    assert sum(count_old_seals(both).values()) == len(raw_values(both))
    with both.read() as session:
        assert session.scalars(sa.select(Person.name)).first(), "the old key opens until then"
    moved, broken = reseal_everything(both)
    assert not broken and not count_old_seals(both)
    assert moved["keys.wrapped"] == 2 and moved["people.name"] == 3 and moved["broadcast_texts.options"] == 2
    both.close()
    new = Store(database_url, Keyring([NEW]))
    with new.read() as session:
        assert session.scalars(sa.select(Person.name).order_by(Person.id)).all() == [f"{CANARY} {n}" for n in range(3)]
        assert session.scalars(sa.select(BroadcastText.options)).all() == [[CANARY, "no"]] * 2
        assert session.scalars(sa.select(CheckIn.mood)).all() == [4, 4, 4]
    assert new.hash_number("+15550000001") == number_hash and new.token_key == tokens, "numbers and tokens are found as before"
    new.close()


def test_a_rotation_that_was_killed_goes_on(old_store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "CHUNK", 2)
    fill(old_store, people=7)
    both = Store(database_url, Keyring([NEW, OLD]))
    everything = len(raw_values(both))

    class Killed(Exception):
        pass

    def die(name: str, done: int) -> None:
        if name == "people.name" and done == 4:
            raise Killed

    with pytest.raises(Killed):
        reseal_everything(both, die)
    left = sum(count_old_seals(both).values())
    assert 0 < left < everything
    moved, broken = reseal_everything(both)
    assert sum(moved.values()) == left and not broken and not count_old_seals(both)
    both.close()


def test_what_changes_during_a_rotation_is_not_overwritten(old_store: Store, database_url: str) -> None:
    fill(old_store, people=1)
    both = Store(database_url, Keyring([NEW, OLD]))

    def meanwhile(name: str, done: int) -> None:
        # Somebody (an old process) writes under the old key after the column was done.
        if name == "people.name":
            with old_store.write() as session:
                session.execute(sa.update(Person).values(name="Noor"))

    reseal_everything(both, meanwhile)
    assert count_old_seals(both) == {"people.name": 1}
    reseal_everything(both)
    with both.read() as session:
        assert session.scalars(sa.select(Person.name)).one() == "Noor"
    both.close()


def test_the_command_moves_the_keys_and_says_so(deployment: Deployment) -> None:
    fill(deployment.store)
    rotated = Deployment(
        deployment.settings, Store(deployment.settings.database_url, Keyring([NEW, *deployment.settings.data_keys]), deployment.clock)
    )
    run = commands_of(rotated)
    assert "people.name" in run("keys", "status").output
    result = run("keys", "rotate")
    assert result.exit_code == 0 and "people.name" in result.output and CANARY not in result.output
    assert "under the first key" in run("keys", "status").output
    rotated.store.close()


def test_the_command_refuses_when_something_does_not_open(deployment: Deployment) -> None:
    fill(deployment.store)
    with deployment.store.write() as session:
        session.execute(
            sa.text("UPDATE people SET name = (SELECT number FROM phones ORDER BY id LIMIT 1) WHERE id = (SELECT min(id) FROM people)")
        )
    rotated = Deployment(
        deployment.settings, Store(deployment.settings.database_url, Keyring([NEW, *deployment.settings.data_keys]), deployment.clock)
    )
    result = commands_of(rotated)("keys", "rotate")
    assert result.exit_code == 1 and "1 in people.name" in result.output
    assert count_old_seals(rotated.store) == {"people.name": 1}, "the rest was moved"
    rotated.store.close()
