# What the job scripts share. A job inherits the environment of the shell that submitted it (sbatch --export=ALL).

# Add here what your cluster needs before Python starts, if that environment lacks it. If the package is installed, edit
# a copy of this folder and name it with `scripts` under [slurm] in luigi.cfg.
# module load python/3.12

# Version 2 of the job scripts

requeue=
task=

# Begin an attempt in this element's log, to which Slurm appends; of earlier attempts only the last two are kept
begin_attempt() {
    local log first
    log=$(readlink "/proc/$$/fd/1")
    if [[ -f $log ]]; then
        first=$(grep -an '^--- job ' "$log" | tail -n 2 | head -n 1)
        first=${first%%:*}
        if ((${first:-1} > 1)); then
            tail -n "+$first" "$log" > "$log.tmp" && cat "$log.tmp" > "$log"
            rm -f "$log.tmp"
        fi
    fi
    echo "--- job ${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}" \
        "on ${SLURMD_NODENAME:-$HOSTNAME}, $(date '+%Y-%m-%d %H:%M:%S')"
}

# Use the Python that submitted the job, in the folder where it was submitted: start PYTHON FOLDER
start() {
    begin_attempt
    python=$1
    cd "$2" || return
}

# Run one task: run TASK LUIGI_OPTION...
run() {
    status=1
    if [[ $requeue ]]; then return; fi # the remaining chunks are for the next allocation, whatever their status
    local scratch=()
    if [[ ${SLURM_TMPDIR:-} ]]; then scratch=(--scratch "$SLURM_TMPDIR"); fi
    # -P: a folder `tasks` in the working directory is not this package. The user's --scratch comes last and counts
    "$python" -P -m tasks "$1" "${scratch[@]}" "${@:2}" --runner element --local-scheduler true --no-lock &
    task=$!
    if [[ $requeue ]]; then kill -TERM "$task"; fi # the signal came before `task` had its number
    wait "$task"
    status=$?
    while kill -0 "$task" 2> /dev/null; do # a signal interrupts `wait` before the task has ended
        wait "$task"
        status=$?
    done
    task=
}

# Run those of the chunks that belong to this element, one after the other: run_chunks CHUNKS ELEMENTS TASK OPTION...
# CHUNKS are ranges, such as 0-5,7
run_chunks() {
    local elements=$2 failed=0 ranges range chunk
    IFS=, read -ra ranges <<< "$1"
    shift 2
    for range in "${ranges[@]}"; do
        for ((chunk = ${range%-*}; chunk <= ${range#*-}; chunk++)); do
            if ((chunk % elements == SLURM_ARRAY_TASK_ID)); then
                run "$@" --chunk "$chunk"
                if ((status)); then failed=$status; fi
            fi
        done
    done
    status=$failed
}

# Before the time limit Slurm sends USR1. The task ends within seconds and keeps its results; the job is requeued.
near_the_limit() {
    requeue=yes
    if [[ $task ]]; then kill -TERM "$task"; fi
}
trap near_the_limit USR1

end() {
    if [[ $requeue && $status != 0 ]]; then
        echo 'the time limit is near: the results are kept, and the job returns to the queue'
        scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
    fi
    echo "ended with status $status"
    exit "$status"
}
