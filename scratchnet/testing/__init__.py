"""The conformance kit: what proves that a layer or a backend does what its contract says."""
