"""Parts of benchmarks.platform: each module has a function `rows(quick)`."""
