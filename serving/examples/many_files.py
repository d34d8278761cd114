"""The emotion of many audio files, 16 of them under way at a time.

python many_files.py grpc://127.0.0.1:8001 *.wav
"""

import asyncio
import sys

from hemogat import AsyncClient
from hemogat.errors import HemogatError

CONCURRENCY = 16


async def main(url: str, *clips: str) -> None:
    """Print a line for each file, as soon as it is answered."""
    slots = asyncio.Semaphore(CONCURRENCY)
    async with AsyncClient(url) as client:

        async def ask(clip: str) -> None:
            async with slots:
                try:
                    answer = await client.predict(clip)
                except HemogatError as error:
                    print(f"{clip}: {error}", file=sys.stderr)
                else:
                    print(clip, answer.label, f"{max(answer.probabilities.values()):.4f}")

        await asyncio.gather(*map(ask, clips))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
