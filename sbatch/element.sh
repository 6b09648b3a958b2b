# What the job scripts have in common. They run in the folder of luigi.cfg, whose path is their first argument.

# Put here what your site needs before Python runs:
# module load python/3.12

requeue=

# Run one task of the graph: run TASK LUIGI_OPTION...
run() {
    status=1
    if [[ $requeue ]]; then return; fi # what is left is for another allocation, however well it went so far
    local scratch=()
    if [[ ${SLURM_TMPDIR:-} ]]; then scratch=(--scratch "$SLURM_TMPDIR"); fi
    .venv/bin/luigi --module tasks "$@" "${scratch[@]}" --runner element --local-scheduler true --no-lock &
    task=$!
    wait "$task"
    status=$?
    while kill -0 "$task" 2> /dev/null; do # a signal ends the waiting before the task has ended
        wait "$task"
        status=$?
    done
}

# Run the chunks of this element, one after the other: run_chunks CHUNKS ELEMENTS TASK LUIGI_OPTION...
run_chunks() {
    local chunks=$1 elements=$2 chunk failed=0
    shift 2
    for ((chunk = SLURM_ARRAY_TASK_ID; chunk < chunks; chunk += elements)); do
        run "$@" --chunk "$chunk"
        if ((status)); then failed=$status; fi
    done
    status=$failed
}

# The time limit is near: the task ends in seconds, with all that it has done, and goes on in another allocation.
near_the_limit() {
    requeue=yes
    kill -TERM "$task"
}
trap near_the_limit USR1

end() {
    if [[ $requeue && $status != 0 ]]; then
        echo 'the time limit is near: what is done is kept, and the job goes back to the queue'
        scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
    fi
    echo "ended with status $status"
    exit "$status"
}
