"""The queue: looking at items, cancelling them.

Contract: section 4 of the Jenkins page; jenkins core @ ff9430ee1dc6 (Queue).
"""

from aiohttp import web

from bridge.testing.jenkins.model.accounts import CANCEL, READ
from bridge.testing.jenkins.model.waiting import QueueItem
from bridge.testing.jenkins.web import beans, pages
from bridge.testing.jenkins.web.visit import Visit


def queue(visit: Visit, rest: list[str]) -> web.Response:
    """Answer a request below `/queue`."""
    match rest:
        case ["api", "json"]:
            waiting = [item for item in visit.world.queue.waiting() if visit.user.may(READ, item.job.full_name)]
            return pages.api(visit, beans.queue_bean(waiting, visit.root_url))
        case ["item", id_, "api", "json"]:
            item = _find(visit, id_)
            return (
                pages.not_found(visit)
                if item is None
                else pages.api(visit, beans.queue_item_bean(item, visit.root_url))
            )
        case ["cancelItem"]:
            return _cancel(visit)
        case _:
            return pages.not_found(visit)


def _cancel(visit: Visit) -> web.Response:
    if not visit.is_post:
        return pages.post_required(visit)
    item = _find(visit, visit.form.parameter("id") or "")
    if item is None:
        return pages.empty(404)
    if not visit.user.may(CANCEL, item.job.full_name):
        return pages.empty(422)
    if item.is_left:
        return pages.oops(visit)
    visit.world.cancel(item)
    return pages.empty(204)


def _find(visit: Visit, id_: str) -> QueueItem | None:
    """Return the item, unless the user may not see its job."""
    item = visit.world.queue.items.get(int(id_)) if id_.isascii() and id_.isdigit() else None
    return item if item is not None and visit.user.may(READ, item.job.full_name) else None
