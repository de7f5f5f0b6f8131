"""What the doctor asks Twilio about one line, a sentence and a remedy each. The words carriers use stand in facts of Twilio's API.

Secrets may hide in a webhook's query: only its scheme, host and path are ever shown.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa

from bot.commands.account_checks import LineFacts
from bot.delivery.account import Campaign, Number, Service, TwilioAccount, Webhook, is_toll_free
from bot.delivery.gateway import AccountError
from bot.deployment import Deployment
from bot.health.checks import Check
from models import Template
from models.templates import APPROVED

INBOUND_PATH = "/twilio/inbound"
SANDBOX = "whatsapp:+14155238886"
# Whose ten-digit numbers the US carriers want registered (A2P 10DLC).
TEN_DIGIT_COUNTRIES = ("US", "CA", "PR")
_MOST_POOL = 40


def inbound_url(deployment: Deployment) -> str:
    """Where Twilio must bring what members write."""
    return deployment.settings.public_url + INBOUND_PATH


def show_url(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}" if url else "nothing"


def check_line(deployment: Deployment, twilio: TwilioAccount, line: LineFacts) -> list[Check]:
    """Everything about one line, in the order in which to mend it. What Twilio does not answer becomes a finding, too."""
    doctor = _LineDoctor(deployment, twilio, line)
    try:
        if line.channel == "whatsapp":
            doctor.look_at_sender()
        elif line.address.startswith("MG"):
            doctor.look_at_service()
        else:
            doctor.look_at_number()
    except AccountError as error:
        doctor.says(False, f"not everything could be read: {error}", "Try again; the rest stands above.")
    return doctor.checks


class _LineDoctor:
    """Collects the findings on one line."""

    def __init__(self, deployment: Deployment, twilio: TwilioAccount, line: LineFacts) -> None:
        self._deployment, self._twilio, self._line = deployment, twilio, line
        self._wanted = inbound_url(deployment)
        self._connect = f"Run: flask line connect {line.address}"
        self.checks: list[Check] = []

    def says(self, ok: bool, what: str, todo: str = "", *, is_broken: bool = True) -> None:
        self.checks.append(Check(f"line {self._line.address}", ok, what, todo, is_broken))

    # --- a number or short code -------------------------------------------------------------------------------------

    def look_at_number(self) -> None:
        line = self._line
        number = self._twilio.find_number(line.address)
        if number is None:
            todo = "Buy or port it there, look whether TWILIO_ACCOUNT_SID is the account that owns it, or correct the line."
            self.says(False, "this Twilio account has no such number", todo)
            return
        self.says(True, "the number belongs to this account")
        if not number.can_sms:
            self.says(False, "it can not carry SMS", "Take another number that can.")
        service = self._twilio.find_service_of(number)
        self._check_number_webhook(number, service)
        self._check_registration(number, service)
        self._check_country()
        self._check_opt_out(in_service=service is not None)

    def _check_number_webhook(self, number: Number, service: Service | None) -> None:
        if service is not None and not service.uses_numbers_webhook:
            self._check_webhook(service.webhook, "its Messaging Service")
            return
        if number.application:
            todo = "Take the TwiML application out of the number's messaging configuration in the console; it overrules the webhook."
            self.says(False, "a TwiML application takes what members write", todo)
            return
        self._check_webhook(number.webhook, "the number")

    def _check_webhook(self, webhook: Webhook, whose: str) -> None:
        url = webhook.url.partition("#")[0]  # behind it stand Twilio's connection overrides
        if url != self._wanted:
            self.says(False, f"what members write goes to {show_url(url)} ({whose}), not to {self._wanted}", self._connect)
        elif webhook.method.upper() != "POST":
            self.says(False, f"what members write comes by {webhook.method or 'no method'} ({whose}); it must be POST", self._connect)
        else:
            self.says(True, f"what members write comes to {self._wanted} by POST ({whose})")
        fallback = webhook.fallback_url.partition("#")[0]
        if fallback and fallback != self._wanted:
            todo = "Take it out in the console, or set it to the same address (the same text is taken once)."
            self.says(False, f"when we do not answer, members' words go to {show_url(fallback)}", todo)

    # --- what carriers want to know ------------------------------------------------------------------------------------

    def _check_registration(self, number: Number, service: Service | None) -> None:
        if is_toll_free(number.address):
            self._check_toll_free(number)
        elif number.address.startswith("+1") and (self._line.country or "US") in TEN_DIGIT_COUNTRIES:
            self._check_campaign([] if service is None else self._twilio.campaigns_of(service))

    def _forms(self) -> str:
        return f"`flask registration --collective {self._line.words[0] if self._line.words else 'WORD'}` prints what they ask for."

    def _check_campaign(self, campaigns: list[Campaign]) -> None:
        if any(campaign.status == "VERIFIED" for campaign in campaigns):
            verified = next(campaign for campaign in campaigns if campaign.status == "VERIFIED")
            self.says(True, f"the US carriers know its campaign ({verified.use_case or 'A2P 10DLC'}, verified)")
        elif not campaigns:
            todo = f"Register brand and campaign in the console (Messaging > Regulatory compliance), number in its service. {self._forms()}"
            self.says(False, "it belongs to no registered US campaign: the carriers refuse its texts (error 30034)", todo)
        elif campaigns[0].status in ("PENDING", "IN_PROGRESS"):
            self.says(
                False, "its US campaign is still being reviewed: texts are refused until then", "Wait for Twilio's mail; it takes days."
            )
        else:
            faults = "; ".join(campaigns[0].faults) or "Twilio gives no reason"
            todo = f"Correct the campaign in the console and submit it again. {self._forms()}"
            self.says(False, f"its US campaign is {campaigns[0].status.casefold() or 'in no known state'}: {faults}", todo)

    def _check_toll_free(self, number: Number) -> None:
        verification = self._twilio.toll_free_of(number)
        if verification is None:
            todo = f"Verify it in the console (Phone numbers > Active numbers > Regulatory information). {self._forms()}"
            self.says(False, f"{number.address} is toll-free and not verified: the carriers refuse its texts (error 30032)", todo)
        elif verification.status == "TWILIO_APPROVED":
            self.says(True, "the toll-free number is verified")
        elif verification.status == "TWILIO_REJECTED":
            again = "Correct and submit it again" if verification.may_edit else "Submit a new verification"
            self.says(
                False, f"the toll-free verification was refused: {verification.reason or 'no reason given'}", f"{again}. {self._forms()}"
            )
        else:
            self.says(False, "the toll-free verification is still being reviewed: texts are refused until then", "Wait for Twilio's mail.")

    def _check_country(self) -> None:
        line = self._line
        if line.country == "IN" and line.two_way:
            todo = f"Use WhatsApp there; mark this line: flask line set {line.address} --one-way"
            self.says(False, "in India nobody can answer an SMS: the sender she sees is not this number", todo)
        elif line.two_way and line.people["IN"]:
            says = f"members with Indian numbers ({line.people['IN']}) get SMS from it and can not answer"
            self.says(False, says, "Invite them on WhatsApp.", is_broken=False)

    def _check_opt_out(self, *, in_service: bool) -> None:
        line = self._line
        if not line.address[0].isdigit() and not line.carrier_answers_stop:
            todo = f"If it is not switched off at Twilio: flask line set {line.address} --carrier-answers-stop"
            self.says(False, "Chorus answers STOP here, and so does Twilio by default: she gets two answers", todo, is_broken=False)
        elif in_service:
            todo = (
                "Check in the console: the Messaging Service, Opt-Out Management. If it is on, keep STOP and START in its words, "
                "and write the group's name and a contact into its texts."
            )
            self.says(True, "Twilio answers STOP and START; whether Advanced Opt-Out is on can not be read by API", todo)
        elif line.address[0].isdigit():
            says = "the carrier answers STOP" if line.carrier_answers_stop else "Chorus answers STOP itself"
            self.says(
                True, f"{says}, as usual on a short code" if not line.carrier_answers_stop else says, "Ask Twilio which of the two it is."
            )
        else:
            self.says(True, "Twilio answers STOP and START with its own words")

    # --- a Messaging Service ------------------------------------------------------------------------------------------

    def look_at_service(self) -> None:
        service = self._twilio.find_service(self._line.address)
        if service is None:
            self.says(
                False, "this Twilio account has no such Messaging Service", "Copy its SID from the console (MG…), and correct the line."
            )
            return
        pool = self._twilio.pool_of(service)
        if not pool:
            self.says(False, "no number is in its pool: nothing can be sent (error 21703)", "Add a number in the console, Sender pool.")
            return
        self.says(True, f"the service belongs to this account and has {len(pool)} in its pool")
        numbers = [self._twilio.find_number(address) for address in pool[:_MOST_POOL]]
        if service.uses_numbers_webhook:
            for number in numbers:
                if number is not None:
                    self._check_webhook(number.webhook, number.address)
        else:
            self._check_webhook(service.webhook, "the service")
        local = [address for address in pool if address.startswith("+1") and not is_toll_free(address)]
        if local:
            self._check_campaign(self._twilio.campaigns_of(service))
        for number in numbers:
            if number is not None and is_toll_free(number.address):
                self._check_toll_free(number)
        self._check_country()
        self._check_opt_out(in_service=True)

    # --- a WhatsApp sender --------------------------------------------------------------------------------------------

    def look_at_sender(self) -> None:
        sender = self._twilio.find_sender(self._line.address)
        if sender is None:
            self._miss_sender()
            return
        if sender.status.partition(":")[0] == "ONLINE":
            self.says(True, "the WhatsApp sender is online")
        else:
            reasons = "; ".join(reason for reason in sender.reasons if reason) or "Twilio gives no reason"
            todo = "Look in the console: Messaging > Senders > WhatsApp senders."
            self.says(False, f"the WhatsApp sender is {sender.status.casefold() or 'in no known state'}: {reasons}", todo)
        self._check_webhook(sender.webhook, "the sender")
        if self._line.carrier_answers_stop:
            todo = f"Unless Advanced Opt-Out does: flask line set {self._line.address} --no-carrier-answers-stop"
            self.says(False, "Chorus leaves STOP to the carrier here, and WhatsApp has none that answers", todo)
        else:
            self.says(True, "Chorus answers STOP itself")
        self._check_templates()

    def _miss_sender(self) -> None:
        if self._line.address == SANDBOX:
            todo = f"Console: Messaging > Try it out > Send a WhatsApp message > Sandbox settings: {self._wanted}, POST."
            self.says(
                False, "it is Twilio's sandbox, which can not be read by API: for trying only, three days at a time", todo, is_broken=False
            )
        else:
            todo = "Register it in the console: Messaging > Senders > WhatsApp senders; or correct the line."
            self.says(False, "this Twilio account has no such WhatsApp sender", todo)

    def _check_templates(self) -> None:
        knock = sa.select(sa.func.count(Template.id)).where(Template.kind == "knock", Template.state == APPROVED)
        with self._deployment.store.read() as session:
            count = session.scalar(knock) or 0
        if count:
            self.says(True, f"{count} approved knock template{'s' if count > 1 else ''} for who has not written for a day")
        else:
            todo = "Run: flask templates submit, and when WhatsApp has looked at them: flask templates sync"
            self.says(False, "without an approved template nothing reaches who has not written for a day", todo, is_broken=False)
