"""Jenkins: answers, or aborts, the input step that a build waits at.

Contract: GET  {run}/api/json?tree=…            200 the build with its pending inputs; 404 no such build, or not visible
          GET  {job}/api/json?tree=…            200 its build numbers; 404 no such job, or not visible
          GET  {run}/wfapi/pendingInputActions  200 [input]; 404 without its plugin; asked where the first shows no input
          POST {run}/input/{id}/proceedEmpty    200, empty: taken; declared parameters are ignored
          POST {run}/input/{id}/proceed         200, empty: taken; form field `json`, see parameters.py
          POST {run}/input/{id}/abort           200, empty: taken
               400 with X-Error: already given, or no permission; 404 not pending; 500 illegal parameters, among others
          GET  /whoAmI/api/json                 200 {name, authenticated}; 401 a wrong token
          {run} is {base_url}/job/A/job/B/{number}. Never `submit`: without a field `proceed` it aborts the build.
Source:   jenkinsci/jenkins @ ff9430ee1dc6 (2026-08), pipeline-input-step-plugin @ d2b888dfb50d (2026-07),
          pipeline-stage-view-plugin @ 14b139ad0447 (2026-08), read in the code.

Nothing in a request names the occurrence of an input, and an answered input looks like one not reached. So every attempt
begins with the listing, and every answer is read back: what is still pending was lost in a crash, or is the next of that id.
A 200 says that the answer was taken, not that the build moves: while Jenkins quiets down it does not, and the input is settled
all the same.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from bridge.consumers.jenkins.address import JenkinsAddress, JenkinsSettings, Place
from bridge.consumers.jenkins.listing import (
    JOB_TREE,
    RUN_TREE,
    Run,
    Seen,
    read_job,
    read_older,
    standing,
    standing_without_run,
    stranger,
)
from bridge.consumers.jenkins.parameters import Declared, fill
from bridge.consumers.jenkins.session import JUDGED, Session
from bridge.core.consumer import Consumer, healthy
from bridge.core.errors import HttpFault
from bridge.core.outcome import (
    AlreadyDone,
    CredentialRefused,
    Done,
    Ending,
    Gone,
    Health,
    Later,
    NotYet,
    Refused,
    Sight,
    Standing,
)
from bridge.core.ports import Clock, Http
from bridge.core.request import Basic, Call, Reply
from bridge.core.resolution import Resolution

TRIES = 2
"""A 500 means illegal parameters, or that Jenkins was still loading the build: the second one tells."""
REFUSALS = frozenset({405, 409, 411, 413, 414, 415, 422, 431})
"""Statuses that the same request gets again, from Jenkins or a proxy; nothing was applied."""


class Jenkins(Consumer[JenkinsSettings, JenkinsAddress]):
    """Answers or aborts the input step that a wait names."""

    auth = Basic("username", "secret")
    judges = JUDGED
    tells_answered = False

    @classmethod
    def keeps_cookies(cls, settings: JenkinsSettings) -> bool:
        return settings.password is not None

    def __init__(self, settings: JenkinsSettings, http: Http, *, clock: Clock | None = None) -> None:
        super().__init__(settings, http, clock=clock)
        self._session = Session(self.http, self.clock, is_password=settings.password is not None)
        self._shows_inputs = False
        """This Jenkins has been seen to list inputs with the build."""

    async def health(self) -> Health:
        """Ask Jenkins who we are."""
        reply = await self.http.send(Call.get("/whoAmI/api/json"))
        return healthy_as(self.settings.username, reply)

    async def look_closely(self, address: JenkinsAddress) -> Sight:
        """List the inputs of the build; resume_seen() takes the parameters of the one that waits from here."""
        place = address.place(self.settings)
        reply = await self._session.get(f"{place.run}/api/json", RUN_TREE)
        if reply.status == HTTPStatus.NOT_FOUND:
            missing = await self._without_run(place)
            if missing.standing is not Standing.GONE:
                return missing
            reply = await self._session.get(f"{place.run}/api/json", RUN_TREE)  # it may have started between the two
            if reply.status == HTTPStatus.NOT_FOUND:
                return missing
        run = await self._with_inputs(Run.read(reply), place)
        return standing(run, place.id, reply.headers.get("x-jenkins-session", ""))

    async def resume_seen(self, address: JenkinsAddress, resolution: Resolution, sight: Sight | None) -> Ending:
        """Answer the input, and read back what became of it."""
        sight = sight or await self.look_closely(address)
        if sight.standing is not Standing.WAITING:
            return unsent(sight)
        seen: Seen = sight.seen
        call = plan(address, address.place(self.settings), resolution, seen.declared)
        for _ in range(TRIES):
            reply = await self._session.post(call)
            ending = judge(reply) or conclude(
                call, reply, seen, await self._read_back(address), is_repeated=address.is_repeated
            )
            is_worth_another = reply.status == HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(ending, Refused)
            if address.is_repeated or not is_worth_another:
                break
        return remarked(ending, call, address, seen.declared)

    async def _read_back(self, address: JenkinsAddress) -> Sight | Later:
        """Look again; where that fails, say so instead of raising: something was sent."""
        try:
            return await self.look_closely(address)
        except Later as fault:
            return Later(fault.reason, fault.after, is_doubtful=True, is_throttled=fault.is_throttled)
        except (HttpFault, CredentialRefused) as fault:
            return Later(str(fault), is_doubtful=True)

    async def _with_inputs(self, run: Run, place: Place) -> Run:
        """Ask wfapi for what an input plugin before 466 does not list with the build."""
        self._shows_inputs = self._shows_inputs or run.shows_inputs
        if self._shows_inputs or not run.is_building:
            return run
        pending = read_older(await self._session.get(f"{place.run}/wfapi/pendingInputActions"))
        return run if pending is None else replace(run, had_input=True, pending=pending)

    async def _without_run(self, place: Place) -> Sight:
        """Say what a 404 for the build means."""
        reply = await self._session.get(f"{place.job}/api/json", JOB_TREE)
        if reply.status != HTTPStatus.NOT_FOUND:
            return standing_without_run(read_job(reply), place.number)
        if await self.health() is not Health.UP:  # the 404 is not Jenkins's own
            raise stranger(reply)
        return Sight(Standing.GONE, "there is no such job, or our user has no Job/Read on it")


def healthy_as(username: str, reply: Reply) -> Health:
    """Read `whoAmI`: up only when Jenkins itself knows us by our name; another 200 is a proxy's page."""
    if not reply.is_success:
        return healthy(reply)
    match reply.json():
        case {"authenticated": True, "name": str(name)} if name.lower() == username.lower():
            return Health.UP
        case {"authenticated": bool()}:
            return Health.CREDENTIAL
        case _:
            return Health.DOWN


