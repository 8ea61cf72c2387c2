"""`grid-offloader approve`: the answer to moves that rules ask about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from offloader.cli import render, screens
from offloader.cli.session import client, format_option, run
from offloader.client import Client
from offloader.errors import NotFound, OffloaderError

__all__ = ["approve"]

Document = Mapping[str, Any]


@click.command()
@click.argument("chosen", metavar="[ID|PID]...", nargs=-1)
@click.option("--decline", is_flag=True, help="Say no: no rule proposes that job again for a while.")
@format_option
def approve(*, chosen: tuple[str, ...], decline: bool, form: str) -> None:
    """Agree to planned moves ID (or of the processes PID); without any, list what waits and why.

    Rules in mode approve ask before they move anything, and rules may only ask about what is its owner's to decide (a
    restart that loses work, say). What you agree to is that job, that target, those strategies: everything is checked
    again first, and where something else has become of it nothing is moved. The job's owner still gets his notice,
    unless it is he who agrees. Needs an admin, or the job's owner.

    \b
    Examples:
      grid-offloader approve
      grid-offloader approve 4242
      grid-offloader approve proposal_1700000000_4242
      grid-offloader approve --decline 4242
    """
    if decline and not chosen:
        raise click.UsageError("--decline goes with ID or PID")
    if not chosen:
        _show(run(client().proposals()), form)
        return
    documents, code = run(_each(client(), chosen, agreed=not decline))
    if form == "json":
        render.show_json(documents)
    else:
        for document in documents:
            click.echo(_words(document, agreed=not decline))
    click.get_current_context().exit(code)


async def _each(controller: Client, chosen: Sequence[str], *, agreed: bool) -> tuple[list[dict[str, Any]], int]:
    """One after the other; one that is refused keeps none of the others back. The first error's exit code."""
    documents, code = [], 0
    for what in dict.fromkeys(chosen):
        try:
            name = await _named(controller, what) if what.isdigit() else what
            documents.append(await (controller.approve(name) if agreed else controller.decline(name)))
        except OffloaderError as error:
            render.show_error(error)
            code = code or error.exit_code
    return documents, code


async def _named(controller: Client, pid: str) -> str:
    """The id of what is proposed for a process."""
    found = [one["id"] for one in await controller.proposals() if str(one["pid"]) == pid]
    if not found:
        raise NotFound(f"no planned move of process {pid} waits for an answer: `grid-offloader approve` lists them")
    return str(found[0])


def _show(proposals: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        render.show_json(proposals)
    elif not proposals:
        render.say("nothing waits for an answer")
    else:
        screens.show_proposals(proposals)
        for one in proposals:
            click.echo()
            render.show_hanging(f"{one['pid']}: ", render.clean(one["text"]), used=len(str(one["pid"])) + 2)
            if one["detail"]:
                click.echo(f"  {one['reason']}: {render.clean(one['detail'])}")


def _words(document: Document, *, agreed: bool) -> str:
    what = render.clean(f"{document['name']} (pid {document['pid']}, {document['user']})")
    if not agreed:
        return f"{document['id']}  {what} stays: no rule proposes it again for a while"
    if document["move"] is not None:
        return f"{document['move']['id']}  begins: {screens.move_words(document['move'])}"
    held = document["held"] or {"reason": None, "detail": ""}
    why = render.clean(f"{held['reason'] or 'not yet'}: {held['detail']}" if held["detail"] else held["reason"] or "")
    return f"{document['id']}  agreed, {what} is moved to {document['target']} as soon as possible ({why})"
