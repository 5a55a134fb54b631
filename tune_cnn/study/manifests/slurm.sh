#!/bin/bash
# @STUDIES@: written by `tune-cnn manifest slurm`. Send it with: sbatch @FILE@
# What is the site's own (partition, account, time limit) is given to sbatch: sbatch --partition=gpu --time=8:00:00 @FILE@
#
# The name in squeue, and one file of output a job, to which a requeued job goes on writing
#SBATCH --job-name=@JOB_NAME@
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
# The folder in which the command is given: paths of the spec start there
#SBATCH --chdir=@FOLDER@
# @WHY_NODES@
#SBATCH --nodes=@NODES@
#SBATCH --ntasks-per-node=1
@REQUESTS@
# Whole nodes, with all their memory. Trials that share a node with strangers have other times, and Ray's own clean-up
# (`ray stop`, when symmetric-run ends) ends every Ray of this user on the node
#SBATCH --exclusive
#SBATCH --mem=0
# A job that is preempted, or whose node fails, waits in the queue again: the same command goes on
#SBATCH --requeue
# This long before the time limit the batch script, and nobody else, gets SIGUSR1 (Slurm may send it a minute earlier).
# An epoch, the report and up to a minute for MLflow should fit in; else trials go on from their last checkpoints
#SBATCH --signal=B:USR1@@NOTICE_S@
@ARRAY@

set -u
@CHOOSE@
# The same programs on every node: Python and packages must be equal
export PATH=@PROGRAMS@:$PATH

# Passwords stand in a file that you alone may read, and are handed on in the environment, never as arguments:
#   TUNE_CNN_STORE=postgresql://…   MLFLOW_TRACKING_URI=https://…   MLFLOW_TRACKING_USERNAME=…   MLFLOW_TRACKING_PASSWORD=…
#   TUNE_CNN_DATA_QUERY='…', where shards of a web server are signed: srun hands it to every node
secrets=@SECRETS@
if [ -e "$secrets" ]; then
    if [ "$(stat -L -c %a "$secrets")" != 600 ]; then
        echo "$secrets: must be readable by you alone; chmod 600 $secrets" >&2
        exit 2
    fi
    set -a; . "$secrets"; set +a
fi
@RECORD@

# Ray's ports are open to the whole network: who hasn't this job's token is turned away
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Ray waits this long for all nodes; the search itself writes no colours into a file
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 NO_COLOR=1
# A node that is frozen or cut off is given up after some 25 s; Ray by itself waits for 75
export RAY_health_check_timeout_ms=5000 RAY_health_check_failure_threshold=3

# Ray's head, and the driver with it, are on this node. Its address must be one that the other nodes reach, and no
# loopback, which many systems name first; HEAD_ADDRESS overrules it where a node has several networks
address=${HEAD_ADDRESS:-$(hostname -I | tr ' ' '\n' | grep -v '^127\.' | head -n 1)}
port=$((20000 + SLURM_JOB_ID % 10000))  # two jobs that follow one another don't meet

# A signal to the step would reach every process in it, and end Ray before the search. So the driver's number is left
# here, and the signal goes to it alone; its exit code too, as srun's is the highest of all tasks'
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
told=
late=
end_gently() {
    told=$1
    # An epoch that takes longer than the time that is left is trained again, but the job must be in the queue by then
    if [ "$told" = USR1 ] && [ -z "$late" ]; then
        (sleep @LATEST_S@; echo "no time is left: queued again"; scontrol requeue "$SLURM_JOB_ID") & late=$!
    fi
    echo "SIG$told: the search ends at the epoch, checkpoints are kept"
    if [ -s "$place/driver" ]; then kill -USR1 "$(cat "$place/driver")"; else kill -TERM "$step"; fi
}
trap 'end_gently USR1' USR1    # the time is nearly over: end at the epoch, and queue again
trap 'end_gently TERM' TERM    # scancel --batch --signal=TERM: end at the epoch, and stay ended

# A job that was ended by SIGTERM may have left its Ray, where Slurm follows processes by their parents alone. The node is
# this job's own, so such a Ray is ended first
fresh='for name in gcs_server raylet; do pgrep -U "$(id -u)" -x "$name" > /dev/null && ray stop --force; done; exec "$@"'

# One task a node: each starts its part of one Ray cluster, the first one runs the search when all are there. When that
# has ended, the others would look for their head for another minute: --wait ends them after five seconds
srun --nodes=@NODES@ --ntasks-per-node=1 --cpus-per-task=@CPUS@ --kill-on-bad-exit=0 --wait=5 bash -c "$fresh" fresh \
    ray symmetric-run --address "$address:$port" --min-nodes @NODES@ --num-cpus=@CPUS@ --num-gpus=@GPUS@ -- \
    bash -c '"$@" & echo $! > "$0/driver"; wait $!; echo $? > "$0/code"; exit "$(cat "$0/code")"' "$place" \
    tune-cnn search @SEARCH@ --address "$address:$port" &
step=$!

# A signal ends `wait` while the search still runs: wait again
while kill -0 "$step" 2> /dev/null; do wait "$step"; done
wait "$step"
code=$?
# Where the search has left no code, Ray did not come up or all of it was killed, and srun may say 0 all the same
if [ -s "$place/code" ]; then
    code=$(cat "$place/code")
elif [ "$code" -eq 0 ]; then
    echo "the search has not begun, or was killed: see above" >&2
    code=137
fi

if [ -n "$late" ]; then kill "$late"; fi

# Preempted, and nobody has told this script: Slurm has sent SIGTERM to the step alone, which has ended with it. A job that
# ends now has failed, so it queues itself again
if [ -z "$told" ] && [ "$code" -ne 0 ] && [ "$code" -ne 2 ] &&
    scontrol show job "$SLURM_JOB_ID" | grep -q 'PreemptTime=[0-9]'; then
    told=USR1 code=130
fi

# What Slurm sends to a job that queues itself again is no news
trap '' USR1 TERM
# 0: the search is done · 1: it failed · 2: the input is wrong · all else after SIGUSR1: it was interrupted
case "$told:$code" in
    USR1:0 | USR1:1 | USR1:2) ;;
    USR1:*) echo "queued again, to go on with the same command"; scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
