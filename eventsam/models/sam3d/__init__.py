"""SAM 3D Objects' geometry-and-pose model in plain torch (arXiv 2511.16624): embedder, generator, decoder, pose."""
