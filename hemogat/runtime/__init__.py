"""Reading bundles and running them in process, without torch."""
