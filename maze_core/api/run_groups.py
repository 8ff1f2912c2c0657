"""Which runs belong together: those that differ in nothing but their seed, and what to say where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maze_core.api.compared_runs import ComparedRun, Settings, value_text, within
from maze_core.errors import UserError, did_you_mean, one_line
from maze_core.registry import GROUPS

ABSENT = "not set"
MAX_KEYS, MAX_REPEATS = 8, 3


@dataclass(frozen=True)
class RunGroup:
    """Runs of one group in one env.

    Args:
        label: What they have in common, in words.
        values: Their setting of each key that runs are grouped by.
        task: The env, in words.
        runs: Each of another seed, if nothing was pooled.
    """

    label: str
    values: Mapping[str, str]
    task: str
    runs: Sequence[ComparedRun]


def grouped(runs: Sequence[ComparedRun], by: Sequence[str]) -> tuple[tuple[str, ...], list[RunGroup], list[str]]:
    """Puts runs into groups.

    Args:
        runs: At least one.
        by: Keys of settings; none takes what the runs differ in.

    Returns:
        The keys, the groups, task by task, and what is to be warned of.

    Raises:
        UserError: If a key is that of no run, or runs differ in several and none was named.
    """
    keys = _checked_keys(runs, by) if by else _differing_key(runs)
    tasks = _task_labels(runs, keys)
    members: dict[tuple[str, str], list[ComparedRun]] = {}
    for run, task in zip(runs, tasks, strict=True):
        members.setdefault((task, _label(run.settings, keys)), []).append(run)
    groups, warnings = [], list[str]()
    for (task, label), own in sorted(members.items(), key=lambda item: tasks.index(item[0][0])):
        kept, repeated = _without_repeats(label, own)
        values = {key: _text(own[0].settings, key) for key in keys}
        groups.append(RunGroup(label, values, task, kept))
        warnings += [*repeated, *_pooled(label, kept, keys)]
    return keys, groups, [*warnings, *_confounded(groups, keys)]


def _checked_keys(runs: Sequence[ComparedRun], by: Sequence[str]) -> tuple[str, ...]:
    known = dict.fromkeys(key for run in runs for key in run.settings)
    for key in by:
        if key not in known:
            inside = [other for other in known if other.startswith(f"{key}.")]
            names = [one_line(name, 80) for name in inside or known if inside or "." not in name]
            raise UserError(
                f"no run has the setting {key!r} to be grouped by.{did_you_mean(key, known)}\n"
                f"Known: {', '.join(names[:30])}{'' if inside else ', and keys such as algorithm.lr'}."
            )
    return tuple(dict.fromkeys(by))


def _differing_key(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """What the runs differ in, beside seed and env; the algorithm if that is nothing.

    Options of what was chosen for a group, and choices that only some runs have, follow from another difference.
    """
    found = {key: texts for key, texts in differing([run.settings for run in runs]).items() if not within(key, ["env"])}
    chosen = [key for key in found if key in GROUPS]
    keys = [key for key in found if key in chosen or not within(key, chosen)]
    keys = [key for key in keys if len([text for text in found[key] if text != ABSENT]) > 1] or keys
    if len(keys) > 1:
        shown = "; ".join(f"{key} ({', '.join(found[key][:4])})" for key in keys[:MAX_KEYS])
        raise UserError(
            f"the runs differ in {len(keys)} settings: {shown}{'; ...' if len(keys) > MAX_KEYS else ''}.\n"
            f"Say which of them make a group, such as --by {keys[0]}, or --by {keys[0]} --by {keys[1]}."
        )
    return (keys[0],) if keys else ("algorithm",)


def differing(settings: Sequence[Settings]) -> dict[str, list[str]]:
    """Keys in which some settings differ, with the values that there are."""
    keys = dict.fromkeys(key for one in settings for key in one)
    values = {key: list(dict.fromkeys(_text(one, key) for one in settings)) for key in keys}
    return {one_line(key, 80): texts for key, texts in values.items() if len(texts) > 1}


def _text(settings: Settings, key: str) -> str:
    return value_text(settings[key]) if key in settings else ABSENT


def _label(settings: Settings, keys: Sequence[str]) -> str:
    """What a group is called: names of what was chosen, and settings with the last part of their key."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    short = [part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)]
    parts = [
        _text(settings, key) if key in GROUPS and key in settings else f"{one_line(name, 40)}={_text(settings, key)}"
        for key, name in zip(keys, short, strict=True)
    ]
    return ", ".join(parts)


