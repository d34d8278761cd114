"""The emotion of speech while it is spoken: 16-bit mono samples from standard input.

arecord -q -t raw -f S16_LE -r 16000 -c 1 | python microphone.py 16000 [grpc://127.0.0.1:8001]
"""

import sys

import numpy as np

from hemogat.serving.client import Client

CHUNK_S = 0.1


def main(rate_hz: int, url: str = "grpc://127.0.0.1:8001") -> None:
    """Print the emotion so far after each second, and that of the whole at the end."""
    chunk_bytes = 2 * int(CHUNK_S * rate_hz)
    with Client(url) as client, client.stream(rate_hz=rate_hz) as stream:
        while chunk := sys.stdin.buffer.read(chunk_bytes):
            so_far = stream.send(np.frombuffer(chunk[: len(chunk) // 2 * 2], "<i2"))
            if so_far is not None:
                print(f"{so_far.windows} s: {so_far.label}", flush=True)
        print(f"whole: {stream.finish().label}")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
