"""Work in another thread while the rest goes on, the two of them ending together."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from .tools import stop_tool

__all__ = ["beside"]

T = TypeVar("T")


class _Left(BaseException):
    """The work has failed, so its block is left."""


@contextmanager
def beside(work: Callable[[], T]) -> Iterator["Future[T]"]:
    """Do ``work``, which is to spend its time in tools, while the block runs; yield its future.

    Where ``work`` fails, the block, if it is run by the main thread, is left at once with that
    error. However the block ends, the work ends with it and its tools are killed.
    """
    future: Future[T] = Future()
    caller, watched = threading.get_ident(), True
    is_main = threading.current_thread() is threading.main_thread()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
            if is_main and watched:
                signal.pthread_kill(caller, signal.SIGUSR1)

    def leave(number: int, frame: object) -> None:
        if watched:
            raise _Left

    before = signal.signal(signal.SIGUSR1, leave) if is_main else None
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    failure: BaseException | None = None
    try:
        yield future
        failure = future.exception() if future.done() else None
    except _Left:
        failure = future.exception()
    finally:
        watched = False
        stop_tool(thread)
        if is_main:
            signal.signal(signal.SIGUSR1, before)
    if failure is not None:
        raise failure
