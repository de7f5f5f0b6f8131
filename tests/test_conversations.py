"""Every transcript plays as written, on both databases."""

from pathlib import Path

import pytest

from tests.transcripts import Player, transcripts
from tests.world import World


@pytest.mark.parametrize("path", list(transcripts()), ids=lambda path: path.stem)
def test_conversation(world: World, path: Path) -> None:
    Player(world, path).play()
