# shellcheck shell=bash
# Sourced by run and long: named stages, each with the time it took.

times=()

stage() { # NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    echo "--- $name"
    "$@"
    times+=("$(printf '%6d s  %s' $((SECONDS - start)) "$name")")
    echo "${times[-1]}"
}

print_times() {
    printf '\n'
    printf '%s\n' "${times[@]}" "$(printf '%6d s  in all' "$SECONDS")"
}
