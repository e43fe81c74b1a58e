"""Two stages of a stream at once: items are produced before, and results handled after, they are needed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """The items in their order, produced in a thread of its own while earlier ones are used.

    most: items that may be produced and not yet taken; 0 produces each on request, in the
    caller's thread. An exception of `items` is raised here, after the items in front of it.
    """
    if most == 0:
        yield from items
        return
    end = object()
    iterator = iter(items)
    thread = ThreadPoolExecutor(1, thread_name_prefix="flowtracer-ahead")
    try:
        waiting = deque(thread.submit(next, iterator, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, iterator, end))
            yield item  # type: ignore[misc]
    finally:
        thread.shutdown(cancel_futures=True)


def behind(
    function: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[Result]:
    """`function` of each item in order, called in a thread of its own while later items are produced.

    most: calls that may wait or run when the next item is produced; 0 calls in the caller's thread. An
    exception of `items` is raised after the calls for the items in front of it have ended.
    """
    if most == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="flowtracer-behind") as thread:
        for item in items:
            waiting.append(thread.submit(function, item))
            while waiting and (waiting[0].done() or len(waiting) > most):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
