"""A message's content on its way out: block by block, as fast as the network takes it, and ended once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing

from mailagent.envelope.reply import Reply
from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.dot_stuffing import DotStuffing
from mailagent.smtp.sending_failed import SendingFailed

#: Blocks cut anywhere, with any line ends. What has to be waited for limits its own waits.
Content = Iterable[bytes] | AsyncIterable[bytes]


async def send_content(channel: ClientChannel, content: Content, seconds: float, verdicts: int = 1) -> Reply | None:
    """Send a message's content, which DATA's 354 asked for, and the end mark. One block is in memory at a time.

    @param seconds: how long the network may take over one block.
    @param verdicts: how many replies the server then owes (RFC 2033 section 4.2).
    @return: C{None}; a refusal if one came before the content was through, which ends the connection too.
    @raise SendingFailed: as L{ClientChannel.reply}. Whatever breaks the content off, no end mark follows.
    """
    stuffing = DotStuffing()
    channel.owe(verdicts)
    try:
        async with aclosing(blocks_of(content)) as blocks:
            async for block in blocks:
                encoded = stuffing.encode(block)
                refusal = await channel.write(encoded, seconds) if encoded else None
                if refusal is not None:
                    return refusal
        return channel.write_end(stuffing.finish())
    except BaseException:
        channel.drop(SendingFailed("the message broke off"))
        raise


async def blocks_of(content: Content) -> AsyncGenerator[bytes, None]:
    """Each block of C{content}. To close this closes C{content} too, if it is a generator that waits."""
    if not isinstance(content, AsyncIterable):
        for block in content:
            yield block
        return
    try:
        async for block in content:
            yield block
    finally:
        if isinstance(content, AsyncGenerator):
            await content.aclose()
