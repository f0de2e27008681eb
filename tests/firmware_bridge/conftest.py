"""Fixtures of the firmware's application as a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.app_board import HELLO, START, Board


@pytest.fixture(scope="module")
def app() -> Iterator[Board]:
    """firmware/app.c as a process."""
    with Board() as board:
        yield board


@pytest.fixture
def board(app: Board) -> Board:
    """Just started; its first words were read."""
    app.boot()
    app.poll()
    return app


@pytest.fixture
def streaming(board: Board) -> Board:
    """In a session, sending samples."""
    board.hear(HELLO, START)
    return board
