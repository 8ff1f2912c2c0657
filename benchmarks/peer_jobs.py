"""From a configuration of Maze to the same job for stable-baselines3, so that the two cannot differ.

The job is what `peers/sb3.py` reads. What has no counterpart there is refused, never left out.
"""

import hashlib
import json
from typing import Any

import yaml
from common import BENCH_PYTHON, HERE

Parameters = dict[str, Any]

SB3_COMMAND = [str(BENCH_PYTHON), str(HERE / "peers" / "sb3.py")]
SECTIONS = ("components", "env", "wrappers", "model", "critic", "algorithm")
WITHOUT_COUNTERPART = {
    "critic_burn_in_epochs": 0,
    "box_distribution": "gaussian",
    "entropy_coef_schedule": "constant",
}
"""Fields that stable-baselines3 does not have, and the value at which they do nothing."""


def hyper_parameters(config_yaml: str) -> Parameters:
    """Return all of a composed configuration that decides what is learned.

    Args:
        config_yaml: `RunContext.config`.
    """
    config = yaml.safe_load(config_yaml)
    chosen: Parameters = {name: config[name] for name in SECTIONS if config.get(name)}
    chosen["components"] = {name: of for name, of in chosen["components"].items() if name.split(".")[0] in SECTIONS}
    return chosen | {"budget": {name: config["runner"][name] for name in ("n_epochs", "total_env_steps")}}


def digest(parameters: Parameters) -> str:
    """Return a short hash of hyper-parameters."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:10]


def peer_job(parameters: Parameters) -> Parameters:
    """Translate a composed configuration to a job of `peers/sb3.py`, all but its seed.

    Args:
        parameters: What `hyper_parameters` returned.

    Raises:
        ValueError: If something in it has no counterpart there.
    """
    _check_components(parameters)
    algorithm = {name: value for name, value in parameters["algorithm"].items() if name != "epoch_length"}
    for name, neutral in WITHOUT_COUNTERPART.items():
        if (value := algorithm.pop(name, neutral)) != neutral:
            raise ValueError(f"no counterpart: algorithm.{name}={value}")
    return {
        "algorithm": parameters["components"]["algorithm"],
        "env": parameters["env"]["name"],
        "total_env_steps": parameters["budget"]["total_env_steps"],
        "algorithm_config": algorithm,
        "hidden_sizes": parameters["model"]["hidden_sizes"],
        "activation": parameters["model"]["activation"],
        "normalize": _normalization(dict(parameters.get("wrappers", {}))),
    }


def _check_components(parameters: Parameters) -> None:
    """The peer has plain envs, one kind of network, and a critic with a network of its own."""
    components = parameters["components"]
    for group, allowed in (("env", "gym_env"), ("model", "flatten_concat"), ("critic", "shared")):
        if components.get(group, allowed) != allowed:
            raise ValueError(f"no counterpart: {group}={components[group]}")
    if parameters["env"]["kwargs"] or (parameters.get("critic") or {}).get("model"):
        raise ValueError(f"no counterpart: {parameters['env']}, critic: {parameters.get('critic')}")


def _normalization(wrappers: Parameters) -> Parameters | None:
    """Return `Job.normalize` for the wrappers' options, or None without wrappers."""
    rewards, observations = wrappers.pop("return_normalization", None), wrappers.pop("observation_normalization", None)
    if wrappers:
        raise ValueError(f"no counterpart: wrappers {wrappers}")
    if observations and (observations["statistics"], observations["method"]) != ("running", "mean_std"):
        raise ValueError(f"no counterpart: observation_normalization {observations}")
    if rewards is None and observations is None:
        return None
    return {
        "observations": observations is not None,
        "rewards": rewards is not None,
        "gamma": rewards["gamma"] if rewards else 0.99,
        "clip_observations": _limit(observations),
        "clip_rewards": _limit(rewards),
    }


def _limit(wrapper: Parameters | None) -> float:
    clip = (wrapper or {}).get("clip")
    return float("inf") if clip is None else float(clip)
