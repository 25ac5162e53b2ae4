"""Concurrent work: a window of units, the first error, results in order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from her_hf.concurrency import each, gathered

# -- the window


@pytest.mark.parametrize("window", [1, 3, 100])
def test_at_most_a_window_is_in_progress_and_every_unit_is_finished(window: int) -> None:
    begun: list[int] = []
    busy = most = 0

    async def work(unit: int) -> None:
        nonlocal busy, most
        begun.append(unit)
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.001 * (unit % 3))
        busy -= 1

    asyncio.run(each(range(20), work, window=window))
    assert begun == list(range(20)) and most == min(window, 20)


def test_a_window_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        asyncio.run(each([1], asyncio.sleep, window=0))


def test_a_unit_that_waits_for_nothing_does_not_keep_the_rest_from_beginning() -> None:
    seen: list[str] = []

    async def work(unit: str) -> None:
        seen.append(unit)
        if unit == "waits":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.append("waited")

    asyncio.run(each(["waits", *map(str, range(100))], work, window=2))
    assert seen.index("waited") < 10


# -- errors


def test_the_first_error_cancels_the_rest_and_is_raised_itself(recwarn: pytest.WarningsRecorder) -> None:
    cancelled: list[int] = []
    drawn: list[int] = []

    def units() -> Iterator[int]:
        for unit in range(100):
            drawn.append(unit)
            yield unit

    async def work(unit: int) -> None:
        try:
            await asyncio.sleep(0.01 if unit == 1 else 60)
        except asyncio.CancelledError:
            cancelled.append(unit)
            raise
        raise KeyError("one") from OSError("the cause")

    with pytest.raises(KeyError, match="one") as raised:
        asyncio.run(each(units(), work, window=4))
    assert isinstance(raised.value.__cause__, OSError) and raised.value.__context__ is None
    assert sorted(cancelled) == [0, 2, 3] and drawn == [0, 1, 2, 3]
    gc.collect()
    assert not recwarn.list


def test_an_error_of_the_source_is_raised_too() -> None:
    def units() -> Iterator[int]:
        yield 1
        raise OSError("the file is cut")

    async def work(_: int) -> None:
        await asyncio.sleep(60)

    with pytest.raises(OSError, match="the file is cut"):
        asyncio.run(each(units(), work, window=2))


def test_a_unit_that_cancels_itself_is_not_taken_for_done() -> None:
    async def work(unit: int) -> None:
        if unit == 1:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(each(range(3), work, window=2))


# -- results


def test_results_are_in_the_order_of_the_units_whatever_finishes_first() -> None:
    drawn: list[int] = []
    busy = most = 0

    def units() -> Iterator[int]:
        for unit in range(20):
            drawn.append(unit)
            yield unit

    async def work(unit: int) -> str:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        assert len(drawn) <= unit + 4  # no unit is taken before a worker is free
        await asyncio.sleep(0.001 * (unit * 7 % 5))
        busy -= 1
        return str(unit)

    assert asyncio.run(gathered(units(), work, window=4)) == list(map(str, range(20)))
    assert most == 4 and asyncio.run(gathered([], work)) == []
