"""Randomness by name and counter: any draw of a run can be made again from the root seed alone."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np

MAX_SEED = 2**31 - 1
"""Largest root or episode seed; every env and library takes it."""


class Streams:
    """Independent random generators, each a pure function of root seed, name and counters.

    There is no hidden position: nothing has to be stored to go on with a stream, and no order of
    calls or number of workers changes what comes out.

    Args:
        root: Root seed of the run, 0 to `MAX_SEED`.
    """

    def __init__(self, root: int) -> None:
        self.root = root

    def generator(self, name: str, *counters: int) -> np.random.Generator:
        """Returns a fresh generator for this name and these counters, each 0 to 2**64 - 1."""
        # Fixed width, and their number first: SeedSequence would take (1,) and (1, 0) for the same.
        words = [word for counter in counters for word in (counter & 0xFFFFFFFF, counter >> 32)]
        entropy = (self.root, zlib.crc32(name.encode()), len(counters), *words)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    def seed(self, name: str, *counters: int) -> int:
        """Returns a seed below 2**63 for this name and these counters, for generators that are not NumPy's."""
        words = "/".join(map(str, (self.root, name, *counters)))
        return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest()) >> 1

    def episode_seeds(self, name: str, first: int, count: int) -> list[int]:
        """Returns the seeds of `count` episodes of a stream, from number `first` on.

        Episode i has the same seed whoever asks for it, and with whatever neighbours.
        """
        return [
            int(self.generator(name, episode).integers(MAX_SEED, endpoint=True))
            for episode in range(first, first + count)
        ]


def draw_root_seed() -> int:
    """Draws a root seed from the operating system's randomness."""
    return int(np.random.SeedSequence().generate_state(1)[0]) & MAX_SEED
