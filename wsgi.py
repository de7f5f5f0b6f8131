"""The web process: ``gunicorn wsgi:app``, and how ``flask`` finds its commands."""

import sys

from bot import create_app
from bot.settings import SettingsRefused

try:
    app = create_app()
except SettingsRefused as refusal:
    # A clear list instead of a traceback: whoever deploys reads this line first.
    print(refusal, file=sys.stderr)
    raise SystemExit(1) from None
