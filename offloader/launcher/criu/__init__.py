"""A running job as an image, and an image as a running job: what the launcher does with criu(8).

Dumping happens at the source, with the job frozen by `freezer` and frozen again when criu lets go of it. Restoring
happens at the target inside a *cradle*: a pid and mount namespace of the job's own, whose init is ours and takes all
of it along when it is killed. Nothing of a restored job executes before it is told to continue. docs/protocol.md has
the order, ADR 18 the reasons.
"""
