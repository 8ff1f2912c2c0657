"""Games of PettingZoo, for one agent against others or for a team."""
