"""Bounds the size of a response: of its unpacked bytes, so that a small compressed body cannot fill the memory."""

import zlib
from collections.abc import AsyncIterator

import httpx2

MAX_BYTES = 2**25
"""Unpacked bytes of a response: 128 completions of 1,000 tokens with their log-probabilities have half as many."""
ENCODINGS = "gzip, deflate"
"""The value of Accept-Encoding."""


class ResponseTooLarge(Exception):
    """A response has more than MAX_BYTES."""


class _BoundedStream(httpx2.AsyncByteStream):
    """The unpacked bytes of a stream. Raises ResponseTooLarge, and ValueError if they are not packed as `encoding`."""

    def __init__(self, stream: httpx2.AsyncByteStream, encoding: str) -> None:
        self.stream, self.encoding = stream, encoding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: detects gzip or zlib from the header
        remaining = MAX_BYTES
        async for chunk in self.stream:
            data = chunk
            if self.encoding != "identity":
                try:
                    data = unpacker.decompress(chunk, remaining + 1)
                except zlib.error:
                    raise ValueError(f"its answer is not packed as `{self.encoding}`, as it says") from None
            remaining -= len(data)
            if remaining < 0:
                raise ResponseTooLarge(f"its answer is larger than {MAX_BYTES // 2**20} MiB")
            yield data

    async def aclose(self) -> None:
        await self.stream.aclose()


async def bound_response(response: httpx2.Response) -> None:
    """A response hook of httpx: bounds the bytes of a response and reads them as UTF-8.

    Raises ValueError if the response is packed in a way that ENCODINGS does not allow.
    """
    encoding = response.headers.pop("content-encoding", "identity").strip().lower() or "identity"
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise ValueError(f"its answer is packed as `{encoding[:20]}`, which was not asked for")
    response.headers["content-type"] = "application/json"
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _BoundedStream(response.stream, encoding)
