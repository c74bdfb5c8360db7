import pytest
import trio


@pytest.fixture
async def channel():
    send, receive = trio.open_memory_channel(1)
    async with send, receive:
        yield send, receive


@pytest.mark.trio
async def test_channel(channel):
    send, receive = channel
    await send.send("word")
    assert await receive.receive() == "word"


@pytest.mark.trio
async def test_autojump(autojump_clock):
    await trio.sleep(3600)
    assert trio.current_time() >= 3600


@pytest.mark.trio
async def test_nursery(nursery):
    nursery.start_soon(trio.sleep, 0)


@pytest.mark.trio
async def test_failure():
    await trio.lowlevel.checkpoint()
    assert "trio" == "other"
