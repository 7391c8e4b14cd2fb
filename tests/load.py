"""Articles sent to a service at random moments, whether it keeps up or not: a process of its own,
so that the time it takes is not counted as the service's.

    python -m tests.load http://127.0.0.1:3000 RATE SECONDS < texts.json

One article a request, `RATE` requests a second. Prints JSON: the requests by status, and the
seconds of those that were answered with 200.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

import aiohttp

CONNECTIONS = 512  # a request that finds none free waits for one, which counts as its time
TIMEOUT = aiohttp.ClientTimeout(total=120)


async def load(
    address: str, texts: Sequence[str], rate: float, seconds: float
) -> tuple[Counter[int], list[float]]:
    """The statuses of all requests, and the seconds of the articles that were read."""
    draws = random.Random(13)
    bodies = [json.dumps({"articles": [{"text": text}]}).encode() for text in texts]
    statuses: Counter[int] = Counter()
    times: list[float] = []
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:

        async def ask(due: float) -> None:
            body = draws.choice(bodies)
            async with session.post(f"{address}/v1/tag", data=body, headers=headers) as answer:
                await answer.read()
            statuses[answer.status] += 1
            if answer.status == 200:
                times.append(time.perf_counter() - due)

        due = began = time.perf_counter()
        asked: list[asyncio.Task[None]] = []
        while due < began + seconds:
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            asked.append(asyncio.create_task(ask(due)))
            due += draws.expovariate(rate)
        await asyncio.gather(*asked)
    return statuses, times


def main() -> None:
    """Send what stdin holds as the command line says."""
    address, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    texts = json.load(sys.stdin)
    gc.disable()  # its pauses would be measured as the service's
    statuses, times = asyncio.run(load(address, texts, rate, seconds))
    json.dump({"statuses": statuses, "seconds": times}, sys.stdout)


if __name__ == "__main__":
    main()
