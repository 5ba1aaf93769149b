"""A run's records on disk, mirrored to MLflow by the process that started the run."""

import os

# MLflow reads these when it is imported or called; what a person has set stands. It reports its usage over the network
# unless told not to, and takes minutes to give up on a server that is away: here the records wait on disk instead.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
