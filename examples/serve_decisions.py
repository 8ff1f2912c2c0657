"""Serves the decisions of an exported policy to a simulation that runs elsewhere: JSON in, JSON out, a line each.

    maze export RUN_DIR --to policy.safetensors
    python examples/serve_decisions.py policy.safetensors

Whoever runs the simulation, in whatever language, writes lines such as

    {"episode": 7, "observation": [0.0, 0.1, 0.02, -0.1]}
    {"episode": 7, "actor": "cut_piece", "observation": {"selected_piece": [20, 10], ...}}
    {"episode": 7, "end": true}

and reads an answer to each: ``{"episode": 7, "action": 1}``, ``{"episode": 7, "ended": true}`` or
``{"episode": 7, "error": "..."}``. ``actor`` says whose own observation it is; without it, a structured env sends its
whole observation. With ``"deterministic": false`` actions are drawn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from maze_core import ExportedPolicy, MazeError, UserError, load_policy

KEYS = {"episode", "observation", "actor", "deterministic", "end"}


class Decider:
    """Answers requests, and keeps account of which episodes are over.

    Args:
        policy: Who decides.
    """

    def __init__(self, policy: ExportedPolicy) -> None:
        self._policy = policy
        self._finished: set[Any] = set()

    def answer(self, line: str) -> dict[str, Any]:
        """The answer to one line."""
        episode = None
        try:
            request = _parsed(line)
            episode = request.get("episode")
            return {"episode": episode, **self._decided(episode, request)}
        except MazeError as error:
            return {"episode": episode, "error": str(error)}

    def _decided(self, episode: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        if episode in self._finished:
            raise UserError(f"episode {episode!r} is finished; begin another one under a new name.")
        if request.get("end"):
            self._finished.add(episode)
            return {"ended": True}
        if "observation" not in request:
            raise UserError("a request needs an observation, or end: true.")
        action = self._policy.compute_action(
            request["observation"],
            actor=request.get("actor"),
            deterministic=bool(request.get("deterministic", True)),
        )
        return {"action": _plain(action)}


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"a request is one line of JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("episode"), (str, int)) or set(request) - KEYS:
        raise UserError(
            f"a request is an object with an episode, a text or number, and any of {', '.join(sorted(KEYS))}."
        )
    return request


def _plain(action: Any) -> Any:
    """An action as JSON values."""
    if isinstance(action, Mapping):
        return {key: _plain(value) for key, value in action.items()}
    if isinstance(action, (tuple, list)):
        return [_plain(value) for value in action]
    return np.asarray(action).tolist()


def serve(policy: ExportedPolicy, requests: TextIO, answers: TextIO) -> None:
    """Answers every line until there are no more."""
    decider = Decider(policy)
    for line in requests:
        if line.strip():
            answers.write(json.dumps(decider.answer(line)) + "\n")
            answers.flush()  # somebody waits for it


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/serve_decisions.py POLICY_FILE")
    try:
        serve(load_policy(sys.argv[1]), sys.stdin, sys.stdout)
    except MazeError as error:
        sys.exit(f"serve_decisions: {error}")
