"""Every consumer under bridge/consumers, and one kept elsewhere, keeps the shared promises."""

import pkgutil
from datetime import timedelta
from http import HTTPStatus

import pytest
from pydantic import ConfigDict, SecretStr

import bridge.consumers
from bridge.core.consumer import Address, Consumer, load_consumer
from bridge.core.outcome import Done, Ending, Gone, Health, Later, Refused, Standing
from bridge.core.request import Call, Reply
from bridge.core.resolution import Resolution
from bridge.testing.fleet import HTTP_PROMISES, PROMISES, BrokenPromise, Promise, Specimen, promises_of
from tests.support.fakes import FakeSettings

SECRET = "s3cr3t-0f-the-fleet"  # noqa: S105 - a test's own
APPROVAL_TOKEN = "a2c4e6f8-0123-4567-89ab-cdef01234567"  # noqa: S105 - as above

SPECIMENS = {
    "tests.support.acme.acme_ci:Acme": Specimen(
        "tests.support.acme.acme_ci:Acme",
        settings={"base_url": "https://acme.example/", "token": SECRET},
        address={"gate": "a b/c"},
    ),
    "tests.support.acme.keyed:KeyedAcme": Specimen(
        "tests.support.acme.keyed:KeyedAcme",
        settings={"base_url": "https://acme.example/", "token": SECRET},
        address={"gate": "g", "key": "k3y-0f-the-fleet", "lock": {"name": "l", "code": "c0de-0f-the-fleet"}},
        others=[{"gate": "g", "codes": ["4815-1623"], "notes": {"a": "n0te-0f-the-fleet"}}],
    ),
    "jenkins": Specimen(
        "jenkins",
        settings={"base_url": "https://jenkins.example/ci/", "username": "bridge", "token": SECRET},
        address={"build_url": "https://jenkins.example/ci/job/mb/job/feature%252Fx/7/", "input_id": "deploy"},
    ),
    "circleci": Specimen(
        "circleci",
        settings={"base_url": "https://circleci.example", "token": SECRET},
        address={"workflow_id": "5034460f-c7c4-4c43-9457-de07e2029e7b", "approval": "hold"},
        others=[{"continuation_key": "c0ntinue-the-fleet", "configuration": "version: 2.1"}],
    ),
    "codepipeline": Specimen(
        "codepipeline",
        settings={"region": "eu-west-1", "access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET},
        address={"job_id": "11111111-abcd-1111-abcd-111111abcdef"},
        others=[{"approval": {"pipeline": "p", "stage": "s", "action": "a", "token": APPROVAL_TOKEN}}],
    ),
}

WAIVERS: dict[tuple[str, str], str] = {}
"""(consumer, promise): the reason why it need not be kept; here to shrink."""

FOUND = sorted(module.name for module in pkgutil.iter_modules(bridge.consumers.__path__) if module.name[0] != "_")
CASES = [
    pytest.param(specimen, promise, id=f"{name}-{promise.__name__}")
    for name, specimen in SPECIMENS.items()
    if name in FOUND or ":" in name
    for promise in promises_of(specimen)
]


@pytest.mark.parametrize("name", FOUND)
def test_every_consumer_is_in_the_fleet(name: str) -> None:
    """A file under bridge/consumers loads by its name, and has values here to be checked with."""
    assert issubclass(load_consumer(name), Consumer)
    assert name in SPECIMENS, f"add a Specimen for {name}"


@pytest.mark.parametrize(("specimen", "promise"), CASES)
async def test_fleet(specimen: Specimen, promise: Promise) -> None:
    """A consumer keeps the promise that the test's name tells, or has a waiver with its reason."""
    reason = WAIVERS.get((specimen.spec, promise.__name__))
    if reason is None:
        await promise(specimen)
        return
    with pytest.raises(BrokenPromise):  # a waiver that is no longer needed must go
        await promise(specimen)


class LooseSettings(FakeSettings):
    token: str = SECRET


class LooseAddress(Address):
    model_config = ConfigDict(extra="ignore")

    key: SecretStr

    def canonical(self, settings: object) -> str:  # noqa: ARG002 - the port's shape
        return self.key.get_secret_value()


class Loose(Consumer[LooseSettings, LooseAddress]):
    async def look(self, address: LooseAddress) -> Standing:  # noqa: ARG002 - it does everything wrong
        reply = await self.raw_http.send(Call.get(f"/../{self.settings.token}"))
        return Standing.WAITING if reply.status == HTTPStatus.NO_CONTENT else Standing.GONE

    async def resume(self, address: LooseAddress, resolution: Resolution) -> Ending:  # noqa: ARG002
        reply = await self.raw_http.send(Call.get(f"/../{self.settings.token}"))
        return Done() if reply.is_success else Gone() if reply.status in (401, 403) else Refused()

    async def resume_seen(self, address: LooseAddress, resolution: Resolution, sight: object) -> Ending:  # noqa: ARG002
        return await self.resume(address, resolution)

    async def health(self) -> Health:
        return Health.UP


@pytest.mark.parametrize(
    "promise",
    [promise for promise in (*PROMISES, *HTTP_PROMISES) if promise.__name__ != "has_one_spelling_for_a_place"],
    ids=lambda promise: promise.__name__,
)
async def test_a_careless_consumer_keeps_none(promise: Promise) -> None:
    """Each promise is one that can be broken: a consumer that does everything wrong fails them all."""
    with pytest.raises(BrokenPromise):
        await promise(Specimen("tests.contract.test_consumer_fleet:Loose", settings={}, address={"key": SECRET}))


@pytest.mark.parametrize("spec", ["nosuch", "no_such_module:X", "bridge.core.request:Call", "bridge:NoSuch"])
def test_what_is_no_consumer_is_refused_by_name(spec: str) -> None:
    """A wrong `consumer` in the config is told in words, not by a traceback of the import."""
    with pytest.raises(ValueError, match="no consumer"):
        load_consumer(spec)


@pytest.mark.parametrize(
    ("call", "status", "expected"),
    [
        (Call.get("/"), 429, Later("the platform answered 429", timedelta(seconds=3), is_throttled=True)),
        (Call.post("/"), 429, Later("the platform answered 429", timedelta(seconds=3), is_throttled=True)),
        (Call.get("/"), 503, Later("the platform answered 503", timedelta(seconds=3))),
        (Call.post("/"), 503, Later("the platform answered 503", timedelta(seconds=3), is_doubtful=True)),
    ],
)
async def test_the_base_class_judges_what_every_platform_says_alike(call: Call, status: int, expected: Later) -> None:
    """Throttling and failures become Later before a consumer sees them; only a failed write is doubtful."""
    consumer, _ = SPECIMENS["tests.support.acme.acme_ci:Acme"].make(Reply(status, {"retry-after": "3"}, b""))
    with pytest.raises(Later) as caught:
        await consumer.http.send(call)
    assert caught.value == expected


def test_who_needs_the_keys_is_told_by_the_address() -> None:
    """A secret field does it, and so does a client's token; a worker of any other platform reads no key."""
    assert load_consumer("tests.support.acme.keyed:KeyedAcme").takes_secrets()
    assert not load_consumer("jenkins").takes_secrets()
    assert ForPartners.takes_secrets()


class PartnersAddress(Address):
    client: str

    @property
    def third_party_client(self) -> str:
        return self.client


class ForPartners(Consumer[FakeSettings, PartnersAddress]): ...
