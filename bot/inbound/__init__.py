"""What comes in: Twilio's doors, who is speaking, whose answer it is."""

from .jumps import blueprint as clock_door
from .webhooks import blueprint

__all__ = ["blueprint", "clock_door"]
