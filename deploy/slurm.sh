#!/bin/bash
# eventsam on Slurm: one Ray node per Slurm node, for the time of this job. What follows the file's name is what follows
# `eventsam`:
#
#   sbatch --nodes=4 --gpus-per-node=4 deploy/slurm.sh train fuse --workers 16 --gpus-per-worker 1 --runs /shared/runs ...
#
# The environment must be active where sbatch is called, and lie where all nodes see it. Every port of this Ray wants a
# token that is made here and readable by this user alone; the dashboard listens on the head's loopback, so that only an
# ssh tunnel to that node reaches it. Before the time is up Slurm sends TERM: the training saves a checkpoint and ends.
#SBATCH --job-name=eventsam
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180
set -euo pipefail
umask 077

: "${SLURM_JOB_ID:?submit this file with sbatch}"
if (($# == 0)); then
    echo "nothing to run: sbatch deploy/slurm.sh train RECIPE ..." >&2
    exit 2
fi

# A home directory is shared by the nodes; mktemp -d makes a folder that only its owner can enter.
private=$(mktemp -d "$HOME/.eventsam-$SLURM_JOB_ID-XXXXXX")
python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$private/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token" RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN RAY_ADDRESS

steps=()
finish() {
    trap - EXIT
    for step in "${steps[@]}"; do kill "$step" 2>/dev/null || true; done
    wait || true
    rm -r "$private"
    srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --overlap rm -rf "/tmp/ray-$SLURM_JOB_ID" || true
}
trap finish EXIT

# Two jobs may share a node where a site does not know --exclusive: their ports follow from the job's number.
port=$((20000 + SLURM_JOB_ID % 10000))
dashboard_port=$((30000 + SLURM_JOB_ID % 10000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
on_head=(srun --nodes=1 --ntasks=1 --overlap --nodelist="$head")
ip=$("${on_head[@]}" hostname --ip-address | awk '{print $1}')

"${on_head[@]}" ray start --head --block --node-ip-address="$ip" --port="$port" \
    --dashboard-host=127.0.0.1 --dashboard-port="$dashboard_port" --temp-dir="/tmp/ray-$SLURM_JOB_ID" &
steps+=("$!")
if ((SLURM_JOB_NUM_NODES > 1)); then
    others=$((SLURM_JOB_NUM_NODES - 1))
    # Workers ask for the head until it answers.
    srun --nodes="$others" --ntasks="$others" --exclude="$head" \
        bash -c "until ray start --address=$ip:$port --block; do sleep 2; done" &
    steps+=("$!")
fi

export RAY_ADDRESS="$ip:$port"
"${on_head[@]}" python - "$SLURM_JOB_NUM_NODES" <<'PYTHON'
import sys
import time

import ray

deadline = time.monotonic() + 300
while True:
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="ERROR")
        if sum(node["Alive"] for node in ray.nodes()) >= int(sys.argv[1]):
            break
        problem = f"{sum(node['Alive'] for node in ray.nodes())} of {sys.argv[1]} nodes are there"
    except (ConnectionError, RuntimeError) as error:
        problem = str(error)
    if time.monotonic() > deadline:
        sys.exit(f"the Ray cluster did not come up in 5 minutes: {problem}")
    time.sleep(2)
PYTHON
echo "Ray: $RAY_ADDRESS on $SLURM_JOB_NUM_NODES nodes; dashboard: ssh -L 8265:127.0.0.1:$dashboard_port $head"

"${on_head[@]}" python -m ray_jobs "$@" &
driver=$!
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM INT
code=0
wait "$driver" || code=$?
# A signal ends `wait` before the driver: let it save.
while kill -0 "$driver" 2>/dev/null; do
    code=0
    wait "$driver" || code=$?
done
exit "$code"
