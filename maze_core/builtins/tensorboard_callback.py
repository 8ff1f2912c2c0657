"""Writes a run for TensorBoard."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from maze_core.builtins.config import TensorBoardConfig
from maze_core.errors import printable
from maze_core.protocols import Callback, EpochReport, RunInfo, RunSummary
from maze_core.runs.files import GrowingFile
from maze_core.stats import Histogram
from maze_core.stats.figures import drawn

LOG = logging.getLogger("maze")

FINAL_METRIC = "final_eval_BaseEnvEvents/reward/mean"
"""What hyper-parameters are compared by: the best policy on episodes that did not select it."""

N_BUCKETS = 30
FILE = re.compile(r"events\.out\.tfevents\.[A-Za-z0-9_.-]+")


class TensorBoardCallback(Callback):
    """Writes scalars and histograms under ``<stage>_<group>/<event>/<statistic>``, figures under ``.../figure``.

    Besides: configuration and command as text, pictures of the networks, and the hyper-parameters
    with the final metric, all in one event file without sub-runs.

    Args:
        config: Options.
    """

    def __init__(self, config: TensorBoardConfig) -> None:
        self._file: GrowingFile | None = None
        self._records = io.BytesIO()  # written to the file together, at the end of each call
        self._writer = RecordWriter(self._records)
        self._undrawable: set[str] = set()

    def on_run_start(self, run: RunInfo) -> None:
        """Opens the event file and writes what is known from the start."""
        host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())
        self._file = GrowingFile(run.directory / f"events.out.tfevents.{time.time():010.0f}.{host}.{os.getpid()}.0")
        self._writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        self._text("config", f"```yaml\n{run.config_yaml}```")
        self._text("command", f"`{run.command}`")
        for name, png in run.pictures.items():
            self._add(Summary(value=[Summary.Value(tag=f"networks/{name}", image=_image(png))]), 0)
        self._hyper_parameters(dict(_flat(run.config)))
        self._flush()

    def on_run_resume(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Opens the event file, and drops what was written after the checkpoint."""
        if not FILE.fullmatch(str(state["file"])):
            raise ValueError(f"{state['file']!r} is no event file")
        self._file = GrowingFile.taken_up(run.directory / state["file"], state)

    def state_dict(self) -> dict[str, Any]:
        """Which file it is, how long, and its hash."""
        return {} if self._file is None else {"file": self._file.path.name, **self._file.position()}

    def on_epoch_end(self, report: EpochReport) -> None:
        """Writes the statistics of the epoch, at step epoch + 1."""
        for stage in report.stages:
            values = [Summary.Value(tag=f"{stage.stage}_{path}", simple_value=v) for path, v in stage.values.items()]
            values += [
                Summary.Value(tag=f"{stage.stage}_{path}", histo=_histogram(histogram))
                for path, histogram in stage.histograms.items()
                if len(histogram.values)
            ]
            if stage.stage != "train":
                values += [value for path, histogram in stage.histograms.items()
                           for value in self._figure(stage.stage, path, histogram)]  # fmt: skip
            self._add(Summary(value=values), report.epoch + 1)
        self._flush()

    def _figure(self, stage: str, path: str, histogram: Histogram) -> list[Summary.Value]:
        """The figure that an env declared for an event, if it did; one that fails is left out from then on."""
        if path in self._undrawable or not len(histogram.values):
            return []
        try:
            png = drawn(path, histogram.values)
        except Exception as error:  # whatever a foreign function raises
            self._undrawable.add(path)
            what = printable(f"{path.rpartition('/')[0]}: {type(error).__name__}: {error}")
            LOG.warning("there is no figure of %s", what)
            return []
        tag = f"{stage}_{path.rpartition('/')[0]}/figure"
        return [] if png is None else [Summary.Value(tag=tag, image=_image(png))]

    def on_run_end(self, summary: RunSummary) -> None:
        """Closes the session of hyper-parameters."""
        ended = api_pb2.STATUS_SUCCESS if summary.signal is None else api_pb2.STATUS_UNKNOWN
        end = plugin_data_pb2.SessionEndInfo(status=ended, end_time_secs=time.time())
        self._hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)
        self._flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        assert self._file is not None
        self._file.write(self._records.getvalue())
        self._records.seek(0)
        self._records.truncate()

    def _text(self, tag: str, markdown: str) -> None:
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[markdown.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        data = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        self._add(Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=data, tensor=tensor)]), 0)

    def _hyper_parameters(self, values: dict[str, Any]) -> None:
        metric = api_pb2.MetricInfo(name=api_pb2.MetricName(tag=FINAL_METRIC))
        experiment = api_pb2.Experiment(
            hparam_infos=[api_pb2.HParamInfo(name=name, type=_data_type(value)) for name, value in values.items()],
            metric_infos=[metric],
        )
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in values.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, (int, float)):
                start.hparams[name].number_value = value
            else:
                start.hparams[name].string_value = value
        self._hparams(metadata.EXPERIMENT_TAG, experiment=experiment)
        self._hparams(metadata.SESSION_START_INFO_TAG, session_start_info=start)

    def _hparams(self, tag: str, **content: Any) -> None:
        data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
        self._add(Summary(value=[Summary.Value(tag=tag, metadata=data, tensor=metadata.NULL_TENSOR)]), 0)

    def _add(self, content: Summary, step: int) -> None:
        self._writer.write(Event(wall_time=time.time(), step=step, summary=content).SerializeToString())


def _data_type(value: Any) -> Any:
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_FLOAT64 if isinstance(value, (int, float)) else api_pb2.DATA_TYPE_STRING


def _image(png: bytes) -> Any:
    """A PNG as TensorBoard shows it; its size and kind stand at fixed places in its header."""
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    colorspace = 3 if png[25] == 2 else 4  # RGB or RGBA
    return Summary.Image(width=width, height=height, colorspace=colorspace, encoded_image_string=png)


def _histogram(histogram: Histogram) -> HistogramProto:
    values = np.asarray(histogram.values, np.float64)
    counts, edges = np.histogram(values, bins=N_BUCKETS)
    return HistogramProto(
        min=values.min(),
        max=values.max(),
        num=len(values),
        sum=values.sum(),
        sum_squares=float((values**2).sum()),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.tolist(),
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The options of a configuration by dotted key, as values that TensorBoard takes."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (bool, int, float)):
            yield f"{prefix}{key}", value
        elif value is not None:
            yield f"{prefix}{key}", str(value)
