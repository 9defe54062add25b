"""Answers of an endpoint are read up to a bound, which holds for what they unpack to."""

import zlib
from collections.abc import AsyncIterator

import httpx2

LARGEST = 2**25
"""Bytes of an answer: 128 samples of 1,000 tokens with their log-probabilities have half as many."""
ENCODINGS = "gzip, deflate"
"""How an answer may be packed, as requests say it."""


class TooLarge(Exception):
    """An answer is larger than is read."""


class _Bounded(httpx2.AsyncByteStream):
    """The unpacked bytes of a stream. Raises TooLarge, and ValueError where they are not packed as is said."""

    def __init__(self, packed: httpx2.AsyncByteStream, encoding: str) -> None:
        self.packed, self.encoding = packed, encoding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # the header says whether it is gzip or zlib
        room = LARGEST
        async for chunk in self.packed:
            data = chunk
            if self.encoding != "identity":
                try:
                    data = unpacker.decompress(chunk, room + 1)
                except zlib.error:
                    raise ValueError(f"its answer is not packed as `{self.encoding}`, as it says") from None
            room -= len(data)
            if room < 0:
                raise TooLarge(f"its answer is larger than {LARGEST // 2**20} MiB")
            yield data

    async def aclose(self) -> None:
        await self.packed.aclose()


async def bound(response: httpx2.Response) -> None:
    """Makes a response one of bounded bytes in UTF-8. Raises ValueError where it is packed in a way that was not asked
    for."""
    encoding = response.headers.pop("content-encoding", "identity").strip().lower() or "identity"
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise ValueError(f"its answer is packed as `{encoding[:20]}`, which was not asked for")
    response.headers["content-type"] = "application/json"
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, encoding)
