"""The demo: every part of Chorus on one machine, with a pretend carrier, no account and nothing to install beside Python.

`python -m bot.demo` (or `make demo`) is a launcher. It imports nothing of Chorus; it starts the same programs that production
runs, with the environment that production would give them.
"""