def _task_labels(runs: Sequence[ComparedRun], keys: Sequence[str]) -> list[str]:
    """The env of each run in words; envs with other settings are other tasks, but for what runs are grouped by."""
    envs = [
        {key: value for key, value in run.settings.items() if within(key, ["env"]) and key not in keys} for run in runs
    ]
    names = [value_text(env.get("env.name", env.get("env", "all envs"))) for env in envs]
    alike: dict[str, list[Settings]] = {}
    for env, name in zip(envs, names, strict=True):
        alike.setdefault(name, []).append(env)
    shown = {name: list(differing(of_name)) for name, of_name in alike.items()}
    labels = []
    for env, name in zip(envs, names, strict=True):
        parts = [f"{key.removeprefix('env.')}={_text(env, key)}" for key in shown[name]]
        labels.append(f"{name} ({', '.join(parts)})" if parts else name)
    return labels


def _without_repeats(label: str, runs: Sequence[ComparedRun]) -> tuple[list[ComparedRun], list[str]]:
    """Runs of which none is there twice, and what is said of those that are."""
    kept: dict[tuple[int, str], ComparedRun] = {}
    said = []
    for run in runs:
        first = kept.setdefault((run.seed, repr(sorted(run.settings.items()))), run)
        if first is not run:
            other = "" if first.score == run.score else f", although it scored {run.score:g} and not {first.score:g}"
            said.append(f"{run.path} is {first.path} once more, with seed {run.seed} and the same settings{other}")
    if not said:
        return list(runs), []
    more = f"; and {len(said) - MAX_REPEATS} more" if len(said) > MAX_REPEATS else ""
    return list(kept.values()), [f"{label}: left out, since {'; '.join(said[:MAX_REPEATS])}{more}."]


def _pooled(label: str, runs: Sequence[ComparedRun], keys: Sequence[str]) -> list[str]:
    found = {key: texts for key, texts in differing([run.settings for run in runs]).items() if key not in keys}
    if not found:
        return []
    shown = "; ".join(f"{key} ({', '.join(texts[:4])})" for key, texts in list(found.items())[:MAX_KEYS])
    return [f"{label} is a mixture: its runs differ in {shown}. To tell them apart, add --by {next(iter(found))}."]


def _confounded(groups: Sequence[RunGroup], keys: Sequence[str]) -> list[str]:
    """What groups differ in beside what they are told apart by."""
    chosen = [key for key in keys if key in GROUPS]
    texts: dict[str, dict[str, dict[str, None]]] = {}
    for group in groups:
        for run in group.runs:
            for key in run.settings:
                if key not in keys and not within(key, [*chosen, "env"]):
                    values = texts.setdefault(one_line(key, 80), {}).setdefault(group.label, {})
                    values[_text(run.settings, key)] = None
    found = {key: by_group for key, by_group in texts.items() if len({frozenset(v) for v in by_group.values()}) > 1}
    chosen = [key for key in found if key in GROUPS]
    found = {key: by_group for key, by_group in found.items() if key in chosen or not within(key, chosen)}
    if not found:
        return []
    shown = []
    for key, by_group in list(found.items())[:MAX_KEYS]:
        parts = [f"{label}: {', '.join(list(values)[:3])}" for label, values in list(by_group.items())[:4]]
        shown.append(f"{key} ({'; '.join(parts)})")
    return [f"the groups differ in more than {' and '.join(keys)}: {'; '.join(shown)}. Either can be the cause."]
