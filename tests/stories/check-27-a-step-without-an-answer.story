# 27: a step has a deadline of its own: one that got no answer is unknown, neither done nor failed, and is looked for.
at 9m  fault gitlab lost-request 100%
at 10m kill blue
at 12m expect history prepare add tag rnd-runner to runner 3 of green: unknown
at 12m expect moving
at 12m expect holder blue
at 13m mend gitlab
at 15m expect holder green
