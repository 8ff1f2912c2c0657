"""Whatever happens to a worker, the run ends as if it had not, or says what it was."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.workers import faulty, no_worker_is_left, trained, weights_hash, workers_of  # noqa: F401  # a fixture

from maze_core.errors import EnvFaultError
from maze_core.workers import vector_env
from maze_core.workers.pool import WorkerFaultError, WorkerPool

pytestmark = [
    pytest.mark.usefixtures("workdir", "no_worker_is_left"),
    pytest.mark.workers,
    pytest.mark.timeout(240),
]

ENDS = {
    "hard_exit": "ended with exit code 7",
    "segfault": "was killed by SIGSEGV",
    "kill": "was killed by SIGKILL",
    "stop": "did nothing for 1 s",
    "sleep": "did nothing for 1 s",
    "loop": "did nothing for 1 s",
    "hold_the_lock": "did nothing for 1 s",
    "close_files": "stopped listening and had to be killed",
}
"""What is told of each way in which a worker ends."""


@pytest.fixture(scope="module")
def untroubled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Weights of the same run in this process, where nothing goes wrong, by algorithm."""
    folder = tmp_path_factory.mktemp("untroubled")
    return {algorithm: trained(algorithm, run_dir=folder / algorithm) for algorithm in ("ppo", "es")}


@pytest.mark.parametrize(
    ("fault", "where", "algorithm"),
    [
        ("hard_exit", "constructor", "ppo"), ("segfault", "reset", "ppo"), ("kill", "step", "ppo"),
        ("stop", "step", "es"), ("sleep", "reset", "ppo"), ("loop", "step", "ppo"), ("hold_the_lock", "step", "ppo"),
        ("segfault", "step", "es"), ("close_files", "step", "ppo"),
    ],
)  # fmt: skip
def test_a_worker_that_ends_is_replaced_and_the_result_is_the_same(
    fault: str, where: str, algorithm: str, untroubled: dict[str, str], workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = trained(algorithm, n_workers=2, fault=fault, where=where, once=str(workdir / "once"), step_timeout=1.0)
    assert found == untroubled[algorithm]
    told = [record.message for record in caplog.records if "takes its place" in record.message]
    assert len(told) == 1
    assert ENDS[fault] in told[0]
    if where == "step":
        assert "in step 3 of env" in told[0]


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_a_constructor_that_raises_ends_the_run_and_says_so(fault: str, n_workers: int) -> None:
    with pytest.raises(EnvFaultError, match="in its constructor"):
        trained("ppo", n_workers=n_workers, fault=fault, where="constructor")


@pytest.mark.parametrize("fault", ["raise", "exit", "fill_the_memory"])
def test_an_env_that_raises_ends_the_run_and_says_where(fault: str, workdir: Path) -> None:
    with pytest.raises(EnvFaultError, match=r"raised .* in step 3 .*\(env [0-7] of 8, episode seed \d+\)") as caught:
        trained("ppo", n_workers=2, fault=fault)
    assert "maze_plugins.py" in str(caught.value.__cause__)


def test_the_error_is_the_same_as_without_workers() -> None:
    with pytest.raises(EnvFaultError) as here:
        trained("ppo", fault="raise", run_dir=Path("here"))
    with pytest.raises(EnvFaultError) as there:
        trained("ppo", fault="raise", n_workers=3, run_dir=Path("there"))
    assert str(here.value) == str(there.value)


def test_an_env_that_raises_once_is_repeated_if_that_is_wanted(untroubled: dict[str, str], workdir: Path) -> None:
    once = str(workdir / "once")
    assert trained("ppo", n_workers=2, fault="raise", once=once, on_env_error="restart") == untroubled["ppo"]


def test_what_an_env_writes_keeps_nobody_waiting(
    untroubled: dict[str, str], workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    once = str(workdir / "once")
    assert trained("ppo", n_workers=2, fault="write_much", once=once, step_timeout=30.0) == untroubled["ppo"]
    assert len(capfd.readouterr().out) == 10**9


def test_an_episode_that_cannot_be_repeated_is_cut_off(workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with faulty("ppo", 2, fault="kill", once=str(workdir / "once"), drifts=True) as context:
        context.train()
    told = [record.message for record in caplog.records if "cut off" in record.message]
    assert told == ["4 episodes cannot be repeated by the new worker and are cut off: the run is not exact."]


def test_so_is_one_that_is_too_long_to_be_remembered(
    workdir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_env, "MAX_LOGGED_STEPS", 4)
    with faulty("ppo", 2, fault="kill", once=str(workdir / "once"), at=6) as context:
        summary = context.train()
    assert summary.final is not None  # nothing waits for the episodes that are gone
    assert [record.message for record in caplog.records if "cut off" in record.message] == [
        "4 episodes cannot be repeated by the new worker and are cut off: the run is not exact."
    ]


def test_failures_that_have_nothing_to_do_with_each_other_do_not_add_up() -> None:
    with faulty("ppo", 1, max_worker_restarts=1) as context:
        expected = context.evaluate(1)
        for _ in range(3):
            os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
            assert context.evaluate(1) == expected


def test_what_cannot_be_sent_is_told(workdir: Path) -> None:
    with pytest.raises(EnvFaultError, match=r"cannot be sent from its worker.*runner\.n_workers=0"):
        trained("ppo", n_workers=1, odd_infos=True)


def test_envs_in_workers_are_closed(workdir: Path) -> None:
    closed = workdir / "closed"
    closed.mkdir()
    trained("ppo", n_workers=2, closed=str(closed))
    assert len(list(closed.iterdir())) >= 8  # one for each env, and those of evaluations


def test_a_slow_constructor_is_waited_for() -> None:
    with faulty("es", 1, constructor_s=1.2, step_timeout=0.5) as context:
        assert context.evaluate(1)


def test_after_an_interrupt_workers_begin_anew(untroubled: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, where a cell is interrupted and the next one goes on."""
    with faulty("ppo", 2) as context:
        context.train(n_epochs=1)
        with monkeypatch.context() as patch:
            patch.setattr(WorkerPool, "_answers", interrupt)
            with pytest.raises(KeyboardInterrupt):
                context.evaluate(40)
        context.train(n_epochs=1)
        assert weights_hash(context) == untroubled["ppo"]


def interrupt(*_: object) -> None:
    """What Ctrl-C does while answers are waited for."""
    raise KeyboardInterrupt


def test_a_worker_that_always_ends_at_the_same_place_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    sentence = r"worker \d ended with exit code 7 in step 3 of env \d, episode seed \d+, at try 3 \(runner"
    with pytest.raises(WorkerFaultError, match=sentence):
        trained("ppo", n_workers=2, fault="hard_exit", max_worker_restarts=2)
