"""Days of made-up chat traffic for the autoscaling simulation: day and night, lasting noise, and spikes.

Rates are in replicas: a rate of 3 keeps three replicas busy. The same seed gives the same traffic.
Does not simulate anything that serves.
"""

import math
import random
from dataclasses import dataclass

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Traffic:
    """Shape of the traffic.

    Attributes:
        days: how many.
        mean: mean rate without spikes, in busy replicas.
        swing: share by which the day goes above the mean and the night below it.
        noise: standard deviation of noise that lasts about a minute, as a share of the rate.
        spikes_per_day: mean number of spikes.
        highest_spike: what a spike adds at most, as a share.
        ceiling: no second asks for more than this.
    """

    days: int = 7
    mean: float = 80.0
    swing: float = 0.6
    noise: float = 0.03
    spikes_per_day: float = 6.0
    highest_spike: float = 1.5
    ceiling: float = 190.0


def rates(traffic: Traffic, seed: int) -> list[float]:
    """The arrival rate of each second."""
    dice = random.Random(seed)
    seconds = traffic.days * DAY_S
    boost = _spikes(traffic, seconds, dice)
    found = []
    noise = 0.0
    keep = math.exp(-1 / 60)
    kick = traffic.noise * math.sqrt(1 - keep * keep)
    for second in range(seconds):
        weekend = 1.15 if (second // DAY_S) % 7 >= 5 else 1.0
        hour = 2 * math.pi * second / DAY_S
        day = 1 - traffic.swing * math.cos(hour) - 0.15 * math.cos(2 * hour + 0.7)
        noise = keep * noise + kick * dice.gauss(0, 1)
        rate = traffic.mean * weekend * max(0.02, day) * (1 + noise) * (1 + boost[second])
        found.append(min(traffic.ceiling, max(0.0, rate)))
    return found


def _spikes(traffic: Traffic, seconds: int, dice: random.Random) -> list[float]:
    """What the spikes add in each second, as a share: a rise of seconds to minutes, then an exponential fall."""
    boost = [0.0] * seconds
    at = 0.0
    while (at := at + dice.expovariate(traffic.spikes_per_day / DAY_S)) < seconds:
        height = dice.uniform(0.2, traffic.highest_spike)
        rise_s = dice.choice((5, 30, 120, 300))
        fall_s = dice.uniform(60, 900)
        for second in range(int(at), min(seconds, int(at + rise_s + 6 * fall_s))):
            since = second - at
            boost[second] += height * (since / rise_s if since < rise_s else math.exp((rise_s - since) / fall_s))
    return boost
