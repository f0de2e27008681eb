"""systemd's protocol on a real socket, and signals to a real process."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_parts import until

from rtsysid.cli import cli
from rtsysid.live.service import Service, StopSignal


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """An address for NOTIFY_SOCKET and the socket that listens there, in both kinds of namespace."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@rtsysid-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1))
        listening.setblocking(False)
        yield address, listening


def heard(listening: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(listening.recv(4096).decode())
        except BlockingIOError:
            return said


def test_ready_then_watchdog_in_good_time(manager: tuple[str, socket.socket]) -> None:
    """READY comes with the first fresh tick, then a WATCHDOG each third of the time allowed, however many ticks there
    are; STATUS and STOPPING are sent as given."""
    address, listening = manager
    service = Service({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
    assert heard(listening) == []
    for tick in range(35):
        service.fresh(100 + tick * 0.1)
    assert heard(listening) == ["READY=1", *["WATCHDOG=1"] * 3]
    service.status("500 Hz")
    service.stopping()
    assert heard(listening) == ["STATUS=500 Hz", "STOPPING=1"]


def test_a_text_is_one_message(manager: tuple[str, socket.socket]) -> None:
    """A line break in a text from a board does not begin another message, and a limit that is no number is none."""
    address, listening = manager
    for limit in ("", "x", "-1", "1e9", "9" * 400):
        Service({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": limit}).status("a\nWATCHDOG=1\x1b[2J\ud800")
    assert heard(listening) == [r"STATUS=a\nWATCHDOG=1\x1b[2J\ud800"] * 5


def test_no_watchdog_unless_it_is_ours(manager: tuple[str, socket.socket]) -> None:
    """Without WATCHDOG_USEC, or with another process's, only READY is sent."""
    address, listening = manager
    for extra in ({}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}):
        service = Service({"NOTIFY_SOCKET": address, **extra})
        for tick in range(5):
            service.fresh(tick)
        assert heard(listening) == ["READY=1"]


def test_nobody_listens(tmp_path: Path) -> None:
    """Without a manager, or with one that is gone, the loop goes on."""
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        service = Service(environment)
        service.fresh(0.0)
        service.status("fine")
        service.stopping()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_however_often_it_comes(number: signal.Signals) -> None:
    """A signal sets the flag; a terminal that closes and a service manager send more of them, which change nothing."""
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.requested
        for each in (number, number, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(each)
            assert (stop.requested, stop.interrupted) == (True, True)
    assert signal.getsignal(number) == before


def test_the_third_interrupt_ends_a_stop_that_hangs() -> None:
    """^C ends the process as ever when it comes a third time."""
    with StopSignal() as stop:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """Under nohup, which ignores SIGHUP, a closed terminal does not end the session."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_given_back_without_a_signal() -> None:
    """Leaving the block restores what was there before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignal():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_example_unit_asks_for_what_the_verb_understands() -> None:
    """The unit in packaging is whole: its command line parses, and its limits allow the priorities asked for."""
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(Path(__file__).parents[2] / "packaging" / "rtsysid.service")
    service = unit["Service"]
    _, verb, *arguments = service["ExecStart"].split()
    context = cli.commands[verb].make_context(verb, arguments)
    assert 0 < context.params["fifo"] < int(service["LimitRTPRIO"])
    assert (service["Type"], service["LimitMEMLOCK"]) == ("notify", "infinity")
    assert float(service["WatchdogSec"]) > 3
    assert context.params["record"].suffix == ""  # a folder: a file would be refused at the next start, for ever
    assert service["RestartPreventExitStatus"].split() == ["1", "2"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="wants systemd-analyze")
def test_the_example_unit_is_hardened(tmp_path: Path) -> None:
    """systemd rates what the service could reach at 4 of 10 or less, and finds no line that it does not know."""
    unit = tmp_path / "rtsysid.service"
    text = (Path(__file__).parents[2] / "packaging" / "rtsysid.service").read_text()
    unit.write_text(text.replace("/opt/rtsysid/bin/rtsysid", sys.executable))
    rating = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, check=True
    )
    found = re.search(r"exposure level for rtsysid.service: ([0-9.]+)", rating.stdout)
    assert found
    assert float(found[1]) <= 4
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert "Unknown" not in checked.stderr
    assert "Invalid" not in checked.stderr


def test_a_stop_after_so_long() -> None:
    """With a time the flag is set as by a signal; leaving before takes the alarm back."""
    with StopSignal(0.01) as stop:
        until(lambda: stop.requested, "the alarm")
    with StopSignal(0.05) as stop:
        pass
    assert signal.setitimer(signal.ITIMER_REAL, 0)[0] == 0.0
    assert not stop.requested
