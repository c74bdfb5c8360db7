import asyncio

import pytest
import pytest_asyncio


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def queue():
    made = asyncio.Queue()
    await made.put("first")
    yield made
    print("queue torn down")


@pytest_asyncio.fixture
async def task():
    running = asyncio.create_task(asyncio.sleep(0.01, result="slept"))
    yield running
    running.cancel()


@pytest.mark.asyncio(loop_scope="module")
async def test_module_loop(queue):
    assert await queue.get() == "first"


@pytest.mark.asyncio
async def test_task(task):
    assert await task == "slept"


@pytest.mark.asyncio
async def test_failure():
    await asyncio.sleep(0)
    assert await asyncio.sleep(0, result=1) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("seconds", [0, 0.001])
async def test_timeout(seconds):
    async with asyncio.timeout(5) if hasattr(asyncio, "timeout") else asyncio.Lock():
        await asyncio.sleep(seconds)


@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
@pytest.mark.asyncio
async def test_xfail():
    1 / 0  # noqa: B018
