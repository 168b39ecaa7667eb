#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Instructions per request through the channel, counted by callgrind: client and host together,
# the framework and the driver echo included, the application's callback not.
# usage: bench/callgrind.sh BUILD-DIRECTORY [BATCH]...
set -eu

build=${1:?usage: bench/callgrind.sh BUILD-DIRECTORY [BATCH]...}
shift
[ $# -gt 0 ] || set -- 1 32 128
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# Inclusive instructions of each of the program's own functions.
count() {
	valgrind --tool=callgrind --callgrind-out-file="$out" \
		--toggle-collect=the_requests "$build/bench/channel_path" "$1" "$2" >/dev/null 2>&1
	callgrind_annotate --inclusive=yes --threshold=100 "$out" 2>/dev/null |
		awk '/:(the_[a-z_]*)/ { gsub(",", "", $1); match($0, /:the_[a-z_]*/);
			print substr($0, RSTART + 1, RLENGTH - 1), $1 }'
}

for batch in "$@"; do
	requests=$((batch * 1000))
	count "$requests" "$batch" | awk -v n="$requests" -v batch="$batch" '
		{ sum[$1] += $2 }
		END {
			if (!sum["the_requests"]) exit 1
			printf "batch %d: client %.1f, host %.1f, in all %.1f instructions a request\n",
				batch,
				(sum["the_client_submits"] + sum["the_client_polls"] - sum["the_callback"]) / n,
				sum["the_host_polls"] / n,
				(sum["the_requests"] - sum["the_callback"]) / n
		}'
done
