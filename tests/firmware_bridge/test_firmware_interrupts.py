"""What interrupts share with the main loop: the capture queue, and the UART of an STM32 with registers of the test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from firmware_bridge.build import APP, FIRMWARE, compile_c

C = Path(__file__).parents[1] / "c"
CORTEX = FIRMWARE / "ports" / "cortex_m4"


def lines(program: Path) -> list[list[str]]:
    done = subprocess.run([program], capture_output=True, text=True, check=True, timeout=60)
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("optimise", ["-O2", "-Os"])
def test_the_sampling_interrupt_may_come_after_any_instruction(optimise: str) -> None:
    """Wherever in a stop the sampling interrupt comes, it leaves no sample behind, and each sample that it captured is
    counted; the same while samples are taken out. Compiled stores in another order fail this."""
    found = lines(compile_c("interrupts", [*APP, C / "interrupts.c"], (optimise,)))
    assert [name for name, _, _ in found] == ["stop", "finish", "bye", "drain"]
    assert all(int(interrupts) >= 10 for _, interrupts, _ in found), found
    assert [int(faults) for _, _, faults in found] == [0, 0, 0, 0], found


def test_an_overrun_between_any_two_accesses_ends_its_interrupt() -> None:
    """A byte that comes before any access to the UART's registers is read or counted as lost, and the interrupt is over
    after the first or second call: an overrun that is alone in the status does not interrupt for ever."""
    fake = ("-include", str(C / "registers.h"), "-Dmain=board_main")
    ports = (f"-I{FIRMWARE / 'ports' / 'stm32f405'}", f"-I{CORTEX}", f"-I{FIRMWARE / 'example'}")
    board = compile_c("uart-board", [CORTEX / "main.c"], ("-O2", "-c", *fake, *ports))
    found = [list(map(int, line)) for line in lines(compile_c("uart", [*APP, C / "uart.c", board], ("-O2",)))]
    assert len(found) == 8
    for interrupts, sent, read, lost in found:
        assert interrupts <= 2, found
        assert sent == read + lost, found
    assert any(lost for *_, lost in found)
