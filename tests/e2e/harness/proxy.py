"""A TCP proxy between the bridge and a broker that does to the connection what networks do."""

import asyncio
import socket
import struct
import threading

from . import ports

TO_BROKER, TO_BRIDGE = "to_broker", "to_bridge"


class Proxy:
    """Listens on a port of its own and passes bytes to `target_port` on loopback.

    Faults hold for open and new connections until they are taken back:
    `delay` seconds before each piece, `rate` bytes a second, `stall` of one direction or both (connections stay
    open, nothing passes), `refuse` (nobody listens), `cut` (every connection is reset, new ones work),
    `holding` counts the pieces that a stall holds back; `half_open` (the broker's side is gone and the bridge is not told; new connections get no answer either).
    """

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = ports.free()
        self.delay = 0.0
        self.rate = 0
        self.holding = 0
        self._stalled = set()
        self._half_open = False
        self._streams = set()
        self._server = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    # Faults

    def stall(self, *directions):
        self._stalled = set(directions or (TO_BROKER, TO_BRIDGE))

    def half_open(self):
        self._half_open = True
        self._do(self._drop_broker())

    def cut(self):
        self._do(self._reset())

    def refuse(self):
        self._do(self._close())
        self.cut()

    def heal(self):
        """Takes every fault back. Connections that were half open stay dead: their broker's side is gone."""
        self.delay, self.rate = 0.0, 0
        self._stalled = set()
        self._half_open = False
        if self._server is None:
            self._do(self._listen())

    def close(self):
        self.heal()
        self._do(self._close())
        self._do(self._reset())
        self._do(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # Inside the loop

    async def _listen(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=128)

    async def _close(self):
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset(self):
        for stream in list(self._streams):
            linger = struct.pack("ii", 1, 0)
            sock = stream.get_extra_info("socket")
            if sock is not None:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                except OSError:
                    pass
            stream.transport.abort()

    async def _end_tasks(self):
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drop_broker(self):
        for stream in list(self._streams):
            if stream.get_extra_info("peername") and stream.get_extra_info("peername")[1] == self.target_port:
                stream.transport.abort()

    async def _accept(self, reader, writer):
        self._streams.add(writer)
        try:
            while self._half_open:
                await asyncio.sleep(0.05)
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            except OSError:
                return
            self._streams.add(far_writer)
            try:
                await asyncio.gather(
                    self._pass(reader, far_writer, TO_BROKER), self._pass(far_reader, writer, TO_BRIDGE)
                )
            finally:
                self._streams.discard(far_writer)
                far_writer.transport.abort()
        finally:
            self._streams.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader, writer, direction):
        dead = False
        while True:
            try:
                piece = await reader.read(1 << 16 if not self.rate else max(1, self.rate // 20))
            except OSError:
                piece = b""
            if self._half_open or dead:
                dead = True
                if not piece:
                    # The broker's side is gone: the bridge hears nothing of it.
                    if direction == TO_BRIDGE:
                        await asyncio.sleep(3600)
                    return
                continue
            self.holding += 1
            while direction in self._stalled:
                await asyncio.sleep(0.02)
            self.holding -= 1
            if self._half_open:
                dead = True
                continue
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.rate:
                await asyncio.sleep(len(piece) / self.rate)
            if not piece:
                writer.transport.abort()
                return
            try:
                writer.write(piece)
                await writer.drain()
            except OSError:
                return
