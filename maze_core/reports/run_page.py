"""The page of one run, or of several side by side."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from maze_core.errors import one_line
from maze_core.field_docs import as_text
from maze_core.progress_view import duration
from maze_core.registry import LIVE
from maze_core.reports import page as blocks
from maze_core.reports.clip import MEDIA_TYPE
from maze_core.reports.curves_of_runs import curve_sections
from maze_core.reports.markup import Html, element, joined
from maze_core.reports.page import Section, Tile, text_of
from maze_core.reports.record import RunRecord, mean_return
from maze_core.reports.repeated import safe_overrides
from maze_core.runs.metrics import MetricRow
from maze_core.stats import REWARD

MAX_DIFFERENCES, MAX_VALUE, MAX_REFUSED = 200, 300, 10


def page_of(records: Sequence[RunRecord], words: Sequence[str] = ()) -> bytes:
    """The page of one run or of several.

    Args:
        records: The runs.
        words: Options that each command on it needs, such as ``--plugin``; those with ``--env`` are the last.
    """
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    footer = f"Written by maze report (maze-core {_version()}) on {made}. It needs no network and sends nothing."
    if len(records) == 1:
        (record,) = records
        header = element("p", blocks.status(record.condition.status), " ", record.stored.shown)
        return blocks.page(record.title, sections_of(record, words), header, footer)
    titles = list(dict.fromkeys(record.title for record in records))
    title = f"{len(records)} runs: {'; '.join(titles[:3])}{' …' if len(titles) > 3 else ''}"
    return blocks.page(title, sections_of_several(records, words), footer=footer)


def _version() -> str:
    try:
        return metadata.version("maze-core")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def sections_of(record: RunRecord, words: Sequence[str]) -> list[Section]:
    """The parts of the page of one run."""
    return [
        Section("Summary", joined(_problems(record), blocks.tiles(_tiles(record)), blocks.facts(_facts(record)))),
        *curve_sections([record]),
        Section("Networks", _networks(record)),
        Section("Episode", _episode(record)),
        Section("Configuration", _configuration(record)),
        Section("Environment", _environment(record)),
        Section("Commands", _commands(record, words)),
    ]


def sections_of_several(records: Sequence[RunRecord], words: Sequence[str]) -> list[Section]:
    """The parts of the page of several runs."""
    return [
        Section("Summary", joined(*map(_named_problems, records), _summary_table(records))),
        *curve_sections(records),
        Section("Differences", _between(records)),
        Section("Runs", joined(*(_details(record, number, words) for number, record in enumerate(records, 1)))),
    ]


def _details(record: RunRecord, number: int, words: Sequence[str]) -> Html:
    parts = [
        ("Summary", blocks.facts(_facts(record))), ("Networks", _networks(record)), ("Episode", _episode(record)),
        ("Configuration", _configuration(record)), ("Environment", _environment(record)),
        ("Commands", _commands(record, words)),
    ]  # fmt: skip
    content = joined(*(joined(blocks.heading(title), part) for title, part in parts))
    return blocks.collapsible(f"{record.name}: {record.title}", content, anchor=f"run-{number}", kind="run")


def _problems(record: RunRecord) -> Html:
    """What is damaged, and what is not there yet."""
    found = [*record.condition.problems, *record.problems]
    notices = []
    if found:
        what = "This run is damaged." if record.condition.status == "damaged" else "Some of this run cannot be used."
        items = element("ul", *(element("li", text) for text in dict.fromkeys(found)))
        notices.append(blocks.notice(element("strong", what), items))
    if record.condition.status == "running":
        who = f", by {record.condition.holder}" if record.condition.holder is not None else ""
        notices.append(blocks.notice(f"The run was going on when this page was made{who}.", kind="note"))
    left_out = record.statistics.not_finite()
    if left_out:
        names = ", ".join(f"{path} ({count:,})" for path, count in list(left_out.items())[:5])
        more = f" and {len(left_out) - 5:,} more statistics" if len(left_out) > 5 else ""
        text = f"Values that are not finite, or too large to be drawn, are left out of the curves: {names}{more}."
        notices.append(blocks.notice(text))
    return joined(*notices)


def _named_problems(record: RunRecord) -> Html:
    problems = _problems(record)
    return joined(blocks.heading(record.name), problems) if problems else problems


def _tiles(record: RunRecord) -> list[Tile]:
    final, best, latest = record.final, record.best, record.latest
    tiles = [
        Tile("Final evaluation", _mean(final), _spread(final) or "there was none yet"),
        Tile("Best evaluation", _mean(best), f"epoch {best.epoch}, {_spread(best)}" if best else "there was none yet"),
    ]
    if latest is not None:
        seconds = latest.time.get("train_s", 0.0)
        speed = f"{latest.env_steps / seconds:,.0f} env steps/s" if seconds > 0 else ""
        counts = f"{_count(latest.update, 'update')} in {_count(latest.epoch + 1, 'epoch')}"
        tiles += [
            Tile("Env steps", f"{latest.env_steps:,}", counts),
            Tile("Training time", duration(seconds, exact=True), speed),
        ]
    return tiles


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _mean(row: MetricRow | None) -> str:
    return "–" if row is None or f"{REWARD}mean" not in row.values else text_of(mean_return(row))


def _spread(row: MetricRow | None) -> str:
    """How far its episodes differ, and how many they are."""
    if row is None:
        return ""
    std, count = (row.values.get(f"{REWARD}{name}") for name in ("std", "episode_count"))
    episodes = "" if count is None else f" of {count:,.0f} episode{'' if count == 1 else 's'}"
    return f"± {text_of(std)} (std){episodes}" if std is not None else episodes.strip()


def _facts(record: RunRecord) -> list[tuple[str, object]]:
    condition, latest = record.condition, record.latest
    facts: list[tuple[str, object]] = [
        ("Status", blocks.status(condition.status)),
        ("Ended", condition.summary["stop_reason"] or "it did not end by itself yet"),
        ("Env", record.component("env")),
        ("Wrappers", record.listed("wrappers")),
        ("Algorithm", record.component("algorithm")),
        ("Model", record.component("model")),
        ("Critic", record.component("critic")),
        ("Runner", record.component("runner")),
        ("Seed", str((record.config or {}).get("seed", record.environment.get("seed", "–")))),
        ("Began", str(record.environment.get("created", "–"))),
    ]
    if latest is not None and "wall_s" in latest.time:
        evaluation = latest.time.get("evaluation_s", 0.0)
        whole, part = (duration(seconds, exact=True) for seconds in (latest.time["wall_s"], evaluation))
        facts.append(("Took", f"{whole}, of which {part} for evaluations"))
    return [*facts, ("Directory", element("code", record.stored.shown))]


def _summary_table(records: Sequence[RunRecord]) -> Html:
    columns = ("run", "status", "final evaluation", "std", "best evaluation", "epochs", "env steps", "training time")
    rows = [
        [
            element("a", record.name, href=f"#run-{number}"), blocks.status(record.condition.status),
            _mean(record.final),
            text_of(record.final.values.get(f"{REWARD}std")) if record.final else "–", _mean(record.best),
            text_of(None if record.latest is None else record.latest.epoch + 1),
            text_of(None if record.latest is None else record.latest.env_steps),
            "–" if record.latest is None else duration(record.latest.time.get("train_s", 0.0), exact=True),
        ]
        for number, record in enumerate(records, 1)
    ]  # fmt: skip
    return blocks.table(columns, rows, "Mean returns of the runs, with the spread over episodes", range(2, 8))


def _between(records: Sequence[RunRecord]) -> Html:
    """Keys of the configurations whose values are not the same in all runs."""
    flat = [dict(_flat(record.config or {})) for record in records]
    keys = dict.fromkeys(key for values in flat for key in values)
    differing = [
        key for key in keys if len({as_text(values.get(key, "–")) for values in flat}) > 1 and key != "run_dir"
    ]
    if not differing:
        return blocks.paragraph("All runs have the same configuration.")
    common = [key for key in differing if all(key in values for values in flat)]
    others = [key for key in differing if key not in common]
    names = [record.name for record in records]
    hidden = _table_of_keys(others, names, flat, "Options that only some of the runs have")
    return joined(
        _table_of_keys(common, names, flat, "Where the configurations differ") if common else "",
        blocks.collapsible(f"{_count(len(others), 'option')} that only some of the runs have", hidden)
        if others
        else "",
    )


def _table_of_keys(keys: Sequence[str], names: Sequence[str], flat: Sequence[Mapping[str, Any]], caption: str) -> Html:
    rows = [
        [element("code", key), *(_value(values[key]) if key in values else "–" for values in flat)]
        for key in keys[:MAX_DIFFERENCES]
    ]
    more = len(keys) - len(rows)
    shown = blocks.table(("key", *names), rows, caption)
    return joined(shown, blocks.paragraph(f"{more:,} more differ.") if more > 0 else "")


def _flat(data: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in data.items():
        inner = f"{path}.{key}" if path else str(key)
        found += _flat(value, inner) if isinstance(value, dict) and value else [(inner, value)]
    return found


def _value(value: Any) -> Html:
    text = as_text(value)
    return element("code", text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]} ...")


def _networks(record: RunRecord) -> Html:
    if not record.networks:
        return blocks.paragraph("The run directory has no pictures of its networks.")
    pictures = [
        blocks.picture(svg, "image/svg+xml", f"Network {name}: its layers, shapes and numbers of parameters", name)
        for name, svg in record.networks
    ]
    return element("div", *pictures, class_="pictures")


def _episode(record: RunRecord) -> Html:
    clip = record.clip
    if clip is None:
        return blocks.paragraph(record.no_clip or "No animation was asked for.")
    shown = f"return {text_of(clip.episode_return)}" if clip.complete else "only its beginning is shown"
    caption = (
        f"The best policy in an episode of the final evaluation (seed {clip.seed}): {shown}, {clip.seconds:.1f} s at "
        "the speed of the env."
    )
    return blocks.film(clip.still, clip.moving, MEDIA_TYPE, "The policy acting in its env", clip.size, caption)


def _configuration(record: RunRecord) -> Html:
    if record.differences is None:
        known = blocks.notice(f"What differs from the defaults cannot be known. {record.no_differences}", kind="note")
    elif not record.differences:
        known = blocks.paragraph("Every option has its default.")
    else:
        rows = [[element("code", key), _value(default), _value(value)] for key, default, value in record.differences][
            :MAX_DIFFERENCES
        ]
        known = blocks.table(("option", "default", "this run"), rows, "What differs from the defaults")
    whole = blocks.code(record.config_text, "config.yaml") if record.config_text else blocks.paragraph("It has none.")
    return joined(known, blocks.collapsible("The whole configuration", whole))


def _environment(record: RunRecord) -> Html:
    found, versions = record.environment, list[list[object]]()
    for kind in ("packages", "plugins"):
        listed = found.get(kind)
        entries = listed.items() if isinstance(listed, dict) else ()
        versions += [[str(name), kind[:-1], text_of(version)] for name, version in list(entries)[:100]]
    facts: list[tuple[str, object]] = [
        ("Made", str(found.get("created", "–"))),
        ("Git revision", str(found.get("git_revision") or "none: not in a repository, or not known")),
        ("Seed", str(found.get("seed", "–"))),
        ("Configuration", element("code", record.hash)),
        ("Python", str(found.get("python", "–"))),
        ("Platform", str(found.get("platform", "–"))),
        ("Processor", f"{found.get('processor', '–')}, {found.get('cpu_count', '–')} CPUs"),
        ("Threads of torch", str(found.get("torch_threads", "–"))),
        ("CUDA", str(found.get("cuda") or "none")),
    ]
    label = "Started with, and taken up with, as recorded in the run"
    command = blocks.code(record.command, label, command=True, copied=False) if record.command else ""
    table = blocks.table(("name", "kind", "version"), versions, "Versions") if versions else ""
    return joined(blocks.facts(facts), command, table)


def _commands(record: RunRecord, words: Sequence[str]) -> Html:
    """What can be typed next; a path is as it was given, so they work where this page was made."""
    path = record.stored.shown
    rollout = ["rollout", "--run", path, *words]
    seed = [] if record.clip is None else [f"episode_seeds=[{record.clip.seed}]"]
    entries = [
        ("Go on with it; longer with a higher limit, such as runner.n_epochs=200", ["resume", path, *words]),
        ("Run its best policy in 100 episodes", [*rollout, "n_episodes=100"]),
        ("See an episode" if record.clip is None else "See the episode above", [*rollout, *seed, "render=gif"]),
        ("Train it again, and compare every number", ["reproduce", path, *words]),
        ("See its curves in TensorBoard", ["board", path]),
        ("Write its policy for use elsewhere", ["export", path, *words]),
    ]
    left_out = Html("")
    if not any(str(name).startswith(LIVE) for name in record.components.values()):
        kept, refused = safe_overrides(record.overrides)
        left_out = _left_out(refused)
        own = words[: list(words).index("--env")] if "--env" in words else words  # training may read all variables
        again = ["train", *own, *kept]
        entries.insert(1, ("Start another run from its weights", [*again, f"input_dir={as_text(path)}"]))
    lead = blocks.paragraph("They are meant for the folder in which this page was made.")
    commands = [blocks.code(shlex.join(["maze", *command]), label, command=True) for label, command in entries]
    return joined(lead, *commands, left_out)


def _left_out(refused: Sequence[str]) -> Html:
    """Says what is not in the command that starts another run."""
    if not refused:
        return Html("")
    why = "Left out of the command that starts another run, because it may name code to be run, or is no override:"
    items = [element("li", element("code", one_line(text, MAX_VALUE))) for text in refused[:MAX_REFUSED]]
    more = [element("li", f"and {len(refused) - MAX_REFUSED:,} more")] if len(refused) > MAX_REFUSED else []
    return blocks.notice(why, element("ul", *items, *more), kind="note")
