# Without GraphQL, REST's rows have no tags, and those of a group leave out what is below it, as all of this fleet. Each
# record is asked for by itself, those too that GraphQL showed before: the fleet is neither unheld nor without a standby.
fleet rnd on blue green below the group
at 5m  fault gitlab graphql-refused
at 8m  expect outcome steady
at 8m  expect not drift
at 10m kill blue
at 15m expect holder green
at 15m expect tags of runner 1 rnd-blue
at 15m expect tags of runner 3 rnd-green rnd-runner
at 15m expect outcome steady
