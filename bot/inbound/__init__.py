"""What comes in: Twilio's doors, who is speaking, whose answer it is."""

from .webhooks import blueprint

__all__ = ["blueprint"]
