#!/usr/bin/env bash
# Where the alerts go: alerts/tests/routes.sh AMTOOL
set -euo pipefail
amtool=$(realpath "$(command -v "$1")")
cd "$(dirname "$0")/.."
config=alertmanager-route.yml

"$amtool" check-config "$config"

goes_to() {
    local receivers=$1
    shift
    if ! "$amtool" config routes test --config.file="$config" --verify.receivers="$receivers" "$@"; then
        echo "routes: {$*} does not go to $receivers" >&2
        exit 1
    fi
}
goes_to switchyard,people alertname=SwitchyardFailover switchyard=failover severity=critical fleet=rnd runner_cluster=blue
goes_to switchyard,people alertname=SwitchyardFailback switchyard=failback severity=info fleet=rnd runner_cluster=blue
goes_to switchyard,people alertname=OfOurOwn switchyard=failover fleet=rnd runner_cluster=blue target=green
goes_to switchyard-watchdog alertname=SwitchyardWatchdog switchyard=watchdog severity=none
goes_to people alertname=SwitchyardCommonCause severity=critical fleet=rnd
goes_to people alertname=SwitchyardDown severity=critical
goes_to people alertname=Unrelated
goes_to people alertname=Unrelated switchyard=sidetrack
