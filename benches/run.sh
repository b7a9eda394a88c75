#!/usr/bin/env bash
# Every measurement, one after another, of the build that is shipped. From any folder:
#
#   bash benches/run.sh               all of them
#   bash benches/run.sh codes scale   some
#
# PostgreSQL and Redis are started for it, and ended, as for the tests. Figures go to the terminal,
# plots beside this script; what is worth keeping is in README.md.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=(start_up memory token_check codes log_in scale fairness account_enumeration)
if [ $# = 0 ]; then set -- "${all[@]}"; fi

bash tests/run.sh --with bash -c '
    export GUICHET_BENCH_DATABASE_URL=$GUICHET_TEST_DATABASE_URL GUICHET_BENCH_REDIS_URL=$GUICHET_TEST_REDIS_URL
    exec cargo bench --locked --profile dist "${@/#/--bench=}"
' benches "$@"