def unsent(sight: Sight) -> Ending:
    """Return the ending of a look that leaves nothing to send."""
    match sight.standing:
        case Standing.ANSWERED:
            return AlreadyDone(sight.note)
        case Standing.GONE:
            return Gone(sight.note)
        case _:
            return NotYet(sight.note)


def plan(address: JenkinsAddress, place: Place, resolution: Resolution, declared: tuple[Declared, ...]) -> Call:
    """Return the one call that applies *resolution*.

    Raises:
        Refused: a parameter cannot take its value; nothing is to be sent.
    """
    if not resolution.succeeded and address.on_failure == "abort":
        return Call.post(place.verb("abort"))
    if not declared:
        return Call.post(place.verb("proceedEmpty"))
    body: dict[str, Any] = fill(declared, resolution, address.parameters).body()
    return Call.post(place.verb("proceed"), **body)


def judge(reply: Reply) -> Ending | None:
    """Say what *reply* means by itself; None: the build has to be read back."""
    match reply.status:
        case HTTPStatus.BAD_REQUEST:
            error = reply.headers.get("x-error", "")
            if "already" in error and "given" in error:  # in the moment between an answer and the end of the step
                return AlreadyDone(error)
            return Refused(error or "Jenkins answered 400")
        case status if status in REFUSALS:
            return Refused(f"Jenkins answered {status}")
        case _:
            return None


def remarked(ending: Ending, call: Call, address: JenkinsAddress, declared: tuple[Declared, ...]) -> Ending:
    """Add to an answer that was taken which of the address's parameters the input does not have."""
    unknown = sorted(set(address.parameters or {}) - {one.name for one in declared})
    if unknown and isinstance(ending, Done) and not call.path.endswith("/abort"):
        return Done(f"not declared by the input, so not sent: {', '.join(unknown)}")
    return ending


def conclude(call: Call, reply: Reply, before: Seen, after: Sight | Later, *, is_repeated: bool) -> Ending:
    """Say what *reply* means with what was read back.

    is_repeated: what is pending now may be the next occurrence, so nothing may be sent again.
    """
    is_taken = (
        reply.status == HTTPStatus.OK and not reply.body and "text/html" not in reply.headers.get("content-type", "")
    )
    if isinstance(after, Later):
        return Done("not read back") if is_taken and is_repeated else after
    if after.standing is Standing.WAITING:
        return _still_pending(call, reply, before, after.seen, is_taken=is_taken, is_repeated=is_repeated)
    if reply.status == HTTPStatus.NOT_FOUND and after.standing is not Standing.ABSENT:
        return unsent(after)
    if after.standing is Standing.NOT_THERE:
        return Later("lost in a crash: the build is before its input again", is_doubtful=is_repeated)
    if is_taken:
        return Done()
    return AlreadyDone(f"no longer pending after an answer of {reply.status}")


def _still_pending(call: Call, reply: Reply, before: Seen, now: Seen, *, is_taken: bool, is_repeated: bool) -> Ending:
    is_form = call.form is not None or call.multipart is not None
    if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR and is_form:
        return Refused("Jenkins answered 500 and the input is still pending: it does not take these parameters")
    if not is_taken:
        return Later(f"answered {reply.status}, and the input is still pending", is_doubtful=is_repeated)
    is_restarted = bool(before.session and now.session) and before.session != now.session
    if is_repeated:
        return Later("taken, and lost in a crash", is_doubtful=True) if is_restarted else Done()
    if before.session and not is_restarted and now.session and _is_own(reply):
        return Done("taken; another input of this id is pending")  # no crash came between, so nothing was lost
    return Later("taken, and still pending: the answer was lost")


def _is_own(reply: Reply) -> bool:
    """Return True when Jenkins itself answered: it puts this header on everything behind its authentication."""
    return reply.headers.get("x-content-type-options", "").lower() == "nosniff"
