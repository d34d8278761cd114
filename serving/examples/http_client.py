"""The two most probable emotions of an audio file, through plain tritonclient over HTTP.

python http_client.py clip.wav [127.0.0.1:8000]
"""

import sys
from pathlib import Path

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput


def main(clip: str, address: str = "127.0.0.1:8000") -> None:
    """Print a line for each: its name and probability."""
    audio = InferInput("AUDIO", [1, 1], "BYTES")
    audio.set_data_from_numpy(np.array([[Path(clip).read_bytes()]], dtype=np.object_))
    # Triton's classification extension: "value:index:label", best first.
    best = InferRequestedOutput("PROBABILITIES", class_count=2)
    with InferenceServerClient(address, network_timeout=30) as client:
        answer = client.infer("hemogat", [audio], outputs=[best])
    for element in answer.as_numpy("PROBABILITIES").reshape(-1):
        probability, _, label = element.decode().split(":")
        print(label, probability)


if __name__ == "__main__":
    main(*sys.argv[1:])
