"""What every broker promises, by name; the same tests over memory, SQLite and RabbitMQ."""

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.errors import BrokerUnavailable, Unroutable
from bridge.core.ports import Broker, Delivery, QueueStats
from bridge.core.topology import DEAD, DELIVERY_LIMIT, EVENTS, HOME, POLLS, REASON, REPORTS, UNROUTED, Route, to_target
from tests.support.brokers import (
    DEADLINE_S,
    NO_DELAY,
    QUEUE,
    TARGET,
    BrokerPlace,
    eventually,
    is_quiet,
    message,
    take_all,
    take_one,
)

CLOCK_TOLERANCE_S = 0.01
"""A delay counts from the broker's clock, the test measures with another."""


def bodies(deliveries: list[Delivery]) -> list[str]:
    return [delivery.body.decode() for delivery in deliveries]


async def stats(broker: Broker, queue: str = QUEUE) -> QueueStats:
    (figures,) = await broker.queues([queue])
    return figures


async def test_confirmed_survives_restart(durable_place: BrokerPlace) -> None:
    """A message whose publish returned is delivered by the next process, with body, headers and time."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    first = await durable_place.open()
    await first.publish(message("kept", traceparent="00-a-b-01"))
    await first.close()
    second = await durable_place.open()
    async with second.subscribe(QUEUE, prefetch=1) as subscription:
        delivery = await take_one(subscription)
        assert (delivery.body, delivery.headers["traceparent"], delivery.attempt) == (b"kept", "00-a-b-01", 1)
        assert before < delivery.published_at <= datetime.now(UTC)
        await delivery.ack()
    await second.close()


async def test_retry_survives_restart(durable_place: BrokerPlace) -> None:
    """A delayed copy comes back after a restart, and not earlier than told."""
    first = await durable_place.open()
    await first.publish(message("later"))
    async with first.subscribe(QUEUE, prefetch=1) as subscription:
        begin = time.monotonic()
        await (await take_one(subscription)).retry(timedelta(seconds=1.3))
    await first.close()
    second = await durable_place.open()
    async with second.subscribe(QUEUE, prefetch=1) as subscription:
        delivery = await take_one(subscription)
        assert time.monotonic() - begin >= 1.3 - CLOCK_TOLERANCE_S
        assert (delivery.body, delivery.attempt) == (b"later", 2)
    await second.close()


async def test_published_is_delivered_with_what_it_was_given(broker: Broker) -> None:
    """Body and headers arrive as published, as attempt 1, not redelivered, under a message id of its own."""
    await broker.publish(message("a\0é", traceparent="00-a-b-01", bridge_note=7), message("b"))
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        first, second = await take_all(subscription, 2)
        assert (first.body, second.body) == ("a\0é".encode(), b"b")
        assert (first.headers["traceparent"], first.headers["bridge-note"]) == ("00-a-b-01", 7)
        assert (first.attempt, first.is_redelivered) == (1, False)
        assert first.message_id != second.message_id
        await asyncio.gather(first.ack(), second.ack())


async def test_acked_is_gone(broker: Broker) -> None:
    """An acked message is counted nowhere and never comes back."""
    await broker.publish(message("done"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await (await take_one(subscription)).ack()

        async def is_empty() -> bool:
            figures = await stats(broker)
            return (figures.ready, figures.unacked) == (0, 0)

        await eventually(is_empty)
    await broker.publish(message("next"))
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        assert (await take_one(subscription)).body == b"next"


async def test_unacked_comes_back(broker: Broker) -> None:
    """What a subscriber took and did not settle comes back as redelivered, with the same attempt, when it is gone."""
    await broker.publish(message("held"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        held = await take_one(subscription)
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        again = await take_one(subscription)
        assert (again.body, again.is_redelivered, again.attempt) == (b"held", True, 1)
        with pytest.raises(BrokerUnavailable):
            await held.ack()
        await again.ack()


async def test_take_waits_for_a_message(broker: Broker) -> None:
    """A waiting take is woken by a publish and gets only what is there."""
    async with broker.subscribe(QUEUE, prefetch=10) as subscription:
        waiting = asyncio.create_task(subscription.take(10))
        assert await is_quiet(waiting)
        await broker.publish(message("now"))
        assert bodies(await asyncio.wait_for(waiting, DEADLINE_S)) == ["now"]


async def test_retry_waits_and_counts(broker: Broker) -> None:
    """A retried delivery comes back to its queue not earlier than told, as the next attempt and not as redelivered."""
    await broker.publish(message("again"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        delivery = await take_one(subscription)
        begin = time.monotonic()
        await delivery.retry(timedelta(seconds=0.5))
        again = await take_one(subscription)
        assert time.monotonic() - begin >= 0.5 - CLOCK_TOLERANCE_S
        assert (again.body, again.attempt, again.is_redelivered) == (b"again", 2, False)
        await again.retry(NO_DELAY)
        assert (await take_one(subscription)).attempt == 3


@pytest.mark.parametrize("delay_s", [0.7, 1.3])
async def test_delay_between_rungs_is_not_early(broker: Broker, delay_s: float) -> None:
    """A delay that is no rung of its own is waited for in full."""
    await broker.publish(message("odd"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        delivery = await take_one(subscription)
        begin = time.monotonic()
        await delivery.retry(timedelta(seconds=delay_s))
        again = await take_one(subscription)
        assert time.monotonic() - begin >= delay_s - CLOCK_TOLERANCE_S
        assert again.attempt == 2  # the rounds between rungs are no attempts


async def test_shorter_delay_is_not_kept_behind_a_longer_one(broker: Broker) -> None:
    """Delays run side by side."""
    await broker.publish(message("slow"), message("fast"))
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        slow, fast = await take_all(subscription, 2)
        await slow.retry(timedelta(seconds=2))
        await fast.retry(timedelta(seconds=0.5))
        assert bodies(await take_all(subscription, 2)) == ["fast", "slow"]


async def test_uncounted_retry_keeps_the_attempt(broker: Broker) -> None:
    """A copy of a delivery that was never started has the same attempt."""
    await broker.publish(message("idle"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await (await take_one(subscription)).retry(NO_DELAY)
        await (await take_one(subscription)).retry(NO_DELAY, counted=False)
        assert (await take_one(subscription)).attempt == 2


async def test_retry_merges_headers_and_keeps_published_at(broker: Broker) -> None:
    """A copy has the old headers, those given over them, and the time of the first publish."""
    await broker.publish(message("marked", traceparent="00-a-b-01", bridge_mark="old"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        first = await take_one(subscription)
        await first.retry(NO_DELAY, headers={"bridge-mark": "new", "bridge-standing": "waiting"})
        second = await take_one(subscription)
        await second.retry(NO_DELAY)
        third = await take_one(subscription)
        for copy in (second, third):
            assert copy.headers["traceparent"] == "00-a-b-01"
            assert (copy.headers["bridge-mark"], copy.headers["bridge-standing"]) == ("new", "waiting")
            assert abs(copy.published_at - first.published_at) < timedelta(milliseconds=1)


async def test_dead_letter_keeps_body_and_reason(broker: Broker) -> None:
    """A dead letter has body and headers of the delivery, the reason, and the queue it came from."""
    await broker.publish(message("hopeless", traceparent="00-a-b-01"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await (await take_one(subscription)).dead_letter("gone")
    async with broker.subscribe(DEAD, prefetch=1) as dead_letters:
        dead = await take_one(dead_letters)
        assert dead.body == b"hopeless"
        assert (dead.headers[REASON], dead.headers[HOME]) == ("gone", QUEUE)
        assert dead.headers["traceparent"] == "00-a-b-01"
        await dead.ack()
    assert (await stats(broker)).ready == 0


async def test_prefetch_is_a_ceiling(broker: Broker) -> None:
    """A subscription never holds more than its prefetch; settling one makes room for one."""
    await broker.publish(*[message(str(number)) for number in range(5)])
    async with broker.subscribe(QUEUE, prefetch=2) as subscription:
        held = await take_all(subscription, 2)
        waiting = asyncio.create_task(subscription.take(10))
        assert await is_quiet(waiting)
        await held[0].ack()
        assert bodies(await asyncio.wait_for(waiting, DEADLINE_S)) == ["2"]


async def test_take_returns_no_more_than_its_limit(broker: Broker) -> None:
    """What is prefetched beyond the limit stays for the next take."""
    await broker.publish(*[message(str(number)) for number in range(4)])
    async with broker.subscribe(QUEUE, prefetch=4) as subscription:

        async def all_prefetched() -> bool:
            return (await stats(broker)).ready == 0

        await eventually(all_prefetched)
        async with asyncio.timeout(DEADLINE_S):
            first = await subscription.take(3)
        assert len(first) <= 3
        rest = await take_all(subscription, 4 - len(first))
        assert bodies(first + rest) == ["0", "1", "2", "3"]


async def test_unroutable_is_refused(broker: Broker) -> None:
    """A publish that no queue takes is refused, and nothing of ours is stored for it."""
    with pytest.raises(Unroutable):
        await broker.publish(message("nowhere", route=Route("", "bridge.no-such-queue")))
    assert (await stats(broker, UNROUTED)).ready == 0


async def test_unknown_target_goes_to_unrouted(broker: Broker) -> None:
    """A message for a target that nobody declared is confirmed and kept apart."""
    await broker.publish(message("lost", route=to_target("deleted")))
    async with broker.subscribe(UNROUTED, prefetch=1) as unrouted:
        assert (await take_one(unrouted)).body == b"lost"


async def test_every_route_leads_to_its_queue(broker: Broker) -> None:
    """Events, reports, polls and a target's resolutions arrive in their queues and in no other."""
    routes = {
        EVENTS: Route(EVENTS, "github-main.review.approved"),
        REPORTS: Route("", REPORTS),
        POLLS: Route("", POLLS),
        QUEUE: to_target(TARGET),
    }
    await broker.publish(*[message(queue, route=route) for queue, route in routes.items()])
    for queue in routes:
        async with broker.subscribe(queue, prefetch=2) as subscription:
            delivery = await take_one(subscription)
            assert delivery.body.decode() == queue
            await delivery.ack()


