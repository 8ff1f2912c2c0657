"""A project whose evaluations are known beforehand: env `dial` pays its action, algorithm `scripted` sets it."""

from dataclasses import dataclass, field

from maze_core import CallbackSpec, EnvSpec, TrainerSpec, hookimpl


@dataclass(kw_only=True)
class DialConfig:
    """One step per episode; its reward is the action."""

    fail_in: str = ""
    """Where the env raises: constructor, reset or step; nan makes the reward NaN."""


@dataclass(kw_only=True)
class MaskedConfig:
    """Five steps per episode, three actions, some of them forbidden."""

    allowed: list[int] = field(default_factory=lambda: [1])
    """The actions that the mask allows."""


@dataclass(kw_only=True)
class ScriptedConfig:
    """Makes the policy's action that of a script."""

    script: list[float] = field(default_factory=lambda: [1.0])
    """The action after each update; the last one is repeated."""

    epoch_length: int = 1
    """Updates per epoch."""

    interrupt_at: int = 0
    """In this update the run is asked to end; 0 is never."""

    signals: list[str] = field(default_factory=lambda: ["SIGINT"])
    """How it is asked."""


@dataclass(kw_only=True)
class RecordConfig:
    """Keeps what callbacks are told, in `RECORDED`."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="dial", summary="Pays its action.", config=DialConfig, build=make_dial)
    yield EnvSpec(name="masked", summary="Forbids actions.", config=MaskedConfig, build=make_masked)


@hookimpl
def maze_trainers():
    yield TrainerSpec(name="scripted", summary="Follows a script.", config=ScriptedConfig, build=make_trainer)


@hookimpl
def maze_callbacks():
    yield CallbackSpec(name="record", summary="Keeps what it is told.", config=RecordConfig, build=make_recorder)


def make_dial(config):
    import gymnasium
    import numpy as np

    class Dial(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
        action_space = gymnasium.spaces.Box(-100.0, 100.0, (1,), np.float32)

        def __init__(self):
            self._fail("constructor")

        def reset(self, *, seed=None, options=None):
            self._fail("reset")
            return np.zeros(2, np.float32), {}

        def step(self, action):
            self._fail("step")
            reward = float("nan") if config.fail_in == "nan" else float(action[0])
            return np.zeros(2, np.float32), reward, True, False, {}

        def _fail(self, place):
            if config.fail_in == place:
                raise RuntimeError(f"no luck in {place}")

    return Dial()


def make_masked(config):
    import gymnasium
    import numpy as np

    class Masked(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict(
            position=gymnasium.spaces.Box(0.0, 5.0, (1,), np.float32), action_mask=gymnasium.spaces.MultiBinary(3)
        )
        action_space = gymnasium.spaces.Discrete(3)

        def reset(self, *, seed=None, options=None):
            self._steps = 0
            return self._observation(), {}

        def step(self, action):
            assert action in config.allowed, f"{action} is forbidden"
            self._steps += 1
            return self._observation(), float(action), self._steps == 5, False, {}

        def _observation(self):
            mask = np.isin(np.arange(3), config.allowed).astype(np.int8)
            return {"position": np.full(1, self._steps, np.float32), "action_mask": mask}

    return Masked()


def make_trainer(config, job):
    import signal

    import torch

    class Scripted:
        def __init__(self):
            self.policy, self.epoch_length = job.kernel.policy, config.epoch_length
            self.env_steps, self.updates, self.episodes = 0, 0, []

        def step(self):
            value = config.script[min(self.updates, len(config.script) - 1)]
            with torch.no_grad():
                *weights, bias = self.policy.parameters()
                for weight in weights:
                    weight.zero_()
                bias.fill_(value)
            self.updates += 1
            self.env_steps += 10
            if self.updates == config.interrupt_at:
                for name in config.signals:
                    signal.raise_signal(signal.Signals[name])
            return {"value": value}

        def state_dict(self):
            return {"env_steps": self.env_steps, "updates": self.updates}

        def load_state_dict(self, state):
            self.env_steps, self.updates = state["env_steps"], state["updates"]

    return Scripted()


def make_recorder(config):
    from maze_core import Callback

    class Recorder(Callback):
        def on_run_start(self, run):
            RECORDED.append(("run_start", run))

        def on_epoch_end(self, report):
            RECORDED.append(("epoch_end", report))

        def on_run_end(self, summary):
            RECORDED.append(("run_end", summary))

        def close(self):
            RECORDED.append(("close", None))

    return Recorder()


RECORDED = []
