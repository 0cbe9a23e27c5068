#!/bin/bash
# imago on several machines without a scheduler:   ./by_ssh.sh PHOTOS RUN DEVICES HOST1 HOST2 …
#
# Every machine has imago and the pictures under the same path; the run folder is written on HOST1 only. Keys must let
# you in without a password. The machines talk to HOST1's port 29500 and to each other, unencrypted and without a
# password: only in a network that you trust. Ctrl-C saves and ends all; the same call then goes on.
set -euo pipefail
data=$1 run=$2 devices=$3
shift 3
first=$1
# the paths are ours, quoted for the other side
# shellcheck disable=SC2029
if ssh "$first" "test -f $(printf %q "$run/run.json")"; then
  what="--resume $(printf %q "$run")"
else
  what="$(printf %q "$data") --out $(printf %q "$run") --model resnet18"
fi
rank=0
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for host in "$@"; do
  # -tt: when this ssh ends, the other side gets a hang-up and saves its state
  ssh -tt "$host" "imago train $what --devices $devices --nodes $# --node-rank $rank --rendezvous $first:29500" \
    </dev/null &
  pids+=($!)
  rank=$((rank + 1))
done
code=0
for pid in "${pids[@]}"; do
  wait "$pid" || code=$?
done
exit "$code"
