"""The emotion of an audio file with its text, through plain tritonclient over gRPC.

python grpc_client.py clip.wav "I told you already!" [127.0.0.1:8001]
"""

import sys
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput


def as_input(name: str, content: bytes) -> InferInput:
    """Return an input of one row."""
    tensor = InferInput(name, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[content]], dtype=np.object_))
    return tensor


def main(clip: str, text: str, address: str = "127.0.0.1:8001") -> None:
    """Print label, modalities and probabilities."""
    inputs = [as_input("AUDIO", Path(clip).read_bytes()), as_input("TEXT", text.encode())]
    with InferenceServerClient(address) as client:
        answer = client.infer("hemogat", inputs, client_timeout=30)
    label = answer.as_numpy("LABEL")[0, 0].decode()
    used = answer.as_numpy("MODALITIES")[0, 0].decode()
    print(label, used, np.round(answer.as_numpy("PROBABILITIES")[0], 4).tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
