"""Workers load the same plugins as the process that they work for, in the same isolation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.workers import SIZES, no_worker_is_left, weights_hash  # noqa: F401  # a fixture

from maze_core.api import RunContext

pytestmark = [pytest.mark.usefixtures("no_worker_is_left"), pytest.mark.workers, pytest.mark.timeout(240)]

RUDE = ("changes_folder", "changes_dtype", "changes_random", "changes_sys", "prints", "key_error")


def trained(n_workers: int) -> str:
    """Weights after a small run on the env of an installed plugin."""
    own = {**SIZES["es"], "runner.n_workers": n_workers, "run_dir": f"run-{n_workers}", "model.hidden_sizes": [4]}
    with RunContext(env="fake_trains", algorithm="es", overrides=own, callbacks=[], seed=5, silent=True) as context:
        context.train()
        return weights_hash(context)


def test_an_env_of_an_installed_plugin_is_found_in_workers_beside_rude_ones(
    install: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    install("trains", *RUDE)
    learned = trained(2)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("written by a fake") == 3  # in this process and in both workers
    assert learned == trained(0)
    assert torch.get_default_dtype() is torch.float32
