# The standby sleeps after three refusals, for an hour. A reload of its configuration wakes it; until then it is up, and
# not able.
at 5m  sleep green
at 10m kill blue
at 20m expect outcome held:target_able
at 20m expect gate target_able closed saw green polls well: 0.00
at 20m expect holder blue
at 21m wake green
at 24m expect holder green
