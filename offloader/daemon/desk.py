"""The controller as the API sees it: who may see and do what, and the documents that he gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from offloader.daemon.api.caller import Caller, Permissions
from offloader.daemon.api.control import AutoRequest, KeepRequest, MoveRequest, OutputRequest, RunRequest
from offloader.daemon.approving import Approving
from offloader.daemon.controller import Controller
from offloader.daemon.documents import event_document, move_document
from offloader.daemon.explaining import Explanations
from offloader.daemon.keeping import Keeping
from offloader.daemon.manual import ManualMoves
from offloader.daemon.mine import mine_document
from offloader.daemon.outcomes import record_of, shown
from offloader.daemon.problems import Trouble
from offloader.daemon.receipt_documents import receipt_document
from offloader.daemon.runs import Runs
from offloader.daemon.scanning import check_nodes, scan_documents
from offloader.daemon.status import rule_documents, status_document
from offloader.daemon.ticker import Ticker
from offloader.errors import NotFound, NotPermitted
from offloader.jobs.events import EventKind
from offloader.jobs.receipt import later_losses
from offloader.model import Job, Mode, Move, Obstacle, Reason

__all__ = ["Desk"]

Document = dict[str, Any]


class Desk:
    """Implements daemon.api.control.Control."""

    def __init__(
        self,
        controller: Controller,
        ticker: Ticker,
        permissions: Permissions,
        trouble: Callable[[], Trouble],
        reload: Callable[[str], Awaitable[Document]],
    ) -> None:
        self._controller = controller
        self._ticker = ticker
        self._permissions = permissions
        self._trouble = trouble
        self._reload = reload
        self._keeping = Keeping(controller, ticker, permissions)
        self._approving = Approving(controller, ticker, permissions)
        self._manual = ManualMoves(controller, permissions)
        self._runs = Runs(controller, permissions)
        self._explanations = Explanations(controller, permissions, trouble, ticker.now)
        self._started_t = controller.parts.clock.time()

    async def status(self, caller: Caller) -> Document:
        """The one status document."""
        now, private = self._controller.parts.clock.time(), self._permissions.admin(caller)
        return status_document(self._controller, self._trouble(), now, self._started_t, private=private)

    async def auto(self, caller: Caller, request: AutoRequest) -> Document:
        """Change the toggles and tick at once, so that the answer shows them in force."""
        self._admin_only(caller, "switch automatic moves")
        parts = self._controller.parts
        words: list[str] = []
        ceiling = request.mode or (Mode.AUTO if request.enabled else None)
        if ceiling is not None:  # first: it may be refused, and then nothing is changed
            parts.switches.enable(ceiling)
            words.append(f"ceiling {ceiling}")
        if request.thresholds:
            parts.switches.set_thresholds(request.thresholds)
            words += [
                f"threshold {resource} {'as in the rules' if ratio is None else f'{ratio:.0%}'}"
                for resource, ratio in request.thresholds.items()
            ]
        if request.enabled is False:
            words.append("ceiling observe")
            try:
                parts.switches.disable()
            finally:  # also when the journal could not keep it
                await parts.acting.disable(Mode.OBSERVE)
        elif ceiling is not None and ceiling is not Mode.AUTO:
            await parts.acting.disable(ceiling)
        data = {"by_uid": caller.uid}
        message = f"{caller.name}: {', '.join(words)}"
        parts.decisions.told(EventKind.TOGGLE, "auto", message, parts.clock.time(), data=data)
        await self._ticker.now()
        return {**await self.status(caller), "notes": self._not_applied(request)}

    def _not_applied(self, request: AutoRequest) -> list[str]:
        """Rules that a threshold was meant for and that state one themselves."""
        meant = {resource for resource, ratio in (request.thresholds or {}).items() if ratio is not None}
        return [
            f"rule {rule.key} states its own threshold, {rule.threshold:.0%}: yours does not apply to it"
            for rule in self._controller.setup.rules
            if rule.resource in meant and not rule.threshold_toggle
        ]

    async def scan(self, caller: Caller, nodes: tuple[str, ...], everything: bool) -> list[Document]:
        """Every job of the head that matters."""
        parts, setup = self._controller.parts, self._controller.setup
        check_nodes(setup, nodes)
        measured = await parts.observer.measure(setup, parts.clock.time())
        now = parts.clock.time()
        candidates = await parts.observer.candidates(setup, parts.observer.moves(now))
        snapshot = parts.observer.snapshot(setup, measured, parts.switches.read(), now, candidates=candidates)
        return scan_documents(
            setup,
            snapshot,
            parts.strategies(),
            lambda uid: self._permissions.sees(caller, uid),
            everything=everything,
        )

    async def why(self, caller: Caller, subject: int | str | None) -> Document:
        """Why nothing, this process, or this move."""
        match subject:
            case None:
                return await self._explanations.cluster(caller)
            case int():
                return await self._explanations.process(caller, subject)
            case str():
                return await self._explanations.move(caller, subject)

    async def move(self, caller: Caller, request: MoveRequest) -> Document:
        """A person's own move."""
        return await self._manual.move(caller, request)

    async def keep(self, caller: Caller, request: KeepRequest) -> Document:
        """An owner keeps his job here."""
        return await self._keeping.keep(caller, request)

    async def keeps(self, caller: Caller) -> list[Document]:
        """What is kept."""
        return await self._keeping.listed(caller)

    async def release(self, caller: Caller, what: str) -> Document:
        """A keep is taken back."""
        return await self._keeping.release(caller, what)

    async def proposals(self, caller: Caller) -> list[Document]:
        """What waits for somebody's word."""
        return self._approving.listed(caller)

    async def answer(self, caller: Caller, proposal_id: str, *, agreed: bool) -> Document:
        """Somebody's word."""
        return await self._approving.answer(caller, proposal_id, agreed=agreed)

    async def moves(self, caller: Caller, limit: int) -> list[Document]:
        """Newest first."""
        store = self._controller.parts.store
        return [self._document(caller, move, store.job(move.job)) for move in store.moves(limit=limit)]

    async def mine(self, caller: Caller) -> Document:
        """What happened to the caller's own jobs."""
        parts, now = self._controller.parts, self._controller.parts.clock.time()
        return mine_document(
            caller.uid,
            caller.name,
            view=self._controller.view,
            proposals=self._controller.proposals(),
            keeps=parts.keeps.active(),
            store=parts.store,
            now=now,
        )

    async def show(self, caller: Caller, move_id: str) -> Document:
        """One move with its timeline, its job's attempts, and its receipt."""
        store = self._controller.parts.store
        move = self._found(move_id)
        job = store.job(move.job)
        document = move_document(
            move,
            job,
            steps=store.timeline(move_id),
            attempts=store.attempts(move.job),
            private=self._permissions.sees(caller, _owner(move, job)),
        )
        return {**document, "receipt": self._receipt(move, job)}

    async def cancel(self, caller: Caller, move_id: str) -> Document:
        """Roll back, or end the job: for those who could signal it."""
        parts = self._controller.parts
        move = self._found(move_id)
        owner = _owner(move, parts.store.job(move.job))
        if not self._permissions.signals(caller, owner):
            raise _not_yours(f"{move_id} moves a process of another user: you may cancel what you could signal")
        words = f"{caller.name} cancels {move_id}"
        parts.decisions.told(EventKind.MOVE, move_id, words, parts.clock.time(), data={"by_uid": caller.uid})
        cancelled = await parts.acting.cancel(move_id, by_uid=caller.uid)
        return self._document(caller, cancelled, parts.store.job(move.job))

    async def logs(self, caller: Caller, move_id: str, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """The job's output: for its owner and admins."""
        parts = self._controller.parts
        move = self._found(move_id)
        if not self._permissions.sees(caller, _owner(move, parts.store.job(move.job))):
            raise _not_yours(f"the output of {move_id} is for its owner and admins")
        return parts.acting.logs(move_id, offset=offset, follow=follow)

    async def run(self, caller: Caller, request: RunRequest) -> Document:
        """A job of the caller's own."""
        return await self._runs.run(caller, request)

    async def job(self, caller: Caller, job_id: str) -> Document:
        """One job."""
        return await self._runs.show(caller, job_id)

    async def bring(self, caller: Caller, job_id: str, target: str | None, *, close_connections: bool) -> Document:
        """Move it on, or home, for those who could signal it."""
        return await self._runs.bring(caller, job_id, target, close_connections=close_connections)

    async def end_job(self, caller: Caller, job_id: str) -> Document:
        """End it, for those who could signal it."""
        return await self._runs.end(caller, job_id)

    async def output(self, caller: Caller, job_id: str, request: OutputRequest) -> AsyncIterator[bytes]:
        """What it wrote: for its owner and admins."""
        return await self._runs.output(
            caller,
            job_id,
            epoch=request.epoch,
            stream=request.stream,
            offset=request.offset,
            follow=request.follow,
        )

    async def rules(self, caller: Caller) -> list[Document]:
        """Loaded rules and their states."""
        setup, toggles = self._controller.setup, self._controller.parts.switches.read()
        private = self._permissions.admin(caller)
        return rule_documents(self._controller.view, setup.rules, toggles, setup.policy.head, private=private)

    async def events(self, caller: Caller, after: int, limit: int) -> list[Document]:
        """What happened, oldest first."""
        private = self._permissions.admin(caller)
        found = self._controller.parts.store.events(after=after, limit=limit)
        return [event_document(event, private=private) for event in found]

    async def reload(self, by: str) -> Document:
        """Read configuration and rules again."""
        return await self._reload(by)

    def may_reload(self, caller: Caller) -> None:
        """Raises NotPermitted unless the caller is an admin."""
        self._admin_only(caller, "reload the configuration")

    def _admin_only(self, caller: Caller, what: str) -> None:
        if not self._permissions.admin(caller):
            group = self._controller.setup.cluster.controller.admin_group
            who = f"root, the controller's account or group {group}" if group else "root or the controller's account"
            raise _not_yours(f"only {who} may {what}")

    def _receipt(self, move: Move, job: Job | None) -> Document | None:
        parts = self._controller.parts
        found = shown(parts.store, self._controller.setup, move, parts.clock.time())
        if found is None:
            return None
        receipt, due_t = found
        losses = later_losses(record_of(parts.store, move), job) if job is not None else ()
        return receipt_document(receipt, losses=losses, due_t=due_t)

    def _found(self, move_id: str) -> Move:
        move = self._controller.parts.store.move(move_id)
        if move is None:
            raise NotFound(f"there is no move {move_id:.60}: `grid-offloader status` lists them")
        return move

    def _document(self, caller: Caller, move: Move, job: Job | None) -> Document:
        return move_document(move, job, private=self._permissions.sees(caller, _owner(move, job)))


def _owner(move: Move, job: Job | None) -> int:
    return job.uid if job else move.identity.uid


def _not_yours(message: str) -> NotPermitted:
    return NotPermitted(Reason.NOT_YOURS, message, (Obstacle(Reason.NOT_YOURS, message, "ask its owner or an admin"),))
