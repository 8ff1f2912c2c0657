"""TensorBoard for the runs below a directory."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tensorboard import program
from tensorboard.plugins.core.core_plugin import CorePluginLoader
from tensorboard.plugins.distribution.distributions_plugin import DistributionsPlugin
from tensorboard.plugins.histogram.histograms_plugin import HistogramsPlugin
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.image.images_plugin import ImagesPlugin
from tensorboard.plugins.metrics.metrics_plugin import MetricsPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin
from tensorboard.plugins.text.text_plugin import TextPlugin

from maze_core.errors import NothingUsableError, UserError, printable
from maze_core.runs.stored_run import find_runs

LOCAL = "127.0.0.1"
SAMPLES = {"scalars": 10_000, "histograms": 1_000, "images": 200}
"""Most steps of a tag that are shown; of more a random choice."""

PLUGINS = (
    CorePluginLoader(), MetricsPlugin, ScalarsPlugin, ImagesPlugin, DistributionsPlugin, HistogramsPlugin, TextPlugin,
    HParamsPlugin,
)  # fmt: skip
"""What shows what a run writes; others could open further files that a stranger's directory names."""


class Board:
    """A TensorBoard in this process: it starts no other, so nothing is left when the process ends.

    ```python
    with Board("outputs") as board:
        print(board.url)
        board.wait()
    ```

    Args:
        directory: Where runs are, at any depth; also those that begin later.
        port: Where it listens; None takes the first free one from 6006 on.
        host: On which address; on any but that of this machine itself, others can read the runs. On that of this
            machine, browsers that call it by another name get nothing, so that no web page can read the runs.

    Attributes:
        url: Its address.
        n_runs: How many runs there are now.

    Raises:
        NothingUsableError: If there is no such directory.
        UserError: If it cannot listen there.
    """

    def __init__(self, directory: str | Path = "outputs", port: int | None = None, host: str = LOCAL) -> None:
        folder = Path(directory).expanduser()
        if not folder.is_dir():
            raise NothingUsableError(
                f"{printable(str(directory))} is no directory. Runs are below outputs/ unless run_dir= named a place; "
                "start one with: maze train"
            )
        _check_address(host, port)
        self._host = host
        self.n_runs = sum(1 for _ in find_runs(folder))
        self._ended = threading.Event()
        tensorboard = program.TensorBoard(PLUGINS, server_class=self._listening)
        tensorboard.configure(logdir=str(folder), port=port, host=host, load_fast="false", samples_per_plugin=SAMPLES)
        try:
            self.url: str = tensorboard.launch()
        except program.TensorBoardServerException as error:
            raise UserError(f"TensorBoard cannot start: {error.msg}.") from None

    def _listening(self, app: Any, flags: Any) -> Any:
        guarded = OnlyByName(app, self._host) if is_local(self._host) else app
        self._server = program.create_port_scanning_werkzeug_server(guarded, flags)
        return self._server

    def wait(self) -> None:
        """Returns when it is closed; a signal such as that of Ctrl-C interrupts it."""
        self._ended.wait()

    def close(self) -> None:
        """Listens no longer; the thread that reads the runs ends with the process."""
        if not self._ended.is_set():
            self._ended.set()
            self._server.shutdown()
            self._server.server_close()

    def __enter__(self) -> Board:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()


class OnlyByName:
    """Refuses requests that call this machine by a name which is not its own.

    A web page could give its own name the address of this machine, and then read what is served here.

    Args:
        app: Answers all other requests.
        host: Where it listens: one more name that is allowed.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], host: str) -> None:
        self._app, self._names = app, {"127.0.0.1", "localhost", "::1", host.lower()}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request."""
        if _name_of(environ.get("HTTP_HOST", "")) in self._names:
            return self._app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"This TensorBoard is only for this machine: open the address that maze board printed.\n"]


def _name_of(address: str) -> str | None:
    """The name in ``name:port``; None if it is neither."""
    try:
        return urlsplit(f"//{address}").hostname
    except ValueError:
        return None


def _check_address(host: str, port: int | None) -> None:
    """Tries to listen there, because the server ends the process where it cannot."""
    if not host:
        raise UserError(f"the host is empty: name an address of this machine, such as {LOCAL}, or leave --host out.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = "Choose another one, or none: then a free one is found."
            raise UserError(f"port {port} is taken by another program. {advice}") from None
        where = printable(host) + ("" if port is None else f", port {port}")
        raise UserError(f"TensorBoard cannot listen at {where}: {error.strerror or error}.") from None


def is_local(host: str) -> bool:
    """Whether only this machine itself reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
