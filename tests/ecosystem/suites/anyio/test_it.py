import anyio
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture(scope="module")
async def limiter(anyio_backend):
    yield anyio.CapacityLimiter(2)
    print("limiter torn down on", anyio_backend)


@pytest.fixture
async def event():
    return anyio.Event()


async def test_task_group(event):
    async with anyio.create_task_group() as group:
        group.start_soon(event.wait)
        event.set()


async def test_shared_by_the_module(limiter):
    async with limiter:
        assert limiter.borrowed_tokens == 1


async def test_failure(event):
    await anyio.sleep(0)
    assert event.is_set()
