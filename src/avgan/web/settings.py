"""What a service allows."""

from dataclasses import dataclass

from avgan.web.decoder import Caps


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits, and who may come in."""

    max_bytes: int = 100 * 2**20
    """The largest file that is taken."""
    max_seconds: float = 3600
    """The longest recording that is taken."""
    num_workers: int = 1
    """How many recordings are decoded and heard at a time."""
    token: str | None = None
    """What a client must know; None: nothing."""
    hosts: frozenset[str] | None = None
    """The names under which the service answers; None: any. Keeps other pages from reaching it by a name of theirs."""

    @property
    def max_waiting(self) -> int:
        """Recordings that may wait for a worker: a second or two of work for short ones."""
        return 8 * self.num_workers

    @property
    def max_live(self) -> int:
        """Live connections at a time; each costs a worker a few hundredths of its time."""
        return 8 * self.num_workers

    @property
    def max_held_bytes(self) -> int:
        """What all recordings that are received or wait may take in memory together."""
        return 4 * self.max_bytes

    @property
    def deadline_s(self) -> float:
        """How long a request may wait and work once it is received; hearing is ten times faster than this asks."""
        return max(60.0, self.max_seconds / 30)

    def caps(self, rate_hz: int) -> Caps:
        """The limits of a decoder that gives sound at this rate."""
        return Caps(
            rate_hz=rate_hz,
            max_seconds=self.max_seconds,
            cpu_s=10
            + round(self.max_seconds / 60),  # slow decoders do a minute of sound in a second
            memory_bytes=2 * self.max_bytes + 256 * 2**20,  # twice: while it is received
        )
