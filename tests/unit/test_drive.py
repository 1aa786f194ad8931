"""The driver of generators: sync, async, one inside another."""

import asyncio
import threading

import pytest

from rerank_plugins._drive import Done, adrive, advance, drive, within


def adding(closed):
    """Asks for two numbers and returns their sum."""
    try:
        one = yield "one"
        other = yield "other"
        return one + other
    finally:
        closed.append(True)


NUMBERS = {"one": 1, "other": 2}


def test_questions_are_answered_in_turn():
    closed = []
    talk = adding(closed)
    assert advance(talk) == "one"
    assert advance(talk, 1) == "other"
    assert advance(talk, 2) == Done(3)
    assert drive(adding(closed), NUMBERS.get) == 3


@pytest.mark.parametrize("in_threads", [False, True])
def test_an_event_loop_gives_the_same(in_threads):
    seen = []

    async def answer(question):
        seen.append(threading.current_thread() is threading.main_thread())
        return NUMBERS[question]

    assert asyncio.run(adrive(adding([]), answer, in_threads=in_threads)) == 3
    assert seen == [True, True]


def test_between_questions_the_generator_runs_in_threads_where_that_is_asked_for():
    where = []

    def talk():
        where.append(threading.current_thread().name)
        yield "one"
        where.append(threading.current_thread().name)

    async def answer(_):
        return 1

    asyncio.run(adrive(talk(), answer, in_threads=True))
    assert set(where) == {"rerank-plugins"}


def test_a_talk_inside_another_asks_through_it():
    def twice(question):
        first = yield f"{question}?"
        second = yield f"{question}!"
        return first + second

    asked = []

    def answer(question):
        asked.append(question)
        return 10

    assert drive(within(adding([]), twice), answer) == 40
    assert asked == ["one?", "one!", "other?", "other!"]


@pytest.mark.parametrize("error", [ValueError, StopIteration])
def test_what_an_answer_raises_is_raised_and_the_talk_is_closed(error):
    closed = []

    def answer(_):
        raise error

    with pytest.raises(error):
        drive(adding(closed), answer)
    assert closed == [True]

    async def later(_):
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        asyncio.run(adrive(adding(closed), later))
    assert closed == [True, True]


def test_cancelling_closes_the_talk():
    closed = []

    async def never(_):
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(adrive(adding(closed), never))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed == [True]
