"""A worker process of this machine: it answers one message after the other, until its parent is gone."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback

from maze_core.workers.channel import Channel, closed_after
from maze_core.workers.process import PROGRESS
from maze_core.workers.responder import Responder
from maze_core.workers.shared import shared_arrays
from maze_core.workers.start import flush


def main(parent: int, connection: int, memory: int) -> None:
    """Runs a worker; does not return.

    Args:
        parent: Number of the parent process.
        connection: Descriptor of the socket to it.
        memory: Descriptor of the progress that it watches.
    """
    for file in (connection, memory):
        os.set_inheritable(file, False)
    (progress,) = shared_arrays(memory, PROGRESS)
    os.close(memory)
    if sys.platform != "linux":
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    channel = Channel(socket.socket(fileno=connection))
    responder = Responder(channel.receive()[0], progress)  # the socket has no name: only the parent writes to it
    own, code = os.getpid(), 0
    try:
        while True:
            message, files = channel.receive()
            try:
                answer = responder.answer(message, files)
            finally:
                closed_after(files)
            if os.getpid() != own:
                os._exit(0)  # a process that an env forked, and let go on here
            if answer is not None:
                channel.send(answer)
    except (EOFError, OSError):  # the parent is gone, or wants nothing any more
        responder.close()
    except BaseException:
        traceback.print_exc()
        code = 1
    flush()
    os._exit(code)


def _end_with(parent: int) -> None:
    """Where the kernel does not see to it that a worker dies with its parent."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
