"""How work is asked to save its state, as people write it: in a rule, or in the cluster file for a kind of work."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from exporter.classify import ProcessClass
from offloader.config.fields import Duration, Glob, NonEmpty, SignalNumber, Strict

__all__ = ["CheckpointPatternSection", "CheckpointSection"]


class CheckpointSection(Strict):
    """How jobs are asked to save their state and end that do not say it in their environment (checkpoints.md)."""

    signal: SignalNumber = Field(description="what asks for it; a job that does not handle it is not asked")
    file: NonEmpty | None = Field(
        None, description="its checkpoint, from its working directory; without it exit code 85 says that it saved"
    )
    grace_s: Duration = Field(60.0, alias="grace", gt=0, le=3600, description="how long it may take")


class CheckpointPatternSection(CheckpointSection):
    """How work of a kind is asked to save its state and end, where it does not say it itself (checkpoints.md)."""

    process_class: Annotated[ProcessClass, Field(strict=False)] | None = Field(
        None, alias="class", description="of this class of work; default: of every class"
    )
    programs: tuple[Glob, ...] = Field((), description="these program or script base names (wildcards); empty: all")
