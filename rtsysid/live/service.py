"""Readiness, watchdog and status for the service manager, and a graceful stop by signals.

Ref: sd_notify(3): datagrams on the socket that NOTIFY_SOCKET names; WATCHDOG_USEC is the longest silence allowed.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from rtsysid.guards.text import for_terminal

_LONGEST_US = 10**15  # of a watchdog, which then never comes


class Service:
    """Report to systemd; does nothing where no service manager listens.

    Only `fresh` feeds the watchdog, which the loop calls after an answer in time: a process that runs without answering
    counts as dead.
    """

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        found = dict(os.environ) if environment is None else environment
        self._address = found.get("NOTIFY_SOCKET", "")
        mine = found.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        stated = found.get("WATCHDOG_USEC", "") if mine else ""
        watchdog_us = min(int(stated), _LONGEST_US) if stated.isdecimal() else 0
        self._interval_s = watchdog_us * 1e-6 / 3  # three messages within the limit
        self._ready, self._due_s = False, 0.0

    def fresh(self, now_s: float) -> None:
        """Report an answer in time: READY at the first one, then WATCHDOG three times within its limit."""
        if self._ready and (not self._interval_s or now_s < self._due_s):
            return
        self._due_s = now_s + self._interval_s
        self._send("WATCHDOG=1" if self._ready else "READY=1")
        self._ready = True

    def status(self, line: str) -> None:
        """Send one line for `systemctl status`: a line break in a text would begin another message."""
        self._send(f"STATUS={for_terminal(line)}")

    def stopping(self) -> None:
        """Report that the process is stopping."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A service manager that does not listen must not stop the loop.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(text.encode(), socket.MSG_DONTWAIT, address)


class StopSignal:
    """`with StopSignal() as stop`: a signal to end sets `stop.requested`, and so do those that follow.

    The signals are SIGINT (^C), SIGTERM, and SIGHUP (the terminal was closed) unless the process was started to ignore
    it, as by nohup. A terminal that closes and a service manager send more than one of them. Only the third ^C has its
    usual effect, for a stop that hangs. `after_s`: request the stop this many seconds after entering. For the main
    thread only. ``interrupted``: whether a signal requested it, and not the time.
    """

    def __init__(self, after_s: float | None = None) -> None:
        self.requested = self.interrupted = False
        self._after_s, self._insisted = after_s, 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._request)
        if self._after_s is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self._after_s, 1e-6))
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        while self._before:
            signal.signal(*self._before.popitem())

    def _request(self, number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self.interrupted |= number != signal.SIGALRM
        self._insisted += number == signal.SIGINT
        if self._insisted == 3:
            self.__exit__()
            signal.raise_signal(number)
