"""`python -m bot.simulator` starts the pretend carrier."""

from bot.simulator.server import main

if __name__ == "__main__":
    raise SystemExit(main())
