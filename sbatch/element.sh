# What the job scripts share. A job inherits the environment of the shell that submitted it (sbatch --export=ALL).

# Add here what your cluster needs before Python starts, if that environment lacks it. If the package is installed, edit
# a copy of this folder and name it with `scripts` under [slurm] in luigi.cfg.
# module load python/3.12

requeue=
task=

# Use the Python that submitted the job, in the folder where it was submitted: start PYTHON FOLDER
start() {
    python=$1
    cd "$2" || return
}

# Run one task: run TASK LUIGI_OPTION...
run() {
    status=1
    if [[ $requeue ]]; then return; fi # the remaining chunks are for the next allocation, whatever their status
    local scratch=()
    if [[ ${SLURM_TMPDIR:-} ]]; then scratch=(--scratch "$SLURM_TMPDIR"); fi
    # -P: a folder `tasks` in the working directory is not this package
    "$python" -P -m tasks "$@" "${scratch[@]}" --runner element --local-scheduler true --no-lock &
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
