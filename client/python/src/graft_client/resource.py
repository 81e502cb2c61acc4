"""What jobs and studies have in common: a message of the server's, and events that are followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from graft_client.calls import Calls


class Resource:
    """As it was when it was last looked at. What its message has is here, too."""

    def __init__(self, calls: Calls, message: Any):
        self._calls = calls
        self.message = message

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.message, name)

    def _events(self, begin: Callable[[int], Any], after: int) -> Iterator[Any]:
        """Those after sequence `after`, each once and in order: of a stream that `begin` opens behind a sequence, again where it broke."""
        seen = after

        def take(message: Any) -> Any:
            nonlocal seen
            if message.WhichOneof("message") != "event" or message.event.sequence <= seen:
                return None
            seen = message.event.sequence
            return message.event

        yield from self._calls.following(lambda: begin(seen), take)
