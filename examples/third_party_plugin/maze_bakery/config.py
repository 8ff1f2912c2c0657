"""Options of all that belongs to the bakery."""

from dataclasses import dataclass, field

from maze_core import require

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(kw_only=True)
class BakeryConfig:
    """A bakery that decides each morning how many loaves it bakes."""

    customers: list[float] = field(default_factory=lambda: [8.0, 8.0, 8.0, 10.0, 14.0, 20.0, 4.0])
    """Customers that come on average, from Monday to Sunday; each buys a loaf."""

    n_loaves: int = 30
    """Loaves that fit into the oven."""

    n_weeks: int = 4
    """Weeks per episode; an env step is a day."""

    def __post_init__(self) -> None:
        customers = len(self.customers) == len(WEEKDAYS) and all(0 <= mean <= 1000 for mean in self.customers)
        require(self, "customers", customers, "seven numbers from 0 to 1000")
        require(self, "n_loaves", 1 <= self.n_loaves <= 1000, "a whole number from 1 to 1000")
        require(self, "n_weeks", self.n_weeks >= 1, "a whole number >= 1")


@dataclass(kw_only=True)
class WeekendConfig:
    """Shows of the day only whether it belongs to the weekend."""

    first: int = 5
    """Its first day; Monday is 0."""

    def __post_init__(self) -> None:
        require(self, "first", 0 <= self.first <= 6, "a whole number from 0 to 6")


@dataclass(kw_only=True)
class TableConfig:
    """A number for each output and each value of what is observed."""


@dataclass(kw_only=True)
class RuleConfig:
    """Bakes a share of the customers that are expected on such a weekday."""

    customers: list[float] = field(default_factory=lambda: BakeryConfig().customers)
    """Customers that are expected, from Monday to Sunday."""

    share: float = 1.0
    """How many of them get a loaf."""

    def __post_init__(self) -> None:
        require(self, "customers", len(self.customers) == len(WEEKDAYS), "seven numbers")
        require(self, "share", 0 <= self.share <= 10, "a number from 0 to 10")


@dataclass(kw_only=True)
class WasteConfig:
    """Writes to waste.csv in the run directory how many loaves are thrown away in evaluations."""
