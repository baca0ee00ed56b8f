# 35: what is not promised happens, and is said. Writes are not exactly once: while reads are old, a step whose answer got
# lost is sent again, and says the same; that nobody knew is in the history. The failed side, which nobody can reach, is
# not stopped: what runs there goes on.
at 9m  fault gitlab lost-reply
at 9m  fault gitlab stale-reads
at 10m partition blue from prometheus
at 10m partition blue from gitlab
at 13m expect moving
at 13m expect steps 24
at 13m expect history prepare add tag rnd-runner to runner 3 of green: unknown
at 14m mend gitlab
at 16m expect holder green
at 16m expect moves 1
