"""Established connections to other hosts: broken by every move, which only a rule or the owner may decide to bear."""

from dataclasses import replace

from offloader.model import Candidate, Reason, Rule

__all__ = ["allowed_by", "letting_go"]


def letting_go(candidate: Candidate) -> Candidate:
    """The same, its connections no obstacle any more, but live its only way.

    A program that is restored sees its connections end, as after a failure of the network; one that started again would
    not know that there were any.
    """
    connected = next((one for one in candidate.obstacles if one.reason is Reason.REMOTE_CONNECTION), None)
    if connected is None:
        return candidate
    others = tuple(one for one in candidate.obstacles if one is not connected)
    return replace(candidate, obstacles=others, only_live=connected)


def allowed_by(rule: Rule, candidate: Candidate) -> Candidate:
    """The candidate as this rule sees it."""
    return letting_go(candidate) if rule.move.close_connections else candidate
