"""EvoTorch on CartPole-v1, the way its documentation solves it: `GymNE` and PGPE with ClipUp.

Speeds, radius and observation normalisation are those of EvoTorch's own CartPole-v1 example
(docs.evotorch.ai, "Solving reinforcement learning tasks using functional evolutionary algorithms");
population and network are those of the other contenders. Prints one JSON line.
"""

import argparse
import json
import os
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import torch
from evotorch.algorithms import PGPE
from evotorch.neuroevolution import GymNE

NETWORK = "Linear(obs_length, 64) >> Tanh() >> Linear(64, 64) >> Tanh() >> Linear(64, act_length)"
POPULATION = 200
MAX_SPEED = 0.15
SOLVED_RETURN = 475.0
N_EVALUATION_EPISODES = 20


def make_problem(n_actors: int, observation_normalization: bool) -> GymNE:
    """Build the problem and start its actors, so that their start is not part of the time.

    Args:
        n_actors: Ray actors that evaluate the population; 0 evaluates in this process.
        observation_normalization: Whether EvoTorch normalises observations by running statistics.
    """
    problem = GymNE(
        "CartPole-v1",
        NETWORK,
        observation_normalization=observation_normalization,
        num_actors=n_actors,
    )
    problem.evaluate(problem.generate_batch(max(2, n_actors)))
    return problem


def make_searcher(problem: GymNE) -> PGPE:
    """Build PGPE with the settings of EvoTorch's CartPole-v1 example."""
    return PGPE(
        problem,
        popsize=POPULATION,
        center_init=problem.make_zeros(num_solutions=1)[0],
        radius_init=15 * MAX_SPEED,
        center_learning_rate=0.75 * MAX_SPEED,
        stdev_learning_rate=0.1,
        stdev_max_change=0.2,
        ranking_method="centered",
        optimizer="clipup",
        optimizer_config={"max_speed": MAX_SPEED},
    )


def evaluate_centre(problem: GymNE, centre: torch.Tensor) -> float:
    """Return the mean return of the centre over 20 greedy episodes; no statistics are touched."""
    return float(problem.run(centre, num_episodes=N_EVALUATION_EPISODES)["cumulative_reward"])


def train(problem: GymNE, time_limit_s: float) -> dict[str, float | bool]:
    """Train until the centre solves CartPole-v1 or the time is up.

    Args:
        problem: The problem, its actors running.
        time_limit_s: Seconds of training after which the run gives up; evaluation is not counted.

    Returns:
        The figures of the run; times in seconds.
    """
    searcher = make_searcher(problem)
    steps_before = problem.interaction_count
    generations, train_s, solved = 0, 0.0, False
    while not solved and train_s < time_limit_s:
        start = time.perf_counter()
        searcher.step()
        train_s += time.perf_counter() - start
        generations += 1
        solved = evaluate_centre(problem, searcher.status["center"]) >= SOLVED_RETURN
    return {
        "env_steps": problem.interaction_count - steps_before,
        "evaluations": generations * POPULATION,
        "train_s": train_s,
        "solved": solved,
        "generations": generations,
    }


def main() -> None:
    """Read the arguments, train, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the search; EvoTorch does not seed its envs")
    parser.add_argument("--time-limit", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--raw-observations", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    problem = make_problem(arguments.actors, not arguments.raw_observations)
    figures = train(problem, arguments.time_limit)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
