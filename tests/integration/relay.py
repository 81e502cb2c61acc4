"""A TCP relay that makes a network slow and breaks it: bytes come late, connections end in the middle of a message.

What happens to each connection follows from the seed and its number."""

import asyncio
import contextlib
import random
import socket
import struct
import threading

PIECE = 16 * 1024
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: what is closed is reset.


class Relay:
    """From a port of its own to `target`, until its block ends. Each piece takes `delay` seconds, give or take `jitter`, and none overtakes
    another; with `mean_bytes` each connection breaks after as many on average, half of them by a reset."""

    def __init__(self, target, delay=0, jitter=0, mean_bytes=None, seed=1):
        self.target, self.delay, self.jitter, self.mean_bytes, self.seed = target, delay, jitter, mean_bytes, seed
        self.connections, self.broken, self.pieces = 0, 0, 0
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _end(self):
        self.server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, near_reader, near_writer):
        self.connections += 1
        dice = random.Random(f"{self.seed}/{self.connections}")
        left = [dice.expovariate(1 / self.mean_bytes) if self.mean_bytes else float("inf")]
        host, port = self.target.rsplit(":", 1)
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return near_writer.close()
        queues = asyncio.Queue(64), asyncio.Queue(64)
        reads = [asyncio.create_task(self._read(reader, queue, dice)) for reader, queue in zip((near_reader, far_reader), queues)]
        writes = [asyncio.create_task(self._write(writer, queue, left)) for writer, queue in zip((far_writer, near_writer), queues)]
        try:
            await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in [*reads, *writes]:
                task.cancel()
            await asyncio.gather(*reads, *writes, return_exceptions=True)
            reset = dice.random() < 0.5
            for writer in (near_writer, far_writer):
                if reset:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.close()

    async def _read(self, reader, queue, dice):
        due, piece = 0, None
        while piece != b"":
            piece = b""
            with contextlib.suppress(OSError):
                piece = await reader.read(PIECE)
            due = max(due, self.loop.time() + self.delay + dice.uniform(-self.jitter, self.jitter))
            await queue.put((due, piece))

    async def _write(self, writer, queue, left):
        """Until the other end closes, or what is `left` of the connection is used up: then half of a piece is lost."""
        while left[0] > 0:
            due, piece = await queue.get()
            await asyncio.sleep(max(0, due - self.loop.time()))  # tidy: the delay itself
            if piece == b"":
                return
            self.pieces += 1
            left[0] -= len(piece)
            writer.write(piece if left[0] > 0 else piece[:len(piece) // 2])
            await writer.drain()
        self.broken += 1
