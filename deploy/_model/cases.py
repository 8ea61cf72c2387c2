"""What is explored: the protocol whole, and once without each of its safeguards."""

from dataclasses import dataclass

from _model.explore import Exploration, explore
from _model.world import OWN, SAFEGUARDS, Attempt, Rules, World, first

__all__ = ["WHOLE", "WITHOUT", "Case", "late_own"]


def late_own() -> World:
    """The same job moves once more, while the `own` of a first try that was rolled back is still on its way."""
    tried = Attempt(capsule="claimed", queued=True, state="aborted", net=OWN)
    return first()._replace(attempts=(tried, Attempt()))


@dataclass(frozen=True, slots=True)
class Case:
    """One exploration. `lease` in slots of 5 s; `attempts`: how many of the job there may be."""

    name: str
    text: str
    without: str = ""
    attempts: int = 1
    lease: int = 1
    again: bool = False  # begins with `late_own`
    strategy: str = "restart"

    def rules(self) -> Rules:
        """The protocol as this case has it."""
        return Rules(self.without, self.attempts, self.lease, self.strategy)

    def explored(self, rules: Rules | None = None) -> Exploration:
        """Look at every state, or at all up to the first that must not be."""
        return explore(rules or self.rules(), start=late_own() if self.again else None)


WHOLE = (
    Case("one-move", "one move, from planned to its end", lease=2),
    Case("once-more", "a job that moves twice, or is started again", attempts=2),
    Case("checkpoint", "one move of a job that is asked to save and end", lease=2, strategy="checkpoint"),
    Case("checkpoint-twice", "the same, with a second try or a start again", attempts=2, strategy="checkpoint"),
    Case("live", "one move of a job that is copied as it is", lease=2, strategy="live"),
    Case("live-twice", "the same, with a second try or a start again", attempts=2, strategy="live"),
    Case("late-own", "a job that moves while the first try's own is on its way", attempts=2, again=True),
)
"""The protocol with all of its safeguards."""

_STRATEGIES = {
    "saving_first": "checkpoint",
    "saved_first": "checkpoint",
    "watched": "checkpoint",
    "restored_stopped": "live",
}
"""By which strategy a safeguard is needed; the others are by every one."""

WITHOUT = tuple(
    Case(
        safeguard,
        text,
        without=safeguard,
        attempts=2 if safeguard in ("fence", "epoch") else 1,
        lease=2 if safeguard == "lease_from_question" else 1,
        again=safeguard == "epoch",
        strategy=_STRATEGIES.get(safeguard, "restart"),
    )
    for safeguard, text in SAFEGUARDS.items()
)
"""One safeguard less: each has to lead to something that must never be."""
