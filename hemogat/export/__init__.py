"""Export: torch to ONNX, the parity gate and the bundle."""
