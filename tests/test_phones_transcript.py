"""A conversation saved from the phones is a test: what was typed in a browser plays again, word for word."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from werkzeug.serving import make_server

from bot.conversation.due import close_due_poll
from bot.delivery.gateway import Gateway
from bot.delivery.plan import plan_broadcast
from bot.delivery.pump import serve_lines
from bot.delivery.reports import report_broadcast
from bot.delivery.sweep import sweep
from bot.demo.seed import NEWCOMER_BY_WHATSAPP, SMS, WHATSAPP, read_app_secrets, read_beginning, seed, simulator_config
from bot.deployment import Deployment
from bot.schedule.timers import claim_due, finish
from bot.simulator.client import RunningSimulator, SimulatorClient
from models import Base, Clock, Keyring, Store
from tests.carrier import PUBLIC, TOKEN
from tests.conftest import START, make_settings, open_frozen
from tests.transcripts import Player
from tests.world import World

ASHA, MIGUEL, MAYA, RIA = "+15550002222", "+15550002223", "+15550004001", str(NEWCOMER_BY_WHATSAPP["number"])


def fresh(url: str) -> str:
    store = Store(url, Keyring([bytes(32)]))
    Base.metadata.create_all(store.engine)
    store.close()
    return url


class Demo:
    """The demo in one process: its web part listens, its worker works when asked to, its clock runs and may jump."""

    def __init__(self, url: str, simulator: RunningSimulator) -> None:
        settings = make_settings(
            fresh(url), twilio_api_url=simulator.url, twilio_account_sid=simulator.account, twilio_auth_token=TOKEN, public_url=PUBLIC
        )
        self.deployment = Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys), Clock(START)))
        self.gateway = Gateway(settings)
        self.client: SimulatorClient = simulator.client
        self.simulator = simulator

    @contextmanager
    def served(self) -> Iterator[None]:
        store = self.deployment.store
        seed(self.deployment)
        server = make_server("127.0.0.1", 0, World(self.deployment).app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = simulator_config(read_app_secrets(store), read_beginning(store))
        self.client.configure(webhook_base=f"http://127.0.0.1:{server.port}", public_base=PUBLIC, **config)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            store.close()

    def work(self) -> None:
        """What the worker does of itself: due timers, then everything that waits is sent, and its receipts come."""
        for timer in claim_due(self.deployment.store, self.deployment.clock.now()):
            if timer.kind == "broadcast":
                plan_broadcast(self.deployment, timer.subject_id)
            elif timer.kind == "poll_close":
                close_due_poll(self.deployment, timer)
            elif timer.kind == "report":
                report_broadcast(self.deployment, timer.subject_id, timer.id)
            finish(self.deployment.store, timer)
        sweep(self.deployment.store)
        serve_lines(self.deployment, self.gateway, threading.Event(), seconds=10.0)
        self.client.wait_for(lambda: self.client.state()["receipts"]["waiting"] == 0)

    def ask(self, method: str, path: str, **told: str) -> dict[str, object]:
        response = requests.request(method, f"{self.simulator.url}{path}", json=told or None, timeout=20)
        assert response.status_code == 200, response.text
        answer: dict[str, object] = response.json()
        return answer


@pytest.fixture
def demo(tmp_path: Path, simulator: RunningSimulator) -> Demo:
    return Demo(f"sqlite:///{tmp_path}/lived.db", simulator)


def test_a_saved_conversation_plays_again(demo: Demo, tmp_path: Path) -> None:
    with demo.served():
        demo.ask("GET", "/_sim/clock")  # as the page does
        demo.work()
        demo.work()  # the canary of each line went ahead; now the rest
        client = demo.client
        assert client.text(MAYA, SMS, "A").replies[0].startswith("Counted: A")
        client.text(RIA, WHATSAPP, "JOIN SANGHA")
        client.text(RIA, WHATSAPP, "Ria\u200b")
        client.text(ASHA, SMS, "SEND We meet at six\nin the <b>library</b>")
        code = demo.ask("GET", "/_sim/phones?since=0")["codes"][ASHA]  # type: ignore[index]
        assert "20 seconds" in client.text(ASHA, SMS, f"SEND {code}").replies[0]
        assert "broadcast" in str(demo.ask("GET", "/_sim/clock")["next"])
        demo.ask("POST", "/_sim/clock", jump="next")
        demo.work()
        demo.work()
        demo.ask("POST", "/_sim/clock", jump="3600")
        demo.work()
        assert client.text(MAYA, SMS, "what shall I bring?").replies == ["Passed on. Thank you."]
        client.text(MIGUEL, SMS, "NOTES")
        saved = requests.get(f"{demo.simulator.url}/transcript.txt", timeout=20).text
    assert "bot to Another newcomer by WhatsApp: Sangha: We meet at six" in saved and "Asha: SEND {code}" in saved
    assert "after 1 hour" in saved and "(nothing)" not in saved
    file = tmp_path / "saved.txt"
    file.write_text(saved, encoding="utf-8")
    again = World(open_frozen(make_settings(fresh(f"sqlite:///{tmp_path}/again.db"))))
    Player(again, file).play()
    again.store.close()
    # It is a test: one word changed, and it fails there.
    file.write_text(saved.replace("Passed on. Thank you.", "Passed over. Thank you."), encoding="utf-8")
    third = World(open_frozen(make_settings(fresh(f"sqlite:///{tmp_path}/third.db"))))
    with pytest.raises(AssertionError, match=r"saved\.txt:\d+: expected\nPassed over"):
        Player(third, file).play()
    third.store.close()
