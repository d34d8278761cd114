"""Audio, text and manifests: numpy only, one implementation for training and serving."""
