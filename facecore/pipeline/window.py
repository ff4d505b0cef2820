"""The items between those that fetch and the one that consumes: in order, and never too many.

Items are numbered as they are taken from the iterable. Consecutive ones form groups; which ones
depends on the items alone, never on who was quicker, so that a repeated run computes the same
batches and therefore the same bits. Groups are computed by several lanes and handed out in
order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key")
Fetch = TypeVar("Fetch")
Content = TypeVar("Content")
Result = TypeVar("Result")


@dataclass
class Group(Generic[Key, Content]):
    """Consecutive items that are computed together."""

    number: int
    items: list[tuple[Key, Content]] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


@dataclass(frozen=True, slots=True)
class _Arrived(Generic[Key, Content]):
    key: Key
    content: Content
    bytes: int
    pixels: int


class Window(Generic[Key, Fetch, Content, Result]):
    """What is on its way.

    Args:
        items: keys with what fetches their content; advanced by one thread at a time, lazily.
        group_items: most items of a group.
        group_pixels, group_bytes: most pixels and bytes of a group, but at least one item.
        max_items: items taken and not handed out yet; at least `group_items`.
        max_bytes: bytes fetched and not computed yet, at least `group_bytes`; each fetching
            thread may exceed it by the files it has in hand.

    No deadlock: items are taken in order and waiting is only done before one is taken, so the
    item whose turn it is has always been taken, and nothing holds it up.
    """

    def __init__(
        self,
        items: Iterable[tuple[Key, Fetch]],
        *,
        group_items: int,
        group_pixels: int,
        group_bytes: int,
        max_items: int,
        max_bytes: int,
    ) -> None:
        self._items = iter(items)
        self._group_items, self._group_pixels = group_items, group_pixels
        self._group_bytes = group_bytes
        self._max_items, self._max_bytes = max(max_items, group_items), max(max_bytes, group_bytes)
        lock = threading.Lock()
        self._room = threading.Condition(lock)  # the fetching threads wait here,
        self._ready = threading.Condition(lock)  # the lanes here,
        self._done = threading.Condition(lock)  # and the consumer here
        self._advance = threading.Lock()  # held while the iterable is advanced
        self._arrived: dict[int, _Arrived[Key, Content] | _Failed] = {}
        self._results: dict[int, list[tuple[Key, Result]] | _Failed] = {}
        self._taken = self._grouped = self._given = 0  # items
        self._formed = self._handed = 0  # groups
        self._bytes = 0
        self._ended = self._stopped = self._broken = False

    # Fetching threads

    def next_items(self, most: int) -> list[tuple[int, Key, Fetch]]:
        """The next items to fetch, when there is room for one; none when there are no more."""
        turn: list[tuple[int, Key, Fetch]] = []
        with self._advance:
            while len(turn) < most:
                with self._room:
                    if not turn:
                        self._room.wait_for(lambda: self._ended or self._has_room())
                    if self._ended or not self._has_room():
                        break
                try:
                    key, fetch = next(self._items)
                except StopIteration:
                    with self._room:
                        self._end()
                    break
                except BaseException as error:  # raised again by take
                    with self._room:
                        number, self._taken = self._taken, self._taken + 1
                    self.failed(number, error)
                    break
                with self._room:
                    number, self._taken = self._taken, self._taken + 1
                turn.append((number, key, fetch))
        return turn

    def arrived(self, several: Iterable[tuple[int, Key, Content, int, int]]) -> None:
        """Items' content is there: number, key, content, its bytes, its pixels in memory."""
        with self._room:
            for number, key, content, size, pixels in several:
                self._arrived[number] = _Arrived(key, content, size, pixels)
                self._bytes += size
            self._ready.notify()

    def failed(self, number: int, error: BaseException) -> None:
        """Fetching an item failed for good: the stream ends with `error` at its turn."""
        with self._room:
            self._arrived[number] = _Failed(error)
            self._end()

    # Lanes

    def next_group(self) -> Group[Key, Content] | None:
        """The next group, when all of it has arrived; None when there will be no more."""
        with self._ready:
            while True:
                over = self._ended and self._grouped >= self._taken
                group = None if self._stopped or self._broken or over else self._form()
                if group is not None or self._stopped or self._broken or over:
                    self._ready.notify()  # another lane has something to do, or ends as well
                    return group
                self._ready.wait()

    def finished(self, group: Group[Key, Content], results: list[tuple[Key, Result]]) -> None:
        """A group's results, in the order of its items."""
        self._finish(group.number, results, group.bytes)

    def broken(self, group: Group[Key, Content], error: BaseException) -> None:
        """Computing a group failed for good: the stream ends with `error` at its turn."""
        self._finish(group.number, _Failed(error), group.bytes)

    # The consumer

    def take(self) -> list[tuple[Key, Result]] | None:
        """The next group's results, when they are there; None after the last group.

        Raises:
            BaseException: what fetching or computing it raised.
        """
        with self._done:
            self._done.wait_for(lambda: self._handed in self._results or self._all_handed())
            found = self._results.pop(self._handed, None)
            if isinstance(found, _Failed):
                raise found.error
            if found is not None:
                self._handed += 1
                self._given += len(found)
                self._room.notify()
            return found

    def stop(self) -> None:
        """Let nobody start anything new."""
        with self._room:
            self._stopped = True
            self._end()

    # All of these are called with the lock held.

    def _has_room(self) -> bool:
        return self._taken - self._given < self._max_items and self._bytes < self._max_bytes

    def _end(self) -> None:
        self._ended = True
        for condition in (self._room, self._ready, self._done):
            condition.notify_all()

    def _all_handed(self) -> bool:
        no_more = self._ended and self._grouped >= self._taken and self._handed >= self._formed
        return no_more or self._stopped

    def _finish(self, number: int, results: list[tuple[Key, Result]] | _Failed, size: int) -> None:
        with self._room:
            self._results[number] = results
            self._bytes -= size
            if isinstance(results, _Failed):
                self._broken = True
                self._end()
            self._done.notify()
            self._room.notify()

    def _form(self) -> Group[Key, Content] | None:
        """Make a group of what has arrived, when no further item can belong to it."""
        members: list[_Arrived[Key, Content]] = []
        pixels = size = 0
        complete = False
        for number in range(self._grouped, self._grouped + self._group_items):
            item = self._arrived.get(number)
            if item is None:
                complete = self._ended and number >= self._taken and bool(members)
                break
            if isinstance(item, _Failed):
                # What came before it in its group is not computed any more.
                self._broken = True
                self._results[self._formed] = item
                self._done.notify()
                return None
            pixels, size = pixels + item.pixels, size + item.bytes
            if members and (pixels > self._group_pixels or size > self._group_bytes):
                complete = True
                break
            members.append(item)
            if size >= self._group_bytes:  # or it might wait for an item that has no room
                complete = True
                break
        else:
            complete = True
        if not complete:
            return None
        group: Group[Key, Content] = Group(self._formed)
        for number, member in enumerate(members, self._grouped):
            del self._arrived[number]
            group.items.append((member.key, member.content))
            group.bytes += member.bytes
        self._grouped += len(members)
        self._formed += 1
        return group
