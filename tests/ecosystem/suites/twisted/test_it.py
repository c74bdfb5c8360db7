import pytest
import pytest_twisted
from twisted.internet import defer, reactor, task


@pytest_twisted.inlineCallbacks
def test_deferred():
    value = yield task.deferLater(reactor, 0.01, lambda: 3)
    assert value == 3


@pytest_twisted.ensureDeferred
async def test_coroutine():
    assert await defer.succeed(1) == 1


@pytest_twisted.async_yield_fixture()
async def resource():
    await defer.succeed(None)
    yield "resource"
    await defer.succeed(None)


@pytest_twisted.ensureDeferred
async def test_fixture(resource):
    assert resource == "resource"


@pytest_twisted.inlineCallbacks
def test_failure():
    yield defer.succeed(None)
    assert 0


def test_no_twisted():
    pass
