"""Writes a run for TensorBoard. The only home of tensorboard."""

from __future__ import annotations

import time

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from maze_core.builtins.config import TensorBoardConfig
from maze_core.protocols import Callback, EpochReport, RunInfo


class TensorBoardCallback(Callback):
    """Writes scalars under ``<stage>_<group>/<event>/<statistic>``, and configuration and command as text.

    Args:
        config: Options.
    """

    def __init__(self, config: TensorBoardConfig) -> None:
        self._writer: EventFileWriter | None = None

    def on_run_start(self, run: RunInfo) -> None:
        """Opens the event file and writes the texts."""
        self._writer = EventFileWriter(str(run.directory))
        self._text("config", f"```yaml\n{run.config_yaml}```")
        self._text("command", f"`{run.command}`")

    def on_epoch_end(self, report: EpochReport) -> None:
        """Writes the scalars of the epoch, at step epoch + 1."""
        for stage in report.stages:
            values = [
                Summary.Value(tag=f"{stage.stage}_{path}", simple_value=value) for path, value in stage.values.items()
            ]
            self._add(Summary(value=values), report.epoch + 1)
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes what is left and ends the writer's thread."""
        if self._writer is not None:
            self._writer.close()

    def _text(self, tag: str, markdown: str) -> None:
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[markdown.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        self._add(Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)]), 0)

    def _add(self, summary: Summary, step: int) -> None:
        assert self._writer is not None
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
