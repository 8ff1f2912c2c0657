"""Running policies: those of runs, heuristics and random ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maze_core.api.rollout_request import Prepared, RolloutRequest, as_seeds, prepare
from maze_core.build import BuiltRollout, build_rollout
from maze_core.config.arguments import Choice, Overrides
from maze_core.console import Output, rollout_lines, rollout_table
from maze_core.enums import RenderForm
from maze_core.errors import UserError, checked_path, checked_texts
from maze_core.rl.trajectories import Trajectory, check_recordable
from maze_core.run_config import RolloutConfig
from maze_core.runs.filming import check_rendering
from maze_core.runs.rollout import Episode, episode_seeds, run_rollout
from maze_core.runs.rollout_files import RolloutFiles, row_of
from maze_core.runs.run_directory import RunDirectory, environment
from maze_core.runs.stored_run import ROLLOUT, is_run_directory
from maze_core.runs.threads import limited_threads
from maze_core.runs.watchdog import watching
from maze_core.terminal_film import play


@dataclass(frozen=True)
class RolloutResult:
    """What came out of a rollout.

    Args:
        statistics: Of all episodes, by path, such as ``BaseEnvEvents/reward/mean``.
        episodes: A row for each: episode, seed, return, env_steps, terminated, truncated, events.
        trajectories: Every step of each episode, if they were recorded.
        directory: Where files are; None if none were written.
        animations: Files among them that show episodes.
    """

    statistics: Mapping[str, float]
    episodes: Sequence[Mapping[str, Any]] = field(repr=False)
    trajectories: Sequence[Trajectory] = field(default=(), repr=False)
    directory: Path | None = None
    animations: Sequence[Path] = ()


def perform(prepared: Prepared, record: bool, save: bool, out: Output) -> RolloutResult:
    """Runs the episodes of a rollout.

    Args:
        prepared: What to run.
        record: Whether trajectories are kept in memory.
        save: Whether a directory with results is made.
        out: Where people see it.

    Raises:
        MazeError: If something cannot be built, an env fails, or the disk does not take the results.
    """
    config, kept = prepared.config, list[Episode]()
    with limited_threads(True), contextlib.closing(_built(prepared)) as built:
        seeds = episode_seeds(config, built.streams, prepared.stage)
        recorded = record or config.trajectories
        _check_shown(built, config, recorded)
        n_filmed = min(config.n_rendered, len(seeds)) if config.render is not None else 0
        with contextlib.nullcontext() if not save else _files(prepared, out) as files:
            for note in built.notes:
                out.line(note)

            def tell(episode: Episode) -> None:
                if files is not None:
                    files.add(episode)
                if episode.film is not None and config.render is RenderForm.terminal:
                    out.end_progress()
                    play(episode.film, Output(), f"episode {episode.number}")
                kept.append(_kept(episode, record))
                out.bar("episodes", len(kept), len(seeds))

            with watching(built.workspace.in_process, config.runner.step_timeout):
                statistics = run_rollout(built, seeds, recorded, n_filmed, tell)
            if files is not None:
                files.end(statistics)
    out.line("")
    out.line(rollout_table(statistics))
    for line in _result_lines(files, config):
        out.line(line)
    return RolloutResult(
        dict(statistics.values), [row_of(episode) for episode in kept],
        [episode.trajectory for episode in kept if episode.trajectory is not None],
        None if files is None else files.directory, [] if files is None else files.animations,
    )  # fmt: skip


def _check_shown(built: BuiltRollout, config: RolloutConfig, recorded: bool) -> None:
    """Checks that the env can be recorded and shown as asked, before there is a directory."""
    actors = built.workspace.actors
    if recorded:
        check_recordable(actors.observation_space, actors.action_space)
    if config.render is not None:
        check_rendering(built.workspace.factory, config.render)


def _result_lines(files: RolloutFiles | None, config: RolloutConfig) -> list[str]:
    return [] if files is None else rollout_lines(files.directory, config.trajectories, files.animations)


def _built(prepared: Prepared) -> BuiltRollout:
    return build_rollout(prepared.registry, prepared.configured, prepared.weights, prepared.source)


def _kept(episode: Episode, record: bool) -> Episode:
    """What stays in memory of an episode."""
    return Episode(
        episode.number, episode.seed, episode.episode_return, episode.env_steps, episode.terminated,
        episode.truncated, episode.events, episode.trajectory if record else None,
    )  # fmt: skip


@contextlib.contextmanager
def _files(prepared: Prepared, out: Output) -> Iterator[RolloutFiles]:
    """The directory of a rollout; whatever happens, its table is written in the end."""
    files = _new_files(prepared)
    try:
        yield files
    except BaseException:
        files.close()
        out.end_progress()
        for line in _result_lines(files, prepared.config) if files.n_episodes else []:
            out.line(line)
        raise
    files.close()


def _new_files(prepared: Prepared) -> RolloutFiles:
    """Makes the directory, and writes into it what the rollout is."""
    config, choices = prepared.config, prepared.configured.choices
    is_run = config.run_dir is not None and is_run_directory(Path(config.run_dir).expanduser())
    advice = "\nTo run the policy of that run: --run {}" if is_run else ""
    directory = RunDirectory.create(config.run_dir, f"{choices['env']}-{choices['policy']}-rollout", advice)
    prepared.configured.set("run_dir", str(directory.path))
    directory.write_text(ROLLOUT, prepared.configured.to_yaml())
    directory.write_text("command.txt", prepared.command + "\n")
    versions = {plugin.name: plugin.version for plugin in prepared.registry.plugins if not plugin.error}
    assert config.seed is not None
    directory.write_text("environment.json", environment(versions, config.seed))
    return RolloutFiles(directory, config.trajectories, config.render)


def rollout(
    *,
    env: Choice = None,
    wrappers: Choice = None,
    policy: Choice = None,
    model: Choice = None,
    critic: Choice = None,
    algorithm: Choice = None,
    runner: Choice = None,
    experiment: str | None = None,
    overrides: Overrides = (),
    config_name: str = "conf_rollout",
    config_dir: str | Path | None = None,
    seed: int | None = None,
    run_dir: str | Path | None = None,
    input_dir: str | Path | None = None,
    n_episodes: int | None = None,
    episode_seeds: Sequence[int] | None = None,
    max_env_steps: int | None = None,
    trajectories: bool | None = None,
    render: str | None = None,
    n_rendered: int | None = None,
    plugins: Sequence[str] | str = (),
    local_plugins: bool = True,
    variables: Sequence[str] | str = (),
    record: bool = True,
    save: bool = True,
    silent: bool = False,
) -> RolloutResult:
    """Runs a policy, as ``maze rollout`` does.

    ```python
    result = rollout(input_dir="outputs/my_run", n_episodes=100)
    result.statistics["BaseEnvEvents/reward/mean"]
    ```

    Args:
        env: The environment; that of the run, if one is named. Components are given as to `RunContext`.
        wrappers: Env wrappers, the first innermost.
        policy: Who acts: ``random``, a heuristic, or the policy that the run trained.
        model: The network of a trained policy.
        critic: As in the run.
        algorithm: As in the run.
        runner: Where episodes execute.
        experiment: A named complete rollout.
        overrides: As for `RunContext`.
        config_name: Root configuration.
        config_dir: Directory with configuration files of your own.
        seed: Root seed; drawn if not given.
        run_dir: Directory of the results; a new one below outputs/ if not given.
        input_dir: Directory of a run, whose env, wrappers and best policy are used.
        n_episodes: How many episodes; 10 if not given.
        episode_seeds: Their seeds; from the root seed if not given.
        max_env_steps: After how many env steps an episode is truncated.
        trajectories: Whether every step is saved.
        render: ``gif``, ``webp``, ``mp4`` or ``terminal``.
        n_rendered: How many episodes are shown, from the first on.
        plugins: As for `RunContext`.
        local_plugins: As for `RunContext`.
        variables: Names of environment variables that the run's configuration may use.
        record: Whether the result has the trajectories.
        save: Whether files are written.
        silent: Prints nothing.

    Raises:
        UserError: If something is unknown or contradictory.
        NothingUsableError: If the run has no policy that can be used.
        EnvFaultError: If an env fails.
    """
    groups = {
        "experiment": experiment, "env": env, "wrappers": wrappers, "policy": policy, "model": model,
        "critic": critic, "algorithm": algorithm, "runner": runner,
    }  # fmt: skip
    for name, path in (("run_dir", run_dir), ("input_dir", input_dir), ("config_dir", config_dir)):
        checked_path(name, path)
    fields = {
        "seed": seed, "run_dir": run_dir, "input_dir": input_dir, "n_episodes": n_episodes,
        "episode_seeds": as_seeds(episode_seeds), "max_env_steps": max_env_steps, "trajectories": trajectories,
        "render": render, "n_rendered": n_rendered,
    }  # fmt: skip
    request = RolloutRequest(
        groups, fields, overrides, config_name, () if config_dir is None else (Path(config_dir),),
        checked_texts("plugins", plugins), local_plugins, checked_texts("variables", variables),
    )  # fmt: skip
    prepared = prepare(request)
    _check_saved(prepared, save)
    return perform(prepared, record, save, Output(terminal=not silent))


def _check_saved(prepared: Prepared, save: bool) -> None:
    config = prepared.config
    wants = config.trajectories or config.render not in (None, RenderForm.terminal) or config.run_dir is not None
    if wants and not save:
        raise UserError("save=False writes nothing, and run_dir, trajectories or render ask for files. Leave out one.")
