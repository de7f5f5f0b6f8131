"""Conversations: the steps a flow may yield, the actions it may do, the engine that replays it, the floor that says whose answer it is."""
