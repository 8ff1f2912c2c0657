"""Randomness by name and counter."""

import itertools

import pytest

from maze_core.rl.streams import MAX_SEED, Streams, draw_root_seed


def numbers(root, name, *counters):
    return tuple(Streams(root).generator(name, *counters).integers(2**40, size=3).tolist())


def test_the_same_name_and_counters_give_the_same_numbers():
    assert numbers(7, "noise", 3, 5) == numbers(7, "noise", 3, 5)


def test_a_generator_does_not_depend_on_those_asked_for_before():
    streams = Streams(7)
    streams.generator("noise", 1).random(10)
    assert streams.generator("noise", 2).random() == Streams(7).generator("noise", 2).random()


@pytest.mark.parametrize("other", [(8, "noise", 3, 5), (7, "eval", 3, 5), (7, "noise", 5, 3), (7, "noise", 3, 6)])
def test_another_root_name_or_counter_gives_other_numbers(other):
    assert numbers(7, "noise", 3, 5) != numbers(*other)


def test_all_counters_of_a_stream_differ():
    drawn = [numbers(0, "noise", *pair) for pair in itertools.product(range(20), repeat=2)]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(("one", "other"), [((), (0,)), ((1,), (1, 0)), ((0, 0), (0,)), ((2**32 + 5,), (5, 1))])
def test_counters_of_other_number_or_width_differ(one, other):
    assert numbers(0, "noise", *one) != numbers(0, "noise", *other)


def test_episode_seeds_of_a_longer_request_begin_with_those_of_a_shorter_one():
    streams = Streams(3)
    assert streams.episode_seeds("eval", 0, 10)[:4] == streams.episode_seeds("eval", 0, 4)


def test_episode_seeds_can_be_asked_for_in_pieces():
    streams = Streams(3)
    assert streams.episode_seeds("eval", 0, 9) == [s for i in (0, 3, 6) for s in streams.episode_seeds("eval", i, 3)]


def test_streams_have_episode_seeds_of_their_own():
    assert not set(Streams(3).episode_seeds("eval", 0, 50)) & set(Streams(3).episode_seeds("final_eval", 0, 50))


def test_episode_seeds_are_python_integers_in_the_range_that_every_env_takes():
    seeds = Streams(3).episode_seeds("eval", 0, 100)
    assert all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in seeds)


def test_a_drawn_root_seed_is_one_that_every_library_takes():
    assert all(0 <= draw_root_seed() <= MAX_SEED for _ in range(20))
