"""Messages between a process and its workers, with a limit on how long each may take."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence

HEADER = struct.Struct("!Q")
MAX_FILES, MAX_JOINED = 8, 4096


class Channel:
    """One end of a socket pair. A message is bytes of any length, and perhaps open files.

    Args:
        connection: The end; it is closed with the channel.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """Descriptor to wait for."""
        return self._socket.fileno()

    def send(self, message: bytes, timeout: float | None = None, files: Sequence[int] = ()) -> None:
        """Sends a message.

        Args:
            message: What to send.
            timeout: Seconds without progress after which it is given up; None never does.
            files: Descriptors that the other end gets copies of.

        Raises:
            OSError: If the other end is closed, or takes nothing any more.
        """
        self._socket.settimeout(timeout)
        header = HEADER.pack(len(message))
        for whole in [header, message] if len(message) > MAX_JOINED else [header + message]:
            part = memoryview(whole)
            while part:  # `sendall` would limit the time of all of it
                sent = socket.send_fds(self._socket, [part], list(files)) if files else self._socket.send(part)
                part, files = part[sent:], ()

    def receive(self, timeout: float | None = None) -> tuple[bytearray, list[int]]:
        """Waits for a message, and returns it with the descriptors that came along.

        Args:
            timeout: Seconds without progress after which it is given up; None never does.

        Raises:
            EOFError: If the other end is closed.
            OSError: If a message does not arrive whole.
        """
        self._socket.settimeout(timeout)
        header, files = self._header()
        message = bytearray(HEADER.unpack(header)[0])
        self._fill(memoryview(message))
        return message, files

    def _header(self) -> tuple[bytes, list[int]]:
        space = socket.CMSG_SPACE(MAX_FILES * array.array("i").itemsize)
        data, ancillary, _, _ = self._socket.recvmsg(HEADER.size, space)
        files = array.array("i")
        for _, _, content in ancillary:
            files.frombytes(content[: len(content) - len(content) % files.itemsize])
        if not data:
            raise EOFError
        rest = bytearray(HEADER.size - len(data))
        self._fill(memoryview(rest))
        return data + rest, list(files)

    def _fill(self, view: memoryview) -> None:
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]

    def close(self) -> None:
        """Closes it; the other end sees that."""
        self._socket.close()


def closed_after(files: Sequence[int]) -> None:
    """Closes descriptors that are not needed any more."""
    for file in files:
        os.close(file)
