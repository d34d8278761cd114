#!/bin/sh
# The emotion of a sentence, over HTTP with nothing but curl.
#   serving/examples/text.sh "I told you already!" [http://127.0.0.1:8000] [curl options...]
set -eu
text=$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')  # as JSON has it; one line, no control characters
url=${2:-http://127.0.0.1:8000}
shift "$(($# < 2 ? $# : 2))"

curl --silent --show-error --fail-with-body "$@" "$url/v2/models/hemogat/infer" --data @- <<JSON
{"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["$text"]}]}
JSON