async def test_first_delivery_is_in_order(broker: Broker) -> None:
    """Messages of one publisher come in the order of their publishes."""
    expected = [str(number) for number in range(60)]
    for body in expected:
        await broker.publish(message(body))
    async with broker.subscribe(QUEUE, prefetch=7) as subscription:
        seen: list[str] = []
        while len(seen) < len(expected):
            delivery = await take_one(subscription)
            seen.append(delivery.body.decode())
            await delivery.ack()
    assert seen == expected


async def test_settled_twice_is_a_bug(broker: Broker) -> None:
    """Every verb refuses a delivery that was settled before."""
    await broker.publish(message("once"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        delivery = await take_one(subscription)
        await delivery.ack()
        for verb in (delivery.ack(), delivery.retry(NO_DELAY), delivery.dead_letter("twice"), delivery.release()):
            with pytest.raises(RuntimeError):
                await verb
    assert [figures.ready for figures in await broker.queues([QUEUE, DEAD])] == [0, 0]


async def test_pause_hands_back_and_resume_consumes_again(broker: Broker) -> None:
    """A paused subscription returns what it had prefetched, gets nothing, and after resume gets all of it."""
    await broker.publish(*[message(str(number)) for number in range(4)])
    async with broker.subscribe(QUEUE, prefetch=3) as subscription:

        async def is_full() -> bool:
            return (await stats(broker)).ready == 1

        await eventually(is_full)
        taken = await take_one(subscription)
        handed_back = await subscription.pause()
        assert sorted(bodies([taken, *handed_back])) == ["0", "1", "2"]
        await taken.ack()
        for delivery in handed_back:
            await delivery.retry(NO_DELAY, counted=False)
        waiting = asyncio.create_task(subscription.take(1))
        assert await is_quiet(waiting)
        await subscription.resume()
        (first,) = await asyncio.wait_for(waiting, DEADLINE_S)
        rest = await take_all(subscription, 2)
        assert sorted(bodies([first, *rest])) == ["1", "2", "3"]
        assert {delivery.attempt for delivery in rest} == {1}


async def test_paused_is_no_consumer(broker: Broker) -> None:
    """A paused subscription is not counted as a consumer; the broker is still ready."""

    async def consumers() -> int | None:
        return (await stats(broker)).consumers

    async def is_counted() -> bool:
        return await consumers() == 1

    async def is_not_counted() -> bool:
        return await consumers() == 0

    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await eventually(is_counted)
        await subscription.pause()
        await eventually(is_not_counted)
        assert broker.is_ready
        await subscription.resume()
        await eventually(is_counted)
    await eventually(is_not_counted)


async def test_release_comes_back_soon(broker: Broker) -> None:
    """A released delivery is handed out again at once, as redelivered, with its attempt and headers."""
    await broker.publish(message("back", bridge_mark="m"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        begin = time.monotonic()
        await (await take_one(subscription)).release()
        again = await take_one(subscription)
        assert time.monotonic() - begin < 2
        assert (again.body, again.is_redelivered, again.attempt) == (b"back", True, 1)
        assert again.headers["bridge-mark"] == "m"


async def test_poison_is_dead_lettered(broker: Broker) -> None:
    """What comes back more than twenty times goes to the dead letters instead of for ever round."""
    await broker.publish(message("poison"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription, broker.subscribe(DEAD, prefetch=1) as dead_letters:
        dead = asyncio.create_task(dead_letters.take(1))
        handed_out = 0
        while not dead.done():
            waiting = asyncio.create_task(subscription.take(1))
            await asyncio.wait([waiting, dead], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                handed_out += 1
                assert handed_out <= DELIVERY_LIMIT + 1
                await waiting.result()[0].release()
            else:
                waiting.cancel()
        assert handed_out == DELIVERY_LIMIT + 1
        assert bodies(dead.result()) == ["poison"]


async def test_retry_forgets_the_returns(broker: Broker) -> None:
    """Only returns of one copy count against the delivery limit: a retry starts anew."""
    await broker.publish(message("unlucky"))
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        for _ in range(2):
            for _ in range(DELIVERY_LIMIT - 1):
                await (await take_one(subscription)).release()
            await (await take_one(subscription)).retry(NO_DELAY)
        assert (await take_one(subscription)).attempt == 3


async def test_announcement_reaches_late_followers(broker: Broker) -> None:
    """A follower gets the latest body of every topic first, then each new one."""
    await broker.announce("target.a", b"running")
    await broker.announce("target.a", b"paused")
    await broker.announce("target.b", b"running")
    async with aclosing(broker.follow()) as news, asyncio.timeout(DEADLINE_S):  # type: ignore[type-var]
        past = dict([await anext(news), await anext(news)])
        assert past == {"target.a": b"paused", "target.b": b"running"}
        await broker.announce("target.a", b"resumed")
        assert await anext(news) == ("target.a", b"resumed")


async def test_announcement_survives_restart(durable_place: BrokerPlace) -> None:
    """The next process learns the latest body of a topic."""
    first = await durable_place.open()
    await first.announce("target.a", b"running")
    await first.announce("target.a", b"paused")
    await first.close()
    second = await durable_place.open()
    async with aclosing(second.follow()) as news, asyncio.timeout(DEADLINE_S):  # type: ignore[type-var]
        assert await anext(news) == ("target.a", b"paused")
    await second.close()


async def test_queue_figures_are_right(broker: Broker) -> None:
    """Ready, unacked and consumers are counted per queue, in the order asked for."""
    await broker.publish(*[message(str(number)) for number in range(3)])
    async with broker.subscribe(QUEUE, prefetch=1) as subscription:
        await take_one(subscription)

        async def are_right() -> bool:
            expected = [QueueStats(EVENTS, 0, 0, 0), QueueStats(QUEUE, 2, 1, 1)]
            return await broker.queues([EVENTS, QUEUE]) == expected

        await eventually(are_right)


async def test_concurrent_publishers_are_all_confirmed(broker: Broker) -> None:
    """Hundreds of publishes at once are each confirmed and each delivered once."""
    expected = [str(number) for number in range(300)]
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*[broker.publish(message(body)) for body in expected])
    async with broker.subscribe(QUEUE, prefetch=50) as subscription:
        seen: list[str] = []
        while len(seen) < len(expected):
            taken = await take_all(subscription, 10)
            seen += bodies(taken)
            await asyncio.gather(*[delivery.ack() for delivery in taken])
    assert sorted(seen) == sorted(expected)


async def test_two_subscriptions_share_a_queue(broker: Broker) -> None:
    """Two subscriptions with room get the messages in turn."""
    async with broker.subscribe(QUEUE, prefetch=5) as one, broker.subscribe(QUEUE, prefetch=5) as other:

        async def both_consume() -> bool:
            return (await stats(broker)).consumers == 2

        await eventually(both_consume)
        for number in range(4):
            await broker.publish(message(str(number)))
        taken = await take_all(one, 2) + await take_all(other, 2)
        assert sorted(bodies(taken)) == ["0", "1", "2", "3"]


async def test_close_gives_back_unsettled(place: BrokerPlace) -> None:
    """A broker that is closed ends its subscriptions; what they held comes back as redelivered, in the next process."""
    first = await place.open()
    await first.publish(message("held"))
    async with first.subscribe(QUEUE, prefetch=1) as subscription:
        held = await take_one(subscription)
        waiting = asyncio.create_task(subscription.take(1))
        await first.close()
        assert await asyncio.wait_for(waiting, DEADLINE_S) == []
        assert await subscription.pause() == []
        await subscription.resume()
        assert await subscription.take(1) == []
        with pytest.raises(BrokerUnavailable):
            await held.ack()
    assert not first.is_ready
    with pytest.raises(BrokerUnavailable):
        await first.publish(message("too late"))
    second = await place.open()
    async with second.subscribe(QUEUE, prefetch=1) as subscription:
        again = await take_one(subscription)
        assert (again.body, again.is_redelivered, again.attempt) == (b"held", True, 1)
    await second.close()


async def test_nothing_is_ready_before_it_is_declared(place: BrokerPlace) -> None:
    """Until a coordinator has declared the queues a broker is not ready, and refuses for the time being."""
    broker = place.make()
    await broker.start()
    assert not broker.is_ready
    with pytest.raises(BrokerUnavailable):
        await broker.publish(message("too early"))
    await broker.declare([TARGET])
    await eventually(lambda: broker.is_ready)
    await broker.publish(message("in time"))
    await broker.close()
