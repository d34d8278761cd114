#!/bin/sh
# The emotion of an audio file, over HTTP with nothing but curl.
#   serving/examples/audio.sh clip.wav [http://127.0.0.1:8000] [curl options...]
# Triton's binary data extension: a JSON header, whose length a header field tells, and then the
# bytes of the tensor. A BYTES element is its own length, 4 bytes little-endian, and its content.
set -eu
clip=$1
url=${2:-http://127.0.0.1:8000}
shift "$(($# < 2 ? $# : 2))"

bytes=$(($(wc -c <"$clip")))
header=$(printf '{"inputs": [{"name": "AUDIO", "shape": [1, 1], "datatype": "BYTES",
  "parameters": {"binary_data_size": %d}}]}' $((bytes + 4)))
length=$(printf '\\%03o\\%03o\\%03o\\%03o' $((bytes & 255)) $((bytes >> 8 & 255)) \
  $((bytes >> 16 & 255)) $((bytes >> 24 & 255)))

{
  printf '%s' "$header"
  printf "$length"
  cat "$clip"
} | curl --silent --show-error --fail-with-body "$@" "$url/v2/models/hemogat/infer" \
  --header "Inference-Header-Content-Length: ${#header}" \
  --header "Content-Type: application/octet-stream" --data-binary @-
